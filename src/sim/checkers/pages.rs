//! Pages of a history, whole or of one chat, and where they stand in it.

use super::{Checkers, Span, about, failure};
use crate::api::PageStart;
use crate::chat::forget::Retention;
use crate::ids::UserId;
use crate::sim::answers::Row;
use crate::sim::model::Key;
use crate::sim::observation::Failure;

/// Which page was asked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Page {
    pub owner: UserId,
    /// `None`: of everything.
    pub peer: Option<UserId>,
    pub start: PageStart,
    pub size: u16,
}

impl Page {
    /// Messages before the first one of this page, if it is named by its number.
    fn skipped(&self) -> Option<u64> {
        match self.start {
            PageStart::Number(page) => Some(page.saturating_sub(1) * u64::from(self.size)),
            PageStart::Before(_) => None,
        }
    }
}

impl Checkers {
    /// A page was shown: a run of the rows that there are, at the right place, to its end.
    pub(super) fn see_page(&mut self, page: Page, rows: &[Row], span: Span) -> Result<(), Failure> {
        for row in rows {
            self.see_row(page.owner, row, span)?;
            let peer = if row.from == page.owner { row.to } else { row.from };
            if page.peer.is_some_and(|wanted| wanted != peer) {
                let words = format!("expected a page with {:?}, found one of another", page.peer);
                return Err(about("forged", page.owner, (row.from, row.id), words));
            }
        }
        if rows.len() > usize::from(page.size) {
            let words = format!("expected {} rows at most, found {}", page.size, rows.len());
            return Err(failure("lists", page.owner, words));
        }
        let shown: Vec<u64> = rows.iter().map(|row| row.seq).collect();
        self.check_run(page, &shown)?;
        self.check_begin(page, &shown, span)?;
        self.check_end(page, &shown, span)?;
        if page.peer.is_none() && page.start == PageStart::Number(1) {
            self.check_whole(page.owner, shown.first().copied().unwrap_or(0), span)?;
        }
        Ok(())
    }

    /// The rows of a history that are known, or those of one chat, newest first.
    fn rows_of(&self, page: Page) -> impl Iterator<Item = (u64, Key, u64)> {
        let all = self.model.histories.range((page.owner, 0)..=(page.owner, u64::MAX)).rev();
        all.filter(move |(_, (key, _))| {
            let message = &self.model.messages[key];
            page.peer.is_none_or(|peer| message.is_between(page.owner, peer))
        })
        .map(|((_, seq), (key, since))| (*seq, *key, *since))
    }

    /// What is shown falls, and leaves out nothing between.
    fn check_run(&self, page: Page, shown: &[u64]) -> Result<(), Failure> {
        let (Some(first), Some(last)) = (shown.first(), shown.last()) else { return Ok(()) };
        let between = self.rows_of(page).filter(|(seq, ..)| (last..=first).contains(&seq));
        let expected: Vec<u64> = between.map(|(seq, ..)| seq).collect();
        let is_falling = shown.windows(2).all(|two| two[0] > two[1]);
        let is_dense = page.peer.is_some() || first - last + 1 == shown.len() as u64;
        // One of which nobody can tell to whom it was sent may be among them.
        let is_whole = expected.iter().all(|seq| shown.contains(seq));
        if !is_falling || !is_dense || !is_whole {
            let words = format!("{page:?}: expected {expected:?} without gaps, found {shown:?}");
            return Err(failure("lists", page.owner, words));
        }
        Ok(())
    }

