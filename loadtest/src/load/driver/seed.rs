//! This server's own protocol: Auth, Text and Ack as JSON in text frames.

use super::{Driver, Heard, Message};
use crate::load::accounts::{MessageIds, Target};
use crate::load::sockets::Opening;
use crate::load::words::{self, Word};
use anyhow::{Context, Result, bail, ensure};

/// Authors of a run whose messages all have ids of their own; those beyond begin again.
const AUTHORS: u64 = 1 << 17;

/// The protocol of one run.
#[derive(Clone, Debug)]
pub struct Seed {
    opening: Opening,
    ids: MessageIds,
}

/// What a connection remembers.
#[derive(Debug)]
pub struct Session {
    user: i64,
    /// His number as an author.
    author: u64,
    is_ready: bool,
}

/// The number of an author by his place.
fn author(place: usize) -> u64 {
    place as u64 % AUTHORS
}

impl Seed {
    /// For the server that is reached like this.
    pub fn new(opening: Opening) -> Seed {
        Seed { opening, ids: MessageIds::new() }
    }

    fn id(&self, author: u64, number: u64) -> i64 {
        self.ids.of(number * AUTHORS + author)
    }

    /// Which of an author's messages this is the id of.
    fn number(&self, author: u64, id: i64) -> Result<u64> {
        let of_author = self.ids.number(id).filter(|number| number % AUTHORS == author);
        let number = of_author.with_context(|| format!("CHANGED: {id} is no message of his"))?;
        Ok(number / AUTHORS)
    }
}

impl Driver for Seed {
    type Session = Session;

    fn name(&self) -> &'static str {
        "seed"
    }

    fn opening(&self) -> &Opening {
        &self.opening
    }

    fn register(&self, target: &Target, count: usize) -> Result<Vec<i64>> {
        target.register(count)
    }

    fn session(&self, place: usize, user: i64) -> Session {
        Session { user, author: author(place), is_ready: false }
    }

    fn greet(&self, session: &mut Session, out: &mut Vec<u8>) {
        words::auth(out, session.user, session.user);
    }

    fn send(&self, session: &mut Session, message: Message, out: &mut Vec<u8>) -> Result<()> {
        let Message { from, to, number } = message;
        words::message(out, from, to, self.id(session.author, number), number);
        Ok(())
    }

    fn hear(
        &self,
        session: &mut Session,
        bytes: &[u8],
        out: &mut Vec<u8>,
        mut tell: impl FnMut(Heard<'_>) -> Result<()>,
    ) -> Result<()> {
        match words::read(bytes) {
            Some(Word::Ack { source }) if !session.is_ready && source == session.user => {
                session.is_ready = true;
                tell(Heard::Ready)
            }
            Some(Word::Ack { source }) => {
                tell(Heard::Acked { number: self.number(session.author, source)? })
            }
            Some(Word::Message { from, to, id, content }) => {
                let is_right = to == session.user && words::author(content) == Some(from);
                ensure!(is_right, "CHANGED: message {id} says it is from {from} to {to}");
                words::ack(out, id);
                tell(Heard::Message { number: self.number(session.author ^ 1, id)?, content })
            }
            // Messages wait for him.
            Some(Word::Notice) => Ok(()),
            None => bail!("not what a server should say: {}", bytes.escape_ascii()),
        }
    }

    fn naming(&self, place: usize, message: Message) -> String {
        let (id, Message { from, to, .. }) = (self.id(author(place), message.number), message);
        format!("message {id} of {from} to {to}")
    }

    fn check_nothing_is_left(&self, target: &Target, users: &[i64]) -> Result<()> {
        target.until_nothing_waits(users)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::driver::tests::heard;
    use crate::load::sockets::Transport;

    fn seed() -> Seed {
        let server = "127.0.0.1:6666".parse().expect("an address");
        Seed::new(Opening { server, transport: Transport::Stream })
    }

    #[test]
    fn acks_and_messages_of_this_run_are_heard_by_their_numbers() {
        let (seed, mut out) = (seed(), Vec::new());
        let (own, other) = (|number| seed.id(4, number), |number| seed.id(5, number));
        let mut session = seed.session(4, 7);
        let ack = |id: i64| format!(r#"{{"msgType":"Ack","content":"{{\"srcId\":{id}}}","id":5}}"#);
        let between = |from: i64, to: i64, id: i64| {
            let users = format!(r#""fromUserId":{from},"toUserId":{to}"#);
            format!(r#"{{"msgType":"Text",{users},"content":"8 2 x","id":{id}}}"#)
        };
        let text = |id: i64| between(8, 7, id);
        let said = [ack(7), ack(own(1)), text(other(2))];
        let said: Vec<&[u8]> = said.iter().map(|frame| frame.as_bytes()).collect();
        let told = heard(&seed, &mut session, &said, &mut out).expect("a server may say this");
        assert_eq!(told, ["ready", "acked 1", "message 2"]);
        let forged = [between(9, 7, other(3)), between(8, 9, other(3))];
        let strange = [ack(7), ack(own(1) + 1), text(9), ack(other(1)), text(own(2))];
        for strange in strange.into_iter().chain(forged) {
            let told = heard(&seed, &mut session, &[strange.as_bytes()], &mut out);
            assert!(told.is_err(), "{strange}");
        }
    }
}
