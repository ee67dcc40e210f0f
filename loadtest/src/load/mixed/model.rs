//! What everybody has sent, and what of it everybody must have: the truth that the server's
//! answers are compared with.
//!
//! Members of a circle write to each other. The messages of one author to one reader are a
//! channel, counted from 0. While messages are on their way a server may or may not have them, so
//! that a count lies between what was acked before it was asked and what was sent before it
//! answered; when nothing is on its way it is exact.

use crate::load::accounts::MessageIds;
use anyhow::{Context, Result, ensure};

/// Messages of one author to one reader.
#[derive(Clone, Debug, Default)]
pub struct Channel {
    /// When each was sent, µs.
    pub sent_us: Vec<u64>,
    /// How many the server has acked.
    pub stored: u64,
    /// How many the reader has acked.
    pub taken: u64,
    /// How many had come, at least and at most, when the reader read the conversation last.
    pub read: (u64, u64),
}

impl Channel {
    /// How many were sent.
    pub fn sent(&self) -> u64 {
        self.sent_us.len() as u64
    }

    /// Whether the server has all of them, and the reader too.
    pub fn is_quiet(&self) -> bool {
        self.stored == self.sent() && self.taken == self.sent()
    }
}

/// How many messages of each channel of somebody the server had at least when it was asked: those
/// from each other member of his circle, and those to him.
pub type Floor = Vec<Ways>;

/// Counts of both channels between somebody and another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ways {
    /// From the other.
    pub from: u64,
    /// To the other.
    pub to: u64,
}

/// All people and their channels.
#[derive(Clone, Debug)]
pub struct Model {
    users: Vec<i64>,
    circle: usize,
    ids: MessageIds,
    channels: Vec<Channel>,
}

impl Model {
    /// People with these user ids, in circles of so many.
    pub fn new(users: Vec<i64>, circle: usize) -> Model {
        assert!(users.len().is_multiple_of(circle) && circle >= 2, "whole circles");
        let channels = vec![Channel::default(); users.len() * (circle - 1)];
        Model { users, circle, ids: MessageIds::new(), channels }
    }

    /// How many people there are.
    pub fn people(&self) -> usize {
        self.users.len()
    }

    /// How many others a person writes to.
    pub fn others(&self) -> usize {
        self.circle - 1
    }

    /// A person's user id.
    pub fn user(&self, person: usize) -> i64 {
        self.users[person]
    }

    /// The `slot`-th other member of a person's circle.
    pub fn other(&self, person: usize, slot: usize) -> usize {
        let (first, place) = (person - person % self.circle, person % self.circle);
        first + if slot < place { slot } else { slot + 1 }
    }

    /// Which of a person's others has this user id.
    pub fn slot_of(&self, person: usize, user: i64) -> Option<usize> {
        (0..self.others()).find(|slot| self.user(self.other(person, *slot)) == user)
    }

    /// The number of the channel of these two.
    fn place(&self, author: usize, reader: usize) -> usize {
        let slot = reader % self.circle;
        let slot = if slot < author % self.circle { slot } else { slot - 1 };
        author * self.others() + slot
    }

    /// The messages of an author to a reader.
    pub fn channel(&self, author: usize, reader: usize) -> &Channel {
        &self.channels[self.place(author, reader)]
    }

    /// The same, to note what happened.
    pub fn channel_mut(&mut self, author: usize, reader: usize) -> &mut Channel {
        let place = self.place(author, reader);
        &mut self.channels[place]
    }

    /// The id of a message: no two authors have the same.
    pub fn id(&self, author: usize, reader: usize, number: u64) -> i64 {
        let place = self.place(author, reader) as u64;
        self.ids.of(number * self.channels.len() as u64 + place)
    }

    /// Author, reader and number of the message with this id.
    ///
    /// # Errors
    /// When no such message was sent.
    pub fn message(&self, id: i64) -> Result<(usize, usize, u64)> {
        let all = self.channels.len() as u64;
        let number = self.ids.number(id).with_context(|| format!("{id} is not of this run"))?;
        let (number, place) = (number / all, (number % all) as usize);
        let author = place / self.others();
        let reader = self.other(author, place % self.others());
        ensure!(number < self.channels[place].sent(), "message {id} was never sent");
        Ok((author, reader, number))
    }

    /// What the server has of a person's channels at least.
    pub fn floor(&self, person: usize) -> Floor {
        let ways = |slot| {
            let other = self.other(person, slot);
            let (from, to) = (self.channel(other, person), self.channel(person, other));
            Ways { from: from.stored, to: to.stored }
        };
        (0..self.others()).map(ways).collect()
    }

    /// How many channels the server or the reader has not all messages of.
    pub fn unquiet(&self) -> usize {
        self.channels.iter().filter(|channel| !channel.is_quiet()).count()
    }

    /// Whether the server has acked all that a person has sent.
    pub fn is_stored(&self, author: usize) -> bool {
        let all = author * self.others()..(author + 1) * self.others();
        self.channels[all].iter().all(|channel| channel.stored == channel.sent())
    }

    /// How many messages were sent.
    pub fn sent(&self) -> u64 {
        self.channels.iter().map(Channel::sent).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_message_of_every_channel_has_an_id_of_its_own() {
        let mut model = Model::new((100..106).collect(), 3);
        let mut ids = Vec::new();
        for author in 0..6 {
            for slot in 0..2 {
                let reader = model.other(author, slot);
                assert_eq!((author / 3, author == reader), (reader / 3, false));
                assert_eq!(model.slot_of(author, model.user(reader)), Some(slot));
                for number in 0..4 {
                    let id = model.id(author, reader, number);
                    assert!(model.message(id).is_err(), "it was not sent");
                    model.channel_mut(author, reader).sent_us.push(number);
                    let message = model.message(id).expect("it was sent");
                    assert_eq!(message, (author, reader, number));
                    ids.push(id);
                }
            }
        }
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), 6 * 2 * 4);
        assert_eq!(model.slot_of(0, 104), None, "another circle");
    }

    #[test]
    fn what_is_on_its_way_is_known() {
        let mut model = Model::new(vec![7, 8], 2);
        assert_eq!((model.unquiet(), model.is_stored(0)), (0, true));
        model.channel_mut(0, 1).sent_us.push(1);
        assert_eq!((model.unquiet(), model.is_stored(0), model.is_stored(1)), (1, false, true));
        model.channel_mut(0, 1).stored = 1;
        assert_eq!((model.unquiet(), model.is_stored(0)), (1, true));
        assert_eq!(model.floor(0), [Ways { from: 0, to: 1 }]);
        assert_eq!(model.floor(1), [Ways { from: 1, to: 0 }]);
        model.channel_mut(0, 1).taken = 1;
        assert_eq!((model.unquiet(), model.sent()), (0, 1));
    }
}
