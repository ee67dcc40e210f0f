//! What a message looks like, wherever it is seen.

use super::{Checkers, Span, about, failure};
use crate::ids::UserId;
use crate::sim::answers::Row;
use crate::sim::model::message::{Draft, Message};
use crate::sim::model::{Key, Nameless, Step};
use crate::sim::observation::Failure;

/// A message as it was shown: what its author gave it.
pub(super) struct Looks<'a> {
    pub key: Key,
    pub to: UserId,
    pub kind: &'a str,
    pub event: Option<&'a str>,
    pub timestamp: i64,
    pub content: &'a str,
}

impl Looks<'_> {
    fn are_of(&self, draft: &Draft) -> bool {
        draft.to == self.to
            && draft.kind.name() == self.kind
            && draft.event.map(|event| event.name()) == self.event
            && draft.timestamp.is_none_or(|timestamp| timestamp == self.timestamp)
            && draft.content == self.content
    }
}

fn looks_of(row: &Row) -> Looks<'_> {
    Looks {
        key: (row.from, row.id),
        to: row.to,
        kind: &row.kind,
        event: row.event.as_deref(),
        timestamp: row.timestamp,
        content: &row.content,
    }
}

impl Checkers {
    /// A message was shown to `user`: it was sent, just so, and it may be there.
    pub(super) fn recognize(
        &mut self,
        looks: &Looks<'_>,
        user: UserId,
        answered: Step,
    ) -> Result<(), Failure> {
        let key = looks.key;
        if key.0 != user && looks.to != user {
            let words = format!("expected none of others, found one to {}", looks.to.number());
            return Err(about("forged", user, key, words));
        }
        if !self.model.messages.contains_key(&key) {
            self.adopt(key, looks.content);
        }
        let Some(message) = self.model.messages.get_mut(&key) else {
            let words = format!("expected what was sent, found {:?}, which was not", looks.content);
            return Err(about("forged", user, key, words));
        };
        let Some(index) = message.drafts.iter().position(|draft| looks.are_of(draft)) else {
            let Looks { to, kind, event, timestamp, content, .. } = looks;
            let words = format!(
                "expected one of {:?}, found {kind} {event:?} to {} at {timestamp}: {content:?}",
                message.drafts,
                to.number()
            );
            return Err(about("forged", user, key, words));
        };
        let other = message.taken.filter(|taken| *taken != index && !message.is_shaken);
        if let Some(other) = other {
            let expected = &message.drafts[other].content;
            let words = format!("expected {expected:?} as before, found {:?}", looks.content);
            return Err(about("once", user, key, words));
        }
        if !message.may_be_kept(answered) {
            let words = "expected it gone, as an answer has shown; it is there again".to_owned();
            return Err(about("once", user, key, words));
        }
        let timestamp = *message.added.timestamp.get_or_insert(looks.timestamp);
        if timestamp != looks.timestamp && !message.is_shaken {
            let words = format!("expected timestamp {timestamp}, found {}", looks.timestamp);
            return Err(about("once", user, key, words));
        }
        message.taken = Some(index);
        self.model.nameless.retain(|one| one.draft.content != looks.content);
        let seen_as = *self.texts.entry(looks.content.to_owned()).or_insert(key);
        if seen_as != key {
            let words = format!("expected its text once, found it also as message {seen_as:?}");
            return Err(about("once", user, key, words));
        }
        if !message.is_parted || key.0 == user {
            self.model.is_kept(key, answered);
        }
        Ok(())
    }

    /// A message under an id that the server made: found by its text.
    fn adopt(&mut self, key: Key, content: &str) {
        let is_it = |one: &Nameless| one.author == key.0 && one.draft.content == content;
        if let Some(at) = self.model.nameless.iter().position(is_it) {
            let nameless = self.model.nameless.remove(at);
            self.model.adopted(key, nameless);
        }
    }

    /// A message was shown in a list of `owner`.
    pub(super) fn see_row(&mut self, owner: UserId, row: &Row, span: Span) -> Result<(), Failure> {
        let looks = looks_of(row);
        let key = looks.key;
        self.recognize(&looks, owner, span.answered)?;
        if key.0 != owner {
            self.model.is_seen(key, span.answered);
        }
        self.see_what_was_added(owner, row)?;
        if let Err(known) = self.model.is_at(key, owner, row.seq, span.answered) {
            let there = self.model.messages[&key].seq(owner);
            let words = format!(
                "expected it at {there:?} only, found it at {}, where {known:?} is",
                row.seq
            );
            return Err(about("once", owner, key, words));
        }
        self.see_state(owner, row, span)?;
        self.check_order_at(owner, key, row.to)
    }

