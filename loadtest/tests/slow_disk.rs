//! A disk of 50 ms a read: whoever reads what is not in memory waits for it, and nobody else does.
#![allow(missing_docs)]

use anser_loadtest::crash::power::Disk;
use anser_loadtest::http::Client as HttpClient;
use anser_loadtest::server::{Folder, Setup};
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
const READS_PER_SECOND: u32 = 20;
/// Messages of the history that is read, and bytes of each: none of it fits in a few reads.
const MESSAGES: usize = 1_000;
const CONTENT_BYTES: usize = 4_000;
const PAGE: usize = 20;
/// A page that took so long has waited for the disk, several times.
const SLOW: Duration = Duration::from_millis(150);

/// A group of processes that may read from one disk a few times a second only.
struct SlowReads(PathBuf);

impl SlowReads {
    /// Puts a process into a new group.
    fn of(process: u32, disk: &Path) -> io::Result<SlowReads> {
        let device = stat(disk)?.st_dev;
        let group = SlowReads(Path::new(GROUPS).join(format!("anser-test-{process}")));
        fs::create_dir(&group.0)?;
        let bound = format!("{}:{} {READS_PER_SECOND}", major(device), minor(device));
        fs::write(group.0.join("blkio.throttle.read_iops_device"), bound)?;
        fs::write(group.0.join("cgroup.procs"), process.to_string())?;
        Ok(group)
    }
}

impl Drop for SlowReads {
    fn drop(&mut self) {
        // Its processes go back to where groups begin; an empty group can be removed.
        for process in fs::read_to_string(self.0.join("cgroup.procs")).unwrap_or_default().lines() {
            let _ = fs::write(Path::new(GROUPS).join("cgroup.procs"), process);
        }
        let _ = fs::remove_dir(&self.0);
    }
}

/// What this machine lacks; `None`: nothing.
fn is_missing() -> Option<&'static str> {
    let bounds = Path::new(GROUPS).join("blkio.throttle.read_iops_device");
    let is_there = bounds.exists() || Path::new(GROUPS).join("cgroup.procs").exists();
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
    if let Some(missing) = is_missing() {
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
    let group = SlowReads::of(server.id(), disk.folder()).expect("root may bound it");
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
