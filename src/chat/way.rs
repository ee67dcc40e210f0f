//! Where a request is applied: on the shard that keeps its rows, and nowhere else.
//!
//! Invariants:
//! 1. A request for rows of another shard is forwarded there, or its connection moves there and
//!    takes it along; an Auth moves always, unless nobody is registered by that id.
//! 2. HTTP requests make a connection move only when two in a row are for the same other shard,
//!    and at most once in [`MOVE_EVERY_MS`].
//!
//! Left to others: carrying requests and connections (`node`).

use crate::api::{Home, Request};
use crate::chat::directory::Directory;
use crate::chat::shard::Place;
use crate::ids::{ShardId, UserId};
use crate::limits::FORWARDED_MAX;

/// How often a connection may move because of its HTTP requests.
pub const MOVE_EVERY_MS: u32 = 1000;

/// What becomes of a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Way {
    /// It is applied here.
    Here,
    /// It goes to another shard and its answer comes back.
    Forward(ShardId),
    /// Its connection goes to another shard and takes it along.
    Leave(ShardId),
    /// Nobody is registered by that id.
    Nobody,
    /// Too many requests are being answered elsewhere.
    Busy,
}

/// What a connection has asked for lately.
#[derive(Clone, Copy, Default, Debug)]
pub struct Habits {
    /// The shard that its last HTTP request was for, when that was another one.
    last_home: Option<ShardId>,
    /// When it last moved.
    moved_ms: u32,
}

/// A shard that has decoded a request.
pub struct Here<'a> {
    /// Which.
    pub place: Place,
    /// Who exists.
    pub directory: &'a Directory,
    /// HTTP requests that others are answering for it.
    pub forwarded: usize,
    /// Ms, wrapping.
    pub now_ms: u32,
}

impl Habits {
    /// A connection that has just moved.
    pub fn moved(now_ms: u32) -> Habits {
        Habits { last_home: None, moved_ms: now_ms }
    }

    /// What becomes of the next request of a connection, whose user is `user`.
    pub fn way(&mut self, request: &Request<'_>, user: Option<UserId>, here: &Here<'_>) -> Way {
        let Home::Slot(slot) = request.home() else { return Way::Here };
        let home = slot.home(here.place.shards);
        // The rules answer a second Auth where the first one brought the connection.
        if home == here.place.shard || user.is_some() {
            self.last_home = None;
            return Way::Here;
        }
        match request {
            Request::Auth { user, .. } if here.directory.tenant(*user).is_none() => Way::Nobody,
            Request::Auth { .. } => Way::Leave(home),
            _ if self.are_for(home, here.now_ms) => Way::Leave(home),
            _ if here.forwarded >= FORWARDED_MAX => Way::Busy,
            _ => {
                self.last_home = Some(home);
                Way::Forward(home)
            }
        }
    }

    /// Two requests in a row for the same other shard: the connection belongs there.
    fn are_for(&self, home: ShardId, now_ms: u32) -> bool {
        self.last_home == Some(home) && now_ms.wrapping_sub(self.moved_ms) >= MOVE_EVERY_MS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(number: i64) -> UserId {
        UserId::new(number).expect("positive")
    }

    fn auth(number: i64) -> Request<'static> {
        Request::Auth { user: user(number), token: "t".into(), id: None }
    }

    /// The first of three shards, at a moment.
    fn here(directory: &Directory, now_ms: u32) -> Here<'_> {
        let place = Place { shard: ShardId(0), shards: 3, lanes: 4 };
        Here { place, directory, forwarded: 0, now_ms }
    }

    /// Invariant 1 of chat::way.
    #[test]
    fn a_request_goes_to_the_rows_it_is_about() {
        let directory = Directory::new();
        let here = here(&directory, 5_000);
        let way = |request: &Request<'_>| Habits::default().way(request, None, &here);
        assert_eq!(way(&auth(4)), Way::Nobody);
        directory.enroll(user(4), 1);
        assert_eq!(way(&auth(4)), Way::Leave(ShardId(1)));
        assert_eq!(Habits::default().way(&auth(4), Some(user(3)), &here), Way::Here);
        assert_eq!(way(&Request::UnreadCount(user(3))), Way::Here);
        assert_eq!(way(&Request::UnreadCount(user(5))), Way::Forward(ShardId(2)));
        assert_eq!(way(&Request::MintIds(None)), Way::Here);
        let full = Here { forwarded: FORWARDED_MAX, ..here };
        let mut habits = Habits::default();
        assert_eq!(habits.way(&Request::UnreadCount(user(5)), None, &full), Way::Busy);
    }

    /// Invariant 2 of chat::way.
    #[test]
    fn two_in_a_row_for_one_other_shard_move_a_connection_but_not_every_time() {
        let directory = Directory::new();
        let mut habits = Habits::moved(u32::MAX - 100);
        let mut ask = |number: Option<i64>, now_ms| {
            let request = number.map_or(Request::Hello, |it| Request::UnreadCount(user(it)));
            habits.way(&request, None, &here(&directory, now_ms))
        };
        let (one, two) = (ShardId(1), ShardId(2));
        assert_eq!(ask(Some(4), 50), Way::Forward(one));
        assert_eq!(ask(Some(4), 898), Way::Forward(one), "it has moved 999 ms ago");
        assert_eq!(ask(Some(5), 899), Way::Forward(two));
        assert_eq!(ask(Some(4), 899), Way::Forward(one), "another one came between");
        assert_eq!(ask(None, 900), Way::Here);
        assert_eq!(ask(Some(4), 901), Way::Leave(one), "what is answered anywhere is no other");
        assert_eq!(ask(Some(3), 902), Way::Here);
        assert_eq!(ask(Some(4), 903), Way::Forward(one));
    }
}
