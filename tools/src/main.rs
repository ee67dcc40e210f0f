//! `anser-tools`: what keeps the house in order, and what operators need beside the server.

mod admin;
mod backup;
mod export;
#[cfg(test)]
mod fixture;
mod flame;
mod fuzz;
mod import;
mod inspect;
mod latency;
mod metrics;
mod planted;
mod profile;
mod readings;
mod restore;
mod running;
mod simulate;
mod spans;
mod tidy;
mod top;
mod verify;
mod ways;
mod words;

use clap::{Parser, Subcommand};
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(Parser)]
#[command(name = "anser-tools", version, about = "What keeps anser in order")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Check the rules that the compiler does not know: imports, sizes, module heads
    Tidy {
        /// The top of the repository
        #[arg(long, default_value = ".")]
        root: PathBuf,
    },
    /// Put one moment of a running server into a folder; what is there already is not copied again
    Backup(backup::Arguments),
    /// Make a data folder of a backup
    Restore(restore::Arguments),
    /// Write users, chats and messages of a stopped server as lines of JSON
    Export(export::Arguments),
    /// Make a new data folder of what `export` has written
    Import(import::Arguments),
    /// Print what a stopped server's folder holds, as lines of JSON
    Inspect(inspect::Arguments),
    /// Read all of a stopped server's folder, and say what does not agree
    Verify(verify::Arguments),
    /// Show where messages' time goes on a running server, stage by stage
    Profile(profile::Arguments),
    /// Show a running server live, on a terminal
    Top(top::Arguments),
    /// Draw what the shards of a running server spend their CPU on; needs `perf`
    Flame(flame::Arguments),
    /// Try bytes of all kinds on whatever reads bytes of others; what is found can be replayed
    Fuzz(fuzz::Arguments),
    /// Run simulated servers under seeds; one that fails is named, and fails again alone
    Simulate(simulate::Arguments),
    /// Put bugs into a copy of the server, and demand that `simulate` finds each
    Planted(planted::Arguments),
}

fn main() -> ExitCode {
    // On one line, and without the stack that a variable of the environment may ask for: a refusal
    // is no fault of the program.
    run(Arguments::parse().command).unwrap_or_else(|error| {
        eprintln!("Error: {error:#}");
        ExitCode::FAILURE
    })
}

fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Tidy { root } => tidy::run(&root),
        Command::Backup(arguments) => backup::run(&arguments),
        Command::Restore(arguments) => restore::run(&arguments),
        Command::Export(arguments) => export::run(&arguments),
        Command::Import(arguments) => import::run(&arguments),
        Command::Inspect(arguments) => inspect::run(&arguments),
        Command::Verify(arguments) => Ok(verify::run(&arguments)),
        Command::Profile(arguments) => profile::run(&arguments),
        Command::Top(arguments) => top::run(&arguments),
        Command::Flame(arguments) => flame::run(&arguments),
        Command::Fuzz(arguments) => fuzz::run(&arguments),
        Command::Simulate(arguments) => simulate::run(&arguments),
        Command::Planted(arguments) => planted::run(&arguments),
    }
}
