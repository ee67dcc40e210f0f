//! The committed counts of instructions, and the judgement of others against them.
//!
//! A case passes when it takes no more than [`TOLERANCE`] over its baseline. One without a baseline
//! fails, and so does a baseline without its case: whoever changes the cases blesses them.
//! Counts of another compiler or kind of processor are shown and not judged.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// Instructions of one operation of each case.
pub type Counts = BTreeMap<String, u64>;

/// How far a count may rise, as a part of its baseline. They repeat to a thousandth.
const TOLERANCE: f64 = 0.05;
/// A few instructions are no change, however small the case.
const SLACK: f64 = 2.0;
const HEAD: &str =
    "# Instructions of one operation of each case of `cargo bench`, in the build of the tests and
# in that of a release. Written by `--counts --bless`: see benches/main.rs.

";

/// The baselines of each build.
#[derive(Serialize, Deserialize, Default)]
pub struct Baseline(BTreeMap<String, Blessed>);

#[derive(Serialize, Deserialize)]
struct Blessed {
    #[serde(flatten)]
    conditions: Conditions,
    instructions: Counts,
}

/// What counts depend on besides the code.
#[derive(Serialize, Deserialize, Clone, PartialEq, Eq, Debug)]
pub struct Conditions {
    /// Who counted.
    pub counted_by: String,
    /// Who made the instructions.
    pub compiler: String,
    /// What they were made for.
    pub processor: String,
}

impl fmt::Display for Conditions {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Conditions { counted_by, compiler, processor } = self;
        write!(formatter, "{compiler} for {processor}, counted by {counted_by}")
    }
}

/// All cases with what is to be said of each. Its text is a table and what follows from it.
pub struct Judgement {
    /// Why counts are not judged, if they are not.
    unlike: Option<String>,
    lines: Vec<Line>,
}

struct Line {
    name: String,
    before: Option<u64>,
    after: Option<u64>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Verdict {
    Same,
    Less,
    More,
    New,
    Gone,
}

impl Baseline {
    /// Reads what [`Baseline::text`] wrote.
    pub fn parse(text: &str) -> Result<Baseline, toml::de::Error> {
        toml::from_str(text)
    }

    /// The file.
    pub fn text(&self) -> Result<String, toml::ser::Error> {
        Ok(HEAD.to_owned() + &toml::to_string(&self.0)?)
    }

    /// Who counted the baseline of a build.
    pub fn counted_by(&self, build: &str) -> Option<&str> {
        self.0.get(build).map(|blessed| &*blessed.conditions.counted_by)
    }

    /// Makes counts of cases with `only` in their names the baseline. Of the others those stay
    /// that were counted under the same conditions.
    pub fn bless(&mut self, build: &str, conditions: Conditions, counts: Counts, only: &str) {
        let mut instructions = counts;
        if let Some(before) = self.0.remove(build).filter(|one| one.conditions == conditions) {
            let others = before.instructions.into_iter().filter(|(name, _)| !name.contains(only));
            instructions.extend(others);
        }
        self.0.insert(build.to_owned(), Blessed { conditions, instructions });
    }

    /// Compares counts of cases with `only` in their names.
    pub fn judge(
        &self,
        build: &str,
        conditions: &Conditions,
        counts: &Counts,
        only: &str,
    ) -> Judgement {
        let (blessed, none) = (self.0.get(build), Counts::new());
        let before = blessed.map_or(&none, |blessed| &blessed.instructions);
        let meant = before.iter().filter(|(name, _)| name.contains(only));
        let mut names: Vec<&String> = meant.map(|(name, _)| name).chain(counts.keys()).collect();
        names.sort_unstable();
        names.dedup();
        let line = |name: &String| Line {
            name: name.clone(),
            before: before.get(name).copied(),
            after: counts.get(name).copied(),
        };
        let unlike = blessed.filter(|blessed| blessed.conditions != *conditions);
        let unlike =
            unlike.map(|blessed| format!("{:?}\nare not {conditions:?}", blessed.conditions));
        Judgement { unlike, lines: names.into_iter().map(line).collect() }
    }
}

impl Judgement {
    /// Nothing is to be done.
    pub fn is_passed(&self) -> bool {
        let is_fine = |line: &Line| matches!(line.verdict(), Verdict::Same | Verdict::Less);
        self.unlike.is_some() || self.lines.iter().all(is_fine)
    }
}

impl Line {
    fn verdict(&self) -> Verdict {
        match (self.before, self.after) {
            (Some(_), None) => Verdict::Gone,
            (None, _) => Verdict::New,
            (Some(before), Some(after)) => {
                let (before, after) = (before as f64, after as f64);
                let allowed = (before * TOLERANCE).max(SLACK);
                match after - before {
                    more if more > allowed => Verdict::More,
                    less if less < -allowed => Verdict::Less,
                    _ => Verdict::Same,
                }
            }
        }
    }
}

impl fmt::Display for Line {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = |count: Option<u64>| count.map_or("-".to_owned(), |count| count.to_string());
        let (before, after) = (number(self.before), number(self.after));
        write!(formatter, "{:<22} {before:>9} {after:>9}", self.name)?;
        if let (Some(before), Some(after)) = (self.before, self.after) {
            let percent = (after as f64 / before.max(1) as f64 - 1.0) * 100.0;
            write!(formatter, " {percent:>+7.1} %")?;
        }
        formatter.write_str(match self.verdict() {
            Verdict::Same => "",
            Verdict::Less => "  less: bless it, so that it stays",
            Verdict::More => "  MORE",
            Verdict::New => "  NEW",
            Verdict::Gone => "  GONE",
        })
    }
}

impl fmt::Display for Judgement {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(formatter, "{:<22} {:>9} {:>9}", "instructions", "baseline", "here")?;
        self.lines.iter().try_for_each(|line| writeln!(formatter, "{line}"))?;
        match &self.unlike {
            Some(unlike) => write!(formatter, "NOT judged, since {unlike}"),
            None if self.is_passed() => formatter.write_str("no case takes more than its baseline"),
            None => formatter.write_str(
                "what stands in capitals fails: mend the code, or say in the commit why it is so \
                 and run this again with `--bless`",
            ),
        }
    }
}
