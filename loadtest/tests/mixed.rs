//! A day of a few people in a few seconds.
#![allow(missing_docs)]

use anser_loadtest::load::accounts::Target;
use anser_loadtest::load::mixed::Mixed;
use anser_loadtest::load::mixed::day::{BUILT_IN_NAME, Day};
use anser_loadtest::outcome::{Outcome, Run};
use anser_loadtest::server::Setup;

#[test]
fn a_day_of_coming_and_going_agrees_with_what_was_sent() {
    a_day(None);
}

#[test]
fn so_does_a_day_in_parts() {
    a_day(Some(20));
}

fn a_day(connections_per_thread: Option<usize>) {
    let server = Setup::shards(2).start();
    let (http, ws, admin) = (server.http, server.ws, Some(server.admin));
    let server_pid = Some(server.id());
    let target = Target { server_pid, admin, connections_per_thread, ..Target::at(http, ws) };
    let mut day = Day::read(BUILT_IN_NAME).expect("it is ours");
    (day.users, day.seconds) = (40, 4);
    (day.sessions.seconds_min, day.sessions.seconds_mean) = (0.1, 0.5);
    day.actions.pause_ms_mean = 5;
    let (run, seconds, http_connections) = (Run::default(), Some(3), 8);
    let mixed = Mixed { target, run, day, seconds, warm_seconds: 1, http_connections };
    let outcome = Outcome::of(&mixed).expect("settings are plain");
    assert_eq!(outcome.error, None);
    let line = outcome.line();
    for name in ["ack", "delivery", "connect", "offline", "page", "chats", "unread", "clear"] {
        assert!(line[name]["count"].as_u64() > Some(0), "{name} in {line}");
    }
    let count = |name: &str| line[name].as_u64().unwrap_or_else(|| panic!("{name} in {line}"));
    for name in ["sessions", "sent_per_second", "pushed", "found"] {
        assert!(line[name].as_f64() > Some(0.0), "{name} in {line}");
    }
    assert_eq!((&outcome.settings["seconds"], count("warm_seconds")), (&3.into(), 1));
    assert!(count("sent") < count("messages"), "what was before is not measured");
    assert_eq!(count("pushed") + count("found"), count("messages"));
}
