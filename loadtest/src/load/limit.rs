//! What this machine can do at most: a bare echo over the same ring as the server's and ours.
//!
//! A message costs two frames in and two out: itself and its recipient's ack, the push and the
//! server's Ack. So the echo gets pairs who do what those of `pingpong` do, with the same window:
//! whoever gets a message acks it and throws one of his own in the same write. The echo passes a
//! message on to the other of the pair, as a push, and gives an ack back, as the server's Ack: of
//! frames it reads the length, and nothing else. All that came in one round of the ring leaves in
//! the next, for each connection in one write, and while that is under way the rest gathers: the
//! server does the same. So frames, writes and what gathers in them are those of a server that
//! does nothing for a message. One that does more finds more in each read, for more has come by
//! then, and so pays the kernel less for each message: it would pass this ceiling only if that
//! saved more than all of its own work costs.
//!
//! Calls come back as they are, on the connection on which they were made: an answer is about
//! as long.
//!
//! With a rate (`--rate`) it is no ceiling but a floor: how late a message is on this machine, at
//! this hour, when the server does nothing for it. `--on-disk` puts every frame on the disk before
//! it is passed on, as a server does whose Ack means that: what is left above that is the server's.
//!
//! The echo has one core and the load the other, if there are two. It is a ceiling only if one of
//! them had nothing left: else something else had the machine, and the outcome says so.

mod echo;
mod frames;
mod thrower;

pub use frames::Frames;

use super::accounts::FILES_BESIDE;
use super::disk::DiskFile;
use super::process;
use super::schedule::HELD;
use crate::arguments;
use crate::cores;
use crate::latencies::Latencies;
use crate::outcome::{Outcome, Run, Scenario};
use anyhow::{Context, Result, bail, ensure};
use echo::{Signals, echo};
use serde::{Serialize, Serializer};
use serde_json::json;
use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use thrower::{Thrower, Throws};

/// How long the limit is measured when it is asked for beside another result.
const SECONDS_BESIDE: u64 = 2;
/// Both ends of both connections of a pair.
const FILES_PER_PAIR: usize = 4;
/// Frames that are passed on for a message.
const ECHOES_PER_MESSAGE: f64 = 2.0;
/// Connections that wait for the echo, as far as the kernel allows (somaxconn).
const BACKLOG: i32 = 65_535;
/// The share of a core from which on it counts as full.
const FULL: f64 = 0.9;

/// What to run.
#[derive(Clone, Debug, Serialize, clap::Args)]
pub struct Limit {
    /// What every scenario is told.
    #[command(flatten)]
    #[serde(skip)]
    pub run: Run,
    /// What is thrown.
    #[arg(long, value_enum, default_value = "messages")]
    pub frames: Frames,
    /// Pairs of connections.
    #[arg(long, default_value_t = 500, value_parser = arguments::positive::<usize>)]
    pub pairs: usize,
    /// Messages in flight in each pair, or calls.
    #[arg(long, default_value_t = 16, value_parser = arguments::positive::<u64>)]
    pub window: u64,
    /// Messages a second, of all together, instead of so many in flight: how late they are at
    /// least.
    #[arg(long, conflicts_with = "window", value_parser = arguments::up_to::<10_000_000>)]
    pub rate: Option<u64>,
    /// Look at what is due only each so many us, as `open` does with the same.
    #[arg(long, default_value_t = 0, requires = "rate")]
    #[arg(value_parser = clap::value_parser!(u64).range(..=10_000))]
    pub tick_us: u64,
    /// Put every message and ack on the disk of this folder before it is passed on.
    #[arg(long, value_name = "DIR")]
    #[serde(serialize_with = "is_given")]
    pub on_disk: Option<PathBuf>,
    /// How long to measure.
    #[arg(long, default_value_t = 5, value_parser = arguments::positive::<u64>)]
    pub seconds: u64,
    /// How long to run before measuring.
    #[arg(long, default_value_t = 0)]
    pub warm_seconds: u64,
}

/// Which folder it is makes no other load of it.
fn is_given<S: Serializer>(folder: &Option<PathBuf>, serializer: S) -> Result<S::Ok, S::Error> {
    folder.is_some().serialize(serializer)
}

