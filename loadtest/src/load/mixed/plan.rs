//! What is going to happen, and when: drawn from one number. What answers take decides who draws
//! when, so a day of the same number is one like it, and not the same to the letter.

use crate::dice::Dice;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Something that happens to somebody. What a session left behind is known by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Happening {
    /// Somebody who is away comes.
    Arrival,
    /// A person does something.
    Act {
        /// Who.
        person: usize,
        /// In which of his sessions.
        session: u64,
    },
    /// A person has been there long enough.
    Leave {
        /// Who.
        person: usize,
        /// Which of his sessions ends.
        session: u64,
    },
}

/// What is going to happen, in the order of time.
pub struct Plan {
    /// Whatever else is left to chance is drawn here too.
    pub dice: Dice,
    events: BinaryHeap<Reverse<(u64, Happening)>>,
}

/// Chances are drawn as parts of this.
const PARTS: u64 = 1 << 30;

impl Plan {
    /// Nothing yet.
    pub fn new(seed: u64) -> Plan {
        Plan { dice: Dice::new(seed), events: BinaryHeap::new() }
    }

    /// Plans something after a time that is random and takes so long on average: many may come at
    /// once, and nothing for long.
    pub fn after(&mut self, since_us: u64, mean_us: f64, happening: Happening) {
        let part = (self.dice.below(PARTS) + 1) as f64 / PARTS as f64;
        let pause_us = (-part.ln() * mean_us) as u64;
        self.events.push(Reverse((since_us + pause_us, happening)));
    }

    /// Takes what is due, the earliest first, with the time that it was due at, µs.
    pub fn due(&mut self, now_us: u64) -> Option<(u64, Happening)> {
        let Reverse(next) = self.events.peek()?;
        if next.0 > now_us {
            return None;
        }
        self.events.pop().map(|Reverse(event)| event)
    }

    /// How long nothing is due, at most so long, µs.
    pub fn pause_us(&self, now_us: u64, most_us: u64) -> u64 {
        let next = self.events.peek().map_or(u64::MAX, |Reverse(next)| next.0);
        next.saturating_sub(now_us).min(most_us)
    }

    /// Nothing of it happens any more.
    pub fn forget(&mut self) {
        self.events.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(seed: u64) -> Vec<(u64, Happening)> {
        let mut plan = Plan::new(seed);
        for person in 0..2_000 {
            plan.after(1_000, 500.0, Happening::Act { person, session: 0 });
        }
        assert_eq!((plan.due(999), plan.pause_us(0, 700)), (None, 700));
        std::iter::from_fn(|| plan.due(u64::MAX)).collect()
    }

    #[test]
    fn the_same_seed_makes_the_same_plan_in_order_and_on_average() {
        let events = drawn(1);
        assert_eq!(events, drawn(1));
        assert_ne!(events, drawn(2));
        assert!(events.is_sorted_by_key(|event| event.0));
        let mean_us = events.iter().map(|event| event.0 - 1_000).sum::<u64>() / 2_000;
        assert!((450..550).contains(&mean_us), "{mean_us}");
    }
}
