//! What a chat protocol must do so that the same scenarios measure its servers: begin, send a
//! message, and read what the server says.
//!
//! Three protocols do: [`seed`] is the one of this server, [`mqtt`] and [`xmpp`] those of others.
//! A message is known by its author and its number, counted from 0, which its content repeats;
//! how a protocol names messages and acks stays with its driver.

pub mod mqtt;
pub mod peer;
pub mod seed;
pub mod xmpp;

use super::accounts::Target;
use super::sockets::Opening;
use anyhow::Result;

/// A chat protocol. One value serves all connections of a run.
pub trait Driver {
    /// What is remembered of one connection.
    type Session;

    /// What reports call it.
    fn name(&self) -> &'static str;

    /// How a connection begins, before the protocol's own words.
    fn opening(&self) -> &Opening;

    /// So many users who have not been seen before.
    ///
    /// # Errors
    /// When the server refuses.
    fn register(&self, target: &Target, count: usize) -> Result<Vec<i64>>;

    /// A connection of a user, who has said nothing yet; his place is that among the users of
    /// the run, in which 2n and 2n + 1 write to each other.
    fn session(&self, place: usize, user: i64) -> Self::Session;

    /// Appends what he says first; [`Heard::Ready`] answers it at last.
    fn greet(&self, session: &mut Self::Session, out: &mut Vec<u8>);

    /// Appends an author's next message.
    ///
    /// # Errors
    /// When the protocol lets no more messages wait for their Acks.
    fn send(&self, session: &mut Self::Session, message: Message, out: &mut Vec<u8>) -> Result<()>;

    /// Reads what came, wherever it was cut: appends the answers that the protocol owes, a
    /// client's Ack of each message among them, and tells what was heard, in order.
    ///
    /// # Errors
    /// When the server says what it should not, and whatever `tell` says.
    fn hear(
        &self,
        session: &mut Self::Session,
        bytes: &[u8],
        out: &mut Vec<u8>,
        tell: impl FnMut(Heard<'_>) -> Result<()>,
    ) -> Result<()>;

    /// What reports call a message, whose author has this place: as the server knows it, if that
    /// has a name for it.
    fn naming(&self, _place: usize, message: Message) -> String {
        format!("message {} of {} to {}", message.number, message.from, message.to)
    }

    /// Looks whether the server took in every client's Ack, where the protocol lets one ask.
    ///
    /// # Errors
    /// When something waits that was acked.
    fn check_nothing_is_left(&self, _target: &Target, _users: &[i64]) -> Result<()> {
        Ok(())
    }
}

/// A message to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message {
    /// Its author.
    pub from: i64,
    /// Its recipient.
    pub to: i64,
    /// Which of its author's messages it is, counted from 0.
    pub number: u64,
}

/// What a server has said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard<'a> {
    /// The user is logged in: messages reach him.
    Ready,
    /// A message of his was taken over.
    Acked {
        /// Which.
        number: u64,
    },
    /// A message for him.
    Message {
        /// Which of its author's it is.
        number: u64,
        /// Its content.
        content: &'a [u8],
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a driver tells of words that come in these pieces.
    pub fn heard<D: Driver>(
        driver: &D,
        session: &mut D::Session,
        pieces: &[&[u8]],
        out: &mut Vec<u8>,
    ) -> Result<Vec<String>> {
        let mut told = Vec::new();
        for piece in pieces {
            driver.hear(session, piece, out, |heard| {
                told.push(match heard {
                    Heard::Ready => "ready".to_owned(),
                    Heard::Acked { number } => format!("acked {number}"),
                    Heard::Message { number, .. } => format!("message {number}"),
                });
                Ok(())
            })?;
        }
        Ok(told)
    }
}
