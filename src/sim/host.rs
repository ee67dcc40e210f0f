//! One shard of a town at work: the rules, the sessions and the store of the real server, moved by
//! the same rounds as `node::shard_loop` does it, with a simulated disk, sockets and mesh.
//!
//! Invariants:
//! 1. A round drains the mesh and applies what it brought before it decodes requests.
//! 2. Durable effects leave only when the store says that their position is durable, in order.
//!
//! Each step passes a stage of the [`Chronicle`], where the whole town may go down.

mod cold;
mod exchange;
mod intake;
mod lists;
mod log;
mod release;
mod settle;
mod words;

use crate::api::Request;
use crate::chat::clock::{Clock, Reading};
use crate::chat::directory::Directory;
use crate::chat::event::{Event, MarksNotice, MarksReceipt, Now, Relay};
use crate::chat::forget::Retention;
use crate::chat::history::Listing;
use crate::chat::shard::{Place, Shard};
use crate::chat::turn::{Turn, When};
use crate::ids::{ConnectionId, ShardId, UserId};
use crate::metrics::ShardMetrics;
use crate::sim::chronicle::{Chronicle, Halt};
use crate::sim::coverage::Stage;
use crate::sim::lines::{Lines, Token};
use crate::sim::mesh::{Mesh, Parcel};
use crate::sim::network::{Network, SocketId};
use crate::sim::observation::Sizes;
use crate::sim::storage::{Rows, Storage};
use crate::store::{Position, Store};
use crate::wire::session::{Codec, Session, WireOptions};
pub use cold::Fetch;
use cold::Parking;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// Bytes of row changes that end a turn: a segment here is small, and a record must fit.
const TURN_BYTES: usize = 8 * 1024;
/// The wall clock when a town is founded, microseconds.
const FOUNDED_US: i64 = 1_720_000_000_000_000;

/// A connection between two shards.
pub struct Moving {
    pub(super) socket: SocketId,
    session: Session,
    window: Vec<u8>,
    out: Vec<u8>,
    ended: bool,
    request: Request<'static>,
}

/// What all hosts of a town share.
pub struct Ground<'a> {
    pub chronicle: Chronicle<'a>,
    pub mesh: Mesh,
    pub network: Network,
    pub directory: Arc<Directory>,
    /// What the wall clock is set to, apart from the passing of time.
    pub wall_offset_us: i64,
    pub is_disk_full: bool,
    /// Events that a turn takes up.
    pub turn_events: usize,
}

impl Ground<'_> {
    fn reading(&self) -> Reading {
        let steady_micros = self.chronicle.now_us;
        let wall_micros = FOUNDED_US + self.wall_offset_us + steady_micros as i64;
        Reading { wall_micros, steady_micros }
    }
}

/// Something that takes its time, and that the town is to bring about.
pub enum Want {
    /// The write in flight will be done.
    Write,
    /// The sync under way will be done.
    Sync,
    /// The indexer will apply what it was handed.
    Index,
    /// The LSM will sync what was applied.
    SyncTables,
    /// A segment will be made.
    Segment,
    /// Rows will be fetched.
    Fetch(Fetch),
}

/// How a shard is set up.
#[derive(Clone, Copy)]
pub struct Setup {
    pub place: Place,
    pub retention: Retention,
    /// Rows are on a slow disk.
    pub is_cold: bool,
}

/// One shard.
pub struct Host {
    pub place: Place,
    pub shard: Shard<Rows>,
    pub storage: Storage,
    pub lines: Lines,
    /// What is to be brought about.
    pub wants: Vec<Want>,
    clock: Clock,
    now: Now,
    codec: Codec,
    options: WireOptions,
    turn: Turn,
    applied: usize,
    pending: VecDeque<Turn>,
    /// The last turn that was appended.
    appended: Position,
    /// When each turn that may not be on disk was appended, ms.
    unsynced: VecDeque<(Position, u64)>,
    inbox: VecDeque<(Token, Vec<u8>)>,
    ready: VecDeque<Token>,
    touched: Vec<Token>,
    departed: Vec<(ConnectionId, UserId)>,
    relays: Vec<Vec<Relay>>,
    marks: Vec<Vec<MarksNotice>>,
    receipts: Vec<Vec<MarksReceipt>>,
    forwarded: usize,
    abroad: BTreeMap<(u16, u32, u32), Box<Listing>>,
    held_parts: lists::HeldParts,
    parcels: VecDeque<(ShardId, Parcel)>,
    deferred: VecDeque<(ShardId, Parcel)>,
    parking: Parking,
    is_tick_due: bool,
    sync_asked_ms: u64,
    begun_files: Vec<u32>,
    /// The LSM will sync.
    is_lsm_syncing: bool,
    body: Vec<u8>,
}

