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
    /// What stands beside them: how much of a ceiling it is.
    pub share: Option<Share>,
}

/// How much of what the machine can do.
pub struct Share {
    /// Rates by their paths.
    pub rates: Vec<String>,
    /// The row that measures the ceiling.
    pub row: &'static str,
    /// Which figure of it that is.
    pub ceiling: &'static str,
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
    /// The load needs a folder of its own, named by this argument.
    pub folder: Option<&'static str>,
    /// What is shown of it.
    pub lines: Vec<Line>,
}

impl Row {
    fn new(name: &'static str, load: &str) -> Row {
        let server = Some((split("--durability sync"), Where::OneCore));
        let (is_long, folder, lines) = (false, None, Vec::new());
        Row { name, server, load: split(load), is_long, folder, lines }
    }

    fn server(mut self, arguments: &str, cores: Where) -> Row {
        self.server = Some((split(arguments), cores));
        self
    }

    fn with_its_own_server(mut self) -> Row {
        self.server = None;
        self
    }

    fn with_a_folder(mut self, argument: &'static str) -> Row {
        self.folder = Some(argument);
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
        let figures = paths(figures);
        self.lines.push(Line { what: what.to_owned(), figures, factor, share: None });
        self
    }

    /// Beside the line before stands how much of a ceiling these rates are.
    fn of(
        mut self,
        (row, ceiling): (&'static str, &'static str),
        rates: &[impl AsRef<str>],
    ) -> Row {
        let line = self.lines.last_mut().expect("a share follows its line");
        line.share = Some(Share { rates: paths(rates), row, ceiling });
        self
    }

    /// Shows rates, and how much of a ceiling they are.
    fn rates(
        self,
        what: &str,
        rates: &[impl AsRef<str>],
        ceiling: (&'static str, &'static str),
    ) -> Row {
        self.line(what, rates).of(ceiling, rates)
    }

    fn needs(&self, other: &Row) -> bool {
        let mut shares = self.lines.iter().filter_map(|line| line.share.as_ref());
        shares.any(|share| share.row == other.name)
    }
}

fn paths(paths: &[impl AsRef<str>]) -> Vec<String> {
    paths.iter().map(|path| path.as_ref().to_owned()).collect()
}

fn split(arguments: &str) -> Vec<String> {
    arguments.split_whitespace().map(str::to_owned).collect()
}

/// Quantiles of an open loop.
const DELIVERY: [&str; 4] =
    ["delivery / p50_ms", "delivery / p99_ms", "delivery / p99_9_ms", "delivery / max_ms"];
/// The same of a bare echo.
const ECHO: [&str; 4] = ["echo / p50_ms", "echo / p99_ms", "echo / p99_9_ms", "echo / max_ms"];
/// The same of a write, from when it was due.
const WRITE: [&str; 4] = ["write / p50_ms", "write / p99_ms", "write / p99_9_ms", "write / max_ms"];

/// All rows; `quick`: everything tiny and a second long.
pub fn all(quick: bool, seconds: u64) -> Vec<Row> {
    let seconds = if quick { 1 } else { seconds };
    let mut rows = limits(quick);
    rows.extend(messages(quick, seconds));
    rows.push(scale(quick, seconds));
    rows.extend(connections(quick, seconds));
    rows.extend(others(quick, seconds));
    rows
}

/// Those whose names hold one of these words, and the ceilings that they are shares of; all where
/// there are no words.
///
/// # Errors
/// When no row has one of the words in its name.
pub fn chosen(rows: Vec<Row>, words: &[String]) -> Result<Vec<Row>> {
    for word in words {
        let is_known = rows.iter().any(|row| row.name.contains(word));
        let names = || rows.iter().map(|row| row.name).collect::<Vec<_>>().join(", ");
        ensure!(is_known, "no row has {word:?} in its name: they are {}", names());
    }
    let has_word = |row: &Row| words.is_empty() || words.iter().any(|it| row.name.contains(it));
    let is_needed = |row: &Row| rows.iter().any(|other| has_word(other) && other.needs(row));
    let kept: Vec<bool> = rows.iter().map(|row| has_word(row) || is_needed(row)).collect();
    Ok(rows.into_iter().zip(kept).filter(|(_, is_kept)| *is_kept).map(|(row, _)| row).collect())
}

/// A size, or the one that shows only that it works.
fn size(quick: bool, whole: u64, tiny: u64) -> u64 {
    if quick { tiny } else { whole }
}

/// Ceilings, by the row that measures one and its figure.
const MESSAGES_1: (&str, &str) = ("limit-1", "messages_per_second");
const MESSAGES_16: (&str, &str) = ("limit-16", "messages_per_second");
const CALLS_1: (&str, &str) = ("limit-ids-plain", "calls_per_second");
const CALLS_16: (&str, &str) = ("limit-ids-pipelined", "calls_per_second");

