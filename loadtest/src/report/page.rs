//! The parts that a page is made of.

use super::plot::Plot;
use super::words::{self, escaped, leaves, number};
use crate::latencies::Latencies;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt::Write;

/// The rows of the table of latencies, by their names in the summary.
const QUANTILES: [(&str, &str); 8] = [
    ("mean", "mean_ms"),
    ("p50", "p50_ms"),
    ("p90", "p90_ms"),
    ("p99", "p99_ms"),
    ("p99.9", "p99_9_ms"),
    ("p99.99", "p99_99_ms"),
    ("longest", "max_ms"),
    ("count", "count"),
];

/// A page under way.
#[derive(Debug)]
pub struct Page(String);

impl Page {
    /// A page with a title.
    pub fn new(title: &str) -> Page {
        let title = escaped(title);
        let style = include_str!("page.css");
        Page(format!(
            "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\"/>\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n\
             <title>{title}</title>\n<style>\n{style}</style>\n</head>\n<body>\n<h1>{title}</h1>\n"
        ))
    }

    /// A few words.
    pub fn paragraph(&mut self, words: &str) {
        let _ = writeln!(self.0, "<p>{}</p>", escaped(words));
    }

    /// Words that must not be missed, in a colour by their kind: `failed` or `flag`.
    pub fn note(&mut self, kind: &str, words: &str) {
        let _ = writeln!(self.0, "<p class=\"note {kind}\">{}</p>", escaped(words));
    }

    /// Quantiles, with a column for each name of what was measured.
    pub fn latencies(&mut self, latencies: &BTreeMap<String, Latencies>) {
        let columns: Vec<String> =
            ["ms".to_owned()].into_iter().chain(latencies.keys().cloned()).collect();
        let summaries: Vec<Value> = latencies.values().map(Latencies::summary).collect();
        let rows = QUANTILES.iter().map(|(name, key)| {
            let shown = summaries.iter().map(|it| number(it[key].as_f64().unwrap_or(f64::NAN)));
            [(*name).to_owned()].into_iter().chain(shown).collect()
        });
        self.table("Latencies", &columns, rows);
    }

    /// A table; all columns but the first hold numbers. A narrow screen scrolls it sideways.
    pub fn table(
        &mut self,
        title: &str,
        columns: &[String],
        rows: impl Iterator<Item = Vec<String>>,
    ) {
        let title = escaped(title);
        let _ = writeln!(self.0, "<h2>{title}</h2>\n<div class=\"wide\"><table>");
        self.row("th", columns);
        rows.for_each(|row| self.row("td", &row));
        self.0 += "</table></div>\n";
    }

    fn row(&mut self, tag: &str, cells: &[String]) {
        self.0 += "<tr>";
        for (place, cell) in cells.iter().enumerate() {
            let (tag, class) = match place {
                0 => ("th", ""),
                _ => (tag, " class=\"number\""),
            };
            let _ = write!(self.0, "<{tag}{class}>{}</{tag}>", escaped(cell));
        }
        self.0 += "</tr>\n";
    }

    /// Drawings, side by side where there is room.
    pub fn plots(&mut self, plots: &[Plot]) {
        self.0 += "<div class=\"plots\">\n";
        plots.iter().for_each(|plot| self.0 += &plot.figure());
        self.0 += "</div>\n";
    }

    /// Those members of an object, at any depth, that are tables.
    pub fn tables_of(&mut self, path: &str, object: &Value) {
        for (key, value) in object.as_object().into_iter().flatten() {
            let title = format!("{path}{}", words::name(key));
            match words::columns(value) {
                Some(columns) => self.table_of(&title, &columns, value),
                None => self.tables_of(&format!("{title}, "), value),
            }
        }
    }

    fn table_of(&mut self, title: &str, columns: &[&str], object: &Value) {
        let rows = object.as_object().into_iter().flatten().map(|(key, row)| {
            let cells = columns.iter().map(|column| row[column].as_f64().unwrap_or(f64::NAN));
            [words::name(key)].into_iter().chain(cells.map(number)).collect()
        });
        let names = [""].iter().chain(columns).map(|column| words::name(column));
        self.table(title, &names.collect::<Vec<String>>(), rows);
    }

    /// Names and values of an object, side by side with other tables where there is room.
    pub fn pairs(&mut self, tables: &[(&str, &Value)]) {
        self.0 += "<div class=\"tables\">\n";
        for (title, object) in tables {
            let rows = leaves(object);
            if rows.is_empty() {
                continue;
            }
            let _ = writeln!(self.0, "<section><h2>{}</h2><table>", escaped(title));
            for (name, value) in rows {
                let (class, shown) = match (&value, value.as_f64()) {
                    (Value::String(text), _) => ("", text.clone()),
                    (_, Some(value)) => (" class=\"whole\"", number(value)),
                    (other, None) => ("", other.to_string()),
                };
                let (name, shown) = (escaped(&words::name(&name)), escaped(&shown));
                let _ = writeln!(self.0, "<tr><th>{name}</th><td{class}>{shown}</td></tr>");
            }
            self.0 += "</table></section>\n";
        }
        self.0 += "</div>\n";
    }

    /// A command line.
    pub fn code(&mut self, title: &str, words: &str) {
        let (title, words) = (escaped(title), escaped(words));
        let _ = writeln!(self.0, "<h2>{title}</h2>\n<code>{words}</code>");
    }

    /// The whole page.
    pub fn end(self) -> String {
        self.0 + "</body>\n</html>\n"
    }
}
