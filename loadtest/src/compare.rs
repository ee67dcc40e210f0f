//! Runs against runs: ratios of all figures to those of the first, and the plots of all in one.

use crate::document::Document;
use crate::report::plots::{self, Subject};
use crate::report::words::{self, leaves, number};
use crate::report::{self, page::Page};
use anyhow::{Context, Result};
use serde_json::json;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::PathBuf;

/// What is told of each thread of a server, most of which have nothing to do.
const BY_THREAD: &str = "cpu_us_a_message_by_thread / ";

/// What to compare.
#[derive(Clone, Debug, clap::Args)]
pub struct Compare {
    /// Documents that `--json` wrote. Those of one folder, server's build, scenario, settings and
    /// `--label` are put together; one without a label stands for itself.
    #[arg(required = true, num_args = 2..)]
    pub files: Vec<PathBuf>,
    /// Draw all of them in one on a page that needs no other file.
    #[arg(long, value_name = "FILE.html")]
    pub report: Option<PathBuf>,
}

/// Runs of the same.
struct Group {
    kind: Option<String>,
    name: String,
    documents: Vec<Document>,
}

/// Several values of one figure.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    /// The mean of the two in the middle, where there are two.
    pub median: f64,
    /// The least.
    pub least: f64,
    /// The most.
    pub most: f64,
}

impl Spread {
    /// That of some values; `None` of none.
    pub fn of(mut values: Vec<f64>) -> Option<Spread> {
        values.sort_by(f64::total_cmp);
        let lower = values.get(values.len().checked_sub(1)? / 2)?;
        let median = (lower + values.get(values.len() / 2)?) / 2.0;
        Some(Spread { median, least: *values.first()?, most: *values.last()? })
    }

    /// How many times as much this is: of the medians, and of the ends farthest from each other.
    pub fn against(&self, first: &Spread) -> Spread {
        let ratio = |value: f64, by: f64| if value == by { 1.0 } else { value / by };
        Spread {
            median: ratio(self.median, first.median),
            least: ratio(self.least, first.most),
            most: ratio(self.most, first.least),
        }
    }

    /// All of it so many times.
    pub fn times(&self, factor: f64) -> Spread {
        let [median, least, most] = [self.median, self.least, self.most].map(|it| it * factor);
        Spread { median, least, most }
    }

    /// The median, and from least to most if they differ; a ratio to something that was 0 at least
    /// once has neither.
    pub fn words(&self) -> String {
        let all = [self.median, self.least, self.most];
        let is_known = all.into_iter().all(f64::is_finite);
        let [median, least, most] =
            all.map(|value| number(if is_known { value } else { f64::NAN }));
        if least == most { median } else { format!("{median} ({least} to {most})") }
    }
}

impl Compare {
    /// Reads the files and gives the table; writes the page if one is wanted.
    ///
    /// # Errors
    /// When a file is not one of these, or the page cannot be written.
    pub fn run(&self) -> Result<String> {
        let groups = self.groups()?;
        for other in groups.iter().filter(|group| group.scenario() != groups[0].scenario()) {
            let (name, scenario, first) = (&other.name, other.scenario(), groups[0].scenario());
            eprintln!("warning: {name} is a run of {scenario}, and the first is one of {first}");
        }
        let (columns, rows) = table(&groups);
        let mut text = String::new();
        for (place, group) in groups.iter().enumerate() {
            let _ = writeln!(text, "{}: {}", letter(place), group.words());
            for warning in group.warnings() {
                let _ = writeln!(text, "   warning: {warning}");
            }
        }
        text += &aligned(&columns, &rows);
        if let Some(file) = &self.report {
            let page = page(&groups, &columns, rows);
            std::fs::write(file, page).with_context(|| file.display().to_string())?;
        }
        Ok(text)
    }

    fn groups(&self) -> Result<Vec<Group>> {
        let mut groups: Vec<Group> = Vec::new();
        for file in &self.files {
            let document = Document::read(file)?;
            let label = document.outcome.label.clone();
            let folder = file.parent().map(|folder| folder.display().to_string());
            let kind = label.as_ref().map(|_| format!("{folder:?} {}", document.kind()));
            let stem = || file.file_stem().map(|stem| stem.to_string_lossy().into_owned());
            let same = groups.iter_mut().find(|group| kind.is_some() && group.kind == kind);
            match same {
                Some(group) => group.documents.push(document),
                None => {
                    let name = label.or_else(stem).unwrap_or_default();
                    groups.push(Group { kind, name, documents: vec![document] });
                }
            }
        }
        Ok(groups)
    }
}

