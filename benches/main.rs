//! What the parts of the server cost, one operation at a time: CPU time, instructions, allocations.
//!
//! `cargo bench` prints a line for each case, `cargo bench -- store` those with `store` in their
//! names. `cargo bench -- --counts` counts instructions instead and compares them with the
//! baseline: they do not depend on what else the machine does. `tools/test` runs the same on the
//! build of the tests, `cargo test --bench cases -- --counts`, which has a baseline of its own.
//! `--bless` makes what was counted the baseline.
//!
//! To add a case: a name and what it does, in the file of its subject.

mod baseline;
mod case;
mod counts;
mod decode;
mod encode;
mod frame;
mod histogram;
mod mesh;
mod stamps;
mod store;
mod times;
mod turn;
mod view;
mod wire;

use case::Case;
use clap::Parser;
use std::io;
use std::process::ExitCode;

#[derive(Parser)]
#[command(name = "cases", about = "What the parts of the server cost")]
struct Arguments {
    /// Only cases that have this in their names
    only: Option<String>,
    /// Count instructions and compare them with the baseline, by callgrind where the processor
    /// does not count them
    #[arg(long)]
    counts: bool,
    /// Make what is counted the baseline
    #[arg(long, requires = "counts")]
    bless: bool,
    /// Run each case once and say what ran: what callgrind looks at
    #[arg(long, hide = true)]
    observed: bool,
    /// Cargo says that this is a bench
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> ExitCode {
    run(Arguments::parse()).unwrap_or_else(|error| {
        eprintln!("cases: {error}");
        ExitCode::FAILURE
    })
}

fn run(arguments: Arguments) -> io::Result<ExitCode> {
    let only = arguments.only.unwrap_or_default();
    let cases: Vec<Case> = all().filter(|case| case.name.contains(&only)).collect();
    if cases.is_empty() {
        return Err(io::Error::other(format!("no case has `{only}` in its name")));
    }
    match (arguments.observed, arguments.counts) {
        (true, _) => Ok(counts::be_observed(cases)),
        (_, true) => counts::run(cases, &only, arguments.bless),
        _ => Ok(times::run(cases)),
    }
}

fn all() -> impl Iterator<Item = Case> {
    [decode::cases(), encode::cases(), frame::cases(), turn::cases(), store::cases()]
        .into_iter()
        .chain([view::cases(), mesh::cases(), histogram::cases(), stamps::cases()])
        .flatten()
}
