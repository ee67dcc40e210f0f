//! A conversation over a WebSocket as the contract tells it: who is who, what is acked, refused and
//! kept, and when it ends. For one connection to a server on which nobody else writes.

use crate::fuzz::naive::frames::Header;
use crate::fuzz::naive::requests::{Frame, Letter, Means, frame};
use crate::fuzz::peer::Heard;
use crate::fuzz::server::{People, WAITING_ID, WAITING_TEXT};
use crate::fuzz::targets::json::is_among;
use anser::api::{ChatType, MessageType};
use anser::ids::UserId;
use anser::limits::{HELD_BYTES_MAX, HELD_FRAMES_MAX, REFUSED_FRAMES_MAX};
use std::collections::{BTreeMap, VecDeque};

/// What a conversation must be, compared with what was heard, step by step.
pub struct Chat<'h> {
    people: People,
    /// Whoever registered besides, and in which application.
    strangers: bool,
    heard: &'h [Heard],
    /// Who has authenticated.
    pub user: Option<UserId>,
    held: VecDeque<Vec<u8>>,
    refused: u32,
    fragments: Option<Vec<u8>>,
    /// What he has sent, by its id.
    sent: BTreeMap<i64, Letter>,
    /// The same in order, oldest first. The server chose the id where there was none.
    pub kept: Vec<(i64, Letter)>,
    /// It has ended.
    pub is_over: bool,
}

/// What is not as it must be.
pub type Step = Result<(), &'static str>;

impl<'h> Chat<'h> {
    /// A fresh WebSocket, of which this was heard. `strangers`: others have registered before.
    pub fn new(people: People, strangers: bool, heard: &'h [Heard]) -> Chat<'h> {
        Chat {
            people,
            strangers,
            heard,
            user: None,
            held: VecDeque::new(),
            refused: 0,
            fragments: None,
            sent: BTreeMap::new(),
            kept: Vec::new(),
            is_over: false,
        }
    }

    /// Reads all frames.
    pub fn read(&mut self, bytes: &[u8]) -> Step {
        let mut at = 0;
        while !self.is_over {
            let rest = &bytes[at..];
            let Some(header) = Header::read(rest) else { break };
            let codes = header.refusals(self.fragments.as_ref().map(Vec::len));
            if !codes.is_empty() {
                self.close(&codes, "a frame that RFC 6455 does not have closes")?;
                break;
            }
            let Some(payload) = header.payload(rest) else {
                self.part(header, rest)?;
                break;
            };
            at += header.bytes();
            self.frame(header, payload)?;
        }
        if self.heard.is_empty() { Ok(()) } else { Err("nothing is said that was not asked for") }
    }

    /// A frame that is not all there: its text is looked at as far as it is.
    fn part(&mut self, header: Header, rest: &[u8]) -> Step {
        if header.is_control() {
            return Ok(());
        }
        let length = rest.len().saturating_sub(header.start) as u64;
        let part = Header { length, ..header }.payload(rest).unwrap_or_default();
        let mut text = self.fragments.take().unwrap_or_default();
        text.extend(part);
        self.look_at(&text)
    }

    /// Closes when no letters behind it could make a text of this.
    fn look_at(&mut self, text: &[u8]) -> Step {
        match std::str::from_utf8(text) {
            Err(error) if error.error_len().is_some() => {
                self.close(&[1007], "text that is no UTF-8 closes")
            }
            _ => Ok(()),
        }
    }

    fn frame(&mut self, header: Header, payload: Vec<u8>) -> Step {
        match header.opcode() {
            8 => {
                let code = match payload.split_first_chunk::<2>() {
                    None if payload.is_empty() => None,
                    None => Some(1002),
                    Some((code, reason)) => Some(match u16::from_be_bytes(*code) {
                        1000..=1003 | 1007..=1014 | 3000..=4999
                            if std::str::from_utf8(reason).is_err() =>
                        {
                            1007
                        }
                        code @ (1000..=1003 | 1007..=1014 | 3000..=4999) => code,
                        _ => 1002,
                    }),
                };
                self.is_over = true;
                self.hear(&Heard::Close(code), "a close is answered by a close")
            }
            9 => self.hear(&Heard::Pong(payload), "a ping is answered by its pong"),
            10 => Ok(()),
            _ => {
                let mut message = self.fragments.take().unwrap_or_default();
                message.extend(payload);
                if header.is_final() {
                    return self.message(message);
                }
                self.look_at(&message)?;
                self.fragments = Some(message);
                Ok(())
            }
        }
    }

    fn next(&mut self) -> Option<&'h Heard> {
        let (first, rest) = self.heard.split_first()?;
        self.heard = rest;
        Some(first)
    }

