//! Whose rows a chunk may hold, so that a read passes over the chunks that do not have them.
//!
//! Invariants:
//! 1. What was noted may be held, always. Of what was not, as many are passed over as there are
//!    bits left unset.
//!
//! Cost: a multiplication and one bit, to note and to ask.

use crate::store::Range;

/// The beginning of a key that says whose it is: its kind and its owner's number.
const OWNER_BYTES: usize = 5;
/// Bits of a chunk: 8 KiB. A chunk of small rows of ten thousand owners sets a sixth of them.
const OWNERS_BITS: u32 = 16;

/// Kinds and owners, one bit each by hash.
#[derive(Default)]
pub struct Owners {
    bits: Vec<u64>,
}

/// A kind and owner of which all rows of a range are, as a key begins.
#[derive(Clone, Copy)]
pub struct Owner(u64);

impl Owner {
    /// Whose row a key is; `None`: it says too little.
    pub fn of(key: &[u8]) -> Option<Owner> {
        let head: &[u8; OWNER_BYTES] = key.first_chunk()?;
        Some(Owner(head.iter().fold(0, |word, byte| word << 8 | u64::from(*byte))))
    }

    /// The only one whose rows are in a range; `None`: there may be several.
    pub fn of_range(range: &Range<'_>) -> Option<Owner> {
        let owner = Owner::of(range.from)?;
        let mut end = [0; OWNER_BYTES];
        let known = range.to.len().min(OWNER_BYTES);
        end[..known].copy_from_slice(&range.to[..known]);
        let end = Owner::of(&end)?;
        // What comes first of the next owner ends a range of all rows of this one.
        let is_shortest = known == range.to.len() && range.to.last() != Some(&0);
        let is_next = end.0 == owner.0 + 1 && is_shortest;
        (end.0 == owner.0 || is_next).then_some(owner)
    }

    fn place(self) -> (usize, u64) {
        let mixed = self.0.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> (u64::BITS - OWNERS_BITS);
        (mixed as usize / 64, 1 << (mixed % 64))
    }
}

impl Owners {
    /// A chunk has a row of this key.
    pub fn note(&mut self, key: &[u8]) {
        let Some(owner) = Owner::of(key) else { return };
        if self.bits.is_empty() {
            self.bits = vec![0; 1 << (OWNERS_BITS - u64::BITS.ilog2())];
        }
        let (word, bit) = owner.place();
        self.bits[word] |= bit;
    }

    /// Whether a chunk may have rows of this owner. `None`: of anybody.
    pub fn may_have(&self, owner: Option<Owner>) -> bool {
        let Some(owner) = owner else { return true };
        let (word, bit) = owner.place();
        self.bits.get(word).is_some_and(|bits| bits & bit != 0)
    }

    /// Forgets all and keeps the memory.
    pub fn clear(&mut self) {
        self.bits.fill(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::UserId;
    use crate::store::Direction;
    use crate::store::keys::{Key, Kind};

    fn user(number: i64) -> UserId {
        UserId::new(number).expect("positive")
    }

    /// Invariant 1 of store::overlay::owners.
    #[test]
    fn whoever_was_noted_may_be_held_and_of_others_few() {
        let mut owners = Owners::default();
        assert!(!owners.may_have(Owner::of(&Key::user(user(5)))), "nothing was noted");
        for number in 1..=5_000 {
            owners.note(&Key::message(user(number * 7), number as u64));
        }
        let may_have = |number| owners.may_have(Owner::of(&Key::message(user(number), 3)));
        assert!((1..=5_000).all(|number| may_have(number * 7)));
        assert!(owners.may_have(Owner::of(&Key::of(Kind::Epoch))), "it is nobody's");
        let others = (1..=5_000).filter(|number| may_have(number * 7 + 1)).count();
        assert!(others < 600, "{others} of 5000");
        owners.clear();
        assert!((1..=5_000).all(|number| !owners.may_have(Owner::of(&Key::user(user(number))))));
    }

    #[test]
    fn a_range_has_one_owner_only_if_no_row_of_another_is_in_it() {
        let of = |from: &[u8], to: &[u8]| {
            let range = Range { from, to, direction: Direction::Forward };
            Owner::of_range(&range).map(|owner| owner.0)
        };
        for number in [1, 0xFE, 0xFF, 0xFFFF, 0x1234_5678, 0x7FFF_FFFF] {
            let owner = user(number);
            let own = Owner::of(&Key::chats(owner)).map(|owner| owner.0);
            assert_eq!(of(&Key::chats(owner), &Key::chats(owner).after()), own, "{number}");
            let own = Owner::of(&Key::waiting(owner, 0)).map(|owner| owner.0);
            assert_eq!(of(&Key::waiting(owner, 3), &Key::waiting(owner, 9)), own, "{number}");
        }
        let (one, next) = (user(4), user(5));
        assert_eq!(of(&Key::waiting(one, 3), &Key::waiting(next, 0)), None);
        assert_eq!(of(&Key::chats(one), &Key::chats(next).after()), None);
        // A key too short to be noted would be in it.
        assert_eq!(of(&[9, 0, 0, 0, 255, 7], &[9, 0, 0, 1, 0]), None);
        assert_eq!(of(&Key::of(Kind::Chat), &Key::of(Kind::Chat).after()), None);
    }
}
