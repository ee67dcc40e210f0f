//! XMPP over WebSocket (RFC 7395): SASL PLAIN, a resource, and stream management (XEP-0198),
//! whose counts are the server's Ack and the client's.
//!
//! Each run registers its own accounts in-band (XEP-0077) unless there are some already. Stream
//! management counts stanzas: the first that is counted is the presence, the rest are messages.

mod stanza;

use super::{Driver, Heard, Message};
use crate::load::accounts::Target;
use crate::load::sockets::Opening;
use crate::load::{frame, words};
use crate::world::now_ms;
use anyhow::{Context, Result, bail, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use stanza::{Element, Kind};
use std::io::Write;

/// The password of all accounts.
const PASSWORD: &str = "load";
/// Stanzas that are counted before the first message: the presence.
const STANZAS_BEFORE: u64 = 1;

/// The protocol of one run.
#[derive(Clone, Debug)]
pub struct Xmpp {
    opening: Opening,
    domain: String,
    /// What names of users begin with.
    prefix: String,
    accounts: Accounts,
}

/// Where accounts come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Accounts {
    Exist,
    AreMade,
}

/// How far a connection has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd)]
enum Step {
    /// The first features are to come.
    Opened,
    Registering,
    Authenticating,
    /// The features of a user who is known are to come.
    Known,
    Binding,
    Enabling,
    /// The presence is to be acked.
    Announcing,
    Ready,
}

/// What a connection remembers.
#[derive(Debug)]
pub struct Session {
    user: i64,
    step: Step,
    /// Stanzas that came since counting began.
    received: u64,
    /// Messages of this user that were acked.
    acked: u64,
}

impl Xmpp {
    /// For a server that is reached like this. `accounts` names those that exist.
    ///
    /// # Errors
    /// When a name would need escaping.
    pub fn new(opening: Opening, domain: &str, accounts: Option<&str>) -> Result<Xmpp> {
        let own = || format!("load-{}-{}-", std::process::id(), now_ms());
        let prefix = accounts.map_or_else(own, str::to_owned);
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:[]".contains(&byte);
        for name in [domain, &prefix] {
            ensure!(name.bytes().all(is_plain), "a plain name is expected, not {name:?}");
        }
        let accounts = if accounts.is_some() { Accounts::Exist } else { Accounts::AreMade };
        Ok(Xmpp { opening, domain: domain.to_owned(), prefix, accounts })
    }

    fn open(&self, out: &mut Vec<u8>) {
        say(out, |out| {
            let text = "<open xmlns='urn:ietf:params:xml:ns:xmpp-framing' version='1.0' to='";
            write!(out, "{text}{}'/>", self.domain)
        });
    }

    fn register(&self, user: i64, out: &mut Vec<u8>) {
        say(out, |out| {
            let text = "<iq xmlns='jabber:client' type='set' id='1'>\
                        <query xmlns='jabber:iq:register'>";
            let (prefix, end) = (&self.prefix, "</password></query></iq>");
            write!(out, "{text}<username>{prefix}{user}</username><password>{PASSWORD}{end}")
        });
    }

    fn authenticate(&self, user: i64, out: &mut Vec<u8>) {
        let plain = format!("\0{}{user}\0{PASSWORD}", self.prefix);
        say(out, |out| {
            let text = "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>";
            write!(out, "{text}{}</auth>", BASE64.encode(&plain))
        });
    }

    /// Takes the next step towards being ready, which this element allows.
    fn proceed(
        &self,
        session: &mut Session,
        element: &Element<'_>,
        out: &mut Vec<u8>,
    ) -> Result<()> {
        session.step = match (session.step, element.kind) {
            (Step::Opened | Step::Known, Kind::Open) => session.step,
            (Step::Opened, Kind::Features) if self.accounts == Accounts::AreMade => {
                let advice = "the server does not register accounts: make some, --accounts";
                ensure!(element.offers_register, advice);
                self.register(session.user, out);
                Step::Registering
            }
            (Step::Opened, Kind::Features) | (Step::Registering, Kind::Iq) => {
                self.authenticate(session.user, out);
                Step::Authenticating
            }
            (Step::Authenticating, Kind::Success) => {
                self.open(out);
                Step::Known
            }
            (Step::Known, Kind::Features) => {
                bind(out);
                Step::Binding
            }
            (Step::Binding, Kind::Iq) => {
                enable(out);
                Step::Enabling
            }
            (Step::Enabling, Kind::Enabled) => {
                announce(out);
                Step::Announcing
            }
            (step, kind) => bail!("{kind:?} came while {step:?}"),
        };
        Ok(())
    }

