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

    /// What went wrong, as far as is known now.
    pub fn verdict(&self) -> String {
        let (missing, came) = (self.missing, self.came);
        let what = match self.kind {
            Kind::Ack => "the Ack of ",
            Kind::Message => "message ",
        };
        match self.is_filled {
            true => format!("OUT OF ORDER: {what}{came} came before {what}{missing}"),
            false => format!("LOST: {what}{missing} never came, but {what}{came} after it"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_late_is_out_of_order_and_what_never_comes_is_lost() {
        let mut gap = Gap::new(3, Kind::Message, 5, 7);
        gap.hear(4, Heard::Message { number: 5, content: b"" });
        gap.hear(3, Heard::Acked { number: 5 });
        gap.hear(3, Heard::Ready);
        assert_eq!(gap.verdict(), "LOST: message 5 never came, but message 7 after it");
        gap.hear(3, Heard::Message { number: 5, content: b"" });
        assert_eq!(gap.verdict(), "OUT OF ORDER: message 7 came before message 5");
    }
}