impl Scenario for Limit {
    const NAME: &'static str = "limit";

    fn options(&self) -> &Run {
        &self.run
    }

    fn check(&self) -> Result<()> {
        let has_neither = self.rate.is_none() && self.on_disk.is_none();
        ensure!(
            self.frames == Frames::Messages || has_neither,
            "--rate and --on-disk are for messages: calls come back as they are"
        );
        Ok(())
    }

    fn run(&self, outcome: &mut Outcome) -> Result<()> {
        let measured = self.measure()?;
        measured.warning().inspect(|it| outcome.flag(it));
        let per_second = measured.per_second.round();
        outcome.add(match self.frames {
            Frames::Messages => json!({
                "messages_per_second": per_second,
                "echoes_per_second": (measured.per_second * ECHOES_PER_MESSAGE).round(),
            }),
            Frames::Calls => json!({"calls_per_second": per_second}),
        });
        outcome.add(json!({
            "seconds": measured.seconds,
            "echo_cores": measured.echo_cores,
            "own_cores": measured.own_cores,
        }));
        outcome.latencies.insert("echo".to_owned(), measured.took);
        Ok(())
    }
}

/// What to measure before another run, to put it beside one of its rates.
#[derive(Clone, Copy, Debug)]
pub struct Ceiling {
    /// What that run throws.
    pub frames: Frames,
    /// Its pairs of connections.
    pub pairs: usize,
    /// Messages in flight in each of its pairs, or calls.
    pub window: u64,
    /// The rate's name among its figures.
    pub rate: &'static str,
}

impl Ceiling {
    /// Measures it, with as many of the pairs as one thread may have files open for: they have both
    /// ends here.
    ///
    /// # Errors
    /// When a byte is changed, or the kernel refuses.
    pub fn measure(self) -> Result<Beside> {
        let most = process::files_max().saturating_sub(FILES_BESIDE) / FILES_PER_PAIR;
        let (pairs, Ceiling { frames, window, rate, .. }) = (self.pairs.min(most.max(1)), self);
        let (run, seconds, warm_seconds) = (Run::default(), SECONDS_BESIDE, 0);
        let limit = Limit {
            run,
            frames,
            pairs,
            window,
            rate: None,
            tick_us: 0,
            on_disk: None,
            seconds,
            warm_seconds,
        };
        let limit = limit.measure()?;
        let fewer = (pairs < self.pairs).then_some(pairs);
        Ok(Beside { limit, rate, fewer })
    }
}

/// What was measured before another run.
pub struct Beside {
    limit: Measured,
    rate: &'static str,
    /// So many pairs, for there were no files for more.
    fewer: Option<usize>,
}

impl Beside {
    /// Puts it beside the rate, if that was measured, and the rate's share of it.
    pub fn beside(&self, outcome: &mut Outcome) {
        let Some(per_second) = outcome.figures[self.rate].as_f64() else { return };
        self.limit.warning().inspect(|it| outcome.flag(it));
        if let Some(pairs) = self.fewer {
            outcome
                .flag(format!("limit: measured with {pairs} pairs: files for no more (ulimit -n)"));
        }
        outcome.add(json!({
            "limit_per_second": self.limit.per_second.round(),
            "share_of_limit": per_second / self.limit.per_second.max(1.0),
        }));
    }
}

/// What the machine can do.
struct Measured {
    /// Messages or calls that came back a second.
    per_second: f64,
    /// How long that was measured.
    seconds: f64,
    took: Latencies,
    echo_cores: f64,
    own_cores: f64,
    is_pinned: bool,
    /// Messages a second that were to be thrown.
    rate: Option<u64>,
}

