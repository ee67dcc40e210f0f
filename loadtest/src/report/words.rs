//! Numbers and texts as a page shows them.

use jiff::Timestamp;
use serde_json::{Map, Value};

/// What is told of a latency, in the order in which it is told.
const OF_LATENCY: [&str; 7] = ["mean", "p50", "p90", "p99", "p99_9", "p99_99", "max"];

/// A text inside HTML, also inside of an attribute.
pub fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => out += "&amp;",
            '<' => out += "&lt;",
            '>' => out += "&gt;",
            '"' => out += "&quot;",
            // XML has no place for these.
            control if control.is_control() && !"\n\t".contains(control) => out += "\u{FFFD}",
            other => out.push(other),
        }
    }
    out
}

/// A moment to the minute, UTC.
pub fn moment(time: Timestamp) -> String {
    time.strftime("%Y-%m-%d %H:%M UTC").to_string()
}

/// A number with as many digits as it deserves, thousands apart: `0.0312`, `4.57`, `154,800`.
pub fn number(value: f64) -> String {
    if !value.is_finite() {
        return "–".to_owned();
    }
    let decimals = match value.abs() {
        0.0 => 0,
        small if small < 0.1 => 4,
        small if small < 1.0 => 3,
        small if small < 100.0 => 2,
        small if small < 1000.0 => 1,
        _ => 0,
    };
    let text = format!("{value:.decimals$}");
    let (whole, rest) = text.split_once('.').unwrap_or((&text, ""));
    let rest = rest.trim_end_matches('0');
    let digits = whole.trim_start_matches('-');
    let mut out = if whole.len() > digits.len() { "-".to_owned() } else { String::new() };
    for (place, digit) in digits.char_indices() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    if rest.is_empty() { out } else { out + "." + rest }
}

/// A figure's name for people: `p99_9_ms` is `p99.9 ms`.
pub fn name(key: &str) -> String {
    key.replace("p99_9", "p99.9").replace('_', " ")
}

/// By what paths are sorted: by their text, in which p99.99 would come before p99, but those of a
/// latency by their place in [`OF_LATENCY`].
pub fn order(path: &str) -> String {
    let (above, key) = path.split_at(path.rfind(' ').map_or(0, |space| space + 1));
    let name = key.strip_suffix("_ms").unwrap_or(key);
    match OF_LATENCY.iter().position(|it| *it == name) {
        Some(place) => format!("{above}p{place}"),
        None => path.to_owned(),
    }
}

/// The columns of an object that is a table: two or more objects that have the same keys.
pub fn columns(value: &Value) -> Option<Vec<&str>> {
    let rows: Option<Vec<&Map<String, Value>>> =
        value.as_object()?.values().map(Value::as_object).collect();
    let rows = rows.filter(|rows| rows.len() > 1)?;
    let keys = rows.first()?.keys();
    let is_table = rows.iter().all(|row| row.keys().eq(keys.clone()));
    let mut columns: Vec<&str> = keys.map(String::as_str).collect();
    columns.sort_by_cached_key(|key| order(key));
    is_table.then_some(columns)
}

/// Every plain value in a JSON value by its path: `drain / seconds`. Lists of objects are numbered
/// from 1; tables (see [`columns`]) and lists of plain values are left out.
pub fn leaves(value: &Value) -> Vec<(String, Value)> {
    let mut found = Vec::new();
    descend("", value, &mut found);
    found
}

fn descend(path: &str, value: &Value, found: &mut Vec<(String, Value)>) {
    let below = |key: &str| match path {
        "" => key.to_owned(),
        _ => format!("{path} / {key}"),
    };
    match value {
        _ if columns(value).is_some() => {}
        Value::Object(object) => {
            object.iter().for_each(|(key, value)| descend(&below(key), value, found));
        }
        Value::Array(array) => {
            for (place, value) in array.iter().enumerate().filter(|(_, value)| value.is_object()) {
                descend(&below(&(place + 1).to_string()), value, found);
            }
        }
        Value::Null => {}
        plain => found.push((path.to_owned(), plain.clone())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn numbers_have_the_digits_that_they_deserve() {
        let shown = [0.0, 0.031_24, 0.5, 4.567, 67.0, 154_800.4, 1_234_567.0, -2_000.0].map(number);
        let expected = ["0", "0.0312", "0.5", "4.57", "67", "154,800", "1,234,567", "-2,000"];
        assert_eq!(shown, expected);
        assert_eq!(number(f64::NAN), "–");
    }

    #[test]
    fn objects_of_the_same_keys_are_a_table_and_no_values() {
        let table = json!({"sync": {"p50": 1, "p99": 2}, "turn": {"p50": 3, "p99": 4}});
        assert_eq!(columns(&table), Some(vec!["p50", "p99"]));
        assert_eq!(leaves(&json!({"a": table, "b": 1})).len(), 1);
        assert_eq!(columns(&json!({"sync": {"p50": 1}, "turn": {"p99": 2}})), None);
        assert_eq!(columns(&json!({"sync": {"p50": 1}})), None);
        assert_eq!(name("p99_99_ms"), "p99.99 ms");
    }

    #[test]
    fn figures_of_a_latency_go_from_the_usual_to_the_rare() {
        let row = json!({"max": 9, "p99_99": 8, "p99_9": 7, "p50": 2, "count": 5, "p99": 6});
        let table = json!({"sync": row, "turn": row});
        let expected = vec!["count", "p50", "p99", "p99_9", "p99_99", "max"];
        assert_eq!(columns(&table), Some(expected));
        let mut paths = ["b", "ack / p99_ms", "ack / max_ms", "p", "ack / mean_ms", "ack / count"];
        paths.sort_by_key(|path| order(path));
        let expected = ["ack / count", "ack / mean_ms", "ack / p99_ms", "ack / max_ms", "b", "p"];
        assert_eq!(paths, expected);
    }

    #[test]
    fn values_are_found_by_their_path() {
        let found = leaves(&json!({"a": {"b": 1}, "c": [{"d": "x"}, 5], "e": null, "f": true}));
        let found: Vec<(&str, String)> =
            found.iter().map(|(path, value)| (path.as_str(), value.to_string())).collect();
        let expected = [("a / b", "1"), ("c / 1 / d", "\"x\""), ("f", "true")];
        assert_eq!(found, expected.map(|(path, value)| (path, value.to_owned())));
    }
}
