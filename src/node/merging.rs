//! How fast new tables are made while compaction is behind: as fast as it takes them.
//!
//! Compaction takes new tables many at a time, and a merge of them takes seconds. Whoever made
//! tables until there are too many, and then waited for it, would stand still for as long.
//!
//! Invariants:
//! 1. Up to [`STORE_NEW_TABLES_CALM`] new tables the next is made at once.
//! 2. Beyond, they are made at the pace at which they were merged of late, somewhat faster while
//!    there are few and slower while there are many; one each [`STORE_TABLE_MS_MAX`] at least.
//! 3. From [`STORE_NEW_TABLES_MAX`] on none is made.

use crate::limits::{STORE_NEW_TABLES_CALM, STORE_NEW_TABLES_MAX, STORE_TABLE_MS_MAX};

/// Over which time the pace of merging is taken, ms.
const MEMORY_MS: f64 = 30_000.0;
/// How much faster than merging tables are made when there are few, and when there are many.
const GAIN: (f64, f64) = (2.0, 0.5);

/// What is known of one store's compaction.
#[derive(Default)]
pub struct Merging {
    tables: usize,
    looked_ms: u64,
    made_ms: u64,
    /// How long after that the next may be made.
    apart_ms: u64,
    /// Tables merged a ms, those of long ago counting less.
    pace: f64,
}

impl Merging {
    /// Whether the next table may be made while there are so many new ones. `now_ms` only rises.
    pub fn may_make(&mut self, tables: usize, now_ms: u64) -> bool {
        self.look(tables, now_ms);
        if tables < STORE_NEW_TABLES_CALM {
            return true;
        }
        if tables >= STORE_NEW_TABLES_MAX {
            self.apart_ms = u64::MAX;
            return false;
        }
        let among = (tables - STORE_NEW_TABLES_CALM) as f64;
        let share = among / (STORE_NEW_TABLES_MAX - STORE_NEW_TABLES_CALM) as f64;
        let gain = GAIN.0 + (GAIN.1 - GAIN.0) * share;
        self.apart_ms = (1.0 / (self.pace * gain)).min(STORE_TABLE_MS_MAX as f64) as u64;
        now_ms >= self.made_ms + self.apart_ms
    }

    /// How much of the wait for the next table is over, 0 to 1.
    pub fn nearness(&self, now_ms: u64) -> f64 {
        ((now_ms - self.made_ms) as f64 / self.apart_ms.max(1) as f64).min(1.0)
    }

    /// One was made.
    pub fn made(&mut self, now_ms: u64) {
        self.tables += 1;
        self.made_ms = now_ms;
    }

    fn look(&mut self, tables: usize, now_ms: u64) {
        let passed_ms = (now_ms - self.looked_ms) as f64;
        let merged = self.tables.saturating_sub(tables) as f64;
        self.pace = self.pace * (-passed_ms / MEMORY_MS).exp() + merged / MEMORY_MS;
        (self.tables, self.looked_ms) = (tables, now_ms);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Makes tables whenever it may, while compaction takes all of them every `each_ms`. Returns
    /// when each was made, and how many there were at most.
    fn play(each_ms: u64, until_ms: u64) -> (Vec<u64>, usize) {
        let (mut merging, mut tables, mut most) = (Merging::default(), 0, 0);
        let (mut made, mut merging_since, mut taken) = (Vec::new(), None, 0);
        for now_ms in (0..until_ms).step_by(20) {
            if merging_since.is_some_and(|since| now_ms >= since + each_ms) {
                (tables, merging_since) = (tables - taken, None);
            }
            if merging_since.is_none() && tables > 4 {
                (merging_since, taken) = (Some(now_ms), tables);
            }
            if merging.may_make(tables, now_ms) {
                tables += 1;
                merging.made(now_ms);
                made.push(now_ms);
            }
            most = most.max(tables);
        }
        (made, most)
    }

    /// Invariant 1 of node::merging.
    #[test]
    fn while_there_are_few_tables_the_next_is_made_at_once() {
        let mut merging = Merging::default();
        for now_ms in 0..1_000 {
            assert!(merging.may_make(STORE_NEW_TABLES_CALM - 1, now_ms));
            merging.made(now_ms);
        }
    }

    /// Invariant 2 of node::merging.
    #[test]
    fn tables_are_made_as_evenly_and_as_fast_as_they_are_merged() {
        for each_ms in [4_000, 8_000, 12_000] {
            let (made, most) = play(each_ms, 300_000);
            assert!(most <= STORE_NEW_TABLES_MAX, "{most}");
            let settled: Vec<u64> = made.into_iter().filter(|ms| *ms > 100_000).collect();
            let longest = settled.windows(2).map(|pair| pair[1] - pair[0]).max();
            assert!(longest.is_some_and(|apart| apart <= STORE_TABLE_MS_MAX + 20), "{longest:?}");
            // A merge takes all that there are: the more wait the more it takes.
            let merges = 200_000 / each_ms as usize;
            assert!(settled.len() / merges >= STORE_NEW_TABLES_CALM * 2 / 3, "{}", settled.len());
        }
    }

    /// Invariant 3 of node::merging.
    #[test]
    fn when_there_are_too_many_none_is_made() {
        let mut merging = Merging::default();
        for now_ms in [0, 1_000, 1_000_000] {
            assert!(!merging.may_make(STORE_NEW_TABLES_MAX, now_ms));
        }
        assert!(merging.may_make(STORE_NEW_TABLES_MAX - 1, 2_000_000), "and then it goes on");
    }
}
