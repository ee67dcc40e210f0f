//! The load: what it throws at the echo must come back, every byte of it.
//!
//! With a window each that is caught is followed by one of one's own; with a rate each has its
//! time, whatever the echo does, and its latency counts from then, as in `open`.

use super::echo::thread_seconds;
use super::frames::{self, Cutter, Frames};
use crate::http::post;
use crate::interrupt;
use crate::latencies::Latencies;
use crate::load::accounts::SETTLE_WITHIN;
use crate::load::schedule::{Arrivals, Schedule};
use crate::load::streams::{Heard, Streams};
use anyhow::{Result, bail, ensure};
use std::collections::VecDeque;
use std::iter::Peekable;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// What came back, and what that took.
pub struct Thrown {
    /// Messages or calls a second.
    pub per_second: f64,
    /// How long that was measured.
    pub seconds: f64,
    /// How long each was on its way.
    pub took: Latencies,
    /// The share of a core.
    pub cores: f64,
}

/// When it is thrown.
#[derive(Clone, Copy, Debug)]
pub enum Throws {
    /// So many are in flight in each pair.
    Window(u64),
    /// So many a second, of all together.
    Rate(u64),
}

/// The longest wait for the echo when nothing is due.
const WAIT_US: u64 = 50_000;

/// All connections to the echo.
pub struct Thrower {
    streams: Streams,
    crowd: Crowd,
}

/// What is still to be thrown, if there is a rate.
type Due = Option<Peekable<Schedule>>;

/// Who throws.
struct Crowd {
    frames: Frames,
    lanes: Vec<Lane>,
    /// A call.
    call: Vec<u8>,
    /// Room for what should come.
    awaited: Vec<u8>,
    begun: Instant,
    took: Latencies,
    throws: Throws,
}

/// One connection: what it has thrown and when, and how far that came.
#[derive(Default)]
struct Lane {
    thrown: u64,
    thrown_us: VecDeque<u64>,
    /// Messages of the other, or calls of its own.
    caught: u64,
    /// Acks of its own.
    returned: u64,
    cutter: Cutter,
    /// Bytes of a call that have come.
    at: usize,
}

impl Thrower {
    /// Connects pairs and throws what is to be in flight.
    ///
    /// # Errors
    /// When there are too few descriptors or ports.
    pub fn begin(
        echo: SocketAddr,
        frames: Frames,
        pairs: usize,
        throws: Throws,
    ) -> Result<Thrower> {
        let (mut streams, mut crowd) = (Streams::new()?, Crowd::new(frames, pairs * 2, throws));
        let window = match throws {
            Throws::Window(window) => window,
            // One of each shows that he has connected.
            Throws::Rate(_) => 2,
        };
        for place in 0..pairs * 2 {
            streams.open(echo)?;
            let out = streams.outbound(place);
            if frames == Frames::Messages {
                frames::hello(out, place);
            }
            let share = if place % 2 == 0 { window.div_ceil(2) } else { window / 2 };
            (0..share).for_each(|_| crowd.throw(place, 0, out));
        }
        Ok(Thrower { streams, crowd })
    }

    /// See [`Streams::tick_each`].
    pub fn tick_each(&mut self, tick: Duration) {
        self.streams.tick_each(tick);
    }

