//! Rows of a store, whatever is in them: keys, values, packs. They print, or are refused; what is
//! read and written again is the same; `verify` and `export` come to an end with them.

use crate::export::export;
use crate::fuzz::case::{Target, Trail, Wrong, hold, one_of, shown};
use crate::fuzz::mutate::bound;
use crate::inspect::json::{Contents, row};
use anser::api::Identity;
use anser::chat::audit;
use anser::ids::{ChatId, MessageId, ShardId, Slot, UserId};
use anser::sim::prng::Prng;
use anser::store::keys::{Key, Kind, Side};
use anser::store::memory::MemoryStore;
use anser::store::parts::{KINDS, Parts};
use anser::store::rows::{
    ArchivedMessageRow, ArchivedProfileRow, ChatIdRow, ChatRow, IdBlockRow, IdEntry, IdsRow,
    LateIdRow, MarksRow, MessageRow, NumberRow, OutboxRow, PairBlockRow, ProfileRow, RowError,
    RowWriter, SlotRow, StreamRow, UserRow, WaitingRow, read, read_owned,
};
use anser::store::view::packs::{Numbered, write};
use anser::store::{Batch, Store};
use indicatif::ProgressBar;

/// The bytes of a row.
macro_rules! bytes {
    ($row:expr) => {{
        let mut bytes = Vec::new();
        RowWriter::default().append($row, &mut bytes);
        bytes
    }};
}

/// What reads a row and writes it again.
pub type Again = fn(&Parts<'_>, &[u8]) -> Result<Vec<u8>, RowError>;

/// The target. A case is rows one after the other: how long key and value are, in two bytes each,
/// then both.
pub struct Rows {
    /// The code under test.
    pub again: Again,
}

impl Default for Rows {
    fn default() -> Rows {
        Rows { again }
    }
}

impl Target for Rows {
    fn name(&self) -> &'static str {
        "rows"
    }

    fn words(&self) -> &'static [&'static str] {
        &["\x03", "\x00\x00\x00\x00", "\x08\x00\x00\x00\x02", "\x00\x01", "ann", "你好"]
    }

    fn make(&self, prng: &mut Prng) -> Vec<u8> {
        let mut case = Vec::new();
        for _ in 0..1 + prng.below(6) {
            let (key, value) = some_row(prng);
            push(&key, &value, &mut case);
        }
        case
    }

    fn mend(&self, case: &mut Vec<u8>, prng: &mut Prng) {
        let mut rows: Vec<(Vec<u8>, Vec<u8>)> =
            rows(case).map(|(key, value)| (key.to_vec(), value.to_vec())).collect();
        let at = prng.below(rows.len() as u64 + 1) as usize;
        let (key, value) = some_row(prng);
        match rows.get_mut(at) {
            Some(row) if prng.once_in(2) => row.1 = value,
            Some(row) => row.0 = key,
            None => rows.push((key, value)),
        }
        case.clear();
        rows.iter().for_each(|(key, value)| push(key, value, case));
    }

    fn run(&self, case: &[u8], trail: &mut Trail) -> Result<(), Wrong> {
        let mut batch = Batch::new();
        for (key, value) in rows(case) {
            check_key(key)?;
            self.check_row(key, value, trail)?;
            check_pack(key, value, trail)?;
            if !key.is_empty() {
                batch.put(key, value);
            }
        }
        let mut store = MemoryStore::default();
        store.write(&batch).expect("memory does not fail");
        let counts = audit::run(&[&store], &mut |finding| {
            trail.note(finding.part);
        });
        trail.note(counts.map(|counts| counts.users.min(2)).map_err(|error| error.to_string()));
        let exported = export(&[&store], std::io::sink(), &ProgressBar::hidden());
        trail.note(exported.map(|totals| totals.users).map_err(|error| format!("{error:#}")));
        Ok(())
    }
}

impl Rows {
    fn check_row(&self, key: &[u8], value: &[u8], trail: &mut Trail) -> Result<(), Wrong> {
        let printed = row(key, value, Contents::Shown);
        trail.note(printed["kind"].as_str());
        trail.note(printed["error"].as_str());
        let Some(parts) = Parts::of(key) else { return Ok(()) };
        let words = || format!("{} of {}: {printed}", shown(value), shown(key));
        let Ok(once) = (self.again)(&parts, value) else {
            return hold(printed["error"].is_string(), "what cannot be read is told", words);
        };
        let again = row(key, &once, Contents::Shown);
        hold(again == printed, "a row that is written again is the same", words)?;
        let twice = (self.again)(&parts, &once);
        hold(twice.as_ref() == Ok(&once), "a row is written in one way", words)
    }
}