    /// It begins where it should: by number, or before a row.
    fn check_begin(&self, page: Page, shown: &[u64], span: Span) -> Result<(), Failure> {
        let first = shown.first().copied().unwrap_or(0);
        let forgotten = self.model.forgotten.get(&page.owner).copied().unwrap_or(0);
        let above = |seq: u64| seq > first && seq > forgotten;
        let sure = self.rows_of(page).filter(|(seq, key, since)| {
            let message = &self.model.messages[key];
            let may_be_gone = self.model.may_be_forgotten(message, page.owner, span.answered);
            above(*seq) && *since <= span.asked && !may_be_gone
        });
        let sure: Vec<u64> = sure.map(|(seq, ..)| seq).collect();
        let (is_right, expected) = match page.start {
            PageStart::Before(end) => {
                let skipped = sure.iter().find(|seq| **seq < end);
                let is_below = shown.is_empty() || first < end;
                (is_below && skipped.is_none(), format!("{skipped:?} first, below {end}"))
            }
            PageStart::Number(_) => {
                let skipped = page.skipped().unwrap_or(0);
                let most = self.possible_above(page, first, span);
                let is_right =
                    sure.len() as u64 <= skipped && (shown.is_empty() || skipped <= most);
                (is_right, format!("{skipped} rows before it, of {} to {most}", sure.len()))
            }
        };
        if is_right {
            return Ok(());
        }
        let words = format!("{page:?}: expected {expected}; found it to begin at {first}");
        Err(failure("lists", page.owner, words))
    }

    /// Messages that may stand above a row.
    fn possible_above(&self, page: Page, first: u64, span: Span) -> u64 {
        let messages = self.model.messages_of(page.owner);
        let above = messages.filter(|message| {
            message.may_be_kept(span.answered)
                && page.peer.is_none_or(|peer| message.may_be_between(page.owner, peer))
                && (message.is_shaken || message.seq(page.owner).is_none_or(|seq| seq > first))
        });
        let above: u64 = above.map(|message| 1 + u64::from(message.is_shaken)).sum();
        above + self.model.nameless_of(page.owner).count() as u64
    }

    /// A page that is not full is the last one.
    fn check_end(&mut self, page: Page, shown: &[u64], span: Span) -> Result<(), Failure> {
        if shown.len() == usize::from(page.size) {
            return Ok(());
        }
        let Some(last) = shown.last().copied() else { return Ok(()) };
        let forgotten = self.model.forgotten.get(&page.owner).copied().unwrap_or(0);
        let below = self.rows_of(page).find(|(seq, ..)| *seq < last && *seq > forgotten);
        if let Some((seq, key, _)) = below {
            let message = &self.model.messages[&key];
            if !self.model.may_be_forgotten(message, page.owner, span.answered) {
                let words =
                    format!("{page:?}: expected it at {seq}; found the list to end at {last}");
                return Err(about("kept", page.owner, key, words));
            }
            self.model.forgotten.insert(page.owner, seq);
        }
        let retention = self.model.terms.retention;
        let keeps_all = retention.messages.is_none() && retention.days.is_none();
        if page.peer.is_none() && keeps_all && last != 1 {
            let words = format!("{page:?}: expected rows down to 1, found the last at {last}");
            return Err(failure("lists", page.owner, words));
        }
        Ok(())
    }

    /// When all rows from the first to the newest are known, what is not among them is not there.
    fn check_whole(&mut self, owner: UserId, newest: u64, span: Span) -> Result<(), Failure> {
        let forgotten = self.model.forgotten.get(&owner).copied().unwrap_or(0);
        let all = (owner, forgotten + 1)..(owner, newest.max(forgotten) + 1);
        let known = self.model.histories.range(all).count() as u64;
        if known != newest.saturating_sub(forgotten) {
            return Ok(());
        }
        if self.evening.is_some() {
            self.walked.insert(owner);
        }
        // One that is not there, and cannot have been forgotten or lost, was never taken in.
        if self.model.terms.retention == Retention::default() && !self.model.is_parted {
            self.model.nameless.retain(|one| one.author != owner || one.deed.over > span.asked);
        }
        let missing = self.model.messages_of(owner).filter(|message| message.seq(owner).is_none());
        let missing: Vec<Key> = missing.map(|message| message.key).collect();
        for key in missing {
            let message = &self.model.messages[&key];
            let may_be_gone = self.model.may_be_forgotten(message, owner, span.answered);
            if message.is_surely_in(owner, span.asked) && !may_be_gone {
                let words = "expected it, which was acked or seen, in the history; found it lost";
                return Err(about("kept", owner, key, words.to_owned()));
            }
            if key.0 == owner && !may_be_gone {
                let message = self.model.messages.get_mut(&key).expect("it is one of them");
                let may_be = message.kept.holds_not(span.asked);
                assert!(may_be, "what is surely kept was found missing before");
            }
        }
        Ok(())
    }
}