    fn see_what_was_added(&mut self, owner: UserId, row: &Row) -> Result<(), Failure> {
        let key = (row.from, row.id);
        if !self.people.may_be_called(row.from, row.name.as_ref()) {
            let words = format!("expected a name that its author gave, found {:?}", row.name);
            return Err(about("forged", owner, key, words));
        }
        let message = self.model.messages.get_mut(&key).expect("it was recognized");
        let sent = *message.added.server_send_time.get_or_insert(row.server_send_time);
        let name = message.added.name.get_or_insert_with(|| row.name.clone());
        if (sent != row.server_send_time || *name != row.name) && !message.is_shaken {
            let words = format!(
                "expected {sent} {name:?} as before, found {} {:?}",
                row.server_send_time, row.name
            );
            return Err(about("once", owner, key, words));
        }
        Ok(())
    }

    /// States and isRead only go on, and only by what people did.
    fn see_state(&mut self, owner: UserId, row: &Row, span: Span) -> Result<(), Failure> {
        let key = (row.from, row.id);
        if self.model.is_parted {
            // Authors count on where they were cut off, and readers do not know.
            return Ok(());
        }
        let shown = (row.state.as_str(), row.is_read);
        if row.from == row.to {
            let is_right = shown == ("Client", true);
            let words = format!("expected a note to be (Client, true), found {shown:?}");
            return if is_right { Ok(()) } else { Err(about("lists", owner, key, words)) };
        }
        let [is_pushed, is_acked] = match row.state.as_str() {
            "Client" => [true, true],
            "ServerToClientIng" => [true, false],
            "Server" => [false, false],
            other => {
                let words = format!("expected the state of a kept message, found {other:?}");
                return Err(about("lists", owner, key, words));
            }
        };
        let message = &self.model.messages[&key];
        // What its recipient has forgotten unacked counts as acked when all that he has is.
        let may_be_gone = self.model.may_be_forgotten(message, row.to, span.answered);
        let may_be_acked = self.model.may_be_acked(message, row.to, span.answered);
        if is_acked && !may_be_acked && !may_be_gone {
            let words = "expected no Client, for nobody has acked it".to_owned();
            return Err(about("offline", owner, key, words));
        }
        if row.is_read && !self.model.may_be_read(message, row.to, span.answered) {
            let words = "expected it unread, for nobody has cleared it".to_owned();
            return Err(about("unread", owner, key, words));
        }
        let message = self.model.messages.get_mut(&key).expect("it was recognized");
        let sight = message.sight_mut(owner);
        let facts = [
            ("acked", "offline", is_acked, &mut sight.acked),
            ("pushed", "lists", is_pushed, &mut sight.pushed),
            ("read", "unread", row.is_read, &mut sight.read),
        ];
        for (what, checker, is_so, fact) in facts {
            if is_so {
                fact.holds(span.answered);
            } else if !fact.holds_not(span.asked) {
                let words = format!("expected it {what} as before, found {shown:?}");
                return Err(about(checker, owner, key, words));
            }
        }
        learn_from_author(message, span.answered);
        Ok(())
    }

    /// Messages of one author to one recipient have numbers in the order in which they were sent.
    fn check_order_at(&self, owner: UserId, key: Key, to: UserId) -> Result<(), Failure> {
        let message = &self.model.messages[&key];
        let seq = message.seq(owner);
        let is_to = |draft: &Draft| draft.to == to;
        let same_way = |other: &&Message| other.candidates().all(is_to);
        for other in self.model.messages_from(key.0, owner).filter(same_way) {
            let Some(there) = other.seq(owner) else { continue };
            if Some(there) == seq || message.is_shaken || other.is_shaken {
                continue;
            }
            let (first, second) =
                if Some(there) < seq { (other, message) } else { (message, other) };
            if second.precedes(first) {
                let words = format!(
                    "expected it before {}, which was sent later; found them at {:?} and {:?}",
                    first.key.1,
                    second.seq(owner),
                    first.seq(owner)
                );
                return Err(about("order", owner, second.key, words));
            }
        }
        Ok(())
    }

    /// A list that no client can read.
    pub(super) fn unreadable(&self, what: &str, user: UserId, body: &str) -> Failure {
        failure("lists", user, format!("expected {what}, found {body}"))
    }
}

/// What its author is shown of it is so at its recipient, too.
fn learn_from_author(message: &mut Message, answered: Step) {
    for (there, here) in [
        (message.at_author.acked, &mut message.at_recipient.acked),
        (message.at_author.read, &mut message.at_recipient.read),
    ] {
        if there.is_sure(answered) {
            here.holds(answered);
        }
    }
}
