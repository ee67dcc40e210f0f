//! `anser-tools simulate`: towns under seeds, one after the other on each core, until one fails.

use crate::running::{Running, watch};
use anser::sim::coverage::Coverage;
use anser::sim::town::{self, Report};
use anyhow::{Context, bail};
use indicatif::{ProgressBar, ProgressStyle};
use std::io::{BufWriter, Write, stdout};
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook};
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{LazyLock, Mutex};
use std::thread::{self, ThreadId};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// From so many seeds on every stage of the server's work must have been hit by a crash.
const SEEDS_FOR_ALL_STAGES: u64 = 300;
/// A seed that takes longer does not end: the slowest take seconds on a busy machine.
const SEED_TIME_MAX: Duration = Duration::from_secs(120);
/// Failures that are told before the rest is only counted.
const FAILURES_TOLD: usize = 5;

/// What `simulate` is told.
#[derive(clap::Args)]
pub struct Arguments {
    /// Which seeds: FROM..TO, or so many from 0
    #[arg(long, default_value = "0..1000", value_parser = seeds, conflicts_with = "seed")]
    seeds: Range<u64>,
    /// Just this one
    #[arg(long)]
    seed: Option<u64>,
    /// Tell all that happens in it, line by line
    #[arg(long, requires = "seed")]
    trace: bool,
    /// Fresh seeds for so many minutes
    #[arg(long, conflicts_with_all = ["seed", "seeds"])]
    minutes: Option<f64>,
    /// Threads; as many as there are cores if it is not said
    #[arg(long)]
    threads: Option<usize>,
}

fn seeds(text: &str) -> anyhow::Result<Range<u64>> {
    let number = |text: &str| text.parse::<u64>().with_context(|| format!("{text:?} is no number"));
    match text.split_once("..") {
        None => Ok(0..number(text)?),
        Some((from, to)) => {
            let range = number(from)?..number(to)?;
            if range.is_empty() {
                bail!("there is no seed in it");
            }
            Ok(range)
        }
    }
}

/// What the last panic of each thread said.
static PANICS: LazyLock<Mutex<Vec<(ThreadId, String)>>> = LazyLock::new(Mutex::default);

/// A seed that went wrong.
struct Wrong {
    seed: u64,
    words: String,
    coverage: Coverage,
}

/// How a seed went.
enum News {
    Well(Box<Report>),
    Wrong(Wrong),
}

/// Runs what was asked for.
pub fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        let message = panic.payload_as_str().unwrap_or("a panic without words");
        let mut panics = PANICS.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        panics.retain(|(thread, _)| *thread != thread::current().id());
        panics.push((thread::current().id(), format!("{message} ({place})")));
    }));
    match arguments.seed {
        Some(seed) => run_one(seed, arguments.trace),
        None => run_many(arguments),
    }
}

/// Runs a seed. A panic of the server is a failure like any other.
fn attempt(seed: u64, teller: Option<&mut dyn FnMut(&str)>) -> News {
    let outcome = catch_unwind(AssertUnwindSafe(|| town::run(seed, teller)));
    match outcome {
        Ok(Report { failure: Some(failure), coverage, .. }) => {
            News::Wrong(Wrong { seed, words: failure.to_string(), coverage })
        }
        Ok(report) => News::Well(Box::new(report)),
        Err(_) => {
            let panics = PANICS.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            let mine = panics.iter().find(|(thread, _)| *thread == thread::current().id());
            let words = mine.map_or("a panic", |(_, words)| words);
            let (words, coverage) = (format!("[panic]: {words}"), Coverage::default());
            News::Wrong(Wrong { seed, words, coverage })
        }
    }
}

fn run_one(seed: u64, is_told: bool) -> anyhow::Result<ExitCode> {
    let mut out = BufWriter::new(stdout().lock());
    let mut broken = None;
    let news = match is_told {
        true => attempt(
            seed,
            Some(&mut |line: &str| {
                // Whoever reads no more, `head` for one, needs no more.
                broken = broken.take().or(writeln!(out, "{line}").err());
            }),
        ),
        false => attempt(seed, None),
    };
    Ok(match news {
        News::Well(report) => {
            // A reader who has gone is no failure of the seed.
            let _ = writeln!(
                out,
                "simulate: seed {seed} is well, {} messages, digest {:016x}",
                report.messages, report.digest
            );
            ExitCode::SUCCESS
        }
        News::Wrong(wrong) => {
            let _ = writeln!(out, "simulate: seed {seed} FAILED {}", wrong.words);
            ExitCode::FAILURE
        }
    })
}

/// Seeds to be run, given out one by one.
struct Seeds {
    next: AtomicU64,
    end: u64,
    until: Option<Instant>,
}

impl Seeds {
    fn next(&self) -> Option<u64> {
        if self.until.is_some_and(|until| Instant::now() >= until) {
            return None;
        }
        let seed = self.next.fetch_add(1, Ordering::Relaxed);
        (seed < self.end).then_some(seed)
    }
}

