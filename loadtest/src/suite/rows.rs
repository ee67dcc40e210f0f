//! The rows: which server, which load, and which of its figures are lines of the table.

/// What a line of the table shows.
pub struct Line {
    /// In words, with the unit.
    pub what: String,
    /// Figures by their paths; several stand beside each other.
    pub figures: Vec<&'static str>,
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
    /// What is shown of it.
    pub lines: Vec<Line>,
}

impl Row {
    fn new(name: &'static str, load: &str) -> Row {
        let server = Some((split("--durability sync"), Where::OneCore));
        Row { name, server, load: split(load), lines: Vec::new() }
    }

    fn server(mut self, arguments: &str, cores: Where) -> Row {
        self.server = Some((split(arguments), cores));
        self
    }

    fn with_its_own_server(mut self) -> Row {
        self.server = None;
        self
    }

    fn line(self, what: &str, figures: &[&'static str]) -> Row {
        self.line_times(1.0, what, figures)
    }

    fn line_times(mut self, factor: f64, what: &str, figures: &[&'static str]) -> Row {
        let (what, figures) = (what.to_owned(), figures.to_vec());
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
    let mut rows = messages(quick, seconds);
    rows.extend(connections(quick));
    rows.extend(others(quick));
    rows
}

/// A size, or the one that shows only that it works.
fn size(quick: bool, whole: u64, tiny: u64) -> u64 {
    if quick { tiny } else { whole }
}

/// Pairs who write to each other.
fn messages(quick: bool, seconds: u64) -> Vec<Row> {
    let time = match quick {
        true => "--seconds 1 --warm-seconds 0".to_owned(),
        false => format!("--seconds {seconds} --warm-seconds 5"),
    };
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

/// Many who do little.
fn connections(quick: bool) -> Vec<Row> {
    let (connections, seconds) = (size(quick, 15_000, 20), size(quick, 30, 1));
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
fn others(quick: bool) -> Vec<Row> {
    let (away, waiting) = (size(quick, 1_000, 10), size(quick, 100_000, 200));
    let offline = format!("offline --users {away} --messages {waiting}");
    let seconds = size(quick, 10, 1);
    let ids = |calls: u64| format!("ids --connections 64 --pipelined {calls} --seconds {seconds}");
    let kept = size(quick, 1_000_000, 1_000);
    let restart = format!("restart --messages {kept} --restarts {}", size(quick, 3, 1));
    vec![
        Row::new("offline", &offline).line(
            &format!("{waiting} messages to {away} who are away, a second: store / drain"),
            &["store / delivered_per_second", "drain / delivered_per_second"],
        ),
        Row::new("ids-plain", &ids(1))
            .line("message ids a second, 64 connections, one call each", &["ids_per_second"]),
        Row::new("ids-pipelined", &ids(16))
            .line("the same, 16 calls in flight", &["ids_per_second"]),
        Row::new("restart", &restart).with_its_own_server().line(
            &format!("from a start with {kept} stored messages to ready / the first Ack, ms"),
            &["ready / p50_ms", "first_ack / p50_ms"],
        ),
    ]
}
