//! The rows: which server, which load, and which of its figures are lines of the table.

use anyhow::{Result, ensure};
use std::ops::RangeInclusive;

/// What a line of the table shows.
pub struct Line {
    /// In words, with the unit.
    pub what: String,
    /// Figures by their paths; several stand beside each other.
    pub figures: Vec<String>,
    /// What they are multiplied with.
    pub factor: f64,
}

/// Which cores a server has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Where {
    /// One for all its threads.
    OneCore,
    /// The same, but the indexer and those who merge have the load's.
    IndexerApart,
}

/// Something to measure.
pub struct Row {
    /// The name of its documents.
    pub name: &'static str,
    /// The server's arguments and cores; `None` for a load that starts its own.
    pub server: Option<(Vec<String>, Where)>,
    /// The load generator's arguments.
    pub load: Vec<String>,
    /// It takes minutes, and so has a number of times of its own.
    pub is_long: bool,
    /// What is shown of it.
    pub lines: Vec<Line>,
}

impl Row {
    fn new(name: &'static str, load: &str) -> Row {
        let server = Some((split("--durability sync"), Where::OneCore));
        Row { name, server, load: split(load), is_long: false, lines: Vec::new() }
    }

    fn server(mut self, arguments: &str, cores: Where) -> Row {
        self.server = Some((split(arguments), cores));
        self
    }

    fn with_its_own_server(mut self) -> Row {
        self.server = None;
        self
    }

    fn long(mut self) -> Row {
        self.is_long = true;
        self
    }

    fn line(self, what: &str, figures: &[impl AsRef<str>]) -> Row {
        self.line_times(1.0, what, figures)
    }

    fn line_times(mut self, factor: f64, what: &str, figures: &[impl AsRef<str>]) -> Row {
        let figures = figures.iter().map(|path| path.as_ref().to_owned()).collect();
        let what = what.to_owned();
        self.lines.push(Line { what, figures, factor });
        self
    }
}

fn split(arguments: &str) -> Vec<String> {
    arguments.split_whitespace().map(str::to_owned).collect()
}

/// Quantiles of an open loop.
const DELIVERY: [&str; 4] =
    ["delivery / p50_ms", "delivery / p99_ms", "delivery / p99_9_ms", "delivery / max_ms"];

/// All rows; `quick`: everything tiny and a second long.
pub fn all(quick: bool, seconds: u64) -> Vec<Row> {
    let seconds = if quick { 1 } else { seconds };
    let mut rows = messages(quick, seconds);
    rows.push(scale(quick, seconds));
    rows.extend(connections(quick, seconds));
    rows.extend(others(quick, seconds));
    rows
}

/// Those whose names hold one of these words; all where there are none.
///
/// # Errors
/// When no row has one of the words in its name.
pub fn chosen(rows: Vec<Row>, words: &[String]) -> Result<Vec<Row>> {
    for word in words {
        let is_known = rows.iter().any(|row| row.name.contains(word));
        let names = || rows.iter().map(|row| row.name).collect::<Vec<_>>().join(", ");
        ensure!(is_known, "no row has {word:?} in its name: they are {}", names());
    }
    let is_chosen = |row: &Row| words.iter().any(|word| row.name.contains(word));
    Ok(rows.into_iter().filter(|row| words.is_empty() || is_chosen(row)).collect())
}

/// A size, or the one that shows only that it works.
fn size(quick: bool, whole: u64, tiny: u64) -> u64 {
    if quick { tiny } else { whole }
}

/// Pairs who write to each other.
fn messages(quick: bool, seconds: u64) -> Vec<Row> {
    let time = format!("--seconds {seconds} --warm-seconds {}", size(quick, 5, 0));
    let pairs = size(quick, 500, 5);
    let pingpong = |window: u64| format!("pingpong --pairs {pairs} --window {window} {time}");
    let (users, rate) = (size(quick, 1_000, 10), size(quick, 20_000, 200));
    let open = format!("open --users {users} --rate {rate} {time}");
    let limit = format!("limit --pairs {pairs} --window 16 --seconds {}", size(quick, 5, 1));
    let one_async = "--durability async";
    let throughput = ["delivered_per_second"];
    vec![
        Row::new("limit", &limit).with_its_own_server().line(
            "what this machine can do: frames of so many messages a second, through a bare echo",
            &["messages_per_second"],
        ),
        Row::new("pingpong-1-sync", &pingpong(1))
            .line("delivered/s, 1 in flight a pair, `sync`", &throughput),
        Row::new("pingpong-1-async", &pingpong(1))
            .server(one_async, Where::OneCore)
            .line("the same, `async`", &throughput),
        Row::new("pingpong-16-sync", &pingpong(16))
            .line("delivered/s, 16 in flight a pair, `sync`", &throughput),
        Row::new("pingpong-16-async", &pingpong(16))
            .server(one_async, Where::OneCore)
            .line("the same, `async`", &throughput),
        Row::new("open-one-core", &open).line(
            &format!("{rate} messages/s whatever happens, p50 / p99 / p99.9 / longest, ms"),
            &DELIVERY,
        ),
        Row::new("open-indexer-apart", &open)
            .server("--durability sync", Where::IndexerApart)
            .line("the same, the indexer on the other core", &DELIVERY),
    ]
}

