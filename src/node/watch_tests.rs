//! Tests of the main thread's part: what it tells the shards when, and what ends the process.

use super::*;
use crate::config;
use crate::node::launch::abort_on_panic;
use crate::node::mesh::bells;
use crate::store::StoreError;
use std::os::unix::process::ExitStatusExt;
use std::process::Command;
use std::sync::mpsc::{Sender, channel};

/// The main thread over shards that only report.
struct Server {
    reports: Sender<Report>,
    stage: Arc<Stage>,
    state: Arc<AdminState>,
    main: std::thread::JoinHandle<Result<(), ServeError>>,
}

fn serve_reports(shards: u16) -> Server {
    let (reports, inbox) = channel();
    let stage = Arc::new(Stage::new(bells(shards).expect("eventfds")));
    let state = Arc::new(AdminState::new(Vec::new(), "sync", || 0));
    let (its_stage, admin_state) = (stage.clone(), state.clone());
    let main = std::thread::spawn(move || {
        let (_, config) = config::load(config::Surroundings {
            arguments: vec!["anser".into()],
            environment: &|_| None,
            utc_offset_seconds: 0,
        })
        .expect("defaults");
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let addresses = Addresses { http: any, ws: any, admin: any };
        let (folder, indexed) = (None, None);
        let (config, stage) = (&config, its_stage);
        Watch { config, folder, stage, inbox, admin_state, addresses, shards, indexed }.run()
    });
    Server { reports, stage, state, main }
}

impl Server {
    fn hears(&self, report: Report) {
        self.reports.send(report).expect("it listens");
    }

    #[track_caller]
    fn reaches(&self, phase: Phase) {
        let deadline = Instant::now() + Duration::from_secs(30);
        while self.stage.phase() != phase {
            assert!(Instant::now() < deadline, "{:?} and not {phase:?}", self.stage.phase());
            std::thread::yield_now();
        }
    }

    fn becomes_ready(&self) {
        for _ in 0..2 {
            self.hears(Report::Opened);
        }
        self.reaches(Phase::Replaying);
        for _ in 0..2 {
            self.hears(Report::Replayed);
        }
        self.reaches(Phase::Serving);
    }

    fn ends(self) -> Result<(), ServeError> {
        self.hears(Report::Ended(ShardId(0), Ok(())));
        self.hears(Report::Ended(ShardId(1), Ok(())));
        self.main.join().expect("it does not panic")
    }
}

/// Invariant 2 of node::launch.
/// Invariant 1 of node::watch.
#[test]
fn ready_waits_for_every_shards_replay() {
    let server = serve_reports(2);
    server.hears(Report::Opened);
    server.hears(Report::Opened);
    server.reaches(Phase::Replaying);
    server.hears(Report::Replayed);
    // What follows is heard after it: the phase shows that one replay was not enough.
    server.hears(Report::Signal);
    server.reaches(Phase::Draining);
    assert_eq!(server.state.readiness(), Readiness::Draining);
    server.hears(Report::Replayed);
    assert!(server.ends().is_ok());
    let server = serve_reports(2);
    server.becomes_ready();
    assert!(matches!(server.state.readiness(), Readiness::Starting | Readiness::Ready));
    server.hears(Report::Signal);
    server.reaches(Phase::Draining);
    assert!(server.ends().is_ok());
}

/// Invariant 3 of node::launch.
/// Invariant 3 of node::watch.
#[test]
fn after_a_signal_shards_drain_and_stop_when_all_have_or_when_the_time_is_over() {
    let server = serve_reports(2);
    server.becomes_ready();
    server.hears(Report::Signal);
    server.reaches(Phase::Draining);
    server.hears(Report::Drained);
    server.hears(Report::Signal);
    server.hears(Report::Drained);
    server.reaches(Phase::Stopping);
    assert!(server.ends().is_ok());
    let stuck = serve_reports(2);
    stuck.becomes_ready();
    let begun = Instant::now();
    stuck.hears(Report::Signal);
    assert!(stuck.main.join().expect("it does not panic").is_ok());
    let took = begun.elapsed();
    assert!(took >= Duration::from_millis(DRAIN_MS_MAX), "{took:?}");
    assert!(took < Duration::from_millis(DRAIN_MS_MAX + 5_000), "{took:?}");
}

/// Invariant 4 of node::launch.
/// Invariant 2 of node::watch.
#[test]
fn when_a_shard_fails_the_others_are_drained_and_the_server_ends_with_its_error() {
    let server = serve_reports(2);
    server.becomes_ready();
    server.hears(Report::Ended(ShardId(1), Err(StoreError::Asked.into())));
    server.reaches(Phase::Draining);
    server.hears(Report::Drained);
    server.reaches(Phase::Stopping);
    server.hears(Report::Ended(ShardId(0), Ok(())));
    let error = server.main.join().expect("it does not panic").expect_err("a shard failed");
    assert!(matches!(error, ServeError::Shard(ShardId(1), _)), "{error}");
}

/// Invariant 4 of node::launch.
#[test]
fn a_panic_anywhere_ends_the_process() {
    const CHILD: &str = "ANSER_TEST_PANICS";
    if std::env::var_os(CHILD).is_some() {
        abort_on_panic();
        let _ = std::thread::spawn(|| panic!("on purpose")).join();
        return;
    }
    let own = std::env::current_exe().expect("/proc is mounted");
    let name = "node::watch::tests::a_panic_anywhere_ends_the_process";
    let child = Command::new(own).args(["--exact", name]).env(CHILD, "1").output();
    let child = child.expect("it starts");
    assert_eq!(child.status.signal(), Some(6), "SIGABRT: {child:?}");
}
