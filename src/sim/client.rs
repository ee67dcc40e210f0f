//! The people of a town and their clients: real bytes, several devices, and bad habits.
//!
//! Invariants:
//! 1. What is not acked is sent again, unchanged, until it is.
//!
//! What they do is chosen by `life`; here is what they say, hear and remember. Left to others: what
//! they ought to hear (`checkers`).

pub mod bytes;
mod hostile;
mod life;

use crate::api::{Identity, Request};
use crate::ids::{ChatId, UserId};
use crate::limits::CONNECTIONS_PER_USER_MAX;
use crate::sim::checkers::Checkers;
use crate::sim::host::Ground;
use crate::sim::network::SocketId;
use crate::sim::observation::{Call, DeviceId, Failure, Heard, Observation, Said};
use crate::sim::prng::Prng;
use crate::wire::session::Port;
use bytes::{Item, Reader};
use simd_json::OwnedValue;
use simd_json::prelude::*;
use std::collections::{BTreeMap, VecDeque};

/// How somebody acks what he hears.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Acking {
    /// At once.
    Always,
    /// Now and then, several together.
    Lazily,
    /// Never.
    Never,
}

/// Somebody's habits.
#[derive(Clone, Copy, Debug)]
struct Traits {
    acking: Acking,
    /// Says everything at once and waits for no answer.
    is_eager: bool,
    /// Sends again, when he comes back, what was not acked.
    is_careful: bool,
    devices: usize,
}

/// Somebody.
pub struct Person {
    identity: Identity<'static>,
    pub user: Option<UserId>,
    traits: Traits,
    /// Said and not acked, by id.
    outbox: BTreeMap<i64, Said>,
    /// Everything said with an id.
    said: Vec<(i64, Said)>,
    to_ack: Vec<i64>,
    heard: Vec<i64>,
    minted: Vec<i64>,
    chats: Vec<ChatId>,
    last_seq: u64,
    caller: Option<SocketId>,
}

/// A connection as its client sees it.
struct Device {
    id: DeviceId,
    reader: Reader,
    is_caller: bool,
    /// The id of its Auth; `None`: it has said none yet.
    auth: Option<i64>,
    is_welcome: bool,
    calls: VecDeque<Call>,
    code: Option<u16>,
}

/// Everybody, and whoever watches what they hear.
pub struct Crowd {
    pub people: Vec<Person>,
    devices: BTreeMap<SocketId, Device>,
    prng: Prng,
    checkers: Checkers,
    /// Counts what was said: no two messages are the same.
    numbers: i64,
    /// People who were registered by others, and never come.
    guests: u64,
    /// Messages said, heard and asked for.
    pub messages: u64,
    /// Nobody does anything by himself any more.
    pub is_evening: bool,
    /// Answers that the clerk waits for.
    answers: VecDeque<(Call, u16, OwnedValue)>,
}

impl Crowd {
    /// So many people, who do not know each other.
    pub fn new(people: u32, prng: Prng, checkers: Checkers) -> Crowd {
        let mut crowd = Crowd {
            people: Vec::new(),
            devices: BTreeMap::new(),
            prng,
            checkers,
            numbers: 0,
            guests: 0,
            messages: 0,
            is_evening: false,
            answers: VecDeque::new(),
        };
        for index in 0..people {
            let person = crowd.person(index);
            crowd.people.push(person);
        }
        crowd
    }

    fn person(&mut self, index: u32) -> Person {
        let prng = &mut self.prng;
        let traits = Traits {
            acking: match prng.below(5) {
                0 | 1 => Acking::Always,
                2 | 3 => Acking::Lazily,
                _ => Acking::Never,
            },
            is_eager: prng.once_in(3),
            is_careful: !prng.once_in(4),
            // Who has more than a user may hold loses the oldest, over and over.
            devices: match prng.below(24) {
                0 => CONNECTIONS_PER_USER_MAX + 1,
                chosen => 1 + chosen as usize % 3,
            },
        };
        // One of them works for another company: nobody can write to him.
        let company = if index == 5 { "other" } else { "acme" };
        Person {
            identity: identity(company, format!("person {index}")),
            user: None,
            traits,
            outbox: BTreeMap::new(),
            said: Vec::new(),
            to_ack: Vec::new(),
            heard: Vec::new(),
            minted: Vec::new(),
            chats: Vec::new(),
            last_seq: 0,
            caller: None,
        }
    }

    /// Tells the checkers.
    pub fn note(
        &mut self,
        observation: &Observation<'_>,
        ground: &Ground<'_>,
    ) -> Result<(), Failure> {
        self.checkers.note(ground.chronicle.moment(), observation)
    }

    /// The checkers, for their last word.
    pub fn checkers(&mut self) -> &mut Checkers {
        &mut self.checkers
    }

