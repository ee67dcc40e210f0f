//! What a run leaves behind: the line, the document, the page and the exit code.
#![allow(missing_docs)]

use anser_loadtest::document::Document;
use anser_loadtest::http;
use anser_loadtest::load::process;
use anser_loadtest::server::{Folder, Server, Setup, eventually};
use rustix::process::{Pid, Signal};
use serde_json::Value;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output, Stdio};

/// Runs the load generator itself.
fn anser_loadtest(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_anser-loadtest"));
    command.args(arguments).output().expect("it was just built")
}

/// Runs a scenario against a server, with a document and a page in a folder.
fn measure(server: &Server, folder: &Path, scenario: &[&str]) -> (Output, Document, String) {
    let path = |name: &str| folder.join(name).to_string_lossy().into_owned();
    let (json, page) = (path("run.json"), path("run.html"));
    let addresses = [server.http, server.ws, server.admin].map(|address| address.to_string());
    let [http, ws, admin] = &addresses;
    let id = server.id().to_string();
    let target = ["--http", http, "--ws", ws, "--admin", admin, "--server-pid", &id];
    let files = ["--json", &json, "--report", &page];
    let output = anser_loadtest(&[scenario, &target, &files].concat());
    let document = Document::read(Path::new(&json)).expect("it was written");
    (output, document, std::fs::read_to_string(page).expect("it was written"))
}

fn line(output: &Output) -> Value {
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(text.lines().count(), 1, "one line: {text}");
    serde_json::from_str(&text).expect("the line is JSON")
}

#[test]
fn the_document_and_the_page_hold_what_the_line_said() {
    let (server, folder) = (Setup::shards(1).start(), Folder::new());
    let open = ["open", "--users", "4", "--rate", "300", "--seconds", "2", "--warm-seconds", "0"];
    let named = [&open[..], &["--seed", "7", "--label", "small"]].concat();
    let (output, document, page) = measure(&server, folder.path(), &named);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    assert!(said.lines().all(|line| line.starts_with("warning: ")), "nobody watches: {said}");
    let line = line(&output);
    assert_eq!(document.outcome.line(), line);
    assert_eq!((&line["seed"], &line["label"]), (&7.into(), &"small".into()));
    assert_eq!(line["delivered"], 600);
    assert_eq!(line["delivery"]["count"], 600);
    let facts = document.outcome.server.as_ref().expect("its admin port was given");
    assert!(facts.version.is_some() && facts.command.iter().any(|word| word == "--shards"));
    // That of a development build is empty.
    let figures = http::get(server.admin, "/metrics").body;
    assert!(figures.contains("anser_info{version=\"") && figures.contains(",revision=\""));
    assert!(document.command.iter().any(|word| word == "--label"), "{:?}", document.command);
    for latencies in ["ack", "delivery"] {
        let median = document.outcome.latencies[latencies].summary()["p50_ms"].clone();
        assert_eq!(median, line[latencies]["p50_ms"]);
    }
    for shown in ["open, small", "Latency by percentile", "Throughput", &document.machine.cpu] {
        assert!(page.contains(shown), "{shown} in {page}");
    }
}

#[test]
fn a_run_that_fails_says_why_everywhere_and_exits_with_1() {
    let (server, folder) = (Setup::shards(1).start(), Folder::new());
    let uneven = ["offline", "--users", "2", "--messages", "3"];
    let (output, document, page) = measure(&server, folder.path(), &uneven);
    assert_eq!(output.status.code(), Some(1));
    let why = "everybody gets as many messages";
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains(why), "{said}");
    assert_eq!(line(&output)["error"], why);
    assert_eq!(document.outcome.error.as_deref(), Some(why));
    assert!(page.contains("The run failed.") && page.contains(why), "{page}");
}

#[test]
fn what_is_not_there_is_said_in_plain_words() {
    let server = Setup::shards(1).start();
    let [http, ws] = [server.http, server.ws].map(|address| address.to_string());
    let target = ["--http", &http, "--ws", &ws];
    // A port that was free a moment ago.
    let nobody = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    let nobody = nobody.expect("a free port").to_string();
    // No process has such an id on any Linux.
    let no_process = (1 << 30).to_string();
    let broker = ["--protocol", "mqtt", "--peer", &nobody];
    let cases: [(&[&str], &str, &str); 8] = [
        (&["open", "--http", &nobody, "--ws", &ws], &nobody, "cargo run --release"),
        (&["idle", "--http", &http, "--ws", &nobody], &nobody, "cargo run --release"),
        (&["ids", "--http", &nobody, "--ws", &nobody], &nobody, "cargo run --release"),
        (&["storm", "--http", &nobody, "--ws", &nobody], &nobody, "cargo run --release"),
        (&[&["open"], &broker[..]].concat(), &nobody, "--peer"),
        (&[&["open"], &target[..], &["--admin", &nobody]].concat(), &nobody, "--admin"),
        (&[&["open"], &target[..], &["--admin", &http]].concat(), &http, "admin port"),
        (&[&["open"], &target[..], &["--server-pid", &no_process]].concat(), &no_process, "pgrep"),
    ];
    for (arguments, address, todo) in cases {
        let output = anser_loadtest(arguments);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains(address) && said.contains(todo), "{arguments:?}: {said}");
        assert!(!said.contains("panicked"), "{said}");
        assert!(output.stdout.is_empty(), "nothing was measured");
    }
}

