//! What was tried: which fault was there at which stage of the server's work, and how often.
//!
//! Invariants:
//! 1. A stage that no crash has hit is named.

use std::fmt;

macro_rules! named {
    ($(#[$doc:meta])* $name:ident { $($(#[$part_doc:meta])* $part:ident => $word:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
        pub enum $name { $($(#[$part_doc])* $part,)* }

        impl $name {
            /// All of them.
            pub const ALL: &[$name] = &[$($name::$part,)*];

            /// As reports call it.
            pub fn word(self) -> &'static str {
                match self { $($name::$part => $word,)* }
            }
        }
    };
}

named! {
    /// A step of the server's work; right after it anything may break.
    Stage {
        /// Bytes of a peer have arrived.
        Received => "received",
        /// A request came out of them.
        Decoded => "decoded",
        /// It waits for rows on a slow disk.
        Parked => "parked",
        /// Rows were fetched for it.
        Fetched => "fetched",
        /// The rules have applied it.
        Applied => "applied",
        /// Its turn is in the log's memory and in the overlay.
        Appended => "appended",
        /// Its record is on its way to the disk.
        Writing => "writing",
        /// The write is done.
        Written => "written",
        /// A sync is done (with each write, unless acks do not wait for it).
        Synced => "synced",
        /// Effects have left.
        Released => "released",
        /// A relay is with the mesh.
        Relayed => "relayed",
        /// A relay found no room and will be read from its outbox.
        PutOff => "put off",
        /// Relays were read from their outbox.
        CaughtUp => "caught up",
        /// The recipient's shard has applied a relay.
        Delivered => "delivered",
        /// The author's shard knows it.
        Confirmed => "confirmed",
        /// The author's shard has the reader's marks.
        Marked => "marked",
        /// A request went to another shard.
        Forwarded => "forwarded",
        /// Its answer came back.
        Answered => "answered",
        /// A connection has left for another shard.
        Left => "left",
        /// It has arrived there.
        TakenOver => "taken over",
        /// A connection is gone.
        Closed => "closed",
        /// A part of a list was given.
        Listed => "listed",
        /// Old messages were forgotten.
        Forgotten => "forgotten",
        /// A tick has done what was due.
        Ticked => "ticked",
        /// A chunk of the overlay is with the indexer.
        Handed => "handed",
        /// The LSM has it.
        Indexed => "indexed",
        /// The LSM has synced it.
        TableSynced => "table synced",
        /// A segment of the log was made.
        SegmentMade => "segment made",
        /// A segment of the log was begun in a file that held another.
        SegmentReused => "segment reused",
        /// The log was replayed, and the LSM has not synced it.
        Replayed => "replayed",
        /// A shard has opened its rows.
        Opened => "opened",
        /// Nothing in particular.
        Idle => "idle",
    }
}

named! {
    /// Something that goes wrong.
    Fault {
        /// Nothing.
        None => "none",
        /// The process was killed.
        Kill => "kill",
        /// The power went.
        PowerCut => "power cut",
        /// The log's disk has failed.
        DiskFailure => "disk failed",
        /// A shard stands still.
        Stall => "stall",
        /// The disk takes long.
        SlowDisk => "slow disk",
        /// Rows are on a slow disk.
        ColdRows => "cold rows",
        /// The disk is full.
        DiskFull => "disk full",
        /// The mesh has little room.
        NarrowMesh => "narrow mesh",
        /// The wall clock has jumped.
        ClockJump => "clock jump",
        /// A stranger sends hostile bytes.
        Hostile => "hostile",
        /// Somebody reads slowly.
        SlowReader => "slow reader",
        /// Everybody connects at once.
        Herd => "herd",
        /// All stood still for more than a minute.
        Nap => "nap",
    }
}

/// How often each fault met each stage.
#[derive(Clone, PartialEq, Eq)]
pub struct Coverage {
    counts: Vec<[u64; Fault::ALL.len()]>,
}

impl Default for Coverage {
    fn default() -> Coverage {
        Coverage { counts: vec![[0; Fault::ALL.len()]; Stage::ALL.len()] }
    }
}

impl Coverage {
    /// A fault was there at a stage.
    pub fn note(&mut self, fault: Fault, stage: Stage) {
        self.counts[stage as usize][fault as usize] += 1;
    }

    /// How often a fault was there at a stage.
    pub fn count(&self, fault: Fault, stage: Stage) -> u64 {
        self.counts[stage as usize][fault as usize]
    }

    /// Takes in what another run has tried.
    pub fn add(&mut self, other: &Coverage) {
        for (sum, counts) in self.counts.iter_mut().zip(&other.counts) {
            sum.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count);
        }
    }

    /// Stages that neither a kill nor a power cut has hit.
    pub fn missed(&self) -> Vec<Stage> {
        let is_hit = |stage: Stage| {
            [Fault::Kill, Fault::PowerCut].iter().any(|fault| self.count(*fault, stage) > 0)
        };
        Stage::ALL.iter().copied().filter(|stage| !is_hit(*stage)).collect()
    }
}

impl fmt::Display for Coverage {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "{:15}", "")?;
        for fault in Fault::ALL {
            write!(to, "{:>12}", fault.word())?;
        }
        for stage in Stage::ALL {
            write!(to, "\n{:15}", stage.word())?;
            for fault in Fault::ALL {
                match self.count(*fault, *stage) {
                    0 => write!(to, "{:>12}", ".")?,
                    count => write!(to, "{count:>12}")?,
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Invariant 1 of sim::coverage.
    #[test]
    fn a_stage_that_no_crash_has_hit_is_named() {
        let mut all = Coverage::default();
        for (index, stage) in Stage::ALL.iter().enumerate() {
            assert_eq!(all.missed(), Stage::ALL[index..]);
            let mut one = Coverage::default();
            one.note(Fault::Stall, *stage);
            assert_eq!(one.missed().len(), Stage::ALL.len(), "a stall is no crash");
            one.note([Fault::Kill, Fault::PowerCut][index % 2], *stage);
            all.add(&one);
        }
        assert_eq!(all.missed(), []);
        assert!(all.to_string().contains("power cut") && all.to_string().contains("taken over"));
    }
}
