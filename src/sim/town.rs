//! A town: all shards of a server, its people and its troubles, under one clock and one seed.
//!
//! Invariants:
//! 1. The same seed gives the same town, byte for byte: what peers are sent, and all rows.
//! 2. Whatever broke when, the rows agree after each start, and in the evening: but for an async
//!    server whose power was cut.
//! 3. Every stage of the server's work is hit by a crash under some seed.
//!
//! Time is a queue of happenings, each at its virtual microsecond. A day of random use comes to an
//! evening in which all faults end and a clerk asks for everything.

mod carry;
mod evening;
mod faults;

use crate::chat::audit;
use crate::chat::directory::Directory;
use crate::chat::shard::Place;
use crate::ids::ShardId;
use crate::sim::checkers::{Checkers, Terms};
use crate::sim::chronicle::{Chronicle, Halt, Teller};
use crate::sim::client::Crowd;
use crate::sim::coverage::{Coverage, Fault, Stage};
use crate::sim::disk::Crash;
use crate::sim::host::{Fetch, Ground, Host, Setup, Want};
use crate::sim::mesh::Mesh;
use crate::sim::network::{Network, SocketId};
use crate::sim::observation::{Failure, Moment, Observation};
use crate::sim::plan::Plan;
use crate::sim::prng::Prng;
use crate::sim::sight;
use crate::sim::storage::{Rows, Ruins, Storage};
use crate::store::log::Outcome;
use crate::store::{Direction, Range, Store};
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

/// Segments that a log begins with.
const FIRST_SEGMENTS: u32 = 1;
/// Virtual microseconds between two ticks of a shard.
const TICK_US: u64 = 100_000;

/// How a run went.
#[derive(Clone)]
pub struct Report {
    /// Its seed.
    pub seed: u64,
    /// Stands for all bytes that peers were sent, and all rows at the end.
    pub digest: u64,
    /// What was wrong, if anything was.
    pub failure: Option<Failure>,
    /// What was tried.
    pub coverage: Coverage,
    /// Frames and calls that clients have sent and read.
    pub messages: u64,
}

/// Something that will happen.
enum Happening {
    /// To a shard, unless the server has gone down since: its era tells.
    Shard(u32, ShardId, Deed),
    /// A connection is accepted.
    Accept(SocketId),
    /// Bytes arrive at the server.
    Rise(SocketId),
    /// Bytes arrive at a client.
    Fall(SocketId),
    /// A socket has taken what was sent.
    Sent(SocketId),
    /// Somebody does something.
    Act(usize),
    /// Something goes wrong.
    Trouble,
    /// It is over.
    Relief(Fault),
    /// The server is started.
    Start,
}

/// Something that happens to a shard.
enum Deed {
    Round,
    Tick,
    Resume,
    Written(Outcome),
    Synced,
    Index,
    SyncTables,
    Segment,
    Fetched(Fetch),
}

/// The town.
pub struct Town<'a> {
    plan: Plan,
    prng: Prng,
    ground: Ground<'a>,
    crowd: Crowd,
    /// Those that have opened, in their order; none while the server is down.
    hosts: Vec<Host>,
    /// Those that have not.
    unopened: Vec<(Rows, Storage)>,
    ruins: Vec<Ruins>,
    queue: BTreeMap<(u64, u64), Happening>,
    serial: u64,
    era: u32,
    is_serving: bool,
    is_evening: bool,
    /// A round of this shard is in the queue.
    is_woken: Vec<bool>,
    is_stalled: Vec<bool>,
    /// The next write to a log fails.
    is_disk_failing: bool,
    is_disk_slow: bool,
    /// A power cut has taken acked messages from one end and not from the other.
    may_differ: bool,
}

/// Rows that are on their way to the LSM are seen as they will be there.
fn look_through(host: &mut Host) -> Result<(), Failure> {
    sight::look(host.shard.store_mut()).map_err(|words| Failure::of("overlay", words))
}

/// Runs one seed to its end, and tells of it if somebody listens.
///
/// # Panics
/// When an assertion of the server fails.
pub fn run(seed: u64, teller: Option<Teller<'_>>) -> Report {
    let mut town = Town::found(Plan::of(seed), teller);
    let failure = town.live().err();
    let digest = town.digest();
    let Town { ground, crowd, .. } = town;
    let (coverage, messages) = (ground.chronicle.coverage, crowd.messages);
    Report { seed, digest, failure, coverage, messages }
}