    fn hear(&mut self, expected: &Heard, rule: &'static str) -> Step {
        if self.next() == Some(expected) { Ok(()) } else { Err(rule) }
    }

    fn close(&mut self, codes: &[u16], rule: &'static str) -> Step {
        self.is_over = true;
        match self.next() {
            Some(Heard::Close(Some(code))) if codes.contains(code) => Ok(()),
            _ => Err(rule),
        }
    }

    fn message(&mut self, text: Vec<u8>) -> Step {
        if std::str::from_utf8(&text).is_err() {
            return self.close(&[1007], "text that is no UTF-8 closes");
        }
        let frame = frame(&text);
        let Some(means) = frame.means.clone() else { return self.refused(&frame) };
        let Some(user) = self.user else { return self.before_auth(means, &frame, text) };
        self.ask(&frame)?;
        match means {
            Means::Ack | Means::Heartbeat => {
                self.refused = 0;
                Ok(())
            }
            Means::Auth { user: other } if other != user => self.error(frame.source, 409),
            Means::Auth { .. } => match frame.source {
                Some(source) => self.ack(user, Some(source)).map(drop),
                None => Ok(()),
            },
            Means::Send { from, chat_type, letter, .. } => {
                self.send(user, frame.source, from, chat_type, letter)
            }
        }
    }

    fn ask(&mut self, frame: &Frame) -> Step {
        match (&frame.asked, self.next()) {
            (Ok(asked), Some(Heard::Asked(found))) if asked == found => Ok(()),
            _ => Err("a good frame reaches the rules as it is"),
        }
    }

    /// A frame that is refused without the rules.
    fn refused(&mut self, frame: &Frame) -> Step {
        let (Err(problems), Some(Heard::Error { source, code, words })) =
            (&frame.asked, self.next())
        else {
            return Err("a bad frame is refused");
        };
        if *source != frame.source || !is_among(*code, words, problems) {
            return Err("a refusal says what is wrong, and of which frame");
        }
        if *code == 401 && self.user.is_none() {
            return self.close(&[4401], "a refused Auth closes");
        }
        self.count_refused()
    }

    fn count_refused(&mut self) -> Step {
        self.refused += 1;
        match self.refused {
            REFUSED_FRAMES_MAX => self.close(&[1008], "twenty refusals in a row close"),
            _ => Ok(()),
        }
    }

    fn error(&mut self, expected: Option<i64>, expected_code: u16) -> Step {
        match self.next() {
            Some(Heard::Error { source, code, .. })
                if *source == expected && *code == expected_code =>
            {
                self.count_refused()
            }
            _ => Err("the rules refuse what the contract refuses, and nothing else"),
        }
    }