    fn connect(
        &mut self,
        person: u32,
        port: Port,
        is_caller: bool,
        ground: &mut Ground<'_>,
    ) -> SocketId {
        let socket = ground.network.connect(person, port);
        let device = Device {
            id: ground.network.at(socket).device,
            reader: Reader::default(),
            is_caller,
            auth: None,
            is_welcome: false,
            calls: VecDeque::new(),
            code: None,
        };
        let name = device.id;
        ground.chronicle.tell_of(format_args!("{name}"), format_args!("connects"));
        self.devices.insert(socket, device);
        socket
    }

    /// Puts a frame on a connection, masked, sometimes in fragments.
    fn say(
        &mut self,
        socket: SocketId,
        said: &Said,
        ground: &mut Ground<'_>,
    ) -> Result<(), Failure> {
        let Some(device) = self.devices.get(&socket) else { return Ok(()) };
        let name = device.id;
        let mut mask = || (self.prng.below(1 << 32) as u32).to_le_bytes();
        let text = bytes::text_of(said);
        let bytes = match said {
            Said::Ping => bytes::frame(0x80 | bytes::PING, b"ping", mask()),
            _ if text.len() > 20 && mask()[0] < 12 => {
                let (first, rest) = text.as_bytes().split_at(text.len() / 3);
                [
                    bytes::frame(bytes::TEXT, first, mask()),
                    bytes::frame(0x80 | bytes::PING, b"between", mask()),
                    bytes::frame(0x80 | bytes::CONTINUATION, rest, mask()),
                ]
                .concat()
            }
            _ => bytes::frame(0x80 | bytes::TEXT, text.as_bytes(), mask()),
        };
        if ground.chronicle.is_told() {
            let words = cut(format!("says {said:?}"));
            ground.chronicle.tell_of(format_args!("{name}"), format_args!("{words}"));
        }
        self.messages += 1;
        self.note(&Observation::Said { device: name, frame: said }, ground)?;
        ground.network.send_up(socket, &bytes);
        Ok(())
    }

    /// Puts a call on a connection.
    fn call(
        &mut self,
        socket: SocketId,
        call: Call,
        ground: &mut Ground<'_>,
    ) -> Result<(), Failure> {
        let is_chunked = self.prng.once_in(8);
        let Some(device) = self.devices.get_mut(&socket) else { return Ok(()) };
        let name = device.id;
        ground.chronicle.tell_of(format_args!("{name}"), format_args!("calls {call:?}"));
        let bytes = bytes::request(&call, is_chunked);
        device.calls.push_back(call.clone());
        self.messages += 1;
        self.note(&Observation::Called { device: name, call: &call }, ground)?;
        ground.network.send_up(socket, &bytes);
        Ok(())
    }

    /// Bytes of the server have arrived.
    pub fn hear(
        &mut self,
        socket: SocketId,
        bytes: &[u8],
        ground: &mut Ground<'_>,
    ) -> Result<(), Failure> {
        // What strangers hear is nobody's business.
        let Some(device) = self.devices.get_mut(&socket) else { return Ok(()) };
        device.reader.receive(bytes);
        while let Some(device) = self.devices.get_mut(&socket) {
            let item = device.reader.next().map_err(|words| Failure {
                checker: "bytes",
                user: None,
                message: None,
                words: format!("{} read {words}", device.id),
            })?;
            let Some(item) = item else { break };
            self.messages += 1;
            self.take(socket, item, ground)?;
        }
        Ok(())
    }

    fn take(
        &mut self,
        socket: SocketId,
        item: Item,
        ground: &mut Ground<'_>,
    ) -> Result<(), Failure> {
        let Some(device) = self.devices.get_mut(&socket) else { return Ok(()) };
        let name = device.id;
        if ground.chronicle.is_told() {
            let words = words_of(&item);
            ground.chronicle.tell_of(format_args!("{name}"), format_args!("{words}"));
        }
        match item {
            Item::Upgraded => {
                if device.auth.is_none() {
                    self.authenticate(socket, ground)
                } else {
                    Ok(())
                }
            }
            Item::Frame(heard) => {
                self.note(&Observation::Heard { device: name, frame: &heard }, ground)?;
                self.react(socket, name.person, heard, ground)
            }
            Item::Answer(status, body) => {
                let Some(call) = device.calls.pop_front() else {
                    return if device.is_caller { Err(unasked(name, status)) } else { Ok(()) };
                };
                let answered =
                    Observation::Answered { device: name, call: &call, status, body: &body };
                self.note(&answered, ground)?;
                self.learn(name.person, call, status, body);
                Ok(())
            }
        }
    }

