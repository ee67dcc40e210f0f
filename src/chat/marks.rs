//! Sets of ordinals that fill up from below: which messages of a chat were pushed, acked.
//!
//! Invariants:
//! 1. A set never holds an ordinal that was not put into it (a state is never shown too early).
//! 2. Ranges rise, are apart, and lie above `up_to + 1`; there are at most
//!    [`MARK_GAPS_MAX`] of them: what would need one more is left out.
//! 3. The union of two sets is the same in either order, as long as neither bound is reached.

use crate::limits::MARK_GAPS_MAX;
pub use crate::store::rows::MarksRow as Marks;

impl Marks {
    /// Whether an ordinal is in the set.
    pub fn contains(&self, ordinal: u64) -> bool {
        let within = |(first, last): &(u64, u64)| (*first..=*last).contains(&ordinal);
        ordinal <= self.up_to || self.ranges.iter().any(within)
    }

    /// Whether the set may have left something out.
    pub fn is_full(&self) -> bool {
        self.ranges.len() >= MARK_GAPS_MAX
    }

    /// Puts one ordinal into the set. Returns whether the set changed.
    pub fn insert(&mut self, ordinal: u64) -> bool {
        assert!(ordinal > 0, "ordinals are counted from 1");
        if self.contains(ordinal) {
            return false;
        }
        self.insert_range(ordinal, ordinal)
    }

    /// Puts all of `1..=up_to` into the set. Returns whether the set changed.
    pub fn raise(&mut self, up_to: u64) -> bool {
        if up_to <= self.up_to {
            return false;
        }
        self.up_to = up_to;
        self.absorb();
        true
    }

    /// Puts all of another set into this one. Returns whether this set changed.
    pub fn merge(&mut self, other: &Marks) -> bool {
        let mut changed = self.raise(other.up_to);
        for &(first, last) in &other.ranges {
            let inside = |(a, b): &(u64, u64)| *a <= first && last <= *b;
            if last > self.up_to && !self.ranges.iter().any(inside) {
                changed |= self.insert_range(first, last);
            }
        }
        changed
    }

    fn insert_range(&mut self, first: u64, last: u64) -> bool {
        let at = self.ranges.partition_point(|range| range.1 + 1 < first);
        let is_full = self.is_full();
        match self.ranges.get_mut(at) {
            Some(range) if range.0 <= last + 1 => {
                *range = (range.0.min(first), range.1.max(last));
            }
            _ if first <= self.up_to + 1 => {
                self.up_to = self.up_to.max(last);
            }
            _ if is_full => return false,
            _ => self.ranges.insert(at, (first, last)),
        }
        self.absorb();
        true
    }

    /// Joins ranges that have come to touch each other or `up_to`.
    fn absorb(&mut self) {
        let up_to = &mut self.up_to;
        self.ranges.retain(|&(first, last)| {
            let apart = first > *up_to + 1;
            if !apart {
                *up_to = last.max(*up_to);
            }
            apart
        });
        self.ranges.dedup_by(|next, before| {
            let joined = next.0 <= before.1 + 1;
            if joined {
                before.1 = before.1.max(next.1);
            }
            joined
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn random(seed: &mut u64, below: u64) -> u64 {
        *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963);
        (*seed >> 33) % below
    }

    fn check(marks: &Marks, model: &BTreeSet<u64>) {
        for ordinal in 1..120 {
            assert_eq!(marks.contains(ordinal), model.contains(&ordinal), "{ordinal}: {marks:?}");
        }
        let mut above = marks.up_to;
        for &(first, last) in &marks.ranges {
            assert!(first > above + 1 && last >= first, "{marks:?}");
            above = last;
        }
    }

    /// Invariant 1 of chat::marks.
    #[test]
    fn a_set_holds_what_was_put_into_it_and_nothing_else() {
        for mut seed in 0..300 {
            let (mut marks, mut model) = (Marks::default(), BTreeSet::new());
            for _ in 0..60 {
                if random(&mut seed, 12) == 0 {
                    let up_to = random(&mut seed, 30);
                    marks.raise(up_to);
                    model.extend(1..=up_to);
                } else {
                    let ordinal = 1 + random(&mut seed, 100);
                    assert_eq!(marks.insert(ordinal), model.insert(ordinal));
                }
                check(&marks, &model);
            }
        }
    }

    /// Invariant 3 of chat::marks.
    /// Invariant 3 of chat::marks_relay.
    #[test]
    fn a_union_is_the_same_in_either_order() {
        for mut seed in 0..300 {
            let mut sets = [Marks::default(), Marks::default()];
            for set in &mut sets {
                set.raise(random(&mut seed, 10));
                for _ in 0..20 {
                    set.insert(1 + random(&mut seed, 60));
                }
            }
            let [mut one, mut other] = sets.clone();
            one.merge(&sets[1]);
            other.merge(&sets[0]);
            assert_eq!(one, other);
            assert!(!one.merge(&other), "nothing is left to add");
        }
    }

    /// Invariant 2 of chat::marks.
    #[test]
    fn what_would_need_one_range_too_many_is_left_out() {
        let mut marks = Marks::default();
        for n in 1..=MARK_GAPS_MAX as u64 {
            assert!(marks.insert(n * 2 + 1));
        }
        assert!(!marks.insert(1000) && !marks.contains(1000));
        assert!(marks.insert(2) && marks.insert(1));
        assert_eq!(marks.up_to, 3);
    }
}