/// The rows of a case; what is cut off is none.
fn rows(case: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    let mut rest = case;
    std::iter::from_fn(move || {
        let (lengths, after) = rest.split_first_chunk::<4>()?;
        let key = usize::from(u16::from_le_bytes([lengths[0], lengths[1]]));
        let value = usize::from(u16::from_le_bytes([lengths[2], lengths[3]]));
        let (key, after) = after.split_at(key.min(after.len()));
        let (value, after) = after.split_at(value.min(after.len()));
        rest = after;
        Some((key, value))
    })
}

fn push(key: &[u8], value: &[u8], case: &mut Vec<u8>) {
    for length in [key.len(), value.len()] {
        case.extend_from_slice(&(length.min(0xFFFF) as u16).to_le_bytes());
    }
    case.extend_from_slice(&key[..key.len().min(0xFFFF)]);
    case.extend_from_slice(&value[..value.len().min(0xFFFF)]);
}

/// A key that has parts is made of them.
fn check_key(key: &[u8]) -> Result<(), Wrong> {
    let Some(parts) = Parts::of(key) else { return Ok(()) };
    hold(key_of(&parts) == key, "a key is made of its parts", || shown(key))
}

fn key_of(parts: &Parts<'_>) -> Vec<u8> {
    let key = match parts {
        Parts::Epoch => Key::of(Kind::Epoch),
        Parts::MintBound => Key::of(Kind::MintBound),
        Parts::Slot(slot) => Key::slot(*slot),
        Parts::Identity(identity) => return Key::identity(identity),
        Parts::Tenant(user) => Key::tenant(*user),
        Parts::Profile(user) => Key::profile(*user),
        Parts::User(user) => Key::user(*user),
        Parts::Message { owner, seq } => Key::message(*owner, *seq),
        Parts::Chat { owner, peer } => Key::chat(*owner, *peer),
        Parts::HiddenChat { owner, peer } => Key::hidden_chat(*owner, *peer),
        Parts::ChatId(id) => Key::chat_id(*id),
        Parts::Outbox { to, epoch, sequence } => Key::outbox(*to, *epoch, *sequence),
        Parts::Applied(from) => Key::applied(*from),
        Parts::MarksDue { reader, author } => Key::marks_due(*reader, *author),
        Parts::PairBlock { owner, peer, block } => Key::pair_block(*owner, *peer, *block),
        Parts::IdBlock { owner, side, lowest } => Key::id_block(*owner, *side, *lowest),
        Parts::LateId { owner, side, id } => Key::late_id(*owner, *side, *id),
        Parts::Waiting { owner, block } => Key::waiting(*owner, *block),
        Parts::Forgotten(user) => Key::forgotten(*user),
        Parts::ForgottenChat { owner, peer } => Key::forgotten_chat(*owner, *peer),
        Parts::Aside { recipient, number } => Key::aside(*recipient, *number),
    };
    key.to_vec()
}

/// A pack gives rows that make the same pack, each of which it finds.
fn check_pack(key: &[u8], value: &[u8], trail: &mut Trail) -> Result<(), Wrong> {
    let Some(numbered) = Numbered::of(key) else { return Ok(()) };
    let words = || format!("{} of {}", shown(value), shown(key));
    let rows: Vec<(u64, &[u8])> = match numbered.rows(value) {
        Ok(rows) => rows.collect(),
        Err(error) => {
            trail.note(error.to_string());
            let found = numbered.find(numbered.number, value);
            return hold(found.is_err(), "a pack is whole or none", words);
        }
    };
    trail.count("packed", rows.len());
    for (number, row) in &rows {
        let found = numbered.find(*number, value);
        hold(found == Ok(Some(row)), "a pack finds its rows", words)?;
    }
    if rows.len() > 1 {
        let mut packed = Vec::new();
        write(&rows, &mut packed);
        hold(packed == value, "a pack is written in one way", words)?;
    }
    Ok(())
}

