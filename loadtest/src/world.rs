//! Users and their conversations, so that a test reads as what it proves.
//!
//! Every wait has a deadline and a condition. That something does *not* come is shown by a later
//! frame that would have come after it, never by waiting a while.

use crate::PATIENCE;
use crate::http::{self, Answer};
use crate::json::{self, Integers};
use crate::server::{Server, Setup};
use crate::websocket::{Connection, Received};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicI64, AtomicU32, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// The snowflake epoch of the contract, ms since the Unix epoch.
pub const EPOCH_MS: i64 = 1_420_041_600_000;

/// A tenant on a server.
#[derive(Debug)]
pub struct World {
    /// The HTTP port.
    pub http: SocketAddr,
    /// The WebSocket port.
    pub ws: SocketAddr,
    /// How many shards the server has.
    pub shards: u16,
    /// The server's process id.
    pub server_id: u32,
    company: String,
    next_user: AtomicU32,
}

impl World {
    /// A tenant of its own on this test process's server with so many shards.
    #[track_caller]
    pub fn shared(shards: u16, test: &str) -> World {
        static SERVERS: [OnceLock<Server>; 3] = [const { OnceLock::new() }; 3];
        let place = match shards {
            1 => 0,
            2 => 1,
            4 => 2,
            _ => panic!("tests run with 1, 2 and 4 shards"),
        };
        let server = SERVERS[place].get_or_init(|| Setup::shards(shards).start());
        World::on(server, test)
    }

    /// A tenant of its own on any server. The same name on a restarted server is the same tenant.
    pub fn on(server: &Server, name: &str) -> World {
        World {
            http: server.http,
            ws: server.ws,
            shards: server.setup.shards,
            server_id: server.id(),
            company: name.to_owned(),
            next_user: AtomicU32::new(0),
        }
    }

    /// One HTTP call on a connection of its own.
    #[track_caller]
    pub fn post(&self, path: &str, body: Value) -> Answer {
        http::Client::connect(self.http).post(path, &body.to_string())
    }

    /// One HTTP call that must succeed with a JSON body.
    #[track_caller]
    pub fn call(&self, path: &str, body: Value) -> Value {
        let answer = self.post(path, body);
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
        answer.json()
    }

    /// One HTTP call that must succeed with an empty body.
    #[track_caller]
    pub fn command(&self, path: &str, body: Value) {
        let answer = self.post(path, body);
        assert_eq!((answer.status, answer.body.as_str()), (200, ""), "{path}: {answer:?}");
    }

    /// One HTTP call that must be refused as the document says, naming `named`.
    #[track_caller]
    pub fn refused(&self, path: &str, body: Value, named: &str) {
        let answer = self.post(path, body.clone());
        assert_eq!(answer.status, 500, "{path} {body}: {answer:?}");
        assert_eq!(answer.json()["code"], 500, "{path} {body}: {answer:?}");
        let said = answer.json().text("msg").to_owned();
        assert!(said.contains(named), "{path} {body}: {said:?} does not name {named:?}");
    }

    /// The registration body of a name in this tenant.
    pub fn identity(&self, name: &str) -> Value {
        json!({"company": self.company, "app": "chat", "thirdUserId": name})
    }

    /// Registers a name in this tenant.
    #[track_caller]
    pub fn register(&self, name: &str) -> i64 {
        self.call("/im/user/register", self.identity(name)).int("userId")
    }

    /// Registers somebody new.
    #[track_caller]
    pub fn person(&self) -> i64 {
        let number = self.next_user.fetch_add(1, Ordering::Relaxed);
        self.register(&format!("person {number}"))
    }

    /// Registers several new people.
    #[track_caller]
    pub fn people<const N: usize>(&self) -> [i64; N] {
        std::array::from_fn(|_| self.person())
    }

    /// The shard that is this user's home.
    pub fn home(&self, user: i64) -> u16 {
        (user % 1024) as u16 % self.shards
    }

    /// Two new people: at home on one shard, or (where there are several) on two.
    #[track_caller]
    pub fn pair(&self, kind: Pair) -> (i64, i64) {
        let first = self.person();
        let apart = kind == Pair::Apart && self.shards > 1;
        for _ in 0..200 {
            let second = self.person();
            if (self.home(first) != self.home(second)) == apart {
                return (first, second);
            }
        }
        panic!("200 registrations and no pair {kind:?}: identities do not spread over shards");
    }