impl<'a> Town<'a> {
    fn found(plan: Plan, teller: Option<Teller<'a>>) -> Town<'a> {
        let mut prng = Prng::new(plan.seed ^ 0xD1CE);
        let mut chronicle = Chronicle::new(teller);
        chronicle.tell_of(format_args!("town"), format_args!("{plan:?}"));
        if plan.lanes_may_fill() {
            chronicle.begin(Fault::NarrowMesh);
        }
        if plan.is_cold {
            chronicle.begin(Fault::ColdRows);
        }
        let terms = Terms {
            durability: plan.durability,
            retention: plan.retention,
            lanes_may_fill: plan.lanes_may_fill(),
        };
        let crowd = Crowd::new(plan.people, Prng::new(prng.below(u64::MAX)), Checkers::new(terms));
        let shards = usize::from(plan.shards);
        let fresh = || Storage::new(plan.durability, FIRST_SEGMENTS);
        let mut town = Town {
            ground: Ground {
                chronicle,
                mesh: Mesh::new(plan.lane_room),
                network: Network::default(),
                directory: Arc::new(Directory::new()),
                wall_offset_us: 0,
                is_disk_full: false,
                turn_events: plan.turn_events,
            },
            crowd,
            hosts: Vec::new(),
            unopened: (0..shards).map(|_| fresh()).collect(),
            ruins: Vec::new(),
            queue: BTreeMap::new(),
            serial: 0,
            era: 0,
            is_serving: false,
            is_evening: false,
            is_woken: vec![false; shards],
            is_stalled: vec![false; shards],
            is_disk_failing: false,
            is_disk_slow: false,
            may_differ: false,
            prng,
            plan,
        };
        town.after(0, Happening::Start);
        let trouble = town.plan.fault_every_ms * 1000;
        town.after(trouble, Happening::Trouble);
        for who in 0..town.crowd.people.len() {
            town.after(1000 * who as u64, Happening::Act(who));
        }
        town
    }

    /// The day and the evening.
    fn live(&mut self) -> Result<(), Failure> {
        let day_us = self.plan.day_ms * 1000;
        let mut end = day_us;
        while self.ground.chronicle.now_us < end {
            let before = self.ground.chronicle.now_us;
            self.step()?;
            // What was slept through is no day.
            let passed = self.ground.chronicle.now_us - before;
            end += if passed > 10_000_000 { passed } else { 0 };
        }
        self.pass_evening()
    }

    fn after(&mut self, micros: u64, happening: Happening) {
        self.serial += 1;
        let at = self.ground.chronicle.now_us + micros;
        self.queue.insert((at, self.serial), happening);
    }

    /// The next thing happens.
    fn step(&mut self) -> Result<(), Failure> {
        let Some(((at, _), happening)) = self.queue.pop_first() else {
            unreachable!("ticks never end");
        };
        let chronicle = &mut self.ground.chronicle;
        chronicle.now_us = chronicle.now_us.max(at);
        match self.happen(happening) {
            Ok(()) => {}
            Err(Halt::Failed(failure)) => return Err(failure),
            Err(Halt::Crash(crash)) => self.go_down(crash)?,
            Err(Halt::Disk) => {
                let words = format_args!("ends, for a disk has failed");
                self.ground.chronicle.tell_of(format_args!("server"), words);
                self.go_down(Crash::Kill)?;
            }
        }
        self.look_around()
    }

    fn happen(&mut self, happening: Happening) -> Result<(), Halt> {
        match happening {
            Happening::Shard(era, ..) if era != self.era => Ok(()),
            Happening::Shard(_, shard, deed) => self.befall(shard, deed),
            Happening::Accept(socket) => {
                self.accept(socket);
                Ok(())
            }
            Happening::Rise(socket) => self.rise(socket),
            Happening::Fall(socket) => self.fall(socket),
            Happening::Sent(socket) => {
                self.sent(socket);
                Ok(())
            }
            Happening::Act(_) if self.is_evening => Ok(()),
            Happening::Act(who) => {
                self.crowd.act(who, &mut self.ground)?;
                let pause = 4_000 + self.prng.below(50_000);
                self.after(pause, Happening::Act(who));
                Ok(())
            }
            Happening::Trouble => self.trouble(),
            Happening::Relief(fault) => self.relieve(fault),
            Happening::Start => self.come_up(),
        }
    }

    fn befall(&mut self, shard: ShardId, deed: Deed) -> Result<(), Halt> {
        let index = usize::from(shard.0);
        let ground = &mut self.ground;
        let Some(host) = self.hosts.get_mut(index) else { return Ok(()) };
        match deed {
            Deed::Round if self.is_stalled[index] => {
                self.is_woken[index] = false;
                return Ok(());
            }
            Deed::Round => {
                self.is_woken[index] = false;
                host.round(ground)?;
                if !host.is_busy() {
                    self.bring_about(shard);
                    return Ok(());
                }
            }
            Deed::Tick => {
                host.tick();
                self.after(TICK_US, Happening::Shard(self.era, shard, Deed::Tick));
            }
            Deed::Resume => {
                self.is_stalled[index] = false;
                ground.chronicle.end(Fault::Stall);
                ground.chronicle.tell(shard, format_args!("goes on"));
                self.crowd.witness(Observation::Resumed(shard), &self.ground)?;
            }
            Deed::Written(Outcome::Failed) => {
                self.crowd.witness(Observation::DiskFailed(shard), ground)?;
                ground.chronicle.coverage.note(Fault::DiskFailure, Stage::Writing);
                host.write_done(Outcome::Failed, ground)?;
            }
            Deed::Written(outcome) => host.write_done(outcome, ground)?,
            Deed::Synced => host.sync_done(ground)?,
            Deed::Index if ground.is_disk_full => self.want(shard, Want::Index),
            Deed::Index => {
                look_through(host)?;
                let chunks = 1 + self.prng.below(3) as usize;
                host.index(chunks, ground)?;
            }
            Deed::SyncTables if ground.is_disk_full => self.want(shard, Want::SyncTables),
            Deed::SyncTables => host.sync_tables(ground)?,
            Deed::Segment if ground.is_disk_full => self.want(shard, Want::Segment),
            Deed::Segment => host.make_segment(ground)?,
            Deed::Fetched(fetch) => {
                let Fetch { ticket, need } = fetch;
                let rows = self.hosts[usize::from(need.at.0)].shard.store();
                need.fetch(rows.below()).expect("memory does not fail");
                self.hosts[index].fetched(ticket, need.tag());
            }
        }
        self.bring_about(shard);
        self.wake(shard);
        Ok(())
    }

    /// Schedules what a host wants.
    fn bring_about(&mut self, shard: ShardId) {
        let Some(host) = self.hosts.get_mut(usize::from(shard.0)) else { return };
        for want in std::mem::take(&mut host.wants) {
            self.want(shard, want);
        }
    }

    fn want(&mut self, shard: ShardId, want: Want) {
        let slow = if self.is_disk_slow { 200 } else { 1 };
        let prng = &mut self.prng;
        let (micros, deed) = match want {
            Want::Write => {
                let has_failed = std::mem::take(&mut self.is_disk_failing);
                let outcome = if has_failed { Outcome::Failed } else { Outcome::Done };
                ((80 + prng.below(400)) * slow, Deed::Written(outcome))
            }
            Want::Sync => ((100 + prng.below(900)) * slow, Deed::Synced),
            Want::Index => (1_000 + prng.below(200_000), Deed::Index),
            // Mostly at once; or much is applied meanwhile.
            Want::SyncTables if prng.once_in(4) => (prng.below(400_000), Deed::SyncTables),
            Want::SyncTables => (prng.below(3_000), Deed::SyncTables),
            Want::Segment => (500 + prng.below(20_000), Deed::Segment),
            Want::Fetch(fetch) => (200 + prng.below(20_000), Deed::Fetched(fetch)),
        };
        let era = self.era;
        self.after(micros, Happening::Shard(era, shard, deed));
    }

    /// A shard is to look around soon.
    fn wake(&mut self, shard: ShardId) {
        let index = usize::from(shard.0);
        if self.hosts.len() <= index || std::mem::replace(&mut self.is_woken[index], true) {
            return;
        }
        let micros = match self.prng.below(20) {
            0 => self.prng.below(5_000),
            _ => self.prng.below(60),
        };
        let era = self.era;
        self.after(micros, Happening::Shard(era, shard, Deed::Round));
    }

    /// What is posted wakes who it is for; sockets are carried; the server may begin to serve.
    fn look_around(&mut self) -> Result<(), Failure> {
        for shard in self.ground.mesh.take_rung() {
            self.wake(shard);
        }
        self.carry();
        let all = usize::from(self.plan.shards);
        let is_ready =
            self.hosts.len() == all && self.hosts.iter().all(|it| it.shard.is_replayed());
        if is_ready && !self.is_serving {
            self.is_serving = true;
            self.ground.chronicle.tell_of(format_args!("server"), format_args!("serves"));
            if self.era > 0 {
                self.crowd.witness(Observation::Recovered, &self.ground)?;
            }
        }
        Ok(())
    }

    /// The server goes down, at once.
    fn go_down(&mut self, crash: Crash) -> Result<(), Failure> {
        let ground = &mut self.ground;
        let now = ground.chronicle.moment();
        let may_lose = crash.may_lose(self.plan.durability);
        let durable = match may_lose {
            true => self.hosts.iter().map(|host| host.durable_ms(ground)).min().unwrap_or(now.ms),
            false => now.ms,
        };
        ground.chronicle.tell_of(format_args!("server"), format_args!("goes down: {crash:?}"));
        let hosts = std::mem::take(&mut self.hosts).into_iter();
        for host in hosts {
            let Host { shard, storage, .. } = host;
            self.ruins.push(storage.crash(shard.store(), crash, &mut self.prng));
        }
        for (rows, storage) in std::mem::take(&mut self.unopened) {
            self.ruins.push(storage.crash(&rows, crash, &mut self.prng));
        }
        ground.mesh.crash();
        // A power cut may take back what had left: then nothing of it arrives later than that.
        ground.network.crash(&mut self.prng, !may_lose);
        self.may_differ |= may_lose;
        ground.chronicle.end_all(Fault::Stall);
        self.is_woken.fill(false);
        self.is_stalled.fill(false);
        self.era += 1;
        self.is_serving = false;
        let durable = Moment { ms: durable };
        self.crowd.witness(Observation::Crashed { crash, durable }, &self.ground)?;
        self.start_clock()?;
        let pause = 1_000 + self.prng.below(200_000);
        self.after(pause, Happening::Start);
        Ok(())
    }

    /// The server is started on what is there.
    fn come_up(&mut self) -> Result<(), Halt> {
        self.replay()?;
        let Plan { shards, retention, is_cold, durability: _, .. } = self.plan;
        self.ground.directory = Arc::new(Directory::new());
        while !self.unopened.is_empty() {
            let shard = ShardId(self.hosts.len() as u16);
            let place = Place { shard, shards, lanes: shards.next_power_of_two() };
            let rows = self.unopened.remove(0);
            let setup = Setup { place, retention, is_cold };
            self.hosts.push(Host::open(rows, setup, &mut self.ground)?);
            self.ground.chronicle.pass(shard, Stage::Opened)?;
        }
        self.audit()?;
        for index in 0..self.hosts.len() {
            self.hosts[index].anchor(&self.ground);
            let shard = ShardId(index as u16);
            let (era, first) = (self.era, self.prng.below(TICK_US));
            self.after(first, Happening::Shard(era, shard, Deed::Tick));
            self.wake(shard);
        }
        Ok(())
    }

    /// Each log is replayed, unless it goes down in the midst.
    fn replay(&mut self) -> Result<(), Halt> {
        let mut ruins = std::mem::take(&mut self.ruins).into_iter();
        while let Some(one) = ruins.next() {
            let shard = ShardId(self.unopened.len() as u16);
            let refused = |why| Failure::of("recovery", format!("shard {shard}, its log: {why:?}"));
            let passed = self.ground.chronicle.pass(shard, Stage::Replayed);
            if let Err(Halt::Crash(crash)) = passed {
                // What was replayed goes down with it.
                for (rows, storage) in std::mem::take(&mut self.unopened) {
                    self.ruins.push(storage.crash(&rows, crash, &mut self.prng));
                }
                self.ruins.push(one.recover_half(&mut self.prng).map_err(refused)?);
                self.ruins.extend(ruins);
                return passed;
            }
            let (rows, storage) = one.recover().map_err(refused)?;
            let last = rows.written().0;
            self.ground.chronicle.tell(shard, format_args!("is replayed up to turn {last}"));
            self.unopened.push((rows, storage));
        }
        Ok(())
    }

    /// Whatever crashed when, the rows of all shards agree.
    fn audit(&self) -> Result<(), Failure> {
        let stores: Vec<&Rows> = self.hosts.iter().map(|host| host.shard.store()).collect();
        let mut first = None;
        let report = &mut |finding: audit::Finding| {
            if !(self.may_differ && finding.is_parted) {
                first.get_or_insert_with(|| finding.to_string());
            }
        };
        let counts = audit::run(&stores, report).expect("memory does not fail");
        if counts.parted_chats > 0 && !self.may_differ {
            first = Some("a chat is parted, though nothing was lost".to_owned());
        }
        first.map_or(Ok(()), |words| Err(Failure::of("audit", words)))
    }

    /// Stands for all bytes that peers were sent, and all rows.
    fn digest(&mut self) -> u64 {
        let range = Range { from: &[0], to: &[u8::MAX], direction: Direction::Forward };
        let chronicle = &mut self.ground.chronicle;
        for host in &self.hosts {
            let scanned = host.shard.store().scan(range, &mut |key, value| {
                chronicle.digest(key);
                chronicle.digest(value);
                ControlFlow::Continue(())
            });
            scanned.expect("memory does not fail");
        }
        chronicle.digested()
    }
}

#[cfg(test)]
#[path = "town_tests.rs"]
mod tests;
