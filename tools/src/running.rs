//! What threads are at, and whether they come to its end.

use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Between two looks at how long everything takes.
const LOOK: Duration = Duration::from_secs(1);

/// What one thread is at, and since when.
pub struct Running<T>(Mutex<Option<(Instant, T)>>);

impl<T> Default for Running<T> {
    fn default() -> Running<T> {
        Running(Mutex::new(None))
    }
}

impl<T: Clone> Running<T> {
    fn lock(&self) -> MutexGuard<'_, Option<(Instant, T)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Something begins.
    pub fn begin(&self, what: T) {
        *self.lock() = Some((Instant::now(), what));
    }

    /// It is over.
    pub fn end(&self) {
        *self.lock() = None;
    }

    /// What has been running for longer.
    pub fn overdue(&self, limit: Duration) -> Option<T> {
        let running = self.lock();
        let (since, what) = running.as_ref()?;
        (since.elapsed() > limit).then(|| what.clone())
    }
}

/// Looks on until the other end of `done` is dropped. When something takes longer it is told, and
/// the process ends: no thread can be made to.
pub fn watch<T: Clone>(
    running: &[Running<T>],
    limit: Duration,
    done: Receiver<()>,
    tell: impl Fn(T),
) {
    while done.recv_timeout(LOOK) == Err(RecvTimeoutError::Timeout) {
        if let Some(what) = running.iter().find_map(|one| one.overdue(limit)) {
            tell(what);
            std::process::exit(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_takes_too_long_is_known() {
        let running = Running::default();
        assert_eq!(running.overdue(Duration::ZERO), None);
        *running.lock() = Some((Instant::now() - Duration::from_secs(1), 7));
        assert_eq!(running.overdue(Duration::from_millis(999)), Some(7));
        assert_eq!(running.overdue(Duration::from_secs(60)), None);
    }
}
