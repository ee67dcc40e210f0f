//! The watchdog: what a shard was doing when a round took it away for long.
//!
//! A round is cut into steps by looks at the clock, most of which are taken anyway. A step that had
//! nothing to do is passed over without a look.
//!
//! Invariants:
//! 1. The steps of a round add up to it, and the longest of them is named.
//! 2. At most [`AWAY_ROUNDS_MAX`] rounds are remembered: the last.
//!
//! Whoever else wants the core may take it away in any step, and so may the host of a virtual
//! machine: the first is told apart (`node::core_wait`), the second is not.

use crate::limits::{AWAY_MS_MAX, AWAY_ROUNDS_MAX};
use crate::metrics::rounds::{AwayRound, Step};
use std::collections::VecDeque;

const AWAY_NS: u64 = AWAY_MS_MAX * 1_000_000;

/// One shard's rounds.
pub struct Steps {
    doing: Step,
    began: u64,
    looked: u64,
    spent: [u64; Step::ALL.len()],
    /// The next round begins where the last one ended: nobody waited in between.
    goes_on: bool,
    away: VecDeque<AwayRound>,
}

impl Default for Steps {
    fn default() -> Steps {
        let (doing, spent, away) = (Step::Ring, [0; Step::ALL.len()], VecDeque::new());
        Steps { doing, began: 0, looked: 0, spent, goes_on: false, away }
    }
}

impl Steps {
    /// The next round follows at once.
    pub fn go_on(&mut self) {
        self.goes_on = true;
    }

    /// A round begins; the ring was turned. What the kernel did in it counts, if nobody waited
    /// for it.
    pub fn begin(&mut self, now: u64) {
        self.spent = [0; Step::ALL.len()];
        self.doing = Step::Ring;
        if !std::mem::take(&mut self.goes_on) {
            self.looked = now;
        }
        self.began = self.looked;
        self.enter(Step::Reap, now);
    }

    /// Another step begins now. Returns the one that is over.
    pub fn enter(&mut self, step: Step, now: u64) -> Step {
        self.spent[self.doing as usize] += now - self.looked;
        self.looked = now;
        std::mem::replace(&mut self.doing, step)
    }

    /// Another step began when the clock was last looked at: what was to be done since was nothing.
    pub fn pass_to(&mut self, step: Step) {
        self.doing = step;
    }

    /// When the clock was last looked at.
    pub fn looked(&self) -> u64 {
        self.looked
    }

    /// The round is over. Returns how long it took, ns, and what is to be told of it if that was
    /// long: only then `waited` is asked how long the thread had waited for a core of late, ns.
    pub fn end(
        &mut self,
        now: u64,
        unix_ms: i64,
        waited: impl FnOnce() -> u64,
    ) -> (u64, Option<AwayRound>) {
        self.enter(Step::Ring, now);
        let nanos = now - self.began;
        if nanos <= AWAY_NS {
            return (nanos, None);
        }
        let all = Step::ALL.iter().map(|step| (self.spent[*step as usize], *step));
        let (doing_nanos, doing) =
            all.max_by_key(|(spent, _)| *spent).expect("a round has more than one step");
        if self.away.len() == AWAY_ROUNDS_MAX {
            self.away.pop_front();
        }
        let waited_nanos = waited().min(nanos);
        let round = AwayRound { unix_ms, nanos, doing, doing_nanos, waited_nanos };
        self.away.push_back(round);
        (nanos, Some(round))
    }

    /// The last rounds that took long, oldest first.
    pub fn away(&self) -> Vec<AwayRound> {
        self.away.iter().copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    /// Invariant 1 of node::steps.
    #[test]
    fn a_long_round_names_its_longest_step_and_a_short_one_none() {
        let mut steps = Steps::default();
        steps.begin(10 * MS);
        assert_eq!(steps.enter(Step::Exchange, 10 * MS + 5), Step::Reap);
        // Nothing came from other shards, and nothing was due.
        steps.pass_to(Step::Tick);
        steps.pass_to(Step::Decode);
        steps.enter(Step::Write, 12 * MS);
        steps.enter(Step::Decode, 12 * MS + 500_000);
        steps.enter(Step::Settle, 14 * MS);
        assert_eq!(steps.spent.iter().sum::<u64>(), 4 * MS);
        let (nanos, away) = steps.end(15 * MS, 77, || 9 * MS);
        assert_eq!(nanos, 5 * MS);
        let away = away.expect("it was long");
        assert_eq!((away.doing, away.doing_nanos), (Step::Decode, 3 * MS + 500_000 - 5));
        assert_eq!((away.unix_ms, away.nanos), (77, 5 * MS));
        assert_eq!(away.waited_nanos, 5 * MS, "what was before the round is not its own");
        steps.begin(30 * MS);
        assert_eq!(
            steps.end(32 * MS, 78, || panic!("it was short")),
            (2 * MS, None),
            "waiting is not away"
        );
        steps.go_on();
        steps.begin(35 * MS);
        let (nanos, away) = steps.end(35 * MS + 1, 79, || 7);
        assert_eq!(nanos, 3 * MS + 1);
        assert_eq!(away.map(|away| (away.doing, away.waited_nanos)), Some((Step::Ring, 7)));
    }

    /// Invariant 2 of node::steps.
    #[test]
    fn the_last_long_rounds_are_remembered() {
        let mut steps = Steps::default();
        for round in 0..AWAY_ROUNDS_MAX as u64 + 9 {
            steps.begin(round * 10 * MS);
            steps.end(round * 10 * MS + 3 * MS, round as i64, || 0);
        }
        let away = steps.away();
        assert_eq!((away.len(), away[0].unix_ms), (AWAY_ROUNDS_MAX, 9));
        assert_eq!(away[AWAY_ROUNDS_MAX - 1].unix_ms, AWAY_ROUNDS_MAX as i64 + 8);
    }
}
