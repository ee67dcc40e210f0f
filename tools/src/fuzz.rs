//! `anser-tools fuzz`: bytes of others against everything here that reads them, beside an oracle.
//!
//! A target knows its format, makes cases, runs one and compares. Workers change cases by chance
//! from a seed, and keep those that did something new: two steps after each other that no case
//! had before. The same seed and number of workers give the same cases.
//!
//! Left to others: what is right (`naive`), each target's format (`targets`).

mod case;
mod disk;
mod mutate;
mod naive;
mod peer;
mod server;
mod shrink;
mod targets;
#[cfg(test)]
mod tests;
mod watch;
mod worker;

use crate::running::watch;
use anyhow::{Context, bail, ensure};
use case::{Target, Trail, hash};
use clap::Args;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};
use watch::{CASE_TIME_MAX, Watched};
use worker::{Found, Worker};

/// How long all targets together are tried when nothing is said.
const SECONDS: u64 = 120;
/// Cases between two looks at whether it is time to end.
const LOOK: u64 = 64;

/// What `fuzz` is told.
#[derive(Args, Debug)]
pub struct Arguments {
    /// Of http, frames, json, session, log, rows, import; all of them by default
    #[arg(value_name = "TARGET")]
    targets: Vec<String>,
    /// How long, all targets together
    #[arg(long, value_name = "COUNT", conflicts_with = "cases")]
    seconds: Option<u64>,
    /// How many cases of each target, instead
    #[arg(long, value_name = "COUNT")]
    cases: Option<u64>,
    /// Another seed gives other cases
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Workers; as many as there are cores by default
    #[arg(long, value_name = "COUNT")]
    jobs: Option<u64>,
    /// Where each target's cases are to begin with, in a folder of its name
    #[arg(long, value_name = "FOLDER", default_value = "tools/fuzz/corpus")]
    corpus: PathBuf,
    /// Add cases that did something new to that folder
    #[arg(long)]
    grow: bool,
    /// Run this one case of one target
    #[arg(long, value_name = "FILE")]
    replay: Option<PathBuf>,
}

/// Until when a target is tried.
#[derive(Clone, Copy)]
enum Until {
    Cases(u64),
    Time(Instant),
}

