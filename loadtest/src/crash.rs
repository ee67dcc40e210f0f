//! Crashes under load: kills, and cuts of power, one after another on one folder that grows; after
//! each the server is started again and everything it ever acked is looked for.
//!
//! Invariants:
//! 1. Whatever was acked is there once, unchanged and in order, at both ends; what was not acked is
//!    there once or not at all. Anything else is a finding, and the run ends with it.
//! 2. The same seed makes the same plan: as many kills and cuts as asked for, of every sort.
//! 3. It stops by itself: after its crashes, or [`Crash::max_minutes`].

mod people;
pub mod power;

use crate::arguments;
use crate::dice::Dice;
use crate::outcome::{Outcome, Run, Scenario};
use crate::server::{Folder, Server, Setup, Stopped, run_tools_within};
use anyhow::{Result, ensure};
use people::People;
use power::Disk;
use serde::Serialize;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Rounds between two looks at the offline lists and at the rows themselves.
const ROUNDS_A_LOOK: usize = 25;
/// Bytes of the disk whose power is cut.
const DISK_BYTES: u64 = 8 << 30;
/// The fewest and the most messages that are acked before a crash.
const LOAD_MESSAGES: (u64, u64) = (50, 2_500);
/// The longest that nothing happens before a crash, ms: long enough that tables are made.
const IDLE_MS: u64 = 4_000;
/// The latest moment after it was asked to stop at which a server is killed, ms.
const STOPPING_MS: u64 = 40;
/// The latest moment of a start at which it is killed, ms.
const STARTING_MS: u64 = 200;
/// How long a look at all rows may take: there are millions in the end, and the machine is busy.
const VERIFY_WITHIN: Duration = Duration::from_secs(600);

/// What to run.
#[derive(Clone, Debug, Serialize, clap::Args)]
pub struct Crash {
    /// What every scenario is told; the seed is that of the plan of crashes.
    #[command(flatten)]
    #[serde(skip)]
    pub run: Run,
    /// SIGKILLs.
    #[arg(long, default_value_t = 1000)]
    pub kills: u32,
    /// Cuts of power: root, loop devices, mkfs.ext4 and perl are needed.
    #[arg(long, default_value_t = 0)]
    pub cuts: u32,
    /// What an ack means.
    #[arg(long, default_value = "sync")]
    pub durability: String,
    /// Shards of the server.
    #[arg(long, default_value_t = 2, value_parser = arguments::positive::<u16>)]
    pub shards: u16,
    /// Pairs of users who write to each other.
    #[arg(long, default_value_t = 12, value_parser = arguments::positive::<usize>)]
    pub pairs: usize,
    /// Messages of one author that wait for their ack.
    #[arg(long, default_value_t = 24, value_parser = arguments::positive::<u64>)]
    pub window: u64,
    /// Where the image of the disk is made whose power is cut; by default beside the build.
    #[arg(long)]
    #[serde(skip)]
    pub scratch: Option<PathBuf>,
    /// More arguments for the server.
    #[arg(long, allow_hyphen_values = true)]
    pub server: Vec<String>,
    /// No crash is begun later.
    #[arg(long, default_value_t = 60)]
    pub max_minutes: u64,
}

/// How a server ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Blow {
    /// Under full load.
    Load,
    /// When nothing is under way but tables.
    Idle,
    /// Just after it was asked to stop.
    Stopping,
    /// Under load, and again while it starts.
    Starting,
}

/// One crash to come.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Planned {
    is_cut: bool,
    blow: Blow,
    /// Messages that are acked before.
    load: u64,
    /// How long the server is idle, stops or starts before, ms.
    after_ms: u64,
}

/// What was counted.
#[derive(Default)]
struct Tally {
    kills: u32,
    cuts: u32,
    killed_starts: u32,
    looks: u32,
}

impl Scenario for Crash {
    const NAME: &'static str = "crash";

    fn options(&self) -> &Run {
        &self.run
    }