/// What a bare echo does with the same frames.
fn limits(quick: bool) -> Vec<Row> {
    let (pairs, seconds) = (size(quick, 500, 5), size(quick, 5, 1));
    let limit = |(name, figure): (&'static str, &str), what: &str, frames: &str| {
        let load = format!("limit {frames} --seconds {seconds}");
        Row::new(name, &load).with_its_own_server().line(what, &[figure])
    };
    let messages = |window: u64| format!("--pairs {pairs} --window {window}");
    // As many connections as those that ask for ids, and as much in flight on each.
    let calls = |window: u64| format!("--frames calls --pairs 32 --window {}", 2 * window);
    let what = "a bare echo: frames of so many messages a second, 1 in flight a pair";
    vec![
        limit(MESSAGES_1, what, &messages(1)),
        limit(MESSAGES_16, "the same, 16 in flight a pair", &messages(16)),
        limit(CALLS_1, "a bare echo: calls a second, 64 connections, one each", &calls(1)),
        limit(CALLS_16, "the same, 16 calls in flight", &calls(16)),
    ]
}

/// Pairs who write to each other.
fn messages(quick: bool, seconds: u64) -> Vec<Row> {
    let time = format!("--seconds {seconds} --warm-seconds {}", size(quick, 5, 0));
    let pairs = size(quick, 500, 5);
    let pingpong =
        |window: u64| format!("pingpong --no-limit --pairs {pairs} --window {window} {time}");
    let (users, rate) = (size(quick, 1_000, 10), size(quick, 20_000, 200));
    let open = format!("open --no-limit --users {users} --rate {rate} {time}");
    let floor = format!("limit --pairs {pairs} --rate {rate} {time}");
    let disk = format!("disk --rate 1000 --seconds {seconds}");
    let one_async = "--durability async";
    let throughput = ["delivered_per_second"];
    vec![
        Row::new("pingpong-1-sync", &pingpong(1)).rates(
            "delivered/s, 1 in flight a pair, `sync`",
            &throughput,
            MESSAGES_1,
        ),
        Row::new("pingpong-1-async", &pingpong(1)).server(one_async, Where::OneCore).rates(
            "the same, `async`",
            &throughput,
            MESSAGES_1,
        ),
        Row::new("pingpong-16-sync", &pingpong(16)).rates(
            "delivered/s, 16 in flight a pair, `sync`",
            &throughput,
            MESSAGES_16,
        ),
        Row::new("pingpong-16-async", &pingpong(16)).server(one_async, Where::OneCore).rates(
            "the same, `async`",
            &throughput,
            MESSAGES_16,
        ),
        Row::new("open-one-core", &open)
            .line(
                &format!("{rate} messages/s whatever happens, p50 / p99 / p99.9 / longest, ms"),
                &DELIVERY,
            )
            .of(MESSAGES_16, &throughput),
        Row::new("open-indexer-apart", &open)
            .server("--durability sync", Where::IndexerApart)
            .line("the same, the indexer on the other core", &DELIVERY)
            .of(MESSAGES_16, &throughput),
        Row::new("limit-open-on-disk", &floor)
            .with_its_own_server()
            .with_a_folder("--on-disk")
            .line("a bare echo that puts them on the disk first", &ECHO),
        Row::new("limit-open", &floor).with_its_own_server().line("a bare echo", &ECHO),
        Row::new("disk-open", &disk)
            .with_its_own_server()
            .with_a_folder("--folder")
            .line("the disk alone, 1000 writes a second of 32 KiB", &WRITE),
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
    row.rates(
        &format!("delivered/s, 16 in flight a pair, beside {} registered users", users.join(" / ")),
        &figures("delivered_per_second", 1..=3),
        MESSAGES_16,
    )
    .rates(
        &format!(
            "the same beside {} of them with {} stored messages",
            users[2],
            stored.join(" / ")
        ),
        &figures("delivered_per_second", 3..=5),
        MESSAGES_16,
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
    let ids_rate = ["ids_per_second"];
    let ids = |calls: u64| {
        format!("ids --no-limit --connections 64 --pipelined {calls} --seconds {seconds}")
    };
    vec![
        Row::new("offline", &offline).line(
            &format!("{waiting} messages to {away} who are away, a second: store / drain"),
            &["store / delivered_per_second", "drain / delivered_per_second"],
        ),
        Row::new("ids-plain", &ids(1)).rates(
            "message ids a second, 64 connections, one call each",
            &ids_rate,
            CALLS_1,
        ),
        Row::new("ids-pipelined", &ids(16)).rates(
            "the same, 16 calls in flight",
            &ids_rate,
            CALLS_16,
        ),
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
        // What they are shares of is measured, too.
        let expected = [
            "limit-16",
            "open-one-core",
            "open-indexer-apart",
            "limit-open-on-disk",
            "limit-open",
            "disk-open",
            "restart",
            "restart-10m",
        ];
        assert_eq!(names(&["open", "restart"]).expect("there are such"), expected);
        assert_eq!(names(&["ids-plain"]).expect("it is one"), ["limit-ids-plain", "ids-plain"]);
        assert_eq!(names(&[]).expect("all").len(), all(false, 60).len());
        let error = names(&["open", "nothing"]).expect_err("there is none").to_string();
        assert!(error.contains("\"nothing\"") && error.contains("restart-10m"), "{error}");
    }

    #[test]
    fn every_row_that_measures_for_a_time_heeds_the_one_that_is_given() {
        for row in all(false, 30) {
            let load = row.load.join(" ");
            let seconds = match row.load[0].as_str() {
                "pingpong" | "open" | "idle" | "ids" | "disk" => "--seconds 30",
                "limit" if load.contains("--rate") => "--seconds 30",
                "scale" => "--seconds 6",
                _ => continue,
            };
            assert!(load.contains(seconds), "{load}");
        }
    }
}
