//! The account as text, for a terminal of 80 columns.

use super::account::{Account, Second, Shard};
use crate::readings::{SlowMessage, kinds};
use crate::spans::{LEGEND, longest};
use crate::ways::{BUCKETS, Figures, Way};
use crate::words::{count, ms, percent};
use std::fmt::Write;

/// So many slow messages and long rounds are printed; the JSON document has all.
const WORST: usize = 5;

/// How far the parts may be off the whole before it is said: they are of the same messages but for
/// those on their way when it began and when it ended.
pub const AGREEMENT_TOLERANCE: f64 = 0.05;

/// Writing to a `String` cannot fail, so the results below are dropped.
struct Page(String);

/// The columns of a second.
const SECOND: [usize; 10] = [4, 9, 8, 8, 8, 10, 8, 8, 8, 8];
/// The columns of a shard.
const SHARD: [usize; 9] = [5, 12, 8, 8, 8, 10, 11, 10, 8];

/// What stands above the seconds.
pub fn seconds_head() -> String {
    let heads = ["s", "acks/s", "p50", "p99", "max", "pushes/s", "p99", "max", "sync99", "away"];
    format!(
        "each second, in ms: arrival to Ack; to push; writes to the log; longest round\n{}",
        columns(SECOND, heads.map(str::to_owned))
    )
}

/// A second, as it passes.
pub fn second(second: &Second) -> String {
    let rate = |figures: &Figures| count((figures.count as f64 / second.seconds).round() as u64);
    let (ack, delivery) = (&second.ack, &second.delivery);
    columns(
        SECOND,
        [
            format!("{:.0}", second.end_seconds),
            rate(ack),
            ms(ack.p50_ns),
            ms(ack.p99_ns),
            ms(ack.max_ns),
            rate(delivery),
            ms(delivery.p99_ns),
            ms(delivery.max_ns),
            ms(second.sync.p99_ns),
            ms(second.away.max_ns),
        ],
    )
}

/// A line of cells, each at the right of its column.
fn columns<const N: usize>(widths: [usize; N], cells: [String; N]) -> String {
    let cells = widths.into_iter().zip(cells);
    cells.map(|(width, cell)| format!("{cell:>width$}")).collect::<String>() + "\n"
}

/// All but the seconds.
pub fn render(account: &Account) -> String {
    let mut page = Page(String::new());
    for way in &account.ways {
        page.way(way);
    }
    page.legend();
    page.rounds(&account.rounds);
    if account.shards.len() > 1 {
        page.shards(&account.shards);
    }
    page.slowest(account);
    page.away(account);
    page.0
}

/// How well the parts of a way agree with the whole, in words.
pub fn agreement(way: &Way) -> String {
    let parts = format!("the stages add up to {} of the whole", percent(way.agreement));
    match (way.agreement - 1.0).abs() <= AGREEMENT_TOLERANCE {
        true => parts,
        false => format!("{parts}: too few messages, or figures that do not belong together"),
    }
}

impl Page {
    fn way(&mut self, way: &Way) {
        let Way { words, whole, spans, .. } = way;
        let out = &mut self.0;
        if whole.count == 0 {
            let _ = writeln!(out, "\n{words}: no message went there");
            return;
        }
        let _ = writeln!(out, "\n{words}: {} messages, in ms", count(whole.count));
        head(out, "stage");
        for part in spans {
            let kind = part.kind.word();
            line(out, &part.figures, &format!("{:>8}  {kind}", percent(part.share)));
        }
        line(out, whole, &format!("{:>8}  whole", percent(1.0)));
        let (queueing, work) = (percent(way.queueing), percent(way.work));
        let _ = writeln!(out, "queueing {queueing}, work {work}; {}", agreement(way));
    }

    fn legend(&mut self) {
        self.0.push('\n');
        for (name, kind, words) in LEGEND {
            let _ = writeln!(self.0, "{name:<9} {:<9} {words}", kind.word());
        }
        let _ = writeln!(self.0, "{BUCKETS}");
    }

    fn rounds(&mut self, rounds: &[Figures]) {
        let _ = writeln!(self.0, "\nrounds of the shards, in ms (away: a whole round)");
        head(&mut self.0, "step");
        for step in rounds {
            line(&mut self.0, step, "");
        }
    }

    fn shards(&mut self, shards: &[Shard]) {
        let heads =
            ["shard", "acks", "p50", "p99", "max", "queueing", "pushed p99", "away p99", "busy"];
        self.0.push('\n');
        self.0.push_str(&columns(SHARD, heads.map(str::to_owned)));
        for shard in shards {
            let Shard { ack, delivery, away, .. } = shard;
            self.0.push_str(&columns(
                SHARD,
                [
                    shard.shard.to_string(),
                    count(ack.count),
                    ms(ack.p50_ns),
                    ms(ack.p99_ns),
                    ms(ack.max_ns),
                    percent(shard.queueing),
                    ms(delivery.p99_ns),
                    ms(away.p99_ns),
                    percent(shard.busy),
                ],
            ));
        }
    }

