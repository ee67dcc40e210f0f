//! Frames: messages that are said and acked, and those that are pushed.

use super::sights::Looks;
use super::{Checkers, Line, Span, about, failure};
use crate::ids::UserId;
use crate::limits::CONNECTIONS_PER_USER_MAX;
use crate::sim::model::message::{Draft, Message, Sending};
use crate::sim::model::{Deed, Key, Named, Nameless, Step};
use crate::sim::observation::{DeviceId, Failure, Heard, Said};

impl Checkers {
    /// A client is about to say something.
    pub(super) fn said(
        &mut self,
        device: DeviceId,
        frame: &Said,
        begun: Step,
    ) -> Result<(), Failure> {
        let line = self.lines.entry(device).or_default();
        line.babbles |= *frame == Said::Garbage;
        match (frame, line.user) {
            (Said::Auth { user, id }, None) => {
                line.auth = Some((*id, begun));
                line.user = Some(*user);
                for (frame, begun) in std::mem::take(&mut line.early) {
                    self.said_as(*user, device, &frame, begun);
                }
            }
            (Said::Auth { user, id }, Some(before)) => {
                line.again.extend(id.map(|id| (id, *user == before)));
            }
            (_, Some(user)) => self.said_as(user, device, frame, begun),
            // It is held until Auth.
            (_, None) => line.early.push((frame.clone(), begun)),
        }
        Ok(())
    }

    fn said_as(&mut self, user: UserId, device: DeviceId, frame: &Said, begun: Step) {
        let named = match frame {
            Said::Message { id, from, to, .. } => {
                let is_forged = from.is_some_and(|from| from != user);
                let is_strange = self.people.are_of_one(user, *to) != Some(true);
                // What must be refused was never sent: whoever sees it sees something forged.
                if is_forged || is_strange {
                    self.lines.entry(device).or_default().doomed.push(*id);
                } else {
                    self.sends(user, device, frame, begun);
                }
                return;
            }
            Said::Ack(ids) => Named::Ids(ids.clone()),
            Said::AckUpTo(id) => Named::UpTo(*id),
            Said::Auth { .. } | Said::Heartbeat | Said::Ping | Said::Garbage => return,
        };
        self.model.acks(user, &named, begun);
        let line = self.lines.entry(device).or_default();
        line.has_acked = true;
        line.acks.push((named, begun));
    }

    fn sends(&mut self, user: UserId, device: DeviceId, frame: &Said, begun: Step) {
        let Said::Message { id, to, kind, event, timestamp, content, .. } = frame else { return };
        let (to, kind, event, timestamp) = (*to, *kind, *event, *timestamp);
        let draft = Draft { to, kind, event, timestamp, content: content.clone() };
        if *id == 0 {
            let (author, deed) = (user, Deed::new(begun));
            self.model.nameless.push(Nameless { author, device, draft, deed, is_parted: false });
        } else {
            self.model.sent((user, *id), draft, device, begun);
        }
    }

    /// A client has heard something.
    pub(super) fn heard(
        &mut self,
        device: DeviceId,
        frame: &Heard,
        step: Step,
    ) -> Result<(), Failure> {
        let line = self.lines.entry(device).or_default();
        let Some(user) = line.user else { return Ok(()) };
        let is_told = matches!(frame, Heard::Waiting { .. } | Heard::Close { .. });
        if std::mem::take(&mut line.owes_notice) && !is_told {
            let words = format!("expected {device} to be told that messages wait, found {frame:?}");
            return Err(failure("offline", user, words));
        }
        match frame {
            Heard::Ack { id, source } => {
                if id % 1000 == 0 {
                    let words = "expected no multiple of 1000 as an Ack's own id".to_owned();
                    return Err(about("ids", user, (UserId::SYSTEM, *id), words));
                }
                let auth = line.auth.filter(|(id, _)| *id == Some(*source));
                if let (None, Some((_, asked))) = (line.welcomed, auth) {
                    line.welcomed = Some(step);
                    let owes = self.waits_any(user, Span { asked, answered: step });
                    self.lines.entry(device).or_default().owes_notice = owes;
                    return Ok(());
                }
                if self.answers_again(device, *source, true)? {
                    return Ok(());
                }
                self.heard_ack(user, device, *source, step)
            }
            Heard::Error { source: Some(source), code, words } => {
                if self.answers_again(device, *source, false)? {
                    return Ok(());
                }
                self.heard_error(device, (user, *source), (*code, words), step)
            }
            Heard::Message { .. } => self.heard_message(user, device, frame, step),
            Heard::Waiting { count } => {
                line.told = Some(step);
                let asked = line.auth.map_or(0, |(_, said)| said);
                self.see_waiting(user, *count, Span { asked, answered: step })
            }
            Heard::Close { code: Some(code @ (1002 | 1003 | 1007 | 1009)) } if !line.babbles => {
                let words =
                    format!("expected to be heard on {device}, found it closed with {code}");
                Err(failure("arrives", user, words))
            }
            Heard::Close { code: Some(4409) } => self.replaced(user, device),
            Heard::Error { source: None, .. } | Heard::Ping | Heard::Pong | Heard::Close { .. } => {
                Ok(())
            }
        }
    }

