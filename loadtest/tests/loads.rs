//! Each scenario of the load generator, small, against a server that keeps its promises.
#![allow(missing_docs)]

use anser_loadtest::load::accounts::Target;
use anser_loadtest::load::disk::Disk;
use anser_loadtest::load::driver::peer::Peer;
use anser_loadtest::load::handoff::Handoff;
use anser_loadtest::load::idle::Idle;
use anser_loadtest::load::ids::Ids;
use anser_loadtest::load::limit::{Frames, Limit};
use anser_loadtest::load::offline::Offline;
use anser_loadtest::load::open::Open;
use anser_loadtest::load::pingpong::PingPong;
use anser_loadtest::load::schedule::Arrivals;
use anser_loadtest::load::storm::Storm;
use anser_loadtest::outcome::{Outcome, Run, Scenario};
use anser_loadtest::relay::{self, Relayed};
use anser_loadtest::server::{Folder, Server, Setup};
use serde_json::Value;
use std::net::Shutdown;
use std::process::Command;

fn target(server: &Server) -> Target {
    let (http, ws, admin) = (server.http, server.ws, Some(server.admin));
    Target { server_pid: Some(server.id()), admin, ..Target::at(http, ws) }
}

/// Runs a scenario that must not fail, and gives what would stand on standard output.
#[track_caller]
fn run(scenario: &impl Scenario) -> Value {
    let outcome = Outcome::of(scenario).expect("settings are plain");
    assert_eq!(outcome.error, None);
    outcome.line()
}

fn number(report: &Value, name: &str) -> f64 {
    report[name].as_f64().unwrap_or_else(|| panic!("{name} in {report}"))
}

#[track_caller]
fn length(report: &Value, name: &str) -> usize {
    report[name].as_array().map(Vec::len).unwrap_or_else(|| panic!("{name} in {report}"))
}

#[test]
fn what_another_process_took_of_the_cores_meanwhile_is_told() {
    let server = Setup::shards(1).start();
    let other = Command::new("sha256sum").arg("/dev/zero").spawn();
    let mut other = other.expect("every Linux has sha256sum");
    let report = run(&PingPong {
        target: target(&server),
        run: Run::default(),
        peer: Peer::seed(),
        pairs: 1,
        window: 1,
        seconds: 1,
        warm_seconds: 0,
        no_limit: true,
    });
    other.kill().and_then(|()| other.wait()).expect("it is ours");
    let others = &report["others_cores"];
    assert!(others["sha256sum"].as_f64().is_some_and(|cores| cores > 0.01), "{report}");
}

#[test]
fn every_scenario_runs_and_reports() {
    let server = Setup::shards(2).start();
    let (target, options) = (target(&server), Run::default());
    let report = run(&PingPong {
        target: target.clone(),
        run: options.clone(),
        peer: Peer::seed(),
        pairs: 5,
        window: 4,
        seconds: 1,
        warm_seconds: 0,
        no_limit: true,
    });
    assert!(number(&report, "delivered_per_second") > 0.0);
    // What was in flight when measuring began is delivered, and in no latency.
    let before = number(&report, "delivered") - number(&report["delivery"], "count");
    assert!((0.0..=20.0).contains(&before), "{report}");
    let report = run(&Open {
        target: target.clone(),
        run: options.clone(),
        peer: Peer::seed(),
        users: 10,
        rate: 500,
        arrivals: Arrivals::InTurn,
        tick_us: 0,
        seconds: 2,
        warm_seconds: 0,
        no_limit: true,
    });
    assert_eq!((&report["test"], number(&report, "rate")), (&"open".into(), 500.0));
    assert_eq!(number(&report, "delivered"), 1000.0);
    let seconds = length(&report, "delivered_each_second");
    assert!(seconds >= 1, "two seconds were measured, on a busy machine at least one: {report}");
    for name in ["worst_ms", "own_cores", "server_cores", "server_resident_bytes"] {
        assert_eq!(length(&report, &format!("{name}_each_second")), seconds);
    }
    let report = run(&Idle {
        target: Target { connections_per_thread: Some(8), ..target.clone() },
        run: options.clone(),
        connections: 20,
        heartbeat_seconds: 1,
        seconds: 1,
        warm_seconds: 1,
        rounds: 2,
        then_chat: true,
    });
    assert_eq!((length(&report, "rounds"), number(&report, "threads")), (2, 3.0));
    run(&Handoff { target, run: options, connections: 20, frames: 5 });
}

