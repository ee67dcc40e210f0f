//! Whoever runs cases: panics become findings, and a case that does not end is told.

use crate::fuzz::case::{Target, Trail, Wrong};
use crate::running::Running;
use std::cell::{Cell, RefCell};
use std::panic::{self, AssertUnwindSafe};
use std::sync::Once;
use std::time::Duration;

/// A case that takes longer does not end. The slowest take some 50 ms on a busy machine.
pub const CASE_TIME_MAX: Duration = Duration::from_secs(30);

thread_local! {
    /// Where and why this thread panicked, while it runs a case.
    static PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
    static IS_RUNNING: Cell<bool> = const { Cell::new(false) };
}

/// A worker's case, for whoever watches.
pub type Watched = Running<Vec<u8>>;

impl Watched {
    /// Runs a case; a panic is as wrong as anything.
    pub fn run(&self, target: &dyn Target, case: &[u8], trail: &mut Trail) -> Result<(), Wrong> {
        hear_panics();
        self.begin(case.to_vec());
        IS_RUNNING.set(true);
        let outcome = panic::catch_unwind(AssertUnwindSafe(|| target.run(case, trail)));
        IS_RUNNING.set(false);
        self.end();
        outcome.unwrap_or_else(|_| {
            let said = PANIC.take().unwrap_or_default();
            let (place, words) = said.split_once('\n').unwrap_or((&said, ""));
            Err(Wrong::new(format!("panic at {place}"), words))
        })
    }
}

/// Panics of threads that run a case are kept, those of others are told as ever.
fn hear_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !IS_RUNNING.get() {
                return before(info);
            }
            let place = info.location().map_or_else(String::new, ToString::to_string);
            let words = info.payload_as_str().unwrap_or("").replace('\n', " ");
            PANIC.set(Some(format!("{place}\n{words}")));
        }));
    });
}
