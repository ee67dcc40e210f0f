//! Every rule can fail, and nothing else does.

use super::*;

fn words_of(file: &str, text: &str) -> Vec<String> {
    let source = Source::new(file, format!("//! Head.\n{text}\n"));
    check(&source).into_iter().map(|one| one.to_string()).collect()
}

/// The only rule that `text` breaks, told with its file and line.
fn breaks(file: &str, text: &str, line: usize, expected: &str) {
    let words = words_of(file, text);
    assert_eq!(words.len(), 1, "{text}: {words:?}");
    assert!(words[0].starts_with(&format!("{file}:{line}: ")), "{}", words[0]);
    assert!(words[0].contains(expected), "{}", words[0]);
}

fn keeps(file: &str, text: &str) {
    let words = words_of(file, text);
    assert!(words.is_empty(), "{text}: {words:?}");
}

#[test]
fn the_house_keeps_its_rules() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tools stands in the house");
    let broken = check_all(&read_all(root).expect("readable"));
    let words: Vec<String> = broken.iter().map(Broken::to_string).collect();
    assert!(words.is_empty(), "{}", words.join("\n"));
}

/// Invariant 2 of node.
#[test]
fn imports_only_go_down_the_table() {
    breaks("src/chat/send.rs", "use crate::wire::Frame;", 2, "`chat` must not import `wire`");
    breaks("src/wire/json.rs", "\nfn f() { crate::chat::x() }", 3, "must not import `chat`");
    breaks("src/store/mod.rs", "use crate::{\n  ids::A,\n  node::B,\n};", 4, "import `node`");
    breaks("src/limits.rs", "use crate::ids::UserId;", 2, "only nothing");
    breaks("src/node/x.rs", "use crate::sim::World;", 2, "must not import `sim`");
    breaks("src/admin/x.rs", "use super::super::api::Y;", 2, "must not import `api`");
    breaks("src/main.rs", "use anser::{config, wire};", 2, "`main` must not import `wire`");
    breaks("src/extra.rs", "", 1, "not in the table");
    keeps("src/chat/send.rs", "use crate::{ids::{A, node}, store::Batch, chat::x};");
    keeps("src/admin/x.rs", "use super::api::Y;");
    keeps("src/main.rs", "use anser::{config, node};");
    keeps("src/lib.rs", "pub use crate::wire::Session;");
}

#[test]
fn only_node_sees_the_operating_system() {
    for (file, text) in [
        ("src/chat/x.rs", "use std::time::Instant;"),
        ("src/chat/x.rs", "fn f() { std::thread::yield_now() }"),
        ("src/wire/x.rs", "use std::{fmt, net::TcpStream};"),
        ("src/store/x.rs", "use std::fs::File;"),
        ("src/store/keys.rs", "use fjall::Database;"),
        ("src/chat/x.rs", "use fjall::Database;"),
        ("src/wire/x.rs", "use io_uring::IoUring;"),
        ("src/sim/x.rs", "use glommio::timer;"),
        ("src/store/x.rs", "use rustix::fs;"),
        ("src/chat/x.rs", "async fn f() {}"),
        ("src/wire/x.rs", "fn f() { g().await }"),
        ("src/chat/x.rs", "struct A(Mutex<u8>);"),
        ("src/store/x.rs", "struct A(RwLock<u8>);"),
    ] {
        breaks(file, text, 2, "has no place here");
    }
    keeps("src/node/x.rs", "use std::{net, thread, time};\nasync fn f() { glommio::x().await }");
    keeps("src/store/view.rs", "use fjall::Database;");
    keeps("src/chat/x.rs", "use std::fmt;\nfn net(time: u8) -> u8 { time }");
}

#[test]
fn unsafe_stands_where_it_is_listed() {
    breaks("src/wire/x.rs", "fn f() { unsafe { g() } }", 2, "`unsafe` stands in");
    breaks("loadtest/src/x.rs", "unsafe fn f() {}", 2, "`unsafe` stands in");
    keeps("src/node/ring.rs", "fn f() { unsafe { g() } }");
}

