//! The slowest messages of the last minutes, and of the last seconds.
//!
//! Invariants:
//! 1. Of the messages that ended within the last [`WINDOW_NS`] the slowest [`SHOWN_MAX`] are kept;
//!    what ended [`WINDOW_NS`] and a slice ago is forgotten.
//! 2. A message that is not among the slowest of its slice costs one comparison, of each kind of
//!    slices.
//! 3. Of each of the last 30 seconds the slowest [`OF_A_SECOND_MAX`] ends are kept, however slow
//!    others were before.
//!
//! Time is cut into slices, and the slowest of each are kept: whoever reads takes the slowest of
//! all slices that lie in the time he asks for.

use crate::metrics::message::Journey;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::sync::Arc;

/// Messages shown.
pub const SHOWN_MAX: usize = 256;
/// How long ago a message may have ended, ns: 5 minutes.
pub const WINDOW_NS: u64 = 300_000_000_000;
/// Slices of the minutes. Of each as many ends are kept as are shown, twice: a message that was
/// sent and pushed on one shard has ended twice.
const MINUTES: Kind = Kind { slice_ns: WINDOW_NS / 10, slices: 10, kept_max: 2 * SHOWN_MAX };
/// Ends kept of each second.
const OF_A_SECOND_MAX: usize = 64;
/// Slices of the seconds: 30, as long as one of the minutes.
const SECONDS: Kind = Kind { slice_ns: 1_000_000_000, slices: 30, kept_max: OF_A_SECOND_MAX };

/// What a reader is shown: slices, each in no order. A message may be in several.
pub type Slices = Vec<Arc<[Journey]>>;

/// How time is cut.
struct Kind {
    slice_ns: u64,
    slices: u64,
    kept_max: usize,
}

/// A shard's slowest messages.
pub struct Slowest {
    minutes: Sliced,
    seconds: Sliced,
}

impl Default for Slowest {
    fn default() -> Slowest {
        Slowest { minutes: Sliced::of(MINUTES), seconds: Sliced::of(SECONDS) }
    }
}

impl Slowest {
    /// Takes in a message that has just ended.
    pub fn offer(&mut self, journey: &Journey) {
        self.minutes.offer(journey);
        self.seconds.offer(journey);
    }

    /// Notes the time. Returns what there is to be shown, if that is something else than before.
    pub fn look(&mut self, now: u64) -> Option<Slices> {
        // Both look, whatever the other has seen.
        let is_changed = self.minutes.look(now) | self.seconds.look(now);
        is_changed.then(|| self.minutes.shown().chain(self.seconds.shown()).collect())
    }
}

/// The slowest of each slice of one kind.
struct Sliced {
    kind: Kind,
    /// Journeys that took no longer are of no interest: 0 until the slice is full.
    threshold: u64,
    /// When the slice ends.
    ends: u64,
    /// The slice: the time each took, with its place below; the quickest first.
    order: BinaryHeap<Reverse<(u64, u16)>>,
    journeys: Vec<Journey>,
    /// Slices that are over, with their ends.
    over: VecDeque<(u64, Arc<[Journey]>)>,
    is_changed: bool,
}

impl Sliced {
    fn of(kind: Kind) -> Sliced {
        let (order, journeys, over) = (BinaryHeap::new(), Vec::new(), VecDeque::new());
        Sliced { kind, threshold: 0, ends: 0, order, journeys, over, is_changed: false }
    }

    fn offer(&mut self, journey: &Journey) {
        let taken = journey.stamps.total();
        if taken > self.threshold {
            self.keep(taken, journey);
        }
    }

    #[cold]
    fn keep(&mut self, taken: u64, journey: &Journey) {
        self.is_changed = true;
        if self.journeys.len() < self.kind.kept_max {
            self.order.push(Reverse((taken, self.journeys.len() as u16)));
            self.journeys.push(*journey);
        } else if let Some(mut quickest) = self.order.peek_mut() {
            let Reverse((_, place)) = *quickest;
            *quickest = Reverse((taken, place));
            self.journeys[usize::from(place)] = *journey;
        }
        if self.journeys.len() == self.kind.kept_max {
            self.threshold = self.order.peek().map_or(0, |Reverse((taken, _))| *taken);
        }
    }

    /// Notes the time. Returns whether there is something else to be shown than before.
    fn look(&mut self, now: u64) -> bool {
        if now >= self.ends {
            self.end_slice(now);
        }
        std::mem::take(&mut self.is_changed)
    }

    fn shown(&self) -> impl Iterator<Item = Arc<[Journey]>> {
        let over = self.over.iter().map(|(_, slice)| slice.clone());
        over.chain([Arc::from(&self.journeys[..])])
    }

    fn end_slice(&mut self, now: u64) {
        if !self.journeys.is_empty() {
            self.over.push_back((now, Arc::from(&self.journeys[..])));
        }
        let window_ns = self.kind.slice_ns * self.kind.slices;
        while self.over.front().is_some_and(|(end, _)| end + window_ns <= now) {
            self.over.pop_front();
            self.is_changed = true;
        }
        self.journeys.clear();
        self.order.clear();
        self.threshold = 0;
        self.ends = now + self.kind.slice_ns;
    }
}

