//! A server of one shard without sockets, disk and clock: the rules behind one connection.

use crate::fuzz::peer::{OPTIONS, Rules};
use anser::api::{ChatType, Draft, Identity, MessageType, PageStart, Reply, Request};
use anser::chat::directory::Directory;
use anser::chat::event::{Effect, Event, Now, OfflineNotice, ServerAck};
use anser::chat::shard::{Item, Place, Shard};
use anser::chat::turn::Turn;
use anser::ids::{ConnectionId, MessageId, MintClock, ShardId, UserId};
use anser::metrics::ShardMetrics;
use anser::store::Store;
use anser::store::memory::MemoryStore;
use anser::wire::encode;
use anser::wire::session::Session;
use std::ops::ControlFlow;
use std::sync::Arc;

/// How a request is changed on its way to the rules: not at all, but where a test wants to see
/// that it is noticed.
pub type Tampering = fn(Request<'_>) -> Request<'_>;

/// Who is there from the beginning.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct People {
    /// She has written to Bob.
    pub ann: UserId,
    /// Ann's message waits for him.
    pub bob: UserId,
    /// Of another application.
    pub eve: UserId,
}

/// The id of the message that waits for Bob.
pub const WAITING_ID: i64 = 1000;
/// Its text.
pub const WAITING_TEXT: &str = "are you there?";

/// A message of a history.
#[derive(Clone, PartialEq, Eq, Debug)]
#[allow(missing_docs)] // The fields of the contract.
pub struct Kept {
    pub from: UserId,
    pub to: UserId,
    pub kind: MessageType,
    pub id: MessageId,
    pub content: String,
}

/// The server.
pub struct Server {
    shard: Shard<MemoryStore>,
    directory: Arc<Directory>,
    turn: Turn,
    tampering: Tampering,
    /// Whose connection is played.
    connection: ConnectionId,
    /// The people.
    pub people: People,
}

/// The connection of whoever came before.
const OTHERS: ConnectionId = ConnectionId { shard: ShardId(0), index: 1, generation: 1 };
const OURS: ConnectionId = ConnectionId { shard: ShardId(0), index: 2, generation: 1 };
const MICROS: u64 = 300_000_000_000_000;

impl Server {
    /// A server with its people.
    pub fn new(tampering: Tampering) -> Server {
        let directory = Arc::new(Directory::new());
        let place = Place { shard: ShardId(0), shards: 1, lanes: 1 };
        let metrics = Arc::new(ShardMetrics::default());
        let shard = Shard::open(MemoryStore::default(), place, directory.clone(), metrics);
        let nobody = UserId::FIRST;
        let mut server = Server {
            shard: shard.expect("memory does not fail"),
            directory,
            turn: Turn::default(),
            tampering: |request| request,
            connection: OTHERS,
            people: People { ann: nobody, bob: nobody, eve: nobody },
        };
        let [ann, bob] = ["ann", "bob"].map(|name| server.register("shop", name));
        server.people = People { ann, bob, eve: server.register("other", "eve") };
        let auth = Request::Auth { user: ann, token: "".into(), id: None };
        server.apply(None, auth);
        server.apply(Some(ann), Request::Send(waiting(bob)));
        server.apply_event(Event::Closed { connection: OTHERS, user: ann });
        server.connection = OURS;
        server.tampering = tampering;
        server
    }

    fn register(&mut self, app: &str, name: &str) -> UserId {
        let (company, app) = ("acme".into(), app.to_owned().into());
        let identity = Identity { company, app, third_user_id: name.to_owned().into() };
        let effects = self.apply(None, Request::Register { identity, name: None });
        effects
            .iter()
            .find_map(|effect| match effect {
                Effect::Reply { reply: Reply::Registered(user), .. } => Some(*user),
                _ => None,
            })
            .expect("a name is registered")
    }

    fn now(&self) -> Now {
        let mint = MintClock { micros: MICROS, shown: self.directory.shown() };
        Now { wall_ms: 1_720_000_000_000, steady_ms: 0, mint, is_disk_full: false }
    }

    /// Applies a request; what is to be done then, in order.
    fn apply(&mut self, user: Option<UserId>, request: Request<'_>) -> Vec<Effect> {
        let connection = self.connection;
        let request = (self.tampering)(request);
        self.apply_event(Event::Request { connection, user, request })
    }