/// Reads a row of its key's kind and writes it again.
pub fn again(parts: &Parts<'_>, value: &[u8]) -> Result<Vec<u8>, RowError> {
    Ok(match parts {
        Parts::Epoch
        | Parts::MintBound
        | Parts::Identity(_)
        | Parts::Tenant(_)
        | Parts::MarksDue { .. } => bytes!(&read_owned::<NumberRow>(value)?),
        Parts::Slot(_) => bytes!(&read_owned::<SlotRow>(value)?),
        Parts::Profile(_) => {
            let row = read::<ArchivedProfileRow<'_>>(value)?;
            bytes!(&ProfileRow {
                company: &row.company,
                app: &row.app,
                third_user_id: &row.third_user_id,
                registered_ms: row.registered_ms.to_native(),
            })
        }
        Parts::User(_) | Parts::Forgotten(_) => bytes!(&read_owned::<UserRow>(value)?),
        Parts::Message { .. } | Parts::Aside { .. } => message(read(value)?),
        Parts::Chat { .. } | Parts::HiddenChat { .. } | Parts::ForgottenChat { .. } => {
            bytes!(&read_owned::<ChatRow>(value)?)
        }
        Parts::ChatId(_) => bytes!(&read_owned::<ChatIdRow>(value)?),
        Parts::Outbox { .. } => bytes!(&read_owned::<OutboxRow>(value)?),
        Parts::Applied(_) => bytes!(&read_owned::<StreamRow>(value)?),
        Parts::PairBlock { .. } => bytes!(&read_owned::<PairBlockRow>(value)?),
        Parts::IdBlock { .. } => bytes!(&read_owned::<IdBlockRow>(value)?),
        Parts::LateId { .. } => bytes!(&read_owned::<LateIdRow>(value)?),
        Parts::Waiting { .. } => bytes!(&read_owned::<WaitingRow>(value)?),
    })
}

fn message(row: &ArchivedMessageRow<'_>) -> Vec<u8> {
    bytes!(&MessageRow {
        from: row.from.to_native(),
        to: row.to.to_native(),
        kind: row.kind,
        chat_type: row.chat_type,
        event: row.event.as_ref().copied(),
        team: row.team.as_ref().map(|team| team.to_native()),
        id: row.id.to_native(),
        timestamp_ms: row.timestamp_ms.to_native(),
        server_send_time_ms: row.server_send_time_ms.to_native(),
        ordinal: row.ordinal.to_native(),
        content: &row.content,
        name: row.name.as_ref().map(|name| &**name),
    })
}

/// Small numbers mostly, so that rows belong together.
fn small(prng: &mut Prng) -> u64 {
    if prng.once_in(4) { bound(prng) } else { prng.below(20) }
}

fn person(prng: &mut Prng) -> UserId {
    let number = 2 + prng.below(3) as i64;
    let number = if prng.once_in(8) { bound(prng) as i64 } else { number };
    UserId::new(number).unwrap_or(UserId::FIRST)
}

/// A key and a value of its kind.
fn some_row(prng: &mut Prng) -> (Vec<u8>, Vec<u8>) {
    let (owner, peer) = (person(prng), person(prng));
    let side = *one_of(&Side::ALL, prng);
    let id = MessageId::new(small(prng) as i64).unwrap_or(MessageId::new(1).expect("positive"));
    let parts = match *one_of(&KINDS, prng) {
        Kind::Epoch => Parts::Epoch,
        Kind::MintBound => Parts::MintBound,
        Kind::Slot => Parts::Slot(Slot::of(small(prng))),
        Kind::Identity => Parts::Identity(Identity {
            company: "acme".into(),
            app: "shop".into(),
            third_user_id: (*one_of(&["ann", "", "你"], prng)).into(),
        }),
        Kind::Tenant => Parts::Tenant(owner),
        Kind::Profile => Parts::Profile(owner),
        Kind::User => Parts::User(owner),
        Kind::Message => Parts::Message { owner, seq: small(prng) },
        Kind::Chat => Parts::Chat { owner, peer },
        Kind::HiddenChat => Parts::HiddenChat { owner, peer },
        Kind::ChatId => Parts::ChatId(ChatId::in_slot(owner.slot(), 1 + prng.below(3))),
        Kind::Outbox => Parts::Outbox { to: ShardId(1), epoch: small(prng), sequence: small(prng) },
        Kind::Applied => Parts::Applied(ShardId(small(prng) as u16)),
        Kind::MarksDue => Parts::MarksDue { reader: owner, author: peer },
        Kind::PairBlock => Parts::PairBlock { owner, peer, block: small(prng) },
        Kind::IdBlock => Parts::IdBlock { owner, side, lowest: id },
        Kind::LateId => Parts::LateId { owner, side, id },
        Kind::Waiting => Parts::Waiting { owner, block: small(prng) },
        Kind::Forgotten => Parts::Forgotten(owner),
        Kind::ForgottenChat => Parts::ForgottenChat { owner, peer },
        Kind::Aside => Parts::Aside { recipient: owner, number: small(prng) },
    };
    let value = some_value(&parts, prng);
    (key_of(&parts), value)
}

