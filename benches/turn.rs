//! What one message costs without a socket: decode, apply, encode, for its author and its
//! recipient, on rows in memory.
//!
//! One message is two frames in (a Send, the recipient's Ack) and two out (the server's Ack, the
//! push). Turns of one message and of many.

use crate::case::{Case, Meter, RUNS_MAX, Run};
use crate::wire::{CONTENT_BYTES, OPTIONS, masked, upgrade};
use anser::api::{DeliveryState, Identity, Request};
use anser::chat::directory::Directory;
use anser::chat::event::{Effect, Event, Now};
use anser::chat::shard::{Place, Shard};
use anser::chat::turn::Turn;
use anser::ids::{ConnectionId, MintClock, ShardId, UserId};
use anser::metrics::ShardMetrics;
use anser::store::memory::MemoryStore;
use anser::wire::encode;
use anser::wire::session::{Codec, Port, Session, Step};
use std::sync::Arc;

const MESSAGES: usize = 512;

/// Turns by their size.
pub fn cases() -> Vec<Case> {
    [("turn/1", 1), ("turn/16", 16), ("turn/64", 64)]
        .map(|(name, messages)| Case::new(name, MESSAGES as u64, move || turns(messages)))
        .into()
}

fn turns(turn_messages: usize) -> Run {
    let (mut world, mut next_id) = (World::new(), 1000);
    Box::new(move |meter| world.run(turn_messages, &mut next_id, meter))
}

struct Peer {
    session: Session,
    connection: ConnectionId,
    user: UserId,
    out: Vec<u8>,
}

struct World {
    shard: Shard<MemoryStore>,
    codec: Codec,
    turn: Turn,
    now: Now,
    author: Peer,
    reader: Peer,
}

impl World {
    fn new() -> World {
        let rows = RUNS_MAX * MESSAGES * 8;
        let store = MemoryStore::with_capacity(rows, rows * 256);
        let place = Place { shard: ShardId(0), shards: 1, lanes: 1 };
        let metrics = Arc::new(ShardMetrics::default());
        let shard = Shard::open(store, place, Arc::new(Directory::new()), metrics)
            .expect("memory does not fail");
        let mint = MintClock { micros: 300_000_000_000_000, shown: 0 };
        let now = Now { wall_ms: 1_720_000_000_000, steady_ms: 0, mint, is_disk_full: false };
        let (codec, turn) = (Codec::new(OPTIONS), Turn::default());
        let peer = |index| Peer {
            session: Session::new(Port::WebSocket),
            connection: ConnectionId { shard: ShardId(0), index, generation: 1 },
            user: UserId::SYSTEM,
            out: Vec::new(),
        };
        let (author, reader) = (peer(1), peer(2));
        let mut world = World { shard, codec, turn, now, author, reader };
        world.author.user = world.register("author");
        world.reader.user = world.register("reader");
        world.open_session(true);
        world.open_session(false);
        world
    }

    fn register(&mut self, name: &'static str) -> UserId {
        let identity =
            Identity { company: "c".into(), app: "a".into(), third_user_id: name.into() };
        let connection = self.author.connection;
        let request = Request::Register { identity, name: None };
        self.apply(Event::Request { connection, user: None, request });
        self.end_turn();
        let enrolled = self.turn.synced.iter().find_map(|effect| match effect {
            Effect::Enroll { user, tenant } => Some((*user, *tenant)),
            _ => None,
        });
        let (user, tenant) = enrolled.expect("a new user is enrolled");
        self.shard.enroll(user, tenant);
        self.turn.clear();
        user
    }

    fn peer(&mut self, is_author: bool) -> &mut Peer {
        if is_author { &mut self.author } else { &mut self.reader }
    }

