//! The screen of `top`: a view drawn on a frame, and nothing else looked at.
//!
//! It is made for 80 columns, and says so below that, and 24 lines; what is wider spreads the
//! columns, what is higher shows more shards and slow messages, and from 30 lines on a chart.

use super::snapshot::{Counts, Snapshot, View};
use crate::readings::{SlowMessage, kinds};
use crate::spans::{SHARED, longest};
use crate::ways::{Figures, Way};
use crate::words::{bytes, count, ms, percent, span};
use ratatui::Frame;
use ratatui::buffer::Buffer;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Style, Stylize};
use ratatui::text::{Line, Text};
use ratatui::widgets::{Cell, Paragraph, Row, Sparkline, Table, Wrap};

/// Narrower, figures and heads would run into each other.
const WIDTH_MIN: u16 = 80;
/// The widths of a shard's columns at 80: they are shares of what there is.
const SHARD: [u16; 10] = [5, 9, 9, 9, 9, 9, 8, 9, 8, 5];
/// Those of a stage, at 40.
const STAGE: [u16; 5] = [9, 7, 8, 8, 8];
/// Those of a slow message, at 80.
const SLOW: [u16; 7] = [8, 11, 20, 10, 11, 11, 9];
/// Lines of the stages: a title, a head, and those on the way to the Ack.
const STAGE_LINES: u16 = 2 + 7;
/// A frame so high has room for the chart.
const CHART_FROM: u16 = 30;
/// Its lines, with its title.
const CHART_LINES: u16 = 5;

/// Draws it all.
pub fn draw(frame: &mut Frame, view: &View) {
    let width = frame.area().width;
    if width < WIDTH_MIN {
        let words = format!("{WIDTH_MIN} columns, please: here are {width}; q: quit");
        return frame.render_widget(Paragraph::new(words).wrap(Wrap { trim: true }), frame.area());
    }
    let Some(snapshot) = &view.snapshot else {
        let admin = view.admin;
        let words = view.lost.clone().unwrap_or_else(|| format!("asking {admin}"));
        let words = Paragraph::new(vec![title(view), Line::from(words)]);
        return frame.render_widget(words.wrap(Wrap { trim: false }), frame.area());
    };
    let chart = if frame.area().height < CHART_FROM { 0 } else { CHART_LINES };
    let fixed = 4 + STAGE_LINES + chart;
    let rest = frame.area().height.saturating_sub(fixed);
    // The slow messages keep a third of what is left.
    let shards = u16::try_from(snapshot.shards.len()).unwrap_or(u16::MAX).saturating_add(1);
    let shards = shards.min((rest * 2 / 3).max(2));
    let heights = [4, chart, shards, STAGE_LINES].map(Constraint::Length);
    let [head, history, shards, stages, slowest] =
        Layout::vertical(heights.into_iter().chain([Constraint::Fill(1)])).areas(frame.area());
    frame.render_widget(Paragraph::new(head_lines(view, snapshot)), head);
    draw_history(frame, history, &view.history);
    draw_shards(frame, shards, snapshot);
    let [left, right] = Layout::horizontal([Constraint::Fill(1); 2]).areas(stages);
    let title = |way: &Way, name| {
        format!("{name}, ms: {} in {:.1} s", count(way.whole.count), snapshot.seconds)
    };
    let [ack, delivery] = &snapshot.ways;
    draw_way(frame, left, (title(ack, "to the Ack"), ack), &[]);
    draw_way(frame, right, (title(delivery, "to the recipient"), delivery), &snapshot.rounds);
    draw_slowest(frame, slowest, snapshot);
}

/// What a buffer shows, line by line, without blanks at the ends.
pub fn text(buffer: &Buffer) -> String {
    let width = usize::from(buffer.area.width).max(1);
    let lines = buffer.content.chunks(width).map(|line| {
        let line: String = line.iter().map(|cell| cell.symbol()).collect();
        line.trim_end().to_owned() + "\n"
    });
    lines.collect()
}

