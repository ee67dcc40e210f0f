//! The cost curve of `scale`: what the same work costs among more and more.

use super::axis::Scale;
use super::plot::{Line, Plot};
use super::plots::{Subject, style};
use serde_json::Value;

/// What grows: its key, its name, and how it is laid out. There may be no stored messages, which
/// have no place where every factor of ten is as long as the next.
const GROWING: [(&str, &str, Scale); 2] =
    [("users", "registered users", Scale::Log), ("stored", "stored messages", Scale::Linear)];
/// A figure's key, and what it is called.
type Named = (&'static str, &'static str);
/// What it costs: a title, a unit, and the figures.
const COSTS: [(&str, &str, &[Named]); 3] = [
    ("Rate", "delivered a second", &[("delivered_per_second", "rate")]),
    ("Latency", "ms", &[("p50_ms", "p50"), ("p99_ms", "p99")]),
    ("Processor", "us a message", &[("cpu_us_a_message", "server")]),
];

/// A plot for each cost by each of what grows, where there are rows of sizes.
pub fn of(subjects: &[Subject<'_>]) -> Vec<Plot> {
    let mut plots = Vec::new();
    for (key, name, scale) in GROWING {
        for (title, unit, costs) in COSTS {
            let mut lines = Vec::new();
            for (place, subject) in subjects.iter().enumerate() {
                for (nth, (cost, called)) in costs.iter().enumerate() {
                    let (colour, dash) = style(subjects, place, nth);
                    for document in &subject.documents {
                        let rows = rows(&document.outcome.figures, key);
                        let points = rows
                            .iter()
                            .filter_map(|row| Some((row[key].as_f64()?, row[*cost].as_f64()?)));
                        let (name, points) = (subject.called(called), points.collect());
                        lines.push(Line { name, colour, dash, points });
                    }
                }
            }
            lines.retain(|line| line.points.len() > 1);
            let (x, y) = ((name.to_owned(), scale), (unit.to_owned(), Scale::Linear));
            plots.push(Plot { title: format!("{title} by {name}"), x, y, lines });
        }
    }
    plots
}

/// The rows in which this grows and the other does not: users come first, beside as few messages
/// as the first row has, and messages then, beside as many users as the last row has.
fn rows<'a>(figures: &'a Value, key: &str) -> Vec<&'a Value> {
    let all = figures["rows"].as_array().map(Vec::as_slice).unwrap_or_default();
    let (Some(first), Some(last)) = (all.first(), all.last()) else { return Vec::new() };
    let is_meant = |row: &&Value| match key {
        "users" => row["stored"] == first["stored"],
        _ => row["users"] == last["users"],
    };
    all.iter().filter(is_meant).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::document;
    use serde_json::json;

    #[test]
    fn a_cost_stands_by_what_grows_while_the_other_does_not() {
        let sizes = [(10, 0), (100, 0), (1000, 0), (1000, 5), (1000, 50)];
        let row = |(users, stored): (u32, u32)| {
            json!({"users": users, "stored": stored, "delivered_per_second": users + stored,
                "p50_ms": 1, "p99_ms": 9, "cpu_us_a_message": 7})
        };
        let mut scale = document();
        scale.outcome.figures = json!({"rows": sizes.map(row)});
        let plots = of(&[Subject { name: String::new(), documents: vec![&scale] }]);
        let points = |title: &str, line: usize| {
            let plot = plots.iter().find(|plot| plot.title == title).expect("a plot");
            plot.lines[line].points.clone()
        };
        let by_users = [(10.0, 10.0), (100.0, 100.0), (1000.0, 1000.0)];
        assert_eq!(points("Rate by registered users", 0), by_users);
        let by_stored = [(0.0, 1000.0), (5.0, 1005.0), (50.0, 1050.0)];
        assert_eq!(points("Rate by stored messages", 0), by_stored);
        assert_eq!(points("Latency by stored messages", 1), [(0.0, 9.0), (5.0, 9.0), (50.0, 9.0)]);
        assert_eq!(points("Processor by registered users", 0).len(), 3);
        assert!(plots.iter().all(|plot| !plot.figure().contains("NaN")));
    }

    #[test]
    fn what_does_not_grow_has_no_curve() {
        let open = document();
        let plots = of(&[Subject { name: String::new(), documents: vec![&open] }]);
        assert!(plots.iter().all(|plot| plot.lines.is_empty()));
    }
}
