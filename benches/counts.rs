//! Instructions of cases: by the processor where it counts them for us, else by callgrind.
//!
//! Under callgrind this program runs again, each case once after it has warmed up. Only what
//! `case::observed` does is counted, and the count written out each time it returns; so neither
//! what a case prepares nor what others do is in it.

use crate::baseline::{Baseline, Conditions, Counts};
use crate::case::{Case, Meter, WARMING};
use std::process::{Command, ExitCode, Stdio};
use std::{env, fs, io, path::Path};

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/baseline.toml");
/// The one function that is counted.
const OBSERVED: &str = "cases::case::observed";
/// The ways to count; a processor that is lent to a virtual machine seldom does.
const CALLGRIND: &str = "callgrind";
const PROCESSOR: &str = "processor";
/// A build with assertions for development is that of the tests.
const BUILD: &str = if cfg!(debug_assertions) { "test" } else { "release" };

/// Counts and compares, or blesses.
pub fn run(cases: Vec<Case>, only: &str, blesses: bool) -> io::Result<ExitCode> {
    let mut baseline = committed()?;
    let conditions = Conditions {
        counted_by: way(baseline.counted_by(BUILD))?.to_owned(),
        compiler: compiler()?,
        processor: processor(),
    };
    let Counted { counts, is_well } = match &*conditions.counted_by {
        CALLGRIND => by_callgrind(only)?,
        _ => by_processor(cases)?,
    };
    if blesses && is_well {
        baseline.bless(BUILD, conditions, counts, only);
        fs::write(FILE, baseline.text().map_err(io::Error::other)?)?;
        println!("blessed: the baseline of the {BUILD} build is written, look at what changed");
        return Ok(ExitCode::SUCCESS);
    }
    let judgement = baseline.judge(BUILD, &conditions, &counts, only);
    println!("{judgement}");
    if !is_well {
        println!("a case has failed, what it says stands above");
    }
    Ok(if is_well && judgement.is_passed() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What was counted.
struct Counted {
    counts: Counts,
    /// No case has failed, and none allocated that should not.
    is_well: bool,
}

/// The baseline; none if there is no file.
fn committed() -> io::Result<Baseline> {
    match fs::read_to_string(FILE) {
        Ok(text) => Baseline::parse(&text).map_err(io::Error::other),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Baseline::default()),
        Err(error) => Err(error),
    }
}

/// How to count: as the baseline was made if that is possible here.
fn way(before: Option<&str>) -> io::Result<&'static str> {
    let processor = Meter::new().counts().then_some(PROCESSOR);
    let valgrind = Command::new("valgrind").arg("--version").stdout(Stdio::null()).status();
    let callgrind = valgrind.is_ok_and(|status| status.success()).then_some(CALLGRIND);
    let ways = || [processor, callgrind].into_iter().flatten();
    ways().find(|way| Some(*way) == before).or_else(|| ways().next()).ok_or_else(|| {
        io::Error::other("this machine shows no instruction counters and has no valgrind")
    })
}

fn by_processor(cases: Vec<Case>) -> io::Result<Counted> {
    let mut meter = Meter::new();
    let mut counted = Counted { counts: Counts::new(), is_well: true };
    for case in cases {
        let (name, operations) = (case.name, case.operations);
        let ran = case.run(&mut meter, 5);
        let least = ran.taken.iter().filter_map(|run| run.instructions).min();
        let least = least.ok_or_else(|| io::Error::other("the processor counts no more"))?;
        counted.counts.insert(name.to_owned(), least / operations);
        counted.is_well &= ran.is_well;
    }
    Ok(counted)
}

/// What `by_callgrind` runs: says the name and the operations of each case it has run.
pub fn be_observed(cases: Vec<Case>) -> ExitCode {
    let (mut meter, mut is_well) = (Meter::blind(), true);
    for case in cases {
        let (name, operations) = (case.name, case.operations);
        is_well &= case.run(&mut meter, 1).is_well;
        println!("{name} {operations}");
    }
    if is_well { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn by_callgrind(only: &str) -> io::Result<Counted> {
    let name = format!("callgrind-{}", std::process::id());
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::create_dir_all(&folder)?;
    let file = folder.join("part");
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--quiet"])
        .arg(format!("--toggle-collect={OBSERVED}"))
        .arg(format!("--dump-after={OBSERVED}"))
        .arg(format!("--callgrind-out-file={}", file.display()))
        .arg(env::current_exe()?)
        .args(["--observed", only])
        .stderr(Stdio::inherit())
        .output()?;
    let ran = String::from_utf8_lossy(&output.stdout);
    let count = |(index, line): (usize, &str)| {
        let (name, operations) = line.split_once(' ').ok_or_else(unreadable)?;
        // Each run has its part, counted from 1.
        let part = folder.join(format!("part.{}", (WARMING + 1) * (index + 1)));
        let part = fs::read_to_string(part)?;
        let total = part.lines().find_map(|line| line.strip_prefix("totals: "));
        let total: u64 =
            total.and_then(|total| total.trim().parse().ok()).ok_or_else(unreadable)?;
        let operations: u64 = operations.parse().map_err(io::Error::other)?;
        Ok((name.to_owned(), total / operations))
    };
    let counts = ran.lines().enumerate().map(count).collect::<io::Result<Counts>>()?;
    fs::remove_dir_all(&folder)?;
    Ok(Counted { counts, is_well: output.status.success() })
}

fn unreadable() -> io::Error {
    io::Error::other("what callgrind wrote cannot be read")
}

/// The compiler's version: another one makes other instructions of the same code.
fn compiler() -> io::Result<String> {
    let output = Command::new("rustc").arg("--version").output()?;
    let version = String::from_utf8_lossy(&output.stdout);
    Ok(version.split_whitespace().take(2).collect::<Vec<_>>().join(" "))
}

/// What decides which of several ways libraries take.
fn processor() -> String {
    #[cfg(target_arch = "x86_64")]
    let widest = if is_x86_feature_detected!("avx2") { " with avx2" } else { "" };
    #[cfg(not(target_arch = "x86_64"))]
    let widest = "";
    format!("{}{widest}", env::consts::ARCH)
}
