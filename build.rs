//! Which revision this is built from, as `ANSER_REVISION`; empty where nobody knows.
//!
//! Release builds alone know: whoever develops would build everything again with each commit.

use std::path::Path;
use std::process::Command;

fn main() {
    let is_release = std::env::var("PROFILE").is_ok_and(|profile| profile == "release");
    let revision = if is_release { revision() } else { None };
    println!("cargo::rustc-env=ANSER_REVISION={}", revision.unwrap_or_default());
    println!("cargo::rerun-if-changed=Cargo.toml");
    if is_release {
        // The log of HEAD grows whenever HEAD moves, in worktrees as well.
        let log = git(&["rev-parse", "--git-path", "logs/HEAD"]);
        println!("cargo::rerun-if-changed=src");
        log.into_iter().filter(|log| Path::new(log).exists()).for_each(|log| {
            println!("cargo::rerun-if-changed={log}");
        });
    }
}

/// The commit, with a mark when files differ from it.
fn revision() -> Option<String> {
    git(&["describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"])
}

/// What git says; nothing where there is none, or no repository.
fn git(arguments: &[&str]) -> Option<String> {
    let answer = Command::new("git").args(arguments).output().ok()?;
    let said = String::from_utf8(answer.stdout).ok().filter(|_| answer.status.success())?;
    Some(said.trim().to_owned())
}
