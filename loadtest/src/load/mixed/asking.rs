//! What people ask over HTTP, and what they do with the answers.

use super::checks::{OFFLINE_MAX, Scroll};
use super::model::Floor;
use super::people::{People, Phase, Presence, Todo};
use super::plan::Happening;
use crate::http::post;
use crate::load::words;
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

/// A request that is under way.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub(super) what: What,
    since_us: u64,
    floor: Floor,
}

/// What somebody asked for.
#[derive(Clone, Copy, Debug)]
pub(super) enum What {
    Offline,
    Page { slot: usize, scroll: Scroll, more: u64 },
    Chats,
    Unread,
    Clear { slot: usize },
}

impl What {
    pub(super) fn name(self) -> &'static str {
        match self {
            What::Offline => "offline",
            What::Page { .. } => "page",
            What::Chats => "chats",
            What::Unread => "unread",
            What::Clear { .. } => "clear",
        }
    }
}

impl People {
    pub(super) fn ask(&mut self, person: usize, what: What, since_us: u64) {
        let user = self.model.user(person);
        let other = |slot| self.model.user(self.model.other(person, slot));
        let (path, body) = match what {
            What::Offline => ("/im/message/offline", json!({"userId": user, "limit": OFFLINE_MAX})),
            What::Page { slot, scroll, .. } => {
                let body = page_of(user, other(slot), self.day.shares.page_size, scroll.before);
                ("/im/message/user/get/page", body)
            }
            What::Chats => ("/im/user/chat/list", json!({"userId": user})),
            What::Unread => ("/im/user/chat/unread/count", json!({"userId": user})),
            What::Clear { slot } => {
                let body = json!({"fromUserId": user, "toUserId": other(slot)});
                ("/im/user/chat/clear/unread2", body)
            }
        };
        let floor = self.model.floor(person);
        let asked = self.people[person].asked.replace(Asked { what, since_us, floor });
        assert!(asked.is_none(), "one thing after another");
        self.todo.push(Todo::Ask(person, post(path, &body.to_string())));
    }

    /// Takes the answer to what somebody asked.
    ///
    /// # Errors
    /// When it is refused or cannot be true.
    pub fn answered(&mut self, person: usize, status: u16, body: &[u8], now_us: u64) -> Result<()> {
        let asked = self.people[person].asked.take().context("an answer without a question")?;
        let Asked { what, since_us, floor } = asked;
        ensure!(status == 200, "{} is refused: {status} {}", what.name(), body.escape_ascii());
        self.note(what.name(), since_us, now_us);
        match what {
            What::Offline => return self.fetched(person, &floor, body, now_us),
            What::Page { slot, mut scroll, more } => {
                let other = self.model.other(person, slot);
                let size = self.day.shares.page_size;
                self.model.check_page(person, other, &mut scroll, size, body)?;
                if scroll.before.is_some() && more > 0 && self.phase == Phase::Day {
                    self.ask(person, What::Page { slot, scroll, more: more - 1 }, now_us);
                    return Ok(());
                }
            }
            What::Chats => self.model.check_chats(person, &floor, body)?,
            What::Unread => self.model.check_unread(person, &floor, body)?,
            What::Clear { slot } => self.model.note_read(person, &floor, slot),
        }
        match self.people[person].presence {
            Presence::Parting => self.part(person),
            _ => self.plan_next(person, now_us),
        }
        Ok(())
    }

    /// Somebody knows what he missed: he acks it as a whole, and what came meanwhile one by one.
    fn fetched(&mut self, person: usize, floor: &Floor, body: &[u8], now_us: u64) -> Result<()> {
        let waiting = self.model.check_offline(person, floor, body)?;
        let mut frames = Vec::new();
        if let Some(last) = waiting.last {
            words::ack_up_to(&mut frames, last);
        }
        for (slot, known) in waiting.known.into_iter().enumerate() {
            let other = self.model.other(person, slot);
            let pushed = self.people[person].pushed[slot];
            let (first, next) = pushed.map_or((known, known), |it| (it.first, it.next));
            ensure!(first <= known, "LOST: {first} was pushed where {known} was the next");
            for number in known..next {
                words::ack(&mut frames, self.model.id(other, person, number));
            }
            let channel = self.model.channel_mut(other, person);
            let taken = std::mem::replace(&mut channel.taken, known.max(next));
            ensure!(taken <= first, "DOUBLED: {first} was given again, all below {taken} was had");
            self.found += first - taken;
            self.pushed += known.max(next) - first;
        }
        self.todo.push(Todo::Say(person, frames));
        let one = &mut self.people[person];
        one.presence = Presence::Here;
        let session = one.session;
        self.plan_next(person, now_us);
        if self.phase == Phase::Day {
            let (least, mean) = (self.day.sessions.seconds_min, self.day.sessions.seconds_mean);
            let since_us = now_us + (least * 1e6) as u64;
            self.plan.after(since_us, (mean - least) * 1e6, Happening::Leave { person, session });
        }
        Ok(())
    }
}

/// The body that asks for a page of a conversation.
pub fn page_of(owner: i64, other: i64, size: usize, before: Option<i64>) -> Value {
    let mut body = json!({"fromUserId": owner, "toUserId": other, "pageSize": size});
    if let Some(before) = before {
        body["beforeSeq"] = json!(before);
    }
    body
}
