//! `anser-loadtest`: puts load on a running server, checks every message, prints one JSON line.

use anser_loadtest::compare::Compare;
use anser_loadtest::crash::Crash;
use anser_loadtest::document::Document;
use anser_loadtest::interrupt;
use anser_loadtest::load::disk::Disk;
use anser_loadtest::load::handoff::Handoff;
use anser_loadtest::load::idle::Idle;
use anser_loadtest::load::ids::Ids;
use anser_loadtest::load::limit::Limit;
use anser_loadtest::load::mixed::Mixed;
use anser_loadtest::load::offline::Offline;
use anser_loadtest::load::open::Open;
use anser_loadtest::load::pingpong::PingPong;
use anser_loadtest::load::process;
use anser_loadtest::load::scale::Scale;
use anser_loadtest::load::storm::Storm;
use anser_loadtest::outcome::Scenario;
use anser_loadtest::report;
use anser_loadtest::restart::Restart;
use anser_loadtest::suite::Suite;
use clap::Parser;
use std::io::{ErrorKind, Write};
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Puts load on a running server and checks every message it carries.
#[derive(Debug, Parser)]
#[command(version)]
enum Command {
    /// Pairs throw messages to each other, a fixed number in flight.
    Pingpong(PingPong),
    /// Pairs write to each other at a fixed rate, whatever the server does.
    Open(Open),
    /// Messages to people who are away, who then come back and fetch them.
    ///
    /// It lasts until all are fetched, so that --messages, not a duration, says how long.
    Offline(Offline),
    /// Many connections do nothing but live.
    Idle(Idle),
    /// Many connections break at once, and all come back.
    ///
    /// It lasts until everybody is back, so that --connections, not a duration, says how long.
    Storm(Storm),
    /// One call for each message id.
    Ids(Ids),
    /// What this machine can do at most, or how late a message is on it at least: a bare echo.
    Limit(Limit),
    /// How long a write takes until it is on this machine's disk, when nothing else is asked of it.
    Disk(Disk),
    /// Connections write their Auth and many messages at once.
    Handoff(Handoff),
    /// A day in a minute: people come and go, write, read pages, chats and counts.
    Mixed(Mixed),
    /// The same work among more and more users and stored messages.
    Scale(Scale),
    /// A server of its own is killed, and its power cut, again and again under load.
    Crash(Crash),
    /// A server of its own is filled, stopped and started: how long until its first Ack.
    Restart(Restart),
    /// Ratios of runs to the first of them, from what `--json` wrote.
    Compare(Compare),
    /// Everything that the README shows, each row several times against a server of its own.
    Suite(Suite),
}

fn main() -> ExitCode {
    process::allow_all_files();
    let command = Command::parse();
    let done = interrupt::heed().map_err(Into::into).and_then(|()| obey(command));
    let is_done = done.is_ok();
    // On one line, and without the stack that a variable of the environment may ask for.
    done.err().iter().for_each(|error| eprintln!("Error: {error:#}"));
    match interrupt::is_asked() {
        true => ExitCode::from(interrupt::EXIT_CODE),
        false if is_done => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}

fn obey(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Pingpong(pingpong) => perform(&pingpong),
        Command::Open(open) => perform(&open),
        Command::Offline(offline) => perform(&offline),
        Command::Idle(idle) => perform(&idle),
        Command::Storm(storm) => perform(&storm),
        Command::Ids(ids) => perform(&ids),
        Command::Limit(limit) => perform(&limit),
        Command::Disk(disk) => perform(&disk),
        Command::Handoff(handoff) => perform(&handoff),
        Command::Mixed(mixed) => perform(&mixed),
        Command::Scale(scale) => perform(&scale),
        Command::Crash(crash) => perform(&crash),
        Command::Restart(restart) => perform(&restart),
        Command::Compare(compare) => say(&compare.run()?),
        Command::Suite(suite) => say(&suite.run()?),
    }
}

/// Writes to standard output; whoever has closed it wants no more.
fn say(text: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}

/// Runs a scenario and tells what came of it in every way that was asked for.
fn perform(scenario: &impl Scenario) -> anyhow::Result<()> {
    scenario.options().check()?;
    let document = Document::of(scenario)?;
    let outcome = &document.outcome;
    say(&format!("{}\n", outcome.line()))?;
    outcome.flags.iter().for_each(|flag| eprintln!("warning: {flag}"));
    if let Some(file) = &scenario.options().json {
        document.write(file)?;
    }
    if let Some(file) = &scenario.options().report {
        report::of_run(&document, file)?;
    }
    outcome.passed().map(drop)
}