/// The slowest of all shards at a moment, steady ns, of those that have ended within so many ns:
/// slowest first. What two shards know of one message is put together.
pub fn slowest_of<'a>(
    shards: impl Iterator<Item = &'a Slices>,
    now: u64,
    within_ns: u64,
) -> Vec<Journey> {
    let since = now.saturating_sub(within_ns.min(WINDOW_NS));
    let all = shards.flat_map(|slices| slices.iter().flat_map(|slice| slice.iter().copied()));
    let mut all: Vec<Journey> = all.filter(|journey| journey.stamps.last() > since).collect();
    // The same message may have been sent twice: it was not received twice at one moment.
    all.sort_unstable_by_key(|it| (it.author, it.id, it.stamps.received()));
    all.dedup_by(|next, kept| {
        let is_same = (next.author, next.id) == (kept.author, kept.id)
            && next.stamps.received() == kept.stamps.received();
        if is_same {
            kept.stamps.add(&next.stamps);
        }
        is_same
    });
    all.sort_by_key(|journey| Reverse(journey.stamps.total()));
    all.truncate(SHOWN_MAX);
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::message::{Stamp, Stamps};

    const SECOND: u64 = 1_000_000_000;

    /// A message that was received at a moment and acked so much later.
    fn journey(id: i64, received: u64, taken: u64) -> Journey {
        let mut stamps = Stamps::default();
        stamps.set(Stamp::Received, received);
        stamps.set(Stamp::Sent, received + taken);
        Journey { id, author: 7, recipient: 8, shard: 0, to_shard: 0, stamps }
    }

    fn ids(slices: &Slices, now: u64) -> Vec<i64> {
        slowest_of([slices].into_iter(), now, WINDOW_NS).iter().map(|journey| journey.id).collect()
    }

    /// Invariants 1 and 2 of metrics::slowest.
    #[test]
    fn the_slowest_are_kept_whatever_came_when_and_the_old_are_forgotten() {
        let (mut slowest, mut now) = (Slowest::default(), SECOND);
        let (total, mut shown) = (6_000_u64, Slices::new());
        // Over four minutes, in an order that neither rises nor falls.
        for number in 0..total {
            let taken = 1_000 + number * 4_801 % total;
            slowest.offer(&journey(taken as i64, now - taken, taken));
            now += 240 * SECOND / total;
            shown = slowest.look(now).unwrap_or(shown);
        }
        let wanted: Vec<i64> = (0..SHOWN_MAX as i64).map(|nth| 6_999 - nth).collect();
        assert_eq!(ids(&shown, now), wanted);
        assert!(slowest.minutes.threshold > 1_000, "it rises with the slice");
        let later = now + 200 * SECOND;
        let rest = ids(&shown, later);
        assert!(rest.len() == SHOWN_MAX && rest != wanted, "only some are too old");
        assert_eq!(ids(&shown, now + WINDOW_NS + 1), [] as [i64; 0]);
        assert_eq!(slowest.look(now).map(|slices| slices.len()), None, "nothing is new");
        let aside = slowest.minutes.ends;
        assert!(!slowest.minutes.look(aside), "another slice holds the same");
        assert!(slowest.look(aside).is_some(), "seconds of before were forgotten");
        let shown = slowest.look(now + 2 * WINDOW_NS).expect("slices were forgotten");
        assert_eq!(shown.iter().map(|slice| slice.len()).sum::<usize>(), 0);
    }

    /// Invariant 3 of metrics::slowest.
    #[test]
    fn slower_ones_of_before_hide_none_of_the_last_seconds() {
        let (mut slowest, mut shown) = (Slowest::default(), Slices::new());
        // Two seconds of slow ones, and then eight of quick ones, all within a slice of minutes.
        for number in 1..=10_000 {
            let (now, taken) = (number * SECOND / 1_000, if number < 2_000 { 9_000 } else { 5 });
            slowest.offer(&journey(number as i64, now - taken, taken + number % 4));
            shown = slowest.look(now).unwrap_or(shown);
        }
        let since = |seconds| slowest_of([&shown].into_iter(), 10 * SECOND, seconds * SECOND);
        let quick = since(5);
        assert_eq!((quick.len(), quick[0].stamps.total()), (SHOWN_MAX, 8));
        assert!(quick.iter().all(|one| one.stamps.last() > 5 * SECOND));
        assert!(since(300).iter().all(|one| one.stamps.total() >= 9_000));
    }

    #[test]
    fn what_two_shards_know_of_a_message_is_put_together() {
        let acked = journey(5, SECOND, 400);
        let mut pushed = journey(5, SECOND, 0);
        pushed.stamps.set(Stamp::Sent, 0);
        pushed.stamps.set(Stamp::Pushed, SECOND + 700);
        let again = journey(5, SECOND + 90, 500);
        let shards = [vec![Arc::from([acked, again])], vec![Arc::from([pushed])]];
        let all = slowest_of(shards.iter(), 2 * SECOND, WINDOW_NS);
        assert_eq!(all.iter().map(|it| it.stamps.total()).collect::<Vec<_>>(), [700, 500]);
        assert_eq!(all[0].stamps.at(Stamp::Sent), Some(SECOND + 400));
    }
}
