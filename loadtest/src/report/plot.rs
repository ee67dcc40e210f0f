//! Lines over two axes as SVG that needs nothing from outside of its page but a few colours.

use super::axis::{Axis, Scale};
use super::words::escaped;
use std::fmt::Write;

/// The drawing's size in its own units; it is stretched to its place, its letters with it.
const WIDTH: f64 = 400.0;
const HEIGHT: f64 = 270.0;
/// Room for the words around the lines.
const LEFT: f64 = 52.0;
const RIGHT: f64 = 20.0;
const TOP: f64 = 26.0;
const BOTTOM: f64 = 48.0;
/// Colours that the page knows as `--line-0` and so on.
pub const COLOURS: usize = 6;
/// How lines of one colour are told apart.
const DASHES: [&str; 3] = ["", "7 4", "2 4"];

/// A line.
#[derive(Clone, Debug)]
pub struct Line {
    /// What it shows.
    pub name: String,
    /// Which colour it has; beyond [`COLOURS`] they begin anew.
    pub colour: usize,
    /// Which dashes it has; 0 for none.
    pub dash: usize,
    /// Its points, from left to right.
    pub points: Vec<(f64, f64)>,
}

/// A plot.
#[derive(Clone, Debug)]
pub struct Plot {
    /// What it shows.
    pub title: String,
    /// What goes to the right, with its unit.
    pub x: (String, Scale),
    /// What goes up, with its unit.
    pub y: (String, Scale),
    /// The lines, those in front last.
    pub lines: Vec<Line>,
}

