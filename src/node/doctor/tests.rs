//! What the doctor says of machines good and bad.

use super::*;
use std::io;
use std::time::Duration;

#[test]
fn every_verdict_but_ok_says_what_to_do() {
    let small = |current| Rlimit { current: Some(current), maximum: Some(current) };
    for (said, expected, advice) in [
        (judge_locked_memory(small(65_536)), Verdict::Fail, "ulimit -l"),
        (judge_locked_memory(small(8 << 20)), Verdict::Ok, ""),
        (judge_open_files(Some(64), 2), Verdict::Warn, "about 32 connections; raise it"),
        (judge_open_files(Some(1024), 2), Verdict::Warn, "about 576 connections"),
        (judge_open_files(Some(20_000), 2), Verdict::Ok, "about 19552 connections"),
        (judge_backlog(Some(128)), Verdict::Warn, "sysctl net.core.somaxconn"),
        (judge_backlog(Some(4096)), Verdict::Ok, ""),
        (judge_cores(2, Some(4)), Verdict::Warn, "one shard a core"),
        (judge_cores(2, None), Verdict::Ok, "2 allowed"),
        (uring::judge_kernel("5.15.0-91-generic"), Verdict::Fail, "6.1 or newer"),
        (uring::judge_kernel("6.0.19"), Verdict::Fail, "6.1 or newer"),
        (uring::judge_kernel("6.1.0"), Verdict::Ok, ""),
        (uring::judge_kernel("6.18.44-fc"), Verdict::Ok, ""),
        (disk::judge_sync(Duration::from_millis(50)), Verdict::Warn, "faster disk"),
        (disk::judge_sync(Duration::from_micros(900)), Verdict::Ok, "0.90 ms"),
        (disk::judge_room(3), Verdict::Fail, "at least 64 MiB"),
        (disk::judge_room(500), Verdict::Warn, "full soon"),
        (disk::judge_room(5000), Verdict::Ok, ""),
    ] {
        assert_eq!(said.0, expected, "{}", said.1);
        assert!(said.1.contains(advice), "{}", said.1);
    }
}

#[test]
fn a_core_that_there_is_not_is_refused_by_the_setting_that_names_it() {
    assert_eq!(judge_places(2, &[("--pin-from", 1), ("--indexer-core", 0)]), None);
    let (verdict, words) =
        judge_places(2, &[("--pin-from", 0), ("--indexer-core", 2)]).expect("no");
    assert_eq!(verdict, Verdict::Fail);
    assert_eq!(words, "--indexer-core 2 names none of the 2 allowed, which are 0 to 1");
    assert!(judge_places(64, &[("--pin-from", 999)]).is_some());
}

#[test]
fn a_ring_that_is_refused_becomes_words() {
    let of = |code| io::Error::from_raw_os_error(code);
    let (eperm, enomem, einval, enosys) = (1, 12, 22, 38);
    assert!(uring::in_words(&of(eperm), Some("2")).contains("io_uring_disabled=0"));
    assert!(uring::in_words(&of(eperm), Some("0")).contains("seccomp"));
    assert!(uring::in_words(&of(enosys), None).contains("not in this kernel"));
    assert!(uring::in_words(&of(einval), None).contains("too old"));
    assert!(uring::in_words(&of(enomem), None).contains("ulimit -l"));
    assert!(uring::in_words(&of(24), None).contains("cannot make a ring"));
}

#[test]
fn this_machine_passes_and_nothing_stays_in_the_folder() {
    let folder = std::env::temp_dir().join(format!("anser-doctor-{}", std::process::id()));
    let checks = disk::examine(&folder);
    assert_eq!(checks.len(), 4, "{checks:?}");
    let left = std::fs::read_dir(&folder).expect("the folder was made").count();
    std::fs::remove_dir(&folder).expect("it is empty");
    assert_eq!(left, 0);
    assert_eq!(uring::ring().verdict, Verdict::Ok, "{}", uring::ring());
}

#[test]
fn a_folder_that_cannot_be_written_fails_with_its_name() {
    let checks = disk::examine("/proc/nowhere".as_ref());
    assert_eq!(worst(&checks), Verdict::Fail);
    assert!(checks[0].to_string().contains("/proc/nowhere cannot be written"), "{}", checks[0]);
}

#[test]
fn the_worst_verdict_counts() {
    let check = |verdict| Check::new("x", verdict, "");
    assert_eq!(worst(&[check(Verdict::Ok), check(Verdict::Warn)]), Verdict::Warn);
    assert_eq!(worst(&[check(Verdict::Fail), check(Verdict::Warn)]), Verdict::Fail);
    assert_eq!(worst(&[]), Verdict::Ok);
}

#[test]
fn a_file_system_without_direct_writes_is_told_of() {
    use crate::node::log_files::Directness;
    assert_eq!(disk::judge_directness(Directness::Direct).0, Verdict::Ok);
    let (verdict, words) = disk::judge_directness(Directness::Cached);
    assert_eq!(verdict, Verdict::Warn);
    assert!(words.contains("refuses O_DIRECT"), "{words}");
}
