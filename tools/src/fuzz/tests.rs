//! Every target holds for a while, on all that is kept, and would not if something were wrong.

use super::case::{Target, Trail, Wrong};
use super::disk::{Recovered, recover};
use super::peer::{Conversation, Heard, Peer, talk};
use super::targets::{self, frames, http, import, json, log, rows, session};
use super::watch::Watched;
use super::worker::{Found, Worker};
use super::{cases_in, hash};
use anser::api::{Draft, Request};
use anser::sim::prng::Prng;
use anser::store::Position;
use anser::store::log::format::Covered;
use anser::store::log::recovery::{End, Refusal};
use anser::store::parts::Parts;
use anser::store::rows::RowError;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

fn folder(kind: &str, target: &dyn Target) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz").join(kind).join(target.name())
}

#[test]
fn all_that_is_kept_is_as_it_should_be() {
    for target in targets::all() {
        let watched = Watched::default();
        for kind in ["corpus", "found"] {
            let folder = folder(kind, &*target);
            let cases = cases_in(&folder).expect("it can be read");
            assert!(kind == "found" || cases.len() >= 12, "{}: {}", folder.display(), cases.len());
            for case in cases {
                let outcome = watched.run(&*target, &case, &mut Trail::default());
                assert_eq!(outcome, Ok(()), "in {}: {}", folder.display(), case.escape_ascii());
            }
        }
    }
}

/// Runs so many cases, from the corpus on.
fn try_cases(target: &dyn Target, cases: u64) -> Result<usize, Found> {
    let given = cases_in(&folder("corpus", target)).expect("it can be read");
    let watched = Watched::default();
    let mut worker = Worker::new(target, &watched, &given, 1);
    worker.begin()?;
    let before = worker.known();
    for _ in 0..cases {
        worker.step()?;
    }
    Ok(worker.known() - before)
}

#[test]
fn every_target_holds_for_a_while() {
    const CASES: &[(&str, u64)] = &[
        ("http", 4000),
        ("frames", 3000),
        ("json", 4000),
        ("session", 2000),
        ("log", 2000),
        ("rows", 4000),
        ("import", 1500),
    ];
    for target in targets::all() {
        let (_, cases) = CASES.iter().find(|(name, _)| *name == target.name()).expect("all are");
        match try_cases(&*target, *cases) {
            Ok(news) => assert!(news > 0, "{}: nothing new in {cases} cases", target.name()),
            Err(Found { case, wrong }) => {
                panic!("{}: {wrong}\nthe case: {}", target.name(), case.escape_ascii())
            }
        }
    }
}

/// The rule that a target's wrong stand-in is found to break.
fn rule_broken_by(target: &dyn Target) -> String {
    let found = try_cases(target, 20_000).expect_err("the stand-in is wrong");
    found.wrong.rule
}

/// A reader that takes a line feed alone for the end of a line.
fn takes_bare_line_feeds(peer: Peer, pieces: &[&[u8]]) -> Result<Conversation, Wrong> {
    let mut bytes = Vec::new();
    for byte in pieces.concat() {
        if byte == b'\n' && bytes.last() != Some(&b'\r') {
            bytes.push(b'\r');
        }
        bytes.push(byte);
    }
    talk(peer, &[&bytes])
}

#[test]
fn http_finds_a_reader_that_takes_bare_line_feeds() {
    let rule = rule_broken_by(&http::Http { reader: takes_bare_line_feeds });
    assert_eq!(rule, "requests end where RFC 9112 has their end");
}

/// A reader that does not look at reserved bits.
fn takes_reserved_bits(peer: Peer, pieces: &[&[u8]]) -> Result<Conversation, Wrong> {
    let mut bytes = pieces.concat();
    if let Some(first) = bytes.first_mut() {
        *first &= 0x8F;
    }
    talk(peer, &[&bytes])
}

#[test]
fn frames_find_a_reader_that_takes_reserved_bits() {
    let rule = rule_broken_by(&frames::Frames { reader: takes_reserved_bits });
    assert_eq!(rule, "frames are what tungstenite reads");
}

/// A reader whose ids go through a float.
fn rounds_ids(peer: Peer, pieces: &[&[u8]]) -> Result<Conversation, Wrong> {
    let mut conversation = talk(peer, pieces)?;
    for heard in &mut conversation.heard {
        let Heard::Asked(asked) = heard else { continue };
        let Some((front, rest)) = asked.split_once("MessageId(") else { continue };
        let Some((digits, back)) = rest.split_once(')') else { continue };
        let rounded = digits.parse::<f64>().map_or(0, |number| number as i64);
        *asked = format!("{front}MessageId({rounded}){back}");
    }
    Ok(conversation)
}