impl Measured {
    /// What was the limit, if it was not the echo's core.
    fn warning(&self) -> Option<String> {
        let (echo, own) = (self.echo_cores, self.own_cores);
        if let Some(rate) = self.rate {
            let is_held = self.per_second >= HELD * rate as f64;
            return (!is_held).then(|| {
                format!(
                    "limit: {rate} messages a second were not held (echo {echo:.2}, load {own:.2} \
                     of a core)"
                )
            });
        }
        if !self.is_pinned {
            Some("limit: echo and load share cores: there are not two".to_owned())
        } else if echo < FULL && own < FULL {
            Some(format!(
                "limit: no ceiling, for neither core was full (echo {echo:.2}, load {own:.2}): \
                 the machine was busy with something else"
            ))
        } else if echo < FULL {
            Some(format!(
                "limit: the load was it ({own:.2} of a core), not the echo ({echo:.2}): \
                 no server does more under this load"
            ))
        } else {
            None
        }
    }
}

impl Limit {
    fn measure(&self) -> Result<Measured> {
        let Limit { frames, pairs, seconds, warm_seconds, rate, tick_us, .. } = *self;
        let throws = rate.map_or(Throws::Window(self.window), Throws::Rate);
        let disk = self.on_disk.as_deref().map(DiskFile::make).transpose()?;
        let listener = TcpListener::bind("127.0.0.1:0").context("a port for the echo")?;
        // All connect at once: beyond the usual 128 the kernel would let some wait for a minute.
        rustix::net::listen(&listener, BACKLOG).context("a longer queue for the echo")?;
        let address = listener.local_addr()?;
        let before = cores::allowed();
        let (echo_core, own_core) = two_of(&before);
        let signals = Arc::new(Signals::default());
        let echoing = {
            let signals = Arc::clone(&signals);
            std::thread::spawn(move || {
                (cores::keep_to(&[echo_core]).is_ok(), echo(listener, frames, disk, &signals))
            })
        };
        let is_own_pinned = cores::keep_to(&[own_core]).is_ok();
        let thrown = Thrower::begin(address, frames, pairs, throws).and_then(|mut thrower| {
            thrower.tick_each(Duration::from_micros(tick_us));
            thrower.run(warm_seconds, seconds, || signals.counts.store(true, Ordering::Relaxed))
        });
        signals.ends.store(true, Ordering::Relaxed);
        let echoed = echoing.join();
        // Whatever came of it, what comes next has all cores.
        cores::keep_to(&before).context("the cores of this thread")?;
        let Ok((is_echo_pinned, echo_cores)) = echoed else { bail!("the echo panicked") };
        let (thrown, echo_cores) = (thrown?, echo_cores?);
        Ok(Measured {
            per_second: thrown.per_second,
            seconds: thrown.seconds,
            took: thrown.took,
            echo_cores,
            own_cores: thrown.cores,
            is_pinned: is_own_pinned && is_echo_pinned,
            rate,
        })
    }
}

/// The echo's core and the load's, of those that this thread may use; if that is one, as the
/// method of measuring has it, the echo takes one beside it.
fn two_of(allowed: &[usize]) -> (usize, usize) {
    match *allowed {
        [first, second, ..] => (first, second),
        [own] => (usize::from(own == 0), own),
        [] => (0, 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn echo_and_load_get_two_cores() {
        assert_eq!(two_of(&[0, 1, 2]), (0, 1));
        assert_eq!((two_of(&[1]), two_of(&[0])), ((0, 1), (1, 0)));
    }

    #[test]
    fn a_limit_that_is_none_says_so() {
        let warning = |echo_cores: f64, own_cores: f64, is_pinned: bool| {
            let (took, per_second, seconds) = (Latencies::default(), 4_000.0, 2.0);
            let measured = Measured {
                per_second,
                seconds,
                took,
                echo_cores,
                own_cores,
                is_pinned,
                rate: None,
            };
            let at = |rate| Measured { rate: Some(rate), took: Latencies::default(), ..measured };
            assert_eq!(at(4_010).warning(), None, "a rate needs no full core");
            assert!(at(4_100).warning().is_some_and(|it| it.contains("not held")));
            measured.warning().unwrap_or_default()
        };
        assert!(warning(0.24, 0.29, true).starts_with("limit: no ceiling"));
        assert!(warning(0.7, 0.95, true).starts_with("limit: the load was it"));
        assert!(warning(0.5, 0.5, false).contains("there are not two"));
        assert_eq!(warning(0.97, 0.8, true), "");
    }
}