    fn apply_event(&mut self, event: Event<'_>) -> Vec<Effect> {
        let now = self.now();
        self.turn.clear();
        self.shard.apply(event, &now, &mut self.turn).expect("memory does not fail");
        self.shard.end_turn(&mut self.turn).expect("memory does not fail");
        self.shard.store_mut().sync().expect("memory does not fail");
        let Turn { now, durable, synced, .. } = &mut self.turn;
        let effects: Vec<Effect> =
            now.drain(..).chain(durable.drain(..)).chain(synced.drain(..)).collect();
        for effect in &effects {
            if let Effect::Enroll { user, tenant } = effect {
                self.shard.enroll(*user, *tenant);
            }
        }
        effects
    }

    /// A user's newest messages, newest first.
    pub fn history(&mut self, user: UserId) -> Vec<Kept> {
        let mut kept = Vec::new();
        let request = Request::Page { user, start: PageStart::Number(1), size: 200 };
        for effect in self.apply(None, request) {
            let Effect::List { mut listing, .. } = effect else { continue };
            let listed = self.shard.list(&mut listing, &mut |item| {
                if let Item::Message(stored) = item {
                    let message = stored.message;
                    kept.push(Kept {
                        from: message.from,
                        to: message.to,
                        kind: message.kind,
                        id: message.id,
                        content: message.content.to_owned(),
                    });
                }
                ControlFlow::Continue(())
            });
            listed.expect("memory does not fail");
        }
        kept
    }

    fn perform(&mut self, session: &mut Session, effect: Effect, out: &mut Vec<u8>) {
        match effect {
            Effect::Reply { reply, .. } => {
                let mut body = Vec::new();
                let status = encode::reply_body(&reply, &OPTIONS, &mut body);
                session.answer(status, &body, out);
            }
            Effect::List { mut listing, .. } => {
                let mut body = vec![b'['];
                let listed = self.shard.list(&mut listing, &mut |item| {
                    if body.len() > 1 {
                        body.push(b',');
                    }
                    match item {
                        Item::Message(stored) => encode::stored_item(&stored, &mut body),
                        Item::Chat(entry) => encode::chat_item(&entry, &OPTIONS, &mut body),
                    }
                    ControlFlow::Continue(())
                });
                listed.expect("memory does not fail");
                body.push(b']');
                session.answer(200, &body, out);
            }
            Effect::Welcome { user, ack, notice, .. } => {
                session.welcome(user);
                if let Some(ack) = ack {
                    acknowledge(session, &ack, out);
                }
                if let Some(OfflineNotice { id, user, count, timestamp_ms }) = notice {
                    encode::offline_frame(id, user, count, timestamp_ms, out);
                }
            }
            Effect::RefuseAuth { source, refusal, .. } => session.refuse_auth(source, refusal, out),
            Effect::Refuse { source, refusal, .. } => session.refuse(source, refusal, out),
            Effect::Ack { ack, .. } => acknowledge(session, &ack, out),
            Effect::Push { to, .. } => assert_ne!(to, OURS, "nobody else is there who could write"),
            Effect::Enroll { .. } | Effect::Notice { .. } | Effect::Close { .. } => {}
            Effect::Relay { .. }
            | Effect::Confirm { .. }
            | Effect::Marks { .. }
            | Effect::MarksApplied { .. } => unreachable!("there is one shard"),
        }
    }
}

fn waiting(to: UserId) -> Draft<'static> {
    Draft {
        id: MessageId::new(WAITING_ID),
        from: None,
        to,
        team: None,
        kind: MessageType::Text,
        chat_type: ChatType::Single,
        event: None,
        content: WAITING_TEXT,
        timestamp_ms: None,
    }
}

fn acknowledge(session: &mut Session, ack: &ServerAck, out: &mut Vec<u8>) {
    let ServerAck { id, user, chat_type, source, timestamp_ms } = *ack;
    session.accepted();
    encode::ack_frame(id, user, chat_type, source, timestamp_ms, out);
}

impl Rules for Server {
    fn answer(&mut self, session: &mut Session, request: Request<'_>, out: &mut Vec<u8>) {
        for effect in self.apply(session.user(), request) {
            self.perform(session, effect, out);
        }
    }
}