impl Host {
    /// Opens a shard's rows. Its new epoch is on disk when this returns.
    pub fn open(
        (rows, storage): (Rows, Storage),
        setup: Setup,
        ground: &mut Ground<'_>,
    ) -> Result<Host, Halt> {
        let Setup { place, retention, is_cold } = setup;
        let directory = ground.directory.clone();
        let mut shard = Shard::open(rows, place, directory, Arc::new(ShardMetrics::default()))?;
        shard.retain(retention)?;
        if is_cold {
            shard.warmth_mut().distrust();
        }
        let options = WireOptions::default();
        let mut clock = Clock::new(ground.reading(), ground.directory.shown());
        let now = clock.now(ground.reading(), ground.directory.shown());
        let lanes = usize::from(place.shards);
        let appended = shard.store().written();
        let mut host = Host {
            place,
            shard,
            storage,
            lines: Lines::default(),
            wants: Vec::new(),
            clock,
            now,
            codec: Codec::new(options),
            options,
            turn: Turn::default(),
            applied: 0,
            pending: VecDeque::new(),
            appended,
            unsynced: VecDeque::new(),
            inbox: VecDeque::new(),
            ready: VecDeque::new(),
            touched: Vec::new(),
            departed: Vec::new(),
            relays: (0..lanes).map(|_| Vec::new()).collect(),
            marks: (0..lanes).map(|_| Vec::new()).collect(),
            receipts: (0..lanes).map(|_| Vec::new()).collect(),
            forwarded: 0,
            abroad: BTreeMap::new(),
            held_parts: lists::HeldParts::default(),
            parcels: VecDeque::new(),
            deferred: VecDeque::new(),
            parking: Parking::new(is_cold),
            is_tick_due: false,
            sync_asked_ms: 0,
            begun_files: Vec::new(),
            is_lsm_syncing: false,
            body: Vec::new(),
        };
        host.sync_whole();
        Ok(host)
    }

    /// All shards were opened: only now is it known which ids any of them has shown before.
    pub fn anchor(&mut self, ground: &Ground<'_>) {
        self.clock = Clock::new(ground.reading(), ground.directory.shown());
    }

    /// A tick is due.
    pub fn tick(&mut self) {
        self.is_tick_due = true;
    }

    /// Looks once at everything, and does what there is to do.
    pub fn round(&mut self, ground: &mut Ground<'_>) -> Result<(), Halt> {
        self.now = self.clock.now(ground.reading(), ground.directory.shown());
        self.now.is_disk_full = ground.is_disk_full;
        self.codec.set_time(self.now.wall_ms);
        self.move_log(ground)?;
        let takes_requests = !self.shard.store().is_full();
        if takes_requests {
            self.exchange(ground)?;
        }
        if std::mem::take(&mut self.is_tick_due) {
            self.apply(Event::Tick)?;
            ground.chronicle.pass(self.place.shard, Stage::Ticked)?;
        }
        for (connection, user) in std::mem::take(&mut self.departed) {
            self.apply(Event::Closed { connection, user })?;
        }
        // Whoever asks sees all that was relayed before.
        if takes_requests && self.parcels.is_empty() {
            self.decode_all(ground)?;
            self.forget_some(ground)?;
        }
        self.end_turn(ground)?;
        self.sync_if_awaited(ground)?;
        self.catch_up(ground)?;
        self.settle_touched(ground)
    }

    /// Something can be done without anybody's word.
    pub fn is_busy(&self) -> bool {
        let waits = self.inbox.len() + self.deferred.len() + self.ready.len() + self.parcels.len();
        let has_touched = !(self.departed.is_empty() && self.touched.is_empty());
        waits > 0 || has_touched || self.parking.is_busy()
    }

    /// Nothing is under way that would change rows or be told to anybody.
    pub fn is_at_rest(&self) -> bool {
        let is_quiet = !self.is_busy() && self.parking.count() == 0;
        is_quiet
            && self.pending.is_empty()
            && self.held_parts.is_empty()
            && self.shard.is_replayed()
    }

    fn apply(&mut self, event: Event<'_>) -> Result<(), Halt> {
        self.applied += 1;
        Ok(self.shard.apply(event, &self.now, &mut self.turn)?)
    }

    fn is_turn_full(&self, ground: &Ground<'_>) -> bool {
        self.applied >= ground.turn_events || self.shard.gathered_bytes() >= TURN_BYTES
    }

    /// Writes the rows of the turn and lets go what may go at once.
    fn end_turn(&mut self, ground: &mut Ground<'_>) -> Result<(), Halt> {
        if std::mem::take(&mut self.applied) == 0 && self.shard.gathered_bytes() == 0 {
            return Ok(());
        }
        self.shard.end_turn(&mut self.turn)?;
        let mut turn = std::mem::take(&mut self.turn);
        let shard = self.place.shard;
        // A turn that looked for rows has written out some before its end.
        let before = std::mem::replace(&mut self.appended, turn.position);
        if turn.position > before {
            self.unsynced.push_back((turn.position, ground.chronicle.moment().ms));
            ground.chronicle.tell(shard, format_args!("turn {} is appended", turn.position.0));
            ground.chronicle.pass(shard, Stage::Appended)?;
        }
        self.release(When::Now, &mut turn, ground)?;
        self.pending.push_back(turn);
        self.release_durable(ground)
    }

    /// Whatever was observed up to this ms is on this shard's disk.
    pub fn durable_ms(&self, ground: &Ground<'_>) -> u64 {
        let oldest = self.unsynced.front().map(|(_, ms)| ms.saturating_sub(1));
        oldest.unwrap_or(ground.chronicle.moment().ms)
    }

    /// What this shard holds.
    pub fn sizes(&mut self) -> Sizes {
        let unsent = |line: &crate::sim::lines::Line| line.unsent();
        let held = |line: &crate::sim::lines::Line| line.session.held_bytes();
        let session_unsent_bytes = self.lines.iter().map(unsent).max().unwrap_or(0);
        let unsent_bytes = self.lines.iter().map(unsent).sum();
        let parked = self.parking.count();
        let recent = self.shard.store_mut().recent().expect("this store has a log");
        Sizes {
            overlay_bytes: recent.overlay().size(),
            log_waiting_bytes: recent.log().waiting_bytes(),
            lane_parcels: 0,
            session_unsent_bytes,
            unsent_bytes,
            session_held_bytes: self.lines.iter().map(held).max().unwrap_or(0),
            held_bytes: self.lines.iter().map(held).sum(),
            parked,
            outbox_rows: self.outbox_rows(),
        }
    }
}
