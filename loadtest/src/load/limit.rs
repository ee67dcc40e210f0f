//! What this machine can do at most: a bare echo over the same ring as the server's and ours.
//!
//! A message costs two frames in and two out: itself and its recipient's ack, the push and the
//! server's Ack. So pairs with the same window throw frames of the sizes of a message and an ack
//! at an echo, which reads nothing of them, and every byte that comes back is checked. The echo
//! has one core and the load the other, if there are two.

use super::accounts::SETTLE_WITHIN;
use super::streams::{Heard, Streams};
use super::words;
use crate::cores;
use crate::latencies::Latencies;
use crate::outcome::{Outcome, Run, Scenario};
use anyhow::{Context, Result, bail, ensure};
use rustix::time::{ClockId, clock_gettime};
use serde::Serialize;
use serde_json::json;
use std::collections::VecDeque;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How long the limit is measured when it is asked for beside another result.
const SECONDS_BESIDE: u64 = 2;
/// Frames that are echoed for a message.
const ECHOES_PER_MESSAGE: f64 = 2.0;

/// What to run.
#[derive(Clone, Debug, Serialize, clap::Args)]
pub struct Limit {
    /// What every scenario is told.
    #[command(flatten)]
    #[serde(skip)]
    pub run: Run,
    /// Pairs of connections.
    #[arg(long, default_value_t = 500)]
    pub pairs: usize,
    /// Messages in flight in each pair.
    #[arg(long, default_value_t = 16)]
    pub window: u64,
    /// How long to measure.
    #[arg(long, default_value_t = 5)]
    pub seconds: u64,
}

impl Scenario for Limit {
    const NAME: &'static str = "limit";

    fn options(&self) -> &Run {
        &self.run
    }

    fn run(&self, outcome: &mut Outcome) -> Result<()> {
        let measured = measure(self.pairs, self.window, self.seconds)?;
        if !measured.is_pinned {
            outcome.flag("echo and load share cores: there are not two");
        }
        outcome.note_own_cores(measured.own_cores, 1);
        outcome.add(json!({
            "messages_per_second": measured.messages_per_second.round(),
            "echoes_per_second": (measured.messages_per_second * ECHOES_PER_MESSAGE).round(),
            "echo_cores": measured.echo_cores,
            "own_cores": measured.own_cores,
        }));
        outcome.latencies.insert("echo".to_owned(), measured.took);
        Ok(())
    }
}

/// What the machine can do.
pub struct Measured {
    /// Messages' worth of frames that came back.
    pub messages_per_second: f64,
    took: Latencies,
    echo_cores: f64,
    own_cores: f64,
    is_pinned: bool,
}

impl Measured {
    /// Measures before another run with so many pairs and so much in flight.
    ///
    /// # Errors
    /// When a byte is changed, or the kernel refuses.
    pub fn before(pairs: usize, window: u64) -> Result<Measured> {
        measure(pairs, window, SECONDS_BESIDE)
    }

    /// Puts the limit beside the rate of messages that was measured, and the share of it.
    pub fn beside(&self, outcome: &mut Outcome) {
        let per_second = outcome.figures["delivered_per_second"].as_f64().unwrap_or(0.0);
        outcome.add(json!({
            "limit_messages_per_second": self.messages_per_second.round(),
            "share_of_limit": per_second / self.messages_per_second.max(1.0),
        }));
    }
}