fn some_value(parts: &Parts<'_>, prng: &mut Prng) -> Vec<u8> {
    let mut n = || small(prng);
    match parts {
        Parts::Epoch
        | Parts::MintBound
        | Parts::Identity(_)
        | Parts::Tenant(_)
        | Parts::MarksDue { .. } => bytes!(&NumberRow(n())),
        Parts::Slot(_) => bytes!(&SlotRow { next_user: n() as u32, next_chat: n() }),
        Parts::Profile(_) => {
            let third_user_id = ["ann", "", "你"][n() as usize % 3];
            let registered_ms = n() as i64;
            bytes!(&ProfileRow { company: "acme", app: "shop", third_user_id, registered_ms })
        }
        Parts::User(_) | Parts::Forgotten(_) => bytes!(&UserRow {
            tenant: n() as u32,
            last_seq: n(),
            highest_sent: n() as i64,
            highest_received: n() as i64,
            offline: n(),
            listed: n() as u32,
            unread: n(),
            waiting: u128::from(n()),
            sent: some_ids(&mut n),
            received: some_ids(&mut n),
            name: (n().is_multiple_of(2)).then(|| "Ann".into()),
        }),
        Parts::Message { .. } => some_messages(prng),
        Parts::Aside { .. } => some_message(prng),
        Parts::Chat { .. } | Parts::HiddenChat { .. } | Parts::ForgottenChat { .. } => {
            bytes!(&some_chat(&mut n))
        }
        Parts::ChatId(_) => bytes!(&ChatIdRow { owner: n() as u32, peer: n() as u32 }),
        Parts::Outbox { .. } => bytes!(&OutboxRow { author: n() as u32, seq: n() }),
        Parts::Applied(_) => bytes!(&StreamRow { epoch: n(), sequence: n() }),
        Parts::PairBlock { .. } => bytes!(&PairBlockRow { seqs: std::array::from_fn(|_| n()) }),
        Parts::IdBlock { .. } => {
            let entries = std::array::from_fn(|_| IdEntry { id: n() as i64, seq: n() });
            bytes!(&IdBlockRow { entries })
        }
        Parts::LateId { .. } => bytes!(&LateIdRow { seqs: (0..n() % 4).map(|_| n()).collect() }),
        Parts::Waiting { .. } => bytes!(&WaitingRow(u128::from(n()) << (n() % 64))),
    }
}

fn some_ids(n: &mut impl FnMut() -> u64) -> IdsRow {
    let recent = (0..n() % 4).map(|_| IdEntry { id: n() as i64, seq: n() }).collect();
    IdsRow { recent, indexed_up_to: n() as i64, highest_late: n() as i64 }
}

fn some_marks(n: &mut impl FnMut() -> u64) -> MarksRow {
    MarksRow { up_to: n(), ranges: (0..n() % 3).map(|_| (n(), n())).collect() }
}

fn some_chat(n: &mut impl FnMut() -> u64) -> ChatRow {
    ChatRow {
        id: n(),
        created_ms: n() as i64,
        updated_ms: n() as i64,
        top: n().is_multiple_of(2),
        listed: n().is_multiple_of(2),
        messages: n(),
        recent: (0..n() % 4).map(|_| n()).collect(),
        last_seq: n(),
        unread: n(),
        received: n(),
        is_parted: n().is_multiple_of(2),
        unacked: n(),
        pushed: some_marks(n),
        acked: some_marks(n),
        read_up_to: n(),
        sent: n(),
        peer_pushed: some_marks(n),
        peer_acked: some_marks(n),
        peer_read_up_to: n(),
    }
}

fn some_message(prng: &mut Prng) -> Vec<u8> {
    let (from, to) = (person(prng).number(), person(prng).number());
    bytes!(&MessageRow {
        from,
        to,
        kind: prng.below(13) as u8,
        chat_type: prng.below(5) as u8,
        event: prng.once_in(3).then(|| prng.below(10) as u8),
        team: prng.once_in(3).then(|| bound(prng) as i64),
        id: small(prng) as i64,
        timestamp_ms: small(prng) as i64,
        server_send_time_ms: small(prng) as i64,
        ordinal: small(prng),
        content: one_of::<&str>(&["", "hello", "你好"], prng),
        name: prng.once_in(2).then_some("Ann"),
    })
}

/// A message, or a pack of some.
fn some_messages(prng: &mut Prng) -> Vec<u8> {
    let values: Vec<Vec<u8>> = (0..4).map(|_| some_message(prng)).collect();
    let count = 1 + prng.below(4) as usize;
    let rows: Vec<(u64, &[u8])> = (0..).zip(values[..count].iter().map(Vec::as_slice)).collect();
    let mut packed = Vec::new();
    write(&rows, &mut packed);
    packed
}