    /// Upgrades and authenticates a peer through real bytes.
    fn open_session(&mut self, is_author: bool) {
        let mut upgrade = upgrade();
        let user = self.peer(is_author).user;
        let auth =
            format!(r#"{{"msgType":"Auth","fromUserId":{},"content":"token"}}"#, user.number());
        let peer = if is_author { &mut self.author } else { &mut self.reader };
        let (consumed, step) = peer.session.next(&mut self.codec, &mut upgrade, &mut peer.out);
        assert!(matches!(step, Step::Handled), "the upgrade is answered by the wire");
        assert_eq!(consumed, upgrade.len());
        self.decode_and_apply(&mut masked(&auth), is_author);
        self.end_turn();
        self.turn.clear();
        let peer = self.peer(is_author);
        peer.session.welcome(user);
        assert_eq!(peer.session.user(), Some(user));
        peer.out.clear();
    }

    fn apply(&mut self, event: Event<'_>) {
        self.shard.apply(event, &self.now, &mut self.turn).expect("memory does not fail");
    }

    fn end_turn(&mut self) {
        self.shard.end_turn(&mut self.turn).expect("memory does not fail");
    }

    /// Some messages, in turns of so many.
    fn run(&mut self, turn_messages: usize, next_id: &mut i64, meter: &mut Meter) {
        let first = *next_id;
        *next_id += MESSAGES as i64;
        let mut frames: Vec<(Vec<u8>, Vec<u8>)> =
            (first..*next_id).map(|id| self.frames(id)).collect();
        meter.take(|| frames.chunks_mut(turn_messages).for_each(|turn| self.exchange(turn)));
        // Time passes, so that nothing grows that only time empties.
        self.now.steady_ms += 120_000;
        self.now.wall_ms += 120_000;
        self.apply(Event::Tick);
        self.end_turn();
        self.turn.clear();
    }

    /// The frames of one message: what its author sends, what its recipient acks with.
    fn frames(&self, id: i64) -> (Vec<u8>, Vec<u8>) {
        let content = "x".repeat(CONTENT_BYTES);
        let (from, to) = (self.author.user.number(), self.reader.user.number());
        let send =
            format!(r#"{{"id":{id},"fromUserId":{from},"toUserId":{to},"chatType":"Single","#)
                + &format!(r#""msgType":"Text","content":"{content}"}}"#);
        let ack =
            format!(r#"{{"chatType":"Single","msgType":"Ack","content":"{{'srcId':{id}}}"}}"#);
        (masked(&send), masked(&ack))
    }

    /// One turn of sends, then one of acks.
    fn exchange(&mut self, frames: &mut [(Vec<u8>, Vec<u8>)]) {
        for (send, _) in frames.iter_mut() {
            self.decode_and_apply(send, true);
        }
        self.release();
        for (_, ack) in frames.iter_mut() {
            self.decode_and_apply(ack, false);
        }
        self.release();
        self.author.out.clear();
        self.reader.out.clear();
    }

    fn decode_and_apply(&mut self, frame: &mut [u8], is_author: bool) {
        let peer = if is_author { &mut self.author } else { &mut self.reader };
        let user = peer.session.user();
        let (consumed, step) = peer.session.next(&mut self.codec, frame, &mut peer.out);
        let Step::Request(request) = step else { panic!("a whole frame is a request: {step:?}") };
        let event = Event::Request { connection: peer.connection, user, request };
        self.shard.apply(event, &self.now, &mut self.turn).expect("memory does not fail");
        assert_eq!(consumed, frame.len());
    }

    fn release(&mut self) {
        self.end_turn();
        for effect in self.turn.now.iter().chain(&self.turn.durable) {
            match effect {
                Effect::Ack { ack, .. } => {
                    let out = &mut self.author.out;
                    self.author.session.accepted();
                    let (id, source) = (ack.id, ack.source);
                    encode::ack_frame(id, ack.user, ack.chat_type, source, ack.timestamp_ms, out);
                }
                Effect::Push { letter, content, .. } => {
                    let content = self.turn.text(*content);
                    let message = letter.with(content, DeliveryState::ServerToClientIng);
                    encode::message_frame(&message, &mut self.reader.out);
                }
                other => panic!("nothing else happens here: {other:?}"),
            }
        }
        self.turn.clear();
    }
}
