//! Messages whose relays are not confirmed, by author and place.
//!
//! Invariants:
//! 1. A message is here from when its relay gets its position until that position is confirmed.
//!
//! Memory: some 80 bytes a relay that is not confirmed. There are few of them, unless the other
//! shard stands still.

use crate::chat::event::StreamPosition;
use crate::ids::ShardId;
use crate::store::rows::OutboxRow;
use std::collections::{BTreeSet, VecDeque};

/// All of them.
pub(super) struct Pending {
    streams: Vec<VecDeque<(StreamPosition, OutboxRow)>>,
    messages: BTreeSet<(u32, u64)>,
}

impl Pending {
    /// None, of so many streams.
    pub fn new(streams: usize) -> Pending {
        let streams = (0..streams).map(|_| VecDeque::new()).collect();
        Pending { streams, messages: BTreeSet::new() }
    }

    /// A message is on its way. Positions of one stream only rise.
    pub fn begin(&mut self, to: ShardId, position: StreamPosition, row: OutboxRow) {
        self.streams[usize::from(to.0)].push_back((position, row));
        self.messages.insert((row.author, row.seq));
    }

    /// All that went to `by` has arrived there, up to this position.
    pub fn end(&mut self, by: ShardId, up_to: StreamPosition) {
        let stream = &mut self.streams[usize::from(by.0)];
        while let Some((position, row)) = stream.front().copied()
            && position <= up_to
        {
            stream.pop_front();
            self.messages.remove(&(row.author, row.seq));
        }
    }

    /// Whether a message is still on its way.
    pub fn has(&self, row: OutboxRow) -> bool {
        self.messages.contains(&(row.author, row.seq))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Invariant 1 of chat::pending.
    #[test]
    fn a_message_is_pending_until_its_position_is_confirmed() {
        let mut pending = Pending::new(2);
        let position = |epoch, sequence| StreamPosition { epoch, sequence };
        let row = |seq| OutboxRow { author: 5, seq };
        let places = [position(1, 8), position(1, 9), position(2, 1), position(2, 2)];
        for (seq, place) in places.into_iter().enumerate() {
            pending.begin(ShardId((seq % 2) as u16), place, row(seq as u64));
        }
        assert!((0..4).all(|seq| pending.has(row(seq))) && !pending.has(row(4)));
        pending.end(ShardId(0), position(2, 0));
        let left: Vec<u64> = (0..4).filter(|seq| pending.has(row(*seq))).collect();
        assert_eq!(left, [1, 2, 3]);
        pending.end(ShardId(0), position(2, 1));
        pending.end(ShardId(1), position(9, 9));
        assert!((0..4).all(|seq| !pending.has(row(seq))));
    }
}
