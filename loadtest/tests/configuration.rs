//! Settings and where they come from, refusals in words, and what operators can look at.
#![allow(missing_docs)]

use anser_loadtest::http;
use anser_loadtest::json::{Integers, Keys};
use anser_loadtest::server::{Folder, Setup, eventually, run};
use anser_loadtest::websocket::upgrade_request;
use anser_loadtest::world::World;
use serde_json::json;
use std::fs;

fn file(folder: &Folder, text: &str) -> String {
    let path = folder.path().join("anser.toml");
    fs::write(&path, text).expect("a new folder is writable");
    path.to_string_lossy().into_owned()
}

/// Invariant 1 of node::launch.
#[test]
fn nonsense_is_refused_with_the_setting_the_value_and_what_is_allowed() {
    let cases: [(&[&str], &[&str]); 15] = [
        (&["--shards", "0"], &["shards", "0", "1"]),
        (&["--shards", "257"], &["shards", "257", "256"]),
        (&["--shards", "many"], &["shards", "many"]),
        (&["--durability", "maybe"], &["durability", "maybe", "sync", "async"]),
        (&["--auth", "token"], &["auth", "token", "open"]),
        (&["--auth", "magic"], &["auth", "magic", "open"]),
        (&["--errors", "loud"], &["errors", "loud", "seed", "rest"]),
        (&["--origins", "chat.example"], &["origins", "chat.example", "any", "none"]),
        (&["--origins", "https://a.example,*"], &["origins", "https://a.example,*"]),
        (&["--utc-offset", "25:00"], &["utc-offset", "25:00"]),
        (&["--utc-offset", "east"], &["utc-offset", "east"]),
        (&["--http", "somewhere"], &["http", "somewhere"]),
        (&["--ws", "127.0.0.1:70000"], &["ws", "70000"]),
        (&["--nonsense"], &["--nonsense"]),
        (&["--config", "/nowhere/anser.toml"], &["/nowhere/anser.toml"]),
    ];
    let folder = Folder::new();
    let data = folder.path().join("data").to_string_lossy().into_owned();
    for (arguments, named) in cases {
        let refused = run(&[&["serve", "--data-dir", &data], arguments].concat(), &[]);
        assert_eq!(refused.code, Some(2), "{arguments:?}: {}", refused.said);
        for word in named {
            assert!(refused.said.contains(word), "{arguments:?} names {word}: {}", refused.said);
        }
    }
    assert!(!folder.path().join("data").exists(), "nothing half done stays behind");
}

#[test]
fn nonsense_from_the_environment_and_the_file_is_refused_by_its_source() {
    let folder = Folder::new();
    let data = folder.path().join("data").to_string_lossy().into_owned();
    let serve = ["serve", "--data-dir", &data];
    let refused = run(&serve, &[("ANSER_SHARDS", "0")]);
    assert_eq!(refused.code, Some(2), "{}", refused.said);
    assert!(refused.said.contains("ANSER_SHARDS"), "{}", refused.said);
    for (text, named) in
        [("shards = 0", "shards"), ("shard = 2", "shard"), ("shards = ", "anser.toml")]
    {
        let config = file(&folder, text);
        let refused = run(&[&serve[..], &["--config", &config]].concat(), &[]);
        assert_eq!(refused.code, Some(2), "{text}: {}", refused.said);
        assert!(refused.said.contains(named), "{text}: {}", refused.said);
        assert!(refused.said.contains("anser.toml"), "{text}: {}", refused.said);
    }
}

#[test]
fn open_authentication_stays_on_loopback() {
    let folder = Folder::new();
    let data = folder.path().join("data").to_string_lossy().into_owned();
    for setting in ["--http", "--ws", "--admin"] {
        let refused = run(&["serve", "--data-dir", &data, setting, "0.0.0.0:0"], &[]);
        assert_eq!(refused.code, Some(2), "{setting}: {}", refused.said);
        assert!(refused.said.contains("--i-know-this-is-open"), "{setting}: {}", refused.said);
    }
}

#[test]
fn flags_win_over_environment_over_file_over_defaults() {
    let folder = Folder::new();
    let config =
        file(&folder, "durability = \"async\"\nerrors = \"rest\"\nutc_offset = \"+08:00\"\n");
    let setup = || Setup::shards(1).with("--config", &config);
    let by_file = setup().start();
    assert_eq!(by_file.ready_field("durability"), "async");
    let by_environment = setup().environment("ANSER_DURABILITY", "sync").start();
    assert_eq!(by_environment.ready_field("durability"), "sync");
    let by_flag =
        setup().environment("ANSER_DURABILITY", "sync").with("--durability", "async").start();
    assert_eq!(by_flag.ready_field("durability"), "async");
    let by_default = Setup::shards(1).start();
    assert_eq!(by_default.ready_field("durability"), "sync");
    assert_eq!(by_default.ready_field("shards"), "1");
    assert_eq!(by_default.ready_field("data"), by_default.data().to_string_lossy());
}

