//! What people do next: chosen by the seed.

use super::{Crowd, bytes};
use crate::api::{EventType, Identity, MessageType, PageStart, Request};
use crate::ids::UserId;
use crate::sim::host::Ground;
use crate::sim::network::SocketId;
use crate::sim::observation::{Failure, Observation, Said};
use crate::wire::session::Port;
use simd_json::OwnedValue;

const KINDS: [MessageType; 5] = [
    MessageType::Text,
    MessageType::Text,
    MessageType::Image,
    MessageType::Link,
    MessageType::Event,
];

impl Crowd {
    /// Somebody does something.
    pub fn act(&mut self, who: usize, ground: &mut Ground<'_>) -> Result<(), Failure> {
        if self.people[who].user.is_none() {
            return self.register(who, ground);
        }
        let devices = self.devices_of(who);
        if devices.len() < self.people[who].traits.devices || devices.is_empty() {
            return self.arrive(who, ground);
        }
        let device = devices[self.prng.below(devices.len() as u64) as usize];
        let is_ready = {
            let device = &self.devices[&device];
            device.is_welcome || device.auth.is_some() && self.people[who].traits.is_eager
        };
        if is_ready && self.prng.once_in(2_000) {
            let Some(peer) = self.anybody() else { return Ok(()) };
            return self.flood(who, device, peer, ground);
        }
        match self.prng.below(100) {
            0..46 if is_ready => {
                let said = self.compose(who);
                self.tell(who, device, said, ground)
            }
            46..50 if is_ready => self.say_again(who, device, ground),
            50..53 if is_ready => self.say_wrongly(who, device, ground),
            53..68 if is_ready => self.ack(who, device, ground),
            68..70 => self.say(device, &Said::Heartbeat, ground),
            70..72 if is_ready => self.say(device, &Said::Ping, ground),
            72..74 => self.leave(device, ground),
            74..75 => self.babble(device, ground),
            75..77 if is_ready => self.authenticate_again(who, device, ground),
            _ => self.ask(who, ground),
        }
    }

    fn devices_of(&self, who: usize) -> Vec<SocketId> {
        let is_his = |device: &super::Device| device.id.person == who as u32 && !device.is_caller;
        self.devices
            .iter()
            .filter(|(_, device)| is_his(device))
            .map(|(socket, _)| *socket)
            .collect()
    }

    /// Somebody's connection for calls.
    fn caller_of(&mut self, who: usize, ground: &mut Ground<'_>) -> SocketId {
        if let Some(caller) = self.people[who].caller {
            return caller;
        }
        let caller = self.connect(who as u32, Port::Http, true, ground);
        self.people[who].caller = Some(caller);
        caller
    }

    fn register(&mut self, who: usize, ground: &mut Ground<'_>) -> Result<(), Failure> {
        let caller = self.caller_of(who, ground);
        if !self.devices[&caller].calls.is_empty() {
            return Ok(());
        }
        let identity = self.people[who].identity.clone();
        let name = self.new_name();
        self.call(caller, Request::Register { identity, name }, ground)
    }

    /// A device connects.
    fn arrive(&mut self, who: usize, ground: &mut Ground<'_>) -> Result<(), Failure> {
        let port = if self.prng.once_in(4) { Port::Http } else { Port::WebSocket };
        let socket = self.connect(who as u32, port, false, ground);
        ground.network.at(socket).is_slow = self.prng.once_in(12);
        ground.network.send_up(socket, bytes::UPGRADE.as_bytes());
        if !self.people[who].traits.is_eager {
            return Ok(());
        }
        // Such clients send what they have before they say who they are.
        for _ in 0..self.prng.below(3) {
            let said = self.compose(who);
            self.tell(who, socket, said, ground)?;
        }
        self.authenticate(socket, ground)
    }

    /// Somebody says again who he is, or that he is another.
    fn authenticate_again(
        &mut self,
        who: usize,
        socket: SocketId,
        ground: &mut Ground<'_>,
    ) -> Result<(), Failure> {
        let other = if self.prng.once_in(2) { self.anybody() } else { None };
        let Some(user) = other.or(self.people[who].user) else { return Ok(()) };
        let id = Some(self.auth_id());
        self.say(socket, &Said::Auth { user, id }, ground)
    }

    /// Ends this side of a connection.
    fn say_no_more(&mut self, socket: SocketId, ground: &mut Ground<'_>) -> Result<(), Failure> {
        ground.network.end_up(socket);
        let Some(device) = self.devices.get(&socket).map(|device| device.id) else { return Ok(()) };
        ground.chronicle.tell_of(format_args!("{device}"), format_args!("ends its side"));
        self.note(&Observation::Left { device }, ground)
    }

