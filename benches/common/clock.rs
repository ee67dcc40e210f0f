//! The clock of all benches.

use rustix::time::{ClockId, clock_gettime};

/// CPU time of this thread, ns.
pub fn cpu_nanos() -> u64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}
