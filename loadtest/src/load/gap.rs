//! Something that came before what should have come first: is the first lost, or only late?

use super::driver::Heard;

/// What a user is to get in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The server's Acks of what he sent.
    Ack,
    /// The other's messages.
    Message,
}

/// What is missing, and what came instead.
#[derive(Clone, Debug)]
pub struct Gap {
    index: usize,
    kind: Kind,
    missing: u64,
    came: u64,
    is_filled: bool,
}

impl Gap {
    /// To the `index`-th user `came` came where `missing` was the next.
    pub fn new(index: usize, kind: Kind, missing: u64, came: u64) -> Gap {
        Gap { index, kind, missing, came, is_filled: false }
    }

    /// Looks whether this is what is missing.
    pub fn hear(&mut self, index: usize, heard: Heard<'_>) {
        let came = match heard {
            Heard::Acked { number } => (Kind::Ack, number),
            Heard::Message { number, .. } => (Kind::Message, number),
            Heard::Ready => return,
        };
        self.is_filled |= index == self.index && came == (self.kind, self.missing);
    }

    /// Whether it came after all.
    pub fn is_filled(&self) -> bool {
        self.is_filled
    }

    /// What went wrong, as far as is known now; `name` names a user's message by its number.
    pub fn verdict(&self, name: impl Fn(usize, u64) -> String) -> String {
        let (author, of) = match self.kind {
            Kind::Ack => (self.index, "the Ack of "),
            Kind::Message => (self.index ^ 1, ""),
        };
        let (missing, came) = (name(author, self.missing), name(author, self.came));
        match self.is_filled {
            true => format!("OUT OF ORDER: {of}{came} came before {of}{missing}"),
            false => format!("LOST: {of}{missing} never came, but {of}{came} after it"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_late_is_out_of_order_and_what_never_comes_is_lost() {
        let name = |author, number| format!("{author}'s {number}");
        let mut gap = Gap::new(3, Kind::Message, 5, 7);
        gap.hear(4, Heard::Message { number: 5, content: b"" });
        gap.hear(3, Heard::Acked { number: 5 });
        gap.hear(3, Heard::Ready);
        assert_eq!(gap.verdict(name), "LOST: 2's 5 never came, but 2's 7 after it");
        gap.hear(3, Heard::Message { number: 5, content: b"" });
        assert_eq!(gap.verdict(name), "OUT OF ORDER: 2's 7 came before 2's 5");
        let gap = Gap::new(3, Kind::Ack, 5, 7);
        let words = "LOST: the Ack of 3's 5 never came, but the Ack of 3's 7 after it";
        assert_eq!(gap.verdict(name), words);
    }
}
