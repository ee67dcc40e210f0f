//! What this machine's disk takes for a write when nothing else is asked of it: one at a time, made
//! as the server makes those of its log, and on the disk when it ends.
//!
//! With a rate (`--rate`) each write has its time and counts from it, as a message does in `open`:
//! what is late there no server that writes as often acks earlier. Without one each begins when the
//! one before has ended, and nothing ever sleeps for long: what that is quicker is what falling
//! asleep and waking costs here.

mod file;

pub use file::DiskFile;

use super::process;
use super::schedule::{Arrivals, HELD, Schedule};
use super::streams::Streams;
use crate::arguments;
use crate::dice::Dice;
use crate::latencies::Latencies;
use crate::outcome::{Outcome, Run, Scenario};
use anser::store::aligned::AlignedBuffer;
use anyhow::Result;
use file::{FILE_BYTES, WAIT};
use serde::Serialize;
use serde_json::json;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// As much as the file holds.
const KIB_MAX: u64 = FILE_BYTES / 1024;

/// What to run.
#[derive(Clone, Debug, Serialize, clap::Args)]
pub struct Disk {
    /// What every scenario is told.
    #[command(flatten)]
    #[serde(skip)]
    pub run: Run,
    /// The folder whose disk is meant; nothing stays there.
    #[arg(long, value_name = "DIR")]
    #[serde(skip)]
    pub folder: PathBuf,
    /// KiB of a write.
    #[arg(long, default_value_t = 32, value_parser = arguments::up_to::<KIB_MAX>)]
    pub kib: u64,
    /// Writes a second, instead of one after the other.
    #[arg(long, value_parser = arguments::up_to::<1_000_000>)]
    pub rate: Option<u64>,
    /// How long to measure.
    #[arg(long, default_value_t = 10, value_parser = arguments::positive::<u64>)]
    pub seconds: u64,
}

impl Scenario for Disk {
    const NAME: &'static str = "disk";

    fn options(&self) -> &Run {
        &self.run
    }

    fn run(&self, outcome: &mut Outcome) -> Result<()> {
        let buffer = random_buffer(self.kib as usize * 1024, self.run.seed);
        let mut writer = Writer::begin(&self.folder)?;
        let (own_ms, stolen_ms) = (process::own_cpu_ms(), process::stolen_ms());
        let written = writer.write_all(buffer, self);
        let seconds = writer.begun.elapsed().as_secs_f64();
        let per_second = writer.took.total() as f64 / seconds;
        outcome.add(json!({
            "seconds": seconds,
            "writes_per_second": per_second.round(),
            "own_cores": (process::own_cpu_ms() - own_ms) as f64 / 1000.0 / seconds,
            "cores_were_away_ms": process::stolen_ms() - stolen_ms,
        }));
        if let Some(rate) = self.rate.filter(|rate| per_second < HELD * *rate as f64) {
            outcome.flag(format!("the disk did not hold {rate} writes a second"));
        }
        outcome.latencies.insert("write".to_owned(), writer.since_due);
        outcome.latencies.insert("disk".to_owned(), writer.took);
        written
    }
}

/// Who writes, and how long it took.
struct Writer {
    streams: Streams,
    file: DiskFile,
    begun: Instant,
    /// From when a write was due until it was on the disk.
    since_due: Latencies,
    /// The same from when it was begun.
    took: Latencies,
}

impl Writer {
    fn begin(folder: &Path) -> Result<Writer> {
        let (streams, file) = (Streams::new()?, DiskFile::make(folder)?);
        let (since_due, took) = (Latencies::default(), Latencies::default());
        Ok(Writer { streams, file, begun: Instant::now(), since_due, took })
    }

    /// All writes of the time, each at its own; what was not begun by the end is left out.
    fn write_all(&mut self, mut buffer: AlignedBuffer, disk: &Disk) -> Result<()> {
        let Disk { rate, seconds, run: Run { seed, .. }, .. } = *disk;
        let end_us = seconds * 1_000_000;
        let mut dues = rate.map(|rate| Schedule::new(Arrivals::InTurn, 1, rate, 0, seed));
        loop {
            let due = dues.as_mut().and_then(Iterator::next);
            let due_us = due.map_or_else(|| self.now_us(), |due| due.at_us);
            if due_us >= end_us || self.now_us() >= end_us {
                return Ok(());
            }
            self.sleep_until(due_us)?;
            buffer = self.write(buffer, due_us)?;
        }
    }

    fn sleep_until(&mut self, due_us: u64) -> Result<()> {
        while let left_us @ 1.. = due_us.saturating_sub(self.now_us()) {
            self.streams.round(Duration::from_micros(left_us).min(WAIT), |_, _, _| Ok(()))?;
        }
        Ok(())
    }

    fn write(&mut self, buffer: AlignedBuffer, due_us: u64) -> Result<AlignedBuffer> {
        let begun_us = self.now_us();
        let buffer = self.file.put(buffer, &mut self.streams)?;
        let now_us = self.now_us();
        self.since_due.record(now_us - due_us);
        self.took.record(now_us - begun_us);
        Ok(buffer)
    }

    fn now_us(&self) -> u64 {
        self.begun.elapsed().as_micros() as u64
    }
}

/// Bytes that no disk makes smaller.
fn random_buffer(count: usize, seed: u64) -> AlignedBuffer {
    let mut dice = Dice::new(seed);
    let bytes: Vec<u8> = (0..count).map(|_| dice.below(256) as u8).collect();
    let mut buffer = AlignedBuffer::with_capacity(0);
    buffer.extend(&bytes);
    buffer
}
