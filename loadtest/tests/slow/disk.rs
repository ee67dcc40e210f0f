//! Slow disks. One of 50 ms a read: whoever reads what is not in memory waits for it, and nobody
//! else does. One of seconds a write: acks wait for it, and operators are told.

use anser_loadtest::crash::power::Disk;
use anser_loadtest::http::Client as HttpClient;
use anser_loadtest::server::{Folder, Setup, eventually};
use anser_loadtest::world::{Client, Pair, World, ids};
use rustix::fs::{major, minor, stat};
use serde_json::json;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::SeqCst};
use std::time::{Duration, Instant};

const MIB: u64 = 1 << 20;
/// Where the kernel bounds the reads of groups of processes.
const GROUPS: &str = "/sys/fs/cgroup/blkio";
const READS: &str = "blkio.throttle.read_iops_device";
const READS_PER_SECOND: u32 = 20;
/// A write of one block takes a second and a quarter.
const WRITES: &str = "blkio.throttle.write_bps_device";
const WRITTEN_PER_SECOND: u32 = 3_277;
/// Messages of the history that is read, and bytes of each: none of it fits in a few reads.
const MESSAGES: usize = 1_000;
const CONTENT_BYTES: usize = 4_000;
const PAGE: usize = 20;
/// A page that took so long has waited for the disk, several times.
const SLOW: Duration = Duration::from_millis(150);

/// A group of processes that one disk serves slowly.
struct Bounded {
    group: PathBuf,
    device: String,
    /// The file of the kernel that says how slowly.
    bound: &'static str,
}

impl Bounded {
    /// Puts a process into a new group, for which the bound is so much a second.
    fn of(process: u32, disk: &Path, bound: &'static str, most: u32) -> io::Result<Bounded> {
        let device = stat(disk)?.st_dev;
        let device = format!("{}:{}", major(device), minor(device));
        let group = Path::new(GROUPS).join(format!("anser-test-{process}"));
        fs::create_dir(&group)?;
        let bounded = Bounded { group, device, bound };
        bounded.set(most)?;
        fs::write(bounded.group.join("cgroup.procs"), process.to_string())?;
        Ok(bounded)
    }

    /// 0: as fast as the disk can.
    fn set(&self, most: u32) -> io::Result<()> {
        fs::write(self.group.join(self.bound), format!("{} {most}", self.device))
    }
}

impl Drop for Bounded {
    fn drop(&mut self) {
        // What waits goes on. Processes go back to where groups begin; an empty group can be
        // removed.
        let _ = self.set(0);
        let processes = fs::read_to_string(self.group.join("cgroup.procs"));
        for process in processes.unwrap_or_default().lines() {
            let _ = fs::write(Path::new(GROUPS).join("cgroup.procs"), process);
        }
        let _ = fs::remove_dir(&self.group);
    }
}

/// What this machine lacks; `None`: nothing.
fn is_missing(bound: &str) -> Option<&'static str> {
    let is_there =
        Path::new(GROUPS).join(bound).exists() || Path::new(GROUPS).join("cgroup.procs").exists();
    Disk::is_missing().or((!is_there).then_some("the blkio group of processes (cgroup v1)"))
}

/// Messages that the neighbours sent, each acked, while somebody read; until told to stop.
fn chat(neighbour: &mut Client, to: i64, sent: &AtomicU32, is_over: &AtomicBool) {
    while !is_over.load(SeqCst) {
        neighbour.send(to, "hello");
        sent.fetch_add(1, SeqCst);
    }
}

