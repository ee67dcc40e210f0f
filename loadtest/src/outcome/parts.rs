//! A run in parts, and one outcome of all.

use super::{Outcome, Scenario, reason};
use crate::load::part::Part;
use anyhow::{Context, Result};
use serde_json::{Value, json};
use std::sync::mpsc::channel;
use std::thread;

impl Outcome {
    /// Runs a scenario in its parts, each on a thread of its own if there are several.
    pub(super) fn run_in_parts<S: Scenario>(&mut self, scenario: &S) -> Result<()> {
        let parts = scenario.divided()?;
        if parts.len() < 2 {
            return scenario.run(self);
        }
        let first = parts[0].0.clone();
        self.add(json!({"threads": parts.len()}));
        let (told, tells) = channel();
        thread::scope(|scope| -> Result<()> {
            for (part, scenario) in parts {
                let (own, told) = (part.clone(), told.clone());
                // This thread listens until all have ended: somebody always does.
                let play = move || drop(told.send(play(&own, &scenario)));
                if let Err(error) = thread::Builder::new().spawn_scoped(scope, play) {
                    part.call_off("a thread for a part of the run cannot be started");
                    (part.number()..part.count()).for_each(|_| part.leave());
                    return Err(error).context("a thread for a part of the run");
                }
            }
            Ok(())
        })?;
        drop(told);
        let mut all = tells.into_iter().collect::<Result<Vec<(usize, Outcome)>>>()?;
        all.sort_by_key(|(number, _)| *number);
        all.into_iter().for_each(|(_, part)| self.take_in(part));
        first.check()
    }

    /// Adds what another part of the same run has measured.
    fn take_in(&mut self, part: Outcome) {
        add_up(&mut self.figures, part.figures);
        for (name, latencies) in part.latencies {
            self.latencies.entry(name).or_default().add(&latencies);
        }
        // Only the first part has seconds, and they are those of all.
        self.series.extend(part.series);
        part.flags.iter().for_each(|flag| self.flag_once(flag));
    }
}

/// Does one part on its thread. If it fails, all end.
fn play<S: Scenario>(part: &Part, scenario: &S) -> Result<(usize, Outcome)> {
    let begun = Outcome::begin(scenario);
    let done = begun.map(|mut own| {
        let why = reason(|| {
            part.settle_in()?;
            scenario.run(&mut own)
        });
        why.inspect(|why| part.call_off(why));
        (part.number(), own)
    });
    part.leave();
    done
}

/// Adds the numbers of one object to those of another, by their names, for what parts tell are
/// counts; of the longest there was, `longest_...`, the longer one stays.
fn add_up(sum: &mut Value, more: Value) {
    match (sum, more) {
        (Value::Object(sum), Value::Object(more)) => {
            for (name, value) in more {
                match sum.get_mut(&name) {
                    None => drop(sum.insert(name, value)),
                    Some(known) if name.starts_with("longest_") => {
                        let is_longer = value.as_f64() > known.as_f64();
                        *known = if is_longer { value } else { known.take() };
                    }
                    Some(known) => add_up(known, value),
                }
            }
        }
        (Value::Array(sum), Value::Array(more)) => {
            sum.resize(sum.len().max(more.len()), json!(0));
            sum.iter_mut().zip(more).for_each(|(sum, more)| add_up(sum, more));
        }
        (sum, more) => {
            *sum = match (sum.as_u64(), more.as_u64(), sum.as_f64(), more.as_f64()) {
                (Some(sum), Some(more), ..) => json!(sum + more),
                (_, _, Some(sum), Some(more)) => json!(sum + more),
                _ => more,
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::latencies::Latencies;
    use crate::outcome::Run;
    use anyhow::ensure;
    use serde::Serialize;

    /// What three parts do: the second fails, if it is to, before it meets the others.
    #[derive(Clone, Debug, Serialize)]
    struct Divided {
        pairs: usize,
        fails: bool,
        #[serde(skip)]
        part: Part,
        #[serde(skip)]
        run: Run,
    }

    impl Scenario for Divided {
        const NAME: &'static str = "divided";

        fn options(&self) -> &Run {
            &self.run
        }

        fn divided(&self) -> Result<Vec<(Part, Divided)>> {
            let parts = Part::all(self.pairs, 2, Some(9))?.into_iter();
            let of = |part: Part| Divided { part, ..self.clone() };
            Ok(parts.map(|part| (part.clone(), of(part))).collect())
        }

        fn run(&self, outcome: &mut Outcome) -> Result<()> {
            ensure!(!(self.fails && self.part.number() == 1), "LOST: a message");
            let all = self.part.meet(self.part.units().len() as u64);
            let number = self.part.number();
            let longest = [2.0, 7.0, 3.0][number];
            outcome.add(json!({"met": all, "longest_pause_ms": longest, "steps": vec![1; number]}));
            outcome.flag("a word");
            for (name, ms) in [("lateness", 10), ("delivery", 20)] {
                let mut all = Latencies::default();
                all.record(1000 * ms * (number as u64 + 1));
                outcome.latencies.insert(name.to_owned(), all);
            }
            if self.fails {
                loop {
                    self.part.check()?;
                }
            }
            Ok(())
        }
    }

    fn outcome(fails: bool) -> Outcome {
        let divided = Divided { pairs: 10, fails, part: Part::default(), run: Run::default() };
        Outcome::of(&divided).expect("its settings are plain")
    }

    #[test]
    fn parts_meet_and_have_one_outcome() {
        let mut outcome = outcome(false);
        if cfg!(debug_assertions) {
            outcome.flags.remove(0);
        }
        assert_eq!((outcome.error, outcome.settings), (None, json!({"pairs": 10, "fails": false})));
        let figures = json!({"threads": 3, "met": 30, "longest_pause_ms": 7.0, "steps": [2, 1]});
        assert_eq!(outcome.figures, figures);
        let [word, late] = &outcome.flags[..] else { panic!("each is said once, of all") };
        assert!(word == "a word" && late.contains("p99 30."), "{late}");
    }

    #[test]
    fn a_part_that_fails_ends_the_others_with_its_reason() {
        assert_eq!(outcome(true).error.as_deref(), Some("LOST: a message"));
    }

    #[test]
    fn what_was_counted_adds_up() {
        let mut sum = json!({"a": 1, "b": {"c": 0.5}, "word": "x"});
        add_up(&mut sum, json!({"a": 2, "b": {"c": 0.25, "d": 4}, "word": "y"}));
        assert_eq!(sum, json!({"a": 3, "b": {"c": 0.75, "d": 4}, "word": "y"}));
    }
}
