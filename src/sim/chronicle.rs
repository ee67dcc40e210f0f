//! What happens in a town, as it is told: to a reader of its trace, to its digest, and to whoever
//! waits for a stage to break something there.
//!
//! Invariants:
//! 1. An ambush breaks the run right after its stage was passed for the chosen time, once.

use crate::ids::ShardId;
use crate::sim::coverage::{Coverage, Fault, Stage};
use crate::sim::disk::Crash;
use crate::sim::observation::{Failure, Moment};
use crate::store::StoreError;
use std::fmt::Arguments;

/// Takes a line of a trace.
pub type Teller<'a> = &'a mut dyn FnMut(&str);

/// What ends a shard's round in its midst.
#[derive(Debug)]
pub enum Halt {
    /// The whole server goes down, here.
    Crash(Crash),
    /// The shard's disk has failed; the server ends, as it would by a kill.
    Disk,
    /// Something is as it must not be.
    Failed(Failure),
}

impl From<StoreError> for Halt {
    fn from(error: StoreError) -> Halt {
        match error {
            StoreError::Failed => Halt::Disk,
            // No fault makes rows unreadable, or loses some that others name.
            error => Halt::Failed(Failure::of("rows", error.to_string())),
        }
    }
}

impl From<Failure> for Halt {
    fn from(failure: Failure) -> Halt {
        Halt::Failed(failure)
    }
}

/// A crash that waits for a stage.
#[derive(Clone, Copy, Debug)]
pub struct Ambush {
    /// Where.
    pub stage: Stage,
    /// How often it is passed before.
    pub after: u64,
    /// What happens then.
    pub crash: Crash,
}

/// The teller, and all that is counted.
pub struct Chronicle<'a> {
    /// Virtual microseconds since the town was founded.
    pub now_us: u64,
    /// Which faults met which stages.
    pub coverage: Coverage,
    /// The crash that waits.
    pub ambush: Option<Ambush>,
    faults: Vec<Fault>,
    digest: u64,
    teller: Option<Teller<'a>>,
}

impl<'a> Chronicle<'a> {
    /// Nothing has happened.
    pub fn new(teller: Option<Teller<'a>>) -> Chronicle<'a> {
        Chronicle {
            now_us: 0,
            coverage: Coverage::default(),
            ambush: None,
            faults: Vec::new(),
            digest: 0,
            teller,
        }
    }

    /// The moment.
    pub fn moment(&self) -> Moment {
        Moment { ms: self.now_us / 1000 }
    }

    /// A fault begins, or one more of its kind.
    pub fn begin(&mut self, fault: Fault) {
        self.faults.push(fault);
    }

    /// A fault ends.
    pub fn end(&mut self, fault: Fault) {
        if let Some(place) = self.faults.iter().position(|one| *one == fault) {
            self.faults.swap_remove(place);
        }
    }

    /// All faults of a kind end.
    pub fn end_all(&mut self, fault: Fault) {
        self.faults.retain(|one| *one != fault);
    }

    /// Work has passed a stage. An error: it ends here.
    pub fn pass(&mut self, shard: ShardId, stage: Stage) -> Result<(), Halt> {
        self.coverage.note(Fault::None, stage);
        for index in 0..self.faults.len() {
            // One of a kind counts, however many there are.
            let fault = self.faults[index];
            if !self.faults[..index].contains(&fault) {
                self.coverage.note(fault, stage);
            }
        }
        let Some(ambush) = self.ambush.as_mut().filter(|ambush| ambush.stage == stage) else {
            return Ok(());
        };
        if ambush.after > 0 {
            ambush.after -= 1;
            return Ok(());
        }
        let crash = ambush.crash;
        self.ambush = None;
        let fault = match crash {
            Crash::Kill => Fault::Kill,
            Crash::PowerCut => Fault::PowerCut,
        };
        self.coverage.note(fault, stage);
        self.tell(shard, format_args!("{} right after: {}", fault.word(), stage.word()));
        Err(Halt::Crash(crash))
    }

    /// Tells what a shard does.
    pub fn tell(&mut self, shard: ShardId, words: Arguments<'_>) {
        if self.teller.is_some() {
            self.tell_of(format_args!("s{shard}"), words);
        }
    }

    /// Tells what anybody does.
    pub fn tell_of(&mut self, who: Arguments<'_>, words: Arguments<'_>) {
        let Some(teller) = &mut self.teller else { return };
        let (seconds, micros) = (self.now_us / 1_000_000, self.now_us % 1_000_000);
        let who = who.to_string();
        teller(&format!("{seconds:4}.{micros:06} {who:<8} {words}"));
    }

    /// Whether anybody listens: words that cost something are made only then.
    pub fn is_told(&self) -> bool {
        self.teller.is_some()
    }

    /// Takes bytes into the digest of the run.
    pub fn digest(&mut self, bytes: &[u8]) {
        self.digest = xxhash_rust::xxh3::xxh3_64_with_seed(bytes, self.digest);
    }

    /// The digest of all so far.
    pub fn digested(&self) -> u64 {
        self.digest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Invariant 1 of sim::chronicle.
    #[test]
    fn an_ambush_breaks_the_run_at_its_stage_once() {
        let mut lines = Vec::new();
        let mut teller = |line: &str| lines.push(line.to_owned());
        let mut chronicle = Chronicle::new(Some(&mut teller));
        let ambush = Ambush { stage: Stage::Applied, after: 2, crash: Crash::PowerCut };
        chronicle.ambush = Some(ambush);
        chronicle.begin(Fault::Stall);
        let mut pass = |stage| chronicle.pass(ShardId(1), stage).is_ok();
        assert!(pass(Stage::Decoded) && pass(Stage::Applied) && pass(Stage::Applied));
        assert!(!pass(Stage::Applied), "it is passed for the third time");
        assert!(pass(Stage::Applied) && pass(Stage::Applied));
        assert_eq!(chronicle.coverage.count(Fault::PowerCut, Stage::Applied), 1);
        assert_eq!(chronicle.coverage.count(Fault::Stall, Stage::Applied), 5);
        assert_eq!(lines.len(), 1);
    }
}
