//! Which tables are merged next: in tiers, so that a row is written few times in its life.
//!
//! Users' rows are everywhere in a table, so whatever is merged with what lies below writes all of
//! that again. Levels that are each ten times the one above cost a row five to ten writes; here
//! tables wait until there are many of about one size, and are merged with each other alone:
//!
//! | level | holds | merged when |
//! |---|---|---|
//! | 0 | new tables | there are [`STORE_MERGED_TABLES`] |
//! | 2 | runs of that many tables | there are [`STORE_MERGED_RUNS`] |
//! | 4 | runs of that many runs | they are half of what is in level 6, or many |
//! | 6 | one run of all that is older | with level 4 |
//!
//! The LSM merges a level together with the one that it writes to. So a merge goes to an empty
//! level, 1 or 3, and its run is moved on from there; level 5 stays empty.
//!
//! Invariants:
//! 1. What lies in a level is newer than all in the levels below (those of higher numbers).
//! 2. Rows that were removed leave with what they hide: what is merged into the last level, where
//!    the LSM drops marks of removal, is all that is older than it.
//! 3. A row is written at most [`WRITES_MAX`] times while a store grows to a thousand times the
//!    rows of level 2.
//! 4. No level gets more runs than [`STORE_RUNS_MAX`]; the LSM counts them in a byte.
//! 5. When a quarter of all rows are marks of removal, what they hide leaves the disk.
//! 6. When an eighth of what lies apart is stale, and 1 MiB, what is old is merged for that alone:
//!    it is the merge that frees it.
//!
//! Left to others: who merges when (`node::merger`), how many new tables there may be
//! (`node::merging`).

use crate::limits::{
    STORE_MARKS_MIN, STORE_MERGED_RUNS, STORE_MERGED_TABLES, STORE_RUNS_MAX, STORE_STALE_MIN_BYTES,
};

/// Levels of the LSM.
pub const LEVELS: usize = 7;
const LAST: usize = LEVELS - 1;
/// The most bytes that a lane merges for each that comes.
const HASTE_MAX: f64 = 16.0;
/// What is old is merged when one of so many parts of all contents is stale.
const STALE_PARTS: u64 = 8;
/// How many times more than a merge begins with may wait before it is urgent.
const URGENT_TIMES: f64 = 2.5;
/// See invariant 3.
#[cfg(test)]
const WRITES_MAX: u64 = 8;

/// What a level holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Level {
    /// Sorted runs: each may have to be looked at to find a row.
    pub runs: usize,
    /// Files.
    pub tables: usize,
    /// Bytes of them.
    pub bytes: u64,
}

/// What a store holds, the newest first.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Levels {
    /// By level.
    pub levels: [Level; LEVELS],
    /// Rows and marks of removal.
    pub rows: u64,
    /// Marks of removal among them.
    pub marks: u64,
    /// Bytes of what lies apart from tables.
    pub contents: u64,
    /// Bytes of it that were removed, in stale files that a merge of what is old may free.
    pub stale: u64,
    /// Bytes of all stale files that were not: such a merge writes as many at most.
    pub rest: u64,
}

/// What goes on at the same time as merges of other lanes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Lane {
    /// New tables: quick, and senders wait for it in the end.
    New,
    /// Runs of them.
    Middle,
    /// Everything: slow, and takes as much room again as all tables.
    Old,
}

/// What changes in the levels.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// All of two levels becomes one run of the second.
    Merge(u8, u8),
    /// All of a level becomes the newest of another, as it is.
    Move(u8, u8),
}

impl Lane {
    /// All of them, the most urgent first.
    pub const ALL: [Lane; 3] = [Lane::New, Lane::Middle, Lane::Old];

