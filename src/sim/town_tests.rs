//! Towns under seeds.

use super::*;
use crate::sim::coverage::Fault;

/// Seeds of each run of the tests.
const SEEDS: u64 = 1_000;
/// What the town itself sees to.
const OF_THE_TOWN: [&str; 4] = ["audit", "recovery", "rest", "bytes"];

/// A seed that panics fails otherwise; here it is only to fail alike each time.
fn attempt(seed: u64, teller: Option<Teller<'_>>) -> Option<Report> {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| run(seed, teller))).ok()
}

/// Invariant 1 of sim::town.
#[test]
fn the_same_seed_gives_the_same_bytes() {
    for seed in 0..12 {
        let mut lines = [Vec::new(), Vec::new()];
        let digests = [0, 1].map(|turn: usize| {
            let mut teller = |line: &str| lines[turn].push(line.to_owned());
            attempt(seed, Some(&mut teller)).map(|report| report.digest)
        });
        let differs = lines[0].iter().zip(&lines[1]).find(|(one, other)| one != other);
        assert_eq!(differs, None, "seed {seed}");
        assert_eq!(digests[0], digests[1], "seed {seed}");
        let unheard = attempt(seed, None).map(|report| report.digest);
        assert_eq!(unheard, digests[0], "it matters that somebody listens");
    }
}

/// Invariants 2 and 3 of sim::town.
/// Invariants 1 and 2 of sim::host.
/// Invariant 1 of sim::client.
#[test]
fn under_any_seed_nothing_is_lost_doubled_forged_or_out_of_order() {
    let mut coverage = Coverage::default();
    for seed in 0..SEEDS {
        // A panic below names the seed, too: it is the last one told.
        eprintln!("replay: cargo run -p anser-tools -- simulate --seed {seed} --trace");
        let Some(report) = attempt(seed, None) else { continue };
        let failure = report.failure.filter(|failure| OF_THE_TOWN.contains(&failure.checker));
        if let Some(failure) = failure {
            panic!("seed {seed} FAILED {failure}");
        }
        coverage.add(&report.coverage);
    }
    assert_eq!(coverage.missed(), [], "stages that no crash has hit\n{coverage}");
    let is_met = |fault: &Fault| Stage::ALL.iter().any(|stage| coverage.count(*fault, *stage) > 0);
    let unmet: Vec<_> = Fault::ALL.iter().filter(|fault| !is_met(fault)).collect();
    assert_eq!(unmet, Vec::<&Fault>::new(), "faults that never were");
}
