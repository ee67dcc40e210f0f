//! A copy of the sources, in which a bug is planted, built and tried.

use super::patch::Patch;
use anyhow::{Context, bail};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

/// All that a build needs.
const FOLDERS: &[&str] = &["src", "benches", "loadtest", "tools"];
const FILES: &[&str] = &["Cargo.toml", "Cargo.lock", "build.rs", "clippy.toml", "rustfmt.toml"];
/// A run that takes longer hangs.
const RUN_MAX: Duration = Duration::from_secs(30 * 60);

/// The copy. It stays, so that the next build is short.
pub struct Tree {
    root: PathBuf,
    copy: PathBuf,
    build: PathBuf,
}

impl Tree {
    /// A copy of what is below `root`, in its target folder.
    pub fn of(root: &Path) -> anyhow::Result<Tree> {
        let root = root.canonicalize().with_context(|| root.display().to_string())?;
        let place = root.join("target/planted");
        let tree = Tree { copy: place.join("tree"), build: place.join("build"), root };
        std::fs::create_dir_all(&tree.copy).with_context(|| place.display().to_string())?;
        Ok(tree)
    }

    /// Makes the copy the same as the original, but for this patch. What is the same already is
    /// not touched: it is not built again.
    pub fn plant(&self, patch: &Patch) -> anyhow::Result<()> {
        let changed = patch.apply(&self.root)?;
        let mut files: BTreeSet<PathBuf> = FILES.iter().map(PathBuf::from).collect();
        for folder in FOLDERS {
            list(&self.root, Path::new(folder), &mut files)?;
        }
        for file in &files {
            let planted = changed.iter().find(|(name, _)| name == file);
            let bytes = match planted {
                Some((_, text)) => text.clone().into_bytes(),
                None => std::fs::read(self.root.join(file))
                    .with_context(|| file.display().to_string())?,
            };
            let path = self.copy.join(file);
            if std::fs::read(&path).is_ok_and(|there| there == bytes) {
                continue;
            }
            let folder = path.parent().context("a file is in a folder")?;
            std::fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
            std::fs::write(&path, bytes).with_context(|| path.display().to_string())?;
        }
        let mut there = BTreeSet::new();
        for folder in FOLDERS {
            list(&self.copy, Path::new(folder), &mut there)?;
        }
        for file in there.difference(&files) {
            let path = self.copy.join(file);
            std::fs::remove_file(&path).with_context(|| path.display().to_string())?;
        }
        Ok(())
    }

    /// Builds the tools, and with them the server. Returns the program.
    pub fn build(&self) -> anyhow::Result<PathBuf> {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut command = Command::new(cargo);
        command.args(["build", "--quiet", "--package", "anser-tools", "--target-dir"]);
        command.arg(&self.build).current_dir(&self.copy);
        let output = command.stdin(Stdio::null()).output().context("cargo cannot be run")?;
        if !output.status.success() {
            bail!("it does not compile:\n{}", String::from_utf8_lossy(&output.stderr));
        }
        Ok(self.build.join("debug/anser-tools"))
    }
}

fn list(root: &Path, folder: &Path, files: &mut BTreeSet<PathBuf>) -> anyhow::Result<()> {
    let place = root.join(folder);
    if !place.is_dir() {
        return Ok(());
    }
    for entry in std::fs::read_dir(&place).with_context(|| place.display().to_string())? {
        let name = folder.join(entry?.file_name());
        if root.join(&name).is_dir() {
            list(root, &name, files)?;
        } else {
            files.insert(name);
        }
    }
    Ok(())
}

/// What seeds have shown.
#[derive(PartialEq, Eq, Debug)]
pub enum Verdict {
    /// All are well.
    Well,
    /// The first that failed, and its words.
    Found {
        /// Which.
        seed: u64,
        /// `[checker] ...`.
        words: String,
    },
}