/// The same work among more and more, whose sizes share the time.
fn scale(quick: bool, seconds: u64) -> Row {
    let (users, stored) = match quick {
        true => (["10", "20", "40"], ["0", "50", "200"]),
        false => (["1000", "100000", "1000000"], ["0", "1000000", "10000000"]),
    };
    let pairs = size(quick, 500, 5);
    let seconds = (seconds / 5).max(1);
    let work = format!("--pairs {pairs} --window 16 --seconds {seconds}");
    let work = format!("{work} --warm-seconds {}", size(quick, 5, 0));
    let load = format!("scale --users {} --stored {} {work}", users.join(","), stored.join(","));
    let figures = |name: &str, rows: RangeInclusive<usize>| -> Vec<String> {
        rows.map(|row| format!("rows / {row} / {name}")).collect()
    };
    let row = Row::new("scale", &load).long();
    row.line(
        &format!("delivered/s, 16 in flight a pair, beside {} registered users", users.join(" / ")),
        &figures("delivered_per_second", 1..=3),
    )
    .line(
        &format!(
            "the same beside {} of them with {} stored messages",
            users[2],
            stored.join(" / ")
        ),
        &figures("delivered_per_second", 3..=5),
    )
    .line(
        "the server's CPU for one of these, us, by users and then by stored messages",
        &figures("cpu_us_a_message", 1..=5),
    )
    .line(
        "the last of these as a ratio to the first: delivered/s / CPU for one",
        &["rows / 5 / delivered_per_second_ratio", "rows / 5 / cpu_us_a_message_ratio"],
    )
}

/// Many who do little.
fn connections(quick: bool, seconds: u64) -> Vec<Row> {
    let connections = size(quick, 15_000, 20);
    let idle =
        format!("idle --connections {connections} --heartbeat-seconds 15 --seconds {seconds}");
    let storm = format!("storm --connections {connections}");
    vec![
        Row::new("idle", &idle)
            .line(
                &format!("memory of {connections} idle connections, bytes each"),
                &["rounds / 1 / resident_bytes_per_connection"],
            )
            .line_times(
                100.0,
                "their CPU with a heartbeat each 15 s, % of a core",
                &["rounds / 1 / server_cores"],
            )
            .line("connect and Auth a second", &["rounds / 1 / connects_per_second"]),
        Row::new("storm", &storm).line(
            &format!("{connections} connections break and come back within 3 s: all are back, ms"),
            &["all_back_ms"],
        ),
    ]
}

/// What is asked for over HTTP, and a start.
fn others(quick: bool, seconds: u64) -> Vec<Row> {
    let (away, waiting) = (size(quick, 1_000, 10), size(quick, 100_000, 200));
    let offline = format!("offline --users {away} --messages {waiting}");
    let ids = |calls: u64| format!("ids --connections 64 --pipelined {calls} --seconds {seconds}");
    vec![
        Row::new("offline", &offline).line(
            &format!("{waiting} messages to {away} who are away, a second: store / drain"),
            &["store / delivered_per_second", "drain / delivered_per_second"],
        ),
        Row::new("ids-plain", &ids(1))
            .line("message ids a second, 64 connections, one call each", &["ids_per_second"]),
        Row::new("ids-pipelined", &ids(16))
            .line("the same, 16 calls in flight", &["ids_per_second"]),
        restart("restart", quick, size(quick, 1_000_000, 1_000)),
        restart("restart-10m", quick, size(quick, 10_000_000, 2_000)).long(),
    ]
}

/// A start with so many stored messages.
fn restart(name: &'static str, quick: bool, kept: u64) -> Row {
    let load = format!("restart --messages {kept} --restarts {}", size(quick, 3, 1));
    Row::new(name, &load).with_its_own_server().line(
        &format!("from a start with {kept} stored messages to ready / the first Ack, ms"),
        &["ready / p50_ms", "first_ack / p50_ms"],
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(words: &[&str]) -> Result<Vec<&'static str>> {
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        Ok(chosen(all(false, 60), &words)?.iter().map(|row| row.name).collect())
    }

    #[test]
    fn rows_are_chosen_by_parts_of_their_names() {
        let expected = ["open-one-core", "open-indexer-apart", "ids-plain", "ids-pipelined"];
        assert_eq!(names(&["open", "ids"]).expect("there are such"), expected);
        assert_eq!(names(&[]).expect("all").len(), all(false, 60).len());
        let error = names(&["open", "nothing"]).expect_err("there is none").to_string();
        assert!(error.contains("\"nothing\"") && error.contains("restart-10m"), "{error}");
    }

    #[test]
    fn every_row_that_measures_for_a_time_heeds_the_one_that_is_given() {
        for row in all(false, 30) {
            let load = row.load.join(" ");
            let seconds = match row.load[0].as_str() {
                "pingpong" | "open" | "idle" | "ids" => "--seconds 30",
                "scale" => "--seconds 6",
                _ => continue,
            };
            assert!(load.contains(seconds), "{load}");
        }
    }
}
