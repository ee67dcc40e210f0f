//! Users in pairs who write to each other through all crashes, and what the server owes them.
//!
//! They do as clients do: after a crash they connect again, send again what was not acked, under
//! the same id, and go on. Every fourth message its recipient does not ack, until the next look at
//! the offline lists.

use crate::http::{Client, post};
use crate::load::sockets::{Said, Sockets};
use crate::load::words::{self, Word};
use crate::world::{EPOCH_MS, now_ms};
use anyhow::{Context, Result, anyhow, bail, ensure};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// How long what the server owes may take to come.
const PATIENCE: Duration = Duration::from_secs(30);
/// The longest wait for the server before a look at what is owed.
const ROUND: Duration = Duration::from_millis(10);
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
    sockets: Sockets,
}

impl Person {
    fn id(&self, number: u64) -> i64 {
        self.first_id + number as i64
    }

    fn throw(&self, out: &mut Vec<u8>, number: u64) {
        words::message(out, self.user, self.peer, self.id(number), number);
    }

    /// He authenticates, acks what he owes and sends again what was not acked.
    fn come_back(&mut self, out: &mut Vec<u8>) {
        words::auth(out, self.user, self.user);
        for id in self.owes_acks.drain(..) {
            words::ack(out, id);
        }
        for number in self.acked..self.sent {
            self.throw(out, number);
        }
        self.sent_again += self.sent - self.acked;
        self.shown = 0;
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
        let mut session = Session { sockets: Sockets::new()? };
        for _ in &self.people {
            session.sockets.open(ws)?;
        }
        let (mut missing, deadline) = (self.people.len(), Instant::now() + PATIENCE);
        while missing > 0 {
            ensure!(Instant::now() < deadline, "{missing} connections were not opened");
            session.sockets.round(ROUND, |index, said, out| match said {
                Said::Upgraded => {
                    missing -= 1;
                    self.people[index].come_back(out);
                    Ok(())
                }
                said => self.hear(index, said.text()?, out),
            })?;
        }
        Ok(session)
    }

    /// Writes until so many messages more are acked; the next are under way then.
    pub fn write(&mut self, session: &mut Session, count: u64, window: u64) -> Result<()> {
        let (enough, deadline) = (self.acked() + count, Instant::now() + PATIENCE);
        for (index, person) in self.people.iter_mut().enumerate() {
            person.write(session.sockets.outbound(index), window);
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
        session.sockets.round(ROUND, |index, said, out| {
            self.hear(index, said.text()?, out)?;
            self.people[index].write(out, window);
            Ok(())
        })
    }

    /// Takes what has come for one.
    fn hear(&mut self, index: usize, text: &[u8], out: &mut Vec<u8>) -> Result<()> {
        let (first, second) = self.people.split_at_mut(index | 1);
        let (person, peer) = match index % 2 {
            0 => (&mut first[index], &second[0]),
            _ => (&mut second[0], &first[index - 1]),
        };
        let result = match words::read(text) {
            Some(Word::Ack { source }) if source == person.user => Ok(()),
            Some(Word::Ack { source }) => person.take_ack(source),
            Some(Word::Notice) => Ok(()),
            Some(Word::Message { id, content, .. }) => {
                known(peer, id, content).and_then(|number| person.take_message(number, out, id))
            }
            None => Err(anyhow!("not what a server should say: {}", text.escape_ascii())),
        };
        result.with_context(|| format!("user {}", person.user))
    }

    /// The server is gone: what it said before still counts. `is_cut`: the power went before it
    /// did, and meanwhile it may have refused what needs rows that it had not in memory.
    pub fn hear_the_last(&mut self, mut session: Session, is_cut: bool) -> Result<()> {
        let mut left = self.people.len();
        let deadline = Instant::now() + PATIENCE;
        while left > 0 {
            ensure!(Instant::now() < deadline, "{left} connections outlive their server");
            let mut is_quiet = true;
            session.sockets.round(ROUND, |index, said, out| {
                is_quiet = false;
                match said {
                    Said::Gone(_) => left -= 1,
                    said if is_cut && is_refusal(said.text()?) => {}
                    said => self.hear(index, said.text()?, out)?,
                }
                Ok(())
            })?;
            if is_quiet {
                // A reset may have come unnoticed together with the last bytes.
                (0..self.people.len()).try_for_each(|index| session.sockets.cut(index))?;
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

/// Whether it is an Error for a message that the server could not do, not one that it would not.
fn is_refusal(text: &[u8]) -> bool {
    let frame: Value = serde_json::from_slice(text).unwrap_or_default();
    let error = frame["content"].as_str().filter(|_| frame["msgType"] == "Error");
    let error: Option<Value> = error.and_then(|error| serde_json::from_str(error).ok());
    error.is_some_and(|error| error["code"] == 500)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_without_its_disk_may_refuse_and_nothing_else() {
        let frame = |kind: &str, code: u16| {
            let content = json!({"srcId": 7, "code": code, "msg": "it is damaged"}).to_string();
            json!({"msgType": kind, "content": content}).to_string().into_bytes()
        };
        assert!(is_refusal(&frame("Error", 500)));
        for other in [frame("Error", 409), frame("Single", 500), b"{".to_vec(), b"{}".to_vec()] {
            assert!(!is_refusal(&other), "{}", other.escape_ascii());
        }
    }
}
