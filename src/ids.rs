//! Who and what is named on the wire and in rows, and where each lives.
//!
//! Invariants:
//! 1. A user, and every chat entry of his list, has one home slot (`id mod 1024`) and with it one
//!    home shard (`slot mod shards`): an id alone says where its rows are.
//! 2. A minted message id is a multiple of 1000, lies in its minter's lane, and is greater than
//!    every id that any minter of this process showed it before.
//! 3. Minted ids run at most [`crate::limits::MINT_AHEAD_MS_MAX`] ahead of the clock.
//!
//! Left to others: persisting the bound (`chat::message_ids`), reading the clock (`node::clock`).

use std::fmt;

/// Slots that users are spread over. Fixed for ever: it is part of every user id.
pub const SLOTS: u16 = 1024;

/// The snowflake epoch of the wire contract, in ms since the Unix epoch.
pub const EPOCH_MS: i64 = 1_420_041_600_000;

/// One of the [`SLOTS`] groups of users; all rows of a slot live on one shard.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Slot(u16);

impl Slot {
    /// The slot of any 64-bit hash or dense id.
    pub fn of(number: u64) -> Slot {
        Slot((number % u64::from(SLOTS)) as u16)
    }

    /// 0..1024.
    pub fn index(self) -> u16 {
        self.0
    }

    /// The shard that keeps this slot when there are `shards` of them.
    pub fn home(self, shards: u16) -> ShardId {
        assert!(shards > 0, "a server has at least one shard");
        ShardId(self.0 % shards)
    }
}

/// A registered user, or 1: the system. Users start at 2.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct UserId(u32);

impl UserId {
    /// The sender of the server's own frames. Never registered, never a recipient.
    pub const SYSTEM: UserId = UserId(1);
    /// The smallest id that registration hands out.
    pub const FIRST: UserId = UserId(2);

    /// Any number of `1..=u32::MAX`; others name nobody.
    pub fn new(number: i64) -> Option<UserId> {
        u32::try_from(number).ok().filter(|id| *id > 0).map(UserId)
    }

    /// The `index`-th user of a slot, counted from 0; `None` past the last id there is.
    pub fn in_slot(slot: Slot, index: u32) -> Option<UserId> {
        index.checked_mul(u32::from(SLOTS))?.checked_add(u32::from(slot.0)).map(UserId)
    }

    /// The id as it stands on the wire.
    pub fn number(self) -> u32 {
        self.0
    }

    /// How many ids of the slot come before this one.
    pub fn index_in_slot(self) -> u32 {
        self.0 / u32::from(SLOTS)
    }

    /// The slot that keeps this user's rows.
    pub fn slot(self) -> Slot {
        Slot::of(u64::from(self.0))
    }

    /// The shard that keeps this user's rows when there are `shards` of them.
    pub fn home(self, shards: u16) -> ShardId {
        self.slot().home(shards)
    }
}

/// One entry of one user's chat list. Its slot is the owner's.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ChatId(u64);

impl ChatId {
    /// Any positive number.
    pub fn new(number: i64) -> Option<ChatId> {
        u64::try_from(number).ok().filter(|id| *id > 0).map(ChatId)
    }

    /// The `index`-th entry of a slot. Index 0 is left out, so that no entry is called 0 or 1.
    pub fn in_slot(slot: Slot, index: u64) -> ChatId {
        assert!(index > 0, "chat entries are counted from 1");
        ChatId(index * u64::from(SLOTS) + u64::from(slot.0))
    }

    /// The id as it stands on the wire.
    pub fn number(self) -> u64 {
        self.0
    }

    /// The slot of the list's owner.
    pub fn slot(self) -> Slot {
        Slot::of(self.0)
    }
}

/// A message's name: any positive 64-bit number that a client chose, or a minted one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct MessageId(i64);

impl MessageId {
    /// Any positive number; 0 and below name no message.
    pub fn new(number: i64) -> Option<MessageId> {
        (number > 0).then_some(MessageId(number))
    }

    /// The id as it stands on the wire.
    pub fn number(self) -> i64 {
        self.0
    }
}

/// A team (group). Carried, never interpreted, until groups are built.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct TeamId(pub i64);

/// One pinned thread and everything it alone may touch.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ShardId(pub u16);

impl fmt::Display for ShardId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

/// One connection, in the shard that owns its socket now. An index is used again under another
/// generation, so an id that outlived its connection matches nothing.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ConnectionId {
    /// The shard whose ring serves the socket.
    pub shard: ShardId,
    /// The place in that shard's table.
    pub index: u32,
    /// Grows each time the place is given to another socket.
    pub generation: u32,
}

/// What a minter must know of the moment: read by `node` once a turn, after the ring was reaped.
#[derive(Clone, Copy, Debug)]
pub struct MintClock {
    /// Microseconds since [`EPOCH_MS`], never going back, not even over a restart.
    pub micros: u64,
    /// The highest number that any minter of this process has shown (see [`Minted::highest`]).
    pub shown: u64,
}

/// Ids handed out together: `first`, `first + step`, ... (`count` of them).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Minted {
    /// The smallest of them, a multiple of 1000.
    pub first: MessageId,
    /// 1000 times the number of lanes.
    pub step: i64,
    /// 1..=1000.
    pub count: u16,
}

impl Minted {
    /// Every id, rising.
    pub fn iter(self) -> impl Iterator<Item = MessageId> {
        (0..i64::from(self.count)).map(move |n| MessageId(self.first.0 + n * self.step))
    }

    /// The greatest id divided by 1000: the number that other minters must go above.
    pub fn highest(self) -> u64 {
        ((self.first.0 + i64::from(self.count - 1) * self.step) / 1000) as u64
    }
}

