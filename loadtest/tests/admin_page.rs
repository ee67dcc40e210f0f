//! The page on the admin port, as people use it: in a real browser.
#![allow(missing_docs)]

use anser_loadtest::server::{Setup, output_folder};
use anser_loadtest::{programs, python};
use std::path::Path;

#[test]
fn two_people_chat_on_the_page_and_its_figures_move() {
    let needed = python::interpreter();
    let needed = needed.and_then(|python| Ok((python, programs::find("chromium", "chromium")?)));
    let (interpreter, chromium) = match needed {
        Ok(both) => both,
        Err(reason) => return programs::say_skipped("the page in a browser", &reason),
    };
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python/page.py");
    let screenshots = output_folder().join("screenshots");
    let server = Setup::shards(2).start();
    let hasty = Setup::shards(4).with("--durability", "async").start();
    let (admin, hasty_admin) = (server.admin.to_string(), hasty.admin.to_string());
    let paths = [script, chromium, screenshots].map(|path| path.to_string_lossy().into_owned());
    let [script, chromium, screenshots] = &paths;
    let said = python::run(&interpreter, &[script, chromium, &admin, &hasty_admin, screenshots]);
    assert!(said.is_ok(), "{}", said.err().unwrap_or_default());
}
