//! The judgement of counts against a baseline.

#[path = "baseline.rs"]
mod baseline;

use baseline::{Baseline, Conditions, Counts, Judgement};

fn conditions(compiler: &str) -> Conditions {
    let [counted_by, processor] = ["callgrind", "x86_64"].map(str::to_owned);
    Conditions { counted_by, compiler: compiler.to_owned(), processor }
}

fn counts(all: &[(&str, u64)]) -> Counts {
    all.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect()
}

fn baseline(all: &[(&str, u64)]) -> Baseline {
    let mut baseline = Baseline::default();
    baseline.bless("test", conditions("one"), counts(all), "");
    baseline
}

/// All that is said when two cases take what they took.
const UNCHANGED: &str = "\
instructions            baseline      here
a/b                           10        10    +0.0 %
d/e                            3         3    +0.0 %
no case takes more than its baseline";

/// Judges against a baseline of 1,000 for `a/b`, 5 for `a/c` and 1,000 for `d/e`.
fn judge(all: &[(&str, u64)], only: &str) -> Judgement {
    let baseline = baseline(&[("a/b", 1000), ("a/c", 5), ("d/e", 1000)]);
    baseline.judge("test", &conditions("one"), &counts(all), only)
}

#[test]
fn a_case_that_takes_more_than_its_baseline_fails() {
    assert!(judge(&[("a/b", 1050), ("a/c", 7), ("d/e", 500)], "").is_passed());
    let judgement = judge(&[("a/b", 1051), ("a/c", 5), ("d/e", 1000)], "");
    assert!(!judgement.is_passed());
    let line = "a/b                         1000      1051    +5.1 %  MORE\n";
    assert!(judgement.to_string().contains(line), "{judgement}");
    assert!(!judge(&[("a/b", 1000), ("a/c", 8), ("d/e", 1000)], "").is_passed());
}

#[test]
fn a_case_without_a_baseline_fails_and_a_baseline_without_its_case() {
    assert!(!judge(&[("a/b", 1000), ("a/c", 5), ("d/e", 1000), ("f/g", 1)], "").is_passed());
    assert!(!judge(&[("a/b", 1000), ("d/e", 1000)], "").is_passed());
    let other_build = baseline(&[("a/b", 1000)]);
    let counts = counts(&[("a/b", 1000)]);
    assert!(!other_build.judge("release", &conditions("one"), &counts, "").is_passed());
}

#[test]
fn only_cases_that_were_asked_for_are_missed() {
    assert!(judge(&[("a/b", 1000), ("a/c", 5)], "a/").is_passed());
    assert!(!judge(&[("a/b", 1000)], "a/").is_passed());
}

#[test]
fn counts_of_another_compiler_are_shown_and_not_judged() {
    let baseline = baseline(&[("a/b", 1000)]);
    let judgement = baseline.judge("test", &conditions("two"), &counts(&[("a/b", 2000)]), "");
    assert!(judgement.is_passed());
    let text = judgement.to_string();
    assert!(text.contains("+100.0 %  MORE") && text.contains("NOT judged"), "{text}");
}

#[test]
fn what_is_blessed_is_written_and_the_rest_stays() {
    let mut baseline = baseline(&[("a/b", 1), ("a/c", 2), ("d/e", 3)]);
    baseline.bless("test", conditions("one"), counts(&[("a/b", 10)]), "a/");
    let read = Baseline::parse(&baseline.text().expect("it is a table")).expect("it is TOML");
    assert_eq!(read.counted_by("test"), Some("callgrind"));
    let written = counts(&[("a/b", 10), ("d/e", 3)]);
    assert_eq!(read.judge("test", &conditions("one"), &written, "").to_string(), UNCHANGED);
    baseline.bless("test", conditions("two"), counts(&[("a/b", 10)]), "a/");
    let text = baseline.text().expect("it is a table");
    assert!(!text.contains("d/e"), "it was counted under other conditions: {text}");
}

#[test]
fn the_committed_baseline_is_as_it_was_written() {
    let text = include_str!("baseline.toml");
    let baseline = Baseline::parse(text).expect("`--bless` wrote it");
    assert_eq!(baseline.text().expect("it is a table"), text);
    assert!(text.lines().filter(|line| line.starts_with("\"turn/")).count() >= 3);
}