/// Runs a range of seeds with a program.
pub fn simulate(program: &Path, seeds: std::ops::Range<u64>) -> anyhow::Result<Verdict> {
    let range = format!("{}..{}", seeds.start, seeds.end);
    let mut command = Command::new(program);
    command.args(["simulate", "--seeds", &range]);
    let output = output_within(command, RUN_MAX)?;
    let text = String::from_utf8_lossy(&output.stdout);
    if let Some(found) = text.lines().find_map(failed) {
        return Ok(found);
    }
    if !text.lines().any(|line| line.starts_with("simulate: ")) {
        let error = String::from_utf8_lossy(&output.stderr);
        if output.status.code().is_none() {
            // A signal: an abort, or a stack that is used up. Nobody could say which seed it was.
            let words = format!("[abort] {}: {}", output.status, error.trim());
            return Ok(Verdict::Found { seed: seeds.start, words });
        }
        bail!("simulate has ended without a verdict, {}:\n{error}", output.status);
    }
    Ok(Verdict::Well)
}

/// `seed 7 FAILED [kept] ...`.
fn failed(line: &str) -> Option<Verdict> {
    let (seed, words) = line.strip_prefix("seed ")?.split_once(" FAILED ")?;
    Some(Verdict::Found { seed: seed.parse().ok()?, words: words.to_owned() })
}

fn output_within(mut command: Command, most: Duration) -> anyhow::Result<Output> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().context("simulate cannot be run")?;
    let (out, err) = (child.stdout.take(), child.stderr.take());
    let read = |pipe: Option<Box<dyn std::io::Read + Send>>| {
        std::thread::spawn(move || {
            let mut bytes = Vec::new();
            pipe.map_or(Ok(0), |mut pipe| pipe.read_to_end(&mut bytes)).map(|_| bytes)
        })
    };
    let out = read(out.map(|pipe| Box::new(pipe) as Box<_>));
    let err = read(err.map(|pipe| Box::new(pipe) as Box<_>));
    let end = Instant::now() + most;
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if Instant::now() > end {
            child.kill()?;
            child.wait()?;
            bail!("it hangs: seeds were not done after {} minutes", most.as_secs() / 60);
        }
        std::thread::sleep(Duration::from_millis(50));
    };
    let bytes = |reader: std::thread::JoinHandle<std::io::Result<Vec<u8>>>| {
        reader.join().map_err(|_| anyhow::anyhow!("what reads its output has died"))
    };
    Ok(Output { status, stdout: bytes(out)??, stderr: bytes(err)?? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_that_a_build_needs_is_copied() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        for entry in std::fs::read_dir(root).expect("the sources are there") {
            let name = entry.expect("it can be read").file_name();
            let name = name.to_str().expect("names are plain");
            // What may come into the house is nothing that a build reads.
            let is_read = name != "deny.toml";
            if is_read && [".rs", ".toml", ".lock"].iter().any(|end| name.ends_with(end)) {
                assert!(FILES.contains(&name), "{name}");
            }
        }
    }

    #[test]
    fn a_program_that_dies_has_found_something() {
        let script = std::env::temp_dir().join(format!("anser-dies-{}", std::process::id()));
        std::fs::write(&script, "#!/bin/sh\nkill -ABRT $$\n").expect("a new file");
        let executable = std::os::unix::fs::PermissionsExt::from_mode(0o700);
        std::fs::set_permissions(&script, executable).expect("it is ours");
        let verdict = simulate(&script, 3..9);
        std::fs::remove_file(&script).expect("it is ours");
        let Ok(Verdict::Found { seed: 3, words }) = verdict else { panic!("{verdict:?}") };
        assert!(words.starts_with("[abort] signal: 6"), "{words}");
    }

    #[test]
    fn a_failed_seed_is_read_with_its_words() {
        let words = "[kept] user 5, message 7, lost".to_owned();
        let line = format!("seed 12 FAILED {words}");
        assert_eq!(failed(&line), Some(Verdict::Found { seed: 12, words }));
        assert_eq!(failed("simulate: 3 of 9 seeds failed"), None);
    }
}
