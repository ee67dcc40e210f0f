//! Which plots a page has: those of one run, or of several on top of each other.

use super::axis::Scale;
use super::plot::{Line, Plot};
use super::{growth, phases};
use crate::document::Document;
use crate::latencies::Latencies;
use std::collections::BTreeSet;

/// Runs of the same that are shown in one colour; a page of a single one needs no name.
#[derive(Clone, Debug)]
pub struct Subject<'a> {
    /// What the legend calls them.
    pub name: String,
    /// The runs, at least one.
    pub documents: Vec<&'a Document>,
}

impl Subject<'_> {
    /// The histograms of one name of all runs together, if one has it.
    fn latencies(&self, name: &str) -> Option<Latencies> {
        let mut all: Option<Latencies> = None;
        for document in &self.documents {
            if let Some(latencies) = document.outcome.latencies.get(name) {
                all.get_or_insert_default().add(latencies);
            }
        }
        all
    }

    /// What a line is called that shows `what` of these runs.
    pub fn called(&self, what: &str) -> String {
        match (self.name.as_str(), what) {
            ("", what) => what.to_owned(),
            (name, "") => name.to_owned(),
            (name, what) => format!("{name}: {what}"),
        }
    }
}

/// A series of the outcome, and what a plot calls it.
struct Source {
    series: String,
    called: String,
    /// What a value is multiplied with.
    factor: f64,
}

impl Source {
    fn new(series: &str, called: &str) -> Source {
        Source { series: format!("{series}_each_second"), called: called.to_owned(), factor: 1.0 }
    }
}

/// The colour and the dashes of the nth line of the subject at a place: lines of a single one
/// differ in their colour, else subjects do.
pub fn style(subjects: &[Subject<'_>], place: usize, nth: usize) -> (usize, usize) {
    if subjects.len() == 1 { (nth, 0) } else { (place, nth) }
}

/// All plots for which there is something to show.
pub fn of(subjects: &[Subject<'_>]) -> Vec<Plot> {
    let is_single = subjects.len() == 1;
    let mut times = vec![Source::new("worst_ms", "longest"), Source::new("p99_ms", "p99")];
    if is_single {
        times.push(Source::new("p50_ms", "p50"));
    }
    let mut cores = vec![Source::new("server_cores", "server")];
    if is_single {
        cores.push(Source::new("own_cores", "load generator"));
    }
    let resident = if is_single { "resident" } else { "" };
    let memory = Source::new("server_resident_bytes", resident);
    let memory = Source { factor: 1.0 / 1_048_576.0, ..memory };
    let mut plots = growth::of(subjects);
    plots.extend([
        phases::of(subjects),
        by_percentile(subjects),
        over_time(subjects, "Latency over time", ("ms", Scale::Log), &times),
        over_time(subjects, "Throughput", ("a second", Scale::Linear), &done(subjects)),
        over_time(subjects, "Processor", ("cores", Scale::Linear), &cores),
        over_time(subjects, "Memory of the server", ("MiB", Scale::Linear), &[memory]),
    ]);
    plots.into_iter().filter(|plot| !plot.lines.is_empty()).collect()
}

fn by_percentile(subjects: &[Subject<'_>]) -> Plot {
    let names: BTreeSet<&String> = subjects
        .iter()
        .flat_map(|subject| &subject.documents)
        .flat_map(|document| document.outcome.latencies.keys())
        .collect();
    let mut lines = Vec::new();
    for (place, subject) in subjects.iter().enumerate() {
        for (dash, name) in names.iter().enumerate() {
            let Some(latencies) = subject.latencies(name) else { continue };
            let (colour, dash) = style(subjects, place, dash);
            let (name, points) = (subject.called(name), latencies.curve());
            lines.push(Line { name, colour, dash, points });
        }
    }
    Plot {
        title: "Latency by percentile".to_owned(),
        x: ("percentile".to_owned(), Scale::Nines),
        y: ("ms".to_owned(), Scale::Log),
        lines,
    }
}

/// What was done in each second: the series that is nothing of what all runs have.
fn done(subjects: &[Subject<'_>]) -> Vec<Source> {
    let known = ["_ms", "_cores", "_bytes"];
    let names: BTreeSet<&str> = subjects
        .iter()
        .flat_map(|subject| &subject.documents)
        .flat_map(|document| document.outcome.series.keys())
        .filter_map(|name| name.strip_suffix("_each_second"))
        .filter(|name| !known.iter().any(|unit| name.ends_with(unit)))
        .collect();
    names.into_iter().map(|name| Source::new(name, &name.replace('_', " "))).collect()
}

fn over_time(
    subjects: &[Subject<'_>],
    title: &str,
    (unit, scale): (&str, Scale),
    sources: &[Source],
) -> Plot {
    let mut lines = Vec::new();
    for (place, subject) in subjects.iter().enumerate() {
        for (dash, source) in sources.iter().enumerate() {
            let (colour, dash) = style(subjects, place, dash);
            for document in &subject.documents {
                let Some(values) = document.outcome.series.get(&source.series) else { continue };
                let times = (1..=values.len()).map(|second| second as f64);
                let points = times.zip(values.iter().map(|value| value * source.factor)).collect();
                lines.push(Line { name: subject.called(&source.called), colour, dash, points });
            }
        }
    }
    Plot {
        title: title.to_owned(),
        x: ("seconds".to_owned(), Scale::Linear),
        y: (unit.to_owned(), scale),
        lines,
    }
}
