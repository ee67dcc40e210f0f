//! Disks that give back some rows no more.

use crate::api::Refusal;
use crate::metrics::Counter;
use crate::sim::prng::Prng;
use crate::sim::world::{Sent, World};
use crate::store::keys::Kind;
use crate::store::parts::kind_of;
use crate::store::{Direction, Range, Store};
use std::collections::BTreeSet;
use std::ops::ControlFlow;

/// What whoever asks for a damaged row is told.
pub const REFUSED: Sent = Sent::Reply(crate::api::Reply::Refused(Refusal::Unreadable));

impl World {
    /// From now on about one of so many rows of these kinds, as there are now, cannot be read.
    pub fn damage(&mut self, prng: &mut Prng, kinds: &[Kind], one_of: u64) {
        let all = Range { from: &[], to: &[0xFF; 8], direction: Direction::Forward };
        for shard in &mut self.shards {
            let mut damaged = BTreeSet::new();
            let store = shard.store_mut();
            store.set_damaged(BTreeSet::new());
            let scanned = store.scan(all, &mut |key, _| {
                let is_meant = kind_of(key).is_some_and(|kind| kinds.contains(&kind));
                if is_meant && prng.once_in(one_of) {
                    damaged.insert(key.to_vec());
                }
                ControlFlow::Continue(())
            });
            scanned.expect("nothing is damaged");
            shard.store_mut().set_damaged(damaged);
        }
    }

    /// All rows can be read again.
    pub fn heal(&mut self) {
        for shard in &mut self.shards {
            shard.store_mut().set_damaged(BTreeSet::new());
        }
    }

    /// How often damage was met since the last start.
    pub fn met_damage(&self) -> u64 {
        self.metrics.iter().map(|metrics| metrics.counter(Counter::Unreadable)).sum()
    }
}
