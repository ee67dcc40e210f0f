//! One connection, and the table of a shard's connections.
//!
//! Invariants:
//! 1. A place is given away again only when nothing of its last connection is in flight, and then
//!    under another generation.
//! 2. An idle connection holds no buffer: its window and its output have no memory.
//! 3. Bytes received are in exactly one place: a lent ring buffer, the window, or decoded.
//!
//! Left to others: what bytes mean (`wire`), when a connection must go (`sweep`, `settle`).

use crate::api::Request;
use crate::chat::chunks::Chunks;
use crate::chat::history::Listing;
use crate::chat::way::Habits;
use crate::ids::{ConnectionId, ShardId};
use crate::node::ring::Token;
use crate::node::trails::Trail;
use crate::wire::session::Session;
use rustix::fd::OwnedFd;

/// Whether the ring receives for a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Receiving {
    /// Nothing is armed.
    Off,
    /// Bytes come as they arrive.
    Armed,
    /// Its last completion is awaited.
    Ending,
}

/// Something rare that a connection is in the middle of.
pub enum Errand {
    /// A list of this shard is answered part by part.
    List(Box<Listing>),
    /// A list of another shard is: it is asked for each part.
    ListFrom(ShardId),
    /// What was said to it leaves before it is heard again: it takes less than it asks for.
    SendFirst,
    /// It moves to another shard, and takes the request along that made it go.
    Leave(Box<(ShardId, Request<'static>)>),
}

/// A socket, its protocol state, and what is under way on it.
pub struct Connection {
    /// The socket. Closed when the connection is dropped.
    pub socket: OwnedFd,
    /// The protocol.
    pub session: Session,
    /// Received, not decoded.
    pub window: Vec<u8>,
    /// To be sent, not handed to the ring.
    pub out: Vec<u8>,
    /// Messages whose frames are in `out` or with the ring.
    pub trail: Trail,
    /// Something rare.
    pub errand: Option<Errand>,
    /// Bytes that the ring is sending.
    pub sending: u32,
    /// Bytes counted as unsent in the shard's total.
    pub counted_unsent: u32,
    /// Bytes counted as held or as body in the shard's total.
    pub counted_held: u32,
    /// Ring buffers with bytes of it that wait to be decoded.
    pub waiting: u32,
    /// Whether the ring receives for it.
    pub receiving: Receiving,
    /// What it has asked for lately.
    pub habits: Habits,
    /// What has happened to it.
    pub flags: Flags,
}

/// Yes or no facts of a connection.
#[derive(Clone, Copy, Default, Debug)]
pub struct Flags {
    /// The peer sends no more.
    pub ended: bool,
    /// The socket failed or was cut: nothing is sent or decoded any more.
    pub dead: bool,
    /// Our side was shut down; what still comes is discarded.
    pub shut: bool,
    /// It has said something.
    pub spoke: bool,
    /// A ping was sent and nothing has come since.
    pub pinged: bool,
    /// The rules know that its user's connection is gone.
    pub farewell: bool,
    /// It is in the list of connections to settle.
    pub touched: bool,
    /// It is in the list of connections to decode.
    pub ready: bool,
    /// A request has begun, or it is upgraded and not authenticated: the time since counts.
    pub unfinished: bool,
    /// Its user is counted as authenticated.
    pub known: bool,
    /// What it holds is counted as held before Auth, not as a request's body.
    pub holds_frames: bool,
    /// A request of it waits for rows: nothing behind it is decoded.
    pub parked: bool,
    /// The ring is sending frames of messages.
    pub flying: bool,
    /// It was cut at a bound: what is in flight of it ends soon, and is counted no more.
    pub cut: bool,
}

impl Connection {
    /// A fresh connection.
    pub fn new(socket: OwnedFd, session: Session) -> Connection {
        Connection {
            socket,
            session,
            window: Vec::new(),
            out: Vec::new(),
            trail: Trail::default(),
            errand: None,
            sending: 0,
            counted_unsent: 0,
            counted_held: 0,
            waiting: 0,
            receiving: Receiving::Off,
            habits: Habits::default(),
            flags: Flags::default(),
        }
    }

    /// Bytes on their way out.
    pub fn unsent(&self) -> usize {
        self.out.len() + self.sending as usize
    }

    /// It waits to move to another shard.
    pub fn is_leaving(&self) -> bool {
        matches!(self.errand, Some(Errand::Leave(_)))
    }

    /// What it says now is decoded later.
    pub fn is_held(&self) -> bool {
        self.flags.parked || matches!(self.errand, Some(Errand::Leave(_) | Errand::SendFirst))
    }

    /// Nothing that comes in is of interest any more.
    pub fn is_over(&self) -> bool {
        self.flags.dead || self.session.is_closing()
    }
}

/// Where a connection is kept, with its times (see [`Table::ages`] and [`Table::received_ns`]).
struct Place {
    generation: u32,
    heard_ms: u32,
    since_ms: u32,
    received_us: u32,
    connection: Option<Connection>,
}

/// The connections of one shard, and when each was last heard of.
pub struct Table {
    shard: ShardId,
    places: Chunks<Place>,
    free: Vec<u32>,
}

impl Table {
    /// An empty table.
    pub fn new(shard: ShardId) -> Table {
        Table { shard, places: Chunks::default(), free: Vec::new() }
    }

    /// Connections there are.
    pub fn count(&self) -> usize {
        self.places() as usize - self.free.len()
    }

    /// Places there are, taken or not.
    pub fn places(&self) -> u32 {
        self.places.count()
    }

    /// Takes a connection in.
    pub fn insert(&mut self, connection: Connection, now_ms: u32) -> Token {
        let index = match self.free.pop() {
            Some(index) => index,
            None => self.places.push(Place {
                generation: 0,
                heard_ms: 0,
                since_ms: 0,
                received_us: 0,
                connection: None,
            }),
        };
        let place = &mut self.places[index];
        assert!(place.connection.is_none(), "a place holds one connection");
        place.generation = (place.generation + 1) & 0xFF_FFFF;
        place.heard_ms = now_ms;
        place.since_ms = now_ms;
        place.connection = Some(connection);
        Token { index, generation: place.generation }
    }

    /// The connection of a token, if it is still that one.
    pub fn get(&mut self, token: Token) -> Option<&mut Connection> {
        let place = self.places.get_mut(token.index)?;
        let connection = place.connection.as_mut();
        connection.filter(|_| place.generation == token.generation)
    }

    /// Whoever has this place now.
    pub fn at(&mut self, index: u32) -> Option<(Token, &mut Connection)> {
        let place = &mut self.places[index];
        let token = Token { index, generation: place.generation };
        Some((token, place.connection.as_mut()?))
    }

    /// Takes a connection out.
    pub fn remove(&mut self, token: Token) -> Option<Connection> {
        let place = self.places.get_mut(token.index)?;
        if place.generation != token.generation {
            return None;
        }
        let connection = place.connection.take()?;
        assert!(connection.receiving == Receiving::Off, "nothing is received for it any more");
        assert!(connection.sending == 0, "nothing of it is in flight");
        self.free.push(token.index);
        Some(connection)
    }

    /// The name by which the rules know a connection.
    pub fn id(&self, token: Token) -> ConnectionId {
        ConnectionId { shard: self.shard, index: token.index, generation: token.generation }
    }

    /// Notes that something came in.
    pub fn hear(&mut self, token: Token, now_ms: u32) {
        self.places[token.index].heard_ms = now_ms;
    }

    /// Starts the time that its present state may last.
    pub fn begin(&mut self, token: Token, now_ms: u32) {
        self.places[token.index].since_ms = now_ms;
    }

    /// Notes when that came in which waits in its window, steady ns.
    pub fn wait_since(&mut self, token: Token, received_ns: u64) {
        self.places[token.index].received_us = (received_ns / 1000) as u32;
    }

    /// When that came in which waits in its window, steady ns to a microsecond: less than an hour
    /// before `now_ns`, and not after it.
    pub fn received_ns(&self, token: Token, now_ns: u64) -> u64 {
        let received_us = self.places[token.index].received_us;
        now_ns - u64::from(((now_ns / 1000) as u32).wrapping_sub(received_us)) * 1000
    }

    /// Ms since something came in, and since its present state began.
    pub fn ages(&self, index: u32, now_ms: u32) -> (u32, u32) {
        let Place { heard_ms, since_ms, .. } = &self.places[index];
        (now_ms.wrapping_sub(*heard_ms), now_ms.wrapping_sub(*since_ms))
    }
}

/// The token of a connection that the rules name.
pub fn token_of(id: ConnectionId) -> Token {
    Token { index: id.index, generation: id.generation }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::wire::session::Port;
    use rustix::event::{EventfdFlags, eventfd};

    /// A connection over something that is no socket: enough where nothing is sent.
    pub fn connection() -> Connection {
        let socket = eventfd(0, EventfdFlags::CLOEXEC).expect("an eventfd");
        Connection::new(socket, Session::new(Port::Http))
    }

    /// Invariant 1 of node::connection.
    #[test]
    fn a_place_is_given_away_under_another_generation() {
        let mut table = Table::new(ShardId(2));
        let first = table.insert(connection(), 5);
        assert!(table.get(first).is_some());
        assert!(table.remove(first).is_some());
        let second = table.insert(connection(), 5);
        assert_eq!(second.index, first.index);
        assert_ne!(second.generation, first.generation);
        assert!(table.get(first).is_none() && table.remove(first).is_none());
        assert_eq!(table.id(second).shard, ShardId(2));
        assert_eq!(token_of(table.id(second)), second);
        assert_eq!((table.count(), table.places()), (1, 1));
    }

    /// Invariant 2 of node::connection.
    /// Invariant 1 of wire::session.
    #[test]
    fn an_idle_connection_holds_no_buffer_and_little_else() {
        let fresh = connection();
        assert_eq!(fresh.window.capacity() + fresh.out.capacity(), 0);
        assert!(size_of::<Place>() <= 160, "{} bytes", size_of::<Place>());
    }

    #[test]
    fn what_waits_in_a_window_is_known_to_a_microsecond_whatever_wraps() {
        let mut table = Table::new(ShardId(0));
        let token = table.insert(connection(), 5);
        for received_ns in [7_000_123, (1 << 32) * 1000 - 1, (1 << 32) * 9000 + 777] {
            for later_ns in [0, 1, 999, 1_000, 2_000_000_000_000] {
                table.wait_since(token, received_ns);
                let now_ns = received_ns + later_ns;
                let found = table.received_ns(token, now_ns);
                assert!(found.abs_diff(received_ns) < 1_000 && found <= now_ns, "{found}");
            }
        }
    }

    /// Invariant 1 of node::sweep.
    #[test]
    fn ages_survive_the_wrap_of_the_clock() {
        let mut table = Table::new(ShardId(0));
        let token = table.insert(connection(), u32::MAX - 10);
        assert_eq!(table.ages(token.index, 20), (31, 31));
        table.hear(token, 15);
        assert_eq!(table.ages(token.index, 20), (5, 31));
    }
}