fn title(view: &View) -> Line<'static> {
    let about = match &view.snapshot {
        Some(Snapshot { version, durability, up_seconds, .. }) => {
            let up = span(*up_seconds);
            format!("anser {version}  {}  durability {durability}  up {up}  q: quit", view.admin)
        }
        None => format!("anser  {}  q: quit", view.admin),
    };
    Line::from(about).bold()
}

fn head_lines(view: &View, snapshot: &Snapshot) -> Vec<Line<'static>> {
    let Snapshot { all, cores, resident_bytes, .. } = snapshot;
    let Counts { sent, pushed, acked, requests, refused, .. } = all;
    let [sent, pushed, acked, requests, refused] =
        [sent, pushed, acked, requests, refused].map(|rate| whole(*rate));
    let [bytes_in, bytes_out, memory] = [all.bytes_in, all.bytes_out, *resident_bytes].map(bytes);
    let state = match (&view.lost, snapshot.alarms.as_slice()) {
        (Some(words), _) => Line::from(format!("lost: {words}")).fg(Color::Red).bold(),
        (None, []) => Line::default(),
        (None, alarms) => Line::from(alarms.join("; ")).fg(Color::Red).bold(),
    };
    vec![
        title(view),
        Line::from(format!(
            "{sent} sent/s  {pushed} pushed/s  {acked} acked/s  {requests} http/s  \
             {refused} refused/s"
        )),
        Line::from(format!(
            "{} connections  {memory}  CPU {:.2} cores  in {bytes_in}/s  out {bytes_out}/s",
            whole(all.connections),
            cores
        )),
        state,
    ]
}

fn draw_history(frame: &mut Frame, area: Rect, history: &[u64]) {
    if area.height == 0 {
        return;
    }
    let [title, chart] = Layout::vertical([Constraint::Length(1), Constraint::Fill(1)]).areas(area);
    let shown = &history[history.len().saturating_sub(usize::from(chart.width))..];
    let most = shown.iter().copied().max().unwrap_or(0);
    frame.render_widget(Line::from(format!("sent/s, up to {}", count(most))).style(HEAD), title);
    frame.render_widget(Sparkline::default().data(shown).style(Color::Cyan), chart);
}

/// How heads look.
const HEAD: Style = Style::new().fg(Color::Cyan);

fn draw_shards(frame: &mut Frame, area: Rect, snapshot: &Snapshot) {
    let heads = [
        "shard", "sent/s", "pushed/s", "conns", "away p99", "sync p99", "busy", "overlay",
        "LSM lag", "log",
    ];
    let room = usize::from(area.height.saturating_sub(1));
    let mut shards: Vec<_> = snapshot.shards.iter().collect();
    if shards.len() > room {
        shards.sort_by(|one, other| other.1.busy.total_cmp(&one.1.busy));
        shards.truncate(room);
        shards.sort_by_key(|(shard, _)| *shard);
    }
    let hidden = snapshot.shards.len() - shards.len();
    let rows = shards.into_iter().map(|(shard, counts)| {
        cells([
            shard.to_string(),
            whole(counts.sent),
            whole(counts.pushed),
            whole(counts.connections),
            ms(counts.away_p99_ns),
            ms(counts.sync_p99_ns),
            percent(counts.busy),
            bytes(counts.overlay_bytes),
            whole(counts.index_lag),
            whole(counts.log_segments),
        ])
    });
    let mut heads = heads.map(str::to_owned);
    if hidden > 0 {
        heads[0] = format!("+{hidden}");
    }
    draw_table(frame, area, (SHARD, heads), rows);
}

