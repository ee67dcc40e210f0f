//! The echo: whatever a client sends comes back, a message to the other of its pair.

use super::frames::{Cutter, Frames, is_message, number};
use crate::interrupt;
use crate::load::streams::{Heard, Streams};
use anyhow::Result;
use rustix::time::{ClockId, clock_gettime};
use std::net::TcpListener;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// The longest wait for bytes before a look at what the load says.
const WAIT: Duration = Duration::from_millis(20);

/// What the thread of the load says to that of the echo.
#[derive(Debug, Default)]
pub struct Signals {
    /// From now on its time counts.
    pub counts: AtomicBool,
    /// It is over.
    pub ends: AtomicBool,
}

/// Sends everything on until it is over; gives the share of a core that it took while that counted.
///
/// # Errors
/// Those of the ring.
pub fn echo(listener: TcpListener, frames: Frames, signals: &Signals) -> Result<f64> {
    let mut streams = Streams::new()?;
    streams.accept(listener)?;
    let (mut exchange, mut counted) = (Exchange::default(), None);
    while !signals.ends.load(Ordering::Relaxed) {
        if counted.is_none() && signals.counts.load(Ordering::Relaxed) {
            counted = Some((Instant::now(), thread_seconds()));
        }
        let done = streams.round(WAIT, |place, heard, out| match (heard, frames) {
            (Heard::Bytes(bytes), Frames::Messages) => exchange.hear(place, bytes, out),
            (Heard::Bytes(bytes), Frames::Calls) => {
                out.extend_from_slice(bytes);
                Ok(())
            }
            (Heard::Ended(_), _) => Ok(()),
        });
        if interrupt::broke_off(done)? {
            break;
        }
        exchange.send(&mut streams);
    }
    let share = |(begun, before): (Instant, f64)| {
        (thread_seconds() - before) / begun.elapsed().as_secs_f64()
    };
    Ok(counted.map_or(0.0, share))
}

/// CPU time of this thread so far, seconds.
pub fn thread_seconds() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// Who is at which place, and what is on its way from one to the other.
#[derive(Default)]
struct Exchange {
    /// By places.
    callers: Vec<Caller>,
    /// By the numbers that clients say they have.
    sides: Vec<Side>,
    /// Numbers of those for whom something waits.
    waiting: Vec<usize>,
}

/// A connection as it came.
#[derive(Default)]
struct Caller {
    cutter: Cutter,
    number: usize,
}

/// A connection by its number.
#[derive(Default)]
struct Side {
    /// Where it is, once it has said who it is.
    place: Option<usize>,
    inbox: Vec<u8>,
}

impl Exchange {
    /// A message waits for the other of the pair, everything else comes back.
    fn hear(&mut self, place: usize, bytes: &[u8], out: &mut Vec<u8>) -> Result<()> {
        if self.callers.len() <= place {
            self.callers.resize_with(place + 1, Caller::default);
        }
        let Exchange { callers, sides, waiting } = self;
        let Caller { cutter, number: own } = &mut callers[place];
        cutter.cut(bytes, |frame| {
            if let Some(number) = number(frame) {
                *own = number;
                if sides.len() <= number | 1 {
                    sides.resize_with((number | 1) + 1, Side::default);
                }
                sides[number].place = Some(place);
            } else if is_message(frame) {
                let other = *own ^ 1;
                let inbox = &mut sides[other].inbox;
                if inbox.is_empty() {
                    waiting.push(other);
                }
                inbox.extend_from_slice(frame);
            } else {
                out.extend_from_slice(frame);
            }
            Ok(())
        })
    }

    /// What waits leaves with the next round, behind what comes back to the same.
    fn send(&mut self, streams: &mut Streams) {
        for number in std::mem::take(&mut self.waiting) {
            let Side { place, inbox } = &mut self.sides[number];
            match *place {
                Some(place) => streams.outbound(place).append(inbox),
                None => self.waiting.push(number),
            }
        }
    }
}
