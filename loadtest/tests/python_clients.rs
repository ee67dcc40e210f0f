//! An independent implementation, in another language, holds the same conversation.
#![allow(missing_docs)]

use anser_loadtest::python;
use anser_loadtest::server::Setup;
use std::path::Path;

#[test]
fn two_people_chat_with_python_clients_on_every_shard_count() {
    let interpreter = match python::interpreter() {
        Ok(interpreter) => interpreter,
        Err(reason) => {
            let must_run = std::env::var_os("CI").is_some_and(|value| value == "true");
            assert!(!must_run, "python3 with websockets is needed where CI=true: {reason}");
            return eprintln!("skipped: python3 with websockets is not available: {reason}");
        }
    };
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python/conversation.py");
    let script = script.to_string_lossy().into_owned();
    for shards in [1, 2, 4] {
        let server = Setup::shards(shards).start();
        let (http, ws) = (server.http.to_string(), server.ws.to_string());
        let said = python::run(&interpreter, &[&script, &http, &ws, "python"]);
        assert!(said.is_ok(), "{shards} shards: {}", said.err().unwrap_or_default());
    }
}
