//! When faults have ended: everything is answered, and everything is where it is to be.

use super::frames::is_due;
use super::{Checkers, Span, about, failure};
use crate::chat::forget::Retention;
use crate::ids::UserId;
use crate::limits::{CONNECTIONS_PER_USER_MAX, REDELIVER_AFTER_MS, REDELIVERIES_MAX};
use crate::sim::model::Step;
use crate::sim::observation::{Failure, Moment};
use std::collections::BTreeMap;

impl Checkers {
    /// Nobody has acked anything for a while: what still waits was pushed again wherever it had
    /// been pushed, and where Acks come from.
    pub(super) fn morning_came(&self, at: Moment, step: Step) -> Result<(), Failure> {
        // Who has been pushed it so often already is not any more.
        if at.ms > u64::from(REDELIVERIES_MAX) * REDELIVER_AFTER_MS {
            return Ok(());
        }
        let span = Span { asked: step, answered: step };
        let live = self.lines.iter().filter(|(_, line)| !line.is_ended && line.has_acked);
        for (device, line) in live {
            let Some(user) = line.user.filter(|_| line.welcomed.is_some()) else { continue };
            let forgotten = line.pushed.iter().find(|key| {
                let message = &self.model.messages[key];
                self.waits_surely(message, user, span) && !line.pushed_again.contains(key)
            });
            if let Some(key) = forgotten {
                let words = format!("expected it again on {device}, for nobody has acked it");
                return Err(about("arrives", user, *key, words));
            }
        }
        Ok(())
    }

    /// All has come to rest: whoever is still connected has been told everything.
    pub(super) fn evening_came(&mut self, step: Step) -> Result<(), Failure> {
        self.evening = Some(step);
        self.model.came_to_rest();
        let live = self.lines.iter().filter(|(_, line)| !line.is_ended);
        let mut connections: BTreeMap<UserId, usize> = BTreeMap::new();
        for (device, line) in live {
            let user = line.user.unwrap_or(UserId::SYSTEM);
            if let Some(asked) = line.calls.front() {
                let words = format!("expected an answer on {device} to what was asked at {asked}");
                return Err(failure("arrives", user, words));
            }
            if line.welcomed.is_none() {
                continue;
            }
            if let Some((id, _)) = line.again.first() {
                let words = format!("expected an answer on {device} to Auth again, {id}");
                return Err(failure("arrives", user, words));
            }
            let held = connections.entry(user).or_default();
            *held += 1;
            if *held > CONNECTIONS_PER_USER_MAX {
                let words = format!("expected at most {CONNECTIONS_PER_USER_MAX} connections");
                return Err(failure("bounds", user, words));
            }
            for message in self.model.messages_of(user) {
                let mut sendings = message.sendings.iter();
                if sendings.any(|sending| sending.device == *device && !sending.is_answered) {
                    let words = format!("expected an Ack or an Error on {device}, found none");
                    return Err(about("arrives", user, message.key, words));
                }
                let is_due = is_due(message, user, *device, line.welcomed);
                if is_due && !line.pushed.contains(&message.key) {
                    let words =
                        format!("expected it on {device}, which was there; found it missing");
                    return Err(about("arrives", user, message.key, words));
                }
            }
        }
        Ok(())
    }

    /// The end: both sides of a message see the same of it.
    pub fn end(&self) -> Result<(), Failure> {
        if self.model.terms.retention != Retention::default() || self.model.is_parted {
            // One of the two may have forgotten, or lost, what the other has still.
            return Ok(());
        }
        for message in self.model.messages.values().filter(|message| !message.is_shaken) {
            let Some(draft) = message.taken.map(|taken| &message.drafts[taken]) else { continue };
            let (author, reader) = (message.key.0, draft.to);
            let are_shown = self.walked.contains(&author) && self.walked.contains(&reader);
            let are_there = message.seq(author).is_some() && message.seq(reader).is_some();
            if author == reader || !are_shown || !are_there {
                continue;
            }
            let (here, there) = (message.at_author, message.at_recipient);
            let pairs = [
                ("pushed", here.pushed, there.pushed),
                ("acked", here.acked, there.acked),
                ("read", here.read, there.read),
            ];
            for (what, here, there) in pairs {
                let (here, there) = (here.is_sure(Step::MAX), there.is_sure(Step::MAX));
                if here != there {
                    let words = format!(
                        "expected {what} to be {there}, as its reader sees it; \
                        its author sees {here}"
                    );
                    return Err(about("arrives", author, message.key, words));
                }
            }
        }
        Ok(())
    }
}