/// Why no id could be minted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MintError {
    /// Ids ran [`crate::limits::MINT_AHEAD_MS_MAX`] ahead of the clock.
    TooFast,
}

/// Makes message ids in one lane. Numbers here are ids divided by 1000.
#[derive(Clone, Copy, Debug)]
pub struct Minter {
    lane: u64,
    lanes: u64,
    last: u64,
}

/// The number (id / 1000) that belongs to a moment, `micros` after [`EPOCH_MS`].
pub fn number_at(micros: u64) -> u64 {
    // Whole seconds and the rest apart: exact without a division of 128 bits.
    let (seconds, rest) = (micros / 1_000_000, micros % 1_000_000);
    (seconds << 22) + (rest << 22) / 1_000_000
}

/// The moment, in microseconds after [`EPOCH_MS`], that a number belongs to, rounded up.
pub fn micros_at(number: u64) -> u64 {
    ((u128::from(number) * 1_000_000) >> 22) as u64 + 1
}

impl Minter {
    /// A minter for `lane` of `lanes` (a power of two) that shows only numbers above `floor`.
    pub fn new(lane: u16, lanes: u16, floor: u64) -> Minter {
        assert!(lanes.is_power_of_two(), "lanes are a power of two");
        assert!(lane < lanes, "a lane is one of the lanes");
        Minter { lane: u64::from(lane), lanes: u64::from(lanes), last: floor }
    }

    /// Mints `count` ids (1..=1000), each above all that `clock.shown` knows of.
    pub fn mint(&mut self, clock: MintClock, count: u16) -> Result<Minted, MintError> {
        assert!((1..=1000).contains(&count), "a batch holds 1 to 1000 ids");
        let first = self.above(self.last.max(clock.shown).max(number_at(clock.micros)));
        let highest = first + (u64::from(count) - 1) * self.lanes;
        let ahead_micros = crate::limits::MINT_AHEAD_MS_MAX * 1000;
        if highest > number_at(clock.micros + ahead_micros) {
            return Err(MintError::TooFast);
        }
        self.last = highest;
        let step = (self.lanes * 1000) as i64;
        Ok(Minted { first: MessageId((first * 1000) as i64), step, count })
    }

    /// The smallest number of this lane above `number`.
    fn above(&self, number: u64) -> u64 {
        let base = number - number % self.lanes + self.lane;
        if base > number { base } else { base + self.lanes }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOON: u64 = 300_000_000_000_000;

    fn clock(micros: u64, shown: u64) -> MintClock {
        MintClock { micros, shown }
    }

    /// Invariant 1 of ids.
    #[test]
    fn an_id_alone_says_where_its_rows_are() {
        for (slot, index) in [(0, 1), (5, 0), (1023, 7)] {
            let user = UserId::in_slot(Slot(slot), index).expect("small");
            assert_eq!(user.slot().index(), slot);
            assert_eq!(user.index_in_slot(), index);
            assert_eq!(user.home(4), ShardId(slot % 4));
            assert_eq!(ChatId::in_slot(user.slot(), 3).slot(), user.slot());
        }
        assert_eq!(UserId::in_slot(Slot(1023), u32::MAX / 1024 + 1), None);
        assert_eq!(UserId::new(0), None);
        assert_eq!(UserId::new(1 << 33), None);
    }

    /// Invariant 2 of ids.
    #[test]
    fn minted_ids_rise_over_all_lanes_and_keep_their_lane() {
        let mut minters: Vec<Minter> = (0..4).map(|lane| Minter::new(lane, 4, 0)).collect();
        let (mut shown, mut last) = (0, 0);
        for round in 0..4000_u64 {
            let lane = (round * 7 % 4) as usize;
            let count = if round % 5 == 0 { 1000 } else { 1 };
            // The clock stands still for long, then goes on: ids must not care.
            let minted = minters[lane].mint(clock(NOON + round / 100, shown), count).expect("slow");
            for id in minted.iter() {
                assert!(id.number() > last, "{id:?} is not above {last}");
                assert_eq!(id.number() % 1000, 0);
                assert_eq!((id.number() / 1000) as u64 % 4, lane as u64);
                last = id.number();
            }
            shown = shown.max(minted.highest());
        }
    }

    #[test]
    fn a_moments_number_is_exact() {
        for micros in (0..2_000_000).step_by(997).chain([NOON, NOON + 999_999, 1 << 53]) {
            let exact = (u128::from(micros) << 22) / 1_000_000;
            assert_eq!(u128::from(number_at(micros)), exact, "{micros}");
        }
    }

    #[test]
    fn ids_are_near_the_snowflake_of_their_moment() {
        let minted = Minter::new(0, 1, 0).mint(clock(NOON, 0), 1).expect("first");
        let snowflake = (NOON / 1000) << 22;
        assert!((minted.first.number() - snowflake as i64).abs() < 10_000);
        assert!(micros_at(number_at(NOON)).abs_diff(NOON) <= 2);
    }

    /// Invariant 3 of ids.
    #[test]
    fn minting_stops_ten_seconds_ahead_of_the_clock() {
        let ahead = number_at(NOON + 10_000_001);
        let mut minter = Minter::new(0, 1, ahead);
        assert_eq!(minter.mint(clock(NOON, 0), 1), Err(MintError::TooFast));
        assert!(minter.mint(clock(NOON + 1_000_000, 0), 1000).is_ok());
    }

    #[test]
    fn a_minter_starts_above_its_floor() {
        let floor = number_at(NOON) + 5000;
        let minted = Minter::new(1, 2, floor).mint(clock(NOON, 0), 1).expect("near");
        assert!(minted.highest() > floor);
    }
}
