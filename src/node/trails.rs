//! Messages whose frames are on their way to the kernel, by connection.
//!
//! Invariants:
//! 1. What was put into a trail comes out of it once, in order.
//! 2. At most [`FOLLOWED_MAX`] frames are followed. One costs no allocation while as many were
//!    followed before, and a connection without any no memory but the 4 bytes of its
//!    trail.
//!
//! Left to others: when frames leave (`settle`), what their times are for (`profile`).

use crate::limits::FOLLOWED_MAX;
use crate::metrics::message::{Journey, Stamp};

/// No place.
const NONE: u32 = u32::MAX;

/// Frames of one connection: the last of a ring in [`Trails`], which leads to the first.
#[derive(Clone, Copy, Debug)]
pub struct Trail(u32);

impl Default for Trail {
    fn default() -> Trail {
        Trail(NONE)
    }
}

/// A frame, by the stamp that is taken when the kernel has it: sent or pushed.
#[derive(Clone, Copy, Debug)]
pub struct Leaving {
    /// Sent: it is an Ack. Pushed: it is the message.
    pub stamp: Stamp,
    /// The message.
    pub journey: Journey,
}

struct Place {
    leaving: Leaving,
    /// It is the last of a send.
    is_last: bool,
    next: u32,
}

/// The frames of all connections of a shard.
pub struct Trails {
    places: Vec<Place>,
    free: u32,
    count: usize,
}

impl Default for Trails {
    fn default() -> Trails {
        // Room for all that there may be: nothing is moved, and what was never followed takes up no
        // memory.
        Trails { places: Vec::with_capacity(FOLLOWED_MAX), free: NONE, count: 0 }
    }
}

impl Trails {
    /// Adds a frame to the end of a trail; `false`: too many are followed.
    pub fn add(&mut self, trail: &mut Trail, leaving: Leaving) -> bool {
        if self.count >= FOLLOWED_MAX {
            return false;
        }
        self.count += 1;
        let place = self.place(leaving);
        if trail.0 != NONE {
            let last = &mut self.places[trail.0 as usize];
            let first = std::mem::replace(&mut last.next, place);
            self.places[place as usize].next = first;
        }
        trail.0 = place;
        true
    }

    /// A place that leads to itself.
    fn place(&mut self, leaving: Leaving) -> u32 {
        let index = self.free;
        if index == NONE {
            let index = self.places.len() as u32;
            self.places.push(Place { leaving, is_last: false, next: index });
            return index;
        }
        let place = &mut self.places[index as usize];
        self.free = place.next;
        *place = Place { leaving, is_last: false, next: index };
        index
    }

    /// All frames of a trail go in one send; `false`: there are none.
    pub fn launch(&mut self, trail: Trail) -> bool {
        let Some(last) = self.places.get_mut(trail.0 as usize) else { return false };
        last.is_last = true;
        true
    }

    /// Takes out the frames that went in one send.
    pub fn land(&mut self, trail: &mut Trail, mut each: impl FnMut(Leaving)) {
        while let Some((leaving, is_last)) = self.take(trail) {
            each(leaving);
            if is_last {
                return;
            }
        }
    }

    fn take(&mut self, trail: &mut Trail) -> Option<(Leaving, bool)> {
        let first = self.places.get(trail.0 as usize)?.next;
        let Place { leaving, is_last, next } = self.places[first as usize];
        if first == trail.0 {
            trail.0 = NONE;
        } else {
            self.places[trail.0 as usize].next = next;
        }
        self.places[first as usize].next = self.free;
        self.free = first;
        self.count -= 1;
        Some((leaving, is_last))
    }

    /// Forgets the frames of a trail.
    pub fn drop(&mut self, mut trail: Trail) {
        while self.take(&mut trail).is_some() {}
    }

    /// Frames that are followed.
    pub fn count(&self) -> usize {
        self.count
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::journeys::tests::journey;

    fn leaving(id: i64) -> Leaving {
        Leaving { stamp: Stamp::Sent, journey: journey(id, 1) }
    }

    fn ids(trails: &mut Trails, trail: &mut Trail) -> Vec<i64> {
        let mut ids = Vec::new();
        trails.land(trail, |leaving| ids.push(leaving.journey.id));
        ids
    }

    /// Invariant 1 of node::trails.
    #[test]
    fn each_send_gives_back_its_own_frames_in_order() {
        let (mut trails, mut both) = (Trails::default(), [Trail::default(); 2]);
        assert!(!trails.launch(both[0]), "there is nothing to send");
        for round in 0..100 {
            let id = round * 10;
            for (which, trail) in (0..).zip(&mut both) {
                (0..3).for_each(|nth| assert!(trails.add(trail, leaving(id + nth * 2 + which))));
            }
            assert!(trails.launch(both[0]));
            // What is written while a send is in flight goes with the next.
            assert!(trails.add(&mut both[0], leaving(id + 6)));
            assert_eq!(ids(&mut trails, &mut both[0]), [id, id + 2, id + 4]);
            assert!(trails.launch(both[0]) && trails.launch(both[1]));
            assert_eq!(ids(&mut trails, &mut both[0]), [id + 6]);
            assert_eq!(ids(&mut trails, &mut both[1]), [id + 1, id + 3, id + 5]);
            assert_eq!((trails.count(), trails.launch(both[1])), (0, false));
        }
        assert!(trails.places.len() <= 7, "places are used again");
        (0..5).for_each(|id| assert!(trails.add(&mut both[0], leaving(id))));
        trails.drop(both[0]);
        assert_eq!(trails.count(), 0);
    }

    /// Invariant 2 of node::trails.
    #[test]
    fn no_more_frames_are_followed_than_may_be() {
        let (mut trails, mut trail) = (Trails::default(), Trail::default());
        (0..FOLLOWED_MAX).for_each(|id| assert!(trails.add(&mut trail, leaving(id as i64))));
        assert!(!trails.add(&mut trail, leaving(0)));
        assert!(trails.take(&mut trail).is_some_and(|(first, _)| first.journey.id == 0));
        assert!(trails.add(&mut trail, leaving(-1)));
        assert_eq!(trails.places.len(), FOLLOWED_MAX);
        assert_eq!(size_of::<Trail>(), 4);
    }
}