#[test]
fn errors_in_the_rest_style_have_their_own_codes() {
    let server = Setup::shards(2).with("--errors", "rest").start();
    let world = World::on(&server, "rest");
    for (path, body, status) in [
        ("/im/user/register", json!({}), 400),
        ("/im/user/find", world.identity("nobody"), 404),
        ("/im/user/chat/list", json!({"userId": "x"}), 400),
        ("/im/user/chat/list", json!({"userId": 15_000_000}), 404),
        ("/im/user/chat/clear/unread", json!({"id": 15_000_000}), 404),
        ("/im/message/get/id", json!({"count": 0}), 400),
        ("/im/nowhere", json!({}), 404),
    ] {
        let answer = world.post(path, body);
        assert_eq!(answer.status, status, "{path}: {answer:?}");
        assert_eq!(Keys::of(&answer.body).0, ["msg", "code"]);
        assert_eq!(answer.json().int("code"), i64::from(status), "{path}: {answer:?}");
    }
}

#[test]
fn dates_are_written_in_the_configured_offset() {
    let hours = |offset: &str| -> i64 {
        let server = Setup::shards(1).with("--utc-offset", offset).start();
        let world = World::on(&server, "dates");
        let [anna, bo] = world.people();
        world.connect(anna).send(bo, "x");
        let entry = world.chats(bo).remove(0);
        let part = |from: usize, to: usize| -> i64 {
            entry.text("createTime")[from..to].parse().expect("digits")
        };
        let sent_ms = world.page(bo)[0].int("serverSendTime");
        let minutes = part(11, 13) * 60 + part(14, 16) - sent_ms / 60_000 % 1440;
        (minutes.rem_euclid(1440) + 1) / 60
    };
    assert_eq!((hours("+08:00"), hours("+00:00"), hours("-03:00")), (8, 0, 21));
}

#[test]
fn help_names_every_setting() {
    let help = run(&["serve", "--help"], &[]);
    assert_eq!(help.code, Some(0), "{}", help.said);
    for setting in [
        "--config",
        "--data-dir",
        "--http",
        "--ws",
        "--admin",
        "--shards",
        "--durability",
        "--auth",
        "--errors",
        "--utc-offset",
        "--i-know-this-is-open",
        "--origins",
    ] {
        assert!(help.said.contains(setting), "{setting} in {}", help.said);
    }
    assert_eq!(run(&["--help"], &[]).code, Some(0));
}

#[test]
fn pages_of_other_origins_are_refused_where_origins_are_listed() {
    let listed = "https://chat.example, http://localhost:3000";
    let server = Setup::shards(1).with("--origins", listed).start();
    let world = World::on(&server, "origins");
    // Programs name no origin.
    let user = world.person();
    world.connect(user).catch_up();
    let body = json!({"userId": user}).to_string();
    let call = http::post("/im/user/chat/unread/count", &body);
    let preflight = "OPTIONS /im/user/register HTTP/1.1\r\nHost: localhost\r\n\r\n";
    for (origin, is_listed) in [
        ("https://chat.example", true),
        ("HTTP://LOCALHOST:3000", true),
        ("http://localhost:3001", false),
        ("http://chat.example", false),
        ("https://chat.example.evil.example", false),
        ("null", false),
        ("", false),
    ] {
        let line = format!("Origin: {origin}\r\nHost:");
        let from_page = |request: &str| request.replacen("Host:", &line, 1);
        let mut client = http::Client::connect(world.http);
        let asked = [(call.as_str(), 200), (preflight, 204), (&upgrade_request("/ws"), 101)];
        for (request, status) in asked {
            client.send(from_page(request));
            let expected = if is_listed { status } else { 403 };
            assert_eq!(client.answer().status, expected, "{origin} asks {request}");
        }
        let mut upgrade = http::Client::connect(world.ws);
        upgrade.send(from_page(&upgrade_request("/ws")));
        assert_eq!(upgrade.answer().status, if is_listed { 101 } else { 403 }, "{origin}");
    }
}

