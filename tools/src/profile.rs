//! `anser-tools profile`: where a message's time goes, on a running server.
//!
//! It asks the admin port at the beginning, once a second and in the end; the server keeps the
//! figures all the time and does nothing more for it. Left to others: what is made of them
//! (`account`), and how that looks (`text`, `picture`).

mod account;
mod heat;
mod picture;
mod text;
mod waterfall;

use crate::readings::{self, Latency};
use account::{ANOTHER_RUN, Account, Second};
use anser::config::reached_at;
use anyhow::{Context, anyhow, bail};
use clap::Args;
use signal_hook::consts::SIGINT;
use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// What `profile` is told.
#[derive(Args, Debug)]
pub struct Arguments {
    /// The admin port of the running server
    #[arg(long, default_value = "127.0.0.1:8094", value_parser = reached_at)]
    admin: SocketAddr,
    /// For how long, at most an hour
    #[arg(long, value_name = "COUNT", default_value_t = 10,
          value_parser = clap::value_parser!(u32).range(1..=3600))]
    seconds: u32,
    /// Write all figures there as one JSON document
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write a page with pictures there, which needs nothing beside itself
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
}

/// What is said of a server that stops answering.
const GONE: &str = "it was there until now";
/// What a profile that was broken off by Ctrl-C exits with, as shells have it.
const INTERRUPTED: u8 = 130;

/// Runs `profile`.
pub fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let is_told_to_stop = Arc::new(AtomicBool::new(false));
    signal_hook::flag::register_conditional_default(SIGINT, is_told_to_stop.clone())?;
    signal_hook::flag::register(SIGINT, is_told_to_stop.clone())?;
    let first = readings::latency(arguments.admin)?;
    let mut out = std::io::stdout().lock();
    let watch = Watch { admin: arguments.admin, every: Duration::from_secs(1), is_told_to_stop };
    for path in [&arguments.json, &arguments.report].into_iter().flatten() {
        look_whether_it_can_be_written(path)?;
    }
    let (account, ended) = watch.look_on(&first, arguments.seconds, &mut out)?;
    out.write_all(text::render(&account).as_bytes())?;
    let words = |path: &PathBuf| format!("cannot write {}", path.display());
    if let Some(path) = &arguments.json {
        let document = serde_json::to_vec_pretty(&account)?;
        std::fs::write(path, document).with_context(|| words(path))?;
    }
    if let Some(path) = &arguments.report {
        std::fs::write(path, picture::render(&account)).with_context(|| words(path))?;
        writeln!(out, "\nthe page is {}", path.display())?;
    }
    ended.map(|end| match end {
        End::Whole => ExitCode::SUCCESS,
        End::Interrupted => ExitCode::from(INTERRUPTED),
    })
}

/// Before anybody waits for nothing. What was not there before is not there afterwards.
fn look_whether_it_can_be_written(path: &Path) -> anyhow::Result<()> {
    let words = || format!("cannot write {}", path.display());
    let is_there = path.symlink_metadata().is_ok();
    let opened = std::fs::OpenOptions::new().create(true).append(true).open(path);
    opened.with_context(words)?;
    if is_there { Ok(()) } else { std::fs::remove_file(path).with_context(words) }
}

/// What a first reading and the asking for slow messages may take; what ended before is left out.
const READING_SECONDS: f64 = 0.05;

/// How looking on ended, if the server was there until then.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum End {
    Whole,
    Interrupted,
}

/// Looks on.
struct Watch {
    admin: SocketAddr,
    every: Duration,
    is_told_to_stop: Arc<AtomicBool>,
}

