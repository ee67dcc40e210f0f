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
use anyhow::Context;
use clap::Args;
use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// What `profile` is told.
#[derive(Args, Debug)]
pub struct Arguments {
    /// The admin port of the running server
    #[arg(long, default_value = "127.0.0.1:8094")]
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

/// Runs `profile`.
pub fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let first = readings::latency(arguments.admin)?;
    // Before anybody waits for nothing, and not before there is anything to write.
    for path in [&arguments.json, &arguments.report].into_iter().flatten() {
        let opened = std::fs::OpenOptions::new().create(true).append(true).open(path);
        opened.with_context(|| format!("cannot write {}", path.display()))?;
    }
    let mut out = std::io::stdout().lock();
    let (admin, every) = (arguments.admin, Duration::from_secs(1));
    let account = watch(admin, first, arguments.seconds, every, &mut out)?;
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
    Ok(ExitCode::SUCCESS)
}

/// Looks on for so many intervals after a first reading, and says each as it passes.
fn watch(
    admin: SocketAddr,
    first: Latency,
    intervals: u32,
    interval: Duration,
    out: &mut impl Write,
) -> anyhow::Result<Account> {
    let begun = Instant::now();
    out.write_all(text::seconds_head().as_bytes())?;
    let mut times = Vec::new();
    let mut last = first.clone();
    for index in 1..=intervals {
        std::thread::sleep((begun + interval * index).saturating_duration_since(Instant::now()));
        let now = readings::latency(admin)?;
        let period = now.since(&last).context(ANOTHER_RUN)?;
        let since_begin = now.steady_ns.saturating_sub(first.steady_ns) as f64 / 1e9;
        let second = Second::of(&period, since_begin);
        out.write_all(text::second(&second).as_bytes())?;
        out.flush()?;
        times.push(second);
        last = now;
    }
    let kept = (readings::slow(admin)?, readings::away(admin)?);
    Account::of(&first, &last, times, kept)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::stub;
    use crate::fixture;
    use std::sync::atomic::{AtomicU64, Ordering};

    /// A server that ages by `step(n)` seconds at the n-th reading.
    fn server(age: fn(u64) -> u64) -> SocketAddr {
        let readings = AtomicU64::new(0);
        stub::serve(move |path| match path {
            "/admin/latency" => {
                let reading = readings.fetch_add(1, Ordering::Relaxed);
                Some(fixture::latency(age(reading)).to_string())
            }
            "/admin/slow" => Some(fixture::slow().to_string()),
            "/admin/away" => Some(fixture::away().to_string()),
            _ => None,
        })
    }

    #[test]
    fn a_server_is_watched_second_by_second_and_accounted_for() {
        let mut said = Vec::new();
        let admin = server(|reading| reading);
        let first = readings::latency(admin).expect("it answers");
        let account = watch(admin, first, 2, Duration::ZERO, &mut said).expect("it answers");
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
        let first = readings::latency(admin).expect("it answers");
        let told = watch(admin, first, 2, Duration::ZERO, &mut Vec::new());
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
