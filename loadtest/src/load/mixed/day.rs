//! What a day is like: a file in TOML, or the one that is built in.

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

/// The scenario that is built in.
const BUILT_IN: &str = include_str!("../../../scenarios/day.toml");
/// What it is called where a file is expected.
pub const BUILT_IN_NAME: &str = "day";

/// A day.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Day {
    /// People.
    pub users: usize,
    /// How many write to each other.
    pub circle: usize,
    /// How long it takes.
    pub seconds: u64,
    /// Who comes and goes.
    pub sessions: Sessions,
    /// How busy people are.
    pub actions: Actions,
    /// What they do.
    pub shares: Shares,
}

/// Who comes and goes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sessions {
    /// New sessions a second, over the day.
    pub arrivals_per_second: f64,
    /// The shortest session.
    pub seconds_min: f64,
    /// The average session.
    pub seconds_mean: f64,
    /// How busy each hour is, compared with the others: parts of the day, all as long.
    pub hours: Vec<u32>,
}

/// How busy people are.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Actions {
    /// The pause between two actions of one person, on average.
    pub pause_ms_mean: u64,
}

/// How often each action is taken, compared with the others.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Shares {
    /// A message.
    pub send: u64,
    /// A page of a conversation.
    pub page: u64,
    /// The most further pages that are read after one.
    pub scroll_pages_max: u64,
    /// Messages on a page, at most.
    pub page_size: usize,
    /// The list of chats.
    pub chats: u64,
    /// The count of unread messages.
    pub unread: u64,
    /// A conversation is read.
    pub clear: u64,
}

impl Day {
    /// Reads a scenario: a file, or [`BUILT_IN_NAME`].
    ///
    /// # Errors
    /// When there is no such file, or it says what cannot be.
    pub fn read(file: &str) -> Result<Day> {
        if file == BUILT_IN_NAME {
            return Day::parse(BUILT_IN);
        }
        let text = std::fs::read_to_string(file).with_context(|| format!("reading {file}"))?;
        Day::parse(&text).with_context(|| format!("in {file}"))
    }

    fn parse(text: &str) -> Result<Day> {
        let day: Day = toml::from_str(text)?;
        let Sessions { arrivals_per_second, seconds_min, seconds_mean, hours } = &day.sessions;
        ensure!(day.seconds > 0, "seconds: a day takes some time");
        ensure!(day.circle >= 2, "a circle has two members at least");
        let circles = day.users / day.circle;
        ensure!(circles > 0 && circles * day.circle == day.users, "users come in whole circles");
        ensure!(*arrivals_per_second > 0.0, "arrivals_per_second: somebody comes");
        ensure!((0.0..*seconds_mean).contains(seconds_min), "seconds_min is below seconds_mean");
        ensure!(hours.iter().sum::<u32>() > 0, "hours: one of them is busy");
        ensure!(day.actions.pause_ms_mean > 0, "pause_ms_mean: there is a pause");
        ensure!((1..=200).contains(&day.shares.page_size), "page_size is 1 to 200");
        ensure!(day.shares.total() > 0, "shares: something is done");
        Ok(day)
    }

    /// Sessions a second at a share (0..1) of the day.
    pub fn arrivals_per_second(&self, share: f64) -> f64 {
        let hours = &self.sessions.hours;
        let hour = ((share * hours.len() as f64) as usize).min(hours.len() - 1);
        let mean = f64::from(hours.iter().sum::<u32>()) / hours.len() as f64;
        self.sessions.arrivals_per_second * f64::from(hours[hour]) / mean
    }
}

impl Shares {
    /// What all of them are parts of.
    pub fn total(&self) -> u64 {
        self.send + self.page + self.chats + self.unread + self.clear
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_day_that_is_built_in_is_whole() {
        let day = Day::read(BUILT_IN_NAME).expect("it is ours");
        assert_eq!(day.sessions.hours.len(), 24);
        let rates = (0..24).map(|hour| day.arrivals_per_second(f64::from(hour) / 24.0));
        let mean = rates.sum::<f64>() / 24.0;
        assert!((mean - day.sessions.arrivals_per_second).abs() < 0.001, "{mean}");
    }

    #[test]
    fn a_day_that_cannot_be_is_refused_with_a_word() {
        for (from, to, word) in [
            ("circle = 5", "circle = 7", "circles"),
            ("circle = 5", "circle = 1", "circle"),
            ("\nseconds = 60", "\nseconds = 0", "seconds"),
            ("seconds_min = 1.0", "seconds_min = 9.0", "seconds_min"),
            ("page_size = 20", "page_size = 201", "page_size"),
            ("pause_ms_mean = 200", "pause_ms_mean = 0", "pause_ms_mean"),
            ("pause_ms_mean = 200", "pauses = 1", "pauses"),
            ("arrivals_per_second = 60.0", "arrivals_per_second = 0.0", "arrivals_per_second"),
        ] {
            assert!(BUILT_IN.contains(from), "{from}");
            let error = Day::parse(&BUILT_IN.replace(from, to)).expect_err(to);
            assert!(format!("{error:#}").contains(word), "{error:#}");
        }
        assert!(Day::read("no/such/file").is_err());
    }
}
