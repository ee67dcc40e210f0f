//! Users in pairs who write to each other through all crashes, and what the server owes them.
//!
//! They do as clients do: after a crash they connect again, send again what was not acked, under
//! the same id, and go on. Every fourth message its recipient does not ack, until the next look at
//! the offline lists.

use crate::http::{Client, post};
use crate::load::socket::{Poll, Socket};
use crate::load::words::{self, Word};
use crate::world::{EPOCH_MS, now_ms};
use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// How long what the server owes may take to come.
const PATIENCE: Duration = Duration::from_secs(30);
/// One look at a server that still hands messages over between its shards.
const PAUSE: Duration = Duration::from_millis(20);
/// `pageSize`.
const PAGE: usize = 200;
/// Ids of two authors are so far apart.
const IDS_APART: i64 = 1 << 32;

/// What became of a message at its recipient.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Receipt {
    /// It was never acked: it waits.
    Waits,
    /// An ack was written to the connection: whether it counts a crash decides.
    Acking,
    /// It was seen to wait no more.
    Acked,
}

/// A user.
struct Person {
    user: i64,
    peer: i64,
    /// The id of his first message.
    first_id: i64,
    sent: u64,
    acked: u64,
    sent_again: u64,
    /// By number, what he got of his peer's messages, as far as he knows of them.
    receipts: Vec<Receipt>,
    /// The last place of his history that was looked at, and what was there up to it.
    seen: Seen,
    /// Ids that he acks when he connects again.
    owes_acks: Vec<i64>,
    /// What his connection has shown of his peer's messages since it was opened.
    shown: u64,
}

#[derive(Clone, Copy, Default)]
struct Seen {
    seq: i64,
    own: u64,
    theirs: u64,
}

/// All of them.
pub struct People {
    people: Vec<Person>,
    patience: Duration,
}

/// Their connections, between two crashes.
pub struct Session {
    poll: Poll,
    sockets: Vec<Option<Socket>>,
    ready: Vec<usize>,
}

impl Person {
    fn id(&self, number: u64) -> i64 {
        self.first_id + number as i64
    }

    fn throw(&self, out: &mut Vec<u8>, number: u64) {
        words::message(out, self.user, self.peer, self.id(number), number);
    }

    /// Keeps the window full.
    fn write(&mut self, out: &mut Vec<u8>, window: u64) {
        while self.sent < self.acked + window {
            self.throw(out, self.sent);
            self.sent += 1;
        }
    }

    fn take_ack(&mut self, source: i64) -> Result<()> {
        let expected = self.id(self.acked);
        ensure!(self.acked < self.sent && source == expected, "Ack of {source}, not {expected}");
        self.acked += 1;
        Ok(())
    }

    /// A message was pushed. What was shown before may come again, nothing may be left out.
    fn take_message(&mut self, number: u64, out: &mut Vec<u8>, id: i64) -> Result<()> {
        ensure!(self.shown == 0 || number <= self.shown, "out of order: {number} after a gap");
        self.shown = self.shown.max(number + 1);
        self.learn(number);
        let receipt = &mut self.receipts[number as usize];
        if !number.is_multiple_of(4) && *receipt == Receipt::Waits {
            *receipt = Receipt::Acking;
            words::ack(out, id);
        }
        Ok(())
    }

    fn learn(&mut self, number: u64) {
        let count = self.receipts.len().max(number as usize + 1);
        self.receipts.resize(count, Receipt::Waits);
    }
}