#[test]
fn a_disk_of_50_ms_slows_whoever_reads_from_it_and_no_neighbour() {
    if let Some(missing) = is_missing(READS) {
        return eprintln!("SKIPPED the slow disk: this machine lacks {missing}");
    }
    let disk = Disk::make(None, 1024 * MIB).expect("a disk");
    let setup = Setup::shards(1).with("--disk-reserve-mb", "8");
    let server = setup.start_in(Folder::with_data(disk.folder().join("data")));
    let (anna, bo, all) = {
        let world = World::on(&server, "slow disk");
        let (anna, bo) = world.pair(Pair::Together);
        let mut client = world.connect(anna);
        let content = "x".repeat(CONTENT_BYTES);
        let all: Vec<i64> = (0..MESSAGES).map(|_| client.post(bo, &content)).collect();
        all.iter().for_each(|id| drop(client.expect_ack(*id)));
        (anna, bo, all)
    };
    let stopped = server.stop();
    disk.switch_on().expect("nobody uses it");
    let server = stopped.start();
    let world = World::on(&server, "slow disk");
    let [carol, dave] = world.people();
    let mut neighbour = world.connect(carol);
    neighbour.send(dave, "both are known");
    let group = Bounded::of(server.id(), disk.folder(), READS, READS_PER_SECOND)
        .expect("root may bound it");
    let (sent, is_over) = (AtomicU32::new(0), AtomicBool::new(false));
    let (mut slow_pages, mut meanwhile) = (0, 0);
    std::thread::scope(|scope| {
        scope.spawn(|| chat(&mut neighbour, dave, &sent, &is_over));
        let mut reader = HttpClient::connect(server.http);
        let mut before = MESSAGES + 1;
        let mut found = Vec::new();
        while slow_pages < 5 && before > 1 {
            let request = json!({"userId": bo, "beforeSeq": before, "pageSize": PAGE});
            let (begun, sent_before) = (Instant::now(), sent.load(SeqCst));
            let answer = reader.post("/im/message/user/get/page", &request.to_string());
            assert_eq!(answer.status, 200, "{answer:?}");
            if begun.elapsed() >= SLOW {
                slow_pages += 1;
                meanwhile += sent.load(SeqCst) - sent_before;
            }
            let page = answer.json();
            found.extend(ids(page.as_array().expect("a list")));
            before = before.saturating_sub(PAGE);
        }
        is_over.store(true, SeqCst);
        let expected: Vec<i64> = all.iter().rev().take(found.len()).copied().collect();
        assert_eq!(found, expected, "{anna} wrote them, newest first");
    });
    drop(group);
    assert!(slow_pages >= 3, "the disk was slow for {slow_pages} pages only");
    // A shard that reads itself hears nobody meanwhile: one message a page at most.
    assert!(meanwhile > 5 * slow_pages, "{meanwhile} messages during {slow_pages} slow pages");
}

/// Sends one message and waits for its Ack. Returns how long that took.
fn send_timed(client: &mut Client, to: i64, content: &str) -> (i64, Duration) {
    let begun = Instant::now();
    let id = client.send(to, content);
    (id, begun.elapsed())
}

#[test]
fn a_disk_of_seconds_a_write_only_slows_and_is_told() {
    if let Some(missing) = is_missing(WRITES) {
        return eprintln!("SKIPPED the disk of seconds a write: this machine lacks {missing}");
    }
    let disk = Disk::make(None, 1024 * MIB).expect("a disk");
    let setup = Setup::shards(1).with("--disk-reserve-mb", "8");
    let server = setup.start_in(Folder::with_data(disk.folder().join("data")));
    let world = World::on(&server, "slow writes");
    let (anna, bo) = world.pair(Pair::Together);
    let mut client = world.connect(anna);
    let mut sent = vec![client.send(bo, "before")];
    let [carol, dave] = world.people();
    let before = world.connect(carol).send(dave, "this is on disk");
    assert_eq!(server.health(), "ok");

    let bounded = Bounded::of(server.id(), disk.folder(), WRITES, WRITTEN_PER_SECOND)
        .expect("root may bound it");
    for number in 0..2 {
        let (id, took) = send_timed(&mut client, bo, "slowly");
        sent.push(id);
        // The first may have met a write that was begun before.
        assert!(number == 0 || took >= Duration::from_secs(1), "the disk is slow: {took:?}");
    }
    assert_eq!(server.health(), "slow disk");
    assert_eq!(server.figure("anser_disk_slow"), 1.0);
    let last = client.post(bo, "while it is written others read");
    let begun = Instant::now();
    let read = world.list("/im/message/offline", json!({"userId": dave}));
    assert!(begun.elapsed() < Duration::from_secs(1), "it does not wait for a write of others");
    assert_eq!(ids(&read), [before], "{read:?}");
    sent.push(last);
    let read = world.list("/im/message/offline", json!({"userId": bo}));
    assert!(begun.elapsed() >= Duration::from_secs(1), "nothing is shown that is not on disk");
    assert_eq!(ids(&read), sent, "{read:?}");
    client.expect_ack(last);

    bounded.set(0).expect("root may set it free");
    eventually("the disk is well again", || (server.health() == "ok").then_some(()));
    sent.push(send_timed(&mut client, bo, "after").0);
    let said = server.log();
    assert!(said.contains("the disk is slow"), "{said}");
    assert!(said.contains("segment") && said.contains("took_ms"), "{said}");
    assert!(said.contains("the disk is slow no more"), "{said}");
    drop(bounded);
    let server = server.kill().start();
    let world = World::on(&server, "slow writes");
    assert_eq!(ids(&world.list("/im/message/offline", json!({"userId": bo}))), sent);
}