#[test]
fn words_in_comments_and_literals_are_not_code() {
    keeps("src/chat/x.rs", "// unsafe async crate::wire\n/* Mutex /* unsafe */ await */");
    keeps("src/chat/x.rs", r##"const A: &str = "unsafe \" async"; const B: &str = r#"" Mutex"#;"##);
    keeps(
        "src/chat/x.rs",
        "const A: &[u8] = b\"async\"; const B: char = '\"'; const C: char = '\\'';",
    );
    breaks("src/chat/x.rs", "fn f<'a>(c: &'a str) { let q = '你'; unsafe {} }", 2, "`unsafe`");
}

#[test]
fn files_functions_and_lines_have_a_size() {
    breaks("tools/src/x.rs", &"\n".repeat(499), 501, "501 lines");
    keeps("tools/src/x.rs", &"\n".repeat(498));
    let function = |lines: usize| format!("fn f() {{\n{}}}", "    g();\n".repeat(lines - 2));
    breaks("benches/x.rs", &function(71), 2, "a function of 71 lines");
    keeps("benches/x.rs", &function(70));
    keeps("benches/x.rs", &format!("trait A {{\n fn f();\n{}}}", "const X: fn(u8);\n".repeat(80)));
    breaks("src/limits.rs", &format!("// {}", "x".repeat(98)), 2, "101 columns");
    keeps("src/limits.rs", &format!("// {}", "你".repeat(97)));
    let frame = format!("const FRAME: &str = \"{}\";", "x".repeat(200));
    keeps("src/wire/tests/x.rs", &frame);
    breaks("src/wire/x.rs", &frame, 2, "223 columns");
}

#[test]
fn nothing_unfinished_or_local_is_left() {
    for (word, expected) in
        [(concat!("TO", "DO"), "write the issue"), (concat!("FIX", "ME"), "write the issue")]
    {
        breaks("src/limits.rs", &format!("// {word} later"), 2, expected);
    }
    let path = format!("const A: &str = \"{}anser\";", concat!("/wo", "rk/"));
    breaks("src/limits.rs", &path, 2, "a path of one machine");
    breaks("src/limits.rs", &format!("#[{}]\nfn f() {{}}", "ignore"), 2, "proves nothing");
}

#[test]
fn a_file_begins_with_its_head_and_dense_invariants() {
    let check_whole = |text: &str| check(&Source::new("src/limits.rs", text)).len();
    assert_eq!(check_whole("use std::fmt;\n"), 1);
    assert_eq!(check_whole("//! Head.\n//! 1. A.\n//! 3. B.\n"), 1);
    assert_eq!(check_whole("//! Head.\n//! 1. A.\n//!    more.\n//! 2. B.\n"), 0);
}

#[test]
fn every_invariant_has_a_test_that_names_it() {
    let promise = "//! Head.\n//!\n//! Invariants:\n//! 1. One.\n//! 2. Two.\n";
    let broken = |test: &str| {
        let sources = [
            Source::new("src/store/keys.rs", promise),
            Source::new("loadtest/tests/x.rs", format!("//! Tests.\n{test}\nfn f() {{}}\n")),
        ];
        let broken = check_all(&sources);
        broken.iter().map(Broken::to_string).collect::<Vec<_>>()
    };
    assert_eq!(broken("/// Invariants 1 and 2 of store::keys."), Vec::<String>::new());
    let missing = broken("/// Invariant 1 of store::keys.");
    assert_eq!(missing.len(), 1, "{missing:?}");
    assert!(missing[0].starts_with("src/store/keys.rs:1: no test says"), "{missing:?}");
    assert!(missing[0].contains("Invariant 2 of store::keys"), "{missing:?}");
    let foreign = broken("/// Invariants 1, 2 and 3 of store::keys.");
    assert_eq!(foreign.len(), 1, "{foreign:?}");
    assert!(foreign[0].starts_with("loadtest/tests/x.rs:2: `store::keys` has no invariant 3"));
}
