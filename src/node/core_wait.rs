//! How long a shard's thread was ready to run and had no core, as the kernel counts it.
//!
//! A core that the host of a virtual machine takes away is not in it: the kernel does not know.

use std::fs::File;
use std::os::unix::fs::FileExt;

/// One thread's waiting.
pub struct CoreWait {
    /// Nothing where the kernel does not count it (`CONFIG_SCHED_INFO`).
    counted: Option<File>,
    waited: u64,
}

impl CoreWait {
    /// The calling thread's, from now on.
    pub fn of_this_thread() -> CoreWait {
        let counted = File::open("/proc/thread-self/schedstat").ok();
        let mut wait = CoreWait { counted, waited: 0 };
        wait.look();
        wait
    }

    /// How long the thread has waited since the last look, ns; 0 where nobody counts it. One
    /// system call, about 1 us.
    pub fn look(&mut self) -> u64 {
        let mut text = [0; 64];
        let Some(Ok(read)) = self.counted.as_ref().map(|file| file.read_at(&mut text, 0)) else {
            return 0;
        };
        let Some(waited) = waited_nanos(&text[..read]) else { return 0 };
        waited.saturating_sub(std::mem::replace(&mut self.waited, waited))
    }
}

/// The second of three numbers: time on a core, time waiting for one, turns on a core.
fn waited_nanos(schedstat: &[u8]) -> Option<u64> {
    str::from_utf8(schedstat).ok()?.split_ascii_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use rustix::thread::{CpuSet, sched_getcpu, sched_setaffinity};
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::Instant;

    /// Does something on a core that another thread wants all the time.
    pub fn beside_another<R: Send>(work: impl FnOnce() -> R + Send) -> R {
        let mut core = CpuSet::new();
        core.set(sched_getcpu());
        let go_there = || sched_setaffinity(None, &core).expect("a core of this process");
        let is_done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                go_there();
                while !is_done.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            });
            let works = scope.spawn(|| {
                go_there();
                work()
            });
            let done = works.join();
            is_done.store(true, Ordering::Relaxed);
            done.expect("it does not panic")
        })
    }

    /// Wants the core until the thread has waited so long for it, a minute at most.
    pub fn until_waited(nanos: u64) {
        let (mut wait, mut waited) = (CoreWait::of_this_thread(), 0);
        let begun = Instant::now();
        while waited < nanos {
            waited += wait.look();
            assert!(begun.elapsed().as_secs() < 60, "it has waited for {waited} ns only");
        }
    }

    #[test]
    fn the_kernels_line_is_understood_and_nonsense_is_not() {
        assert_eq!(waited_nanos(b"4051234 2730640 17\n"), Some(2_730_640));
        for nonsense in [&b""[..], b"4051234", b"4051234 -1 17", b"\xff \xff \xff"] {
            assert_eq!(waited_nanos(nonsense), None);
        }
    }

    #[test]
    fn who_shares_a_core_waits_for_it() {
        beside_another(|| until_waited(20_000_000));
    }
}
