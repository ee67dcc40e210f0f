//! A run as a file that can be read years later: what was measured, on what, and how.

use crate::http;
use crate::load::accounts::Target;
use crate::outcome::{Outcome, Scenario};
use anyhow::{Context, Result, ensure};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::fs;
use std::path::Path;

/// The number of this layout; a reader refuses those it does not know.
pub const SCHEMA: u32 = 1;

/// The file: one JSON object.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Document {
    /// [`SCHEMA`].
    pub schema: u32,
    /// When the run began, UTC.
    pub begun: Timestamp,
    /// The command line of the load generator.
    pub command: Vec<String>,
    /// The load generator's version.
    pub version: String,
    /// The revision that the load generator was built from, if that is known.
    pub git_revision: Option<String>,
    /// Where it ran.
    pub machine: Machine,
    /// What came of it.
    #[serde(flatten)]
    pub outcome: Outcome,
}

impl Document {
    /// Runs a scenario to its end, good or bad.
    ///
    /// # Errors
    /// When there is nothing to measure, or its settings cannot be written as JSON. That the run
    /// failed is the outcome's matter.
    pub fn of(scenario: &impl Scenario) -> Result<Document> {
        scenario.check()?;
        Ok(Document {
            schema: SCHEMA,
            begun: Timestamp::now(),
            command: std::env::args().collect(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            git_revision: known(env!("ANSER_REVISION")),
            machine: Machine::read(),
            outcome: Outcome::of(scenario)?,
        })
    }

    /// Writes the file.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, file: &Path) -> Result<()> {
        let text = serde_json::to_vec(self)?;
        fs::write(file, text).with_context(|| file.display().to_string())
    }

    /// Reads a file.
    ///
    /// # Errors
    /// When it is not one of these, or of a schema that is not known.
    pub fn read(file: &Path) -> Result<Document> {
        let text = fs::read(file).with_context(|| file.display().to_string())?;
        let document: Document = serde_json::from_slice(&text).with_context(|| {
            format!("{} is not what --json of anser-loadtest writes", file.display())
        })?;
        let schema = document.schema;
        ensure!(schema == SCHEMA, "{} has schema {schema}, not {SCHEMA}", file.display());
        Ok(document)
    }

    /// What kind of run it is: those of one kind are runs of the same, and can be put together.
    pub fn kind(&self) -> String {
        let outcome = &self.outcome;
        let label = outcome.label.as_deref().unwrap_or("");
        format!("{} {} {label} {}", outcome.scenario, outcome.settings, self.build())
    }

    /// Which server it was, in words; nothing when that is not known.
    pub fn build(&self) -> String {
        let server = self.outcome.server.as_ref();
        let version = server.and_then(|it| it.version.as_deref()).unwrap_or_default();
        let revision = server.and_then(|it| it.revision.as_deref());
        revision.map_or(version.to_owned(), |revision| format!("{version} ({revision})"))
    }
}

/// A machine, as far as it matters for figures.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Machine {
    /// The processor's name.
    pub cpu: String,
    /// Its cores.
    pub cores: usize,
    /// The kernel's release.
    pub kernel: String,
    /// All memory, bytes.
    pub memory_bytes: u64,
}

impl Machine {
    /// This one.
    pub fn read() -> Machine {
        let text = |file: &str| fs::read_to_string(file).unwrap_or_default();
        let first = |file: &str, key: &str| -> Option<String> {
            let text = text(file);
            let line = text.lines().find(|line| line.starts_with(key))?;
            Some(line.split_once(':')?.1.trim().to_owned())
        };
        let kilobytes = first("/proc/meminfo", "MemTotal");
        let kilobytes = kilobytes.and_then(|text| text.split(' ').next()?.parse::<u64>().ok());
        Machine {
            cpu: first("/proc/cpuinfo", "model name").unwrap_or_else(|| "unknown".to_owned()),
            cores: text("/proc/cpuinfo")
                .lines()
                .filter(|line| line.starts_with("processor"))
                .count()
                .max(1),
            kernel: rustix::system::uname().release().to_string_lossy().into_owned(),
            memory_bytes: kilobytes.unwrap_or(0) * 1024,
        }
    }
}

/// Which server was measured.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ServerFacts {
    /// Its version, from its admin port.
    pub version: Option<String>,
    /// The revision that it was built from, from its admin port, if that is known.
    #[serde(default)]
    pub revision: Option<String>,
    /// What its Acks mean, from its admin port.
    pub durability: Option<String>,
    /// Its command line, from its process.
    pub command: Vec<String>,
}

impl ServerFacts {
    /// Asks a server's admin port and looks at its process, those of them that are known.
    pub fn ask(target: &Target) -> ServerFacts {
        let figures = target.admin.map(|admin| http::get(admin, "/metrics").body);
        let figures = figures.unwrap_or_default();
        let line = figures.lines().find(|line| line.starts_with("anser_info{")).unwrap_or("");
        let label = |key: &str| {
            let (_, rest) = line.split_once(&format!("{key}=\""))?;
            Some(rest.split('"').next()?.to_owned())
        };
        let command = target.server_pid.map(|id| fs::read(format!("/proc/{id}/cmdline")));
        let command = command.and_then(Result::ok).unwrap_or_default();
        let words = command.split(|byte| *byte == 0).filter(|word| !word.is_empty());
        ServerFacts {
            version: label("version"),
            revision: label("revision").and_then(|revision| known(&revision)),
            durability: label("durability"),
            command: words.map(|word| String::from_utf8_lossy(word).into_owned()).collect(),
        }
    }
}

/// A revision; that of a development build is empty.
fn known(revision: &str) -> Option<String> {
    Some(revision.to_owned()).filter(|revision| !revision.is_empty())
}
