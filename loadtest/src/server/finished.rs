//! The binaries as commands that end by themselves.

use super::{binary, pause, tools, without_environment};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// How long a command may take.
const WITHIN: Duration = Duration::from_secs(30);

/// What a command that ends by itself has said.
#[derive(Debug)]
pub struct Finished {
    /// Its exit code; `None` after a signal.
    pub code: Option<i32>,
    /// Everything it wrote, standard output first.
    pub said: String,
}

/// Runs the binary with these arguments until it ends by itself.
#[track_caller]
pub fn run(arguments: &[&str], environment: &[(&str, &str)]) -> Finished {
    run_it(binary(), arguments, environment, WITHIN)
}

/// Runs `anser-tools` with these arguments until it ends by itself.
#[track_caller]
pub fn run_tools(arguments: &[&str]) -> Finished {
    run_tools_within(arguments, WITHIN)
}

/// The same for one that has more to do than most.
#[track_caller]
pub fn run_tools_within(arguments: &[&str], within: Duration) -> Finished {
    run_it(tools(), arguments, &[], within)
}

#[track_caller]
fn run_it(
    program: &Path,
    arguments: &[&str],
    environment: &[(&str, &str)],
    within: Duration,
) -> Finished {
    let mut command = Command::new(program);
    without_environment(&mut command);
    command.args(arguments).envs(environment.iter().copied());
    // Many have it set; it makes no words of ordinary refusals.
    command.env("RUST_BACKTRACE", "1");
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = child.expect("the binary was just built");
    let deadline = Instant::now() + within;
    while matches!(child.try_wait(), Ok(None)) && Instant::now() < deadline {
        pause();
    }
    let ended = matches!(child.try_wait(), Ok(Some(_)));
    if !ended {
        let _ = child.kill();
    }
    let output = child.wait_with_output().expect("our own child");
    let said = [&output.stdout[..], &output.stderr[..]].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    assert!(ended, "{} {arguments:?} did not end by itself:\n{said}", program.display());
    assert!(!said.contains("Stack backtrace"), "{said}");
    Finished { code: output.status.code(), said }
}