    /// Every kind of pair, for tests that must hold for each.
    #[track_caller]
    pub fn pairs(&self) -> [(i64, i64); 2] {
        [self.pair(Pair::Together), self.pair(Pair::Apart)]
    }

    /// Connects and authenticates somebody; ready when this returns.
    #[track_caller]
    pub fn connect(&self, user: i64) -> Client {
        let mut client = self.stranger();
        client.authenticate(user);
        client
    }

    /// Connects without authenticating.
    #[track_caller]
    pub fn stranger(&self) -> Client {
        Client::over(Connection::open(self.ws))
    }

    /// A page of somebody's messages, newest first.
    #[track_caller]
    pub fn page(&self, user: i64) -> Vec<Value> {
        self.list("/im/message/user/get/page", json!({"userId": user, "pageSize": 200}))
    }

    /// Somebody's offline messages, oldest first.
    #[track_caller]
    pub fn offline(&self, user: i64) -> Vec<Value> {
        self.list("/im/message/offline", json!({"userId": user}))
    }

    /// Somebody's chat list.
    #[track_caller]
    pub fn chats(&self, user: i64) -> Vec<Value> {
        self.list("/im/user/chat/list", json!({"userId": user}))
    }

    /// A call that answers a list.
    #[track_caller]
    pub fn list(&self, path: &str, body: Value) -> Vec<Value> {
        match self.call(path, body) {
            Value::Array(items) => items,
            other => panic!("{path} answers a list, not {other}"),
        }
    }
}

/// How two people's homes lie.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Pair {
    /// On one shard.
    Together,
    /// On two shards, where there are two.
    Apart,
}

/// Ms since the Unix epoch.
pub fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is later than 1970");
    since.as_millis() as i64
}

/// A 19-digit message id that no float holds: odd, rising, unique in this process.
pub fn fresh_id() -> i64 {
    static NEXT: OnceLock<AtomicI64> = OnceLock::new();
    let next = NEXT.get_or_init(|| AtomicI64::new(((now_ms() - EPOCH_MS) << 22) | 1));
    next.fetch_add(2, Ordering::Relaxed)
}

/// The `id`s of a list.
#[track_caller]
pub fn ids(list: &[Value]) -> Vec<i64> {
    list.iter().map(|item| item.int("id")).collect()
}

/// A frame as it came: its text and its meaning.
#[derive(Clone, Debug)]
pub struct Arrived {
    /// As it stood on the wire.
    pub text: String,
    /// What it says.
    pub json: Value,
}

impl Arrived {
    /// The `srcId` of an Ack's or Error's content.
    pub fn source(&self) -> Option<i64> {
        let content: Value = serde_json::from_str(self.json.get("content")?.as_str()?).ok()?;
        content.get("srcId")?.as_i64()
    }

    fn is(&self, kind: &str) -> bool {
        self.json["msgType"] == kind
    }
}

/// A chat client: what came and was not asked for yet waits in order.
#[derive(Debug)]
pub struct Client {
    /// The connection, for those who want to misbehave.
    pub connection: Connection,
    user: i64,
    waiting: Vec<Arrived>,
}

impl Client {
    /// A client that is not authenticated.
    pub fn over(connection: Connection) -> Client {
        Client { connection, user: 0, waiting: Vec::new() }
    }

    /// Authenticates with an id, so that its Ack tells when all is ready.
    #[track_caller]
    pub fn authenticate(&mut self, user: i64) {
        let id = fresh_id();
        self.user = user;
        self.say(json!({"msgType": "Auth", "fromUserId": user, "content": "token", "id": id}));
        self.expect_ack(id);
    }

    /// Sends any object.
    #[track_caller]
    pub fn say(&mut self, frame: Value) {
        self.connection.send_text(&frame.to_string());
    }

    /// A Text frame of this user.
    pub fn draft(&self, to: i64, id: i64, content: &str) -> Value {
        json!({"id": id, "fromUserId": self.user, "toUserId": to, "chatType": "Single",
            "msgType": "Text", "content": content})
    }

    /// Sends a Text without waiting; returns its id.
    #[track_caller]
    pub fn post(&mut self, to: i64, content: &str) -> i64 {
        let id = fresh_id();
        let draft = self.draft(to, id, content);
        self.say(draft);
        id
    }

    /// Sends a Text and awaits the server's Ack; returns its id.
    #[track_caller]
    pub fn send(&mut self, to: i64, content: &str) -> i64 {
        let id = self.post(to, content);
        self.expect_ack(id);
        id
    }

