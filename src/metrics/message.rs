//! The way of one message through the server: when it reached which point, and the times between.
//!
//! Invariants:
//! 1. Decode, apply, write, sync, release and send add up to the ack exactly; with relay, deliver
//!    and push in place of send they add up to the delivery.
//!
//! Left to others: taking stamps (`node::profile`), what is shown of them (`admin`).

figures! {
    /// A point on a message's way, in the order in which it gets there.
    Stamp {
        Received = "received", "The round began that found its last bytes.";
        Decoded = "decoded", "The first message of those bytes was decoded.";
        Applied = "applied", "All messages of its turn were applied.";
        Written = "written", "The rows of its turn were with the store.";
        Synced = "synced", "The store said that they are durable.";
        Released = "released", "What its turn wants done began to leave.";
        Sent = "sent", "The kernel had all of its Ack.";
        Relayed = "relayed", "Its recipient's shard took it up.";
        Delivered = "delivered", "All messages of its turn there were applied.";
        Pushed = "pushed", "The kernel had all of the frame for its recipient.";
    }
}

figures! {
    /// Where a message's time goes: from one stamp to another, in nanoseconds.
    Span {
        Decode = "decode", "From received to decoded: waiting for its turn.";
        Apply = "apply", "From decoded to applied, with all of its turn.";
        Write = "write", "From applied to written.";
        Sync = "sync", "From written to synced: waiting for the group and the disk.";
        Release = "release", "From synced to released: the shard was doing something else.";
        Send = "send", "From released to sent.";
        Ack = "ack", "From received to sent: all that an author waits for.";
        Relay = "relay", "From released to relayed, for a recipient of another shard.";
        Deliver = "deliver", "From relayed to delivered, for a recipient of another shard.";
        Push = "push", "From delivered, or released on the same shard, to pushed.";
        Delivery = "delivery", "From received to pushed: all that a recipient waits for.";
    }
}

impl Span {
    /// Those that are over when an Ack may leave.
    pub const BEFORE_RELEASE: [Span; 5] =
        [Span::Decode, Span::Apply, Span::Write, Span::Sync, Span::Release];

    /// The stamps that it lies between. A push begins at the later of two that may be there.
    fn ends(self) -> (Stamp, Stamp) {
        match self {
            Span::Decode => (Stamp::Received, Stamp::Decoded),
            Span::Apply => (Stamp::Decoded, Stamp::Applied),
            Span::Write => (Stamp::Applied, Stamp::Written),
            Span::Sync => (Stamp::Written, Stamp::Synced),
            Span::Release => (Stamp::Synced, Stamp::Released),
            Span::Send => (Stamp::Released, Stamp::Sent),
            Span::Ack => (Stamp::Received, Stamp::Sent),
            Span::Relay => (Stamp::Released, Stamp::Relayed),
            Span::Deliver => (Stamp::Relayed, Stamp::Delivered),
            Span::Push => (Stamp::Delivered, Stamp::Pushed),
            Span::Delivery => (Stamp::Received, Stamp::Pushed),
        }
    }
}

/// When a message reached which point, steady ns.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Stamps([u64; Stamp::ALL.len()]);

impl Stamps {
    /// Notes a moment, which is not 0.
    pub fn set(&mut self, stamp: Stamp, nanos: u64) {
        self.0[stamp as usize] = nanos;
    }

    /// The moment of a stamp that was taken.
    pub fn at(&self, stamp: Stamp) -> Option<u64> {
        Some(self.0[stamp as usize]).filter(|nanos| *nanos != 0)
    }

    /// How long a span took, ns, if both its stamps were taken.
    pub fn span(&self, span: Span) -> Option<u64> {
        let (from, to) = span.ends();
        let from = match (span, self.at(from)) {
            (Span::Push, None) => self.at(Stamp::Released),
            (_, from) => from,
        };
        Some(self.at(to)?.saturating_sub(from?))
    }

    /// The moment it was received; 0 while that is not known.
    pub fn received(&self) -> u64 {
        self.0[Stamp::Received as usize]
    }

    /// From received to the latest moment, ns.
    pub fn total(&self) -> u64 {
        self.last() - self.received()
    }

    /// Adds what others know of the same message.
    pub fn add(&mut self, others: &Stamps) {
        for (mine, theirs) in self.0.iter_mut().zip(others.0) {
            *mine = (*mine).max(theirs);
        }
    }

    /// The latest moment of all.
    pub fn last(&self) -> u64 {
        self.0.iter().copied().max().unwrap_or(0)
    }
}

/// A message on its way: who, and when. Plain numbers, and nothing of what it says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Journey {
    /// Its id.
    pub id: i64,
    /// The author's number.
    pub author: u32,
    /// The recipient's number.
    pub recipient: u32,
    /// The author's home.
    pub shard: u16,
    /// The recipient's home.
    pub to_shard: u16,
    /// When it was where.
    pub stamps: Stamps,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Stamps that rise by ever more, but for those left out.
    fn stamps(without: &[Stamp]) -> Stamps {
        let (mut stamps, mut now) = (Stamps::default(), 1_000_000);
        for stamp in Stamp::ALL {
            now += 1 + now / 7;
            if !without.contains(stamp) {
                stamps.set(*stamp, now);
            }
        }
        stamps
    }

    fn sum(stamps: &Stamps, spans: &[Span]) -> u64 {
        let rest = spans.iter().map(|span| stamps.span(*span).expect("it was there"));
        Span::BEFORE_RELEASE.iter().filter_map(|span| stamps.span(*span)).chain(rest).sum()
    }

    /// Invariant 1 of metrics::message.
    #[test]
    fn spans_add_up_to_the_whole_on_one_shard_and_across_two() {
        let apart = stamps(&[]);
        assert_eq!(Some(sum(&apart, &[Span::Send])), apart.span(Span::Ack));
        let way = [Span::Relay, Span::Deliver, Span::Push];
        assert_eq!(Some(sum(&apart, &way)), apart.span(Span::Delivery));
        let together = stamps(&[Stamp::Relayed, Stamp::Delivered]);
        assert_eq!(Some(sum(&together, &[Span::Push])), together.span(Span::Delivery));
        assert_eq!(together.span(Span::Relay), None);
        assert_eq!(together.span(Span::Deliver), None);
    }

    #[test]
    fn a_span_without_one_of_its_ends_is_none() {
        let offline = stamps(&[Stamp::Relayed, Stamp::Delivered, Stamp::Pushed]);
        for span in [Span::Push, Span::Delivery, Span::Relay] {
            assert_eq!(offline.span(span), None, "{}", span.name());
        }
        assert_eq!(offline.total(), offline.span(Span::Ack).expect("it was acked"));
        assert_eq!(Stamps::default().total(), 0);
    }
}
