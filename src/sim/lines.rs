//! The connections of one simulated shard: what `node::connection` is to a real one.
//!
//! Invariants:
//! 1. A place is given away again under another generation.

use crate::api::Request;
use crate::chat::history::Listing;
use crate::chat::way::Habits;
use crate::ids::{ConnectionId, ShardId};
use crate::sim::network::SocketId;
use crate::wire::session::Session;

/// A place among the lines of a shard, and whose turn there it is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Token {
    /// Which place.
    pub index: u32,
    /// The how manieth line there.
    pub generation: u32,
}

/// Something rare that a line is in the middle of.
pub enum Errand {
    /// A list of this shard is answered part by part.
    List(Box<Listing>),
    /// A list of another shard is.
    ListFrom(ShardId),
    /// It moves to another shard, and takes the request along that made it go.
    Leave(ShardId, Request<'static>),
}

/// Yes or no facts of a line.
#[derive(Clone, Copy, Default, Debug)]
pub struct Flags {
    /// The peer sends no more.
    pub ended: bool,
    /// The socket failed.
    pub dead: bool,
    /// Our side was shut.
    pub shut: bool,
    /// The rules know that its user's connection is gone.
    pub farewell: bool,
    /// It is in the list of lines to settle.
    pub touched: bool,
    /// It is in the list of lines to decode.
    pub ready: bool,
    /// A request of it waits for rows.
    pub parked: bool,
}

/// A socket's end at the server, its protocol, and what is under way on it.
pub struct Line {
    /// The socket.
    pub socket: SocketId,
    /// The protocol.
    pub session: Session,
    /// Received, not decoded.
    pub window: Vec<u8>,
    /// To be sent.
    pub out: Vec<u8>,
    /// Something rare.
    pub errand: Option<Errand>,
    /// What it has asked for lately.
    pub habits: Habits,
    /// Bytes that the socket is taking.
    pub sending: usize,
    /// Pieces of it that wait to be decoded.
    pub waiting: u32,
    /// What has happened to it.
    pub flags: Flags,
}

impl Line {
    /// A fresh one.
    pub fn new(socket: SocketId, session: Session) -> Line {
        Line {
            socket,
            session,
            window: Vec::new(),
            out: Vec::new(),
            errand: None,
            habits: Habits::default(),
            sending: 0,
            waiting: 0,
            flags: Flags::default(),
        }
    }

    /// Bytes on their way out.
    pub fn unsent(&self) -> usize {
        self.out.len() + self.sending
    }

    /// It waits to move to another shard.
    pub fn is_leaving(&self) -> bool {
        matches!(self.errand, Some(Errand::Leave(..)))
    }

    /// What it says now is decoded later.
    pub fn is_held(&self) -> bool {
        self.flags.parked || self.is_leaving()
    }

    /// Nothing that comes in is of interest any more.
    pub fn is_over(&self) -> bool {
        self.flags.dead || self.session.is_closing()
    }
}

/// All lines of a shard.
#[derive(Default)]
pub struct Lines {
    places: Vec<(u32, Option<Line>)>,
    free: Vec<u32>,
}

impl Lines {
    /// Takes a line in.
    pub fn insert(&mut self, line: Line) -> Token {
        let index = self.free.pop().unwrap_or_else(|| {
            self.places.push((0, None));
            self.places.len() as u32 - 1
        });
        let place = &mut self.places[index as usize];
        *place = (place.0 + 1, Some(line));
        Token { index, generation: place.0 }
    }

    /// The line of a token, if it is still that one.
    pub fn get(&mut self, token: Token) -> Option<&mut Line> {
        let (generation, line) = self.places.get_mut(token.index as usize)?;
        line.as_mut().filter(|_| *generation == token.generation)
    }

    /// Takes a line out.
    pub fn remove(&mut self, token: Token) -> Option<Line> {
        self.get(token)?;
        self.free.push(token.index);
        self.places[token.index as usize].1.take()
    }

    /// All there are.
    pub fn iter(&self) -> impl Iterator<Item = &Line> {
        self.places.iter().filter_map(|(_, line)| line.as_ref())
    }
}

/// The name by which the rules know a line.
pub fn id_of(shard: ShardId, token: Token) -> ConnectionId {
    ConnectionId { shard, index: token.index, generation: token.generation }
}

/// The token of a line that the rules name.
pub fn token_of(id: ConnectionId) -> Token {
    Token { index: id.index, generation: id.generation }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::session::Port;

    /// Invariant 1 of sim::lines.
    #[test]
    fn a_place_is_given_away_under_another_generation() {
        let mut lines = Lines::default();
        let line = || Line::new(SocketId(1), Session::new(Port::Http));
        let first = lines.insert(line());
        assert!(lines.remove(first).is_some() && lines.remove(first).is_none());
        let second = lines.insert(line());
        assert_eq!(first.index, second.index);
        assert!(lines.get(first).is_none() && lines.get(second).is_some());
        assert_eq!(token_of(id_of(ShardId(2), second)), second);
        assert_eq!(lines.iter().count(), 1);
    }
}