/// Runs `fuzz`: exit code 1 if something was found.
pub fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let all = targets::all();
    let names: Vec<&str> = all.iter().map(|target| target.name()).collect();
    for name in &arguments.targets {
        ensure!(names.contains(&&**name), "there is no {name}: {}", names.join(", "));
    }
    let is_wanted = |target: &&dyn Target| {
        arguments.targets.is_empty() || arguments.targets.iter().any(|it| it == target.name())
    };
    let wanted: Vec<&dyn Target> = all.iter().map(|it| &**it).filter(is_wanted).collect();
    if let Some(file) = &arguments.replay {
        let [target] = wanted[..] else { bail!("name one target to replay a case of") };
        return replay(target, file);
    }
    let mut is_clean = true;
    let seconds = arguments.seconds.unwrap_or(SECONDS) as f64 / wanted.len() as f64;
    for target in wanted {
        let until = match arguments.cases {
            Some(cases) => Until::Cases(cases),
            None => Until::Time(Instant::now() + Duration::from_secs_f64(seconds)),
        };
        is_clean &= fuzz(target, arguments, until)?;
    }
    Ok(if is_clean { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn replay(target: &dyn Target, file: &Path) -> anyhow::Result<ExitCode> {
    let case = fs::read(file).with_context(|| file.display().to_string())?;
    match Watched::default().run(target, &case, &mut Trail::default()) {
        Ok(()) => {
            println!("fuzz {}: {} is as it should be", target.name(), file.display());
            Ok(ExitCode::SUCCESS)
        }
        Err(wrong) => {
            println!("fuzz {}: {wrong}", target.name());
            Ok(ExitCode::FAILURE)
        }
    }
}

/// Tries a target; whether nothing was found.
fn fuzz(target: &dyn Target, arguments: &Arguments, until: Until) -> anyhow::Result<bool> {
    let name = target.name();
    let folder = arguments.corpus.join(name);
    let given = cases_in(&folder)?;
    let cores = std::thread::available_parallelism().map_or(1, |count| count.get() as u64);
    let jobs = arguments.jobs.unwrap_or(cores).max(1);
    let started = Instant::now();
    let watched: Vec<Watched> = (0..jobs).map(|_| Watched::default()).collect();
    let (is_over, done) = (AtomicBool::new(false), mpsc::channel::<()>());
    let outcomes: Vec<(Worker<'_>, Result<(), Found>)> = std::thread::scope(|scope| {
        let (ended, watching) = done;
        scope.spawn(|| watch(&watched, CASE_TIME_MAX, watching, |case| hangs(name, &case)));
        let workers = watched.iter().zip(0..).map(|(watched, number)| {
            let seed = arguments.seed.wrapping_mul(jobs).wrapping_add(number);
            let worker = Worker::new(target, watched, &given, seed);
            scope.spawn(|| work(worker, until.shared(jobs), &is_over))
        });
        let workers = workers.collect::<Vec<_>>().into_iter();
        let outcomes = workers.map(|it| it.join().expect("panics of cases are caught"));
        let outcomes = outcomes.collect();
        drop(ended);
        outcomes
    });
    let cases: u64 = outcomes.iter().map(|(worker, _)| worker.cases).sum();
    let known = outcomes.iter().map(|(worker, _)| worker.known()).max().unwrap_or(0);
    let seconds = started.elapsed().as_secs_f64();
    println!(
        "fuzz {name}: {cases} cases in {seconds:.0} s, {jobs} jobs, seed {}: {known} new steps",
        arguments.seed
    );
    let mut is_clean = true;
    for (worker, outcome) in &outcomes {
        match outcome {
            Ok(()) if arguments.grow => grow(worker, &folder)?,
            Ok(()) => {}
            Err(found) => {
                is_clean = false;
                println!("fuzz {name}: {}", found.wrong);
                keep(name, &found.case)?;
            }
        }
    }
    Ok(is_clean)
}

impl Until {
    /// One worker's part of the cases.
    fn shared(self, jobs: u64) -> Until {
        match self {
            Until::Cases(cases) => Until::Cases(cases.div_ceil(jobs)),
            time => time,
        }
    }

    fn is_over(self, cases: u64) -> bool {
        match self {
            Until::Cases(most) => cases >= most,
            Until::Time(end) => cases.is_multiple_of(LOOK) && Instant::now() >= end,
        }
    }
}

/// Works until it is time, or somebody has found something.
fn work<'t>(
    mut worker: Worker<'t>,
    until: Until,
    is_over: &AtomicBool,
) -> (Worker<'t>, Result<(), Found>) {
    let mut outcome = worker.begin();
    let first = worker.cases;
    while outcome.is_ok()
        && !until.is_over(worker.cases - first)
        && !is_over.load(Ordering::Relaxed)
    {
        outcome = worker.step();
    }
    if outcome.is_err() {
        is_over.store(true, Ordering::Relaxed);
    }
    (worker, outcome)
}

/// A case does not end: it is told and kept.
fn hangs(name: &str, case: &[u8]) {
    println!("fuzz {name}: a case has been running for {} s", CASE_TIME_MAX.as_secs());
    if let Err(error) = keep(name, case) {
        eprintln!("fuzz {name}: it cannot be kept: {error:#}");
    }
}

/// The cases of a folder, in the order of their names. None if it is not there.
fn cases_in(folder: &Path) -> anyhow::Result<Vec<Vec<u8>>> {
    if !folder.is_dir() {
        return Ok(Vec::new());
    }
    let entries = fs::read_dir(folder).with_context(|| folder.display().to_string())?;
    let mut paths = entries.map(|entry| Ok(entry?.path())).collect::<anyhow::Result<Vec<_>>>()?;
    paths.sort();
    paths.iter().map(|path| fs::read(path).with_context(|| path.display().to_string())).collect()
}

/// Writes a case that broke a rule, and says how to see it again.
fn keep(name: &str, case: &[u8]) -> anyhow::Result<()> {
    let folder = Path::new("target/fuzz").join(name);
    let file = write(&folder, "", case)?;
    println!("  {} bytes: {}", case.len(), case::shown(case));
    println!("  cargo run -p anser-tools -- fuzz {name} --replay {}", file.display());
    Ok(())
}

fn write(folder: &Path, prefix: &str, case: &[u8]) -> anyhow::Result<PathBuf> {
    let file = folder.join(format!("{prefix}{:08x}", hash(&case) as u32));
    let written = fs::create_dir_all(folder).and_then(|()| fs::write(&file, case));
    written.with_context(|| file.display().to_string())?;
    Ok(file)
}

fn grow(worker: &Worker<'_>, folder: &Path) -> anyhow::Result<()> {
    for case in worker.grown() {
        println!("  grown: {}", write(folder, "grown-", &case)?.display());
    }
    Ok(())
}
