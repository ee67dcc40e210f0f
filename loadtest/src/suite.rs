//! All that is measured for the README, in one command: each row several times, each time against
//! a new server on an empty folder, and the table of it.
//!
//! The server has the first core, the load the last. Every run is one of this very program, so
//! that its document tells the command that makes it again.

mod rows;

use crate::arguments;
use crate::compare::{self, Spread};
use crate::cores::{self, Shares};
use crate::document::Document;
use crate::interrupt;
use crate::outcome;
use crate::report::words;
use crate::server::{Folder, Setup};
use anyhow::{Context, Result, ensure};
use rows::{Row, Where};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// What to run.
#[derive(Clone, Debug, clap::Args)]
pub struct Suite {
    /// The folder for the table and the documents.
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// How often each row is measured.
    #[arg(long, default_value_t = 3, value_parser = arguments::positive::<usize>)]
    pub times: usize,
    /// How often each row is measured that takes minutes: `scale` and `restart-10m`.
    #[arg(long, default_value_t = 1, value_parser = arguments::positive::<usize>)]
    pub long_times: usize,
    /// How long each measures that has no end of its own; the sizes of `scale` share it.
    #[arg(long, default_value_t = 60, value_parser = arguments::positive::<u64>)]
    pub seconds: u64,
    /// Only the rows whose names hold one of these, such as `pingpong,restart`.
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    pub only: Vec<String>,
    /// Everything tiny and a second long: shows that it works, not how fast.
    #[arg(long)]
    pub quick: bool,
}

/// A row and what came of its runs.
struct Measured {
    row: Row,
    documents: Vec<Document>,
    /// Why runs have no document.
    failures: Vec<String>,
}

/// What was measured, by the row's name and the figure's path.
type Figures<'a> = BTreeMap<&'a str, BTreeMap<String, Spread>>;

impl Suite {
    /// Runs all rows and gives the table, which lies in the folder as `table.md`, too.
    ///
    /// # Errors
    /// When a run fails; the table then says which, and the other rows are there.
    pub fn run(&self) -> Result<String> {
        let shares = Shares::of(&cores::allowed());
        ensure!(
            !shares.overlap(),
            "server and load need a core each: more than one must be allowed"
        );
        fs::create_dir_all(&self.out).with_context(|| self.out.display().to_string())?;
        let (mut all, mut table) = (Vec::new(), String::new());
        for row in rows::chosen(rows::all(self.quick, self.seconds), &self.only)? {
            all.push(self.measure_row(row));
            // Whatever comes later, what was measured is there.
            table = self.table(&all);
            fs::write(self.out.join("table.md"), &table)?;
            interrupt::check()?;
        }
        let failed: Vec<&str> =
            all.iter().filter(|it| !it.errors().is_empty()).map(|it| it.row.name).collect();
        ensure!(failed.is_empty(), "{table}\nfailed: {}", failed.join(", "));
        Ok(table)
    }

    /// All runs of a row; one that fails ends it.
    fn measure_row(&self, row: Row) -> Measured {
        let times = if row.is_long { self.long_times } else { self.times };
        let mut measured = Measured { row, documents: Vec::new(), failures: Vec::new() };
        for number in 1..=times {
            eprintln!("{}: {number} of {times}", measured.row.name);
            // A server that does not start panics, as it does in the tests.
            let run = AssertUnwindSafe(|| self.measure(&measured.row, number));
            match std::panic::catch_unwind(run) {
                Ok(Ok(document)) => measured.documents.push(document),
                Ok(Err(error)) => measured.failures.push(format!("{error:#}")),
                Err(panic) => measured.failures.push(outcome::words(panic.as_ref()).to_owned()),
            }
            if !measured.failures.is_empty() || interrupt::is_asked() {
                break;
            }
        }
        measured
    }

    /// One run of a row.
    fn measure(&self, row: &Row, number: usize) -> Result<Document> {
        let allowed = cores::allowed();
        let shares = Shares::of(&allowed);
        let file = self.out.join(format!("{}-{number}.json", row.name));
        // The document of an earlier suite must not be taken for this one's.
        let _ = fs::remove_file(&file);
        let server = row.server.as_ref().map(|(arguments, cores)| {
            let mut setup = Setup::shards(1);
            setup.arguments.extend(arguments.iter().cloned());
            match cores {
                Where::OneCore => setup.on_cores(shares.server.clone()).start(),
                Where::IndexerApart => {
                    let apart = shares.load[0].to_string();
                    setup.with("--indexer-core", &apart).on_cores(allowed.clone()).start()
                }
            }
        });
        let mut load = Command::new(std::env::current_exe()?);
        load.args(&row.load).args(["--label", row.name]).arg("--json").arg(&file);
        if let Some(server) = &server {
            let addresses = [server.http, server.ws, server.admin].map(|it| it.to_string());
            load.args(["--http", &addresses[0], "--ws", &addresses[1]]);
            load.args(["--admin", &addresses[2], "--server-pid", &server.id().to_string()]);
        }
        let folder = row.folder.map(|argument| (argument, Folder::new()));
        if let Some((argument, folder)) = &folder {
            load.arg(argument).arg(folder.path());
        }
        load.stdin(Stdio::null()).stdout(Stdio::null());
        let own = if server.is_some() { &shares.load } else { &allowed };
        let ended = cores::only(own, || load.status())?;
        Document::read(&file).with_context(|| format!("{} ended with {ended}", row.name))
    }

