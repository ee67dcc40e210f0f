//! What the runner and a target say to each other: a target, what a case did, what was wrong.

use anser::sim::prng::Prng;
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};

/// Bytes of the longest case: beyond the largest frame.
pub const CASE_BYTES_MAX: usize = 96 * 1024;

/// Code that reads bytes of others, and what must be true whatever they are.
pub trait Target: Sync {
    /// Its name in commands and folders.
    fn name(&self) -> &'static str;

    /// Words of its format.
    fn words(&self) -> &'static [&'static str];

    /// A case after the format's grammar, valid more often than not.
    fn make(&self, prng: &mut Prng) -> Vec<u8>;

    /// Makes lengths and sums of a changed case agree again, where there are such.
    fn mend(&self, _case: &mut Vec<u8>, _prng: &mut Prng) {}

    /// Runs a case and compares with the oracle.
    fn run(&self, case: &[u8], trail: &mut Trail) -> Result<(), Wrong>;
}

/// What was wrong with what a case did.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Wrong {
    /// Which rule: the same for all cases that break it in the same way.
    pub rule: String,
    /// What happened.
    pub words: String,
}

impl Wrong {
    /// A broken rule.
    pub fn new(rule: impl Into<String>, words: impl Into<String>) -> Wrong {
        Wrong { rule: rule.into(), words: words.into() }
    }
}

impl fmt::Display for Wrong {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "{}: {}", self.rule, self.words)
    }
}

/// Breaks `rule` unless `holds`.
pub fn hold(holds: bool, rule: &'static str, words: impl FnOnce() -> String) -> Result<(), Wrong> {
    if holds { Ok(()) } else { Err(Wrong::new(rule, words())) }
}

/// What a case did, step by step, as far as it tells cases from each other. A case that takes a
/// step after another for the first time is worth keeping.
#[derive(Default)]
pub struct Trail {
    before: u64,
    /// A number for each pair of steps that followed each other.
    pub pairs: Vec<u64>,
}

impl Trail {
    /// Notes a step.
    pub fn note(&mut self, step: impl Hash) {
        let step = hash(&step);
        self.pairs.push(hash(&(self.before, step)));
        self.before = step;
    }

    /// Notes how much there was of something, roughly.
    pub fn count(&mut self, what: &'static str, count: usize) {
        self.note((what, (count as u64 + 1).ilog2()));
    }
}

/// A number that stands for something, the same in every run.
pub fn hash(what: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    what.hash(&mut hasher);
    hasher.finish()
}

/// A run of randomness that belongs to a case, so that its replay is the same.
pub fn dice_of(case: &[u8]) -> Prng {
    Prng::new(hash(&case))
}

/// Some item of a list that is not empty.
pub fn one_of<'a, T>(all: &'a [T], prng: &mut Prng) -> &'a T {
    &all[prng.below(all.len() as u64) as usize]
}

/// Bytes as they may stand in a line: what is no plain character is escaped.
pub fn shown(bytes: &[u8]) -> String {
    const SHOWN_BYTES: usize = 600;
    let front = &bytes[..bytes.len().min(SHOWN_BYTES)];
    let more = if front.len() < bytes.len() { ".." } else { "" };
    format!("{}{more}", front.escape_ascii())
}
