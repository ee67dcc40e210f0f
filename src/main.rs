//! The server: configuration, then the node, then an exit code.
//!
//! 0: drained after SIGTERM or Ctrl-C. 1: it cannot run here, or could not go on. 2: a setting is
//! wrong. Whatever it is, standard error says it in words.

use anser::config::{self, Command, Config};
use anser::node::doctor::{self, Verdict};
use anser::node::reshard;
use std::io::IsTerminal;
use std::process::ExitCode;
use tracing_subscriber::EnvFilter;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let (command, config) = match config::from_process() {
        Ok(chosen) => chosen,
        Err(error) => return ExitCode::from(error.report()),
    };
    log_to_standard_error(&config);
    // No mistake for sure: who runs many services sets variables that are named after them.
    let unknown = config::unknown_variables();
    if !unknown.is_empty() {
        let names = unknown.join(", ");
        tracing::warn!("no settings, and not looked at (anser --help lists all): {names}");
    }
    match command {
        Command::Serve => serve(&config),
        Command::Doctor => examine(&config),
        Command::Reshard(shards) => reshard(&config, shards),
    }
}

fn serve(config: &Config) -> ExitCode {
    match anser::node::serve(config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(&error),
    }
}

fn reshard(config: &Config, shards: u16) -> ExitCode {
    let mut say = |line: &str| eprintln!("reshard: {line}");
    match reshard::run(&config.data_dir, shards, &mut say) {
        Ok(done) => {
            println!("{done}");
            ExitCode::SUCCESS
        }
        Err(error) => failed(&error),
    }
}

/// Says what went wrong, and what caused it.
fn failed(error: &dyn std::error::Error) -> ExitCode {
    let mut words = format!("anser: {error}");
    let mut source = error.source();
    while let Some(cause) = source {
        words.push_str(&format!(": {cause}"));
        source = cause.source();
    }
    eprintln!("{words}");
    ExitCode::FAILURE
}

fn examine(config: &Config) -> ExitCode {
    let checks = doctor::examine(config);
    for check in &checks {
        println!("{check}");
    }
    match doctor::worst(&checks) {
        Verdict::Fail => ExitCode::FAILURE,
        Verdict::Ok | Verdict::Warn => ExitCode::SUCCESS,
    }
}

fn log_to_standard_error(config: &Config) {
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(&config.log))
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
}
