//! How fast something went that is over in less than a second or two.

use serde_json::{Value, json};
use std::time::Instant;

/// How long a step is, ms.
const STEP_MS: usize = 20;
/// What the rates are called among the figures.
const NAME: &str = "per_second_each_20_ms";

/// How much was done in each step since the beginning.
pub struct Pace {
    begun: Instant,
    counts: Vec<usize>,
}

impl Pace {
    /// Begins the first step.
    pub fn begin() -> Pace {
        Pace { begun: Instant::now(), counts: Vec::new() }
    }

    /// Counts what was done just now.
    pub fn count(&mut self, more: usize) {
        self.count_at(self.begun.elapsed().as_millis() as usize, more);
    }

    fn count_at(&mut self, after_ms: usize, more: usize) {
        let step = after_ms / STEP_MS;
        if self.counts.len() <= step {
            self.counts.resize(step + 1, 0);
        }
        self.counts[step] += more;
    }

    /// The rates, as a figure.
    pub fn report(&self) -> Value {
        let rates = self.counts.iter().map(|count| count * 1000 / STEP_MS);
        json!({NAME: rates.collect::<Vec<usize>>()})
    }
}

/// The rates among the figures of a phase, by the end of each step, seconds.
pub fn points(phase: &Value) -> Option<Vec<(f64, f64)>> {
    let rates = phase.get(NAME)?.as_array()?;
    let ends = (1..).map(|step: usize| (step * STEP_MS) as f64 / 1000.0);
    Some(ends.zip(rates.iter().filter_map(Value::as_f64)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_step_has_its_rate() {
        let mut pace = Pace::begin();
        for (after_ms, more) in [(0, 1), (19, 2), (45, 5)] {
            pace.count_at(after_ms, more);
        }
        let expected = vec![(0.02, 150.0), (0.04, 0.0), (0.06, 250.0)];
        assert_eq!(points(&pace.report()), Some(expected));
        assert_eq!(points(&json!({"seconds": 1})), None);
    }
}