/// Each thread has a few connections, and all together are one run.
#[test]
fn a_run_in_parts_is_one_run() {
    let server = Setup::shards(2).start();
    let (run_of, peer) = (Run::default(), Peer::seed());
    let target = Target { connections_per_thread: Some(8), ..target(&server) };
    let (pairs, window, seconds, warm_seconds, no_limit) = (10, 4, 2, 1, true);
    let pingpong = PingPong {
        target: target.clone(),
        run: run_of.clone(),
        peer,
        pairs,
        window,
        seconds,
        warm_seconds,
        no_limit,
    };
    let report = run(&pingpong);
    assert_eq!(number(&report, "pairs"), 10.0);
    assert!(length(&report, "delivered_each_second") >= 1, "{report}");
    assert_eq!(number(&report, "threads"), 3.0);
    let each_second = report["delivered_each_second"].as_array().expect("a list");
    let sum: f64 = each_second.iter().filter_map(Value::as_f64).sum();
    let mean = sum / each_second.len() as f64 / number(&report, "delivered_per_second");
    assert!((0.75..1.25).contains(&mean), "the seconds are those of all parts: {report}");
    let PingPong { peer, .. } = pingpong;
    let report = run(&Open {
        target: target.clone(),
        run: run_of.clone(),
        peer,
        users: 20,
        rate: 500,
        arrivals: Arrivals::Random,
        tick_us: 500,
        seconds,
        warm_seconds,
        no_limit,
    });
    // What was in flight when measuring began or ended is a few.
    assert!((950.0..1050.0).contains(&number(&report, "delivered")), "{report}");
    let (users, messages) = (20, 1_000);
    let offline = Offline {
        target: target.clone(),
        run: run_of.clone(),
        users,
        messages,
        window: 16,
        seconds: 30,
        warm_seconds: 0,
    };
    let report = run(&offline);
    assert!(number(&report["drain"], "fetched_per_second") > 0.0, "{report}");
    let paces = report["store"]["per_second_each_20_ms"].as_array().expect("a list");
    assert_eq!(paces.iter().filter_map(Value::as_f64).sum::<f64>() * 0.02, 1_000.0);
    let ids = Ids {
        target,
        run: run_of,
        connections: 20,
        pipelined: 2,
        seconds: 1,
        warm_seconds: 0,
        no_limit,
        given: Default::default(),
    };
    let report = run(&ids);
    assert!(number(&report, "given") > 0.0, "{report}");
}

#[test]
fn whoever_comes_back_gets_everything_once_and_in_order() {
    let server = Setup::shards(2).start();
    let (target, options) = (target(&server), Run::default());
    let (seconds, warm_seconds) = (30, 0);
    let offline = Offline {
        target,
        run: options,
        users: 20,
        messages: 1_000,
        window: 16,
        seconds,
        warm_seconds,
    };
    let report = run(&offline);
    for phase in ["store", "drain"] {
        assert!(number(&report[phase], "delivered_per_second") > 0.0);
        let paces = report[phase]["per_second_each_20_ms"].as_array().expect("a list");
        let messages = paces.iter().filter_map(Value::as_f64).sum::<f64>() * 0.02;
        assert_eq!(messages, 1_000.0, "{phase}: {report}");
    }
    let uneven = Outcome::of(&Offline { messages: 999, ..offline }).expect("settings are plain");
    assert_eq!(uneven.error.as_deref(), Some("everybody gets as many messages"));
}

#[test]
fn whoever_is_cut_comes_back_and_is_told_what_he_missed() {
    let server = Setup::shards(2).start();
    let storm = Storm {
        seconds: 30,
        warm_seconds: 0,
        target: Target { connections_per_thread: Some(20), ..target(&server) },
        run: Run::default(),
        connections: 50,
        seconds_within: 1,
    };
    let report = run(&storm);
    for name in ["back", "told_of_a_message", "tries"] {
        assert_eq!(number(&report, name), 50.0, "{name} in {report}");
    }
    assert_eq!((number(&report, "threads"), number(&report, "gave_up")), (3.0, 0.0));
    assert_eq!(report["reconnect"]["count"], 50);
    let back = report["back_each_second"].as_array().expect("a list");
    assert_eq!(back.iter().filter_map(Value::as_f64).sum::<f64>(), 50.0);
}

#[test]
fn whoever_is_turned_away_tries_again_after_three_seconds() {
    const CONNECTIONS: usize = 20;
    const TURNED_AWAY: usize = 7;
    let server = Setup::shards(1).start();
    // First come those who will be cut and as many who write to them, then the first tries.
    let tries = 2 * CONNECTIONS..2 * CONNECTIONS + TURNED_AWAY;
    let ws = relay::start(server.ws, move |relayed| {
        let Relayed { number, client, server } = &relayed;
        let (mut from, mut to) = (server, client);
        if !tries.contains(number) {
            // It ends with either side.
            let _ = std::io::copy(&mut from, &mut to);
        }
        for side in [client, server] {
            // One that is gone cannot be shut down.
            let _ = side.shutdown(Shutdown::Both);
        }
    });
    let storm = Storm {
        seconds: 30,
        warm_seconds: 0,
        target: Target { ws: ws.expect("a free port"), ..target(&server) },
        run: Run::default(),
        connections: CONNECTIONS,
        seconds_within: 1,
    };
    let report = run(&storm);
    let all = CONNECTIONS as f64;
    assert_eq!((number(&report, "back"), number(&report, "gave_up")), (all, 0.0));
    assert_eq!(number(&report, "told_of_a_message"), all);
    assert_eq!(number(&report, "tries"), all + TURNED_AWAY as f64, "{report}");
    let failures = report["tries_failed"].as_object().expect("reasons");
    assert_eq!(failures.values().filter_map(Value::as_u64).sum::<u64>(), TURNED_AWAY as u64);
    assert!(number(&report, "all_back_ms") >= 3000.0, "{report}");
}

