//! What goes wrong, and when.

use super::{Deed, Happening, Town};
use crate::ids::ShardId;
use crate::sim::chronicle::{Ambush, Halt};
use crate::sim::coverage::{Fault, Stage};
use crate::sim::disk::Crash;
use crate::sim::observation::{Failure, Observation};

/// Longer than redelivery takes, and shorter than what ends a silent connection.
const NAP_US: u64 = 61_000_000;
/// A day, microseconds.
const DAY_US: u64 = 86_400_000_000;

impl Town<'_> {
    /// One of the faults that the seed has chosen.
    pub(super) fn trouble(&mut self) -> Result<(), Halt> {
        if self.is_evening {
            return Ok(());
        }
        let every = self.plan.fault_every_ms * 1000;
        let next = every / 2 + self.prng.below(every);
        self.after(next, Happening::Trouble);
        // A server that is down cannot be hit.
        if self.plan.faults.is_empty() || self.hosts.is_empty() {
            return Ok(());
        }
        self.ground.chronicle.pass(ShardId(0), Stage::Idle)?;
        let sizes = self.sizes();
        self.crowd.witness(Observation::Sizes(&sizes), &self.ground)?;
        let chosen = self.prng.below(self.plan.faults.len() as u64) as usize;
        match self.plan.faults[chosen] {
            Fault::Kill => return self.lay_ambush(Crash::Kill),
            Fault::PowerCut => return self.lay_ambush(Crash::PowerCut),
            Fault::DiskFailure => self.is_disk_failing |= self.prng.once_in(3),
            Fault::Stall => return self.stall(),
            Fault::SlowDisk => {
                self.is_disk_slow = true;
                self.last(Fault::SlowDisk, 500_000);
            }
            Fault::DiskFull => {
                self.ground.is_disk_full = true;
                self.crowd.witness(Observation::DiskFull(true), &self.ground)?;
                self.last(Fault::DiskFull, 700_000);
            }
            Fault::ClockJump => self.set_clock()?,
            Fault::Hostile => {
                for _ in 0..1 + self.prng.below(3) {
                    self.crowd.stranger(&mut self.ground);
                }
                self.last(Fault::Hostile, 20_000);
            }
            Fault::Herd => {
                self.crowd.stampede(&mut self.ground)?;
                self.last(Fault::Herd, 20_000);
            }
            Fault::Nap if self.prng.once_in(4) => {
                self.ground.chronicle.now_us += NAP_US;
                self.last(Fault::Nap, 200_000);
            }
            _ => {}
        }
        Ok(())
    }

    /// A fault begins, and ends after so long or less.
    fn last(&mut self, fault: Fault, micros_max: u64) {
        self.ground.chronicle.begin(fault);
        let words = format_args!("trouble: {}", fault.word());
        self.ground.chronicle.tell_of(format_args!("town"), words);
        let micros = 5_000 + self.prng.below(micros_max);
        self.after(micros, Happening::Relief(fault));
    }

    /// A crash that waits for a stage; or comes now, if one has waited in vain, or waits for a
    /// stage of the start that follows.
    fn lay_ambush(&mut self, crash: Crash) -> Result<(), Halt> {
        let is_rare = self.prng.once_in(if self.plan.lanes_may_fill() { 3 } else { 6 });
        let stages = if is_rare { self.seldom_passed() } else { Stage::ALL };
        let chosen = stages[self.prng.below(stages.len() as u64) as usize];
        // What is torn was on its way.
        let tears = !is_rare && crash == Crash::PowerCut && self.prng.once_in(4);
        let chosen = if tears { Stage::Writing } else { chosen };
        let is_of_start = [Stage::Replayed, Stage::Opened].contains(&chosen);
        // Power that comes and goes: what a start writes first is on its way.
        let waits_for_start = is_of_start || tears && self.prng.once_in(3);
        let has_waited = self.ground.chronicle.ambush.is_some();
        let chronicle = &mut self.ground.chronicle;
        if has_waited || waits_for_start {
            chronicle.ambush = Some(Ambush { stage: Stage::Idle, after: 0, crash });
            let halt = chronicle.pass(ShardId(0), Stage::Idle);
            if waits_for_start {
                let after = self.prng.below(u64::from(self.plan.shards));
                chronicle.ambush = Some(Ambush { stage: chosen, after, crash });
            }
            return halt;
        }
        let after = if is_rare { 0 } else { self.prng.below(6) };
        chronicle.ambush = Some(Ambush { stage: chosen, after, crash });
        let words = format_args!("{crash:?} waits for: {}", chosen.word());
        chronicle.tell_of(format_args!("town"), words);
        Ok(())
    }

    /// Stages that few towns pass, or seldom, and this one may.
    fn seldom_passed(&self) -> &'static [Stage] {
        if self.plan.lanes_may_fill() {
            &[Stage::PutOff, Stage::CaughtUp]
        } else if self.plan.retention.messages.is_some() {
            &[Stage::Forgotten, Stage::SegmentReused]
        } else {
            &[Stage::SegmentReused]
        }
    }

    fn stall(&mut self) -> Result<(), Halt> {
        let index = self.prng.below(u64::from(self.plan.shards)) as usize;
        if self.is_stalled[index] || self.hosts.is_empty() {
            return Ok(());
        }
        self.is_stalled[index] = true;
        let shard = ShardId(index as u16);
        self.ground.chronicle.begin(Fault::Stall);
        self.ground.chronicle.tell(shard, format_args!("stands still"));
        self.crowd.witness(Observation::Stalled(shard), &self.ground)?;
        // Much waits for it then, at times.
        if self.plan.lanes_may_fill() && self.prng.once_in(2) {
            let shards = self.plan.shards;
            self.crowd.flood_those(|user| user.home(shards) == shard, &mut self.ground)?;
        }
        let micros = 1_000 + self.prng.below(400_000);
        let era = self.era;
        self.after(micros, Happening::Shard(era, shard, Deed::Resume));
        Ok(())
    }

    /// While a server is down its machine's clock may be set, or start wrong.
    pub(super) fn start_clock(&mut self) -> Result<(), Failure> {
        let may_jump = self.plan.faults.contains(&Fault::ClockJump) && !self.is_evening;
        if may_jump && self.prng.once_in(3) { self.set_clock() } else { Ok(()) }
    }

    fn set_clock(&mut self) -> Result<(), Failure> {
        let most = [2_000_000, 20_000_000, 3_600_000_000, DAY_US][self.prng.below(4) as usize];
        let micros = self.prng.below(most) as i64;
        let micros = if self.prng.once_in(2) { micros } else { -micros };
        self.ground.wall_offset_us += micros;
        let ms = micros / 1000;
        self.ground
            .chronicle
            .tell_of(format_args!("town"), format_args!("the clock jumps {ms} ms"));
        self.crowd.witness(Observation::ClockJumped(ms), &self.ground)?;
        self.last(Fault::ClockJump, 100_000);
        Ok(())
    }

    /// A fault is over.
    pub(super) fn relieve(&mut self, fault: Fault) -> Result<(), Halt> {
        self.ground.chronicle.end(fault);
        match fault {
            Fault::SlowDisk => self.is_disk_slow = false,
            Fault::DiskFull if self.ground.is_disk_full => {
                self.ground.is_disk_full = false;
                self.crowd.witness(Observation::DiskFull(false), &self.ground)?;
            }
            _ => {}
        }
        Ok(())
    }

    /// All faults end.
    pub(super) fn make_peace(&mut self) -> Result<(), Halt> {
        self.is_evening = true;
        self.ground.chronicle.ambush = None;
        self.is_disk_failing = false;
        for fault in [Fault::SlowDisk, Fault::DiskFull] {
            self.relieve(fault)?;
        }
        Ok(())
    }
}
