//! How fast requests are taken up while rows come faster than tables are made of them.
//!
//! A shard that took up all until its overlay is full would stand still whenever it is, for as
//! long as a table takes: its senders would see nothing, then everything. So each byte costs time
//! from the point on where the indexer is behind, the more the further: the pace of requests
//! settles where it is that of the tables.
//!
//! Invariants:
//! 1. While little waits to be indexed nobody waits here.
//! 2. The more waits to be indexed, the longer the same bytes keep the door closed.
//! 3. The door is never closed for longer than [`ADMISSION_WAIT_MS_MAX`] at once.
//!
//! Left to others: the bound at which nothing is taken up any more (`store::overlay`).

use crate::limits::{ADMISSION_WAIT_MS_MAX, OVERLAY_BYTES_MAX};
use std::time::Duration;

/// Up to this part of a full overlay every request is taken up at once, in hundredths.
const CALM_PERCENT: u64 = 50;
/// Bytes a second just above.
const FASTEST: u64 = 512 << 20;
/// So many hundredths more halve the pace.
const HALVING_PERCENT: u64 = 5;

/// A shard's door.
#[derive(Default)]
pub struct Admission {
    /// Bytes that the overlay ever took, as far as they are paid for.
    paid: u64,
    /// When the door opens again, steady ns.
    opens_ns: u64,
}

impl Admission {
    /// So many bytes the overlay has taken in all, and so many of them wait to be indexed.
    pub fn note(&mut self, taken: u64, waiting: usize, now_ns: u64) {
        let bytes = taken - std::mem::replace(&mut self.paid, taken);
        let Some(pace) = pace_at(waiting) else { return };
        let takes_ns = bytes.saturating_mul(1_000_000_000) / pace;
        let most = now_ns + ADMISSION_WAIT_MS_MAX * 1_000_000;
        self.opens_ns = self.opens_ns.max(now_ns).saturating_add(takes_ns).min(most);
    }

    /// How long the door stays closed; `None`: it is open.
    pub fn closed_for(&self, now_ns: u64) -> Option<Duration> {
        let left = self.opens_ns.saturating_sub(now_ns);
        (left > 0).then(|| Duration::from_nanos(left))
    }
}

/// Bytes a second that are taken up while so many wait to be indexed; `None`: all that come.
fn pace_at(waiting: usize) -> Option<u64> {
    let percent = waiting as u64 * 100 / OVERLAY_BYTES_MAX as u64;
    let above = percent.checked_sub(CALM_PERCENT)?;
    let halved = FASTEST.checked_shr((above / HALVING_PERCENT) as u32).unwrap_or(0);
    let within = halved * (above % HALVING_PERCENT) / (2 * HALVING_PERCENT);
    Some((halved - within).max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PERCENT: usize = OVERLAY_BYTES_MAX / 100;

    /// Invariant 1 of node::admission.
    #[test]
    fn while_little_waits_to_be_indexed_nobody_waits() {
        let mut admission = Admission::default();
        for turn in 1..1_000 {
            admission.note(turn << 20, 49 * PERCENT, turn);
            assert_eq!(admission.closed_for(turn), None);
        }
    }

    /// Invariant 2 of node::admission.
    #[test]
    fn the_more_waits_the_slower_bytes_are_taken() {
        let paces: Vec<u64> =
            (0..120).map(|part| pace_at(part * PERCENT).unwrap_or(u64::MAX)).collect();
        assert!(paces.is_sorted_by(|one, next| one >= next), "{paces:?}");
        assert!(paces[60] < paces[51] / 2 && paces[100] < 2 << 20);
        let mut admission = Admission::default();
        let (mut now_ns, mut taken) = (1_000, 0);
        for _ in 0..1_000 {
            taken += 100_000;
            admission.note(taken, 70 * PERCENT, now_ns);
            now_ns += admission.closed_for(now_ns).map_or(0, |wait| wait.as_nanos() as u64);
        }
        let expected = taken * 1_000_000_000 / paces[70];
        assert!((expected - expected / 50..=expected + expected / 50).contains(&now_ns));
    }

    /// Invariant 3 of node::admission.
    #[test]
    fn the_door_is_never_closed_for_long() {
        let mut admission = Admission::default();
        for turn in 1..100_u64 {
            admission.note(turn << 30, 2 * OVERLAY_BYTES_MAX, turn);
            let closed = admission.closed_for(turn).expect("it is closed");
            assert!(closed <= Duration::from_millis(ADMISSION_WAIT_MS_MAX));
        }
    }
}
