//! Runs as a page for people: one HTML file with its drawings inside, no script, and nothing that
//! it would have to fetch. It is XML at the same time, so that it can be checked.

mod axis;
mod growth;
pub mod page;
mod phases;
pub mod plot;
pub mod plots;
pub mod words;

use crate::document::Document;
use anyhow::{Context, Result};
use page::Page;
use plots::Subject;
use serde_json::{Value, json};
use std::path::Path;

/// Writes the page of one run.
///
/// # Errors
/// When the file cannot be written.
pub fn of_run(document: &Document, file: &Path) -> Result<()> {
    std::fs::write(file, run_page(document)).with_context(|| file.display().to_string())
}

fn run_page(document: &Document) -> String {
    let outcome = &document.outcome;
    let label = outcome.label.as_deref().map(|label| format!(", {label}")).unwrap_or_default();
    let mut page = Page::new(&format!("{}{label}", outcome.scenario));
    let version = &document.version;
    page.paragraph(&format!("{}, anser-loadtest {version}", words::moment(document.begun)));
    if let Some(error) = &outcome.error {
        page.note("failed", &format!("The run failed. {error}"));
    }
    outcome.flags.iter().for_each(|flag| page.note("flag", flag));
    if !outcome.latencies.is_empty() {
        page.latencies(&outcome.latencies);
    }
    let subject = Subject { name: String::new(), documents: vec![document] };
    page.plots(&plots::of(&[subject]));
    page.pairs(&[
        ("Settings", &outcome.settings),
        ("Run", &made_with(document)),
        ("Machine", &machine(document)),
        ("Figures", &outcome.figures),
    ]);
    page.tables_of("", &outcome.figures);
    page.code("Command", &document.command.join(" "));
    page.end()
}

/// What the run was made on.
pub fn machine(document: &Document) -> Value {
    let machine = &document.machine;
    json!({
        "processor": machine.cpu,
        "cores": machine.cores,
        "memory, MiB": machine.memory_bytes >> 20,
        "kernel": machine.kernel,
    })
}

/// What the run was made with.
pub fn made_with(document: &Document) -> Value {
    let server = document.outcome.server.as_ref();
    let version = server.and_then(|server| server.version.as_deref());
    let revision = server.and_then(|server| server.revision.as_deref());
    let durability = server.and_then(|server| server.durability.as_deref());
    let command = server.map(|server| server.command.join(" ")).filter(|it| !it.is_empty());
    json!({
        "load generator's revision": document.git_revision,
        "seed": document.outcome.seed,
        "server": version,
        "server's revision": revision,
        "durability": durability,
        "server's command": command,
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::document::{Machine, SCHEMA};
    use crate::latencies::Latencies;
    use crate::outcome::Outcome;

    /// A run that failed, with something of everything.
    pub(crate) fn document() -> Document {
        let mut ack = Latencies::default();
        (1..10_000_u64).for_each(|number| ack.record(number * number / 100));
        let series = |values: &[f64]| values.to_vec();
        Document {
            schema: SCHEMA,
            begun: jiff::Timestamp::UNIX_EPOCH,
            command: vec!["anser-loadtest".to_owned(), "open".to_owned()],
            version: "0".to_owned(),
            git_revision: Some("abc".to_owned()),
            machine: Machine {
                cpu: "A <fast> one & more".to_owned(),
                cores: 2,
                kernel: "6".to_owned(),
                memory_bytes: 1 << 32,
            },
            outcome: Outcome {
                scenario: "open".to_owned(),
                seed: 1,
                label: Some("\"new\"".to_owned()),
                settings: json!({"users": 1000}),
                figures: json!({"delivered_per_second": 154_800.0, "drain": {"seconds": 1.5}}),
                latencies: [("ack".to_owned(), ack)].into(),
                series: [
                    ("delivered_each_second".to_owned(), series(&[10.0, 12.0])),
                    ("worst_ms_each_second".to_owned(), series(&[0.0, 12.0])),
                    ("own_cores_each_second".to_owned(), series(&[0.5, 0.25])),
                    ("server_resident_bytes_each_second".to_owned(), series(&[1e8, 2e8])),
                ]
                .into(),
                server: None,
                flags: vec!["a flag".to_owned()],
                error: Some("LOST: <all>".to_owned()),
            },
        }
    }

    #[test]
    fn a_page_is_whole_and_shows_what_was_measured() {
        let page = run_page(&document());
        let options = roxmltree::ParsingOptions { allow_dtd: true, ..Default::default() };
        let parsed = roxmltree::Document::parse_with_options(&page, options);
        assert!(parsed.is_ok(), "{:?} in {page}", parsed.err());
        for shown in ["154,800", "LOST: &lt;all&gt;", "a flag", "A &lt;fast&gt; one", "p99.9"] {
            assert!(page.contains(shown), "{shown} in {page}");
        }
        assert!(!page.contains("NaN"));
        assert_eq!(page.matches("<figure>").count(), 5);
    }

    #[test]
    fn a_page_asks_for_nothing_outside_of_it() {
        let page = run_page(&document());
        for outside in ["http:", "https:", "src=", "href=", "url(", "@import", "<script"] {
            assert!(!page.contains(outside), "{outside} in {page}");
        }
    }

    #[test]
    fn a_run_without_anything_has_a_page() {
        let mut document = document();
        document.outcome.latencies.clear();
        document.outcome.series.clear();
        document.outcome.figures = json!({});
        let page = run_page(&document);
        assert_eq!(page.matches("<figure>").count(), 0);
        assert!(page.ends_with("</html>\n"));
    }
}
