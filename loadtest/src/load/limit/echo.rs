//! The echo: whatever a client sends comes back, a message to the other of its pair.

use super::frames::{Cutter, Frames, is_message, number};
use crate::interrupt;
use crate::load::disk::DiskFile;
use crate::load::streams::{Heard, Streams};
use anser::store::aligned::AlignedBuffer;
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

/// Sends everything on until it is over, once it is on the disk if there is one; gives the share
/// of a core that it took while that counted.
///
/// # Errors
/// Those of the ring and of the disk.
pub fn echo(
    listener: TcpListener,
    frames: Frames,
    disk: Option<DiskFile>,
    signals: &Signals,
) -> Result<f64> {
    let mut streams = Streams::new()?;
    streams.accept(listener)?;
    let (mut exchange, mut counted) = (Exchange::new(disk), None);
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
        exchange.pass_on(&mut streams)?;
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
struct Exchange {
    /// By places.
    callers: Vec<Caller>,
    /// By the numbers that clients say they have.
    sides: Vec<Side>,
    gathered: Gathered,
    disk: Option<DiskFile>,
    /// For whom the bytes are that are being written.
    writing: Option<Vec<Bound>>,
    /// Room that was used before.
    spare: Option<Gathered>,
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
    /// What came for it before.
    early: Vec<u8>,
}

/// Frames that may not leave yet.
struct Gathered {
    bytes: AlignedBuffer,
    bound: Vec<Bound>,
}

/// Where some of these bytes, beginning after those of the one before, go: a number and an end.
type Bound = (usize, usize);

impl Gathered {
    fn none() -> Gathered {
        Gathered { bytes: AlignedBuffer::with_capacity(0), bound: Vec::new() }
    }

    fn put(&mut self, number: usize, frame: &[u8]) {
        self.bytes.extend(frame);
        self.bound.push((number, self.bytes.len()));
    }
}

impl Exchange {
    fn new(disk: Option<DiskFile>) -> Exchange {
        let (callers, sides, writing) = (Vec::new(), Vec::new(), None);
        let (gathered, spare) = (Gathered::none(), None);
        Exchange { callers, sides, gathered, disk, writing, spare }
    }

    /// A message goes to the other of the pair, everything else back.
    fn hear(&mut self, place: usize, bytes: &[u8], out: &mut Vec<u8>) -> Result<()> {
        if self.callers.len() <= place {
            self.callers.resize_with(place + 1, Caller::default);
        }
        let Exchange { callers, sides, gathered, .. } = self;
        let Caller { cutter, number: own } = &mut callers[place];
        cutter.cut(bytes, |frame| {
            if let Some(number) = number(frame) {
                *own = number;
                if sides.len() <= number | 1 {
                    sides.resize_with((number | 1) + 1, Side::default);
                }
                sides[number].place = Some(place);
                out.append(&mut sides[number].early);
            } else {
                gathered.put(if is_message(frame) { *own ^ 1 } else { *own }, frame);
            }
            Ok(())
        })
    }

    /// What may leave leaves with the next round.
    fn pass_on(&mut self, streams: &mut Streams) -> Result<()> {
        if let Some(bytes) = streams.written() {
            let bound = self.writing.take().expect("what is written was begun");
            self.send(Gathered { bytes, bound }, streams);
        }
        if self.writing.is_some() || self.gathered.bound.is_empty() {
            return Ok(());
        }
        let spare = self.spare.take().unwrap_or_else(Gathered::none);
        let gathered = std::mem::replace(&mut self.gathered, spare);
        match &mut self.disk {
            Some(disk) => {
                disk.write(gathered.bytes, streams)?;
                self.writing = Some(gathered.bound);
            }
            None => self.send(gathered, streams),
        }
        Ok(())
    }

    /// Gives frames to those for whom they are.
    fn send(&mut self, mut gathered: Gathered, streams: &mut Streams) {
        let Gathered { bytes, bound } = &mut gathered;
        let mut begin = 0;
        for (number, end) in bound.drain(..) {
            let (side, part) = (&mut self.sides[number], &bytes.bytes()[begin..end]);
            match side.place {
                Some(place) => streams.outbound(place).extend_from_slice(part),
                None => side.early.extend_from_slice(part),
            }
            begin = end;
        }
        bytes.truncate(0);
        self.spare = Some(gathered);
    }
}
