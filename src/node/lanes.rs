//! How fast tables are merged: as fast as rows come, so that merging goes on all the time.
//!
//! Whoever merges as fast as he can, and then waits until there is something to merge, takes a
//! core and the disk from the senders every few seconds: they ran at 150,000 messages a second, and
//! then at 40,000. Merged at the pace at which new tables come the same work is always there.
//!
//! Invariants:
//! 1. While rows come evenly a merge ends when there is as much to be merged again, and then the
//!    next begins: no lane falls behind and none is ahead.
//! 2. When more and more waits for a lane all the same, it merges faster, in the end without a
//!    bound: merging slowly must not be why there is little to merge.
//! 3. However little comes, a lane merges [`MERGE_BYTES_PER_SECOND`] at least.
//!
//! What lies apart from tables counts for nothing here: no merge writes it.
//!
//! Left to others: what is merged (`store::view::tiers`), what else merges wait for (`pace`).

use crate::limits::{MERGE_BYTES_PER_SECOND, PACE_AHEAD_MS_MAX};
use crate::store::view::tiers::{Lane, Levels};
use std::sync::{Mutex, PoisonError};

/// Over which time it is counted how much comes, ns.
const MEMORY_NS: f64 = 3e9;
/// How much of the time that a lane was kept from its work it makes up for, ns.
const CATCH_UP_NS: u64 = 500_000_000;
const NANOS_PER_SECOND: f64 = 1e9;

/// The pace of one shard's lanes.
#[derive(Default)]
pub struct Lanes {
    inflow: Mutex<Inflow>,
    clocks: [Mutex<Clock>; Lane::ALL.len()],
}

/// Bytes that the indexer has put into tables.
#[derive(Default)]
struct Inflow {
    /// Bytes a ns, those of long ago counting less.
    pace: f64,
    at_ns: u64,
}

struct Clock {
    /// Bytes to be merged for each that comes.
    haste: f64,
    urgency: f64,
    /// Until when what was written so far takes; steady ns.
    until_ns: u64,
}

impl Default for Clock {
    fn default() -> Clock {
        Clock { haste: 1.0, urgency: 1.0, until_ns: 0 }
    }
}

impl Lanes {
    /// The indexer has put so many bytes more into tables.
    pub fn came(&self, bytes: usize, now_ns: u64) {
        let mut inflow = self.inflow.lock().unwrap_or_else(PoisonError::into_inner);
        inflow.pace = inflow.pace_at(now_ns) + bytes as f64 / MEMORY_NS;
        inflow.at_ns = now_ns;
    }

    /// A lane begins a merge; `haste`: see [`Lane::haste`].
    pub fn begin(&self, lane: Lane, haste: f64) {
        let mut clock = self.clock(lane);
        clock.haste = haste;
    }

    /// What waits has changed.
    pub fn see(&self, levels: &Levels) {
        for lane in Lane::ALL {
            self.clock(lane).urgency = lane.urgency(levels);
        }
    }

    /// How long a lane should wait that has just written so many bytes, ns.
    pub fn wait_ns(&self, lane: Lane, bytes: usize, now_ns: u64) -> u64 {
        let inflow = self.inflow.lock().unwrap_or_else(PoisonError::into_inner).pace_at(now_ns);
        let mut clock = self.clock(lane);
        let least = MERGE_BYTES_PER_SECOND as f64 / NANOS_PER_SECOND;
        let takes_ns = bytes as f64 / ((inflow * clock.haste).max(least) * clock.urgency);
        let most = now_ns + PACE_AHEAD_MS_MAX * 1_000_000;
        // The time that the work itself took is part of the pace.
        let begin = clock.until_ns.max(now_ns.saturating_sub(CATCH_UP_NS));
        clock.until_ns = begin.saturating_add(takes_ns as u64).min(most);
        clock.until_ns.saturating_sub(now_ns)
    }

