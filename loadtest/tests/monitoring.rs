//! What operators load: the dashboard for Grafana, the rules and the configuration for Prometheus.
//! They name figures that a real server has, and Prometheus' own tool takes them as they stand.
#![allow(missing_docs)]

use anser_loadtest::server::{Folder, Server, Setup};
use anser_loadtest::{http, programs};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

const ALERTS: &str = include_str!("../../tools/prometheus/alerts.yml");
const ALERTS_TEST: &str = include_str!("../../tools/prometheus/alerts_test.yml");
const DASHBOARD: &str = include_str!("../../tools/grafana/anser.json");

/// Prometheus has this by itself.
const OWN_FIGURES: [&str; 1] = ["up"];

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tools/prometheus").join(name)
}

fn dashboard() -> Value {
    serde_json::from_str(DASHBOARD).expect("the dashboard is JSON")
}

/// A server that has counted something, and what it shows.
fn shown() -> (Server, String) {
    let server = Setup::shards(2).start();
    let mut client = http::Client::connect(server.http);
    client.post("/im/user/register", r#"{"company":"a","app":"b","thirdUserId":"c"}"#);
    let refused = client.post("/im/user/find", r#"{"company":"a","app":"b","thirdUserId":"d"}"#);
    assert_eq!(refused.status, 500);
    let figures = http::get(server.admin, "/metrics").body;
    (server, figures)
}

/// The panels' expressions, with what Grafana fills in.
fn expressions() -> Vec<String> {
    let dashboard = dashboard();
    let panels = dashboard["panels"].as_array().expect("a list").iter();
    let targets = panels.filter_map(|panel| panel["targets"].as_array()).flatten();
    let filled = |text: &str| text.replace("$instance", ".*").replace("$__rate_interval", "1m");
    targets.map(|target| filled(target["expr"].as_str().expect("text"))).collect()
}

/// Each figure of ours in a text, with the labels that it must have: `name`, `key="value"`.
fn selectors(text: &str) -> BTreeSet<(&str, Vec<&str>)> {
    let is_word = |letter: char| letter.is_ascii_lowercase() || letter == '_';
    let mut found = BTreeSet::new();
    for (start, _) in text.match_indices("anser_") {
        if text[..start].ends_with(is_word) {
            continue;
        }
        let rest = &text[start..];
        let (name, after) = rest.split_at(rest.find(|c| !is_word(c)).unwrap_or(rest.len()));
        let inside = after.strip_prefix('{').and_then(|after| after.split('}').next());
        let matchers = inside.unwrap_or("").split(',').map(str::trim);
        let exact = matchers.filter(|one| one.contains("=\"") && !one.contains("!="));
        found.insert((name, exact.collect()));
    }
    found
}

#[test]
fn rules_and_dashboard_name_figures_that_a_server_has() {
    let (_server, figures) = shown();
    let names = figures.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    let mut families = BTreeSet::new();
    for (name, kind) in names.filter_map(|line| line.split_once(' ')) {
        match kind {
            "histogram" => {
                families.extend(["bucket", "sum", "count"].map(|end| format!("{name}_{end}")))
            }
            _ => drop(families.insert(name.to_owned())),
        }
    }
    let texts = expressions();
    let texts = texts.iter().map(String::as_str).chain([ALERTS, "anser_info"]);
    let wanted: BTreeSet<_> = texts.flat_map(selectors).collect();
    assert!(wanted.len() > 40, "{wanted:?}");
    for (name, labels) in wanted {
        assert!(families.contains(name), "{name} is in no server's figures");
        let has_all = |line: &str| {
            line.starts_with(&format!("{name}{{"))
                && labels.iter().all(|label| line.contains(label))
        };
        let is_there = labels.is_empty() || figures.lines().any(has_all);
        assert!(is_there, "{name} never has {labels:?}");
    }
    assert!(ALERTS.contains("expr: up{") && OWN_FIGURES.contains(&"up"));
}

#[test]
fn the_dashboard_needs_no_edits() {
    let dashboard = dashboard();
    assert!(dashboard["schemaVersion"].as_u64().is_some_and(|version| version >= 30));
    let variables = dashboard["templating"]["list"].as_array().expect("a list");
    assert_eq!(variables[0]["type"], "datasource");
    assert_eq!(variables[0]["query"], "prometheus");
    let source = format!("${{{}}}", variables[0]["name"].as_str().expect("a name"));
    let panels = dashboard["panels"].as_array().expect("a list");
    let (mut ids, mut cells) = (BTreeSet::new(), BTreeSet::new());
    for panel in panels {
        let number = |key: &str| panel["gridPos"][key].as_u64().expect("a number");
        assert!(ids.insert(panel["id"].as_u64()), "an id comes twice: {}", panel["title"]);
        for (x, y) in (0..number("w")).flat_map(|x| (0..number("h")).map(move |y| (x, y))) {
            let cell = (number("x") + x, number("y") + y);
            assert!(cell.0 < 24 && cells.insert(cell), "{} lies over another", panel["title"]);
        }
        if panel["type"] == "row" {
            continue;
        }
        assert_eq!(panel["datasource"]["uid"], source.as_str(), "{}", panel["title"]);
        for target in panel["targets"].as_array().expect("a list") {
            assert_eq!(target["datasource"]["uid"], source.as_str(), "{}", panel["title"]);
        }
    }
}

#[test]
fn every_alert_has_a_test_in_which_it_is_raised() {
    let alerts: Vec<_> =
        ALERTS.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    assert!(alerts.len() > 10, "{alerts:?}");
    for alert in alerts {
        let raised = format!("alertname: {alert}\n        exp_alerts:\n");
        assert!(ALERTS_TEST.contains(&raised), "{alert} is raised in no test");
    }
}

#[test]
fn promtool_takes_rules_configuration_expressions_and_figures() {
    let promtool = match programs::find("promtool", "prometheus") {
        Ok(promtool) => promtool,
        Err(reason) => return programs::say_skipped("rules, by promtool", &reason),
    };
    let folder = Folder::new();
    let recorded: Vec<_> = expressions()
        .into_iter()
        .enumerate()
        .map(|(at, expr)| json!({"record": format!("panel:{at}"), "expr": expr}))
        .collect();
    let panels = folder.path().join("panels.json");
    let rules = json!({"groups": [{"name": "panels", "rules": recorded}]});
    fs::write(&panels, rules.to_string()).expect("a new folder is writable");
    let (_server, figures) = shown();
    let figures_file = folder.path().join("figures");
    fs::write(&figures_file, figures).expect("a new folder is writable");
    for (command, path) in [
        (&["check", "rules"][..], file("alerts.yml")),
        (&["check", "config"], file("prometheus.yml")),
        (&["test", "rules"], file("alerts_test.yml")),
        (&["check", "rules"], panels),
        (&["check", "metrics"], figures_file),
    ] {
        let mut run = Command::new(&promtool);
        run.args(command);
        match command {
            [.., "metrics"] => run.stdin(File::open(&path).expect("just written")),
            _ => run.arg(&path),
        };
        let output = run.output().expect("it is there");
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        assert!(output.status.success(), "promtool {command:?} {}: {said}", path.display());
    }
}