    /// A connection ends, with or without a word.
    fn leave(&mut self, socket: SocketId, ground: &mut Ground<'_>) -> Result<(), Failure> {
        match self.prng.below(3) {
            0 => {
                let close =
                    bytes::frame(0x80 | bytes::CLOSE, &1000_u16.to_be_bytes(), [9, 8, 7, 6]);
                ground.network.send_up(socket, &close);
                self.say_no_more(socket, ground)
            }
            1 => self.say_no_more(socket, ground),
            _ => {
                ground.network.reset(socket);
                self.hear_end(socket, ground)
            }
        }
    }

    pub(super) fn anybody(&mut self) -> Option<UserId> {
        let who = self.prng.below(self.people.len() as u64) as usize;
        self.people[who].user
    }

    /// A message that nobody has said before.
    fn compose(&mut self, who: usize) -> Said {
        self.numbers += 1;
        let number = self.numbers;
        let me = self.people[who].user.expect("only who is registered writes");
        let to = match self.prng.below(24) {
            0 => me,
            1 => UserId::new(99_999).expect("positive"),
            2 if self.prng.once_in(4) => UserId::SYSTEM,
            _ => self.anybody().unwrap_or(me),
        };
        let id = match self.prng.below(16) {
            0 => 0,
            1 | 2 => 1 + self.prng.below(40) as i64,
            3 => 1_000_000 - number,
            4..8 => self.people[who].minted.pop().unwrap_or(2_000_000 + number),
            _ => 1_000_000 + number,
        };
        let filler = match self.prng.below(120) {
            // A turn that holds it, and it twice, fits into a segment.
            0 => 12_000,
            1..10 => 200 + self.prng.below(3_000) as usize,
            _ => self.prng.below(30) as usize,
        };
        let filler = ["x", "é", "\"", "鸿"][self.prng.below(4) as usize].repeat(filler / 2);
        let kind = KINDS[self.prng.below(KINDS.len() as u64) as usize];
        let event = (kind == MessageType::Event).then_some(EventType::Like);
        let timestamp = self.prng.once_in(8).then(|| 1_700_000_000_000 + number);
        let from = self.prng.once_in(2).then_some(me);
        let content = format!("{number} of person {who} {filler}");
        Said::Message { id, from, to, kind, event, timestamp, content }
    }

    /// Says a message, and remembers it until it is acked.
    fn tell(
        &mut self,
        who: usize,
        socket: SocketId,
        said: Said,
        ground: &mut Ground<'_>,
    ) -> Result<(), Failure> {
        let mut said = said;
        if let Said::Message { id, .. } = said
            && id != 0
        {
            let person = &mut self.people[who];
            let before = person.said.iter().find(|(before, _)| *before == id);
            match before {
                // His own small ids are used up: what is sent under one is what was, mostly.
                Some((_, before)) if !self.prng.once_in(4) => said = before.clone(),
                Some(_) => {}
                None => {
                    person.said.push((id, said.clone()));
                    person.outbox.insert(id, said.clone());
                }
            }
        }
        self.say(socket, &said, ground)
    }

    /// Somebody tells another everything at once: more than a page, and than a parcel of relays.
    fn flood(
        &mut self,
        who: usize,
        socket: SocketId,
        peer: UserId,
        ground: &mut Ground<'_>,
    ) -> Result<(), Failure> {
        let (count, filler_max) = match self.prng.below(4) {
            0 => (10 + self.prng.below(40), 12_000),
            _ => (100 + self.prng.below(500), 900),
        };
        for _ in 0..count {
            self.numbers += 1;
            let filler = "y".repeat(self.prng.below(filler_max) as usize);
            let content = format!("{} of person {who} {filler}", self.numbers);
            let id = 1_000_000 + self.numbers;
            let kind = MessageType::Text;
            let said = Said::Message {
                id,
                from: None,
                to: peer,
                kind,
                event: None,
                timestamp: None,
                content,
            };
            self.tell(who, socket, said, ground)?;
        }
        Ok(())
    }

    fn say_again(
        &mut self,
        who: usize,
        socket: SocketId,
        ground: &mut Ground<'_>,
    ) -> Result<(), Failure> {
        let said = &self.people[who].said;
        if said.is_empty() {
            return Ok(());
        }
        let again = said[self.prng.below(said.len() as u64) as usize].1.clone();
        self.say(socket, &again, ground)
    }