impl People {
    /// Registers so many pairs.
    pub fn register(http: SocketAddr, pairs: usize) -> Result<People> {
        let company = format!("crash {} {}", std::process::id(), now_ms());
        let mut people = Vec::new();
        let mut client = Client::connect(http);
        for number in 0..pairs * 2 {
            let body = json!({"company": company, "app": "crash", "thirdUserId": number});
            let answer = client.post("/im/user/register", &body.to_string());
            ensure!(answer.status == 200, "{answer:?}");
            let user = answer.json()["userId"].as_i64().context("a user id")?;
            let first_id = ((now_ms() - EPOCH_MS) << 22) + number as i64 * IDS_APART;
            people.push(Person {
                user,
                peer: 0,
                first_id,
                sent: 0,
                acked: 0,
                sent_again: 0,
                receipts: Vec::new(),
                seen: Seen::default(),
                owes_acks: Vec::new(),
                shown: 0,
            });
        }
        for number in 0..people.len() {
            people[number].peer = people[number ^ 1].user;
        }
        Ok(People { people, patience: PATIENCE })
    }

    /// Messages that were acked by the server so far.
    pub fn acked(&self) -> u64 {
        self.people.iter().map(|person| person.acked).sum()
    }

    /// Messages that were sent once more after a crash.
    pub fn sent_again(&self) -> u64 {
        self.people.iter().map(|person| person.sent_again).sum()
    }

    /// Messages that were seen to leave the offline list.
    pub fn client_acked(&self) -> usize {
        let of = |person: &Person| {
            person.receipts.iter().filter(|receipt| **receipt == Receipt::Acked).count()
        };
        self.people.iter().map(of).sum()
    }

    /// Connects everybody and sends again what was not acked.
    pub fn connect(&mut self, ws: SocketAddr) -> Result<Session> {
        let mut session = Session { poll: Poll::new()?, sockets: Vec::new(), ready: Vec::new() };
        for (index, person) in self.people.iter_mut().enumerate() {
            let mut socket = Socket::open(&session.poll, ws, index)?;
            words::auth(&mut socket.outbound, person.user, person.user);
            for id in std::mem::take(&mut person.owes_acks) {
                words::ack(&mut socket.outbound, id);
            }
            for number in person.acked..person.sent {
                person.throw(&mut socket.outbound, number);
            }
            person.sent_again += person.sent - person.acked;
            person.shown = 0;
            socket.flush(&session.poll)?;
            session.sockets.push(Some(socket));
        }
        Ok(session)
    }

    /// Writes until so many messages more are acked; the next are under way then.
    pub fn write(&mut self, session: &mut Session, count: u64, window: u64) -> Result<()> {
        let (enough, deadline) = (self.acked() + count, Instant::now() + PATIENCE);
        for (person, socket) in self.people.iter_mut().zip(session.sockets.iter_mut().flatten()) {
            person.write(&mut socket.outbound, window);
            socket.flush(&session.poll)?;
        }
        while self.acked() < enough {
            ensure!(Instant::now() < deadline, "Acks never came");
            self.round(session, window)?;
        }
        Ok(())
    }