    fn run(&self, outcome: &mut Outcome) -> Result<()> {
        ensure!(
            self.kills + self.cuts > 0,
            "a kill or a cut of power at least, or nothing happens"
        );
        let begun = Instant::now();
        let plan = self.plan();
        let disk = match self.cuts {
            0 => None,
            _ => Some(Disk::make(self.scratch.as_deref(), DISK_BYTES)?),
        };
        let folder = disk.as_ref().map(|disk| Folder::with_data(disk.folder().join("data")));
        let mut setup = Setup::shards(self.shards).with("--durability", &self.durability);
        setup.arguments.extend(self.server.iter().cloned());
        let mut server = setup.start_in(folder.unwrap_or_default());
        let mut people = People::register(server.http, self.pairs)?;
        let mut tally = Tally::default();
        let total = plan.len();
        for (round, planned) in (1..=total).zip(plan) {
            if begun.elapsed() >= Duration::from_secs(self.max_minutes * 60) {
                break;
            }
            let stopped = self.crash(server, &mut people, &planned, disk.as_ref(), &mut tally)?;
            let looks = round % ROUNDS_A_LOOK == 0 || round == total;
            if looks {
                verify(&stopped)?;
            }
            let start = Instant::now();
            server = stopped.start();
            let ready = outcome.latencies.entry("ready".to_owned()).or_default();
            ready.record(start.elapsed().as_micros() as u64);
            people.check_news(server.http)?;
            if looks {
                tally.looks += 1;
                people.check_offline(server.http)?;
                eprintln!("{round} of {total} crashes, {} messages acked", people.acked());
            }
        }
        people.check_whole(server.http)?;
        verify(&server.stop())?;
        outcome.add(report(&people, &tally, begun.elapsed()));
        Ok(())
    }
}

impl Crash {
    fn plan(&self) -> Vec<Planned> {
        let mut dice = Dice::new(self.run.seed);
        let (mut kills, mut cuts) = (u64::from(self.kills), u64::from(self.cuts));
        let mut plan = Vec::new();
        while kills + cuts > 0 {
            let is_cut = dice.below(kills + cuts) < cuts;
            *(if is_cut { &mut cuts } else { &mut kills }) -= 1;
            let (blow, after) = match dice.below(20) {
                0 => (Blow::Idle, IDLE_MS),
                1 => (Blow::Stopping, STOPPING_MS),
                2 | 3 => (Blow::Starting, STARTING_MS),
                _ => (Blow::Load, 1),
            };
            let load = LOAD_MESSAGES.0 + dice.below(LOAD_MESSAGES.1 - LOAD_MESSAGES.0);
            plan.push(Planned { is_cut, blow, load, after_ms: dice.below(after) });
        }
        plan
    }

    /// One round: load, and its end.
    fn crash(
        &self,
        server: Server,
        people: &mut People,
        planned: &Planned,
        disk: Option<&Disk>,
        tally: &mut Tally,
    ) -> Result<Stopped> {
        let after = Duration::from_millis(planned.after_ms);
        let mut session = people.connect(server.ws)?;
        people.write(&mut session, planned.load, self.window)?;
        if planned.blow == Blow::Idle {
            people.settle(&mut session)?;
            std::thread::sleep(after);
        }
        if planned.blow == Blow::Stopping {
            server.terminate();
            std::thread::sleep(after);
        }
        let disk = disk.filter(|_| planned.is_cut);
        *(if disk.is_some() { &mut tally.cuts } else { &mut tally.kills }) += 1;
        if let Some(disk) = disk {
            disk.cut_power()?;
        }
        let mut stopped = server.kill();
        people.hear_the_last(session, disk.is_some())?;
        if let Some(disk) = disk {
            disk.switch_on()?;
        }
        if planned.blow == Blow::Starting {
            tally.killed_starts += 1;
            stopped = stopped.kill_while_starting(after);
        }
        Ok(stopped)
    }
}

/// What was done, and that nothing was found.
fn report(people: &People, tally: &Tally, took: Duration) -> Value {
    json!({
        "kills": tally.kills, "cuts": tally.cuts, "killed_while_starting": tally.killed_starts,
        "acked": people.acked(), "sent_again": people.sent_again(),
        "acked_by_recipients": people.client_acked(),
        "lost": 0, "doubled": 0, "changed": 0, "out_of_order": 0,
        "looks_at_all_rows": tally.looks + 1,
        "seconds": took.as_secs(),
    })
}

