//! How fast each phase of a run went, over its time: what [`Pace`](crate::load::pace::Pace) noted.

use super::axis::Scale;
use super::plot::{Line, Plot};
use super::plots::{Subject, style};
use crate::load::pace;

/// The plot of all phases that noted their pace.
pub fn of(subjects: &[Subject<'_>]) -> Plot {
    let mut lines = Vec::new();
    for (place, subject) in subjects.iter().enumerate() {
        for document in &subject.documents {
            let phases = document.outcome.figures.as_object().into_iter().flatten();
            let paces = phases.filter_map(|(name, phase)| Some((name, pace::points(phase)?)));
            for (nth, (name, points)) in paces.enumerate() {
                let (colour, dash) = style(subjects, place, nth);
                lines.push(Line { name: subject.called(name), colour, dash, points });
            }
        }
    }
    Plot {
        title: "Rate of each phase".to_owned(),
        x: ("seconds".to_owned(), Scale::Linear),
        y: ("messages a second".to_owned(), Scale::Linear),
        lines,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::document;
    use serde_json::json;

    #[test]
    fn a_phase_that_noted_its_pace_is_drawn() {
        let mut offline = document();
        offline.outcome.figures = json!({
            "drain": {"seconds": 1.0, "per_second_each_20_ms": [500.0, 0.0, 50.0]},
            "store": {"seconds": 1.0},
        });
        let plot = of(&[Subject { name: String::new(), documents: vec![&offline] }]);
        assert_eq!(plot.lines.len(), 1);
        let expected = [(0.02, 500.0), (0.04, 0.0), (0.06, 50.0)];
        assert_eq!((&plot.lines[0].name[..], &plot.lines[0].points[..]), ("drain", &expected[..]));
    }
}
