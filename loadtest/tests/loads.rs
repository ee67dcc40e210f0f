//! Each scenario of the load generator, small, against a server that keeps its promises.
#![allow(missing_docs)]

use anser_loadtest::load::accounts::Target;
use anser_loadtest::load::handoff::Handoff;
use anser_loadtest::load::idle::Idle;
use anser_loadtest::load::offline::Offline;
use anser_loadtest::load::open::Open;
use anser_loadtest::load::pingpong::PingPong;
use anser_loadtest::server::{Server, Setup};
use serde_json::Value;

fn target(server: &Server) -> Target {
    let (http, ws, admin) = (server.http, server.ws, Some(server.admin));
    Target { http, ws, server_pid: Some(server.id()), admin }
}

fn number(report: &Value, name: &str) -> f64 {
    report[name].as_f64().unwrap_or_else(|| panic!("{name} in {report}"))
}

#[test]
fn every_scenario_runs_and_reports() {
    let server = Setup::shards(2).start();
    let target = target(&server);
    let pingpong =
        PingPong { target: target.clone(), pairs: 5, window: 4, seconds: 1, warm_seconds: 0 };
    let report = pingpong.run().expect("nothing is lost");
    assert!(number(&report, "delivered_per_second") > 0.0);
    let open = Open { target: target.clone(), users: 10, rate: 500, seconds: 1, warm_seconds: 0 };
    let report = open.run().expect("nothing is lost");
    assert_eq!(number(&report, "delivered"), 500.0);
    let idle = Idle {
        target: target.clone(),
        connections: 20,
        heartbeat_seconds: 1,
        seconds: 1,
        rounds: 2,
        then_chat: true,
    };
    let report = idle.run().expect("nobody is cut");
    assert_eq!(report["rounds"].as_array().map(Vec::len), Some(2));
    let handoff = Handoff { target, connections: 20, frames: 5 };
    handoff.run().expect("nothing is lost");
}

#[test]
fn whoever_comes_back_gets_everything_once_and_in_order() {
    let server = Setup::shards(2).start();
    let offline = Offline { target: target(&server), users: 20, messages: 1_000, window: 16 };
    let report = offline.run().expect("nothing is lost");
    for phase in ["store", "drain"] {
        assert!(number(&report[phase], "delivered_per_second") > 0.0);
    }
    let report = Offline { messages: 999, ..offline }.run();
    assert!(report.is_err(), "everybody gets as many");
}
