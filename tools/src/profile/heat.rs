//! The heat map: seconds across, latency upward in powers of two, the darker the more messages.

use super::account::Second;
use super::picture::ticks;
use crate::words::{count, ms};
use std::collections::BTreeMap;
use std::fmt::Write;

/// Columns at most: longer stretches put neighbouring seconds together.
const COLUMNS_MAX: usize = 120;
/// Rows to each doubling of the latency.
const ROWS_PER_OCTAVE: f64 = 2.0;
/// The height of a row, pixels.
const ROW_PIXELS: f64 = 12.0;

/// Counts by column and row.
struct Grid {
    cells: BTreeMap<(usize, i64), u64>,
    columns: usize,
    rows: std::ops::RangeInclusive<i64>,
    seconds: f64,
}

/// The picture; words when there is nothing to draw.
pub fn render(times: &[Second]) -> String {
    match Grid::of(times) {
        Some(grid) => grid.draw(),
        None => "<p class=\"soft\">No message was acked.</p>\n".to_owned(),
    }
}

/// The row of a bucket: row n ends at 2^((n + 1) / 2) ns.
fn row_of(end_ns: u64) -> i64 {
    ((end_ns as f64).log2() * ROWS_PER_OCTAVE).ceil() as i64 - 1
}

impl Grid {
    fn of(times: &[Second]) -> Option<Grid> {
        let together = times.len().div_ceil(COLUMNS_MAX).max(1);
        let mut cells = BTreeMap::new();
        for (index, second) in times.iter().enumerate() {
            for (end, count) in &second.ack_buckets {
                *cells.entry((index / together, row_of(*end))).or_default() += count;
            }
        }
        let rows = || cells.keys().map(|(_, row)| *row);
        let (low, high) = (rows().min()?, rows().max()?);
        let seconds = times.last()?.end_seconds;
        let columns = times.len().div_ceil(together);
        Some(Grid { cells, columns, rows: low - 1..=high + 1, seconds })
    }

    fn height(&self) -> f64 {
        (self.rows.end() - self.rows.start() + 1) as f64 * ROW_PIXELS
    }

    /// How far down a latency is, pixels.
    fn y(&self, nanos: f64) -> f64 {
        let rows = nanos.log2() * ROWS_PER_OCTAVE - *self.rows.start() as f64;
        self.height() - rows * ROW_PIXELS
    }

    /// Writing to a `String` cannot fail.
    fn draw(&self) -> String {
        let height = self.height();
        let most = self.cells.values().copied().max().unwrap_or(1);
        let mut out = format!(
            "<svg class=\"chart\" height=\"{}\" role=\"img\" \
             aria-label=\"latency over time\">",
            height + 24.0
        );
        self.draw_axes(&mut out);
        let width = 100.0 / self.columns as f64;
        for ((column, row), messages) in &self.cells {
            // By the logarithm: one message is seen beside a hundred thousand.
            let opacity = 0.12 + 0.88 * ((*messages as f64).ln_1p() / (most as f64).ln_1p());
            let end = 2_f64.powf((row + 1) as f64 / ROWS_PER_OCTAVE);
            let _ = write!(
                out,
                "<rect class=\"cell\" x=\"{:.3}%\" y=\"{:.1}\" width=\"{width:.3}%\" \
                 height=\"{ROW_PIXELS}\" fill-opacity=\"{opacity:.3}\">\
                 <title>{} within {} ms</title></rect>",
                *column as f64 * width,
                self.y(end),
                count(*messages),
                ms(end as u64)
            );
        }
        let _ = write!(
            out,
            "</svg>\n<p class=\"soft\">Across: seconds. Upward: ms from arrival to Ack. From one \
             message to {} in a field, by the logarithm.</p>\n",
            count(most)
        );
        out
    }

    fn draw_axes(&self, out: &mut String) {
        let height = self.height();
        let latencies =
            (0..12).flat_map(|power| [1.0, 2.0, 5.0].map(|one| one * 10_f64.powi(power)));
        for nanos in latencies {
            let y = self.y(nanos);
            if (6.0..=height - 2.0).contains(&y) {
                let label = nanos / 1e6;
                let _ = write!(
                    out,
                    "<line class=\"rule\" x1=\"0\" x2=\"100%\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>\
                     <text x=\"-6\" y=\"{:.1}\" text-anchor=\"end\">{label}</text>",
                    y + 4.0
                );
            }
        }
        for tick in ticks(self.seconds) {
            let _ = write!(
                out,
                "<text x=\"{:.2}%\" y=\"{}\" text-anchor=\"middle\">{tick}</text>",
                tick * 100.0 / self.seconds,
                height + 18.0
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::readings::Period;

    fn second(index: usize, buckets: &[(u64, u64)]) -> Second {
        let period = Period { nanos: 1_000_000_000, shards: Vec::new() };
        let mut second = Second::of(&period, index as f64 + 1.0);
        second.ack_buckets = buckets.to_vec();
        second
    }

    #[test]
    fn a_field_holds_what_its_second_and_half_octave_hold() {
        let times = [second(0, &[(1024, 7), (1152, 1), (1408, 2)]), second(1, &[(4096, 5)])];
        let grid = Grid::of(&times).expect("there are some");
        let cells: Vec<_> = grid.cells.iter().map(|(place, count)| (*place, *count)).collect();
        assert_eq!(cells, [((0, 19), 7), ((0, 20), 3), ((1, 23), 5)]);
        assert_eq!((grid.columns, grid.rows), (2, 18..=24));
    }

    #[test]
    fn an_hour_is_put_together_and_no_message_is_left_out() {
        let times: Vec<_> = (0..3600).map(|index| second(index, &[(1024, 1)])).collect();
        let grid = Grid::of(&times).expect("there are some");
        assert_eq!(grid.columns, COLUMNS_MAX);
        assert_eq!(grid.cells.values().sum::<u64>(), 3600);
        assert!(grid.cells.keys().all(|(column, _)| *column < COLUMNS_MAX));
    }

    #[test]
    fn latencies_stand_in_order_from_the_bottom() {
        let grid = Grid::of(&[second(0, &[(1024, 1), (1 << 20, 1)])]).expect("there are some");
        assert!(grid.y(1024.0) > grid.y(1_000_000.0));
        assert!(grid.y(1024.0) <= grid.height() && grid.y(1_048_576.0) >= 0.0);
    }
}
