//! The thread that gives back, a little at a time, what merges have replaced.
//!
//! Invariants:
//! 1. While there is room each MiB has its time, by [`GIVEN_BACK_BYTES_PER_SECOND`]; where much
//!    waits it takes [`GIVEN_BACK_MS_MAX`] altogether, however much that is.
//! 2. When the disk is full, or a merge finds hardly any room, all goes at once.
//! 3. It ends between two pieces when the server stops.
//!
//! Left to others: what may go (`store::view::leaving`).

use crate::limits::{GIVEN_BACK_BYTES_PER_SECOND, GIVEN_BACK_MS_MAX};
use crate::metrics::Gauge;
use crate::node::pace::ShardPace;
use crate::store::view::View;
use std::io;
use std::ops::ControlFlow;
use std::time::Duration;

/// Gives back all that may go by now.
///
/// # Errors
/// When a file cannot be removed. It is tried again, and costs nothing but room.
pub fn give_back(view: &View, pace: &ShardPace, is_closing: impl Fn() -> bool) -> io::Result<()> {
    let is_full = || pace.metrics().gauge(Gauge::DiskFull) != 0 || pace.lacks_room();
    view.give_back(|piece, all| {
        if is_closing() || pace.is_stopping() {
            return ControlFlow::Break(());
        }
        if !is_full() {
            std::thread::sleep(takes(piece, all));
        }
        ControlFlow::Continue(())
    })
}

/// How long a piece of so many bytes should take.
fn takes(piece: u64, all: u64) -> Duration {
    let by_pace = piece * 1_000_000 / GIVEN_BACK_BYTES_PER_SECOND;
    let by_share = GIVEN_BACK_MS_MAX * 1_000 * piece / all;
    Duration::from_micros(by_pace.min(by_share))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::ShardId;
    use crate::limits::GIVEN_BACK_STEP_BYTES;
    use crate::node::pace::Pace;
    use crate::node::room::Room;
    use crate::store::view::tests::{TempFolder, open};
    use std::path::PathBuf;
    use std::sync::Arc;
    use std::time::Instant;

    const MIB: u64 = 1 << 20;

    /// Invariant 1 of node::remover.
    #[test]
    fn a_little_takes_its_time_and_much_a_bounded_one() {
        let all_takes = |bytes: u64| takes(MIB, bytes) * (bytes / MIB) as u32;
        let little = 16 * MIB;
        let pace = Duration::from_millis(little * 1_000 / GIVEN_BACK_BYTES_PER_SECOND);
        assert_eq!(all_takes(little), pace);
        let most = Duration::from_millis(GIVEN_BACK_MS_MAX);
        for gib in [10, 100, 1_000] {
            let much = all_takes(gib << 30);
            assert!(much <= most && much > most * 9 / 10, "{gib} GiB: {much:?}");
        }
    }

    /// A store with a file of so many pieces that nobody needs.
    fn store(folder: &TempFolder, pieces: u64) -> (View, PathBuf) {
        let view = open(folder);
        let leaving = folder.path().join("leaving");
        std::fs::create_dir(&leaving).expect("the store has none");
        let file = leaving.join("tables-1");
        let made = std::fs::File::create(&file);
        let grown = made.and_then(|file| file.set_len(pieces * GIVEN_BACK_STEP_BYTES));
        grown.expect("a file of holes");
        (view, file)
    }

    fn pace(room: Arc<Room>) -> (Arc<Pace>, Arc<ShardPace>) {
        let pace = Pace::new([Arc::default()].into(), room);
        let of_shard = pace.brake(ShardId(0));
        (pace, of_shard)
    }

    /// Invariant 2 of node::remover.
    #[test]
    fn without_room_all_goes_at_once() {
        let folder = TempFolder::new();
        let (view, file) = store(&folder, 512);
        let begun = Instant::now();
        give_back(&view, &pace(Room::without_any()).1, || false).expect("all is well");
        let took = begun.elapsed();
        assert!(!file.exists());
        let slow = takes(GIVEN_BACK_STEP_BYTES, 1) * 512;
        assert!(took < slow / 2, "{took:?} of {slow:?}");
    }

    /// Invariant 3 of node::remover.
    #[test]
    fn whoever_stops_leaves_the_rest() {
        for is_closing in [true, false] {
            let folder = TempFolder::new();
            let (view, file) = store(&folder, 2);
            let (all, pace) = pace(Room::endless());
            if !is_closing {
                all.stop();
            }
            give_back(&view, &pace, || is_closing).expect("all is well");
            let left = std::fs::metadata(&file).expect("it is there").len();
            assert_eq!(left, GIVEN_BACK_STEP_BYTES);
        }
    }
}
