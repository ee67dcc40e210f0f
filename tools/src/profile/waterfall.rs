//! The slowest messages, each as a bar of its stages on one scale.
//!
//! Until it is released a message has one way; then the upper half of its bar goes on to the Ack,
//! the lower half to the recipient.

use super::picture::{escape, ticks};
use crate::readings::{SlowMessage, kinds};
use crate::spans::{LEGEND, SHARED, Span, TO_ACK, TO_RECIPIENT};
use crate::words::ms;
use std::fmt::Write;

/// So many are drawn.
const MESSAGES_MAX: usize = 16;
/// The height of a bar, pixels.
const BAR_PIXELS: u32 = 20;

/// The picture; words when there is nothing to draw.
pub fn render(slowest: &[SlowMessage]) -> String {
    let Some(longest) = slowest.iter().map(|message| message.total_ns.max(1)).max() else {
        return "<p class=\"soft\">None was kept.</p>\n".to_owned();
    };
    let mut out = key() + &scale(longest);
    for (message, alike) in kinds(slowest).into_iter().take(MESSAGES_MAX) {
        bar(&mut out, message, alike, longest);
    }
    out
}

fn key() -> String {
    let names =
        LEGEND.iter().map(|(name, ..)| format!("<span><i class=\"{name}\"></i>{name}</span>"));
    format!(
        "<div class=\"key\">{}</div>\n<p class=\"soft\">The upper half of a bar leads to the Ack, \
         the lower half to the recipient; ms since the message arrived.</p>\n",
        names.collect::<String>()
    )
}

/// Writing to a `String` cannot fail, here and below.
fn scale(longest: u64) -> String {
    let mut out = "<svg width=\"100%\" height=\"16\">".to_owned();
    let longest_ms = longest as f64 / 1e6;
    for tick in ticks(longest_ms) {
        let anchor = if tick > 0.0 { "middle" } else { "start" };
        let _ = write!(
            out,
            "<text x=\"{:.2}%\" y=\"12\" text-anchor=\"{anchor}\">{}</text>",
            tick * 100.0 / longest_ms,
            (tick * 1e6).round() / 1e6
        );
    }
    out + "</svg>\n"
}

fn bar(out: &mut String, message: &SlowMessage, alike: usize, longest: u64) {
    let more = if alike > 1 { format!(", {} more of its turn", alike - 1) } else { String::new() };
    let SlowMessage { id, author, recipient, shard, to_shard, .. } = message;
    let way = if shard == to_shard { String::new() } else { format!(" → {to_shard}") };
    let _ = write!(
        out,
        "<div class=\"message\"><b>{} ms</b> <span class=\"soft\">{}, {author} → {recipient}, \
         shard {shard}{way}{more}</span>\n<svg width=\"100%\" height=\"{BAR_PIXELS}\" role=\"img\" \
         aria-label=\"stages of a message\">",
        ms(message.total_ns),
        escape(id)
    );
    let half = BAR_PIXELS / 2;
    let acked = TO_ACK.of(&message.stamps_ns);
    let pushed = TO_RECIPIENT.of(&message.stamps_ns);
    let is_shared = |span: &Span| SHARED.contains(span);
    for part in &acked {
        let height = if is_shared(&part.0) { BAR_PIXELS } else { half - 1 };
        rect(out, part, longest, 0..height);
    }
    for part in pushed.iter().filter(|part| !is_shared(&part.0)) {
        rect(out, part, longest, half..BAR_PIXELS);
    }
    out.push_str("</svg></div>\n");
}

fn rect(
    out: &mut String,
    (span, from, to): &(Span, u64, u64),
    longest: u64,
    rows: std::ops::Range<u32>,
) {
    let percent = |nanos: u64| nanos as f64 * 100.0 / longest as f64;
    let nanos = to.saturating_sub(*from);
    let name = span.name;
    let _ = write!(
        out,
        "<rect class=\"{name}\" x=\"{:.3}%\" y=\"{}\" width=\"{:.3}%\" height=\"{}\">\
         <title>{name} {} ms</title></rect>",
        percent(*from),
        rows.start,
        percent(nanos),
        rows.len(),
        ms(nanos)
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;

    #[test]
    fn bars_are_on_the_scale_of_the_longest_and_part_after_the_release() {
        let (slow, _) = fixture::kept();
        let page = render(&slow.messages[1..]);
        let (first, second) = page.split_once("1268242042090295000").expect("both are drawn");
        let rect = "<rect class=\"sync\" x=\"30.000%\" y=\"0\" width=\"30.000%\" height=\"20\">";
        assert!(first.contains(rect), "{first}");
        let rect = "<rect class=\"send\" x=\"70.000%\" y=\"0\" width=\"10.000%\" height=\"9\">";
        assert!(first.contains(rect), "{first}");
        let rect = "<rect class=\"push\" x=\"90.000%\" y=\"10\" width=\"10.000%\" height=\"10\">";
        assert!(first.contains(rect), "{first}");
        let rect = "<rect class=\"sync\" x=\"15.000%\" y=\"0\" width=\"15.000%\" height=\"20\">";
        assert!(second.contains(rect), "{second}");
        assert_eq!(page.matches("class=\"message\"").count(), 2);
    }
}
