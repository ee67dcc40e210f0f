//! What operators can do on the admin port: have a cut of the data folder made, and removed.
//!
//! Invariants:
//! 1. A page that somebody's browser shows can do nothing here: what comes with an `Origin` is
//!    refused.
//! 2. A cut is made only of a server that is ready.
//!
//! Left to others: the cut itself (`cuts`), who copies it (`anser-tools backup`).

use crate::admin::status::Readiness;
use crate::limits::CUT_MS_MAX;
use crate::node::admin_port::{AdminState, Answer, JSON};
use crate::node::cuts::{CutError, Made};
use std::time::Duration;

/// The path of all cuts; one of them is below it, by its number.
const PATH: &str = "/admin/backup";

/// Who asks.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Asker {
    /// A program.
    Program,
    /// A page in a browser.
    Page,
}

/// Whether a path is one of these.
pub fn is_there(path: &str) -> bool {
    path == PATH || number_of(path).is_some()
}

fn number_of(path: &str) -> Option<u64> {
    path.strip_prefix(PATH)?.strip_prefix('/')?.parse().ok()
}

/// Does what is asked. Making a cut takes as long as the indexer takes to make a table.
pub fn answer(method: &str, path: &str, asker: Asker, state: &AdminState) -> Answer {
    if asker == Asker::Page {
        return Answer::words(403, "not for pages in a browser");
    }
    match (method, number_of(path)) {
        ("POST", None) => make(state),
        ("DELETE", Some(number)) => match state.cuts().is_some_and(|cuts| cuts.remove(number)) {
            true => Answer::new(200, JSON, format!("{{\"removed\":{number}}}\n")),
            false => Answer::words(404, "there is no such cut"),
        },
        _ => Answer::words(405, "POST makes a cut, DELETE with its number removes it"),
    }
}

fn make(state: &AdminState) -> Answer {
    if state.readiness() != Readiness::Ready {
        return Answer::words(503, "the server is not ready");
    }
    let patience = Duration::from_millis(CUT_MS_MAX);
    let outcome = state.cuts().ok_or(CutError::NoDisk).and_then(|cuts| cuts.make(patience));
    match outcome {
        Ok(made) => Answer::new(200, JSON, json(&made)),
        Err(error @ (CutError::NoDisk | CutError::Busy)) => Answer::words(409, &error.to_string()),
        Err(error @ CutError::Late) => Answer::words(503, &error.to_string()),
        Err(error @ CutError::Failed(_)) => Answer::words(500, &error.to_string()),
    }
}

fn json(made: &Made) -> String {
    let Made { number, folder, files, bytes } = made;
    let folder = escaped(&folder.to_string_lossy());
    format!("{{\"cut\":{number},\"folder\":\"{folder}\",\"files\":{files},\"bytes\":{bytes}}}\n")
}

/// Text as it stands in a JSON string.
fn escaped(text: &str) -> String {
    let mut out = String::new();
    for letter in text.chars() {
        match letter {
            '"' | '\\' => out.extend(['\\', letter]),
            control if u32::from(control) < 0x20 => {
                out.push_str(&format!("\\u{:04x}", u32::from(control)));
            }
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::cuts::Cuts;
    use crate::node::mesh::bells;
    use crate::store::view::tests::TempFolder;
    use std::sync::Arc;

    fn state(cuts: Option<&Arc<Cuts>>) -> AdminState {
        let state = AdminState::new(Vec::new(), "sync", || 0).with_cuts(cuts.cloned());
        state.set_readiness(Readiness::Ready);
        state
    }

    fn code(method: &str, path: &str, asker: Asker, state: &AdminState) -> u16 {
        assert!(is_there(path), "{path}");
        answer(method, path, asker, state).code()
    }

    /// Invariants 1 and 2 of node::admin_cuts.
    #[test]
    fn only_a_program_has_a_cut_made_and_only_of_a_server_that_is_ready() {
        let folder = TempFolder::new();
        let bells = bells(1).expect("an eventfd");
        let cuts = Arc::new(Cuts::new(folder.path().to_owned(), bells));
        let state = state(Some(&cuts));
        for (method, path) in [("POST", PATH), ("DELETE", "/admin/backup/1")] {
            assert_eq!(code(method, path, Asker::Page, &state), 403);
        }
        for readiness in [Readiness::Starting, Readiness::Draining] {
            state.set_readiness(readiness);
            assert_eq!(code("POST", PATH, Asker::Program, &state), 503);
        }
        assert_eq!(cuts.wanted(), 0, "none was asked for");
        state.set_readiness(Readiness::Ready);
        cuts.want().expect("nothing else is made");
        assert_eq!(code("POST", PATH, Asker::Program, &state), 409, "one at a time");
    }

    #[test]
    fn what_cannot_be_had_is_refused_by_its_code() {
        let state = state(None);
        for (method, path, expected) in [
            ("POST", PATH, 409),
            ("GET", PATH, 405),
            ("POST", "/admin/backup/7", 405),
            ("DELETE", "/admin/backup/7", 404),
        ] {
            assert_eq!(code(method, path, Asker::Program, &state), expected, "{method} {path}");
        }
        assert!(!is_there("/admin/backup/x") && !is_there("/admin/backups"));
    }

    #[test]
    fn a_folder_of_any_name_is_told_in_json() {
        let folder = "/a \"b\"\\c\n".into();
        let text = json(&Made { number: 1, folder, files: 2, bytes: 3 });
        let expected = r#"{"cut":1,"folder":"/a \"b\"\\c\u000a","files":2,"bytes":3}"#;
        assert_eq!(text.trim_end(), expected);
    }
}
