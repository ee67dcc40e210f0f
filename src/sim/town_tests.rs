//! Towns under seeds.

use super::*;
use crate::sim::coverage::Fault;

/// Seeds of each run of the tests, in two halves that may run at the same time.
const SEEDS: u64 = 1_000;

/// Invariant 1 of sim::town.
#[test]
fn the_same_seed_gives_the_same_bytes() {
    for seed in 0..12 {
        let mut lines = [Vec::new(), Vec::new()];
        let digests = [0, 1].map(|turn: usize| {
            let mut teller = |line: &str| lines[turn].push(line.to_owned());
            run(seed, Some(&mut teller)).digest
        });
        let differs = lines[0].iter().zip(&lines[1]).find(|(one, other)| one != other);
        assert_eq!(differs, None, "seed {seed}");
        assert_eq!(digests[0], digests[1], "seed {seed}");
        assert_eq!(run(seed, None).digest, digests[0], "it matters that somebody listens");
    }
}

/// Runs seeds; what they are to try is tried by them.
fn run_all(seeds: std::ops::Range<u64>) {
    let mut coverage = Coverage::default();
    for seed in seeds {
        // A panic below names the seed, too: it is the last one told.
        eprintln!("replay: cargo run -p anser-tools -- simulate --seed {seed} --trace");
        let report = run(seed, None);
        if let Some(failure) = report.failure {
            panic!("seed {seed} FAILED {failure}");
        }
        coverage.add(&report.coverage);
    }
    assert_eq!(coverage.missed(), [], "stages that no crash has hit\n{coverage}");
    let is_met = |fault: &Fault| Stage::ALL.iter().any(|stage| coverage.count(*fault, *stage) > 0);
    let unmet: Vec<_> = Fault::ALL.iter().filter(|fault| !is_met(fault)).collect();
    assert_eq!(unmet, Vec::<&Fault>::new(), "faults that never were");
}

/// Invariants 2, 3, 4, 5, 6, 7, 8, 9, 10 and 11 of chat.
/// Invariants 2 and 3 of sim::town.
/// Invariants 1 and 2 of sim::host.
/// Invariant 1 of sim::client.
#[test]
fn under_any_seed_nothing_is_lost_doubled_forged_or_out_of_order() {
    run_all(0..SEEDS / 2);
}

#[test]
fn under_any_other_seed_nothing_is_lost_doubled_forged_or_out_of_order() {
    run_all(SEEDS / 2..SEEDS);
}
