//! The stages that a message passes, and the spans of time between them.

use serde::Serialize;
use std::collections::BTreeMap;

/// Whether a message waits in a span, or is worked on.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// It waits for its turn, for others, or for the disk.
    Queueing,
    /// The shard works on it.
    Work,
}

impl Kind {
    /// The word for people.
    pub fn word(self) -> &'static str {
        match self {
            Kind::Queueing => "queueing",
            Kind::Work => "work",
        }
    }
}

/// The time from the stage before to one stage.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Span {
    /// Its name in the admin port's documents.
    pub name: &'static str,
    /// The stage that ends it.
    pub stage: &'static str,
    /// What happens meanwhile.
    pub kind: Kind,
}

const fn span(name: &'static str, stage: &'static str, kind: Kind) -> Span {
    Span { name, stage, kind }
}

const DECODE: Span = span("decode", "decoded", Kind::Queueing);
const APPLY: Span = span("apply", "applied", Kind::Work);
const WRITE: Span = span("write", "written", Kind::Work);
const SYNC: Span = span("sync", "synced", Kind::Queueing);
const RELEASE: Span = span("release", "released", Kind::Queueing);
const SEND: Span = span("send", "sent", Kind::Queueing);
const RELAY: Span = span("relay", "relayed", Kind::Queueing);
const DELIVER: Span = span("deliver", "delivered", Kind::Work);
const PUSH: Span = span("push", "pushed", Kind::Queueing);

/// What lies between a message's arrival and one of its ends.
#[derive(Debug)]
pub struct Path {
    /// The span from its first stage to its last, in the admin port's documents.
    pub whole: &'static str,
    /// Where it leads, in words.
    pub words: &'static str,
    /// Its parts, in order.
    pub spans: &'static [Span],
    /// How many of them, from the first, a message passes whether or not it gets to the end.
    pub anyway: usize,
}

/// To the Ack that tells the author that it is on disk.
pub const TO_ACK: Path = Path {
    whole: "ack",
    words: "from a message's arrival to its author's Ack",
    spans: &[DECODE, APPLY, WRITE, SYNC, RELEASE, SEND],
    anyway: 5,
};

/// To the recipient's connection. One on the author's shard does without `relay` and `deliver`.
pub const TO_RECIPIENT: Path = Path {
    whole: "delivery",
    words: "from a message's arrival to its recipient's connection",
    spans: &[DECODE, APPLY, WRITE, SYNC, RELEASE, RELAY, DELIVER, PUSH],
    anyway: 7,
};

/// The spans that both ways begin with.
pub const SHARED: &[Span] = &[DECODE, APPLY, WRITE, SYNC, RELEASE];

/// What the spans mean, for those who read them the first time.
pub const LEGEND: &[(&str, Kind, &str)] = &[
    ("decode", Kind::Queueing, "waits in the shard's inbox for its turn"),
    ("apply", Kind::Work, "the rules make rows of it, and of all of its turn"),
    ("write", Kind::Work, "the rows are handed to the log"),
    ("sync", Kind::Queueing, "waits for the write before, its group and the disk"),
    ("release", Kind::Queueing, "on disk, while the shard does something else"),
    ("send", Kind::Queueing, "until the kernel has its Ack"),
    ("relay", Kind::Queueing, "waits for the recipient's shard, if that is another"),
    ("deliver", Kind::Work, "that shard makes rows of it, and of all of its turn"),
    ("push", Kind::Queueing, "until the kernel has the recipient's frame"),
];

impl Path {
    /// The spans that a message's stamps show, in ns: where each begins and ends.
    pub fn of(&self, stamps: &BTreeMap<String, u64>) -> Vec<(Span, u64, u64)> {
        let mut begin = stamps.get("received").copied().unwrap_or(0);
        let mut parts = Vec::new();
        for span in self.spans {
            if let Some(end) = stamps.get(span.stage) {
                parts.push((*span, begin, *end));
                begin = *end;
            }
        }
        parts
    }
}

/// The span in which a message spent most of its time, and how long that was, ns.
pub fn longest(stamps: &BTreeMap<String, u64>) -> Option<(&'static str, u64)> {
    let parts = [&TO_ACK, &TO_RECIPIENT].into_iter().flat_map(|path| path.of(stamps));
    let parts = parts.map(|(span, from, to)| (span.name, to.saturating_sub(from)));
    parts.max_by_key(|(_, nanos)| *nanos)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamps(stages: &[(&str, u64)]) -> BTreeMap<String, u64> {
        stages.iter().map(|(stage, nanos)| ((*stage).to_owned(), *nanos)).collect()
    }

    #[test]
    fn spans_follow_each_other_and_stages_that_never_were_are_left_out() {
        let stages =
            [("received", 0), ("decoded", 5), ("written", 9), ("released", 30), ("pushed", 44)];
        let parts = TO_RECIPIENT.of(&stamps(&stages));
        let parts: Vec<_> = parts.iter().map(|(span, from, to)| (span.name, *from, *to)).collect();
        let expected = [("decode", 0, 5), ("write", 5, 9), ("release", 9, 30), ("push", 30, 44)];
        assert_eq!(parts, expected);
        assert_eq!(TO_ACK.of(&stamps(&stages)).len(), 3, "it was never acked");
        assert_eq!(longest(&stamps(&stages)), Some(("release", 21)));
    }

    #[test]
    fn both_paths_share_what_every_message_passes_and_the_legend_names_all() {
        assert!(TO_ACK.spans.starts_with(SHARED) && TO_RECIPIENT.spans.starts_with(SHARED));
        for span in TO_ACK.spans.iter().chain(TO_RECIPIENT.spans) {
            assert!(LEGEND.iter().any(|(name, kind, _)| (*name, *kind) == (span.name, span.kind)));
        }
    }
}
