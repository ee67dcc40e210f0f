//! Whether this machine can run the server, in words: `anser doctor`, and the same before `serve`.
//!
//! Invariants:
//! 1. A check never panics, whatever the kernel refuses: what is missing becomes words.
//! 2. `Fail` means that the server could not run or would break its promises; what only makes it
//!    smaller or slower is `Warn`. Every `Warn` and `Fail` says what to do.
//! 3. Nothing stays behind in the data folder but the folder itself.
//!
//! Left to others: acting on the verdict (`node::launch`, `main`).

mod disk;
mod uring;

use crate::config::{Config, IndexerCore, StoreKind};
use crate::node::listener::files_for_connections;
use rustix::process::{Resource, Rlimit};
use std::fmt;

/// How a check went.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Verdict {
    /// Good.
    Ok,
    /// It runs, with less than it could have.
    Warn,
    /// It does not run.
    Fail,
}

/// One thing looked at.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Check {
    /// What was looked at, a word or two.
    pub name: &'static str,
    /// How it went.
    pub verdict: Verdict,
    /// What was found and, unless all is well, what to do.
    pub words: String,
}

impl Check {
    fn new(name: &'static str, verdict: Verdict, words: impl Into<String>) -> Check {
        Check { name, verdict, words: words.into() }
    }
}

impl fmt::Display for Check {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = match self.verdict {
            Verdict::Ok => "ok",
            Verdict::Warn => "warn",
            Verdict::Fail => "FAIL",
        };
        write!(formatter, "{verdict:<5} {:<12} {}", self.name, self.words)
    }
}

/// All checks, in the order of what a server needs first. The soft limit of open files is raised
/// to the hard one on the way, as `serve` needs it.
pub fn examine(config: &Config) -> Vec<Check> {
    let mut checks = examine_machine(config.shards);
    checks.push(cores(config));
    match config.store {
        StoreKind::Disk => checks.extend(disk::examine(&config.data_dir)),
        StoreKind::Memory | StoreKind::Nothing => checks.push(Check::new(
            "data folder",
            Verdict::Warn,
            "not used: nothing survives; leave out --store to keep what is acked",
        )),
    }
    checks
}

/// Those of them that no setting changes but the number of shards: what a shard's ring and its
/// connections need.
pub fn examine_machine(shards: Option<u16>) -> Vec<Check> {
    vec![uring::kernel(), uring::ring(), locked_memory(), open_files(shards), backlog()]
}

/// The worst of all verdicts.
pub fn worst(checks: &[Check]) -> Verdict {
    checks.iter().map(|check| check.verdict).max().unwrap_or(Verdict::Ok)
}

/// Locked memory that glommio and the rings of one shard want, bytes.
const LOCKED_BYTES_PER_SHARD: u64 = 512 * 1024;

fn locked_memory() -> Check {
    let limit = rustix::process::getrlimit(Resource::Memlock);
    let (verdict, words) = judge_locked_memory(limit);
    Check::new("memlock", verdict, words)
}

fn judge_locked_memory(limit: Rlimit) -> (Verdict, String) {
    let Some(bytes) = limit.current else {
        return (Verdict::Ok, "unlimited".to_owned());
    };
    let kib = bytes / 1024;
    if bytes < LOCKED_BYTES_PER_SHARD {
        let words = format!(
            "{kib} KiB may be locked, a shard's rings want up to {} KiB: raise it with \
             `ulimit -l 8192` or LimitMEMLOCK=8M in the unit",
            LOCKED_BYTES_PER_SHARD / 1024
        );
        return (Verdict::Fail, words);
    }
    (Verdict::Ok, format!("{kib} KiB may be locked"))
}

fn open_files(shards: Option<u16>) -> Check {
    let limit = rustix::process::getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    let limit = match rustix::process::setrlimit(Resource::Nofile, raised) {
        Ok(()) => raised,
        Err(_) => limit,
    };
    let cores = || rustix::thread::sched_getaffinity(None).map_or(1, |set| set.count() as u16);
    let (verdict, words) = judge_open_files(limit.current, shards.unwrap_or_else(cores));
    Check::new("nofile", verdict, words)
}

fn judge_open_files(limit: Option<u64>, shards: u16) -> (Verdict, String) {
    let Some(files) = limit else {
        return (Verdict::Ok, "unlimited: memory bounds the connections".to_owned());
    };
    let connections = files_for_connections(files, shards);
    let room = format!("{files} files may be open: room for about {connections} connections");
    let advice = "raise it with `ulimit -Hn 1048576` or LimitNOFILE=1048576 in the unit";
    match connections {
        1..10_000 => (Verdict::Warn, format!("{room}; {advice}")),
        _ => (Verdict::Ok, room),
    }
}

fn backlog() -> Check {
    let text = std::fs::read_to_string("/proc/sys/net/core/somaxconn").unwrap_or_default();
    let (verdict, words) = judge_backlog(text.trim().parse().ok());
    Check::new("somaxconn", verdict, words)
}

fn judge_backlog(connections: Option<u32>) -> (Verdict, String) {
    match connections {
        None => (Verdict::Warn, "cannot be read: a burst of connects may be slow".to_owned()),
        Some(waiting @ 0..1024) => {
            let words = format!(
                "{waiting} connections may wait to be accepted: a burst of connects will be slow; \
                 `sysctl net.core.somaxconn=4096`"
            );
            (Verdict::Warn, words)
        }
        Some(waiting) => (Verdict::Ok, format!("{waiting} connections may wait to be accepted")),
    }
}

fn cores(config: &Config) -> Check {
    let allowed = match rustix::thread::sched_getaffinity(None) {
        Ok(set) => set.count(),
        Err(error) => {
            let words =
                format!("the cores allowed cannot be read ({error}): shards are not pinned");
            return Check::new("cores", Verdict::Warn, words);
        }
    };
    let (verdict, words) = judge_cores(allowed, config.shards);
    let named = match config.indexer_core {
        IndexerCore::At(place) => vec![("--pin-from", config.pin_from), ("--indexer-core", place)],
        IndexerCore::Last | IndexerCore::Shared => vec![("--pin-from", config.pin_from)],
    };
    let (verdict, words) = judge_places(allowed, &named).unwrap_or((verdict, words));
    Check::new("cores", verdict, words)
}

/// Something to say when a setting names a core that there is not.
fn judge_places(allowed: u32, named: &[(&str, u16)]) -> Option<(Verdict, String)> {
    let (setting, place) = named.iter().find(|(_, place)| u32::from(*place) >= allowed)?;
    let last = allowed.saturating_sub(1);
    let words =
        format!("{setting} {place} names none of the {allowed} allowed, which are 0 to {last}");
    Some((Verdict::Fail, words))
}

fn judge_cores(allowed: u32, shards: Option<u16>) -> (Verdict, String) {
    match shards {
        Some(shards) if u32::from(shards) > allowed => {
            let words = format!("{allowed} allowed for {shards} shards: some share a core");
            (Verdict::Warn, format!("{words}; one shard a core is best"))
        }
        _ => (Verdict::Ok, format!("{allowed} allowed")),
    }
}

#[cfg(test)]
mod tests;
