//! Facts, deeds and flags: what is sure, what is possible, and when.

use super::message::Message;

/// How many observations came before: of two, the one with the lower step came first.
pub type Step = u64;

/// Later than any step.
pub const NEVER: Step = Step::MAX;

/// Something that becomes true once, and stays so.
#[derive(Clone, Copy, Default, Debug)]
pub struct Fact {
    /// It was not true yet when the server was asked at this step.
    pub(super) not_at: Step,
    /// It was true when an answer came at this step.
    pub(super) since: Option<Step>,
}

impl Fact {
    /// Whoever asks at `asked` must see it.
    pub fn is_sure(&self, asked: Step) -> bool {
        self.since.is_some_and(|since| since <= asked)
    }

    /// An answer says so.
    pub fn holds(&mut self, answered: Step) {
        self.since = Some(self.since.map_or(answered, |since| since.min(answered)));
    }

    /// What was asked at `asked` was answered as if it was not true. Returns whether it may be.
    #[must_use]
    pub fn holds_not(&mut self, asked: Step) -> bool {
        self.not_at = self.not_at.max(asked);
        !self.is_sure(asked)
    }

    pub(super) fn take_back(&mut self, durable: Step) {
        self.since = self.since.filter(|since| *since <= durable);
    }
}

/// Something that a client has asked for: it happens once between two steps, or never.
#[derive(Clone, Copy, Debug)]
pub struct Deed {
    /// It was put on the wire.
    pub begun: Step,
    /// It cannot happen any more: it was answered, or the server went down.
    pub over: Step,
}

impl Deed {
    /// Something that is begun.
    pub fn new(begun: Step) -> Deed {
        Deed { begun, over: NEVER }
    }

    /// By `answered`, it may have made this true of a message.
    pub fn may_have_made(&self, fact: &Fact, message: &Message, answered: Step) -> bool {
        self.begun < answered && message.first_sent() < self.over && fact.not_at < self.over
    }
}

/// A flag that is set and unset: which values it may have.
#[derive(Clone, Debug)]
pub struct Flag {
    writes: Vec<Write>,
}

#[derive(Clone, Copy, Debug)]
struct Write {
    value: bool,
    deed: Deed,
    is_sure: bool,
}

impl Default for Flag {
    fn default() -> Flag {
        let deed = Deed { begun: 0, over: 0 };
        let first = Write { value: false, deed, is_sure: true };
        Flag { writes: vec![first] }
    }
}

impl Flag {
    /// Somebody has asked for this value.
    pub fn write(&mut self, value: bool, begun: Step) {
        let deed = Deed::new(begun);
        self.writes.push(Write { value, deed, is_sure: false });
    }

    /// What was asked for at `begun` was done.
    pub fn is_done(&mut self, begun: Step, answered: Step) {
        for write in self.writes.iter_mut().filter(|write| write.deed.begun == begun) {
            write.deed.over = answered;
            write.is_sure = true;
        }
    }

    /// It was refused.
    pub fn is_refused(&mut self, begun: Step) {
        self.writes.retain(|write| write.deed.begun != begun);
    }

    /// Nobody who wants to change it is still waiting.
    pub fn is_still(&self, asked: Step) -> bool {
        self.writes.iter().all(|write| write.deed.over <= asked || write.deed.begun == asked)
    }

    /// The server goes down at `step`.
    pub(super) fn crashed(&mut self, step: Step) {
        for write in &mut self.writes {
            write.deed.over = write.deed.over.min(step);
        }
    }

    /// A power cut took back what was done later than this.
    pub(super) fn take_back(&mut self, durable: Step) {
        self.writes.iter_mut().for_each(|write| write.is_sure &= write.deed.over <= durable);
    }

    /// Whether it may have this value for one who asks. Then it had it.
    pub fn shows(&mut self, value: bool, asked: Step, answered: Step) -> bool {
        let is_replaced = |first: &Write| {
            let mut sure = self.writes.iter().filter(|write| write.is_sure);
            sure.any(|write| write.deed.begun > first.deed.over && write.deed.over <= asked)
        };
        let may_be = |write: &Write| {
            write.value == value && write.deed.begun < answered && !is_replaced(write)
        };
        let is_possible = self.writes.iter().any(may_be);
        let deed = Deed { begun: asked, over: answered };
        self.writes.push(Write { value, deed, is_sure: true });
        is_possible
    }
}
