//! Whoever writes tables, be it the indexer or a lane that merges, reports to a brake, which may
//! make it wait.
//!
//! Invariants:
//! 1. Every [`BRAKE_STEP_BYTES`] that go into files are reported, whoever writes them.
//!
//! Left to others: how long to wait, and for what (`node::pace`).

use crate::limits::{BRAKE_STEP_BYTES, PLACE_BYTES};
use crate::store::view::tiers::Lane;
use fjall::compaction::filter::{
    CompactionFilter, CompactionFilterResult, Context, Factory, ItemAccessor, Verdict,
};
use std::cell::Cell;
use std::fs::File;
use std::io;
use std::ops::ControlFlow;
use std::panic::RefUnwindSafe;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

thread_local! {
    /// The lane that this thread merges in, and what [`merge_in`] says else: the LSM does not say
    /// for which merge it wants a filter.
    static MERGING: Cell<(Lane, usize)> = const { Cell::new((Lane::New, 0)) };
}

/// This thread merges in a lane from now on. `apart`: for each row so many bytes of what lies apart
/// are written anew, about.
pub(super) fn merge_in(lane: Lane, apart: usize) {
    MERGING.set((lane, apart));
}

/// Where a store's files grow.
#[derive(Clone, Debug)]
pub struct Folders {
    /// Its tables.
    pub tables: PathBuf,
    /// What lies apart from them.
    pub contents: PathBuf,
}

/// Bytes that were written.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Written {
    /// Into tables.
    pub tables: usize,
    /// Apart from them: merges write these only to free what was removed.
    pub apart: usize,
}

impl Written {
    /// All of them.
    pub fn bytes(self) -> usize {
        self.tables + self.apart
    }
}

/// What is told of writing tables.
pub trait Brake: Send + Sync + RefUnwindSafe {
    /// So many more bytes went to files in these folders. May take a while. `Break`: compaction
    /// should be given up, because the server stops; the indexer is never told so.
    fn wrote(&self, folders: &Folders, written: Written, writer: Writer) -> ControlFlow<()>;

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
    folders: Folders,
}

impl Braked {
    /// Puts a brake on, for files in these folders. Only the first stays.
    pub fn set(&self, brake: Arc<dyn Brake>, folders: Folders) {
        let _ = self.0.set(On { brake, folders });
    }

    /// Somebody looks after what merges do.
    pub fn is_on(&self) -> bool {
        self.0.get().is_some()
    }

    /// See [`Brake::rest`].
    pub fn rest(&self) {
        if let Some(on) = self.0.get() {
            on.brake.rest();
        }
    }

    /// The folder of what lies apart, if so many bytes of each row are written there.
    fn names(&self, apart: usize) -> io::Result<Option<File>> {
        let on = self.0.get().filter(|_| apart > 0);
        on.map(|on| File::open(&on.folders.contents)).transpose()
    }

    /// Counts bytes from now on.
    pub fn meter(&self, writer: Writer) -> Meter {
        Meter { braked: self.clone(), writer, written: Written::default() }
    }
}

/// Counts the bytes of one writer.
pub(super) struct Meter {
    braked: Braked,
    writer: Writer,
    written: Written,
}

impl Meter {
    /// A row goes into a table, and perhaps its value apart. `Break`: no more should.
    pub fn add(&mut self, row: Written) -> ControlFlow<()> {
        self.written.tables += row.tables;
        self.written.apart += row.apart;
        if self.written.bytes() >= BRAKE_STEP_BYTES
            && let Some(On { brake, folders }) = self.braked.0.get()
        {
            return brake.wrote(folders, std::mem::take(&mut self.written), self.writer);
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
        let (lane, apart) = MERGING.get();
        let (meter, names) = (self.meter(Writer::Merger(lane)), self.names(apart));
        Box::new(Merged { meter, apart, names })
    }
}

/// Counts what a merge writes.
struct Merged {
    meter: Meter,
    apart: usize,
    /// The folder of what lies apart, if it is written: in the end there may be no descriptor.
    names: io::Result<Option<File>>,
}

impl Merged {
    /// Whether there is what the end needs: to say so before the first row ends the merge.
    fn may_begin(&mut self) -> io::Result<()> {
        match &self.names {
            Ok(_) => Ok(()),
            Err(_) => std::mem::replace(&mut self.names, Ok(None)).map(|_| ()),
        }
    }
}

impl CompactionFilter for Merged {
    fn filter_item(&mut self, row: ItemAccessor<'_>, _: &Context) -> CompactionFilterResult {
        self.may_begin()?;
        // To ask for a value that lies apart is to read it.
        let value = if row.is_indirection() { PLACE_BYTES } else { row.value()?.len() };
        match self.meter.add(Written { tables: row.key().len() + value, apart: self.apart }) {
            ControlFlow::Continue(()) => Ok(Verdict::Keep),
            // Half-written tables are not listed, and removed at the next start.
            ControlFlow::Break(()) => Err(io::Error::from(io::ErrorKind::Interrupted).into()),
        }
    }

    fn finish(self: Box<Self>) {
        // Without a row there are no new files.
        if let Ok(Some(folder)) = self.names {
            // All is written and nothing listed, and there is no other way to stop it.
            folder.sync_all().expect("the disk keeps the names of a merge's new files");
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
        fn wrote(&self, folders: &Folders, written: Written, writer: Writer) -> ControlFlow<()> {
            assert!(folders.tables.is_dir() && folders.contents.is_dir(), "{folders:?}");
            let count = match writer {
                Writer::Indexer => &self.indexer,
                Writer::Merger(Lane::Middle) => &self.merger,
                Writer::Merger(lane) => panic!("no {lane:?} merge is under way"),
            };
            count.fetch_add(written.bytes(), Ordering::Relaxed);
            ControlFlow::Continue(())
        }
    }

    #[test]
    fn a_merge_whose_new_files_could_get_no_names_does_not_begin() {
        let (folder, braked) = (TempFolder::new(), Braked::default());
        assert!(braked.names(1).expect("nobody looks after it").is_none());
        let folders = |contents| Folders { tables: folder.path().to_owned(), contents };
        braked.set(Arc::new(Counting::default()), folders(folder.path().join("nowhere")));
        assert!(braked.names(0).expect("nothing goes there").is_none());
        let error = braked.names(1).expect_err("there is no such folder");
        let mut merged =
            Merged { meter: braked.meter(Writer::Indexer), apart: 1, names: Err(error) };
        assert!(merged.may_begin().is_err() && merged.may_begin().is_ok(), "it is told once");
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
        // Once more with contents apart: a merge does not write them.
        view.apart_from = 0;
        view.write(&batch).expect("the store is well");
        let all_but_a_step = 2 * (bytes - BRAKE_STEP_BYTES)..2 * (bytes + 100_000);
        assert!(all_but_a_step.contains(&brake.indexer.load(Ordering::Relaxed)));
        brake.merger.store(0, Ordering::Relaxed);
        view.merge(Lane::Middle, Step::Merge(0, 1)).expect("the store is well");
        assert!(brake.merger.load(Ordering::Relaxed) < 100_000, "keys and places");
    }
}