    /// Waits for an Ack of a message, or of one to which the server gives an id, which it returns.
    fn ack(&mut self, user: UserId, source: Option<i64>) -> Result<i64, &'static str> {
        let Some(Heard::Frame(frame)) = self.next() else { return Err("a good frame is acked") };
        let content = frame["content"].as_str().unwrap_or_default();
        let named = content.strip_prefix("{\"srcId\":").and_then(|it| it.strip_suffix('}'));
        let named: i64 = named.and_then(|it| it.parse().ok()).unwrap_or(0);
        let is_ours = frame["msgType"] == "Ack"
            && frame["fromUserId"] == 1
            && frame["toUserId"] == user.number()
            && frame.as_object().is_some_and(|keys| keys.len() == 11);
        let is_named = match source {
            Some(source) => named == source,
            None => named > 0 && named % 1000 == 0,
        };
        self.refused = 0;
        if is_ours && is_named { Ok(named) } else { Err("an Ack names the message it acks") }
    }

    /// Before Auth: only that goes on, and what comes before it waits.
    fn before_auth(&mut self, means: Means, frame: &Frame, text: Vec<u8>) -> Step {
        match means {
            Means::Heartbeat => Ok(()),
            Means::Auth { user } => {
                self.ask(frame)?;
                self.authenticate(user, frame.source)
            }
            _ => {
                self.held.push_back(text);
                let bytes: usize = self.held.iter().map(Vec::len).sum();
                if self.held.len() > HELD_FRAMES_MAX || bytes > HELD_BYTES_MAX {
                    return self.close(&[4408], "too much before Auth closes");
                }
                Ok(())
            }
        }
    }

    fn authenticate(&mut self, user: UserId, source: Option<i64>) -> Step {
        let People { ann, bob, eve } = self.people;
        let is_welcome = [ann, bob, eve].contains(&user)
            || (self.strangers
                && !matches!(self.heard.first(), Some(Heard::Error { code: 401, .. })));
        if !is_welcome {
            match self.next() {
                Some(Heard::Error { source: found, code: 401, .. }) if *found == source => {}
                _ => return Err("nobody who is not registered authenticates"),
            }
            return self.close(&[4401], "a refused Auth closes");
        }
        self.user = Some(user);
        self.refused = 0;
        if source.is_some() {
            self.ack(user, source)?;
        }
        if user == ann {
            let content = WAITING_TEXT.to_owned();
            let letter = Letter { kind: MessageType::Text, to: bob, content };
            self.sent.insert(WAITING_ID, letter.clone());
            self.kept.push((WAITING_ID, letter));
        }
        if user == bob {
            match self.next() {
                Some(Heard::Frame(frame))
                    if frame["eventType"] == "OfflineMessage"
                        && frame["content"] == "您有1离线消息" => {}
                _ => return Err("who has offline messages is told so at Auth"),
            }
        }
        while let Some(text) = self.held.pop_front().filter(|_| !self.is_over) {
            self.message(text)?;
        }
        Ok(())
    }

    fn send(
        &mut self,
        user: UserId,
        source: Option<i64>,
        from: Option<UserId>,
        chat_type: ChatType,
        letter: Letter,
    ) -> Step {
        if from.is_some_and(|from| from != user) {
            return self.error(source, 403);
        }
        if chat_type != ChatType::Single || letter.to == UserId::SYSTEM {
            return self.error(source, 400);
        }
        let People { ann, bob, eve } = self.people;
        let friends = if user == eve { vec![eve] } else { vec![ann, bob] };
        let is_known = letter.to == user || friends.contains(&letter.to);
        let is_acked = matches!(self.heard.first(), Some(Heard::Frame(_)));
        // Of whoever has registered besides it is known only that he may be there.
        let may_be_known = is_known || (self.strangers && is_acked);
        if !may_be_known {
            return self.error(source, 404);
        }
        if let Some(source) = source
            && let Some(before) = self.sent.get(&source)
        {
            let is_same = *before == letter;
            return if is_same {
                self.ack(user, Some(source)).map(drop)
            } else {
                self.error(Some(source), 409)
            };
        }
        let id = self.ack(user, source)?;
        if self.sent.insert(id, letter.clone()).is_some() {
            return Err("an id that the server chooses is new");
        }
        self.kept.push((id, letter));
        Ok(())
    }
}
