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
    let size = |whole: u64, tiny: u64| if quick { tiny } else { whole };
    let time = match quick {
        true => "--seconds 1 --warm-seconds 0".to_owned(),
        false => format!("--seconds {seconds} --warm-seconds 5"),
    };
    let pairs = size(500, 5);
    let pingpong = |window: u64| format!("pingpong --pairs {pairs} --window {window} {time}");
    let (users, rate) = (size(1_000, 10), size(20_000, 200));
    let open = format!("open --users {users} --rate {rate} {time}");
    let connections = size(15_000, 20);
    let idle_seconds = size(30, 1);
    let idle =
        format!("idle --connections {connections} --heartbeat-seconds 15 --seconds {idle_seconds}");
    let (away, waiting) = (size(1_000, 10), size(100_000, 200));
    let offline = format!("offline --users {away} --messages {waiting}");
    let kept = size(1_000_000, 1_000);
    let restart = format!("restart --messages {kept} --restarts {}", size(3, 1));
    let one_async = "--durability async";
    let throughput = ["delivered_per_second"];
    vec![
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
        Row::new("offline", &offline).line(
            &format!("{waiting} messages to {away} who are away, a second: store / drain"),
            &["store / delivered_per_second", "drain / delivered_per_second"],
        ),
        Row::new("restart", &restart).with_its_own_server().line(
            &format!("from a start with {kept} stored messages to ready / the first Ack, ms"),
            &["ready / p50_ms", "first_ack / p50_ms"],
        ),
    ]
}
