//! What one turn wants done, sorted by when it may be done.
//!
//! Invariants:
//! 1. Within each class effects leave in the order in which they were wanted.
//! 2. A cleared turn keeps its memory: filling it again allocates nothing.

use crate::chat::event::{Effect, Span};
use crate::store::Position;

/// When an effect may leave.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum When {
    /// As soon as the turn has ended.
    Now,
    /// When the turn's position is durable (see `Store::durable`).
    Durable,
    /// When the turn's position is on disk, whatever the durability (see `Store::synced`): it is
    /// synced for that.
    Synced,
    /// The same, when it is synced anyway (see `Shard::next_settled`).
    Settled,
}

/// How much was wanted at some moment of a turn.
#[derive(Clone, Copy)]
pub struct Mark([usize; 4]);

/// The effects of one turn, and the text they carry.
#[derive(Default)]
pub struct Turn {
    /// To be released at the end of the turn.
    pub now: Vec<Effect>,
    /// To be released when `Store::durable` has reached `position`.
    pub durable: Vec<Effect>,
    /// To be released when `Store::synced` has reached `position`.
    pub synced: Vec<Effect>,
    /// To be kept by `Shard::end_turn`.
    pub settled: Vec<Effect>,
    /// What the turn's rows, and all before them, are covered by. Set by `Shard::end_turn`.
    pub position: Position,
    texts: String,
}

impl Turn {
    /// Adds an effect.
    pub fn want(&mut self, when: When, effect: Effect) {
        self.effects(when).push(effect);
    }

    /// The effects that may leave then.
    pub fn effects(&mut self, when: When) -> &mut Vec<Effect> {
        match when {
            When::Now => &mut self.now,
            When::Durable => &mut self.durable,
            When::Synced => &mut self.synced,
            When::Settled => &mut self.settled,
        }
    }

    /// How much is wanted by now.
    pub fn mark(&self) -> Mark {
        Mark([self.now.len(), self.durable.len(), self.synced.len(), self.settled.len()])
    }

    /// What was wanted since then is not wanted.
    pub fn take_back(&mut self, Mark([now, durable, synced, settled]): Mark) {
        self.now.truncate(now);
        self.durable.truncate(durable);
        self.synced.truncate(synced);
        self.settled.truncate(settled);
    }

    /// Keeps text for effects of this turn.
    pub fn keep(&mut self, text: &str) -> Span {
        let start = self.texts.len();
        self.texts.push_str(text);
        let place = |at: usize| u32::try_from(at).expect("a turn is bounded far below 4 GiB");
        Span { start: place(start), end: place(self.texts.len()) }
    }

    /// The text kept under a span of this turn.
    pub fn text(&self, span: Span) -> &str {
        &self.texts[span.start as usize..span.end as usize]
    }

    /// Bytes of text kept.
    pub fn text_bytes(&self) -> usize {
        self.texts.len()
    }

    /// Empties the turn and keeps its memory.
    pub fn clear(&mut self) {
        self.now.clear();
        self.durable.clear();
        self.synced.clear();
        self.settled.clear();
        self.texts.clear();
        self.position = Position::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::api::{Refusal, Reply};
    use crate::ids::{ConnectionId, ShardId};

    fn reply(index: u32) -> Effect {
        let to = ConnectionId { shard: ShardId(0), index, generation: 0 };
        Effect::Reply { to, reply: Reply::Refused(Refusal::Busy) }
    }

    fn indexes(effects: &[Effect]) -> Vec<u32> {
        let index = |effect: &Effect| match effect {
            Effect::Reply { to, .. } => to.index,
            other => panic!("{other:?}"),
        };
        effects.iter().map(index).collect()
    }

    /// Invariant 1 of chat::turn.
    #[test]
    fn effects_leave_in_the_order_in_which_they_were_wanted_within_each_class() {
        let mut turn = Turn::default();
        for index in 0..30 {
            let when = [When::Now, When::Durable, When::Synced][index as usize % 3];
            turn.want(when, reply(index));
        }
        let every_third = |first: u32| (first..30).step_by(3).collect::<Vec<_>>();
        assert_eq!(indexes(&turn.now), every_third(0));
        assert_eq!(indexes(&turn.durable), every_third(1));
        assert_eq!(indexes(&turn.synced), every_third(2));
    }

    /// Invariant 2 of chat::turn.
    #[test]
    fn a_cleared_turn_keeps_its_memory() {
        let mut turn = Turn::default();
        (0..100).for_each(|index| turn.want(When::Durable, reply(index)));
        turn.keep("some text");
        let before = (turn.durable.capacity(), turn.texts.capacity());
        turn.clear();
        assert!(turn.durable.is_empty() && turn.text_bytes() == 0);
        assert_eq!((turn.durable.capacity(), turn.texts.capacity()), before);
    }
}
