//! `anser-tools planted`: bugs that were put into the server on purpose, and whether the simulator
//! finds them. Each is a patch in `tools/planted`, named in `tools/planted/list.toml`; who doubts
//! adds one of his own with `--patch`.

mod patch;
mod tree;

use anyhow::{Context, bail};
use patch::Patch;
use serde::Deserialize;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;
use tree::{Tree, Verdict, simulate};

/// Seeds in which a bug without an entry in the list is looked for.
const SEEDS: u64 = 200;

/// What `planted` is told.
#[derive(clap::Args)]
pub struct Arguments {
    /// Bugs of the list; all of them if none is named
    names: Vec<String>,
    /// A bug of your own: a unified diff against this folder, as `git diff` writes it
    #[arg(long, conflicts_with = "names")]
    patch: Option<PathBuf>,
    /// Look in so many seeds, from 0, instead of as many as the list says
    #[arg(long)]
    seeds: Option<u64>,
    /// Only tell what is in the list
    #[arg(long)]
    list: bool,
    /// The top of the repository
    #[arg(long, default_value = ".")]
    root: PathBuf,
}

/// The list.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct List {
    bug: Vec<Bug>,
}

/// A bug.
#[derive(Deserialize, Clone, Debug)]
#[serde(deny_unknown_fields)]
struct Bug {
    /// Of its patch, without `.patch`.
    name: String,
    /// What is wrong with a server that has it.
    breaks: String,
    /// Seeds, from 0, within which it is found.
    seeds: u64,
    /// Whatever finds it first: a checker, or `panic`, an assertion of the server itself.
    checker: String,
}

fn folder(root: &Path) -> PathBuf {
    root.join("tools/planted")
}

fn read(path: &Path) -> anyhow::Result<String> {
    std::fs::read_to_string(path).with_context(|| path.display().to_string())
}

fn bugs(root: &Path) -> anyhow::Result<Vec<Bug>> {
    let path = folder(root).join("list.toml");
    let list: List = toml::from_str(&read(&path)?).with_context(|| path.display().to_string())?;
    Ok(list.bug)
}

/// The bugs that were asked for, each with its patch.
fn chosen(arguments: &Arguments) -> anyhow::Result<Vec<(Bug, PathBuf)>> {
    if let Some(path) = &arguments.patch {
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let (breaks, checker) = ("it is yours".to_owned(), "any".to_owned());
        return Ok(vec![(Bug { name, breaks, seeds: SEEDS, checker }, path.clone())]);
    }
    let mut all = bugs(&arguments.root)?;
    let names = &arguments.names;
    if let Some(unknown) = names.iter().find(|name| all.iter().all(|bug| bug.name != **name)) {
        bail!("{unknown} is not in the list; see --list");
    }
    all.retain(|bug| names.is_empty() || names.contains(&bug.name));
    let path = |bug: &Bug| folder(&arguments.root).join(format!("{}.patch", bug.name));
    Ok(all.into_iter().map(|bug| (bug.clone(), path(&bug))).collect())
}

/// Plants each bug and demands that it is found, and that nothing is found without it.
pub fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let mut chosen = chosen(arguments)?;
    for (bug, _) in &mut chosen {
        bug.seeds = arguments.seeds.unwrap_or(bug.seeds);
    }
    if arguments.list {
        for (bug, _) in &chosen {
            println!("{:28} {:>4} seeds  {:8} {}", bug.name, bug.seeds, bug.checker, bug.breaks);
        }
        return Ok(ExitCode::SUCCESS);
    }
    let most = chosen.iter().map(|(bug, _)| bug.seeds).max().unwrap_or(0);
    let this = std::env::current_exe().context("this program")?;
    println!("without a bug: seeds 0..{most}");
    if let Verdict::Found { seed, words } = simulate(&this, 0..most)? {
        println!("  seed {seed} FAILED {words}");
        bail!("the server fails without a planted bug: mend that first");
    }
    println!("  nothing is found");
    let tree = Tree::of(&arguments.root)?;
    let mut missed = Vec::new();
    for (bug, path) in &chosen {
        println!("{}: {}", bug.name, bug.breaks);
        let start = Instant::now();
        tree.plant(&Patch::read(&read(path)?).with_context(|| path.display().to_string())?)?;
        let program = tree.build()?;
        let built = start.elapsed().as_secs();
        match look(&program, bug.seeds)? {
            Verdict::Found { seed, words } => {
                println!("  found by seed {seed}: {words}");
                println!(
                    "  (built in {built} s, found in {} s)",
                    start.elapsed().as_secs() - built
                );
            }
            Verdict::Well => {
                println!("  NOT FOUND in {} seeds", bug.seeds);
                missed.push(bug.name.as_str());
            }
        }
    }
    println!("planted: {} of {} found", chosen.len() - missed.len(), chosen.len());
    if !missed.is_empty() {
        println!("planted: not found: {}", missed.join(", "));
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}

/// Few seeds first: most bugs are found soon.
fn look(program: &Path, seeds: u64) -> anyhow::Result<Verdict> {
    let (mut from, mut to) = (0, 8);
    while from < seeds {
        let found = simulate(program, from..to.min(seeds))?;
        if found != Verdict::Well {
            return Ok(found);
        }
        (from, to) = (to, to * 4);
    }
    Ok(Verdict::Well)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn root() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
    }

    #[test]
    fn every_planted_bug_is_in_the_list_and_its_patch_applies() {
        let bugs = bugs(&root()).expect("the list is there");
        assert!(bugs.len() >= 12, "there are a dozen at least");
        let mut listed = BTreeSet::new();
        for bug in &bugs {
            let path = folder(&root()).join(format!("{}.patch", bug.name));
            let patch = Patch::read(&read(&path).expect("it has a patch")).expect("it is one");
            let changed = patch.apply(&root()).unwrap_or_else(|error| {
                panic!("{} does not apply any more, make it anew: {error:#}", bug.name)
            });
            let is_server = |(file, _): &(PathBuf, String)| file.starts_with("src");
            assert!(changed.iter().all(is_server), "{}: bugs are the server's", bug.name);
            assert!(!bug.breaks.is_empty() && !bug.checker.is_empty() && bug.seeds > 0);
            assert!(listed.insert(bug.name.clone()), "{} is there twice", bug.name);
        }
        let files = std::fs::read_dir(folder(&root())).expect("the folder is there");
        let names = files.map(|file| file.expect("it is read").path());
        let patches = names.filter(|path| path.extension().is_some_and(|end| end == "patch"));
        let stem = |path: PathBuf| path.file_stem().expect("a name").to_string_lossy().into_owned();
        let there: BTreeSet<String> = patches.map(stem).collect();
        assert_eq!(there, listed, "patches and list agree");
    }
}
