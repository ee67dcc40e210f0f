//! One scan over many sorted runs and the LSM below them.
//!
//! Invariants:
//! 1. Each key is visited once, in the scan's order, with its newest change; removed rows are not.
//!
//! Cost: a comparison of each run's head for each row, and there are few runs.

use super::chunk::{Chunk, Place};
use crate::store::batch::Change;
use crate::store::{Direction, Range, Store, StoreError, Visit};
use std::cmp::Ordering;
use std::ops::ControlFlow;

/// A run and how far it was visited. Runs of newer chunks come first.
struct Cursor<'a> {
    chunk: &'a Chunk,
    places: Vec<Place>,
    /// The next place to visit; for a scan backwards the one after it.
    at: usize,
}

/// The runs of a scan.
pub struct Merge<'a> {
    cursors: Vec<Cursor<'a>>,
    direction: Direction,
}

impl<'a> Merge<'a> {
    /// No runs yet.
    pub fn new(direction: Direction) -> Merge<'a> {
        Merge { cursors: Vec::new(), direction }
    }

    /// Adds a run of rising keys. All runs of a chunk are added before any of an older one.
    pub fn add(&mut self, chunk: &'a Chunk, run: &[Place]) {
        let at = if self.direction == Direction::Forward { 0 } else { run.len() };
        self.cursors.push(Cursor { chunk, places: run.to_vec(), at });
    }

    /// Visits all rows of the runs over those of `below`.
    pub fn over(
        mut self,
        below: &impl Store,
        range: Range<'_>,
        visit: Visit<'_>,
    ) -> Result<(), StoreError> {
        let mut is_over = false;
        below.scan(range, &mut |key, value| {
            // Rows of the runs that come before this one, or in its place.
            while let Some((order, at)) = self.head(Some(key)) {
                let change = self.take(at);
                let flow = match change {
                    (key, Change::Put(value)) => visit(key, value),
                    (_, Change::Remove) => ControlFlow::Continue(()),
                };
                if flow.is_break() {
                    is_over = true;
                    return flow;
                }
                if order == Ordering::Equal {
                    return ControlFlow::Continue(());
                }
            }
            let flow = visit(key, value);
            is_over = flow.is_break();
            flow
        })?;
        while !is_over && let Some((_, at)) = self.head(None) {
            if let (key, Change::Put(value)) = self.take(at) {
                is_over = visit(key, value).is_break();
            }
        }
        Ok(())
    }

    /// The cursor whose row is next, if it is not behind `limit`; and how it compares to that.
    fn head(&self, limit: Option<&[u8]>) -> Option<(Ordering, usize)> {
        let mut best: Option<(&[u8], usize)> = None;
        for (index, cursor) in self.cursors.iter().enumerate() {
            let Some(key) = cursor.key(self.direction) else { continue };
            if best.is_none_or(|(other, _)| self.compare(key, other) == Ordering::Less) {
                best = Some((key, index));
            }
        }
        let (key, index) = best?;
        let order = limit.map_or(Ordering::Less, |limit| self.compare(key, limit));
        (order != Ordering::Greater).then_some((order, index))
    }

    /// In the order of the scan.
    fn compare(&self, one: &[u8], other: &[u8]) -> Ordering {
        match self.direction {
            Direction::Forward => one.cmp(other),
            Direction::Backward => other.cmp(one),
        }
    }

    /// The row of a cursor; older ones of the same key are passed over with it.
    fn take(&mut self, index: usize) -> (&'a [u8], Change<'a>) {
        let direction = self.direction;
        let (chunk, at) = self.cursors[index].place(direction).expect("it has a next row");
        let key = chunk.key_at(at);
        for cursor in &mut self.cursors[index..] {
            if cursor.key(direction) == Some(key) {
                cursor.pass(direction);
            }
        }
        (key, chunk.change_at(at))
    }
}

impl<'a> Cursor<'a> {
    fn place(&self, direction: Direction) -> Option<(&'a Chunk, Place)> {
        let at = match direction {
            Direction::Forward => self.at,
            Direction::Backward => self.at.checked_sub(1)?,
        };
        self.places.get(at).map(|place| (self.chunk, *place))
    }

    fn key(&self, direction: Direction) -> Option<&'a [u8]> {
        self.place(direction).map(|(chunk, at)| chunk.key_at(at))
    }

    fn pass(&mut self, direction: Direction) {
        match direction {
            Direction::Forward => self.at += 1,
            Direction::Backward => self.at -= 1,
        }
    }
}