    fn react(
        &mut self,
        socket: SocketId,
        person: u32,
        heard: Heard,
        ground: &mut Ground<'_>,
    ) -> Result<(), Failure> {
        let Some(device) = self.devices.get_mut(&socket) else { return Ok(()) };
        let Some(person) = self.people.get_mut(person as usize) else { return Ok(()) };
        match heard {
            Heard::Ack { source, .. } if device.auth == Some(source) => {
                device.is_welcome = true;
                if person.traits.is_careful {
                    let again: Vec<Said> = person.outbox.values().cloned().collect();
                    for said in &again {
                        self.say(socket, said, ground)?;
                    }
                }
            }
            Heard::Ack { source, .. } => {
                person.outbox.remove(&source);
            }
            Heard::Message { id, from, .. } if Some(from) != person.user => {
                person.heard.push(id);
                person.to_ack.push(id);
                if person.traits.acking == Acking::Always {
                    let ids = std::mem::take(&mut person.to_ack);
                    self.say(socket, &Said::Ack(ids), ground)?;
                }
            }
            Heard::Error { source: Some(source), code, .. } if code != 507 && code != 503 => {
                person.outbox.remove(&source);
            }
            Heard::Ping => {
                let pong = bytes::frame(0x80 | bytes::PONG, b"", [1, 2, 3, 4]);
                ground.network.send_up(socket, &pong);
            }
            Heard::Close { code } => device.code = code,
            _ => {}
        }
        Ok(())
    }

    /// Remembers what an answer tells.
    fn learn(&mut self, person: u32, call: Call, status: u16, body: OwnedValue) {
        let Some(person) = self.people.get_mut(person as usize) else {
            return self.answers.push_back((call, status, body));
        };
        let list = || body.as_array().into_iter().flatten();
        let id = |item: &OwnedValue| item.get_i64("id");
        match &call {
            _ if status != 200 => {}
            Request::Register { identity, .. } if *identity == person.identity => {
                person.user = body.get_i64("userId").and_then(UserId::new);
            }
            Request::MintIds(None) => person.minted.extend(id(&body)),
            Request::MintIds(Some(_)) => {
                let ids = body.get_array("ids").into_iter().flatten();
                person.minted.extend(ids.filter_map(|id| id.as_i64()));
            }
            Request::ChatList { .. } => {
                person.chats = list().filter_map(id).filter_map(ChatId::new).collect();
            }
            Request::Offline { user, .. } if person.user == Some(*user) => {
                person.to_ack.extend(list().filter_map(id));
            }
            Request::Page { user, .. } if person.user == Some(*user) => {
                let last = list().next_back().and_then(|item| item.get_u64("seq"));
                person.last_seq = last.unwrap_or(0);
            }
            _ => {}
        }
    }

    /// The server sends no more on a connection.
    pub fn hear_end(&mut self, socket: SocketId, ground: &mut Ground<'_>) -> Result<(), Failure> {
        ground.network.end_up(socket);
        let Some(device) = self.devices.remove(&socket) else { return Ok(()) };
        if let Some(person) = self.people.get_mut(device.id.person as usize) {
            person.caller.take_if(|caller| *caller == socket);
        }
        let Device { id, code, .. } = device;
        ground.chronicle.tell_of(format_args!("{id}"), format_args!("is at its end, {code:?}"));
        self.note(&Observation::Ended { device: id, code }, ground)
    }

    /// No message has such an id.
    fn auth_id(&mut self) -> i64 {
        self.numbers += 1;
        7_000_000_000 + self.numbers
    }

    fn authenticate(&mut self, socket: SocketId, ground: &mut Ground<'_>) -> Result<(), Failure> {
        let id = self.auth_id();
        let Some(device) = self.devices.get_mut(&socket) else { return Ok(()) };
        device.auth = Some(id);
        let person = &self.people[device.id.person as usize];
        let Some(user) = person.user else { return Ok(()) };
        let id = (!self.prng.once_in(10)).then_some(id);
        // Who asks for no Ack takes it for granted.
        device.is_welcome = id.is_none();
        self.say(socket, &Said::Auth { user, id }, ground)
    }
}

fn identity(company: &'static str, third_user_id: String) -> Identity<'static> {
    Identity { company: company.into(), app: "shop".into(), third_user_id: third_user_id.into() }
}

fn unasked(device: DeviceId, status: u16) -> Failure {
    let words = format!("{device} read an answer {status} to nothing that it had asked");
    Failure::of("bytes", words)
}

/// What was heard, in a line: of a list the ids of what is in it.
fn words_of(item: &Item) -> String {
    let Item::Answer(status, body) = item else { return cut(format!("hears {item:?}")) };
    let Some(items) = body.as_array() else { return cut(format!("hears {status} {body:?}")) };
    let ids: Vec<String> =
        items.iter().filter_map(|item| item.get_i64("id")).map(|id| id.to_string()).collect();
    format!("hears {status}, {} items: {}", items.len(), ids.join(" "))
}

/// At most so much of a line as a reader wants to see.
fn cut(mut words: String) -> String {
    let end = words.char_indices().nth(400).map_or(words.len(), |(at, _)| at);
    words.truncate(end);
    words
}
