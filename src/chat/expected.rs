//! Acks expected soon: where messages just pushed are, so that their acks need no index.
//!
//! Invariants:
//! 1. What is found is the only message that the user ever received under that id.
//! 2. Memory is fixed: a newer message takes the place of any older one.

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

/// Some of the messages pushed last: one for each value of a hash.
pub struct Expected {
    places: Box<[Option<Expectation>]>,
}

impl Default for Expected {
    fn default() -> Expected {
        Expected { places: vec![None; EXPECTED_ACKS].into_boxed_slice() }
    }
}

fn place_of(user: UserId, id: MessageId) -> usize {
    let mixed =
        (id.number() as u64 ^ u64::from(user.number()) << 32).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    (mixed >> (u64::BITS - EXPECTED_ACKS.ilog2())) as usize
}

impl Expected {
    /// A message was pushed under an id that its recipient never received one under.
    pub fn expect(&mut self, user: UserId, id: MessageId, received: Received) {
        self.places[place_of(user, id)] = Some(Expectation { user, id, received });
    }

    /// The id names more than one message from now on.
    pub fn forget(&mut self, user: UserId, id: MessageId) {
        let place = &mut self.places[place_of(user, id)];
        if place.is_some_and(|found| found.user == user && found.id == id) {
            *place = None;
        }
    }

    /// The message of an id; `None`: not known here.
    pub fn find(&self, user: UserId, id: MessageId) -> Option<Received> {
        let found = self.places[place_of(user, id)]?;
        (found.user == user && found.id == id).then_some(found.received)
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
        assert!((EXPECTED_ACKS / 2..=EXPECTED_ACKS).contains(&kept.count()));
        expected.forget(user(2), id(199_999));
        assert_eq!(expected.find(user(2 + 199_999 % 5), id(199_999)).is_some(), 199_999 % 5 != 0);
        expected.forget(user(2 + 199_999 % 5), id(199_999));
        assert_eq!(expected.find(user(2 + 199_999 % 5), id(199_999)), None);
    }
}