    /// What should be done, if anything.
    pub fn next(self, levels: &Levels) -> Option<Step> {
        let runs = |level: usize| levels.levels[level].runs;
        let has_room = |level: usize| runs(level) < STORE_RUNS_MAX;
        let least = |usual: usize| if levels.are_marks_many() { 1 } else { usual };
        match self {
            Lane::New if runs(1) > 0 => Some(Step::Move(1, 2)),
            Lane::New => {
                let is_due = levels.levels[0].tables >= least(STORE_MERGED_TABLES);
                (is_due && has_room(2)).then_some(Step::Merge(0, 1))
            }
            Lane::Middle if runs(3) > 0 => Some(Step::Move(3, 4)),
            Lane::Middle => {
                let is_due = runs(2) >= least(STORE_MERGED_RUNS);
                (is_due && has_room(4)).then_some(Step::Merge(2, 3))
            }
            // A store of an earlier server, whose levels were others.
            Lane::Old if runs(5) > 0 => Some(Step::Merge(5, LAST as u8)),
            Lane::Old => levels.is_old_due().then_some(Step::Merge(4, LAST as u8)),
        }
    }
}

impl Lane {
    /// How many bytes it should merge for each that comes to the store, so that a merge that begins
    /// now ends when there is as much to be merged again; 1 at least.
    pub fn haste(self, levels: &Levels) -> f64 {
        let [new, _, middle, _, above, _, last] = levels.levels;
        let haste = match self {
            Lane::New => new.tables as f64 / STORE_MERGED_TABLES as f64,
            Lane::Middle => middle.runs as f64 / STORE_MERGED_RUNS as f64,
            Lane::Old => (above.bytes + last.bytes) as f64 / above.bytes.max(1) as f64,
        };
        haste.clamp(1.0, HASTE_MAX)
    }

    /// How much faster than that it should merge, because more and more waits for it: 1 up to twice
    /// of what a merge begins with, and then more, in the end without a bound.
    pub fn urgency(self, levels: &Levels) -> f64 {
        let [new, _, middle, _, above, ..] = levels.levels;
        let times = match self {
            Lane::New => new.tables as f64 / STORE_MERGED_TABLES as f64,
            Lane::Middle => middle.runs as f64 / STORE_MERGED_RUNS as f64,
            Lane::Old => above.runs as f64 / STORE_MERGED_RUNS as f64,
        };
        match times {
            ..=2.0 => 1.0,
            ..URGENT_TIMES => 1.0 + (times - 2.0) * 6.0,
            _ => f64::INFINITY,
        }
    }
}

impl Step {
    /// Bytes of tables that it writes, before those that it has read are removed.
    pub fn bytes(self, levels: &Levels) -> u64 {
        match self {
            Step::Merge(from, to) => {
                let [from, to] = [from, to].map(|level| levels.levels[usize::from(level)].bytes);
                from + to + levels.rest
            }
            Step::Move(..) => 0,
        }
    }
}

impl Levels {
    /// So many rows were removed that what they hide should leave the disk.
    fn are_marks_many(&self) -> bool {
        self.marks >= STORE_MARKS_MIN && self.marks * 4 >= self.rows
    }

    fn is_old_due(&self) -> bool {
        let (above, last) = (self.levels[4], self.levels[LAST]);
        let is_much = above.runs >= STORE_MERGED_RUNS / 2 && above.bytes * 2 >= last.bytes;
        let is_long = above.runs >= STORE_RUNS_MAX / 2;
        is_much || is_long || above.runs > 0 && self.are_marks_many() || self.is_much_stale()
    }

