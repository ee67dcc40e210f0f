//! MQTT 3.1.1 with QoS 1: everybody subscribes to a topic of his own, and a message to him is
//! published there. The broker's PUBACK is the server's Ack, ours is the client's.

mod packet;

use super::{Driver, Heard, Message};
use crate::load::accounts::Target;
use crate::load::sockets::{Opening, Transport};
use crate::load::{frame, words};
use crate::world::now_ms;
use anyhow::{Context, Result, bail, ensure};
use packet::Packet;
use std::io::Write;

/// Messages of one author without an Ack: more have no packet id of their own.
const UNACKED_MAX: u64 = 65_535;

/// The protocol of one run.
#[derive(Clone, Debug)]
pub struct Mqtt {
    opening: Opening,
    /// What the run's topics begin with: no other run has written there.
    prefix: String,
}

/// What a connection remembers.
#[derive(Debug)]
pub struct Session {
    user: i64,
    /// The beginning of a packet that is not whole.
    unfinished: Vec<u8>,
    sent: u64,
    acked: u64,
}

impl Mqtt {
    /// For a broker that is reached like this.
    pub fn new(opening: Opening) -> Mqtt {
        Mqtt { opening, prefix: format!("load-{}-{}", std::process::id(), now_ms()) }
    }

    /// Appends a packet as the transport carries it.
    fn carry(&self, out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
        match self.opening.transport {
            Transport::Stream => write(out),
            Transport::WebSocket { .. } => frame::binary(out, write),
        }
    }

    fn topic(&self, user: i64) -> impl FnOnce(&mut Vec<u8>) {
        move |out| drop(write!(out, "{}/{user}", self.prefix))
    }

    /// Takes the whole packets off the front of what came; gives how many bytes those were.
    fn take(
        &self,
        session: &mut Session,
        bytes: &[u8],
        out: &mut Vec<u8>,
        tell: &mut impl FnMut(Heard<'_>) -> Result<()>,
    ) -> Result<usize> {
        let mut start = 0;
        while let Some((packet, length)) = Packet::read(&bytes[start..])? {
            match packet {
                Packet::ConnAck { code } => ensure!(code == 0, "CONNECT is refused: {code}"),
                Packet::SubAck { code } => {
                    ensure!(code == 1, "SUBSCRIBE with QoS 1 is refused: {code}");
                    tell(Heard::Ready)?;
                }
                Packet::PubAck { id } => {
                    let number = session.acked;
                    let next = id_of(number);
                    ensure!(id == next, "OUT OF ORDER: a PUBACK of {id} where {next} is the next");
                    session.acked += 1;
                    tell(Heard::Acked { number })?;
                }
                Packet::Publish { id, payload, .. } => {
                    self.carry(out, |out| packet::acknowledge(out, id));
                    let number = words::number(payload).context("a content without a number")?;
                    tell(Heard::Message { number, content: payload })?;
                }
            }
            start += length;
        }
        Ok(start)
    }
}

/// The packet id of an author's `number`-th message: 0 is none.
fn id_of(number: u64) -> u16 {
    (number % UNACKED_MAX) as u16 + 1
}

impl Driver for Mqtt {
    type Session = Session;

    fn name(&self) -> &'static str {
        match self.opening.transport {
            Transport::Stream => "mqtt",
            Transport::WebSocket { .. } => "mqtt-ws",
        }
    }

    fn opening(&self) -> &Opening {
        &self.opening
    }

    fn register(&self, target: &Target, count: usize) -> Result<Vec<i64>> {
        Ok(target.part.users(count).collect())
    }

    fn session(&self, _: usize, user: i64) -> Session {
        Session { user, unfinished: Vec::new(), sent: 0, acked: 0 }
    }

    fn greet(&self, session: &mut Session, out: &mut Vec<u8>) {
        let client = format!("{}-{}", self.prefix, session.user);
        self.carry(out, |out| packet::connect(out, &client));
        self.carry(out, |out| packet::subscribe(out, self.topic(session.user)));
    }

    fn send(&self, session: &mut Session, message: Message, out: &mut Vec<u8>) -> Result<()> {
        if session.sent - session.acked == UNACKED_MAX {
            bail!("{UNACKED_MAX} messages of one author are without a PUBACK");
        }
        assert_eq!(message.number, session.sent, "messages are counted from 0");
        session.sent += 1;
        let content = |out: &mut Vec<u8>| words::content(out, message.from, message.number);
        let id = id_of(message.number);
        self.carry(out, |out| packet::publish(out, id, self.topic(message.to), content));
        Ok(())
    }

    fn hear(
        &self,
        session: &mut Session,
        bytes: &[u8],
        out: &mut Vec<u8>,
        mut tell: impl FnMut(Heard<'_>) -> Result<()>,
    ) -> Result<()> {
        if session.unfinished.is_empty() {
            let taken = self.take(session, bytes, out, &mut tell)?;
            session.unfinished.extend_from_slice(&bytes[taken..]);
            return Ok(());
        }
        let mut whole = std::mem::take(&mut session.unfinished);
        whole.extend_from_slice(bytes);
        let taken = self.take(session, &whole, out, &mut tell)?;
        whole.drain(..taken);
        session.unfinished = whole;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::driver::tests::heard;

    fn mqtt() -> Mqtt {
        let server = "127.0.0.1:1883".parse().expect("an address");
        Mqtt::new(Opening { server, transport: Transport::Stream })
    }

    /// What a broker says to somebody: welcome, two PUBACKs and a message between.
    fn said() -> Vec<u8> {
        let mut said = b"\x20\x02\0\0\x90\x03\0\x01\x01".to_vec();
        packet::acknowledge(&mut said, 1);
        let content = |out: &mut Vec<u8>| words::content(out, 4, 0);
        packet::publish(&mut said, 9, |out| out.extend(b"t"), content);
        packet::acknowledge(&mut said, 2);
        said
    }

    #[test]
    fn what_a_broker_says_is_heard_wherever_it_is_cut() {
        let (mqtt, said) = (mqtt(), said());
        for cut in 0..=said.len() {
            let mut out = Vec::new();
            let mut session = mqtt.session(0, 3);
            let (first, second) = said.split_at(cut);
            let all = [first, second].concat();
            assert_eq!(all, said);
            let told = heard(&mqtt, &mut session, &[first, second], &mut out);
            let told = told.expect("a broker may say this");
            assert_eq!(told, ["ready", "acked 0", "message 0", "acked 1"], "cut at {cut}");
            assert_eq!(out, b"\x40\x02\0\x09", "the message is acked once");
        }
    }

    #[test]
    fn packet_ids_come_again_when_they_are_free_and_not_before() {
        let mqtt = mqtt();
        let mut out = Vec::new();
        let mut session = mqtt.session(0, 3);
        let message = |number| Message { from: 3, to: 4, number };
        for number in 0..UNACKED_MAX {
            out.clear();
            mqtt.send(&mut session, message(number), &mut out).expect("an id is free");
        }
        assert!(mqtt.send(&mut session, message(UNACKED_MAX), &mut out).is_err());
        let told = heard(&mqtt, &mut session, &[b"\x40\x02\0\x01"], &mut out);
        assert_eq!(told.expect("the oldest"), ["acked 0"]);
        mqtt.send(&mut session, message(UNACKED_MAX), &mut out).expect("an id is free");
        let told = heard(&mqtt, &mut session, &[b"\x40\x02\0\x01"], &mut out);
        assert!(told.is_err(), "the second is the next");
    }
}