    /// Says something that is to be refused: forged, or other words under a used id.
    fn say_wrongly(
        &mut self,
        who: usize,
        socket: SocketId,
        ground: &mut Ground<'_>,
    ) -> Result<(), Failure> {
        let mut said = self.compose(who);
        let forger = self.anybody();
        let number = self.numbers;
        let used = self.people[who].said.last().cloned();
        if let Said::Message { id, from, content, kind, event, timestamp, .. } = &mut said {
            match (forger, used) {
                (Some(forger), _) if number % 2 == 0 => {
                    *from = Some(forger);
                    // An id of its own: nothing true may be said under it later.
                    *id = 3_000_000 + number;
                }
                (_, Some((used, before))) => {
                    *id = used;
                    // The same words, but to somebody else.
                    if let Said::Message {
                        content: words,
                        kind: of,
                        event: what,
                        timestamp: at,
                        ..
                    } = before
                        && number % 4 == 1
                    {
                        (*content, *kind, *event, *timestamp) = (words, of, what, at);
                    }
                }
                _ => {}
            }
        }
        self.say(socket, &said, ground)
    }

    fn ack(
        &mut self,
        who: usize,
        socket: SocketId,
        ground: &mut Ground<'_>,
    ) -> Result<(), Failure> {
        let person = &mut self.people[who];
        let said = match (person.traits.acking, self.prng.below(12)) {
            (super::Acking::Never, _) => return Ok(()),
            (_, 0) if !person.heard.is_empty() => {
                let place = self.prng.below(person.heard.len() as u64) as usize;
                Said::AckUpTo(person.heard[place])
            }
            (_, 1) => Said::Ack(vec![1 + self.prng.below(50) as i64]),
            _ if person.to_ack.is_empty() => return Ok(()),
            _ => {
                let count = (1 + self.prng.below(8) as usize).min(person.to_ack.len());
                Said::Ack(person.to_ack.drain(..count).collect())
            }
        };
        self.say(socket, &said, ground)
    }

    /// Somebody makes a call, or two at once.
    fn ask(&mut self, who: usize, ground: &mut Ground<'_>) -> Result<(), Failure> {
        let caller = self.caller_of(who, ground);
        if self.devices[&caller].calls.len() > 2 {
            return Ok(());
        }
        for _ in 0..1 + self.prng.below(2) {
            if let Some(call) = self.choose_call(who) {
                self.call(caller, call, ground)?;
            }
        }
        if self.prng.once_in(40) {
            ground.network.reset(caller);
            return self.hear_end(caller, ground);
        }
        Ok(())
    }

