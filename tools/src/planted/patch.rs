//! A unified diff, as `git diff` and `diff -u` write it, applied to a folder: by its context, so
//! that a bug stays planted when lines move.

use anyhow::{Context, bail};
use std::path::{Path, PathBuf};

/// What a patch does to one place of a file.
#[derive(PartialEq, Eq, Debug)]
struct Hunk {
    /// The line at which it was made, from 1.
    line: usize,
    before: Vec<String>,
    after: Vec<String>,
}

/// What a patch does to one file.
#[derive(PartialEq, Eq, Debug)]
struct Change {
    file: PathBuf,
    hunks: Vec<Hunk>,
}

/// A patch.
#[derive(PartialEq, Eq, Debug)]
pub struct Patch {
    changes: Vec<Change>,
}

impl Patch {
    /// Reads a patch.
    pub fn read(text: &str) -> anyhow::Result<Patch> {
        let mut changes: Vec<Change> = Vec::new();
        let mut is_in_hunk = false;
        for (index, line) in text.lines().enumerate() {
            let number = index + 1;
            if line.starts_with("--- ") || line.starts_with("diff ") {
                is_in_hunk = false;
            } else if let Some(name) = line.strip_prefix("+++ ") {
                let name = name.split('\t').next().unwrap_or(name);
                let file = name.strip_prefix("b/").unwrap_or(name).into();
                changes.push(Change { file, hunks: Vec::new() });
            } else if let Some(rest) = line.strip_prefix("@@ -") {
                let digits = rest.split([',', ' ']).next().unwrap_or("");
                let at = digits.parse().with_context(|| format!("line {number}: {line}"))?;
                let change = changes.last_mut().with_context(|| {
                    format!("line {number}: a hunk before the name of its file (+++ b/...)")
                })?;
                change.hunks.push(Hunk { line: at, before: Vec::new(), after: Vec::new() });
                is_in_hunk = true;
            } else if is_in_hunk {
                let hunk = changes.last_mut().and_then(|change| change.hunks.last_mut());
                let hunk = hunk.context("a hunk was begun")?;
                add_line(hunk, line).with_context(|| format!("line {number}: {line}"))?;
            }
        }
        if changes.is_empty() || changes.iter().any(|change| change.hunks.is_empty()) {
            bail!("it changes nothing: a unified diff is wanted, as `git diff` writes it");
        }
        Ok(Patch { changes })
    }

    /// The files below `root` as they are with the patch.
    pub fn apply(&self, root: &Path) -> anyhow::Result<Vec<(PathBuf, String)>> {
        let mut all = Vec::new();
        for Change { file, hunks } in &self.changes {
            let path = root.join(file);
            let text = std::fs::read_to_string(&path)
                .with_context(|| format!("{}: a patch changes what is there", path.display()))?;
            let mut lines: Vec<&str> = text.lines().collect();
            // How far lines have moved so far.
            let mut moved = 0;
            for hunk in hunks {
                let near = (hunk.line as isize - 1 + moved).max(0) as usize;
                let at = find(&lines, &hunk.before, near).with_context(|| {
                    format!(
                        "{}: line {} and those around are not there any more",
                        file.display(),
                        hunk.line
                    )
                })?;
                lines.splice(at..at + hunk.before.len(), hunk.after.iter().map(String::as_str));
                moved = at as isize + 1 - hunk.line as isize + hunk.after.len() as isize
                    - hunk.before.len() as isize;
            }
            all.push((file.clone(), lines.join("\n") + "\n"));
        }
        Ok(all)
    }
}

fn add_line(hunk: &mut Hunk, line: &str) -> anyhow::Result<()> {
    match line.split_at_checked(1) {
        // An editor may have taken the blank that stands for an empty line.
        None | Some((" ", _)) => {
            let text = line.get(1..).unwrap_or("");
            hunk.before.push(text.to_owned());
            hunk.after.push(text.to_owned());
        }
        Some(("-", text)) => hunk.before.push(text.to_owned()),
        Some(("+", text)) => hunk.after.push(text.to_owned()),
        Some(("\\", _)) => {}
        Some(_) => bail!("it is no line of a unified diff"),
    }
    Ok(())
}

/// The place nearest to `near` where these lines stand.
fn find(lines: &[&str], wanted: &[String], near: usize) -> Option<usize> {
    let places = 0..(lines.len() + 1).checked_sub(wanted.len())?;
    let is_there = |at: &usize| lines[*at..].iter().zip(wanted).all(|(line, other)| line == other);
    places.filter(is_there).min_by_key(|at| at.abs_diff(near))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATCH: &str = "\
diff --git a/src/a.rs b/src/a.rs
index 1..2 100644
--- a/src/a.rs
+++ b/src/a.rs
@@ -2,3 +2,3 @@ fn one() {
 two
-three
+drei
 four
@@ -8,2 +8,3 @@
 eight
+between
 nine
";

    fn folder(name: &str, text: &str) -> PathBuf {
        let root = std::env::temp_dir().join(format!("anser-{name}-{}", std::process::id()));
        std::fs::create_dir_all(root.join("src")).expect("a folder");
        std::fs::write(root.join("src/a.rs"), text).expect("a file");
        root
    }

    #[test]
    fn a_patch_is_applied_where_its_lines_have_moved_to() {
        let patch = Patch::read(PATCH).expect("it is a patch");
        let text = "zero\nzero\none\ntwo\nthree\nfour\nfive\nsix\nseven\neight\nnine\n";
        let root = folder("moved", text);
        let applied = patch.apply(&root).expect("its lines are there");
        let expected = text.replace("three", "drei").replace("eight\n", "eight\nbetween\n");
        assert_eq!(applied, [(PathBuf::from("src/a.rs"), expected)]);
        std::fs::remove_dir_all(root).expect("it is ours");
    }

    #[test]
    fn a_patch_whose_lines_are_gone_is_told_with_the_place() {
        let patch = Patch::read(PATCH).expect("it is a patch");
        let root = folder("gone", "two\nfour\neight\nnine\n");
        let error = patch.apply(&root).expect_err("`three` is not there").to_string();
        assert_eq!(error, "src/a.rs: line 2 and those around are not there any more");
        std::fs::remove_dir_all(root).expect("it is ours");
    }

    #[test]
    fn what_is_no_patch_is_refused() {
        for text in ["", "hello\n", "--- a/x\n+++ b/x\n", "@@ -1 +1 @@\n-a\n+b\n"] {
            assert!(Patch::read(text).is_err(), "{text:?}");
        }
        assert!(Patch::read("--- a/x\n+++ b/x\n@@ -1 +1 @@\n?a\n").is_err());
    }
}
