//! Acks expected soon: where messages just pushed are, so that their acks need no index.
//!
//! Invariants:
//! 1. What is found is the only message that the user ever received under that id.
//! 2. Memory is fixed: a newer message takes the place of the oldest of its set.

use crate::ids::{MessageId, UserId};
use crate::limits::EXPECTED_ACKS;

/// A received message as its recipient's ack names it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Received {
    /// Its seq in the recipient's history.
    pub seq: u64,
    /// Its author.
    pub author: UserId,
    /// Its place among all that this author sent this recipient.
    pub ordinal: u64,
}

#[derive(Clone, Copy)]
struct Expectation {
    user: UserId,
    id: MessageId,
    received: Received,
}

/// How many messages share a value of the hash. With one, a shard that has 5,000 acks to come
/// forgot one in twelve; with four, nearly none.
const SET: usize = 4;

/// Some of the messages pushed last: a few for each value of a hash, the newest first.
pub struct Expected {
    sets: Box<[[Option<Expectation>; SET]]>,
}

impl Default for Expected {
    fn default() -> Expected {
        Expected { sets: vec![[None; SET]; EXPECTED_ACKS / SET].into_boxed_slice() }
    }
}

fn set_of(user: UserId, id: MessageId) -> usize {
    let mixed =
        (id.number() as u64 ^ u64::from(user.number()) << 32).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    (mixed >> (u64::BITS - (EXPECTED_ACKS / SET).ilog2())) as usize
}

impl Expected {
    /// A message was pushed under an id that its recipient never received one under.
    pub fn expect(&mut self, user: UserId, id: MessageId, received: Received) {
        let set = &mut self.sets[set_of(user, id)];
        set.rotate_right(1);
        set[0] = Some(Expectation { user, id, received });
    }

    /// The id names more than one message from now on.
    pub fn forget(&mut self, user: UserId, id: MessageId) {
        for place in &mut self.sets[set_of(user, id)] {
            if place.is_some_and(|found| found.is_of(user, id)) {
                *place = None;
            }
        }
    }

    /// The message of an id; `None`: not known here.
    pub fn find(&self, user: UserId, id: MessageId) -> Option<Received> {
        let mut set = self.sets[set_of(user, id)].iter().flatten();
        set.find(|found| found.is_of(user, id)).map(|found| found.received)
    }
}

impl Expectation {
    fn is_of(&self, user: UserId, id: MessageId) -> bool {
        self.user == user && self.id == id
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Invariants 1 and 2 of chat::expected.
    #[test]
    fn what_is_found_is_what_was_pushed_last_under_that_id() {
        let mut expected = Expected::default();
        let user = |number| UserId::new(number).expect("positive");
        let id = |number| MessageId::new(number).expect("positive");
        let received = |seq| Received { seq, author: user(9), ordinal: seq };
        for number in 1..200_000 {
            let owner = user(2 + number % 5);
            expected.expect(owner, id(number), received(number as u64));
            assert_eq!(expected.find(owner, id(number)), Some(received(number as u64)));
        }
        let kept = (1..200_000).filter(|number| {
            let found = expected.find(user(2 + number % 5), id(*number));
            assert!(found.is_none_or(|found| found.seq == *number as u64));
            found.is_some()
        });
        assert!((EXPECTED_ACKS * 3 / 4..=EXPECTED_ACKS).contains(&kept.count()));
        let soon = (200_000 - EXPECTED_ACKS as i64 / 8..200_000)
            .filter(|number| expected.find(user(2 + number % 5), id(*number)).is_none());
        assert!(soon.count() < EXPECTED_ACKS / 4_000, "of the newest nearly all are there");
        expected.forget(user(2), id(199_999));
        assert_eq!(expected.find(user(2 + 199_999 % 5), id(199_999)).is_some(), 199_999 % 5 != 0);
        expected.forget(user(2 + 199_999 % 5), id(199_999));
        assert_eq!(expected.find(user(2 + 199_999 % 5), id(199_999)), None);
    }
}