/// All rows and records of a stopped server agree.
fn verify(stopped: &Stopped) -> Result<()> {
    let folder = stopped.data();
    let arguments = ["verify", "--data-dir", &folder.to_string_lossy()];
    let done = run_tools_within(&arguments, VERIFY_WITHIN);
    ensure!(done.code == Some(0), "verify has findings:\n{}", done.said);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;
    use std::process::Command;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        crash: Crash,
    }

    fn crash(arguments: &[&str]) -> Crash {
        Line::parse_from([&["crash", "--pairs", "4"], arguments].concat()).crash
    }

    fn run(arguments: &[&str]) -> Result<Value> {
        Outcome::of(&crash(arguments)).and_then(|outcome| outcome.passed().cloned())
    }

    /// Invariant 1.
    #[test]
    fn what_was_acked_and_is_gone_is_found() {
        let server = Setup::shards(2).start();
        let mut people = People::register(server.http, 2).expect("four users");
        let mut session = people.connect(server.ws).expect("it listens");
        people.write(&mut session, 100, 8).expect("they are acked");
        people.settle(&mut session).expect("they are acked");
        people.check_news(server.http).expect("all is there");
        drop(session);
        let stopped = server.stop();
        let (data, copy) = (stopped.data(), stopped.data().with_extension("copy"));
        let copied = Command::new("cp").arg("-a").args([&data, &copy]).status();
        assert!(copied.expect("every Linux has cp").success());
        let server = stopped.start();
        let mut session = people.connect(server.ws).expect("it listens");
        people.write(&mut session, 10, 8).expect("they are acked");
        let stopped = server.kill();
        people.hear_the_last(session, false).expect("the server was killed");
        // The disk forgets all since the copy.
        std::fs::remove_dir_all(&data).expect("ours");
        std::fs::rename(&copy, &data).expect("ours");
        let server = stopped.start();
        people.give_up_at_once();
        let lost = people.check_news(server.http).expect_err("messages are lost").to_string();
        assert!(lost.starts_with("LOST"), "{lost}");
        people.forget_what_was_seen();
        let doubled = people.check_news(server.http).expect_err("seen twice").to_string();
        assert!(doubled.starts_with("DOUBLED"), "{doubled}");
    }

    /// Invariant 2.
    #[test]
    fn the_same_seed_makes_the_same_plan_of_all_sorts() {
        let plan = crash(&["--kills", "300", "--cuts", "100"]).plan();
        assert_eq!(plan, crash(&["--kills", "300", "--cuts", "100"]).plan());
        assert_ne!(plan, crash(&["--kills", "300", "--cuts", "100", "--seed", "2"]).plan());
        assert_eq!(plan.iter().filter(|planned| planned.is_cut).count(), 100);
        assert_eq!(plan.len(), 400);
        for blow in [Blow::Idle, Blow::Stopping, Blow::Starting, Blow::Load] {
            for is_cut in [false, true] {
                assert!(plan.iter().any(|it| it.blow == blow && it.is_cut == is_cut));
            }
        }
    }

    /// Invariant 3.
    #[test]
    fn no_crash_is_begun_when_the_time_is_over() {
        let report = run(&["--max-minutes", "0"]).expect("nothing happened");
        assert_eq!(report["kills"], 0);
    }

    #[test]
    fn a_few_kills_lose_nothing() {
        for durability in ["sync", "async"] {
            let outcome = Outcome::of(&crash(&["--kills", "12", "--durability", durability]));
            let outcome = outcome.expect("settings are plain");
            assert_eq!(outcome.passed().expect("nothing is lost")["kills"], 12);
            // After each it started.
            assert_eq!(outcome.latencies["ready"].total(), 12);
        }
    }

    #[test]
    fn a_few_power_cuts_lose_nothing() {
        if let Some(missing) = Disk::is_missing() {
            return eprintln!("SKIPPED cuts of power: this machine lacks {missing}");
        }
        let report = run(&["--kills", "0", "--cuts", "8"]);
        assert_eq!(report.expect("nothing is lost")["cuts"], 8);
    }

    /// The same cuts take what was acked before it was synced: they can be seen to.
    #[test]
    fn power_cuts_lose_what_async_has_acked() {
        if let Some(missing) = Disk::is_missing() {
            return eprintln!("SKIPPED cuts of power: this machine lacks {missing}");
        }
        let report = run(&["--kills", "0", "--cuts", "40", "--durability", "async"]);
        let lost = report.expect_err("some messages were not synced").to_string();
        assert!(lost.starts_with("LOST"), "{lost}");
    }

    #[test]
    fn a_power_cut_takes_what_was_not_synced() {
        if let Some(missing) = Disk::is_missing() {
            return eprintln!("SKIPPED cuts of power: this machine lacks {missing}");
        }
        let disk = Disk::make(None, 64 << 20).expect("root may mount");
        let path = |name: &str| disk.folder().join(name);
        std::fs::write(path("forgotten"), "x").expect("an empty disk");
        std::fs::write(path("synced"), "x").expect("an empty disk");
        std::fs::File::open(path("synced")).and_then(|file| file.sync_all()).expect("a disk");
        std::fs::write(path("synced"), "more than x").expect("an empty disk");
        disk.cut_power().expect("the kernel can");
        let late = std::fs::File::create(path("late")).and_then(|file| file.sync_all());
        assert!(late.is_err(), "the power is off");
        disk.switch_on().expect("it is a file system");
        let left = std::fs::read_to_string(path("synced")).expect("it was synced");
        assert_ne!(left, "more than x", "what was not synced is gone");
        assert!(!path("late").exists());
    }
}