    /// Sends so many Texts, each acked before the next; returns their ids.
    #[track_caller]
    pub fn send_many(&mut self, to: i64, count: usize) -> Vec<i64> {
        (0..count).map(|number| self.send(to, &format!("{number} of many"))).collect()
    }

    /// Sends any frame, which must be acked under this id.
    #[track_caller]
    pub fn say_acked(&mut self, frame: Value) -> Arrived {
        let id = frame.int("id");
        self.say(frame);
        self.expect_ack(id)
    }

    /// Sends any frame, which must be refused; returns what the Error says.
    #[track_caller]
    pub fn say_refused(&mut self, frame: Value) -> Value {
        self.connection.send_text(&frame.to_string());
        self.expect_error()
    }

    /// Acks a message, as the document does: no own id, single quotes.
    #[track_caller]
    pub fn ack(&mut self, id: i64) {
        let content = format!("{{'srcId':{id}}}");
        self.say(json!({"chatType": "Single", "msgType": "Ack", "content": content}));
    }

    /// Awaits the server's Ack of an id. No Error may come first.
    #[track_caller]
    pub fn expect_ack(&mut self, id: i64) -> Arrived {
        self.expect(&format!("the Ack of {id}"), |frame| {
            assert!(!frame.is("Error"), "an Ack of {id} was expected, not {}", frame.text);
            frame.is("Ack") && frame.source() == Some(id)
        })
    }

    /// Awaits an Error; returns its content, with `srcId`, `code` and `msg`.
    #[track_caller]
    pub fn expect_error(&mut self) -> Value {
        let frame = self.expect("an Error", |frame| frame.is("Error"));
        let content = json::value(frame.json.text("content"));
        let keys = json::Keys::of(frame.json.text("content")).0;
        assert_eq!(keys, ["srcId", "code", "msg"], "{content}");
        assert!(!content.text("msg").is_empty(), "{content} says nothing");
        content
    }

    /// Awaits the message with this id.
    #[track_caller]
    pub fn expect_message(&mut self, id: i64) -> Arrived {
        self.expect(&format!("message {id}"), |frame| {
            !frame.is("Ack") && !frame.is("Error") && frame.json["id"] == id
        })
    }

    /// Awaits the next frame that is a message (neither Ack nor Error nor the server's Event).
    #[track_caller]
    pub fn next_message(&mut self) -> Arrived {
        self.expect("a message", |frame| {
            !frame.is("Ack") && !frame.is("Error") && frame.json["fromUserId"] != 1
        })
    }

    /// Awaits an OfflineMessage event; returns its content.
    #[track_caller]
    pub fn expect_offline_event(&mut self) -> String {
        let event = self.expect("OfflineMessage", |frame| {
            frame.json["eventType"] == "OfflineMessage" && frame.json["fromUserId"] == 1
        });
        event.json.text("content").to_owned()
    }

    /// Awaits the first frame that fits; what came before it goes on waiting.
    #[track_caller]
    pub fn expect(&mut self, what: &str, fits: impl Fn(&Arrived) -> bool) -> Arrived {
        if let Some(place) = self.waiting.iter().position(&fits) {
            return self.waiting.remove(place);
        }
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.connection.next(deadline) {
                Received::Text(text) => {
                    let arrived = Arrived { json: json::value(&text), text };
                    if fits(&arrived) {
                        return arrived;
                    }
                    self.waiting.push(arrived);
                }
                Received::Ping(_) | Received::Pong(_) => {}
                other => panic!(
                    "{what} was expected, not {other:?}; what came: {:#?}",
                    self.waiting.iter().map(|frame| &frame.text).collect::<Vec<_>>()
                ),
            }
        }
    }

    /// A round trip: whatever the server had written before this is here when it returns.
    #[track_caller]
    pub fn catch_up(&mut self) {
        let id = fresh_id();
        let user = self.user;
        self.say(json!({"msgType": "Auth", "fromUserId": user, "content": "token", "id": id}));
        self.expect_ack(id);
    }

    /// Everything that came and was not asked for, after a round trip.
    #[track_caller]
    pub fn unasked(&mut self) -> Vec<Arrived> {
        self.catch_up();
        std::mem::take(&mut self.waiting)
    }

    /// Asserts that nothing came that was not asked for.
    #[track_caller]
    pub fn expect_nothing_more(&mut self) {
        let rest: Vec<String> = self.unasked().into_iter().map(|frame| frame.text).collect();
        assert_eq!(rest, Vec::<String>::new(), "nothing more was expected");
    }
}