    /// Throws so long, warm first; `counts` is called when that begins to count. From then on
    /// Ctrl-C only makes it shorter.
    ///
    /// # Errors
    /// When the echo changed, lost or reordered anything.
    pub fn run(mut self, warm_seconds: u64, seconds: u64, counts: impl FnOnce()) -> Result<Thrown> {
        let deadline = Instant::now() + SETTLE_WITHIN;
        // Whoever throws has connected: only then it counts.
        while self.crowd.lanes.iter().any(|lane| lane.thrown > 0 && lane.caught == 0) {
            ensure!(Instant::now() < deadline, "the echo is silent");
            self.round(WAIT_US)?;
        }
        let mut due = self.crowd.due();
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs(warm_seconds) {
            self.throw_due_and_catch(&mut due)?;
        }
        self.crowd.took = Latencies::default();
        counts();
        let (from, before) = (Instant::now(), thread_seconds());
        while from.elapsed() < Duration::from_secs(seconds) {
            if interrupt::broke_off(self.throw_due_and_catch(&mut due))? {
                break;
            }
        }
        let (lasted, cores) = (from.elapsed().as_secs_f64(), thread_seconds() - before);
        let per_second = self.crowd.took.total() as f64 / lasted;
        if due.is_some() {
            // What is late counts, too.
            interrupt::broke_off(self.catch_all())?;
        }
        Ok(Thrown { per_second, seconds: lasted, took: self.crowd.took, cores: cores / lasted })
    }

    /// Throws what is due, and then catches, until more is.
    fn throw_due_and_catch(&mut self, due: &mut Due) -> Result<()> {
        let Some(schedule) = due else { return self.round(WAIT_US) };
        let now_us = self.crowd.now_us();
        while let Some(due) = schedule.next_if(|due| due.at_us <= now_us) {
            self.crowd.throw(due.index, due.at_us, self.streams.outbound(due.index));
        }
        let next_us = schedule.peek().map_or(0, |due| due.at_us);
        self.round(next_us.saturating_sub(self.crowd.now_us()).min(WAIT_US))
    }

    /// Waits for all that is under way.
    fn catch_all(&mut self) -> Result<()> {
        let deadline = Instant::now() + SETTLE_WITHIN;
        while self.crowd.lanes.iter().any(|lane| !lane.thrown_us.is_empty()) {
            ensure!(Instant::now() < deadline, "the echo lost some");
            self.round(WAIT_US)?;
        }
        Ok(())
    }

    fn round(&mut self, most_us: u64) -> Result<()> {
        let Thrower { streams, crowd } = self;
        streams.round(Duration::from_micros(most_us), |place, heard, out| {
            let Heard::Bytes(bytes) = heard else { bail!("the echo is gone: {heard:?}") };
            match crowd.frames {
                Frames::Messages => crowd.hear_frames(place, bytes, out),
                Frames::Calls => crowd.hear_calls(place, bytes, out),
            }
        })
    }
}

impl Crowd {
    fn new(frames: Frames, count: usize, throws: Throws) -> Crowd {
        Crowd {
            frames,
            lanes: (0..count).map(|_| Lane::default()).collect(),
            call: post("/im/message/get/id", "{}").into_bytes(),
            awaited: Vec::new(),
            begun: Instant::now(),
            took: Latencies::default(),
            throws,
        }
    }

    /// What is to be thrown from now on, whatever is caught.
    fn due(&self) -> Due {
        let Throws::Rate(rate) = self.throws else { return None };
        let (users, start_us) = (self.lanes.len(), self.now_us());
        Some(Schedule::new(Arrivals::InTurn, users, rate, start_us, 0).peekable())
    }

    fn now_us(&self) -> u64 {
        self.begun.elapsed().as_micros() as u64
    }

    fn throw(&mut self, place: usize, now_us: u64, out: &mut Vec<u8>) {
        let lane = &mut self.lanes[place];
        match self.frames {
            Frames::Messages => frames::message(out, place, lane.thrown),
            Frames::Calls => out.extend_from_slice(&self.call),
        }
        lane.thrown += 1;
        lane.thrown_us.push_back(now_us);
    }

    /// What was thrown at `from` has come.
    fn land(&mut self, from: usize, now_us: u64) -> Result<()> {
        let thrown_us = self.lanes[from].thrown_us.pop_front();
        let Some(thrown_us) = thrown_us else { bail!("more came than connection {from} threw") };
        self.took.record(now_us - thrown_us);
        Ok(())
    }