impl Group {
    fn scenario(&self) -> &str {
        &self.documents[0].outcome.scenario
    }

    fn words(&self) -> String {
        let first = &self.documents[0];
        let (count, begun) = (self.documents.len(), words::moment(first.begun));
        let runs = if count == 1 { "1 run".to_owned() } else { format!("{count} runs") };
        let (scenario, settings) = (self.scenario(), &first.outcome.settings);
        let build = first.build();
        let build = if build.is_empty() { build } else { format!(", anser {build}") };
        format!("{} ({runs} of {scenario} {settings}, {begun}{build})", self.name)
    }

    fn warnings(&self) -> Vec<String> {
        let outcomes = self.documents.iter().map(|document| &document.outcome);
        let failed = |error: &String| format!("a run failed: {error}");
        let of = outcomes.flat_map(|it| it.error.iter().map(failed).chain(it.flags.clone()));
        let mut all: Vec<String> = of.collect();
        all.sort();
        all.dedup();
        all
    }
}

/// The spread of every number that was measured in these runs, by its path.
pub fn spreads(documents: &[Document]) -> BTreeMap<String, Spread> {
    let mut values: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    for document in documents {
        let outcome = &document.outcome;
        let latencies = outcome.latencies.iter();
        let summaries = latencies.map(|(name, it)| json!({name: it.summary()}));
        for object in summaries.chain([outcome.figures.clone()]) {
            for (path, value) in leaves(&object) {
                values.entry(path).or_default().extend(value.as_f64());
            }
        }
    }
    let spread = |(path, values)| Some((path, Spread::of(values)?));
    values.into_iter().filter_map(spread).collect()
}

/// `A` for the first group, and so on.
fn letter(place: usize) -> char {
    char::from(b'A' + (place % 26) as u8)
}

/// The columns' names, and a row for each figure that the first group has.
fn table(groups: &[Group]) -> (Vec<String>, Vec<Vec<String>>) {
    let mut columns = vec![String::new(), "A".to_owned()];
    for place in 1..groups.len() {
        columns.extend([letter(place).to_string(), format!("{}/A", letter(place))]);
    }
    let spreads: Vec<BTreeMap<String, Spread>> =
        groups.iter().map(|group| spreads(&group.documents)).collect();
    let mut figures: Vec<_> = spreads.first().into_iter().flatten().collect();
    figures.sort_by_cached_key(|(path, _)| words::order(path));
    let mut rows = Vec::new();
    for (path, first) in figures {
        let of_all = || spreads.iter().filter_map(|spreads| spreads.get(path));
        if path.starts_with(BY_THREAD) && of_all().all(|spread| spread.most == 0.0) {
            continue;
        }
        let mut row = vec![words::name(path), first.words()];
        for other in &spreads[1..] {
            let other = other.get(path);
            let ratio = other.map(|other| other.against(first).words());
            row.push(other.map(Spread::words).unwrap_or_default());
            row.push(ratio.unwrap_or_default());
        }
        rows.push(row);
    }
    (columns, rows)
}

/// A table in letters of one width: the first column to the left, the others to the right.
fn aligned(columns: &[String], rows: &[Vec<String>]) -> String {
    let all = || std::iter::once(columns).chain(rows.iter().map(Vec::as_slice));
    let width = |place: usize| all().map(|row| row[place].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns.len()).map(width).collect();
    let mut out = String::new();
    for row in all() {
        let _ = write!(out, "{:<width$}", row[0], width = widths[0]);
        for (cell, width) in row.iter().zip(&widths).skip(1) {
            let _ = write!(out, "   {cell:>width$}");
        }
        out.push('\n');
    }
    out
}

