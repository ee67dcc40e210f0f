//! The rules of the house that the compiler does not know.
//!
//! Invariants:
//! 1. Every rule can fail: each has a test with the smallest text that breaks it.
//! 2. A broken rule is told with file, line, the rule, and what to do.
//! 3. Words inside comments and strings are never taken for code.
//!
//! Left to others: clocks, locks and maps by name (clippy's disallowed lists).

mod imports;
mod promises;
mod shape;
mod source;
#[cfg(test)]
mod tests;

use anyhow::{Context, bail};
use source::Source;
use std::fmt;
use std::path::Path;
use std::process::ExitCode;

/// One broken rule.
#[derive(PartialEq, Eq, Debug)]
pub struct Broken {
    /// The file, from the top of the repository.
    pub file: String,
    /// From 1.
    pub line: usize,
    /// The rule and what to do.
    pub words: String,
}

impl fmt::Display for Broken {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}: {}", self.file, self.line, self.words)
    }
}

/// Folders with Rust in them.
const FOLDERS: &[&str] = &["src", "benches", "loadtest", "tools"];

/// Checks everything below `root` and says what is broken.
pub fn run(root: &Path) -> anyhow::Result<ExitCode> {
    let sources = read_all(root)?;
    let broken = check_all(&sources);
    for one in &broken {
        println!("{one}");
    }
    let invariants: usize = sources.iter().map(|source| shape::invariants(source).len()).sum();
    println!(
        "tidy: {} files, {invariants} numbered invariants, {} rules broken",
        sources.len(),
        broken.len()
    );
    Ok(if broken.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Every rule for all files.
fn check_all(sources: &[Source]) -> Vec<Broken> {
    sources.iter().flat_map(check).chain(promises::check(sources)).collect()
}

/// Every rule for one file.
fn check(source: &Source) -> Vec<Broken> {
    let mut broken = shape::check(source);
    broken.extend(imports::check(source));
    broken.sort_by_key(|one| one.line);
    broken
}

fn read_all(root: &Path) -> anyhow::Result<Vec<Source>> {
    let mut sources = Vec::new();
    for folder in FOLDERS {
        let folder = root.join(folder);
        if folder.is_dir() {
            read_folder(root, &folder, &mut sources)?;
        }
    }
    if sources.is_empty() {
        bail!("{} has no src: start in the top of the repository", root.display());
    }
    Ok(sources)
}

fn read_folder(root: &Path, folder: &Path, sources: &mut Vec<Source>) -> anyhow::Result<()> {
    let entries = std::fs::read_dir(folder).with_context(|| folder.display().to_string())?;
    let mut paths = entries.map(|entry| Ok(entry?.path())).collect::<std::io::Result<Vec<_>>>()?;
    paths.sort();
    for path in paths {
        if path.is_dir() && path.file_name().is_some_and(|name| name != "target") {
            read_folder(root, &path, sources)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text =
                std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
            let name = path.strip_prefix(root).unwrap_or(&path).display().to_string();
            sources.push(Source::new(name, text));
        }
    }
    Ok(())
}
