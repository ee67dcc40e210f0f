//! What a seed decides before a town is founded.

use crate::chat::forget::Retention;
use crate::limits::MESH_PARCELS_MAX;
use crate::sim::coverage::Fault;
use crate::sim::prng::Prng;
use crate::store::log::Durability;

/// A town to be.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Decides all the rest.
    pub seed: u64,
    /// Shards.
    pub shards: u16,
    /// People.
    pub people: u32,
    /// What an ack means.
    pub durability: Durability,
    /// What histories keep.
    pub retention: Retention,
    /// Rows are on a slow disk.
    pub is_cold: bool,
    /// Parcels of a lane from which on relays find no room.
    pub lane_room: usize,
    /// Events of a turn.
    pub turn_events: usize,
    /// How long people do what they like, ms.
    pub day_ms: u64,
    /// Faults that may happen.
    pub faults: Vec<Fault>,
    /// Ms between two faults, about.
    pub fault_every_ms: u64,
    /// A night comes before the evening's questions: long enough to push again what was not acked.
    pub has_night: bool,
}

/// Those that a seed may choose.
const CHOICES: &[Fault] = &[
    Fault::Kill,
    Fault::PowerCut,
    Fault::DiskFailure,
    Fault::Stall,
    Fault::SlowDisk,
    Fault::DiskFull,
    Fault::ClockJump,
    Fault::Hostile,
    Fault::Herd,
    Fault::Nap,
];

impl Plan {
    /// The plan of a seed.
    pub fn of(seed: u64) -> Plan {
        let prng = &mut Prng::new(seed);
        let messages = prng.once_in(6).then(|| 5 + prng.below(60));
        // What is forgotten while it waits shows only where something waits.
        let is_narrow = prng.once_in(if messages.is_some() { 2 } else { 5 });
        let (shards, people) = (1 + prng.below(4) as u16, 6 + prng.below(5) as u32);
        let durability = if prng.once_in(4) { Durability::Async } else { Durability::Sync };
        // What acks that do not wait for the disk can lose is lost in cuts of power alone. Where
        // there are none, checkers are as strict as with the others: some towns stay so.
        let loses = durability == Durability::Async && seed % 4 < 3;
        let is_cut = |fault| fault == Fault::PowerCut && loses;
        Plan {
            seed,
            shards,
            people,
            durability,
            retention: Retention { messages, days: None },
            is_cold: prng.once_in(4),
            lane_room: if is_narrow { 1 + prng.below(2) as usize } else { MESH_PARCELS_MAX },
            turn_events: [1, 4, 32, 1024][prng.below(4) as usize],
            day_ms: 1_500 + prng.below(2_500),
            // Some together find what all of them would hide.
            faults: CHOICES.iter().copied().filter(|f| prng.below(5) < 3 || is_cut(*f)).collect(),
            fault_every_ms: 40 + prng.below(400),
            has_night: prng.once_in(6),
        }
    }

    /// A lane may be too narrow for what is posted.
    pub fn lanes_may_fill(&self) -> bool {
        self.lane_room < MESH_PARCELS_MAX
    }
}