    /// Waits until all that was sent is acked.
    pub fn settle(&mut self, session: &mut Session) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while self.people.iter().any(|person| person.acked < person.sent) {
            ensure!(Instant::now() < deadline, "Acks never came");
            self.round(session, 0)?;
        }
        Ok(())
    }

    fn round(&mut self, session: &mut Session, window: u64) -> Result<()> {
        let mut ready = std::mem::take(&mut session.ready);
        session.poll.wait(Duration::from_millis(10), &mut ready)?;
        for index in ready.drain(..) {
            self.hear(session, index)
                .with_context(|| format!("user {}", self.people[index].user))?;
            let Some(socket) = &mut session.sockets[index] else { continue };
            self.people[index].write(&mut socket.outbound, window);
            socket.flush(&session.poll)?;
        }
        session.ready = ready;
        Ok(())
    }

    /// Takes what has come for one.
    fn hear(&mut self, session: &mut Session, index: usize) -> Result<()> {
        let Some(socket) = &mut session.sockets[index] else { return Ok(()) };
        let (first, second) = self.people.split_at_mut(index | 1);
        let (person, peer) = match index % 2 {
            0 => (&mut first[index], &second[0]),
            _ => (&mut second[0], &first[index - 1]),
        };
        socket.receive(&mut session.poll, |text, out| match words::read(text) {
            Some(Word::Ack { source }) if source == person.user => Ok(()),
            Some(Word::Ack { source }) => person.take_ack(source),
            Some(Word::Notice) => Ok(()),
            Some(Word::Message { id, content }) => {
                let number = known(peer, id, content)?;
                person.take_message(number, out, id)
            }
            None => bail!("not what a server should say: {}", text.escape_ascii()),
        })
    }

    /// The server is gone: what it said before still counts.
    pub fn hear_the_last(&mut self, mut session: Session) -> Result<()> {
        for index in 0..self.people.len() {
            while session.sockets[index].is_some() {
                let Err(error) = self.hear(&mut session, index) else { continue };
                // An end of the connection has a cause in the kernel or is a plain close; all
                // other errors are findings.
                let is_end = error.downcast_ref::<std::io::Error>().is_some()
                    || error.to_string().contains("closed the connection")
                    || error.to_string().starts_with("opcode 8");
                ensure!(is_end, "user {}: {error:#}", self.people[index].user);
                session.sockets[index] = None;
            }
        }
        Ok(())
    }

    /// Looks at what came into all histories since the last time.
    pub fn check_news(&mut self, http: SocketAddr) -> Result<()> {
        let mut client = Client::connect(http);
        // Twice: whatever one of a pair has in his history the other must have, too.
        for index in (0..self.people.len()).chain(0..self.people.len()) {
            let deadline = Instant::now() + self.patience;
            loop {
                let owed = self.look(&mut client, index)?;
                if owed == 0 {
                    break;
                }
                // The other shard may still be about to hand them over.
                let user = self.people[index].user;
                ensure!(Instant::now() < deadline, "LOST: {owed} acked messages of {user}");
                std::thread::sleep(PAUSE);
            }
        }
        Ok(())
    }

    /// Looks at all histories from their beginnings.
    pub fn check_whole(&mut self, http: SocketAddr) -> Result<()> {
        for person in &mut self.people {
            person.seen = Seen::default();
        }
        self.check_news(http)
    }

    /// Looks at one history above what was seen of it. Returns how many messages it lacks that were
    /// acked, are in the other's history or were pushed.
    fn look(&mut self, client: &mut Client, index: usize) -> Result<u64> {
        let (person, peer) = (&self.people[index], &self.people[index ^ 1]);
        let mut seen = person.seen;
        let news = newest(client, person.user, seen.seq)?;
        for message in news.iter().rev() {
            let author = message["fromUserId"].as_i64().context("an author")?;
            let id = message["id"].as_i64().context("an id")?;
            let seq = message["seq"].as_i64().context("a seq")?;
            let content = message["content"].as_str().context("a content")?;
            let (author, next) = if author == person.user {
                (person, &mut seen.own)
            } else {
                (peer, &mut seen.theirs)
            };
            let number = known(author, id, content.as_bytes())?;
            let user = person.user;
            ensure!(number >= *next, "DOUBLED: {id} is twice in the history of {user}");
            ensure!(number == *next, "LOST or OUT OF ORDER: {id} where number {next} was next");
            ensure!(seq > seen.seq, "OUT OF ORDER: seq {seq} after {}", seen.seq);
            *next += 1;
            seen.seq = seq;
        }
        let theirs = peer.acked.max(peer.seen.own).max(person.receipts.len() as u64);
        let owed = person.acked.saturating_sub(seen.own) + theirs.saturating_sub(seen.theirs);
        let person = &mut self.people[index];
        person.seen = seen;
        if let Some(last) = seen.theirs.checked_sub(1) {
            person.learn(last);
        }
        Ok(owed)
    }

    /// Waits no more for what should come.
    #[cfg(test)]
    pub fn give_up_at_once(&mut self) {
        self.patience = Duration::ZERO;
    }

    /// Looks again at what was seen, as if it were new.
    #[cfg(test)]
    pub fn forget_what_was_seen(&mut self) {
        self.people.iter_mut().for_each(|person| person.seen.seq = 0);
    }

    /// Looks at the offline lists, and acks all that is there.
    pub fn check_offline(&mut self, http: SocketAddr) -> Result<()> {
        let mut client = Client::connect(http);
        for index in 0..self.people.len() {
            let waiting = offline(&mut client, self.people[index].user)?;
            let (user, mut last) = (self.people[index].user, None);
            let mut waits = vec![false; self.people[index].receipts.len()];
            for message in &waiting {
                let id = message["id"].as_i64().context("an id")?;
                let content = message["content"].as_str().context("a content")?;
                let number = known(&self.people[index ^ 1], id, content.as_bytes())?;
                ensure!(last.is_none_or(|last| number > last), "OUT OF ORDER or DOUBLED: {id}");
                last = Some(number);
                let receipt = self.people[index].receipts.get(number as usize).copied();
                ensure!(receipt != Some(Receipt::Acked), "BACK: {id} was acked by {user} before");
                ensure!(receipt.is_some(), "{id} waits for {user} and is not in his history");
                waits[number as usize] = true;
            }
            for (number, receipt) in self.people[index].receipts.iter_mut().enumerate() {
                match (*receipt, waits[number]) {
                    (Receipt::Waits, false) => {
                        bail!("LOST: number {number} waits for {user} and is not offered")
                    }
                    (Receipt::Acking, false) => *receipt = Receipt::Acked,
                    (_, true) => *receipt = Receipt::Acking,
                    _ => {}
                }
            }
            let ids = waiting.iter().filter_map(|message| message["id"].as_i64());
            self.people[index].owes_acks.extend(ids);
        }
        Ok(())
    }
}

