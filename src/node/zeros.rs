//! How fast a file of the log is filled with zeros: as slowly as tables are written, and yet so
//! that it is there before it is needed.
//!
//! Written at once, its 64 MiB hold the disk for 100 to 170 ms, and each write to the log that
//! comes meanwhile waits 5 to 10 ms behind some of them.
//!
//! Invariants:
//! 1. While the file that is being filled has room enough zeros come at the pace of tables; of
//!    several shards that many times faster, as their files are made one after the other.
//! 2. Of a file being made twice as large a part is there as was used, since it was begun, of the
//!    room that there was: else zeros do not wait.

use crate::metrics::Gauge;
use crate::node::clock::steady_nanos;
use crate::node::pace::ShardPace;
use std::time::Duration;

/// A file that is being made.
pub struct Zeros<'a> {
    pace: &'a ShardPace,
    bytes: u64,
    /// Of them, those that are there.
    there: u64,
    /// What the file being filled had when this one was begun, bytes.
    room: u64,
}

impl Zeros<'_> {
    /// A file of so many bytes is begun.
    pub fn begin(pace: &ShardPace, bytes: u64) -> Zeros<'_> {
        Zeros { pace, bytes, there: 0, room: room(pace) }
    }

    /// So many bytes of it are there now. Waits until the next should follow.
    pub fn wrote(&mut self, there: u64) {
        let piece = there - std::mem::replace(&mut self.there, there);
        if self.is_ahead(room(self.pace)) {
            let share = piece as usize / self.pace.shards();
            let wait_ns = self.pace.wait_ns(share, steady_nanos());
            std::thread::sleep(Duration::from_nanos(wait_ns));
        }
    }

    /// Whether there is enough of it while the file being filled has so much room.
    fn is_ahead(&self, room: u64) -> bool {
        let used = self.room.saturating_sub(room);
        room > 0 && self.there * self.room >= 2 * used * self.bytes
    }
}

fn room(pace: &ShardPace) -> u64 {
    pace.metrics().gauge(Gauge::LogRoom)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::ShardId;
    use crate::limits::{OVERLAY_BYTES_MAX, TABLE_BYTES_PER_SECOND};
    use crate::metrics::ShardMetrics;
    use crate::node::pace::Pace;
    use crate::node::room::Room;
    use std::sync::Arc;
    use std::time::Instant;

    const MIB: u64 = 1 << 20;
    /// Takes minutes at the pace.
    const LARGE: u64 = 16 << 30;

    fn at_the_pace(bytes: u64) -> Duration {
        Duration::from_millis(bytes / (TABLE_BYTES_PER_SECOND / 1_000))
    }

    /// How long a file of so many bytes takes beside one that has so much room.
    fn takes(bytes: u64, room: u64, overlay_bytes: usize) -> Duration {
        takes_among(1, bytes, room, overlay_bytes)
    }

    /// The same in a server of so many shards.
    fn takes_among(shards: usize, bytes: u64, room: u64, overlay_bytes: usize) -> Duration {
        let metrics: Arc<[Arc<ShardMetrics>]> = (0..shards).map(|_| Arc::default()).collect();
        metrics[0].set(Gauge::LogRoom, room);
        metrics[0].set(Gauge::OverlayBytes, overlay_bytes as u64);
        let pace = Pace::new(metrics, Room::endless()).brake(ShardId(0));
        let (mut zeros, begun) = (Zeros::begin(&pace, bytes), Instant::now());
        (1..=bytes / MIB).for_each(|there| zeros.wrote(there * MIB));
        begun.elapsed()
    }

    /// Invariant 1 of node::zeros.
    #[test]
    fn zeros_keep_to_the_pace_of_tables() {
        assert!(takes(8 * MIB, 64 * MIB, 0) >= at_the_pace(8 * MIB));
        let of_sixteen = takes_among(16, 64 * MIB, 64 * MIB, 0);
        assert!(of_sixteen >= at_the_pace(4 * MIB) && of_sixteen < at_the_pace(48 * MIB));
        // Tables that are urgent wait for the thread that makes zeros.
        assert!(takes(LARGE, 64 * MIB, OVERLAY_BYTES_MAX) < at_the_pace(LARGE) / 4);
    }

    /// Invariant 2 of node::zeros.
    #[test]
    fn zeros_are_ahead_of_the_room_that_is_left() {
        let pace = Pace::new([Arc::default()].into(), Room::endless()).brake(ShardId(0));
        let zeros = |there| Zeros { pace: &pace, bytes: 64 * MIB, there, room: 48 * MIB };
        for (there, room, is_ahead) in [
            (0, 48, true),
            (0, 47, false),
            (16, 42, true),
            (15, 42, false),
            (64, 24, true),
            (63, 24, false),
            // The next file was there after all.
            (0, 60, true),
            (63, 0, false),
        ] {
            let there = zeros(there * MIB);
            assert_eq!(there.is_ahead(room * MIB), is_ahead, "{} {room}", there.there);
        }
        assert!(takes(LARGE, 0, 0) < at_the_pace(LARGE) / 4);
    }
}