    /// The server has taken over so many stanzas in all.
    fn acked(
        session: &mut Session,
        handled: u64,
        mut tell: impl FnMut(Heard<'_>) -> Result<()>,
    ) -> Result<()> {
        if session.step == Step::Announcing && handled >= STANZAS_BEFORE {
            session.step = Step::Ready;
            tell(Heard::Ready)?;
        }
        while session.acked + STANZAS_BEFORE < handled {
            let number = session.acked;
            session.acked += 1;
            tell(Heard::Acked { number })?;
        }
        Ok(())
    }
}

/// Appends what is written as a frame.
fn say(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>) -> std::io::Result<()>) {
    frame::text(out, |out| write(out).expect("memory takes all"));
}

fn bind(out: &mut Vec<u8>) {
    say(out, |out| {
        let text = "<iq xmlns='jabber:client' type='set' id='2'>\
                    <bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq>";
        out.write_all(text.as_bytes())
    });
}

fn enable(out: &mut Vec<u8>) {
    say(out, |out| out.write_all(b"<enable xmlns='urn:xmpp:sm:3'/>"));
}

/// Says that the user is there, so that messages reach him, and asks for the count.
fn announce(out: &mut Vec<u8>) {
    say(out, |out| out.write_all(b"<presence xmlns='jabber:client'/>"));
    ask_for_ack(out);
}

fn ask_for_ack(out: &mut Vec<u8>) {
    say(out, |out| out.write_all(b"<r xmlns='urn:xmpp:sm:3'/>"));
}

fn ack(out: &mut Vec<u8>, received: u64) {
    say(out, |out| write!(out, "<a xmlns='urn:xmpp:sm:3' h='{received}'/>"));
}

impl Driver for Xmpp {
    type Session = Session;

    fn name(&self) -> &'static str {
        "xmpp"
    }

    fn opening(&self) -> &Opening {
        &self.opening
    }

    fn register(&self, target: &Target, count: usize) -> Result<Vec<i64>> {
        Ok(target.part.users(count).collect())
    }

    fn session(&self, _: usize, user: i64) -> Session {
        Session { user, step: Step::Opened, received: 0, acked: 0 }
    }

    fn greet(&self, _: &mut Session, out: &mut Vec<u8>) {
        self.open(out);
    }

    fn send(&self, _: &mut Session, message: Message, out: &mut Vec<u8>) -> Result<()> {
        let Message { from, to, number } = message;
        say(out, |out| {
            let (prefix, domain) = (&self.prefix, &self.domain);
            write!(out, "<message xmlns='jabber:client' type='chat' id='{number}' ")?;
            write!(out, "to='{prefix}{to}@{domain}'><body>")?;
            words::content(out, from, number);
            out.write_all(b"</body></message>")
        });
        ask_for_ack(out);
        Ok(())
    }

    fn hear(
        &self,
        session: &mut Session,
        bytes: &[u8],
        out: &mut Vec<u8>,
        mut tell: impl FnMut(Heard<'_>) -> Result<()>,
    ) -> Result<()> {
        let element =
            Element::read(bytes).with_context(|| format!("in {}", bytes.escape_ascii()))?;
        ensure!(!element.is_error, "refused: {}", bytes.escape_ascii());
        let is_counted = session.step > Step::Enabling;
        match element.kind {
            Kind::Ack => {
                let handled = element.handled.context("an <a/> without a count")?;
                Xmpp::acked(session, handled, tell)
            }
            Kind::AckRequest => {
                ack(out, session.received);
                Ok(())
            }
            Kind::Message if is_counted => {
                session.received += 1;
                let number = element.id.context("a message without the id of its author")?;
                let content = element.body.context("a message without a body")?.as_bytes();
                tell(Heard::Message { number, content })
            }
            Kind::Presence | Kind::Iq if is_counted => {
                session.received += 1;
                Ok(())
            }
            _ => self.proceed(session, &element, out),
        }
    }
}

#[cfg(test)]
mod tests;