impl Plot {
    /// The figure: title, drawing, and a legend if there is more than one line.
    pub fn figure(&self) -> String {
        let title = escaped(&self.title);
        let mut out = format!("<figure>\n<h3>{title}</h3>\n");
        self.draw(&mut out);
        let mut named: Vec<(&str, usize, usize)> = Vec::new();
        for line in &self.lines {
            let entry = (line.name.as_str(), line.colour, line.dash);
            if !named.contains(&entry) {
                named.push(entry);
            }
        }
        if !named.is_empty() {
            out += "<figcaption>\n";
            for (name, colour, dash) in named {
                let stroke = stroke(colour, dash);
                let key = r#"<svg class="key" viewBox="0 0 26 8" aria-hidden="true">"#;
                let _ = write!(out, r#"<span>{key}<path d="M1 4H25" {stroke}/></svg> "#);
                let _ = writeln!(out, "{}</span>", escaped(name));
            }
            out += "</figcaption>\n";
        }
        out + "</figure>\n"
    }

    fn draw(&self, out: &mut String) {
        let points = || self.lines.iter().flat_map(|line| line.points.iter());
        let x = Axis::of(self.x.1, points().map(|point| point.0));
        let y = Axis::of(self.y.1, points().map(|point| point.1));
        let label = escaped(&format!("{}: {} by {}", self.title, self.y.0, self.x.0));
        let _ = writeln!(
            out,
            r#"<svg class="plot" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{label}">"#
        );
        self.draw_grid(&x, &y, out);
        for line in &self.lines {
            draw_line(line, &x, &y, out);
        }
        *out += "</svg>\n";
    }

    fn draw_grid(&self, x: &Axis, y: &Axis, out: &mut String) {
        let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
        for (value, words) in y.ticks() {
            let at = up(y.share(value).unwrap_or(0.0));
            let _ = writeln!(out, r#"<path class="grid" d="M{LEFT} {at:.1}H{right}"/>"#);
            let (x, y) = (LEFT - 6.0, at + 4.5);
            let _ = writeln!(out, r#"<text x="{x}" y="{y:.1}" text-anchor="end">{words}</text>"#);
        }
        for (value, words) in x.ticks() {
            let at = along(x.share(value).unwrap_or(0.0));
            let _ = writeln!(out, r#"<path class="grid" d="M{at:.1} {TOP}V{bottom}"/>"#);
            let y = bottom + 17.0;
            let _ =
                writeln!(out, r#"<text x="{at:.1}" y="{y}" text-anchor="middle">{words}</text>"#);
        }
        let _ = writeln!(out, r#"<path class="axis" d="M{LEFT} {TOP}V{bottom}H{right}"/>"#);
        let (middle, low) = ((LEFT + right) / 2.0, HEIGHT - 9.0);
        let (x_name, y_name) = (escaped(&self.x.0), escaped(&self.y.0));
        let name = r#"class="name" text-anchor="#;
        let _ = writeln!(out, r#"<text {name}"middle" x="{middle}" y="{low}">{x_name}</text>"#);
        let _ = writeln!(out, r#"<text {name}"start" x="2" y="13">{y_name}</text>"#);
    }
}

fn draw_line(line: &Line, x: &Axis, y: &Axis, out: &mut String) {
    let place = |(right, high): &(f64, f64)| Some((along(x.share(*right)?), up(y.share(*high)?)));
    let mut points: Vec<(f64, f64)> = line.points.iter().filter_map(place).collect();
    if let [only] = points[..] {
        // A line with round ends and no length is a dot.
        points.push(only);
    }
    if points.is_empty() {
        return;
    }
    let stroke = stroke(line.colour, line.dash);
    let _ = write!(out, r#"<polyline class="line" {stroke} points=""#);
    for (x, y) in points {
        let _ = write!(out, "{x:.1},{y:.1} ");
    }
    let _ = writeln!(out, r#""><title>{}</title></polyline>"#, escaped(&line.name));
}

fn stroke(colour: usize, dash: usize) -> String {
    let dashes = DASHES[dash % DASHES.len()];
    format!(r#"style="stroke: var(--line-{})" stroke-dasharray="{dashes}""#, colour % COLOURS)
}

fn along(share: f64) -> f64 {
    LEFT + share * (WIDTH - LEFT - RIGHT)
}

fn up(share: f64) -> f64 {
    HEIGHT - BOTTOM - share * (HEIGHT - BOTTOM - TOP)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plot(scale: Scale, points: &[(f64, f64)]) -> String {
        let name = r#"a <b> & "c""#.to_owned();
        let points = points.to_vec();
        let line = Line { name: name.clone(), colour: 7, dash: 4, points };
        let (x, y) = ((name.clone(), scale), (name.clone(), Scale::Log));
        Plot { title: name, x, y, lines: vec![line] }.figure()
    }

    #[test]
    fn whatever_is_plotted_is_xml_without_what_is_no_number() {
        let hard = [
            (0.0, 0.0),
            (f64::NAN, 1.0),
            (1.0, f64::INFINITY),
            (1.0, -3.0),
            (0.5, 7.0),
            (1e300, 1e-300),
        ];
        for scale in [Scale::Linear, Scale::Log, Scale::Nines] {
            for count in 0..=hard.len() {
                let figure = plot(scale, &hard[..count]);
                let parsed = roxmltree::Document::parse(&figure);
                assert!(parsed.is_ok(), "{:?} in {figure}", parsed.err());
                assert!(!figure.contains("NaN") && !figure.contains("inf"), "{figure}");
            }
        }
    }

    #[test]
    fn points_stand_inside_of_the_axes_and_higher_values_higher() {
        let figure = plot(Scale::Linear, &[(0.0, 1.0), (5.0, 10.0), (10.0, 100.0)]);
        let parsed = roxmltree::Document::parse(&figure).expect("it is XML");
        let line = parsed.descendants().find(|node| node.has_tag_name("polyline"));
        let points = line.and_then(|line| line.attribute("points")).expect("there is a line");
        let number = |text: &str| text.parse::<f64>().expect("a number");
        let points: Vec<(f64, f64)> = points
            .split_whitespace()
            .filter_map(|point| point.split_once(','))
            .map(|(x, y)| (number(x), number(y)))
            .collect();
        let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
        assert_eq!(
            points,
            [(LEFT, bottom), ((LEFT + right) / 2.0, (TOP + bottom) / 2.0), (right, TOP)]
        );
    }

    #[test]
    fn a_single_point_is_seen() {
        assert!(plot(Scale::Linear, &[(1.0, 1.0)]).contains("380.0,222.0 380.0,222.0"));
    }
}
