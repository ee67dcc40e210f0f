//! Cuts of the test world: begun by its shards at any moments, and worlds started from them.

use crate::ids::UserId;
use crate::sim::world::World;
use crate::store::cut::CutOrder;
use crate::store::memory::MemoryStore;
use crate::store::{Position, Store};

/// Where all shards are with the newest cut.
pub struct Cuts {
    wanted: u64,
    orders: Vec<CutOrder>,
    /// What each shard that has begun it has in it.
    rows: Vec<Option<MemoryStore>>,
}

impl Cuts {
    /// None, of so many shards.
    pub fn new(shards: u16) -> Cuts {
        let orders = (0..shards).map(|_| CutOrder::default()).collect();
        Cuts { wanted: 0, orders, rows: (0..shards).map(|_| None).collect() }
    }

    /// The newest cut asked for.
    pub fn wanted(&self) -> u64 {
        self.wanted
    }

    fn is_begun_by_all(&self) -> bool {
        self.rows.iter().all(Option::is_some)
    }

    /// A shard begins a cut; `false`: it has.
    pub fn begin(&mut self, shard: usize, number: u64, store: &MemoryStore) -> bool {
        let is_new = self.orders[shard].is_new(number);
        if is_new {
            self.orders[shard].begin(number, store.written());
            self.rows[shard] = Some(store.crash_keeping(store.written()));
            if self.is_begun_by_all() {
                self.orders.iter_mut().for_each(CutOrder::all_have_begun);
            }
        }
        is_new
    }

    /// Whether what a turn tells everybody has to wait.
    pub fn holds(&self, shard: usize, turn: Position) -> bool {
        self.orders[shard].holds(turn)
    }
}

impl World {
    /// Wants a cut, which shards begin one after the other; not while one is being made.
    pub fn want_cut(&mut self) -> bool {
        let is_free = self.cuts.wanted == 0 || self.cuts.is_begun_by_all();
        if is_free {
            self.cuts.wanted += 1;
            self.cuts.rows.fill_with(|| None);
        }
        is_free
    }

    /// A shard looks whether it is to begin a cut.
    pub fn look_for_cut(&mut self, shard: usize) {
        self.begin_cut(shard, self.cuts.wanted());
    }

    /// Whether all shards have begun the cut that is wanted.
    pub fn has_cut(&self) -> bool {
        self.cuts.wanted > 0 && self.cuts.is_begun_by_all()
    }

    /// A world that finds what the newest cut has.
    pub fn restored(&self) -> World {
        assert!(self.has_cut(), "a cut is whole when all have begun it");
        let rows = self.cuts.rows.iter().flatten();
        let rows = rows.map(|rows| rows.crash_keeping(Position(0))).collect();
        World::restart(rows, self.steady_ms())
    }

    /// Whether somebody is registered.
    pub fn knows(&self, user: UserId) -> bool {
        self.directory.tenant(user).is_some()
    }
}