#[test]
fn a_run_that_would_measure_nothing_is_refused_by_the_command_line() {
    for nothing in [
        "open --seconds 0",
        "open --rate 0",
        "open --users 3",
        "pingpong --pairs 0",
        "pingpong --window 0",
        "limit --seconds 0",
        "idle --connections 0",
        "idle --rounds 0",
        "storm --connections 0",
        "ids --pipelined 0",
        "offline --messages 0",
        "handoff --frames 0",
        "mixed --http-connections 0",
        "scale --users 100,1",
        "crash --pairs 0",
        "restart --restarts 0",
        "suite --out /nowhere --times 0",
    ] {
        let output = anser_loadtest(&nothing.split(' ').collect::<Vec<_>>());
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{nothing}: {said}");
        let flag = nothing.split(' ').rev().nth(1).expect("a flag and its value");
        assert!(said.contains(flag), "{nothing}: {said}");
    }
}

#[test]
fn a_file_that_cannot_be_written_is_told_before_the_run() {
    let (server, folder) = (Setup::shards(1).start(), Folder::new());
    let [http, ws] = [server.http, server.ws].map(|address| address.to_string());
    let path = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
    let (good, bad) = (path("run.json"), path("no/such/folder/page.html"));
    let arguments = ["open", "--http", &http, "--ws", &ws, "--json", &good, "--report", &bad];
    let output = anser_loadtest(&arguments);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains(&bad) && output.stdout.is_empty(), "{said}");
    assert!(!Path::new(&good).exists(), "nothing is left of the try");
}

#[test]
fn whoever_reads_no_more_is_no_failure() {
    let limit = ["limit", "--pairs", "1", "--window", "1", "--seconds", "1"];
    let mut command = Command::new(env!("CARGO_BIN_EXE_anser-loadtest"));
    let mut child = command.args(limit).stdout(Stdio::piped()).spawn().expect("just built");
    drop(child.stdout.take());
    let status = child.wait().expect("our own child");
    assert!(status.success(), "{status}");
}

/// What a run says and leaves that is interrupted as soon as it is well under way.
fn interrupted(arguments: &[&str], folder: &Path, is_under_way: impl Fn(u32) -> bool) -> Value {
    let path = folder.join(format!("{}.json", arguments[0]));
    let mut command = Command::new(env!("CARGO_BIN_EXE_anser-loadtest"));
    command.args(arguments).arg("--json").arg(&path);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let child = child.expect("it was just built");
    eventually("it is under way", || is_under_way(child.id()).then_some(()));
    let id = Pid::from_child(&child);
    rustix::process::kill_process(id, Signal::INT).expect("our own child");
    let output = child.wait_with_output().expect("our own child");
    assert_eq!(output.status.code(), Some(130), "{output:?}");
    let line = line(&output);
    assert!(line["flags"].to_string().contains("interrupted"), "{line}");
    assert_eq!(Document::read(&path).expect("it was written").outcome.line(), line);
    line
}

#[test]
fn a_run_that_is_interrupted_tells_what_it_has_measured() {
    let (server, folder) = (Setup::shards(1).start(), Folder::new());
    let [http, ws] = [server.http, server.ws].map(|address| address.to_string());
    let at = ["--http", &http, "--ws", &ws, "--seconds", "600"];

    let open = ["open", "--users", "4", "--rate", "300", "--warm-seconds", "0"];
    let sends = |_| server.figure("anser_messages_sent_total") >= 100.0;
    let line = interrupted(&[&open[..], &at].concat(), folder.path(), sends);
    assert!(line["delivered"].as_u64() > Some(0), "{line}");

    let server = Setup::shards(1).start();
    let [http, ws] = [server.http, server.ws].map(|address| address.to_string());
    let at = ["--http", &http, "--ws", &ws, "--seconds", "600"];
    let idle = ["idle", "--connections", "4", "--heartbeat-seconds", "1"];
    // An Auth each, and then heartbeats.
    let idles = |_| server.figure("anser_frames_total") >= 8.0;
    let line = interrupted(&[&idle[..], &at].concat(), folder.path(), idles);
    let round = &line["rounds"][0];
    assert!(round["connects_per_second"].as_f64() > Some(0.0), "{line}");
    assert!(round["seconds"].as_f64().is_some_and(|it| it > 0.0 && it < 600.0), "{line}");

    let limit = ["limit", "--pairs", "2", "--seconds", "600"];
    let throws = |pid| process::cpu_ms(pid) > Some(1_000);
    let line = interrupted(&limit, folder.path(), throws);
    assert!(line["messages_per_second"].as_f64() > Some(0.0), "{line}");
    assert!(line["echo"]["count"].as_u64() > Some(0), "{line}");
}

