//! A cut: one moment of a whole server, made of one moment of each shard, without stopping any.
//! This is one shard's part in the order of things; what it decides, `node` performs.
//!
//! Invariants:
//! 1. A shard begins each cut once, at the end of a turn, and posts a marker to each other shard
//!    before anything that a later turn wants posted. Whoever draws a marker begins the cut there
//!    if it has not: so nothing is received in a cut that was not sent in it.
//! 2. What later turns write where others read it without a parcel, the directory of users, waits
//!    until every shard has begun: so no turn in a cut knows of a user who is not in it.
//!
//! What was sent in the cut and received after it is in the sender's outbox (or among its due
//! marks) as it is at the cut, and whoever is started from the cut sends it again: a stream's
//! receiver knows what it has, and the next run's relays have a higher epoch. That is why a cut
//! needs neither a log nor parcels, and why a marker may overtake what earlier turns want posted.
//!
//! Left to others: when a cut is wanted and whether all have begun (`node::cuts`), which rows it
//! has (`recent`, `view`).

use super::Position;

/// One shard's part.
#[derive(Default)]
pub struct CutOrder {
    /// The newest cut that this shard has begun.
    number: u64,
    /// The last of its turns in it.
    position: Position,
    /// Other shards may not have begun it.
    is_alone: bool,
}

impl CutOrder {
    /// Whether this shard has to begin this cut.
    pub fn is_new(&self, number: u64) -> bool {
        number > self.number
    }

    /// The shard begins a cut: `position` is its last turn in it. Its markers are to be posted
    /// before anything else.
    pub fn begin(&mut self, number: u64, position: Position) {
        assert!(self.is_new(number), "a cut is begun once");
        assert!(!self.is_alone, "every shard has begun the cut before");
        assert!(position >= self.position, "turns are counted up");
        *self = CutOrder { number, position, is_alone: true };
    }

    /// The last turn of this shard in its newest cut.
    pub fn position(&self) -> Position {
        self.position
    }

    /// The cut that other shards may not have begun yet.
    pub fn alone(&self) -> Option<u64> {
        self.is_alone.then_some(self.number)
    }

    /// Every shard has begun the cut.
    pub fn all_have_begun(&mut self) {
        self.is_alone = false;
    }

    /// What a turn writes where other shards read it has to wait.
    pub fn holds(&self, turn: Position) -> bool {
        self.is_alone && turn > self.position
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_later_turns_tell_everybody_waits_until_all_have_begun() {
        let mut order = CutOrder::default();
        assert!(!order.holds(Position(1)) && !order.is_new(0));
        order.begin(3, Position(5));
        assert!(!order.is_new(3) && order.is_new(4));
        assert!(!order.holds(Position(5)) && order.holds(Position(6)));
        assert_eq!((order.alone(), order.position()), (Some(3), Position(5)));
        order.all_have_begun();
        assert!(!order.holds(Position(6)));
        assert_eq!(order.alone(), None);
    }
}
