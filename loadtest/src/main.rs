//! `anser-loadtest`: puts load on a running server, checks every message, prints one JSON line.

use anser_loadtest::crash::Crash;
use anser_loadtest::load::handoff::Handoff;
use anser_loadtest::load::idle::Idle;
use anser_loadtest::load::offline::Offline;
use anser_loadtest::load::open::Open;
use anser_loadtest::load::pingpong::PingPong;
use clap::Parser;

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
    Offline(Offline),
    /// Many connections do nothing but live.
    Idle(Idle),
    /// Connections write their Auth and many messages at once.
    Handoff(Handoff),
    /// A server of its own is killed, and its power cut, again and again under load.
    Crash(Crash),
}

fn main() -> anyhow::Result<()> {
    let report = match Command::parse() {
        Command::Pingpong(pingpong) => pingpong.run()?,
        Command::Open(open) => open.run()?,
        Command::Offline(offline) => offline.run()?,
        Command::Idle(idle) => idle.run()?,
        Command::Handoff(handoff) => handoff.run()?,
        Command::Crash(crash) => crash.run()?,
    };
    println!("{report}");
    Ok(())
}
