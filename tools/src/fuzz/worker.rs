//! One thread that makes cases out of others, and keeps those that do something new.

use crate::fuzz::case::{CASE_BYTES_MAX, Target, Trail, Wrong};
use crate::fuzz::mutate::mutate;
use crate::fuzz::shrink::shrink;
use crate::fuzz::watch::Watched;
use anser::sim::prng::Prng;
use std::collections::HashSet;

/// Cases that a worker keeps. Beyond: no other.
const KEPT_MAX: usize = 20_000;

/// A case that broke a rule, made small.
#[derive(Debug)]
pub struct Found {
    /// The case.
    pub case: Vec<u8>,
    /// What was wrong.
    pub wrong: Wrong,
}

/// One thread's cases.
pub struct Worker<'t> {
    target: &'t dyn Target,
    watched: &'t Watched,
    prng: Prng,
    kept: Vec<Vec<u8>>,
    /// How many of those were given.
    given: usize,
    known: HashSet<u64>,
    /// Cases run.
    pub cases: u64,
}

impl<'t> Worker<'t> {
    /// A worker who begins with these cases. Different seeds find different ones.
    pub fn new(
        target: &'t dyn Target,
        watched: &'t Watched,
        given: &[Vec<u8>],
        seed: u64,
    ) -> Worker<'t> {
        let kept = given.to_vec();
        let (given, known, prng) = (kept.len(), HashSet::new(), Prng::new(seed));
        Worker { target, watched, prng, kept, given, known, cases: 0 }
    }

    /// Runs the cases that were given.
    pub fn begin(&mut self) -> Result<(), Found> {
        for index in 0..self.given {
            let case = std::mem::take(&mut self.kept[index]);
            let outcome = self.try_case(&case).map(drop);
            self.kept[index] = case;
            outcome?;
        }
        Ok(())
    }

    /// Runs one more case.
    pub fn step(&mut self) -> Result<(), Found> {
        let mut case = self.next_case();
        if self.prng.once_in(2) {
            self.target.mend(&mut case, &mut self.prng);
        }
        case.truncate(CASE_BYTES_MAX);
        if self.try_case(&case)? && self.kept.len() < KEPT_MAX {
            self.kept.push(case);
        }
        Ok(())
    }

    fn next_case(&mut self) -> Vec<u8> {
        let is_made = self.kept.is_empty() || self.prng.once_in(6);
        let mut case = match is_made {
            true => self.target.make(&mut self.prng),
            false => self.one().to_vec(),
        };
        if !is_made || self.prng.once_in(2) {
            let other = match self.kept.is_empty() {
                true => self.target.make(&mut self.prng),
                false => self.one().to_vec(),
            };
            mutate(&mut case, &other, self.target.words(), &mut self.prng);
        }
        case
    }

    /// One of the cases kept, young ones more often.
    fn one(&mut self) -> &[u8] {
        let count = self.kept.len() as u64;
        let back = if self.prng.once_in(2) { count } else { count.min(32) };
        &self.kept[(count - 1 - self.prng.below(back)) as usize]
    }

    /// Runs a case; whether it did something new.
    fn try_case(&mut self, case: &[u8]) -> Result<bool, Found> {
        let mut trail = Trail::default();
        self.cases += 1;
        if let Err(wrong) = self.watched.run(self.target, case, &mut trail) {
            return Err(self.found(case, wrong));
        }
        let before = self.known.len();
        self.known.extend(trail.pairs);
        Ok(self.known.len() > before)
    }

    fn found(&self, case: &[u8], wrong: Wrong) -> Found {
        let outcome = |case: &[u8]| self.watched.run(self.target, case, &mut Trail::default());
        let is_same = |case: &[u8]| outcome(case).is_err_and(|other| other.rule == wrong.rule);
        let case = shrink(case, is_same);
        let wrong = outcome(&case).err().unwrap_or(wrong);
        Found { case, wrong }
    }

    /// What was done so far, in pairs of steps.
    pub fn known(&self) -> usize {
        self.known.len()
    }

    /// Of the cases that were not given, few that do all that is new, each made small.
    pub fn grown(&self) -> Vec<Vec<u8>> {
        let pairs = |case: &[u8]| {
            let mut trail = Trail::default();
            let _ = self.watched.run(self.target, case, &mut trail);
            trail.pairs
        };
        let mut known: HashSet<u64> =
            self.kept[..self.given].iter().flat_map(|case| pairs(case)).collect();
        let mut grown = Vec::new();
        let mut found: Vec<&Vec<u8>> = self.kept[self.given..].iter().collect();
        found.sort_by_key(|case| case.len());
        for case in found {
            let mut news = pairs(case);
            news.retain(|pair| !known.contains(pair));
            if news.is_empty() {
                continue;
            }
            let has_all = |case: &[u8]| {
                let pairs = pairs(case);
                news.iter().all(|pair| pairs.contains(pair))
            };
            let small = shrink(case, has_all);
            known.extend(pairs(&small));
            grown.push(small);
        }
        grown
    }
}
