//! The account as a page that needs nothing beside itself: no scripts, no links, light and dark.
//!
//! Pictures are SVG whose places across are percentages, so that bars stretch with the page while
//! words keep their size. What the server says in words is escaped.

use super::account::{Account, Shard};
use super::text::agreement;
use super::{heat, waterfall};
use crate::spans::LEGEND;
use crate::ways::{BUCKETS, Figures, Part, Way};
use crate::words::{count, ms, percent};
use std::fmt::Write;

/// The looks of it.
const STYLE: &str = include_str!("picture.css");

/// The whole page.
pub fn render(account: &Account) -> String {
    let acked = &account.ways[0].whole;
    let shards = match account.shards.len() {
        1 => "1 shard".to_owned(),
        several => format!("{several} shards"),
    };
    let mut out = format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>Where messages' time went</title>\n<style>\n{STYLE}</style>\n<main>\n\
         <h1>Where messages' time went</h1>\n<p class=\"soft\">{:.0} s from {}, {shards}{}</p>\n\
         <dl>{}{}{}{}</dl>\n",
        account.seconds,
        instant(account.begun_unix_ms),
        account
            .broken_off
            .iter()
            .map(|why| format!("; broken off: {}", escape(why)))
            .collect::<String>(),
        card("acked a second", &count((acked.count as f64 / account.seconds).round() as u64)),
        card("half within", &format!("{} ms", ms(acked.p50_ns))),
        card("99 % within", &format!("{} ms", ms(acked.p99_ns))),
        card("all within", &format!("{} ms", ms(acked.max_ns))),
    );
    section(&mut out, "Arrival to Ack, second by second", &heat::render(&account.times));
    section(&mut out, "The slowest messages", &waterfall::render(&account.slowest));
    for way in &account.ways {
        let title = format!("By stage, {}", way.words);
        section(&mut out, &title, &way_table(way));
    }
    section(&mut out, "What the stages are", &legend());
    let steps: String =
        account.rounds.iter().map(|step| row(step.name, step, String::new())).collect();
    section(&mut out, "Rounds of the shards, ms", &table("step", "", &steps));
    if account.shards.len() > 1 {
        let shards: String = account.shards.iter().map(shard_row).collect();
        section(&mut out, "By shard, arrival to Ack, ms", &table("shard", "busy", &shards));
    }
    out.push_str("</main>\n</html>\n");
    out
}

/// `<`, `>`, `&` and quotes made harmless.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '"' => out.push_str("&quot;"),
            other => out.push(other),
        }
    }
    out
}

/// Places of ticks from 0 to `most`: at most six, whole steps of 1, 2 or 5 times a power of ten.
pub fn ticks(most: f64) -> Vec<f64> {
    let power = 10_f64.powf((most / 5.0).log10().floor());
    let steps = [1.0, 2.0, 5.0, 10.0].map(|step| step * power);
    let step = steps.into_iter().find(|step| most / step < 5.5).unwrap_or(most);
    (0..=6).map(|tick| f64::from(tick) * step).take_while(|place| *place <= most).collect()
}

fn instant(unix_ms: u64) -> String {
    let instant =
        i64::try_from(unix_ms).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    instant.map_or_else(String::new, |instant| format!("{instant:.0}"))
}

fn card(name: &str, value: &str) -> String {
    format!("<div><dt>{name}</dt><dd>{value}</dd></div>")
}

/// Writing to a `String` cannot fail, here and below.
fn section(out: &mut String, title: &str, body: &str) {
    let _ = writeln!(out, "<section>\n<h2>{title}</h2>\n{body}</section>");
}

fn table(first: &str, last: &str, rows: &str) -> String {
    let last = if last.is_empty() { String::new() } else { format!("<th>{last}</th>") };
    format!(
        "<div class=\"wide\"><table>\n<tr><th>{first}</th><th>count</th><th>p50</th><th>p99</th>\
         <th>p99.9</th><th>max</th>{last}</tr>\n{rows}</table></div>\n"
    )
}

fn row(name: &str, figures: &Figures, last: String) -> String {
    let [p50, p99, p999, max] =
        [figures.p50_ns, figures.p99_ns, figures.p999_ns, figures.max_ns].map(ms);
    let last = if last.is_empty() { last } else { format!("<td>{last}</td>") };
    format!(
        "<tr><td>{name}</td><td>{}</td><td>{p50}</td><td>{p99}</td><td>{p999}</td>\
         <td>{max}</td>{last}</tr>\n",
        count(figures.count)
    )
}

