//! Items taken out of the rows of a stopped server.

use super::{
    ChatItem, ForgottenChatItem, ForgottenIdsItem, ForgottenItem, Item, MarksItem, MessageItem,
    PartedItem, UserItem,
};
use crate::api::{ChatType, EventType, MessageType};
use crate::ids::UserId;
use crate::store::keys::{Key, Kind};
use crate::store::parts::{Parts, owned, range_of};
use crate::store::rows::{
    ArchivedMessageRow, ArchivedProfileRow, ChatRow, IdsRow, MarksRow, NumberRow, RowError,
    UserRow, WAITING_BLOCK, WaitingRow, read, read_owned,
};
use crate::store::{Direction, Range, Store, StoreError};
use std::ops::ControlFlow;

/// Users read between two scans for more.
const USERS_STEP: usize = 1024;

/// What gets each item. `Break`: that was enough.
pub type Visit<'a> = &'a mut dyn FnMut(&Item<'_>) -> ControlFlow<()>;

/// What looks at a row.
type Look<'a> = &'a mut dyn FnMut(&[u8], &[u8]) -> Result<ControlFlow<()>, StoreError>;

/// The highest bound of message ids that any of these shards may have shown.
pub fn mint_bound<S: Store>(stores: &[&S]) -> Result<u64, StoreError> {
    let mut highest = 0;
    for store in stores {
        let row = store.get(&Key::of(Kind::MintBound), read_owned::<NumberRow>)?;
        highest = highest.max(row.transpose()?.map_or(0, |row| row.0));
    }
    Ok(highest)
}

/// A user to whom messages have been sent that are set aside; they are in no item of his.
pub fn waits_aside<S: Store>(stores: &[&S]) -> Result<Option<UserId>, StoreError> {
    let (from, to) = range_of(Kind::Aside);
    let mut first = None;
    for store in stores {
        let flow = each(*store, &from, &to, &mut |key, _| {
            first = Parts::of(key).and_then(|parts| parts.owner());
            if first.is_some() { Ok(ControlFlow::Break(())) } else { Err(RowError::Key.into()) }
        })?;
        if flow.is_break() {
            break;
        }
    }
    Ok(first)
}

/// Visits all items of all shards.
pub fn visit_all<S: Store>(stores: &[&S], visit: Visit<'_>) -> Result<(), StoreError> {
    for store in stores {
        let (from, to) = range_of(Kind::User);
        let mut from = from.to_vec();
        loop {
            let users = some_users(*store, &from, &to)?;
            let Some((last, _)) = users.last() else { break };
            from = Key::user(*last).to_vec();
            from.push(0);
            for (user, row) in users {
                if visit_user(*store, user, row, visit)?.is_break() {
                    return Ok(());
                }
            }
        }
    }
    Ok(())
}

/// How many users these shards hold. Reads the row of each.
pub fn count_users<S: Store>(stores: &[&S]) -> Result<u64, StoreError> {
    let (from, to) = range_of(Kind::User);
    let mut users = 0;
    for store in stores {
        let _ = each(*store, &from, &to, &mut |_, _| {
            users += 1;
            Ok(ControlFlow::Continue(()))
        })?;
    }
    Ok(users)
}

fn some_users(
    store: &impl Store,
    from: &[u8],
    to: &[u8],
) -> Result<Vec<(UserId, UserRow)>, StoreError> {
    let mut users = Vec::new();
    let _ = each(store, from, to, &mut |key, value| {
        let Some(Parts::User(user)) = Parts::of(key) else { return Err(RowError::Key.into()) };
        users.push((user, read_owned::<UserRow>(value)?));
        let is_enough = users.len() == USERS_STEP;
        Ok(if is_enough { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    })?;
    Ok(users)
}

/// Visits keys `from..to` until an error or `Break`, which it returns.
fn each(
    store: &impl Store,
    from: &[u8],
    to: &[u8],
    visit: Look<'_>,
) -> Result<ControlFlow<()>, StoreError> {
    let mut outcome = Ok(ControlFlow::Continue(()));
    store.scan(Range { from, to, direction: Direction::Forward }, &mut |key, value| {
        outcome = visit(key, value);
        match outcome {
            Ok(flow) => flow,
            Err(_) => ControlFlow::Break(()),
        }
    })?;
    outcome
}

fn visit_user(
    store: &impl Store,
    user: UserId,
    row: UserRow,
    visit: Visit<'_>,
) -> Result<ControlFlow<()>, StoreError> {
    let gone = store.get(&Key::forgotten(user), read_owned::<UserRow>)?.transpose()?;
    let show = |bytes: &[u8], visit: Visit<'_>| {
        let profile = read::<ArchivedProfileRow<'_>>(bytes)?;
        Ok::<_, RowError>(visit(&Item::User(UserItem {
            user_id: user.number(),
            company: (*profile.company).into(),
            app: (*profile.app).into(),
            third_user_id: (*profile.third_user_id).into(),
            name: row.name.as_deref().map(Into::into),
            registered_ms: profile.registered_ms.to_native(),
            forgotten: gone.as_ref().map(forgotten),
        })))
    };
    let shown = store.get(&Key::profile(user), |bytes| show(bytes, visit))?;
    let mut flow = shown.ok_or(RowError::Missing)??;
    for kind in [Kind::Chat, Kind::HiddenChat] {
        let (from, to) = owned(kind, user);
        if flow.is_continue() {
            flow = each(store, &from, &to, &mut |key, value| chat(store, key, value, visit))?;
        }
    }
    if flow.is_break() {
        return Ok(flow);
    }
    let (from, to) = owned(Kind::Message, user);
    let mut waiting = (u64::MAX, 0);
    each(store, &from, &to, &mut |key, value| {
        let Some(Parts::Message { seq, .. }) = Parts::of(key) else {
            return Err(RowError::Key.into());
        };
        let block = seq / WAITING_BLOCK;
        if waiting.0 != block {
            let is_newest = block == row.last_seq / WAITING_BLOCK;
            let marks = if is_newest { row.waiting } else { marks_of(store, user, block)? };
            waiting = (block, marks);
        }
        let waits = waiting.1 >> (seq % WAITING_BLOCK) & 1 == 1;
        Ok(visit(&Item::Message(message(value, seq, waits)?)))
    })
}

fn marks_of(store: &impl Store, user: UserId, block: u64) -> Result<u128, StoreError> {
    let row = store.get(&Key::waiting(user, block), read_owned::<WaitingRow>)?;
    Ok(row.transpose()?.map_or(0, |row| row.0))
}

fn chat(
    store: &impl Store,
    key: &[u8],
    value: &[u8],
    visit: Visit<'_>,
) -> Result<ControlFlow<()>, StoreError> {
    let (owner, peer) = match Parts::of(key) {
        Some(Parts::Chat { owner, peer } | Parts::HiddenChat { owner, peer }) => (owner, peer),
        _ => return Err(RowError::Key.into()),
    };
    let row = read_owned::<ChatRow>(value)?;
    let marks_due = store.get(&Key::marks_due(owner, peer), |_| ())?.is_some();
    let gone = store.get(&Key::forgotten_chat(owner, peer), read_owned::<ChatRow>)?;
    Ok(visit(&Item::Chat(ChatItem {
        id: row.id,
        peer: peer.number(),
        created_ms: row.created_ms,
        updated_ms: row.updated_ms,
        top: row.top,
        listed: row.listed,
        pushed: marks(row.pushed),
        acked: marks(row.acked),
        read_up_to: row.read_up_to,
        peer_pushed: marks(row.peer_pushed),
        peer_acked: marks(row.peer_acked),
        peer_read_up_to: row.peer_read_up_to,
        marks_due,
        parted: row.is_parted.then_some(PartedItem { received: row.received, unread: row.unread }),
        forgotten: gone.transpose()?.map(|row| ForgottenChatItem {
            messages: row.messages,
            recent: row.recent,
            last_seq: row.last_seq,
            received: row.received,
            sent: row.sent,
        }),
    })))
}

fn forgotten(row: &UserRow) -> ForgottenItem {
    ForgottenItem {
        last_seq: row.last_seq,
        highest_sent: row.highest_sent.to_string(),
        highest_received: row.highest_received.to_string(),
        sent: forgotten_ids(&row.sent),
        received: forgotten_ids(&row.received),
    }
}

fn forgotten_ids(row: &IdsRow) -> ForgottenIdsItem {
    ForgottenIdsItem {
        indexed_up_to: row.indexed_up_to.to_string(),
        highest_late: row.highest_late.to_string(),
        recent: row.recent.iter().map(|it| (it.id.to_string(), it.seq)).collect(),
    }
}

fn marks(row: MarksRow) -> MarksItem {
    MarksItem { up_to: row.up_to, ranges: row.ranges }
}

/// The word at a place of a list.
fn word<T: std::fmt::Debug>(all: &[T], at: u8) -> Result<String, RowError> {
    all.get(usize::from(at)).map(|one| format!("{one:?}")).ok_or(RowError::Damaged)
}

fn message(bytes: &[u8], seq: u64, waits: bool) -> Result<MessageItem<'_>, RowError> {
    let row = read::<ArchivedMessageRow<'_>>(bytes)?;
    let event = row.event.as_ref().map(|event| word(&EventType::ALL, *event)).transpose()?;
    Ok(MessageItem {
        seq,
        from: row.from.to_native(),
        to: row.to.to_native(),
        msg_type: word(&MessageType::ALL, row.kind)?.into(),
        chat_type: word(&ChatType::ALL, row.chat_type)?.into(),
        event_type: event.map(Into::into),
        team_id: row.team.as_ref().map(|team| team.to_native().to_string().into()),
        id: row.id.to_native().to_string().into(),
        timestamp: row.timestamp_ms.to_native(),
        server_send_time: row.server_send_time_ms.to_native(),
        ordinal: row.ordinal.to_native(),
        content: (*row.content).into(),
        name: row.name.as_ref().map(|name| (**name).into()),
        waits,
    })
}