    /// A message of the other is acked, and answered by one of its own if there is a window.
    fn hear_frames(&mut self, place: usize, bytes: &[u8], out: &mut Vec<u8>) -> Result<()> {
        let now_us = self.now_us();
        let mut cutter = std::mem::take(&mut self.lanes[place].cutter);
        cutter.cut(bytes, |frame| {
            self.awaited.clear();
            let lane = &mut self.lanes[place];
            let number = if frames::is_message(frame) {
                let number = lane.caught;
                lane.caught += 1;
                frames::message(&mut self.awaited, place ^ 1, number);
                Some(number)
            } else {
                frames::ack(&mut self.awaited, lane.returned);
                lane.returned += 1;
                ensure!(lane.returned <= lane.caught, "an ack came that nobody sent");
                None
            };
            ensure!(frame == self.awaited, "the echo changed a byte for connection {place}");
            let Some(number) = number else { return Ok(()) };
            self.land(place ^ 1, now_us)?;
            frames::ack(out, number);
            if matches!(self.throws, Throws::Window(_)) {
                self.throw(place, now_us, out);
            }
            Ok(())
        })?;
        self.lanes[place].cutter = cutter;
        Ok(())
    }

    /// A call that has come back is followed by the next.
    fn hear_calls(&mut self, place: usize, mut bytes: &[u8], out: &mut Vec<u8>) -> Result<()> {
        let now_us = self.now_us();
        while !bytes.is_empty() {
            let lane = &mut self.lanes[place];
            let rest = &self.call[lane.at..];
            let count = bytes.len().min(rest.len());
            let is_same = bytes[..count] == rest[..count];
            ensure!(is_same, "the echo changed a byte for connection {place}");
            bytes = &bytes[count..];
            lane.at += count;
            if lane.at == self.call.len() {
                (lane.at, lane.caught) = (0, lane.caught + 1);
                self.land(place, now_us)?;
                self.throw(place, now_us, out);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_acked_and_answered_when_it_is_whole() {
        let mut crowd = Crowd::new(Frames::Messages, 2, Throws::Window(3));
        let (mut thrown, mut answer, mut back) = (Vec::new(), Vec::new(), Vec::new());
        (0..3).for_each(|_| crowd.throw(0, 0, &mut thrown));
        for byte in &thrown {
            crowd.hear_frames(1, &[*byte], &mut answer).expect("the same");
        }
        let mut awaited = Vec::new();
        for number in 0..3 {
            frames::ack(&mut awaited, number);
            frames::message(&mut awaited, 1, number);
        }
        assert_eq!((&answer, crowd.took.total(), crowd.lanes[1].caught), (&awaited, 3, 3));
        // Its own acks come back to it.
        awaited.clear();
        (0..3).for_each(|number| frames::ack(&mut awaited, number));
        crowd.hear_frames(1, &awaited, &mut back).expect("the same");
        assert_eq!((back.len(), crowd.lanes[1].returned), (0, 3));
        assert!(crowd.hear_frames(1, &thrown, &mut back).is_err(), "nothing more was thrown");
    }

    #[test]
    fn what_was_changed_is_found() {
        for place in [40, 200] {
            let (mut crowd, mut out) =
                (Crowd::new(Frames::Messages, 2, Throws::Window(3)), Vec::new());
            crowd.throw(0, 0, &mut out);
            out[place] ^= 1;
            assert!(crowd.hear_frames(1, &out, &mut Vec::new()).is_err(), "byte {place}");
        }
        let (mut crowd, mut out) = (Crowd::new(Frames::Calls, 2, Throws::Window(3)), Vec::new());
        crowd.throw(0, 0, &mut out);
        crowd.throw(0, 0, &mut out);
        let mut again = Vec::new();
        out.chunks(7).for_each(|part| crowd.hear_calls(0, part, &mut again).expect("the same"));
        assert_eq!((crowd.lanes[0].caught, &again), (2, &out));
        again[40] ^= 1;
        assert!(crowd.hear_calls(0, &again, &mut Vec::new()).is_err());
    }
}