    fn table(&self, all: &[Measured]) -> String {
        let Some(first) = all.iter().find_map(|it| it.documents.first()) else {
            let failures = all.iter().flat_map(Measured::errors);
            return format!("nothing was measured: {}\n", failures.collect::<Vec<_>>().join("; "));
        };
        let (machine, begun) = (&first.machine, words::moment(first.begun));
        // Not every row has a server.
        let mut servers = all.iter().flat_map(|it| &it.documents).map(|it| &it.outcome.server);
        let server = servers.find_map(|it| it.as_ref().filter(|it| it.version.is_some()));
        let version = server.and_then(|it| it.version.as_deref());
        let revision = server.and_then(|it| it.revision.as_deref());
        let shares = Shares::of(&cores::allowed());
        let mut out = format!(
            "Measured {begun} on {}, {} cores, Linux {}, server on core {}, load on core {}, \
             with `{}`: anser {}{}. Median of {} (least to most).\n\n\
             | what | figure | share of a bare echo's |\n|---|---|---|\n",
            machine.cpu,
            machine.cores,
            machine.kernel,
            shares.server[0],
            shares.load[0],
            self.command(),
            version.unwrap_or("of this build"),
            revision.map(|it| format!(" ({it})")).unwrap_or_default(),
            self.times,
        );
        let figures: Figures<'_> =
            all.iter().map(|it| (it.row.name, compare::spreads(&it.documents))).collect();
        all.iter().for_each(|measured| measured.write(self.times, &figures, &mut out));
        let mut flags: Vec<String> = all.iter().flat_map(Measured::flags).collect();
        flags.dedup();
        if !flags.is_empty() {
            let _ = writeln!(out, "\nTo be known:\n\n- {}", flags.join("\n- "));
        }
        out
    }

    fn command(&self) -> String {
        let quick = if self.quick { " --quick" } else { "" };
        let (times, long, seconds) = (self.times, self.long_times, self.seconds);
        let only = match self.only.join(",") {
            all if all.is_empty() => all,
            some => format!(" --only {some}"),
        };
        format!(
            "anser-loadtest suite --times {times} --long-times {long} --seconds \
             {seconds}{only}{quick}"
        )
    }
}

impl Measured {
    fn errors(&self) -> Vec<&str> {
        let failed = self.documents.iter().filter_map(|it| it.outcome.error.as_deref());
        failed.chain(self.failures.iter().map(String::as_str)).collect()
    }

    fn flags(&self) -> Vec<String> {
        let flags = self.documents.iter().flat_map(|it| it.outcome.flags.iter());
        flags.map(|flag| format!("{}: {flag}", self.row.name)).collect()
    }

    /// The row's lines of the table, whose head says how often rows are measured.
    fn write(&self, times: usize, figures: &Figures<'_>, out: &mut String) {
        let name = self.row.name;
        if let Some(error) = self.errors().first() {
            let _ = writeln!(out, "| {name} | failed: {} | |", error.replace('\n', " "));
            return;
        }
        let often = match self.documents.len() {
            usual if usual == times => String::new(),
            1 => ", one run".to_owned(),
            runs => format!(", {runs} runs"),
        };
        let spread = |path: &String| figures.get(name)?.get(path);
        for line in &self.row.lines {
            let shown = beside_each_other(
                line.figures.iter().map(|path| Some(spread(path)?.times(line.factor))),
            );
            let share = line.share.as_ref().map(|share| {
                let ceiling = figures.get(share.row).and_then(|it| it.get(share.ceiling));
                beside_each_other(
                    share.rates.iter().map(|path| Some(spread(path)?.against(ceiling?))),
                )
            });
            let _ =
                writeln!(out, "| {}{often} | {shown} | {} |", line.what, share.unwrap_or_default());
        }
    }
}

/// Figures beside each other.
fn beside_each_other(figures: impl Iterator<Item = Option<Spread>>) -> String {
    let words = figures.map(|figure| figure.map_or("–".to_owned(), |it| it.words()));
    words.collect::<Vec<String>>().join(" / ")
}