/// The spans of a way that are its own, its whole, and `rounds` below.
fn draw_way(frame: &mut Frame, area: Rect, (name, way): (String, &Way), rounds: &[Figures]) {
    let [title, table] = Layout::vertical([Constraint::Length(1), Constraint::Fill(1)]).areas(area);
    frame.render_widget(Line::from(name).style(HEAD), title);
    let figures = |name: &str, figures: &Figures, share: String| {
        let [p50, p99, max] = [figures.p50_ns, figures.p99_ns, figures.max_ns].map(ms);
        cells([name.to_owned(), p50, p99, max, share])
    };
    // What both ways share is told once.
    let shared = if rounds.is_empty() { 0 } else { SHARED.len() };
    let parts = way.spans.iter().skip(shared);
    let parts = parts.map(|part| figures(part.figures.name, &part.figures, percent(part.share)));
    let whole = figures(way.whole.name, &way.whole, percent(way.agreement)).bold();
    let names = ["turn", "log", "away"];
    let rounds = names.iter().zip(rounds);
    let rounds = rounds.map(|(name, step)| figures(name, step, String::new()));
    let heads = ["stage", "p50", "p99", "max", "share"].map(str::to_owned);
    let rows = parts.chain([whole]).chain(rounds);
    draw_table(frame, table, (STAGE, heads), rows);
}

fn draw_slowest(frame: &mut Frame, area: Rect, snapshot: &Snapshot) {
    let heads = ["slowest", "ago", "message", "shard", "author", "to", "mostly"];
    let kinds = kinds(&snapshot.slowest).into_iter().take(usize::from(area.height));
    let rows = kinds.map(|(message, _)| {
        let SlowMessage { id, author, recipient, shard, to_shard, .. } = message;
        let ago = snapshot.unix_ms.saturating_sub(message.received_unix_ms) as f64 / 1e3;
        let shards =
            if shard == to_shard { shard.to_string() } else { format!("{shard} > {to_shard}") };
        cells([
            ms(message.total_ns),
            span(ago),
            id.clone(),
            shards,
            author.to_string(),
            recipient.to_string(),
            longest(&message.stamps_ns).map_or("", |(span, _)| span).to_owned(),
        ])
    });
    draw_table(frame, area, (SLOW, heads.map(str::to_owned)), rows);
}

fn whole(value: f64) -> String {
    count(value.max(0.0).round() as u64)
}

/// A table whose columns share the width in proportion, below its heads.
fn draw_table<'a, const N: usize>(
    frame: &mut Frame,
    area: Rect,
    (widths, heads): ([u16; N], [String; N]),
    rows: impl Iterator<Item = Row<'a>>,
) {
    let table = Table::new(rows, widths.map(Constraint::Fill)).header(cells(heads).style(HEAD));
    frame.render_widget(table.column_spacing(0), area);
}

