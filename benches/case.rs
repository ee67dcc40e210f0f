//! A case of the benches, and what one run of it takes.

use allocation_counter::measure;
use perf_event::{Builder, Counter};
use rustix::time::{ClockId, clock_gettime};
use std::hint::black_box;

/// Runs of one case, at most.
pub const RUNS_MAX: usize = 24;
/// The first runs, which do not count: maps, arenas and queues reach the size at which they stay.
pub const WARMING: usize = 3;
/// What tables that grow may allocate beside work that allocates nothing: once in so many
/// operations.
const STEADY_OPERATIONS: u64 = 256;

/// One run: it prepares what it works on and has the meter take all operations at once.
pub type Run = Box<dyn FnMut(&mut Meter)>;

/// Something whose cost is worth knowing.
pub struct Case {
    /// Subject and case.
    pub name: &'static str,
    /// What one run does.
    pub operations: u64,
    memory: Memory,
    prepare: Box<dyn FnOnce() -> Run>,
}

/// What a case may do to memory.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Memory {
    /// Nothing is allocated, but by tables that grow.
    Steady,
    /// There are reasons to allocate.
    Allocated,
}

/// What one run took.
pub struct Taken {
    /// CPU time of this thread.
    pub nanos: u64,
    /// Calls of the allocator.
    pub allocations: u64,
    /// `None`: the processor does not count them here.
    pub instructions: Option<u64>,
}

/// What all runs took that count.
pub struct Ran {
    /// One after the other.
    pub taken: Vec<Taken>,
    /// Nothing was allocated that should not.
    pub is_well: bool,
}

impl Case {
    /// A case of `operations` a run.
    pub fn new(
        name: &'static str,
        operations: u64,
        prepare: impl FnOnce() -> Run + 'static,
    ) -> Case {
        Case { name, operations, memory: Memory::Steady, prepare: Box::new(prepare) }
    }

    /// A case that does the same again and again.
    pub fn repeated<O: FnMut() + 'static>(
        name: &'static str,
        operations: u64,
        prepare: impl FnOnce() -> O + 'static,
    ) -> Case {
        Case::new(name, operations, move || {
            let mut operate = prepare();
            Box::new(move |meter| meter.take(|| (0..operations).for_each(|_| operate())))
        })
    }

    /// The same case, which may allocate.
    pub fn allocating(self) -> Case {
        Case { memory: Memory::Allocated, ..self }
    }

    /// Warms up and then runs it so many times. Complains when it allocated each time and should
    /// not.
    pub fn run(self, meter: &mut Meter, runs: usize) -> Ran {
        assert!(WARMING + runs <= RUNS_MAX, "cases make room for so many");
        let mut run = (self.prepare)();
        let all = (0..WARMING + runs).map(|_| meter.taken_by(&mut run));
        let taken: Vec<Taken> = all.skip(WARMING).collect();
        let least = taken.iter().map(|taken| taken.allocations).min().unwrap_or(0);
        let is_steady = least * STEADY_OPERATIONS <= self.operations;
        let is_well = is_steady || self.memory == Memory::Allocated;
        if !is_well {
            let (name, operations) = (self.name, self.operations);
            eprintln!(
                "{name}: {least} allocations in {operations} operations, it is to do without"
            );
        }
        Ran { taken, is_well }
    }
}

/// Takes what operations cost.
pub struct Meter {
    clock: fn() -> u64,
    counter: Option<Counter>,
    taken: Option<Taken>,
}

impl Meter {
    /// A meter that counts instructions if the processor does.
    pub fn new() -> Meter {
        Meter { clock: cpu_nanos, counter: Builder::new().build().ok(), taken: None }
    }

    /// A meter of allocations only: under callgrind there is no clock that could be read.
    pub fn blind() -> Meter {
        Meter { clock: || 0, counter: None, taken: None }
    }

    /// Whether the processor counts instructions here.
    pub fn counts(&self) -> bool {
        self.counter.is_some()
    }

    /// Does all operations of a run.
    pub fn take(&mut self, mut work: impl FnMut()) {
        let before = self.instructions();
        let begun = (self.clock)();
        let counted = measure(|| observed(&mut work));
        let nanos = (self.clock)() - begun;
        let instructions = self.instructions().zip(before).map(|(after, before)| after - before);
        self.taken = Some(Taken { nanos, allocations: counted.count_total, instructions });
    }

    fn taken_by(&mut self, run: &mut Run) -> Taken {
        run(self);
        self.taken.take().expect("a run has its operations taken")
    }

    /// Instructions of this thread outside of the kernel; a counter stands still while it is read.
    fn instructions(&mut self) -> Option<u64> {
        let counter = self.counter.as_mut()?;
        counter.disable().ok()?;
        let count = counter.read().ok();
        counter.enable().ok()?;
        count
    }
}

/// What is counted happens in here: callgrind is told this name, see `counts`.
#[inline(never)]
fn observed(work: &mut dyn FnMut()) {
    work();
    // Or this function would have left before its work is done.
    black_box(());
}

fn cpu_nanos() -> u64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}