fn run_many(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let start = Instant::now();
    let seeds = match arguments.minutes {
        Some(minutes) => {
            // Seeds that nobody has tried: those of this moment.
            let since = SystemTime::now().duration_since(UNIX_EPOCH).context("the clock")?;
            let until = start + Duration::from_secs_f64(minutes * 60.0);
            Seeds {
                next: AtomicU64::new(since.as_micros() as u64),
                end: u64::MAX,
                until: Some(until),
            }
        }
        None => {
            let Range { start, end } = arguments.seeds;
            Seeds { next: AtomicU64::new(start), end, until: None }
        }
    };
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let threads = arguments.threads.unwrap_or(cores).max(1);
    let bar = bar(arguments);
    let (sender, news) = channel();
    let running: Vec<Running<u64>> = (0..threads).map(|_| Running::default()).collect();
    let (ended, watching) = channel();
    let sums = thread::scope(|scope| {
        for running in &running {
            let (seeds, sender) = (&seeds, sender.clone());
            scope.spawn(move || work(seeds, running, &sender));
        }
        scope.spawn(|| watch(&running, SEED_TIME_MAX, watching, hangs));
        drop(sender);
        let sums = gather(&news, &bar);
        drop(ended);
        sums
    });
    bar.finish_and_clear();
    Ok(sums.tell(start.elapsed()))
}

fn bar(arguments: &Arguments) -> ProgressBar {
    let bar = match arguments.minutes {
        Some(_) => ProgressBar::no_length(),
        None => ProgressBar::new(arguments.seeds.end - arguments.seeds.start),
    };
    let style =
        ProgressStyle::with_template("{elapsed_precise} {wide_bar} {pos}/{len} seeds {msg}");
    bar.with_style(style.expect("the template is a constant"))
}

fn work(seeds: &Seeds, running: &Running<u64>, sender: &Sender<News>) {
    while let Some(seed) = seeds.next() {
        running.begin(seed);
        let news = attempt(seed, None);
        running.end();
        // The main thread outlives this one.
        let _ = sender.send(news);
    }
}

/// A seed does not end: it is told.
fn hangs(seed: u64) {
    println!("seed {seed} FAILED [hangs] for {} s", SEED_TIME_MAX.as_secs());
    println!("  replay: anser-tools simulate --seed {seed} --trace");
}

/// What many seeds have shown.
#[derive(Default)]
struct Sums {
    seeds: u64,
    messages: u64,
    wrong: Vec<Wrong>,
    coverage: Coverage,
}

fn gather(news: &Receiver<News>, bar: &ProgressBar) -> Sums {
    let mut sums = Sums::default();
    for one in news {
        sums.seeds += 1;
        bar.inc(1);
        match one {
            News::Well(report) => {
                sums.messages += report.messages;
                sums.coverage.add(&report.coverage);
            }
            News::Wrong(wrong) => {
                sums.coverage.add(&wrong.coverage);
                bar.suspend(|| eprintln!("seed {}: {}", wrong.seed, wrong.words));
                sums.wrong.push(wrong);
            }
        }
    }
    sums
}

impl Sums {
    fn tell(mut self, took: Duration) -> ExitCode {
        self.wrong.sort_by_key(|wrong| wrong.seed);
        let Sums { seeds, messages, coverage, .. } = &self;
        println!("{coverage}\n");
        let rate = *messages as f64 / took.as_secs_f64();
        println!(
            "simulate: {seeds} seeds, {messages} simulated messages in {:.1} s, {rate:.0} a second",
            took.as_secs_f64()
        );
        for wrong in self.wrong.iter().take(FAILURES_TOLD) {
            println!("seed {} FAILED {}", wrong.seed, wrong.words);
            println!("  replay: anser-tools simulate --seed {} --trace", wrong.seed);
        }
        if !self.wrong.is_empty() {
            println!("simulate: {} of {seeds} seeds failed", self.wrong.len());
            return ExitCode::FAILURE;
        }
        let missed = coverage.missed();
        if *seeds >= SEEDS_FOR_ALL_STAGES && !missed.is_empty() {
            let missed: Vec<&str> = missed.iter().map(|stage| stage.word()).collect();
            println!("simulate: no crash has hit: {}", missed.join(", "));
            return ExitCode::FAILURE;
        }
        println!("simulate: nothing lost, doubled, forged or out of order");
        ExitCode::SUCCESS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_are_a_range_or_a_number() {
        assert_eq!(seeds("3..5").expect("a range"), 3..5);
        assert_eq!(seeds("7").expect("so many from 0"), 0..7);
        for wrong in ["5..5", "5..3", "..", "all", "-1"] {
            assert!(seeds(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_seed_that_panics_is_told_like_any_other_failure() {
        let mut teller = |_: &str| panic!("of its own accord");
        match attempt(3, Some(&mut teller)) {
            News::Wrong(wrong) => assert!(wrong.words.starts_with("[panic]"), "{}", wrong.words),
            News::Well(_) => panic!("it was to panic"),
        }
    }
}
