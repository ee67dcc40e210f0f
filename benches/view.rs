//! Rows of tables, whose blocks are in memory: one of a history, a page of it. And those whose
//! contents lie apart, in a file that the kernel has in memory.

use crate::case::Case;
use crate::wire::user;
use anser::limits::APART_TABLE_BYTES;
use anser::store::keys::Key;
use anser::store::log::format::Covered;
use anser::store::view::View;
use anser::store::{Batch, Direction, Position, Range, Store};
use std::hint::black_box;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

const USERS: u64 = 16;
/// Messages of each user's history; 16 neighbours share a row of the table.
const MESSAGES: u64 = 80;
const PAGE: u64 = 20;
const CACHE_BYTES: u64 = 16 << 20;

/// What lists and acks read.
pub fn cases() -> Vec<Case> {
    vec![
        Case::repeated("store/view-get", USERS * MESSAGES, || get(0)).allocating(),
        Case::repeated("store/view-get-apart", USERS * MESSAGES, || get(APART_TABLE_BYTES))
            .allocating(),
        Case::repeated("store/view-absent", USERS * MESSAGES, absent).allocating(),
        Case::repeated("store/view-page", USERS * (MESSAGES / PAGE), || page(0)).allocating(),
        Case::repeated("store/view-page-apart", USERS * (MESSAGES / PAGE), || {
            page(APART_TABLE_BYTES)
        })
        .allocating(),
    ]
}

/// Every row once, in no order, of a table with so many bytes of others.
fn get(others: usize) -> impl FnMut() {
    let (store, mut at) = (Stored::beside(others), 0);
    move || {
        at = (at + 611) % (USERS * MESSAGES);
        let key = Key::message(user(1 + (at / MESSAGES) as i64), 1 + at % MESSAGES);
        let bytes = store.view.get(&key, <[u8]>::len).expect("the store is well");
        assert_eq!(black_box(bytes), Some(300));
    }
}

/// A row beyond the newest: each filter says so.
fn absent() -> impl FnMut() {
    let (store, mut at) = (Stored::beside(0), 0);
    move || {
        at = (at + 611) % (USERS * MESSAGES);
        let key = Key::message(user(1 + (at / MESSAGES) as i64), 1000 + at % MESSAGES);
        let found = store.view.get(&key, |_| ()).expect("the store is well");
        assert_eq!(black_box(found), None);
    }
}

/// One page, newest first, of a table with so many bytes of others.
fn page(others: usize) -> impl FnMut() {
    let (store, mut at) = (Stored::beside(others), 0);
    move || {
        at = (at + PAGE) % (USERS * MESSAGES);
        let (owner, first) = (user(1 + (at / MESSAGES) as i64), 1 + at % MESSAGES);
        let (from, to) = (Key::message(owner, first), Key::message(owner, first + PAGE));
        let range = Range { from: &from, to: &to, direction: Direction::Backward };
        let mut bytes = 0;
        let mut visit = |_: &[u8], value: &[u8]| {
            bytes += value.len();
            ControlFlow::Continue(())
        };
        store.view.scan(range, &mut visit).expect("the store is well");
        assert_eq!(black_box(bytes), 300 * PAGE as usize);
    }
}

/// A store on disk that is removed at the end.
struct Stored {
    view: View,
    folder: PathBuf,
}

impl Stored {
    /// A table with so many bytes of rows that nobody reads.
    fn beside(others: usize) -> Stored {
        let name = format!("view-{others}-{}", std::process::id());
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        let beginning = Covered { log: 1, position: Position(0), first_sequence: 1 };
        let view = View::open(&folder, beginning, CACHE_BYTES).expect("the folder is ours");
        let mut stored = Stored { view, folder };
        let mut batch = Batch::new();
        for (owner, seq) in
            (1..=USERS).flat_map(|owner| (1..=MESSAGES).map(move |seq| (owner, seq)))
        {
            batch.put(&Key::message(user(owner as i64), seq), &[3; 300]);
        }
        let other = vec![3; 1 << 20];
        for seq in 0..others as u64 >> 20 {
            batch.put(&Key::message(user(1_000), seq), &other);
        }
        stored.view.write(&batch).expect("the disk has room");
        stored
    }
}

impl Drop for Stored {
    fn drop(&mut self) {
        // Nothing to do about a folder that stays.
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}