    fn is_much_stale(&self) -> bool {
        self.stale >= STORE_STALE_MIN_BYTES && self.stale * STALE_PARTS >= self.contents
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A store in which a table is a number of rows, and the numbers of the tables that it is of.
    #[derive(Default)]
    struct Model {
        /// By level, the newest first: the tables that each run is of, the newest first.
        runs: [Vec<Vec<u64>>; LEVELS],
        written: u64,
        marks: u64,
    }

    impl Model {
        fn levels(&self) -> Levels {
            let mut levels = Levels { marks: self.marks, ..Levels::default() };
            for (level, runs) in levels.levels.iter_mut().zip(&self.runs) {
                let tables: usize = runs.iter().map(Vec::len).sum();
                // A merge makes one table of four.
                *level = Level { runs: runs.len(), tables: runs.len(), bytes: tables as u64 };
                levels.rows += tables as u64 * STORE_MARKS_MIN;
            }
            levels
        }

        fn perform(&mut self, step: Step) {
            match step {
                Step::Move(from, to) => {
                    let moved = std::mem::take(&mut self.runs[usize::from(from)]);
                    self.runs[usize::from(to)].splice(0..0, moved);
                }
                Step::Merge(from, to) => {
                    let mut runs = std::mem::take(&mut self.runs[usize::from(from)]);
                    runs.append(&mut self.runs[usize::from(to)]);
                    let run = runs.concat();
                    self.written += run.len() as u64;
                    self.runs[usize::from(to)].push(run);
                    if usize::from(to) == LAST {
                        let is_all = self.runs[..LAST].iter().skip(5).all(Vec::is_empty);
                        assert!(is_all, "nothing between is passed over");
                        self.marks = 0;
                    }
                }
            }
            self.check();
        }

        /// The newest first, whatever was merged.
        fn check(&self) {
            let order: Vec<u64> = self.runs.iter().flatten().flatten().copied().collect();
            assert!(order.is_sorted_by(|newer, older| newer > older), "{:?}", self.runs);
            assert!(self.runs[LAST].len() <= 1, "the last level is one run");
        }

        fn settle(&mut self) {
            while let Some(step) = Lane::ALL.iter().find_map(|lane| lane.next(&self.levels())) {
                self.perform(step);
            }
        }
    }

    /// Invariants 1 and 3 of store::view::tiers.
    #[test]
    fn what_is_newer_stays_above_and_a_row_is_written_a_few_times() {
        let mut model = Model::default();
        let tables = (STORE_MERGED_TABLES * 1_000) as u64;
        for table in 1..=tables {
            model.runs[0].insert(0, vec![table]);
            model.settle();
            let runs: usize = model.runs.iter().map(Vec::len).sum();
            assert!(runs <= 64, "{runs}: a read looks at each");
        }
        assert!(model.written <= WRITES_MAX * tables, "{} of {tables}", model.written);
    }

    /// Invariant 2 of store::view::tiers.
    #[test]
    fn what_goes_into_the_last_level_is_next_to_it() {
        for busy in 0..1 << 5 {
            let mut model = Model::default();
            for (level, runs) in model.runs.iter_mut().enumerate().take(LAST) {
                let count = if busy >> level & 1 == 1 { 40 } else { 0 };
                *runs = (0..count).map(|run| vec![(7 - level as u64) * 100 - run]).collect();
            }
            model.settle();
        }
    }

    /// Invariant 4 of store::view::tiers.
    #[test]
    fn no_level_gets_more_runs_than_can_be_counted() {
        let mut levels = Levels::default();
        levels.levels[0] = Level { runs: 200, tables: 200, bytes: 1 };
        levels.levels[2] = Level { runs: STORE_RUNS_MAX, tables: 1, bytes: 1 };
        assert_eq!(Lane::New.next(&levels), None, "it waits for the lane below");
        levels.levels[4] = Level { runs: STORE_RUNS_MAX, tables: 1, bytes: 1 };
        assert_eq!(Lane::Middle.next(&levels), None);
        assert_eq!(Lane::Old.next(&levels), Some(Step::Merge(4, 6)), "which never waits");
    }

    /// Invariant 5 of store::view::tiers.
    #[test]
    fn many_marks_of_removal_go_down_to_what_they_hide() {
        let mut model = Model::default();
        for table in 1..=100 {
            model.runs[0].insert(0, vec![table]);
            model.settle();
        }
        assert!(model.runs[LAST].is_empty() && !model.runs[2].is_empty());
        model.marks = model.levels().rows / 4 - 1;
        model.settle();
        assert!(model.runs[LAST].is_empty(), "they are few");
        model.marks += 1;
        model.settle();
        assert_eq!((model.runs[LAST].len(), model.runs[LAST][0].len(), model.marks), (1, 100, 0));
    }

    /// Invariant 6 of store::view::tiers.
    #[test]
    fn what_is_old_is_merged_when_much_of_what_lies_apart_is_stale() {
        let is_due = |contents, stale| {
            let levels = Levels { contents, stale, ..Levels::default() };
            Lane::Old.next(&levels) == Some(Step::Merge(4, 6))
        };
        let least = STORE_STALE_MIN_BYTES;
        assert!(is_due(least, least) && is_due(STALE_PARTS * least, least));
        assert!(!is_due(STALE_PARTS * least + 1, least) && !is_due(least - 1, least - 1));
    }
}