    fn clock(&self, lane: Lane) -> std::sync::MutexGuard<'_, Clock> {
        self.clocks[lane as usize].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inflow {
    fn pace_at(&self, now_ns: u64) -> f64 {
        self.pace * (-(now_ns.saturating_sub(self.at_ns) as f64) / MEMORY_NS).exp()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::{BRAKE_STEP_BYTES, STORE_MERGED_TABLES};

    const SECOND: u64 = 1_000_000_000;
    const TABLE_BYTES: usize = 28 << 20;

    /// Invariant 1 of node::lanes.
    #[test]
    fn a_merge_ends_when_there_is_as_much_to_be_merged_again() {
        for tables_a_second in [2, 3] {
            let (lanes, mut new, mut merging) = (Lanes::default(), 0_usize, None);
            let mut most = 0;
            let step_ns = SECOND / 1_000;
            let (mut merger_ns, mut come) = (0, 0);
            for now_ns in (0..300 * SECOND).step_by(step_ns as usize) {
                // Rows come evenly, in steps.
                come += tables_a_second * TABLE_BYTES / 1_000;
                if come >= BRAKE_STEP_BYTES {
                    lanes.came(BRAKE_STEP_BYTES, now_ns);
                    come -= BRAKE_STEP_BYTES;
                }
                if now_ns % (SECOND / tables_a_second as u64) < step_ns {
                    new += 1;
                }
                if merging.is_none() && new >= STORE_MERGED_TABLES {
                    let mut levels = Levels::default();
                    levels.levels[0].tables = new;
                    lanes.begin(Lane::New, Lane::New.haste(&levels));
                    merging = Some((new, new * TABLE_BYTES));
                    merger_ns = now_ns;
                }
                while let Some((tables, left)) = merging
                    && merger_ns <= now_ns
                {
                    merger_ns += lanes.wait_ns(Lane::New, BRAKE_STEP_BYTES, now_ns);
                    merging = Some((tables, left.saturating_sub(BRAKE_STEP_BYTES)));
                    if left <= BRAKE_STEP_BYTES {
                        (new, merging) = (new - tables, None);
                    }
                }
                if now_ns > 100 * SECOND {
                    most = most.max(new);
                    let is_idle = merging.is_none() && new < STORE_MERGED_TABLES / 2;
                    assert!(!is_idle, "it was ahead: {new}");
                }
            }
            assert!(most <= STORE_MERGED_TABLES * 5 / 2, "{most}");
        }
    }

    /// Invariant 2 of node::lanes.
    #[test]
    fn the_more_waits_the_faster_a_lane_merges() {
        let lanes = Lanes::default();
        let mut before_ns = u64::MAX;
        for tables in (0..).step_by(4) {
            let mut levels = Levels::default();
            levels.levels[0].tables = tables;
            lanes.see(&levels);
            // Long after the last one.
            let now_ns = (tables as u64 + 1) * 100 * SECOND;
            lanes.wait_ns(Lane::New, 0, now_ns);
            let wait_ns = lanes.wait_ns(Lane::New, 20 << 20, now_ns - CATCH_UP_NS);
            assert!(wait_ns <= before_ns, "{tables}");
            if wait_ns == 0 {
                assert!((3 * STORE_MERGED_TABLES / 2..3 * STORE_MERGED_TABLES).contains(&tables));
                return;
            }
            before_ns = wait_ns;
        }
    }

    /// Invariant 3 of node::lanes.
    #[test]
    fn a_lane_goes_on_when_nothing_comes() {
        let lanes = Lanes::default();
        lanes.begin(Lane::Old, 1.0);
        let (mut now_ns, mut written) = (5, 0);
        while now_ns < 60 * SECOND {
            now_ns += lanes.wait_ns(Lane::Old, 64 << 10, now_ns);
            written += 64 << 10;
        }
        let expected = 60 * MERGE_BYTES_PER_SECOND;
        assert!((expected * 99 / 100..=expected * 101 / 100).contains(&written), "{written}");
    }
}
