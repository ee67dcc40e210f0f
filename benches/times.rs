//! CPU time of cases, for people: it depends on the machine and on what else it does.

use crate::case::{Case, Meter, RUNS_MAX, Taken, WARMING};
use std::process::ExitCode;

/// Prints a line for each case; fails when one allocates and should not.
pub fn run(cases: Vec<Case>) -> ExitCode {
    let mut meter = Meter::new();
    println!("of one operation: ns of CPU (median, least, most), instructions, allocations");
    let mut is_well = true;
    for case in cases {
        let (name, operations) = (case.name, case.operations as f64);
        let ran = case.run(&mut meter, RUNS_MAX - WARMING);
        print(name, operations, &ran.taken);
        is_well &= ran.is_well;
    }
    if is_well { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn print(name: &str, operations: f64, taken: &[Taken]) {
    let mut nanos: Vec<f64> = taken.iter().map(|run| run.nanos as f64 / operations).collect();
    nanos.sort_by(f64::total_cmp);
    let (least, median, most) = (nanos[0], nanos[nanos.len() / 2], nanos[nanos.len() - 1]);
    let instructions = match taken.iter().filter_map(|run| run.instructions).min() {
        Some(count) => format!("{:.0}", count as f64 / operations),
        None => "-".to_owned(),
    };
    let allocations = taken.iter().map(|run| run.allocations).max().unwrap_or(0);
    let allocations = allocations as f64 / operations;
    println!(
        "{name:<22} {median:>9.1} {least:>9.1} {most:>9.1} {instructions:>9} {allocations:>8.3}"
    );
}