    /// Whether it was an Auth that was answered, on a connection that had one: who says the same
    /// again is acked, who says that he is another is refused.
    fn answers_again(
        &mut self,
        device: DeviceId,
        source: i64,
        is_acked: bool,
    ) -> Result<bool, Failure> {
        let line = self.lines.get_mut(&device).expect("it has heard this");
        let Some(at) = line.again.iter().position(|(id, _)| *id == source) else {
            return Ok(false);
        };
        let (_, is_same) = line.again.remove(at);
        let user = line.user.expect("it has said Auth before");
        if is_same != is_acked {
            let found = if is_acked { "an Ack" } else { "an Error" };
            let words = format!("Auth again on {device}, the same user: {is_same}; found {found}");
            return Err(failure(if is_acked { "forged" } else { "arrives" }, user, words));
        }
        Ok(true)
    }

    /// A connection had to make room for a newer one: only where too many others were there.
    fn replaced(&self, user: UserId, device: DeviceId) -> Result<(), Failure> {
        // It was replaced before the server went down, and hears of it only now.
        if self.lines[&device].is_ended {
            return Ok(());
        }
        let may_be_seated = |line: &Line| {
            line.user == Some(user) && line.auth.is_some_and(|(_, said)| said > self.crashed)
        };
        let others =
            self.lines.iter().filter(|(other, line)| **other != device && may_be_seated(line));
        let others = others.count();
        if others < CONNECTIONS_PER_USER_MAX {
            let most = CONNECTIONS_PER_USER_MAX;
            let words = format!("expected {device} replaced beside {most} others, found {others}");
            return Err(failure("arrives", user, words));
        }
        Ok(())
    }

    /// A message was acked: it is kept, and all that was said before it was done.
    fn heard_ack(
        &mut self,
        user: UserId,
        device: DeviceId,
        source: i64,
        step: Step,
    ) -> Result<(), Failure> {
        let key = (user, source);
        let begun = match self.model.messages.get_mut(&key).and_then(|it| end_sending(it, device)) {
            Some((begun, draft)) => {
                // On one connection the first that is not refused is the one that is kept.
                let message = self.model.messages.get_mut(&key).expect("it was sent");
                if !message.is_shaken {
                    message.taken.get_or_insert(draft);
                }
                begun
            }
            None => self.name_one(key, device, step)?,
        };
        let message = self.model.messages.get_mut(&key).expect("it was sent");
        let ended = message.sendings.iter_mut().filter(|sending| sending.deed.begun == begun);
        ended.for_each(|sending| sending.deed.over = step);
        self.model.is_kept(key, step);
        let line = self.lines.entry(device).or_default();
        line.answered = line.answered.max(begun);
        let (done, open): (Vec<_>, Vec<_>) =
            std::mem::take(&mut line.acks).into_iter().partition(|(_, said)| *said < begun);
        line.acks = open;
        let part = self.part_before(user, begun);
        for (named, said) in done {
            self.model.acked(user, &named, said, step);
        }
        part.map_or(Ok(()), |part| self.part_after((user, device), part, step))
    }

