//! What time it is: for people, for durations, and for minting ids.
//!
//! Invariants:
//! 1. The minting clock never goes back, whatever the wall clock does, and starts above every id
//!    that was shown before the process started.
//! 2. When the wall clock is ahead of it, it follows the wall clock at once; when it is behind,
//!    the minting clock goes on at the pace of monotonic time.
//!
//! Left to others: reading the machine's clocks (`node::clock`), what ids look like (`ids`).

use crate::chat::event::Now;
use crate::ids::{EPOCH_MS, MintClock, micros_at};

/// One reading of the machine's clocks.
#[derive(Clone, Copy, Debug)]
pub struct Reading {
    /// Microseconds since the Unix epoch.
    pub wall_micros: i64,
    /// Microseconds since the machine started.
    pub steady_micros: u64,
}

/// A shard's clock.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    mint_micros: u64,
    steady_micros: u64,
}

impl Clock {
    /// A clock that mints above `shown` (see [`MintClock::shown`]).
    pub fn new(first: Reading, shown: u64) -> Clock {
        let mint_micros = since_epoch(first.wall_micros).max(micros_at(shown));
        Clock { mint_micros, steady_micros: first.steady_micros }
    }

    /// The moment of a turn.
    pub fn now(&mut self, reading: Reading, shown: u64) -> Now {
        let passed = reading.steady_micros.saturating_sub(self.steady_micros);
        self.steady_micros += passed;
        self.mint_micros = (self.mint_micros + passed).max(since_epoch(reading.wall_micros));
        Now {
            wall_ms: reading.wall_micros.div_euclid(1000),
            steady_ms: self.steady_micros / 1000,
            mint: MintClock { micros: self.mint_micros, shown },
            is_disk_full: false,
        }
    }
}

/// 0 for a wall clock that stands before the epoch of ids.
fn since_epoch(wall_micros: i64) -> u64 {
    u64::try_from(wall_micros - EPOCH_MS * 1000).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::number_at;

    const NOON: i64 = EPOCH_MS * 1000 + 300_000_000_000_000;

    fn reading(wall_micros: i64, steady_micros: u64) -> Reading {
        Reading { wall_micros, steady_micros }
    }

    /// Invariant 1 of chat::clock.
    #[test]
    fn the_minting_clock_never_goes_back() {
        let mut clock = Clock::new(reading(NOON, 50), 0);
        let mut last = 0;
        let walls = [NOON, NOON + 10, NOON - 5_000_000, NOON - 4_000_000, NOON + 9, 0, NOON + 99];
        for (step, wall) in walls.into_iter().enumerate() {
            let now = clock.now(reading(wall, 50 + step as u64 * 3), 7);
            assert!(now.mint.micros >= last, "it went back at step {step}");
            assert_eq!(now.mint.shown, 7);
            last = now.mint.micros;
        }
    }

    /// Invariant 1 of chat::clock.
    #[test]
    fn it_starts_above_every_id_shown_before() {
        let shown = number_at(400_000_000_000_000);
        let mut clock = Clock::new(reading(NOON, 0), shown);
        let now = clock.now(reading(NOON, 0), shown);
        assert!(number_at(now.mint.micros) >= shown);
        assert_eq!(now.wall_ms, NOON / 1000);
    }

    /// Invariant 2 of chat::clock.
    #[test]
    fn it_follows_the_wall_when_that_is_ahead_and_monotonic_time_when_not() {
        let mut clock = Clock::new(reading(NOON, 0), 0);
        let ahead = clock.now(reading(NOON + 7_000_000, 10), 0).mint.micros;
        assert_eq!(ahead, since_epoch(NOON + 7_000_000));
        let behind = clock.now(reading(NOON, 1010), 0);
        assert_eq!(behind.mint.micros, ahead + 1000);
        assert_eq!(behind.steady_ms, 1);
    }
}