fn measure(pairs: usize, window: u64, seconds: u64) -> Result<Measured> {
    ensure!(pairs > 0 && window > 0 && seconds > 0, "something is in flight for some time");
    let listener = TcpListener::bind("127.0.0.1:0").context("a port for the echo")?;
    let address = listener.local_addr()?;
    let before = cores::allowed();
    let (echo_core, own_core) = two_of(&before);
    let stop = Arc::new(AtomicBool::new(false));
    let echoing = {
        let stop = Arc::clone(&stop);
        std::thread::spawn(move || (cores::keep_to(&[echo_core]).is_ok(), echo(listener, &stop)))
    };
    let is_own_pinned = cores::keep_to(&[own_core]).is_ok();
    let result = Thrower::begin(address, pairs, window).and_then(|thrower| thrower.run(seconds));
    let restored = cores::keep_to(&before);
    stop.store(true, Ordering::Relaxed);
    let Ok((is_echo_pinned, echoed)) = echoing.join() else { bail!("the echo panicked") };
    restored.context("the cores of this thread")?;
    Ok(Measured { echo_cores: echoed?, is_pinned: is_own_pinned && is_echo_pinned, ..result? })
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

/// Sends everything back until it is to stop; gives the share of a core that it took.
fn echo(listener: TcpListener, stop: &AtomicBool) -> Result<f64> {
    let mut streams = Streams::new()?;
    streams.accept(listener)?;
    let begun = Instant::now();
    while !stop.load(Ordering::Relaxed) {
        streams.round(Duration::from_millis(20), |_, heard, out| {
            if let Heard::Bytes(bytes) = heard {
                out.extend_from_slice(bytes);
            }
            Ok(())
        })?;
    }
    Ok(thread_seconds() / begun.elapsed().as_secs_f64())
}

/// CPU time of this thread so far, seconds.
fn thread_seconds() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// One connection: what it awaits, how far that has come, and when it was thrown.
#[derive(Default)]
struct Lane {
    thrown: u64,
    caught: u64,
    thrown_us: VecDeque<u64>,
    awaited: Vec<u8>,
    at: usize,
}

impl Lane {
    fn throw(&mut self, place: usize, now_us: u64, out: &mut Vec<u8>) {
        exchange(place, self.thrown, out);
        self.thrown += 1;
        self.thrown_us.push_back(now_us);
    }

    /// Checks what came back; gives how many messages' worth of it are whole.
    fn catch(&mut self, place: usize, mut bytes: &[u8]) -> Result<u64> {
        let before = self.caught;
        while !bytes.is_empty() {
            if self.at == self.awaited.len() {
                ensure!(self.caught < self.thrown, "more came back than was thrown");
                self.awaited.clear();
                self.at = 0;
                exchange(place, self.caught, &mut self.awaited);
            }
            let count = bytes.len().min(self.awaited.len() - self.at);
            let is_same = bytes[..count] == self.awaited[self.at..self.at + count];
            ensure!(is_same, "the echo changed a byte of connection {place}");
            bytes = &bytes[count..];
            self.at += count;
            self.caught += u64::from(self.at == self.awaited.len());
        }
        Ok(self.caught - before)
    }
}

/// The frames of one message that a client sends.
fn exchange(place: usize, number: u64, out: &mut Vec<u8>) {
    // Ids as long as real ones.
    let id = 1_000_000_000_000_000_000 + number as i64;
    let (from, to) = (place as i64, (place ^ 1) as i64);
    words::message(out, from, to, id, number);
    words::ack(out, id);
}

/// All connections to the echo.
struct Thrower {
    streams: Streams,
    lanes: Vec<Lane>,
    begun: Instant,
    took: Latencies,
}

impl Thrower {
    fn begin(echo: SocketAddr, pairs: usize, window: u64) -> Result<Thrower> {
        let (mut streams, mut lanes) = (Streams::new()?, Vec::new());
        for place in 0..pairs * 2 {
            streams.open(echo)?;
            let share = if place % 2 == 0 { window.div_ceil(2) } else { window / 2 };
            let mut lane = Lane::default();
            (0..share).for_each(|_| lane.throw(place, 0, streams.outbound(place)));
            lanes.push(lane);
        }
        Ok(Thrower { streams, lanes, begun: Instant::now(), took: Latencies::default() })
    }

    /// Throws so long, and gives what came back; of the echo it knows nothing.
    fn run(mut self, seconds: u64) -> Result<Measured> {
        let deadline = Instant::now() + SETTLE_WITHIN;
        // Whoever throws has connected: only then it counts.
        while self.lanes.iter().any(|lane| lane.thrown > 0 && lane.caught == 0) {
            ensure!(Instant::now() < deadline, "the echo is silent");
            self.round()?;
        }
        self.took = Latencies::default();
        let (from, own_before) = (Instant::now(), thread_seconds());
        while from.elapsed() < Duration::from_secs(seconds) {
            self.round()?;
        }
        let took = from.elapsed().as_secs_f64();
        Ok(Measured {
            messages_per_second: self.took.total() as f64 / took,
            own_cores: (thread_seconds() - own_before) / took,
            echo_cores: 0.0,
            took: self.took,
            is_pinned: false,
        })
    }

    fn round(&mut self) -> Result<()> {
        let Thrower { streams, lanes, begun, took } = self;
        streams.round(Duration::from_millis(50), |place, heard, out| {
            let Heard::Bytes(bytes) = heard else { bail!("the echo is gone: {heard:?}") };
            let lane = &mut lanes[place];
            let caught = lane.catch(place, bytes)?;
            let now_us = begun.elapsed().as_micros() as u64;
            for _ in 0..caught {
                let thrown_us = lane.thrown_us.pop_front().unwrap_or(now_us);
                took.record(now_us - thrown_us);
                lane.throw(place, now_us, out);
            }
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_back_is_counted_when_it_is_whole_and_changes_are_found() {
        let (mut lane, mut out) = (Lane::default(), Vec::new());
        (0..3).for_each(|_| lane.throw(4, 0, &mut out));
        let caught: u64 = out.iter().map(|byte| lane.catch(4, &[*byte]).expect("the same")).sum();
        assert_eq!(caught, 3);
        assert!(lane.catch(4, &out[..1]).is_err(), "nothing more was thrown");
        let (mut lane, mut out) = (Lane::default(), Vec::new());
        lane.throw(4, 0, &mut out);
        out[200] ^= 1;
        assert!(lane.catch(4, &out).is_err(), "a byte was changed");
    }

    #[test]
    fn echo_and_load_get_two_cores() {
        assert_eq!(two_of(&[0, 1, 2]), (0, 1));
        assert_eq!((two_of(&[1]), two_of(&[0])), ((0, 1), (1, 0)));
    }
}