    /// An Ack of an id that nobody gave: the server made it for a message without one, and does
    /// not say for which.
    fn name_one(&mut self, key: Key, device: DeviceId, step: Step) -> Result<Step, Failure> {
        let here = self.model.nameless.iter().filter(|one| one.device == device);
        let here: Vec<Nameless> = here.cloned().collect();
        let is_known = self.model.messages.contains_key(&key);
        let Some(asked) = here.first().map(|one| one.deed.begun).filter(|_| !is_known) else {
            let words =
                "expected Acks of what was sent here and may be kept, found this".to_owned();
            return Err(about("forged", key.0, key, words));
        };
        self.see_ids(&[key.1], Span { asked, answered: step })?;
        for one in &here {
            self.model.sent(key, one.draft.clone(), device, one.deed.begun);
        }
        let message = self.model.messages.get_mut(&key).expect("it was sent just now");
        message.sendings.iter_mut().for_each(|sending| sending.is_answered = true);
        if let [only] = &here[..] {
            let said = only.deed.begun;
            self.model.nameless.retain(|one| one.device != device || one.deed.begun != said);
        }
        Ok(asked)
    }

    /// Something was refused: it will not be kept by this.
    fn heard_error(
        &mut self,
        device: DeviceId,
        key: Key,
        (code, words): (i64, &str),
        step: Step,
    ) -> Result<(), Failure> {
        let keeps_all = self.model.terms.retention == Default::default();
        // What is forged or goes to strangers is refused for that, whatever its id.
        let doomed = &mut self.lines.entry(device).or_default().doomed;
        let at = doomed.iter().position(|id| *id == key.1);
        if let Some(at) = at.filter(|_| ![409, 429, 503].contains(&code)) {
            doomed.remove(at);
            return Ok(());
        }
        let Some(message) = self.model.messages.get_mut(&key) else { return Ok(()) };
        let Some(at) = refused_sending(message, device, code) else { return Ok(()) };
        let is_only = message.drafts.len() == 1 && !message.is_shaken;
        if code == 409 && is_only && keeps_all {
            let words = format!("expected it to be taken in, found {words:?}, as if another was");
            return Err(about("once", key.0, key, words));
        }
        let begun = message.sendings[at].deed.begun;
        if code == 503 && is_only && keeps_all && message.kept.is_sure(begun) {
            let words = format!("expected an Ack, for it was kept before; found {words:?}");
            return Err(about("kept", key.0, key, words));
        }
        let draft = message.sendings[at].draft;
        let to = message.drafts[draft].to;
        if code == 409 && message.taken.is_none() {
            let mut open = message.sendings.iter().filter(|sending| is_open(sending, device));
            let is_of_two = open.any(|sending| sending.draft != draft);
            // Refusals overtake Acks: which of the two was refused nobody can tell if one of them
            // may have come another way before.
            let is_from_two = message.sendings.iter().any(|sending| sending.device != device);
            message.is_shaken |= is_of_two && is_from_two;
        }
        let mut open = message.sendings.iter().filter(|sending| is_open(sending, device));
        if code == 409 || open.all(|sending| sending.draft == draft) {
            message.sendings.remove(at);
        } else {
            message.sendings[at].deed.over = step;
            message.sendings[at].is_answered = true;
        }
        if code == 404 && self.people.are_of_one(key.0, to) == Some(true) {
            let words = format!("expected it to be taken in, found {words:?}");
            return Err(about("kept", key.0, key, words));
        }
        Ok(())
    }

    /// A message was pushed.
    fn heard_message(
        &mut self,
        user: UserId,
        device: DeviceId,
        frame: &Heard,
        step: Step,
    ) -> Result<(), Failure> {
        let Heard::Message { id, from, to, kind, event, timestamp, content, state, seq, .. } =
            frame
        else {
            return Ok(());
        };
        let (key, event) = ((*from, *id), event.as_deref());
        let looks = Looks { key, to: *to, kind, event, timestamp: *timestamp, content };
        self.recognize(&looks, user, step)?;
        let expected: &[&str] = match (*from == user, *to == user) {
            (true, true) => &["Client"],
            (true, false) => &["Server"],
            _ => &["ServerToClientIng"],
        };
        if !expected.contains(&state.as_str()) {
            let words = format!("expected it pushed as {expected:?}, found {state}");
            return Err(about("lists", user, key, words));
        }
        if *to == user {
            self.model.is_seen(key, step);
        }
        if seq.is_some() {
            self.pushed_again(user, device, key)
        } else {
            self.pushed(user, device, key)
        }
    }

