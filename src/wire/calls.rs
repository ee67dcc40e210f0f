//! HTTP calls in: a route and a body to a [`Request`].

use crate::api::{Field, Identity, PageStart, Refusal, Request};
use crate::limits::{CHATS_MAX, MINT_COUNT_MAX, OFFLINE_LIMIT_MAX, PAGE_SIZE_MAX};
use crate::wire::fields;
use crate::wire::frame::Payload;
use crate::wire::json::{Json, Object};
use crate::wire::routes::Call;

/// What a page holds when its request does not say.
const PAGE_SIZE: i64 = 10;

/// Decodes the body of a call. An empty body reads as `{}`.
pub(super) fn decode<'a>(
    call: Call,
    json: &'a mut Json,
    body: &[u8],
) -> Result<Request<'a>, Refusal> {
    if body.trim_ascii().is_empty() {
        return request(call, Object::EMPTY);
    }
    json.read(Payload::plain(body), |object| request(call, object?))
}

fn request<'a>(call: Call, body: Object<'_, 'a>) -> Result<Request<'a>, Refusal> {
    Ok(match call {
        Call::Register => {
            Request::Register { identity: identity(body)?, name: fields::display_name(body)? }
        }
        Call::Find => Request::Find(identity(body)?),
        Call::MintIds => {
            let most = i64::from(MINT_COUNT_MAX);
            let count = fields::ranged(body, "count", 1..=most, "1 to 1000")?;
            Request::MintIds(count.map(|count| count as u16))
        }
        Call::Page => page(body)?,
        Call::Offline => Request::Offline {
            user: fields::user_of(body, "userId")?,
            after_seq: fields::ranged(body, "afterSeq", 0..=i64::MAX, "0 or more")?
                .map_or(0, |seq| seq as u64),
            limit: limit(body, OFFLINE_LIMIT_MAX)?,
        },
        Call::ChatList => Request::ChatList {
            user: fields::user_of(body, "userId")?,
            limit: limit(body, CHATS_MAX)?,
        },
        Call::ClearUnread => Request::ClearUnread(fields::chat_of(body)?),
        Call::ClearUnreadOf => Request::ClearUnreadOf {
            owner: fields::user_of(body, "fromUserId")?,
            peer: fields::user_of(body, "toUserId")?,
        },
        Call::DeleteChat => Request::DeleteChat(fields::chat_of(body)?),
        Call::UnreadCount => Request::UnreadCount(fields::user_of(body, "userId")?),
        Call::Top => {
            let field = Field("top");
            let top = fields::required(body.get(field.0), field)?.flag();
            let expected = "true or false";
            let top = top.ok_or(Refusal::WrongType { field, expected })?;
            Request::Top { chat: fields::chat_of(body)?, top }
        }
    })
}

fn identity<'a>(body: Object<'_, 'a>) -> Result<Identity<'a>, Refusal> {
    Ok(Identity {
        company: fields::name_part(body, "company")?,
        app: fields::name_part(body, "app")?,
        third_user_id: fields::third_user_id(body)?,
    })
}

fn page<'a>(body: Object<'_, '_>) -> Result<Request<'a>, Refusal> {
    let most = i64::from(PAGE_SIZE_MAX);
    let size = fields::ranged(body, "pageSize", 1..=most, "1 to 200")?.unwrap_or(PAGE_SIZE) as u16;
    let number = fields::ranged(body, "pageNum", 1..=i64::MAX, "1 or more")?.unwrap_or(1);
    let start = match fields::ranged(body, "beforeSeq", 0..=i64::MAX, "0 or more")? {
        Some(seq) => PageStart::Before(seq as u64),
        None => PageStart::Number(number as u64),
    };
    if body.get("userId").is_some() || body.get("fromUserId").is_none() {
        return Ok(Request::Page { user: fields::user_of(body, "userId")?, start, size });
    }
    let owner = fields::user_of(body, "fromUserId")?;
    let peer = fields::user_of(body, "toUserId")?;
    Ok(Request::PairPage { owner, peer, start, size })
}

fn limit(body: Object<'_, '_>, most: u32) -> Result<u32, Refusal> {
    let given = fields::ranged(body, "limit", 1..=i64::from(most), "1 to 10000")?;
    Ok(given.map_or(most, |limit| limit as u32))
}

const _: () = {
    assert!(MINT_COUNT_MAX == 1000, "the refusals above say so");
    assert!(PAGE_SIZE_MAX == 200, "the refusals above say so");
    assert!(OFFLINE_LIMIT_MAX == 10_000 && CHATS_MAX == 10_000, "the refusals above say so");
};