    fn slowest(&mut self, account: &Account) {
        let shown = kinds(&account.slowest).into_iter().take(WORST);
        for (index, (message, alike)) in shown.enumerate() {
            if index == 0 {
                let _ =
                    writeln!(self.0, "\nslowest messages, ms, and how many more shared their turn");
            }
            let most = longest(&message.stamps_ns);
            let most = most
                .map_or_else(String::new, |(span, nanos)| format!("{} of it: {span}", ms(nanos)));
            let more = if alike > 1 { format!(" (+{})", alike - 1) } else { String::new() };
            let SlowMessage { id, author, recipient, shard, to_shard, .. } = message;
            let (whole, shards) = (ms(message.total_ns), format!("{shard} > {to_shard}"));
            let _ = writeln!(
                self.0,
                "{whole:>7} {id:>20}, {author} > {recipient}, shard {shards}, {most}{more}"
            );
        }
    }

    fn away(&mut self, account: &Account) {
        let Some(longest) = account.away.first() else { return };
        let (rounds, longest) = (account.away.len(), ms(longest.ns));
        let _ = writeln!(
            self.0,
            "\nlong rounds, in which a shard heard nobody, ms: {rounds} kept, {longest} at most"
        );
        for round in account.away.iter().take(WORST) {
            let after = round.unix_ms.saturating_sub(account.begun_unix_ms) as f64 / 1e3;
            let [whole, most, waited] = [round.ns, round.doing_ns, round.waited_ns].map(ms);
            let (shard, doing) = (round.shard, &round.doing);
            let _ =
                write!(self.0, "{whole:>7} shard {shard} at {after:.1} s, {most} of it: {doing}");
            let _ = writeln!(self.0, "; {waited} without a core");
        }
    }
}

fn head(out: &mut String, first: &str) {
    let [count, p50, p99, p999, max] = ["count", "p50", "p99", "p99.9", "max"];
    let share = if first == "stage" { "   share" } else { "" };
    let _ = writeln!(out, "{first:<9} {count:>11} {p50:>8} {p99:>8} {p999:>8} {max:>8}{share}");
}

fn line(out: &mut String, figures: &Figures, end: &str) {
    let [p50, p99, p999, max] =
        [figures.p50_ns, figures.p99_ns, figures.p999_ns, figures.max_ns].map(ms);
    let (name, count) = (figures.name, count(figures.count));
    let _ = writeln!(out, "{name:<9} {count:>11} {p50:>8} {p99:>8} {p999:>8} {max:>8}{end}");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;

    fn account() -> Account {
        let [first, middle, last] = fixture::readings();
        let times = [(&first, &middle, 1.0), (&middle, &last, 2.0)];
        let times =
            times.map(|(before, now, end)| Second::of(&now.since(before).expect("one run"), end));
        Account::of(&first, &last, times.into(), fixture::kept()).expect("one run")
    }

    /// The line that begins with these words, single spaces between them.
    fn line_of(text: &str, start: &str) -> String {
        let mut lines = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        let found = lines.find(|words| words.join(" ").starts_with(start));
        found.expect("there is such a line").join(" ")
    }

    #[test]
    fn every_figure_is_there_and_no_line_is_wider_than_a_terminal() {
        let account = account();
        let mut text = seconds_head();
        account.times.iter().for_each(|one| text.push_str(&second(one)));
        text.push_str(&render(&account));
        for line in text.lines() {
            assert!(line.chars().count() <= 80, "{line}");
        }
        let expected = "1 200 1.049 1.049 1.049 100 2.097 2.097 0.524 4.194";
        assert_eq!(line_of(&text, "1 200"), expected);
        assert!(text.contains(&format!("\n{BUCKETS}\n")), "{text}");
        let expected = "sync 400 1.049 1.049 1.049 1.049 60.0 % queueing";
        assert_eq!(line_of(&text, "sync 400"), expected);
        let expected = "queueing 90.0 %, work 10.0 %; the stages add up to 100.0 % of the whole";
        assert_eq!(line_of(&text, "queueing 90"), expected);
        assert_eq!(line_of(&text, "1 200 1.049 1.049 1.049 90"), {
            "1 200 1.049 1.049 1.049 90.0 % 2.097 4.194 25.0 %"
        });
        let expected = "20.00 1268242042090296000, 119 > 145, shard 0 > 1, 6.000 of it: sync";
        assert_eq!(line_of(&text, "20.00"), expected);
        let expected = "17.00 shard 0 at 0.3 s, 8.500 of it: decode; 4.250 without a core";
        assert_eq!(line_of(&text, "17.00"), expected);
    }

    #[test]
    fn a_sum_that_is_off_is_said_and_so_is_a_way_that_nobody_went() {
        let mut account = account();
        account.ways[0].agreement = 0.94;
        account.ways[1].whole.count = 0;
        let text = render(&account);
        let expected = "the stages add up to 94.0 % of the whole: too few messages";
        assert!(text.contains(expected), "{text}");
        let expected = "its recipient's connection: no message went there";
        assert!(text.contains(expected), "{text}");
    }
}