fn shard_row(shard: &Shard) -> String {
    row(&shard.shard.to_string(), &shard.ack, percent(shard.busy))
}

/// Shares as one bar, and figures in ms.
fn way_table(way: &Way) -> String {
    if way.whole.count == 0 {
        return "<p class=\"soft\">No message went there.</p>\n".to_owned();
    }
    let mut bar = String::new();
    let mut from = 0.0;
    for Part { figures, share, .. } in &way.spans {
        let (name, share) = (figures.name, share * 100.0);
        let _ = write!(
            bar,
            "<rect class=\"{name}\" x=\"{from:.3}%\" width=\"{share:.3}%\" height=\"18\">\
             <title>{name} {share:.1} %</title></rect>"
        );
        from += share;
    }
    let mut rows = String::new();
    for Part { figures, share, .. } in &way.spans {
        let name = format!("<i class=\"{0}\"></i>{0}", figures.name);
        rows.push_str(&row(&name, figures, percent(*share)));
    }
    rows.push_str(&row(way.whole.name, &way.whole, percent(1.0)));
    format!(
        "<svg width=\"100%\" height=\"18\" role=\"img\" aria-label=\"shares of the stages\">{bar}\
         </svg>\n{}<p class=\"soft\">Times in ms; {BUCKETS}. Queueing {}, work {}; {}.</p>\n",
        table("stage", "share", &rows),
        percent(way.queueing),
        percent(way.work),
        agreement(way)
    )
}

fn legend() -> String {
    let lines = LEGEND.iter().map(|(name, kind, words)| {
        format!("<li><i class=\"{name}\"></i><b>{name}</b> {}: {words}</li>\n", kind.word())
    });
    format!("<ul>\n{}</ul>\n", lines.collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;
    use crate::profile::account::Second;

    fn account() -> Account {
        let [first, middle, last] = fixture::readings();
        let times = [(&first, &middle, 1.0), (&middle, &last, 2.0)];
        let times =
            times.map(|(before, now, end)| Second::of(&now.since(before).expect("one run"), end));
        Account::of(&first, &last, times.into(), fixture::kept()).expect("one run")
    }

    #[test]
    fn the_page_has_its_figures_and_needs_nothing_beside_itself() {
        let page = render(&account());
        for word in ["2 s from 2026-11-24T01:56:40Z, 2 shards", "<dd>200</dd>", "60.0 %"] {
            assert!(page.contains(word), "{word} is not in {page}");
        }
        for word in ["http:", "https:", "//", "<script", "src=", "href=", "url(", "@import"] {
            assert!(!page.contains(word), "{word} is in the page");
        }
        assert!(page.contains("prefers-color-scheme: dark"));
        assert_eq!(page.matches("<section>").count(), page.matches("</section>").count());
        assert_eq!(page.matches("<svg").count(), page.matches("</svg>").count());
    }

    #[test]
    fn ticks_are_few_and_round() {
        assert_eq!(ticks(12.4), [0.0, 5.0, 10.0]);
        assert_eq!(ticks(10.0), [0.0, 2.0, 4.0, 6.0, 8.0, 10.0]);
        assert_eq!(ticks(5.0), [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
        for most in 1..5000 {
            let ticks = ticks(f64::from(most) / 7.0);
            assert!((3..=6).contains(&ticks.len()), "{most}: {ticks:?}");
        }
    }

    #[test]
    fn words_of_the_server_are_no_markup() {
        let mut account = account();
        account.slowest[0].id = "<b>\"&".to_owned();
        let page = render(&account);
        assert!(page.contains("&lt;b&gt;&quot;&amp;") && !page.contains("<b>\"&"));
    }

    #[test]
    fn a_page_of_nothing_says_so() {
        let [first, _, _] = fixture::readings();
        let account = Account::of(&first, &first, Vec::new(), Default::default());
        let mut account = account.expect("one run");
        account.shards.truncate(1);
        let page = render(&account);
        assert!(page.contains(", 1 shard<"), "{page}");
        assert_eq!(page.matches("No message went there.").count(), 2);
        assert!(page.contains("No message was acked.") && page.contains("None was kept."));
    }
}