#[test]
fn two_documents_are_compared_in_words_and_on_a_page() {
    let (server, folder) = (Setup::shards(1).start(), Folder::new());
    let open = ["open", "--users", "4", "--rate", "300", "--seconds", "1", "--warm-seconds", "0"];
    let mut files = Vec::new();
    for label in ["old", "new"] {
        let (output, _, _) =
            measure(&server, folder.path(), &[&open[..], &["--label", label]].concat());
        assert!(output.status.success(), "{output:?}");
        files.push(folder.path().join(format!("{label}.json")));
        std::fs::rename(folder.path().join("run.json"), files.last().expect("pushed"))
            .expect("ours");
    }
    let page = folder.path().join("compared.html");
    let words = files.iter().chain([&page]).map(|path| path.to_string_lossy().into_owned());
    let words: Vec<String> = words.collect();
    let output = anser_loadtest(&["compare", &words[0], &words[1], "--report", &words[2]]);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{output:?}");
    assert!(said.starts_with("A: old (1 run of open"), "{said}");
    let delivered = said.lines().find(|line| line.starts_with("delivered "));
    let delivered = delivered.unwrap_or_else(|| panic!("delivered in {said}"));
    let cells: Vec<&str> = delivered.split_whitespace().collect();
    assert_eq!(cells, ["delivered", "300", "300", "1"]);
    let page = std::fs::read_to_string(page).expect("it was written");
    assert!(page.contains("old against new"), "{page}");
}

#[test]
fn a_quick_suite_fills_its_whole_table() {
    let folder = Folder::new();
    let out = folder.path().join("suite").to_string_lossy().into_owned();
    let output = anser_loadtest(&["suite", "--quick", "--times", "1", "--out", &out]);
    let table = String::from_utf8_lossy(&output.stdout).into_owned();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    assert_eq!(std::fs::read_to_string(Path::new(&out).join("table.md")).ok(), Some(table.clone()));
    for shown in ["16 in flight a pair, `sync`", "heartbeat each 15 s", "the first Ack, ms"] {
        assert!(table.contains(shown), "{shown} in {table}");
    }
    assert!(!table.contains('–') && !table.contains("failed"), "{table}");
    // Whatever is a rate of messages or calls stands beside that of a bare echo.
    let cells = |row: &str| row.split('|').map(str::trim).map(str::to_owned).collect::<Vec<_>>();
    let rows: Vec<Vec<String>> =
        table.lines().map(cells).filter(|cells| cells.len() == 5).collect();
    let share = |what: &str| rows.iter().find(|cells| cells[1].contains(what)).map(|it| &it[3][..]);
    for what in ["delivered/s, 1 in", "200 messages/s whatever", "message ids a second"] {
        assert!(
            share(what).is_some_and(|it| it.parse::<f64>().is_ok_and(|it| it > 0.0)),
            "{what} in {table}"
        );
    }
    assert!(
        share("40 registered users").is_some_and(|it| it.matches(" / ").count() == 2),
        "{table}"
    );
    assert_eq!((share("idle connections, bytes"), share("store / drain")), (Some(""), Some("")));
    let echoes = rows.iter().filter(|it| it[1].starts_with("a bare echo") && it[3].is_empty());
    let are_lateness = |it: &Vec<String>| it[2].matches(" / ").count() == 3;
    assert_eq!(echoes.filter(|it| are_lateness(it)).count(), 2, "{table}");
    let disk = rows.iter().find(|it| it[1].starts_with("the disk alone"));
    assert!(disk.is_some_and(are_lateness), "{table}");
    let alone = ["limit-open-on-disk", "disk-open", "restart-10m", "scale", "limit-1"];
    for row in ["pingpong-1-sync", "open-indexer-apart"].into_iter().chain(alone) {
        let document = Document::read(&Path::new(&out).join(format!("{row}-1.json")));
        assert_eq!(document.expect("it was written").outcome.label.as_deref(), Some(row));
    }
}