impl Watch {
    /// For so many intervals after a first reading; says each as it passes. A server that is gone
    /// meanwhile leaves the account of what was seen until then.
    fn look_on(
        &self,
        first: &Latency,
        intervals: u32,
        out: &mut impl Write,
    ) -> anyhow::Result<(Account, anyhow::Result<End>)> {
        let begun = Instant::now();
        out.write_all(text::seconds_head().as_bytes())?;
        let (mut times, mut last) = (Vec::new(), first.clone());
        let mut ended = Ok(End::Whole);
        for index in 1..=intervals {
            let due = begun + self.every * index;
            // A sleep goes on after a signal: so it is slept in short parts.
            while Instant::now() < due && !self.is_told_to_stop.load(Ordering::Relaxed) {
                let left = due.saturating_duration_since(Instant::now());
                std::thread::sleep(left.min(Duration::from_millis(50)));
            }
            let now = match readings::latency(self.admin) {
                Ok(now) => now,
                Err(error) if times.is_empty() => return Err(error),
                Err(error) => {
                    ended = Err(error.context(GONE));
                    break;
                }
            };
            let period = match now.since(&last) {
                Some(period) => period,
                None if times.is_empty() => bail!(ANOTHER_RUN),
                None => {
                    ended = Err(anyhow!("it was started again; nothing is told of that run"));
                    break;
                }
            };
            let since_begin = now.steady_ns.saturating_sub(first.steady_ns) as f64 / 1e9;
            let second = Second::of(&period, since_begin);
            out.write_all(text::second(&second).as_bytes())?;
            out.flush()?;
            times.push(second);
            last = now;
            if self.is_told_to_stop.load(Ordering::Relaxed) {
                ended = Ok(End::Interrupted);
                break;
            }
        }
        // Slower ones of before would take their places.
        let seconds = begun.elapsed().as_secs_f64() + READING_SECONDS;
        let slow = readings::slow_within(self.admin, seconds);
        let kept = match slow.and_then(|slow| Ok((slow, readings::away(self.admin)?))) {
            Ok(kept) => kept,
            Err(error) => {
                ended = ended.and(Err(error.context(GONE)));
                Default::default()
            }
        };
        let mut account = Account::of(first, &last, times, kept)?;
        account.broken_off = match &ended {
            Ok(End::Whole) => None,
            Ok(End::Interrupted) => Some("interrupted".to_owned()),
            Err(error) => Some(format!("{error:#}")),
        };
        Ok((account, ended))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::stub;
    use crate::fixture;
    use std::sync::atomic::AtomicU64;

    /// A server that ages by `step(n)` seconds at the n-th reading.
    fn server(age: fn(u64) -> u64) -> SocketAddr {
        let readings = AtomicU64::new(0);
        stub::serve(move |path| match path {
            "/admin/latency" => {
                let reading = readings.fetch_add(1, Ordering::Relaxed);
                Some(fixture::latency(age(reading)).to_string())
            }
            slow if slow.starts_with("/admin/slow?seconds=") => Some(fixture::slow().to_string()),
            "/admin/away" => Some(fixture::away().to_string()),
            _ => None,
        })
    }

    /// Looks on for two intervals.
    fn look_on(
        admin: SocketAddr,
        is_told_to_stop: bool,
        said: &mut Vec<u8>,
    ) -> anyhow::Result<(Account, anyhow::Result<End>)> {
        let first = readings::latency(admin).expect("it answers");
        let is_told_to_stop = Arc::new(AtomicBool::new(is_told_to_stop));
        Watch { admin, every: Duration::ZERO, is_told_to_stop }.look_on(&first, 2, said)
    }

    #[test]
    fn who_is_told_to_stop_accounts_for_what_was_seen() {
        let told = look_on(server(|reading| reading), true, &mut Vec::new());
        let (account, ended) = told.expect("it answers");
        assert_eq!((account.seconds, account.times.len()), (1.0, 1));
        assert_eq!(ended.expect("it was there"), End::Interrupted);
        assert_eq!(account.broken_off.as_deref(), Some("interrupted"));
    }

    #[test]
    fn a_server_that_is_gone_is_accounted_for_until_then() {
        let readings = AtomicU64::new(0);
        let admin = stub::serve(move |path| {
            let reading = readings.fetch_add(1, Ordering::Relaxed);
            (path == "/admin/latency" && reading < 2).then(|| fixture::latency(reading).to_string())
        });
        let (account, ended) = look_on(admin, false, &mut Vec::new()).expect("it was there");
        assert_eq!((account.seconds, account.times.len()), (1.0, 1));
        assert_eq!(ended.expect_err("it is gone").to_string(), GONE);
        assert!(account.broken_off.expect("it says so").starts_with(GONE));
    }

    #[test]
    fn a_server_is_watched_second_by_second_and_accounted_for() {
        let mut said = Vec::new();
        let admin = server(|reading| reading);
        let (account, ended) = look_on(admin, false, &mut said).expect("it answers");
        assert_eq!((ended.expect("it was there"), account.broken_off), (End::Whole, None));
        assert_eq!(account.seconds, 2.0);
        let ends: Vec<_> = account.times.iter().map(|second| second.end_seconds).collect();
        assert_eq!(ends, [1.0, 2.0]);
        assert_eq!(account.slowest.len(), 2);
        let said = String::from_utf8(said).expect("text");
        assert_eq!(said.lines().count(), 4, "two lines of head, two seconds: {said}");
    }

    #[test]
    fn a_server_that_is_started_again_meanwhile_ends_it_in_words() {
        let admin = server(|reading| 5 - reading);
        let told = look_on(admin, false, &mut Vec::new());
        assert_eq!(told.expect_err("it is another run").to_string(), ANOTHER_RUN);
    }

    #[test]
    fn no_file_is_left_of_a_server_that_is_not_there() {
        let nobody = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let admin = nobody.local_addr().expect("it is bound");
        drop(nobody);
        let json = std::env::temp_dir().join(format!("anser-profile-{}", std::process::id()));
        let arguments = Arguments { admin, seconds: 1, json: Some(json.clone()), report: None };
        run(&arguments).expect_err("nobody answers");
        assert!(!json.exists());
    }
}
