//! What readers see: the tables as they were listed last.
//!
//! The LSM lists tables under a lock that it holds while new ones are synced and opened, at the end
//! of a large merge for half a second. Who read through that lock would stand still for as long;
//! so readers have a list of their own, which is replaced when there is a newer one.
//!
//! Invariants:
//! 1. A read waits for nobody who makes or merges tables.
//! 2. What was listed stays readable as long as somebody reads it, whatever is merged meanwhile.
//! 3. A list is never replaced by an older one.

use super::contents::Contents;
use arc_swap::ArcSwap;
use fjall::AbstractTree;
use lsm_tree::table::filter::standard_bloom::Builder;
use lsm_tree::{AnyTree, InternalValue, SeqNo, Tree, UserValue};
use std::path::Path;
use std::sync::Arc;

/// Rows in order, to be taken from either end.
pub(super) type Rows = Box<dyn DoubleEndedIterator<Item = lsm_tree::Result<InternalValue>>>;
type Get = dyn Fn(&[u8]) -> lsm_tree::Result<Option<UserValue>> + Send + Sync;
type Scan = dyn Fn(&[u8], &[u8]) -> Rows + Send + Sync;

/// A list of tables. What it consists of the LSM does not name: it is kept within functions.
struct List {
    /// Later lists have higher numbers.
    number: u64,
    get: Box<Get>,
    scan: Box<Scan>,
}

/// The newest list that is known.
#[derive(Clone)]
pub(super) struct Listed {
    newest: Arc<ArcSwap<List>>,
    /// Those before it. With the last one that has it goes a table that was merged, and a file of
    /// 30 MB takes 15 ms to go: not under a reader's hands, nor under the LSM's lock.
    retired: Arc<ArcSwap<Vec<Arc<List>>>>,
}

impl Listed {
    /// What a tree lists now. May wait for whoever changes it.
    pub fn of(tree: &AnyTree) -> Listed {
        let newest = Arc::new(ArcSwap::from_pointee(List::of(tree)));
        Listed { newest, retired: Arc::default() }
    }

    /// Shows what a tree lists now. May wait for whoever changes it; readers do not.
    pub fn renew(&self, tree: &AnyTree) {
        let newer = Arc::new(List::of(tree));
        let before = self
            .newest
            .rcu(|list| if list.number < newer.number { newer.clone() } else { list.clone() });
        self.retired.rcu(|lists| {
            let mut lists = Vec::clone(lists);
            lists.push(before.clone());
            lists
        });
    }

    /// Removes the tables that nobody reads any more. Takes a while: for those who merge. `folder`:
    /// the tree's.
    pub fn tidy(&self, tree: &AnyTree, folder: &Path) -> lsm_tree::Result<()> {
        let retired = self.retired.swap(Arc::default());
        // The LSM forgets its older lists while ours still hold what they list.
        tree.get_version_history_lock().maintenance(folder, SeqNo::MAX)?;
        drop(retired);
        Ok(())
    }

    /// Reads one row.
    pub fn get(&self, key: &[u8]) -> lsm_tree::Result<Option<UserValue>> {
        (self.newest.load().get)(key)
    }

    /// Reads keys `from..to`.
    pub fn scan(&self, from: &[u8], to: &[u8]) -> Rows {
        (self.newest.load().scan)(from, to)
    }
}

