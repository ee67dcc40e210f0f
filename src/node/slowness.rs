//! Whether the disk keeps a shard waiting for so long that somebody should look at it.
//!
//! Invariants:
//! 1. A disk is slow from when one request to it, or a store that takes no more, has lasted
//!    [`DISK_SLOW_MS`], until that was over for [`DISK_SLOW_SHOWN_MS`].
//! 2. Many short waits, one after the other, do not make a disk slow.
//!
//! Left to others: what waits (`node::log_writer`), who is told (`admin::status`).

use crate::limits::{DISK_SLOW_MS, DISK_SLOW_SHOWN_MS};

/// What is remembered of one shard's waiting.
#[derive(Default)]
pub struct Slowness {
    /// Since when the store takes no more, steady ms.
    full_since: Option<u64>,
    /// When it was last slow, steady ms.
    slow_at: Option<u64>,
}

impl Slowness {
    /// Takes a look. `in_flight`: when the oldest request that the disk has not answered was begun,
    /// steady ms like `now_ms`; `is_full`: as much waits for the disk as may.
    pub fn see(&mut self, now_ms: u64, in_flight: Option<u64>, is_full: bool) {
        self.full_since = is_full.then(|| self.full_since.unwrap_or(now_ms));
        let since = [in_flight, self.full_since].into_iter().flatten().min();
        let is_shown = |at: &u64| now_ms.saturating_sub(*at) < DISK_SLOW_SHOWN_MS;
        self.slow_at = match since {
            Some(since) if now_ms.saturating_sub(since) >= DISK_SLOW_MS => Some(now_ms),
            _ => self.slow_at.filter(is_shown),
        };
    }

    /// Whether it is slow, as far as was seen.
    pub fn is_slow(&self) -> bool {
        self.slow_at.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Invariant 1 of node::slowness.
    #[test]
    fn a_disk_is_slow_while_something_waits_for_long_and_a_while_after() {
        for is_full in [false, true] {
            let mut slowness = Slowness::default();
            let mut is_slow_at = |now: u64, waits: bool| {
                let in_flight = (waits && !is_full).then_some(50);
                slowness.see(now, in_flight, waits && is_full);
                slowness.is_slow()
            };
            assert!(!is_slow_at(50, true));
            assert!(!is_slow_at(49 + DISK_SLOW_MS, true));
            assert!(is_slow_at(50 + DISK_SLOW_MS, true));
            assert!(is_slow_at(100 + DISK_SLOW_MS, true));
            assert!(is_slow_at(99 + DISK_SLOW_MS + DISK_SLOW_SHOWN_MS, false));
            assert!(!is_slow_at(100 + DISK_SLOW_MS + DISK_SLOW_SHOWN_MS, false));
        }
    }

    /// Invariant 2 of node::slowness.
    #[test]
    fn short_waits_in_a_row_are_none_of_its_business() {
        let mut slowness = Slowness::default();
        for now in (0..100 * DISK_SLOW_MS).step_by(DISK_SLOW_MS as usize / 2) {
            let waits = now % DISK_SLOW_MS == 0;
            slowness.see(now, Some(now - now % DISK_SLOW_MS), waits);
            assert!(!slowness.is_slow(), "after {now} ms");
        }
    }
}