    fn choose_call(&mut self, who: usize) -> Option<Request<'static>> {
        let user = if self.prng.once_in(3) { self.anybody()? } else { self.people[who].user? };
        let chats = &self.people[who].chats;
        let chat = match chats.is_empty() {
            true => None,
            false => Some(chats[self.prng.below(chats.len() as u64) as usize]),
        };
        let last_seq = self.people[who].last_seq;
        let start = match self.prng.below(3) {
            0 if last_seq > 0 => PageStart::Before(last_seq),
            _ => PageStart::Number(1 + self.prng.below(3)),
        };
        let size = [200, 200, 10, 3][self.prng.below(4) as usize];
        Some(match self.prng.below(16) {
            0 => Request::MintIds(None),
            1 => Request::MintIds(Some(1 + self.prng.below(9) as u16)),
            2 | 3 => Request::Page { user, start, size },
            4 | 5 => Request::PairPage { owner: user, peer: self.anybody()?, start, size },
            6 | 7 => {
                let after_seq = if self.prng.once_in(4) { last_seq } else { 0 };
                let limit = if self.prng.once_in(4) { 3 } else { 10_000 };
                Request::Offline { user, after_seq, limit }
            }
            8 => {
                let limit = [100, 100, 1, 3][self.prng.below(4) as usize];
                Request::ChatList { user: self.people[who].user?, limit }
            }
            9 => Request::UnreadCount(user),
            10 => Request::ClearUnread(chat?),
            11 => Request::ClearUnreadOf { owner: user, peer: self.anybody()? },
            12 if self.prng.once_in(2) => Request::DeleteChat(chat?),
            12 => Request::Top { chat: chat?, top: self.prng.once_in(2) },
            13 => Request::Find(self.people[who].identity.clone()),
            14 => Request::Find(self.guest(false)),
            _ => {
                let is_himself = self.prng.once_in(4);
                let own = self.people[who].identity.clone();
                let identity = if is_himself { own } else { self.guest(true) };
                Request::Register { identity, name: self.new_name() }
            }
        })
    }

    /// Some bring a name, which nobody had before.
    fn new_name(&mut self) -> Option<std::borrow::Cow<'static, str>> {
        self.numbers += 1;
        self.prng.once_in(2).then(|| format!("Name \"{}\"", self.numbers).into())
    }

    /// Somebody who never comes; mostly, where one may, of whom nobody has heard before.
    fn guest(&mut self, may_be_new: bool) -> Identity<'static> {
        let is_new = self.guests == 0 || may_be_new && !self.prng.once_in(4);
        self.guests += u64::from(is_new);
        let number = if is_new { self.guests } else { 1 + self.prng.below(self.guests) };
        guest(number)
    }

    /// Everybody who has no device gets one, and nobody does anything else any more.
    pub fn come_home(&mut self, ground: &mut Ground<'_>) -> Result<(), Failure> {
        self.is_evening = true;
        for who in 0..self.people.len() {
            match self.people[who].user {
                None => self.register(who, ground)?,
                Some(_) if self.devices_of(who).is_empty() => self.arrive(who, ground)?,
                Some(_) => {}
            }
        }
        Ok(())
    }

    /// Everybody who should be is registered, and nobody waits for an answer.
    pub fn is_everybody_home(&self) -> bool {
        let waits = self.devices.values().any(|device| !device.calls.is_empty());
        let has_device = |who: usize| !self.devices_of(who).is_empty();
        let is_home = |who: usize| self.people[who].user.is_some() && has_device(who);
        !waits && (0..self.people.len()).all(is_home)
    }

    /// Everybody's connections break, and everybody comes again at once.
    pub fn stampede(&mut self, ground: &mut Ground<'_>) -> Result<(), Failure> {
        let sockets: Vec<SocketId> = self.devices.keys().copied().collect();
        for socket in sockets {
            ground.network.reset(socket);
            self.hear_end(socket, ground)?;
        }
        for who in 0..self.people.len() {
            if self.people[who].user.is_some() {
                self.arrive(who, ground)?;
            }
        }
        Ok(())
    }

    /// The clerk asks for something, over a connection of his own.
    pub fn clerk_calls(
        &mut self,
        clerk: Option<SocketId>,
        call: Request<'static>,
        ground: &mut Ground<'_>,
    ) -> Result<SocketId, Failure> {
        let nobody = crate::sim::observation::DeviceId::STRANGER;
        let clerk = match clerk {
            Some(clerk) => clerk,
            None => self.connect(nobody, Port::Http, true, ground),
        };
        self.call(clerk, call, ground)?;
        Ok(clerk)
    }

    /// What the clerk was answered.
    pub fn take_answer(&mut self) -> Option<(Request<'static>, u16, OwnedValue)> {
        self.answers.pop_front()
    }

    /// Everybody who is registered.
    pub fn users(&self) -> Vec<UserId> {
        self.people.iter().filter_map(|person| person.user).collect()
    }

    /// Everybody's names, and those of guests.
    pub fn identities(&self) -> Vec<Identity<'static>> {
        let people = self.people.iter().map(|person| person.identity.clone());
        people.chain((1..=self.guests).map(guest)).collect()
    }

    /// Somebody tells everything to one of those who are `at_home` where he is not.
    pub fn flood_those(
        &mut self,
        at_home: impl Fn(UserId) -> bool,
        ground: &mut Ground<'_>,
    ) -> Result<(), Failure> {
        let peers: Vec<UserId> = self.users().into_iter().filter(|user| at_home(*user)).collect();
        let is_ready = |device: &super::Device| {
            let author = self.people.get(device.id.person as usize).and_then(|one| one.user);
            device.is_welcome && author.is_some_and(|author| !at_home(author))
        };
        let ready = self.devices.iter().find(|(_, device)| is_ready(device));
        let Some((socket, who)) = ready.map(|(socket, device)| (*socket, device.id.person)) else {
            return Ok(());
        };
        if peers.is_empty() {
            return Ok(());
        }
        let peer = peers[self.prng.below(peers.len() as u64) as usize];
        self.flood(who as usize, socket, peer, ground)
    }

    /// Tells of something that befell the server.
    pub fn witness(&mut self, what: Observation<'_>, ground: &Ground<'_>) -> Result<(), Failure> {
        self.note(&what, ground)
    }
}

fn guest(number: u64) -> Identity<'static> {
    super::identity("acme", format!("guest {number}"))
}
