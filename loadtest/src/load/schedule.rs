//! When each message of a fixed rate is due, and who writes it.

use crate::dice::Dice;
use serde::Serialize;

/// How the messages of a rate are spread over time and users.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Arrivals {
    /// Equally far apart, one user after the other
    InTurn,
    /// As people do who know nothing of each other: anybody, after a random time (Poisson)
    Random,
}

/// A message to be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Due {
    /// When, µs on the clock of the start.
    pub at_us: u64,
    /// Whose.
    pub index: usize,
}

/// All messages to be, in their order, without an end.
pub struct Schedule {
    arrivals: Arrivals,
    users: u64,
    rate: u64,
    start_us: u64,
    number: u64,
    /// After the start.
    passed_us: f64,
    dice: Dice,
}

/// The share of a rate from which on it counts as held.
pub const HELD: f64 = 0.99;
/// A dice's numbers are below it.
const SIDES: u64 = 1 << 31;

impl Schedule {
    /// So many messages a second of so many users, from `start_us` on.
    pub fn new(arrivals: Arrivals, users: usize, rate: u64, start_us: u64, seed: u64) -> Schedule {
        let dice = Dice::new(seed);
        Schedule { arrivals, users: users as u64, rate, start_us, number: 0, passed_us: 0.0, dice }
    }
}

impl Iterator for Schedule {
    type Item = Due;

    fn next(&mut self) -> Option<Due> {
        let number = self.number;
        self.number += 1;
        Some(match self.arrivals {
            Arrivals::InTurn => Due {
                at_us: self.start_us + number * 1_000_000 / self.rate,
                index: (number % self.users) as usize,
            },
            Arrivals::Random => {
                // Above 0 and at most 1.
                let share = (self.dice.below(SIDES) + 1) as f64 / SIDES as f64;
                self.passed_us -= share.ln() * 1_000_000.0 / self.rate as f64;
                Due {
                    at_us: self.start_us + self.passed_us as u64,
                    index: self.dice.below(self.users) as usize,
                }
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_after_the_other_they_are_equally_far_apart() {
        let schedule = Schedule::new(Arrivals::InTurn, 2, 1000, 50, 1);
        let expected = [(50, 0), (1050, 1), (2050, 0)];
        let expected = expected.map(|(at_us, index)| Due { at_us, index });
        assert_eq!(schedule.take(3).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn at_random_the_rate_is_held_by_everybody_and_a_seed_says_when() {
        let all = |seed| -> Vec<Due> {
            Schedule::new(Arrivals::Random, 10, 1000, 50, seed).take(100_000).collect()
        };
        let dues = all(1);
        assert!(dues.is_sorted_by_key(|due| due.at_us));
        let seconds = dues[99_999].at_us as f64 / 1e6;
        assert!((98.0..102.0).contains(&seconds), "100 s at 1,000 a second, not {seconds}");
        // Of gaps that are random so, a part of 1/e is longer than the mean.
        let gaps = dues.windows(2).map(|pair| pair[1].at_us - pair[0].at_us);
        let long = gaps.filter(|gap| *gap > 1000).count();
        assert!((35_000..38_500).contains(&long), "{long} of 100,000");
        for user in 0..10 {
            let his = dues.iter().filter(|due| due.index == user).count();
            assert!((9_500..10_500).contains(&his), "{his} of user {user}");
        }
        assert_eq!(all(1), dues);
        assert_ne!(all(2), dues);
    }
}