/// Each at the right of its column.
fn cells<const N: usize>(words: [String; N]) -> Row<'static> {
    Row::new(words.map(|word| Cell::from(Text::from(word).right_aligned())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::top::snapshot::Reading;
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    fn view() -> View {
        let mut view = View::new("127.0.0.1:8094".parse().expect("an address"));
        for seconds in [1, 2, 3] {
            view.take(Ok(Reading::fixture(seconds)));
        }
        view
    }

    fn drawn(view: &View, width: u16, height: u16) -> String {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).expect("in memory");
        terminal.draw(|frame| draw(frame, view)).expect("in memory");
        text(terminal.backend().buffer())
    }

    /// The lines of a frame with single spaces.
    fn lines(text: &str) -> Vec<String> {
        text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
    }

    #[test]
    fn every_figure_is_on_a_terminal_of_80_by_24() {
        let text = drawn(&view(), 80, 24);
        let lines = lines(&text);
        for expected in [
            "anser 0.1.0 127.0.0.1:8094 durability sync up 2 h 5 min q: quit",
            "200 sent/s 100 pushed/s 98 acked/s 14 http/s 0 refused/s",
            "106 connections 190 MiB CPU 0.50 cores in 58.6 KiB/s out 117 KiB/s",
            "shard sent/s pushed/s conns away p99 sync p99 busy overlay LSM lag log",
            "1 100 50 53 4.194 0.524 25.0 % 24.0 MiB 1,234 3",
            "to the Ack, ms: 200 in 1.0 s to the recipient, ms: 100 in 1.0 s",
            "decode 0.131 0.131 0.131 10.0 % relay 0.262 0.262 0.262 10.0 %",
            "sync 1.049 1.049 1.049 60.0 % delivery 2.097 2.097 2.097 100.0 %",
            "ack 1.049 1.049 1.049 100.0 % away 4.194 4.194 4.194",
            "slowest ago message shard author to mostly",
            "20.00 1 s 1268242042090296000 0 > 1 119 145 sync",
        ] {
            assert!(lines.iter().any(|line| line == expected), "{expected} is not in\n{text}");
        }
    }

    #[test]
    fn large_figures_are_not_cut_at_80_columns() {
        let mut view = view();
        let snapshot = view.snapshot.as_mut().expect("it was taken");
        for (_, counts) in &mut snapshot.shards {
            counts.sent = 123_456.0;
            counts.pushed = 123_456.0;
            counts.connections = 123_456.0;
            counts.away_p99_ns = 17_123_000_000;
            counts.sync_p99_ns = 17_123_000_000;
            counts.busy = 1.0;
            counts.overlay_bytes = 134_217_728.0;
            counts.index_lag = 99_999.0;
            counts.log_segments = 16.0;
        }
        let message = &mut snapshot.slowest[0];
        message.id = "9223372036854775807".to_owned();
        message.total_ns = 17_123_000_000;
        (message.author, message.recipient) = (4_108_511_850, 4_108_511_851);
        (message.shard, message.to_shard) = (254, 255);
        message.received_unix_ms -= 299_000;
        let text = drawn(&view, 80, 24);
        for expected in [
            "0 123,456 123,456 123,456 17123 17123 100.0 % 128 MiB 99,999 16",
            "17123 5 min 2 s 9223372036854775807 254 > 255 4108511850 4108511851 sync",
        ] {
            assert!(lines(&text).iter().any(|line| line == expected), "{expected}:\n{text}");
        }
    }

    #[test]
    fn more_room_shows_more_and_less_room_the_busiest() {
        let mut view = view();
        let snapshot = view.snapshot.as_mut().expect("it was taken");
        snapshot.shards = (0..32)
            .map(|shard| (shard, Counts { busy: f64::from(shard % 8) / 8.0, ..Counts::default() }))
            .collect();
        let busiest = |text: &str| text.lines().filter(|line| line.contains("87.5 %")).count();
        let small = drawn(&view, 80, 24);
        assert_eq!(busiest(&small), 4, "{small}");
        assert!(lines(&small).iter().any(|line| line.starts_with("+26 sent/s")), "{small}");
        assert!(!small.contains("sent/s, up to"));
        let large = drawn(&view, 160, 70);
        assert!(lines(&large).iter().any(|line| line.starts_with("31 0 0")), "{large}");
        assert!(large.contains("sent/s, up to 200"), "{large}");
    }

    #[test]
    fn a_lost_server_and_alarms_are_said_beside_the_last_figures() {
        let mut view = view();
        view.snapshot.as_mut().expect("it was taken").alarms = vec!["the disk is full"];
        assert!(drawn(&view, 80, 24).contains("\nthe disk is full\n"));
        view.take(Err("no server answers on its admin port 127.0.0.1:8094".to_owned()));
        let text = drawn(&view, 80, 24);
        assert!(text.contains("\nlost: no server answers on its admin port 127.0.0.1:8094\n"));
        assert!(text.contains("200 sent/s"), "{text}");
        let mut nothing = View::new(view.admin);
        assert!(drawn(&nothing, 80, 24).contains("\nasking 127.0.0.1:8094\n"));
        nothing.take(Err("word ".repeat(30)));
        assert_eq!(drawn(&nothing, 80, 24).matches("word").count(), 30);
    }

    #[test]
    fn a_narrow_terminal_is_asked_for_80_columns() {
        assert_eq!(drawn(&view(), 79, 3).trim(), "80 columns, please: here are 79; q: quit");
        assert!(!drawn(&view(), 80, 24).contains("please"));
    }

    #[test]
    fn no_frame_is_too_small_to_be_drawn_on() {
        for (width, height) in [(1, 1), (10, 3), (40, 12), (80, 16), (300, 100)] {
            drawn(&view(), width, height);
        }
    }
}