#[test]
fn json_finds_a_reader_whose_ids_go_through_a_float() {
    let rule = rule_broken_by(&json::Json { reader: rounds_ids });
    assert_eq!(rule, "frames ask what serde_json reads");
}

/// Rules that do not look at who a message says it is from.
fn forges(request: Request<'_>) -> Request<'_> {
    match request {
        Request::Send(draft) => Request::Send(Draft { from: None, ..draft }),
        request => request,
    }
}

#[test]
fn session_finds_rules_that_let_senders_be_forged() {
    let rule = rule_broken_by(&session::Session { tampering: forges });
    assert_eq!(rule, "the rules refuse what the contract refuses, and nothing else");
}

/// A start that takes the first thing it cannot read for the end.
fn takes_any_end(covered: Covered, files: &BTreeMap<u32, Vec<u8>>) -> Recovered {
    let mut recovered = recover(covered, files);
    if let Err(Refusal::Damaged { missing, .. }) = recovered.outcome {
        let last = Position(missing.0 - 1);
        recovered.outcome = Ok(End { last, next_sequence: 1 });
    }
    recovered
}

#[test]
fn log_finds_a_start_that_takes_damage_for_the_end() {
    let rule = rule_broken_by(&log::Log { recover: takes_any_end });
    assert_eq!(rule, "what was synced and cannot be read is refused");
}

/// A reader of rows that gives a pair block the seqs of another order.
fn turns_blocks_round(parts: &Parts<'_>, value: &[u8]) -> Result<Vec<u8>, RowError> {
    let mut bytes = rows::again(parts, value)?;
    if matches!(parts, Parts::PairBlock { .. }) {
        bytes[1..].reverse();
    }
    Ok(bytes)
}

#[test]
fn rows_find_a_reader_that_turns_blocks_round() {
    let rule = rule_broken_by(&rows::Rows { again: turns_blocks_round });
    assert_eq!(rule, "a row that is written again is the same");
}

#[test]
fn import_finds_a_reader_that_changes_a_letter() {
    let take = |case: &[u8]| {
        let text = String::from_utf8_lossy(case).replace("hello", "hallo");
        (import::Import::default().take)(text.as_bytes())
    };
    let rule = rule_broken_by(&import::Import { take });
    assert_eq!(rule, "what is taken is exported as the same");
}

/// Panics where a `b` follows an `a`.
struct Touchy;

impl Target for Touchy {
    fn name(&self) -> &'static str {
        "touchy"
    }

    fn words(&self) -> &'static [&'static str] {
        &["a", "b", "c"]
    }

    fn make(&self, prng: &mut Prng) -> Vec<u8> {
        (0..20).map(|_| b'c' + prng.below(9) as u8).collect()
    }

    fn run(&self, case: &[u8], trail: &mut Trail) -> Result<(), Wrong> {
        case.iter().for_each(|byte| trail.note(*byte < b'c'));
        assert!(!case.windows(2).any(|pair| pair == b"ab"), "touched");
        Ok(())
    }
}

#[test]
fn a_panic_is_found_and_made_small() {
    let Found { case, wrong } = try_cases(&Touchy, 100_000).expect_err("it panics");
    assert_eq!((&case[..], &wrong.words[..]), (&b"ab"[..], "touched"));
    assert!(wrong.rule.starts_with("panic at tools/src/fuzz/tests.rs:"), "{}", wrong.rule);
}

#[test]
fn a_case_that_does_not_end_is_told_while_it_runs_only() {
    struct Asks<'w>(&'w Watched);
    impl Target for Asks<'_> {
        fn name(&self) -> &'static str {
            "asks"
        }

        fn words(&self) -> &'static [&'static str] {
            &[""]
        }

        fn make(&self, _: &mut Prng) -> Vec<u8> {
            Vec::new()
        }

        fn run(&self, case: &[u8], _: &mut Trail) -> Result<(), Wrong> {
            assert_eq!(self.0.overdue(Duration::ZERO).as_deref(), Some(case));
            assert_eq!(self.0.overdue(Duration::from_secs(3600)), None);
            Ok(())
        }
    }
    let watched = Watched::default();
    assert_eq!(watched.run(&Asks(&watched), b"endless", &mut Trail::default()), Ok(()));
    assert_eq!(watched.overdue(Duration::ZERO), None);
}

#[test]
fn the_same_seed_gives_the_same_cases() {
    let run = |seed| {
        let target = http::Http::default();
        let watched = Watched::default();
        let mut worker = Worker::new(&target, &watched, &[], seed);
        for _ in 0..300 {
            worker.step().expect("nothing is found");
        }
        hash(&worker.grown())
    };
    assert_eq!(run(3), run(3));
    assert_ne!(run(3), run(4));
}