impl List {
    fn of(tree: &AnyTree) -> List {
        // The LSM tells its list in two ways: contents are looked for where the first says, for
        // tables of the second, too.
        let (version, newest) = of_one_moment(
            || tree.current_version(),
            |version| version.id(),
            || tree.get_version_history_lock().latest_version(),
        );
        let number = version.id();
        // Held with the list, its files stay.
        let files = version.blob_files.clone();
        let contents = Arc::new(Contents::of(tree, move |number| files.get(number).cloned()));
        let resolved = contents.clone();
        let get = Box::new(move |key: &[u8]| {
            let hash = Builder::get_hash(key);
            let runs = version.iter_levels().flat_map(|level| level.iter());
            for table in runs.filter_map(|run| run.get_for_key(key)) {
                if let Some(row) = table.get(key, SeqNo::MAX, hash)? {
                    let row = (!row.is_tombstone()).then(|| contents.resolve(row)).transpose()?;
                    return Ok(row.map(|row| row.value));
                }
            }
            Ok(None)
        });
        let scan = Box::new(move |from: &[u8], to: &[u8]| -> Rows {
            let range = from..to;
            let rows = Tree::create_internal_range(newest.clone(), &range, SeqNo::MAX, None);
            let contents = resolved.clone();
            Box::new(rows.map(move |row| contents.resolve(row?)))
        });
        List { number, get, scan }
    }
}

/// Asks for both until nothing has changed between: until the first has the same number before and
/// after.
fn of_one_moment<A, B>(
    first: impl Fn() -> A,
    number: impl Fn(&A) -> u64,
    second: impl Fn() -> B,
) -> (A, B) {
    loop {
        let both = (first(), second());
        if number(&first()) == number(&both.0) {
            return both;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::of_one_moment;
    use crate::store::Direction;
    use crate::store::tests::{put, rows, value};
    use crate::store::view::View;
    use crate::store::view::tests::{BEGINNING, TempFolder, open};
    use crate::store::view::tiers::{Lane, Step};
    use fjall::AbstractTree;
    use std::cell::Cell;

    /// Invariant 1 of store::view::listed.
    #[test]
    fn a_read_waits_for_nobody_who_changes_the_list() {
        let folder = TempFolder::new();
        let mut view = open(&folder);
        put(&mut view, b"a", b"1");
        let reader = view.reader();
        // As the LSM holds it at the end of a merge.
        let _changing = view.rows.tree.get_version_history_lock();
        assert_eq!(value(&reader, b"a"), Some(b"1".to_vec()));
        assert_eq!(rows(&reader, (b"a", b"b"), Direction::Backward).len(), 1);
    }

    /// Invariant 2 of store::view::listed.
    #[test]
    fn what_was_listed_stays_readable() {
        let folder = TempFolder::new();
        let mut view = open(&folder);
        put(&mut view, b"a", b"1");
        put(&mut view, b"b", b"1");
        let reading = view.listed.scan(b"a", b"c");
        view.merge(Lane::New, Step::Merge(0, 1)).expect("the store is well");
        put(&mut view, b"a", b"2");
        view.merge(Lane::New, Step::Merge(0, 1)).expect("the store is well");
        let found: Vec<_> = reading.map(|row| row.expect("it is there").value.to_vec()).collect();
        assert_eq!(found, [b"1".to_vec(), b"1".to_vec()]);
        assert_eq!(value(&view, b"a"), Some(b"2".to_vec()));
    }

    /// Invariant 2 of store::view::listed.
    #[test]
    fn what_changes_between_two_questions_is_asked_for_again() {
        let (now, changes) = (Cell::new(1), Cell::new(3));
        let second = || {
            if changes.get() > 0 {
                changes.set(changes.get() - 1);
                now.set(now.get() + 1);
            }
            now.get()
        };
        assert_eq!(of_one_moment(|| now.get(), |number| *number, second), (4, 4));
    }

    /// Invariant 3 of store::view::listed.
    #[test]
    fn a_list_is_never_replaced_by_an_older_one() {
        let (folder, other) = (TempFolder::new(), TempFolder::new());
        let mut view = open(&folder);
        let older = View::open(other.path(), BEGINNING, 1 << 20).expect("ours");
        put(&mut view, b"a", b"1");
        put(&mut view, b"b", b"1");
        view.listed.renew(&older.rows.tree);
        assert_eq!(value(&view, b"a"), Some(b"1".to_vec()));
    }
}
