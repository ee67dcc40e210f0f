//! Whoever writes tables, be it the indexer or a lane that merges, reports to a brake, which may
//! make it wait.
//!
//! Invariants:
//! 1. Every [`BRAKE_STEP_BYTES`] that go into tables are reported, whoever writes them.
//!
//! Left to others: how long to wait, and for what (`node::pace`).

use crate::limits::BRAKE_STEP_BYTES;
use crate::store::view::tiers::Lane;
use fjall::compaction::filter::{
    CompactionFilter, CompactionFilterResult, Context, Factory, ItemAccessor, Verdict,
};
use std::cell::Cell;
use std::io;
use std::ops::ControlFlow;
use std::panic::RefUnwindSafe;
use std::path::Path;
use std::sync::{Arc, OnceLock};

thread_local! {
    /// The lane that this thread merges in: the LSM does not say for which merge it wants a filter.
    static MERGING: Cell<Lane> = const { Cell::new(Lane::New) };
}

/// This thread merges in a lane from now on.
pub(super) fn merge_in(lane: Lane) {
    MERGING.set(lane);
}

/// What is told of writing tables.
pub trait Brake: Send + Sync + RefUnwindSafe {
    /// So many more bytes went to tables in this folder. May take a while. `Break`: compaction
    /// should be given up, because the server stops; the indexer is never told so.
    fn wrote(&self, tables: &Path, bytes: usize, writer: Writer) -> ControlFlow<()>;

    /// The indexer has worked for a millisecond or a few without a row that it wrote. May take a
    /// moment.
    fn rest(&self) {}

    /// Somebody waits for compaction now, and can do nothing else.
    fn hurry(&self) {}
}

/// Who writes a table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Writer {
    /// The indexer: rows that no table has.
    Indexer,
    /// A lane that merges: rows that tables have.
    Merger(Lane),
}

/// The brake of one store, which may be put on later than the store is opened.
#[derive(Clone, Default)]
pub(super) struct Braked(Arc<OnceLock<On>>);

/// A brake that is put on.
struct On {
    brake: Arc<dyn Brake>,
    tables: Box<Path>,
}

impl Braked {
    /// Puts a brake on, for tables in this folder. Only the first stays.
    pub fn set(&self, brake: Arc<dyn Brake>, tables: &Path) {
        let _ = self.0.set(On { brake, tables: tables.into() });
    }

    /// See [`Brake::rest`].
    pub fn rest(&self) {
        if let Some(on) = self.0.get() {
            on.brake.rest();
        }
    }

    /// Counts bytes from now on.
    pub fn meter(&self, writer: Writer) -> Meter {
        Meter { braked: self.clone(), writer, bytes: 0 }
    }
}

/// Counts the bytes of one writer.
pub(super) struct Meter {
    braked: Braked,
    writer: Writer,
    bytes: usize,
}

impl Meter {
    /// A row goes into a table. `Break`: no more should.
    pub fn add(&mut self, bytes: usize) -> ControlFlow<()> {
        self.bytes += bytes;
        if self.bytes >= BRAKE_STEP_BYTES
            && let Some(On { brake, tables }) = self.braked.0.get()
        {
            return brake.wrote(tables, std::mem::take(&mut self.bytes), self.writer);
        }
        ControlFlow::Continue(())
    }
}

/// The LSM shows each row that it merges to a filter: the only place where its compaction can be
/// slowed down.
impl Factory for Braked {
    fn name(&self) -> &str {
        "brake"
    }

    fn make_filter(&self, _: &Context) -> Box<dyn CompactionFilter> {
        Box::new(self.meter(Writer::Merger(MERGING.get())))
    }
}

impl CompactionFilter for Meter {
    fn filter_item(&mut self, row: ItemAccessor<'_>, _: &Context) -> CompactionFilterResult {
        match self.add(row.key().len() + row.value()?.len()) {
            ControlFlow::Continue(()) => Ok(Verdict::Keep),
            // Half-written tables are not listed, and removed at the next start.
            ControlFlow::Break(()) => Err(io::Error::from(io::ErrorKind::Interrupted).into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::view::tests::{TempFolder, open};
    use crate::store::view::tiers::Step;
    use crate::store::{Batch, Store};
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[derive(Default)]
    struct Counting {
        indexer: AtomicUsize,
        merger: AtomicUsize,
    }

    impl Brake for Counting {
        fn wrote(&self, tables: &Path, bytes: usize, writer: Writer) -> ControlFlow<()> {
            assert!(tables.is_dir(), "{} is where tables are", tables.display());
            let count = match writer {
                Writer::Indexer => &self.indexer,
                Writer::Merger(Lane::Middle) => &self.merger,
                Writer::Merger(lane) => panic!("no {lane:?} merge is under way"),
            };
            count.fetch_add(bytes, Ordering::Relaxed);
            ControlFlow::Continue(())
        }
    }

    /// Invariant 1 of store::view::brake.
    #[test]
    fn tables_and_their_compaction_report_all_that_they_write() {
        let folder = TempFolder::new();
        let mut view = open(&folder);
        let brake = Arc::new(Counting::default());
        view.brake(brake.clone());
        let mut batch = Batch::new();
        for row in 0..1_000_u32 {
            batch.put(&[&[1][..], &row.to_be_bytes()].concat(), &[7; 4_000]);
        }
        let bytes = 4_000_000;
        view.write(&batch).expect("the store is well");
        let all_but_a_step = bytes - BRAKE_STEP_BYTES..bytes + 100_000;
        assert!(all_but_a_step.contains(&brake.indexer.load(Ordering::Relaxed)));
        view.merge(Lane::Middle, Step::Merge(0, 3)).expect("the store is well");
        assert!(all_but_a_step.contains(&brake.merger.load(Ordering::Relaxed)));
    }
}