/// Invariants 1, 2 and 3 of node::doctor.
#[test]
fn the_doctor_speaks_of_everything_a_server_needs() {
    let folder = Folder::new();
    let data = folder.path().join("data").to_string_lossy().into_owned();
    let doctor = run(&["doctor", "--data-dir", &data], &[]);
    assert_eq!(doctor.code, Some(0), "{}", doctor.said);
    for word in ["io_uring", "memlock", "nofile", "somaxconn", "fdatasync"] {
        assert!(doctor.said.to_lowercase().contains(word), "{word} in {}", doctor.said);
    }
    let left = fs::read_dir(&data).into_iter().flatten().count();
    assert_eq!(left, 0, "nothing stays behind in {data}");
}

#[test]
fn operators_see_health_and_figures() {
    let server = Setup::shards(2).start();
    let world = World::on(&server, "figures");
    for path in ["/healthz", "/readyz", "/metrics", "/"] {
        assert_eq!(http::get(server.admin, path).status, 200, "{path}");
    }
    assert_eq!(http::get(server.admin, "/nowhere").status, 404);
    let [anna, bo] = world.people();
    let mut client = world.connect(anna);
    client.send_many(bo, 5);
    client.say_refused(json!({"msgType": "Smell"}));
    client.say_refused(json!({"msgType": "Text", "toUserId": 15_000_000}));
    world.refused("/im/user/register", json!({}), "company");
    let sums = || {
        let text = http::get(server.admin, "/metrics").body;
        let sum = |family: &str| -> f64 {
            let lines = text.lines().filter(|line| line.starts_with(family));
            lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
        };
        let families = [
            "anser_users_registered_total",
            "anser_messages_sent_total",
            "anser_messages_delivered_total",
            "anser_refusals_total",
            "anser_connections{",
        ];
        (families.map(sum), text.clone())
    };
    // Two users, five messages, two refused frames and a refused call, one connection.
    let figures = eventually("the figures show what happened", || {
        let (seen, text) = sums();
        (seen == [2.0, 5.0, 5.0, 3.0, 1.0]).then_some(text)
    });
    for reason in ["unknown_value", "unknown_user", "missing"] {
        assert!(figures.contains(&format!("reason=\"{reason}\"")), "{reason} in {figures}");
    }
    assert!(figures.contains("# TYPE anser_"), "{figures:.500}");
    assert!(!figures.contains("of many"), "no contents in figures");
    assert!(!server.log().contains("of many"), "no contents in logs");
}

/// Holds invariant 4 of `data_folder`.
#[test]
fn a_shards_folder_that_is_missing_is_refused_and_not_made_anew() {
    let stopped = Setup::shards(2).start().stop();
    let data = stopped.data();
    let (lost, aside) = (data.join("shard-1"), data.with_file_name("aside"));
    std::fs::rename(&lost, &aside).expect("it was made");
    let folder = data.to_string_lossy().into_owned();
    let ports = ["--http", "127.0.0.1:0", "--ws", "127.0.0.1:0", "--admin", "127.0.0.1:0"];
    let refused = run(&[&["serve", "--data-dir", &folder], &ports[..]].concat(), &[]);
    assert_eq!(refused.code, Some(1), "{}", refused.said);
    assert!(refused.said.contains("shard-1 is missing or empty"), "{}", refused.said);
    assert!(!lost.exists());
    std::fs::rename(&aside, &lost).expect("temporary");
    stopped.start();
}

#[test]
fn a_start_whose_ports_are_taken_leaves_nothing_in_the_data_folder() {
    let server = Setup::shards(1).start();
    let folder = Folder::new();
    let data = folder.path().join("data");
    let given = data.to_string_lossy().into_owned();
    for taken in [("--http", server.http), ("--ws", server.ws), ("--admin", server.admin)] {
        let mut arguments = vec!["serve".to_owned(), "--data-dir".to_owned(), given.clone()];
        for port in ["--http", "--ws", "--admin"] {
            let free = "127.0.0.1:0".to_owned();
            let address = if port == taken.0 { taken.1.to_string() } else { free };
            arguments.extend([port.to_owned(), address]);
        }
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let refused = run(&arguments, &[]);
        assert_eq!(refused.code, Some(1), "{taken:?}: {}", refused.said);
        assert!(refused.said.contains(&taken.1.to_string()), "{taken:?}: {}", refused.said);
        let left = fs::read_dir(&data).map_or(0, Iterator::count);
        assert_eq!(left, 0, "{taken:?}: it can be made with any number of shards");
    }
}
