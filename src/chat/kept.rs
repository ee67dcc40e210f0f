//! Requests with their text, to be applied later.
//!
//! Invariants:
//! 1. What is lent is the request that was kept.

use crate::api::{Acked, Draft, Request};
use crate::ids::MessageId;

/// A request that borrows nothing.
pub enum KeptRequest {
    /// A message. The draft's own text is empty.
    Send(Draft<'static>, Box<str>),
    /// An ack of several.
    AckMany(Box<[MessageId]>),
    /// Any other.
    Other(Request<'static>),
}

impl KeptRequest {
    /// Copies what a request borrows.
    pub fn of(request: Request<'_>) -> KeptRequest {
        match request {
            Request::Send(draft) => {
                KeptRequest::Send(Draft { content: "", ..draft }, draft.content.into())
            }
            Request::Ack(Acked::Many(ids)) => KeptRequest::AckMany(ids.into()),
            Request::Ack(Acked::One(id)) => KeptRequest::Other(Request::Ack(Acked::One(id))),
            Request::Ack(Acked::UpTo(id)) => KeptRequest::Other(Request::Ack(Acked::UpTo(id))),
            other => KeptRequest::Other(other.into_owned()),
        }
    }

    /// Lends the request as it came.
    pub fn lend<R>(&self, act: impl FnOnce(Request<'_>) -> R) -> R {
        match self {
            KeptRequest::Send(draft, content) => act(Request::Send(Draft { content, ..*draft })),
            KeptRequest::AckMany(ids) => act(Request::Ack(Acked::Many(ids))),
            KeptRequest::Other(request) => act(request.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{ChatType, MessageType, PageStart};
    use crate::ids::UserId;

    /// Invariant 1 of chat::kept.
    #[test]
    fn what_is_lent_is_the_request_that_was_kept() {
        let user = UserId::FIRST;
        let id = |number| MessageId::new(number).expect("positive");
        let draft = Draft {
            id: Some(id(7)),
            from: None,
            to: user,
            team: None,
            kind: MessageType::Text,
            chat_type: ChatType::Single,
            event: None,
            content: "hello",
            timestamp_ms: Some(5),
        };
        let requests = [
            Request::Auth { user, token: "token".into(), id: Some(id(4)) },
            Request::Send(draft),
            Request::Ack(Acked::One(id(3))),
            Request::Ack(Acked::Many(&[id(3), id(9)])),
            Request::Ack(Acked::UpTo(id(3))),
            Request::Page { user, start: PageStart::Number(2), size: 9 },
        ];
        for request in requests {
            let kept = KeptRequest::of(request.clone());
            kept.lend(|lent| assert_eq!(lent, request));
        }
    }
}
