//! The machine's clocks.
//!
//! Left to others: what a shard makes of a reading (`chat::clock`).

use crate::chat::clock::Reading;
use rustix::time::{ClockId, clock_gettime};

/// Reads both clocks: two calls into the vDSO, about 40 ns.
pub fn read() -> Reading {
    let wall = clock_gettime(ClockId::Realtime);
    Reading {
        wall_micros: wall.tv_sec * 1_000_000 + wall.tv_nsec / 1000,
        steady_micros: steady_nanos() / 1000,
    }
}

/// Monotonic time in ns, for measuring stages.
pub fn steady_nanos() -> u64 {
    let steady = clock_gettime(ClockId::Monotonic);
    steady.tv_sec as u64 * 1_000_000_000 + steady.tv_nsec as u64
}