    fn pushed_again(&mut self, user: UserId, device: DeviceId, key: Key) -> Result<(), Failure> {
        let line = self.lines.get_mut(&device).expect("it has heard this");
        line.pushed_again.insert(key);
        if !line.has_acked || key.0 == user {
            let words = "expected nothing again on a connection that acks nothing".to_owned();
            return Err(about("once", user, key, words));
        }
        // Its Ack was taken in before a frame whose own Ack came here already.
        let message = &self.model.messages[&key];
        let is_acked = message.at_recipient.acked.is_sure(line.answered);
        if is_acked && !message.is_of_two() && !message.is_shaken {
            let words = format!("expected it acked for good, found it pushed again to {device}");
            return Err(about("offline", user, key, words));
        }
        Ok(())
    }

    /// Pushed for the first time: once on a connection, in order, and none passed over.
    fn pushed(&mut self, user: UserId, device: DeviceId, key: Key) -> Result<(), Failure> {
        let line = self.lines.get_mut(&device).expect("it has heard this");
        let welcomed = line.welcomed;
        if line.pushed.contains(&key) {
            let words = format!("expected it once on {device}, found it again");
            return Err(about("once", user, key, words));
        }
        let message = &self.model.messages[&key];
        let of_author = line.pushed.iter().filter(|other| other.0 == key.0);
        let of_author = of_author.map(|other| &self.model.messages[other]);
        let mut of_author = of_author.filter(|other| are_alike(other, message));
        if let Some(other) = of_author.find(|other| message.precedes(other)) {
            let words = format!("expected it on {device} before {}, found it after", other.key.1);
            return Err(about("order", user, key, words));
        }
        line.pushed.push(key);
        let line = &self.lines[&device];
        let passed_over = self.model.messages_from(key.0, user).find(|other| {
            are_alike(other, message)
                && is_due(other, user, device, welcomed)
                && other.precedes(message)
                && !line.pushed.contains(&other.key)
        });
        if let Some(other) = passed_over {
            let words = format!("expected it on {device} before {}, found it passed over", key.1);
            return Err(about("order", user, other.key, words));
        }
        Ok(())
    }
}

/// Of the same way: their order is that of their sending.
fn are_alike(one: &Message, other: &Message) -> bool {
    let to = |message: &Message| message.taken.map(|taken| message.drafts[taken].to);
    to(one).is_some() && to(one) == to(other)
}

/// A connection must have been shown a message: it was there before that was sent elsewhere.
pub(super) fn is_due(
    message: &Message,
    user: UserId,
    device: DeviceId,
    welcomed: Option<Step>,
) -> bool {
    let is_there = welcomed.is_some_and(|welcomed| welcomed < message.first_sent());
    let is_from_here = message.sendings.iter().any(|sending| sending.device == device);
    let is_known = message.taken.is_some() && !message.is_shaken;
    is_there && is_known && message.is_of(user) && !is_from_here && message.is_kept_now()
}

fn is_open(sending: &Sending, device: DeviceId) -> bool {
    sending.device == device && !sending.is_answered
}

/// The sending that an Error answers: if an id is used, the first that is not the one kept, or
/// the last, for what was kept and is forgotten is refused when it comes again.
fn refused_sending(message: &Message, device: DeviceId, code: i64) -> Option<usize> {
    let open = || message.sendings.iter().enumerate().filter(|(_, it)| is_open(it, device));
    let (first, sending) = open().next()?;
    if code != 409 {
        return Some(first);
    }
    let kept = message.taken.unwrap_or(sending.draft);
    let (at, _) = open().find(|(_, it)| it.draft != kept).or_else(|| open().next_back())?;
    Some(at)
}

/// The sending that an Ack answers: the first open one, of the draft that is kept.
fn end_sending(message: &mut Message, device: DeviceId) -> Option<(Step, usize)> {
    let taken = message.taken.filter(|_| !message.is_shaken);
    let mut open = message.sendings.iter_mut().filter(|sending| is_open(sending, device));
    let sending = open.find(|sending| taken.is_none_or(|taken| taken == sending.draft))?;
    sending.is_answered = true;
    Some((sending.deed.begun, sending.draft))
}