fn page(groups: &[Group], columns: &[String], rows: Vec<Vec<String>>) -> String {
    let names: Vec<&str> = groups.iter().map(|group| group.name.as_str()).collect();
    let mut page = Page::new(&names.join(" against "));
    for (place, group) in groups.iter().enumerate() {
        page.paragraph(&format!("{}: {}", letter(place), group.words()));
        group.warnings().iter().for_each(|warning| page.note("flag", warning));
    }
    let mut subjects = Vec::new();
    for (place, group) in groups.iter().enumerate() {
        let name = format!("{} {}", letter(place), group.name);
        subjects.push(Subject { name, documents: group.documents.iter().collect() });
    }
    page.plots(&plots::of(&subjects));
    page.table("Ratios", columns, rows.into_iter());
    let mut tables = Vec::new();
    for (place, group) in groups.iter().enumerate() {
        let (letter, first) = (letter(place), &group.documents[0]);
        tables.push((format!("First run of {letter}"), report::made_with(first)));
        tables.push((format!("Machine of {letter}"), report::machine(first)));
    }
    let tables: Vec<_> = tables.iter().map(|(title, object)| (title.as_str(), object)).collect();
    page.pairs(&tables);
    page.end()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::document;
    use serde_json::Value;

    fn measured(label: Option<&str>, figures: Value) -> Document {
        let mut document = document();
        document.outcome.label = label.map(str::to_owned);
        document.outcome.figures = figures;
        document.outcome.error = None;
        document
    }

    fn compare(documents: &[Document]) -> (String, String) {
        let folder = crate::server::Folder::new();
        let mut files = Vec::new();
        for (place, document) in documents.iter().enumerate() {
            files.push(folder.path().join(format!("run-{place}.json")));
            document.write(&files[place]).expect("a folder of ours");
        }
        let report = folder.path().join("page.html");
        let text = Compare { files, report: Some(report.clone()) }.run();
        (text.expect("all are documents"), std::fs::read_to_string(report).expect("a page"))
    }

    fn row<'a>(text: &'a str, name: &str) -> Vec<&'a str> {
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        let line = line.unwrap_or_else(|| panic!("{name} in {text}"));
        line.split("   ").map(str::trim).filter(|cell| !cell.is_empty()).collect()
    }

    #[test]
    fn runs_of_one_label_are_put_together_and_told_as_ratios_of_the_first() {
        let rates =
            [("old", 100.0), ("old", 110.0), ("old", 120.0), ("new", 220.0), ("new", 240.0)];
        let documents: Vec<Document> = rates
            .into_iter()
            .map(|(label, rate)| measured(Some(label), json!({"rate": rate, "new": {"x": 0}})))
            .collect();
        let (text, page) = compare(&documents);
        let expected = ["110 (100 to 120)", "230 (220 to 240)", "2.09 (1.83 to 2.4)"];
        assert_eq!(row(&text, "rate"), expected);
        assert_eq!(row(&text, "new / x"), ["0", "0", "1"]);
        assert_eq!(row(&text, "ack / p50 ms").last(), Some(&"1"));
        assert!(page.contains("2.09 (1.83 to 2.4)") && page.contains("old against new"), "{page}");
        // A curve for each group, in a colour of its own.
        assert_eq!(page.matches("<title>A old: ack</title>").count(), 1);
        let options = roxmltree::ParsingOptions { allow_dtd: true, ..Default::default() };
        assert!(roxmltree::Document::parse_with_options(&page, options).is_ok(), "{page}");
    }

    #[test]
    fn runs_without_a_label_stand_for_themselves() {
        let documents = [3.0, 6.0, 1.5].map(|rate| measured(None, json!({"rate": rate})));
        let (text, _) = compare(&documents);
        assert_eq!(row(&text, "rate"), ["3", "6", "2", "1.5", "0.5"]);
        assert!(text.starts_with("A: run-0 (1 run of open "), "{text}");
    }

    #[test]
    fn idle_threads_have_no_row_and_nothing_is_so_many_times_0() {
        let threads = |idle, busy| json!({"cpu_us_a_message_by_thread": {"a": idle, "b": busy}});
        let (text, _) =
            compare(&[threads(0.0, 2.0), threads(0.0, 3.0)].map(|it| measured(None, it)));
        assert_eq!(row(&text, "cpu us a message by thread / b"), ["2", "3", "1.5"]);
        assert!(!text.contains("by thread / a"), "{text}");
        let ratio = |first: &[f64], second: &[f64]| {
            let spread = |values: &[f64]| Spread::of(values.to_vec()).expect("there are some");
            spread(second).against(&spread(first)).words()
        };
        assert_eq!((ratio(&[0.0, 2.0], &[1.0]), ratio(&[0.0], &[0.0])), ("–".into(), "1".into()));
    }

    #[test]
    fn the_median_of_two_is_their_mean() {
        let median = |values: &[f64]| Spread::of(values.to_vec()).map(|spread| spread.median);
        assert_eq!((median(&[4.0, 1.0]), median(&[9.0, 1.0, 2.0])), (Some(2.5), Some(2.0)));
        assert_eq!(median(&[]), None);
    }

    #[test]
    fn what_only_one_side_measured_has_no_ratio() {
        let documents = [json!({"a": 1}), json!({"b": 2})].map(|it| measured(None, it));
        let (text, _) = compare(&documents);
        assert_eq!(row(&text, "a "), ["1"]);
        assert!(!text.lines().any(|line| line.starts_with("b ")), "{text}");
    }
}