#[test]
fn ids_are_asked_for_one_by_one_and_pipelined() {
    let server = Setup::shards(2).start();
    for pipelined in [1, 16] {
        let report = run(&Ids {
            target: target(&server),
            run: Run::default(),
            connections: 8,
            pipelined,
            seconds: 1,
            warm_seconds: 0,
            no_limit: pipelined != 16,
            given: Default::default(),
        });
        assert!(number(&report, "ids_per_second") > 0.0);
        // What was asked before measuring began is in no latency.
        let (given, timed) = (number(&report, "given"), number(&report["answer"], "count"));
        assert!((given - 8.0 * pipelined as f64..=given).contains(&timed), "{report}");
        assert_eq!(report["share_of_limit"].as_f64() > Some(0.0), pipelined == 16, "{report}");
    }
}

#[test]
fn the_limit_of_the_machine_is_told_alone_and_beside_a_result() {
    let messages = ["echoes_per_second", "messages_per_second", "echo_cores", "own_cores"];
    let calls = ["calls_per_second", "echo_cores", "own_cores"];
    let folder = Folder::new();
    let on_disk = Some(folder.path().to_owned());
    let kinds = [
        (Frames::Messages, None, None, &messages[..]),
        (Frames::Messages, None, on_disk.clone(), &messages),
        (Frames::Messages, Some(200), None, &messages),
        (Frames::Messages, Some(200), on_disk, &messages),
        (Frames::Calls, None, None, &calls),
    ];
    for (frames, rate, on_disk, names) in kinds {
        let (run_options, pairs, window, seconds, warm_seconds) = (Run::default(), 5, 3, 1, 1);
        let tick_us = if rate.is_some() && on_disk.is_some() { 500 } else { 0 };
        let report = run(&Limit {
            run: run_options,
            frames,
            pairs,
            window,
            rate,
            tick_us,
            on_disk,
            seconds,
            warm_seconds,
        });
        for name in names {
            assert!(number(&report, name) > 0.0, "{name} in {report}");
        }
        let (count, rate) = (number(&report["echo"], "count"), rate.map(|rate| rate as f64));
        let is_held = rate.is_none_or(|rate| count <= 1.2 * rate);
        assert!(is_held, "no more is thrown than is asked for: {report}");
    }
    let files = std::fs::read_dir(folder.path()).expect("it is there").count();
    assert_eq!(files, 0, "nothing is left on the disk");
    let server = Setup::shards(1).start();
    let report = run(&PingPong {
        target: target(&server),
        run: Run::default(),
        peer: Peer::seed(),
        pairs: 5,
        window: 4,
        seconds: 1,
        warm_seconds: 0,
        no_limit: false,
    });
    let limit = number(&report, "limit_per_second");
    let share = number(&report, "delivered_per_second") / limit;
    assert!((number(&report, "share_of_limit") / share - 1.0).abs() < 0.01, "{report}");
}

#[test]
fn the_disk_is_told_alone_at_a_rate_and_as_fast_as_it_goes() {
    let folder = Folder::new();
    let disk = |rate, kib| {
        let folder = folder.path().to_owned();
        Disk { run: Run::default(), folder, kib, rate, seconds: 1 }
    };
    for (rate, most) in [(None, f64::INFINITY), (Some(50), 50.0)] {
        let report = run(&disk(rate, 4));
        let count = number(&report["disk"], "count");
        assert!((1.0..=most).contains(&count), "{report}");
        for of in ["write", "disk"] {
            assert_eq!(number(&report[of], "count"), count, "{report}");
            assert!(number(&report[of], "p50_ms") > 0.0, "no disk takes no time: {report}");
        }
        // A write cannot have taken longer than since it was due.
        assert!(number(&report["disk"], "max_ms") <= number(&report["write"], "max_ms"));
        assert!(number(&report, "writes_per_second") > 0.0, "{report}");
    }
    let outcome = Outcome::of(&disk(Some(1_000_000), 1024)).expect("settings are plain");
    assert!(outcome.flags.iter().any(|it| it.contains("did not hold")), "{:?}", outcome.flags);
    let files = std::fs::read_dir(folder.path()).expect("it is there").count();
    assert_eq!(files, 0, "nothing is left on the disk");
    let nowhere = Disk { folder: folder.path().join("none"), ..disk(None, 4) };
    let failed = Outcome::of(&nowhere).expect("settings are plain").error;
    assert!(failed.is_some_and(|why| why.contains("none")), "it says which folder");
}
