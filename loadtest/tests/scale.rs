//! The cost curve, small: rows for growing users, then for growing stored messages.
#![allow(missing_docs)]

use anser_loadtest::load::accounts::Target;
use anser_loadtest::load::scale::Scale;
use anser_loadtest::outcome::{Outcome, Run};
use anser_loadtest::server::Setup;
use serde_json::json;

#[test]
fn every_row_has_its_users_its_messages_and_its_cost() {
    let server = Setup::shards(2).start();
    let (http, ws, admin) = (server.http, server.ws, None);
    let target = Target { server_pid: Some(server.id()), admin, ..Target::at(http, ws) };
    let (users, stored) = (vec![4, 10], vec![0, 7, 33]);
    let (run, pairs, window, seconds, warm_seconds) = (Run::default(), 2, 2, 1, 0);
    let scale = Scale { target, run, users, stored, pairs, window, seconds, warm_seconds };
    let outcome = Outcome::of(&scale).expect("settings are plain");
    assert_eq!(outcome.error, None);
    let line = outcome.line();
    let rows = line["rows"].as_array().expect("rows");
    let sizes: Vec<_> = rows.iter().map(|row| (&row["users"], &row["stored"])).collect();
    let expected =
        [(4, 0), (10, 0), (10, 7), (10, 33)].map(|(users, stored)| (json!(users), json!(stored)));
    assert!(sizes.into_iter().eq(expected.iter().map(|(users, stored)| (users, stored))));
    for row in rows {
        assert!(row["delivered_per_second"].as_f64() > Some(0.0), "{row}");
        assert!(row["cpu_us_a_message"].as_f64() > Some(0.0), "{row}");
    }
    assert_eq!(rows[0]["cpu_us_a_message_ratio"], json!(1.0));
    let worked = rows.iter().map(|row| row["worked_before"].as_u64());
    assert!(worked.is_sorted() && rows[0]["worked_before"] == 0, "{line}");
    assert!(rows[3]["worked_before"].as_u64() > Some(0), "{line}");
}