/// The number of an author's message, from its id and content.
fn known(author: &Person, id: i64, content: &[u8]) -> Result<u64> {
    let number = id.checked_sub(author.first_id).and_then(|number| u64::try_from(number).ok());
    let number = number.filter(|number| *number < author.sent);
    let number = number.with_context(|| format!("{id} was never sent by {}", author.user))?;
    let mut expected = Vec::new();
    words::content(&mut expected, author.user, number);
    ensure!(content == expected, "CHANGED: {id} is {}", content.escape_ascii());
    Ok(number)
}

/// A history above a place, newest first.
fn newest(client: &mut Client, user: i64, above: i64) -> Result<Vec<Value>> {
    let mut found = Vec::new();
    let mut before = None;
    loop {
        let mut body = json!({"userId": user, "pageSize": PAGE});
        if let Some(before) = before {
            body["beforeSeq"] = json!(before);
        }
        let page = list(client, "/im/message/user/get/page", &body)?;
        let count = page.len();
        for message in page {
            let seq = message["seq"].as_i64().context("a seq")?;
            if seq <= above {
                return Ok(found);
            }
            before = Some(seq);
            found.push(message);
        }
        if count < PAGE {
            return Ok(found);
        }
    }
}

/// All that waits for a user, oldest first.
fn offline(client: &mut Client, user: i64) -> Result<Vec<Value>> {
    let mut found: Vec<Value> = Vec::new();
    loop {
        let after = found.last().map_or(json!(0), |last| last["seq"].clone());
        let body = json!({"userId": user, "limit": 10_000, "afterSeq": after});
        let part = list(client, "/im/message/offline", &body)?;
        if part.is_empty() {
            return Ok(found);
        }
        found.extend(part);
    }
}

fn list(client: &mut Client, path: &str, body: &Value) -> Result<Vec<Value>> {
    client.send(post(path, &body.to_string()));
    let answer = client.answer();
    ensure!(answer.status == 200, "{path}: {answer:?}");
    match answer.json() {
        Value::Array(list) => Ok(list),
        other => bail!("{path}: not a list but {other}"),
    }
}
