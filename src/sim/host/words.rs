//! Requests in few words, for a trace: with ids as they are, to be searched for.

use crate::api::{Acked, Request};

/// A request in a line.
pub fn of_request(request: &Request<'_>) -> String {
    match request {
        Request::Auth { user, id, .. } => {
            format!("Auth {} id {:?}", user.number(), id.map(|id| id.number()))
        }
        Request::Send(draft) => {
            let id = draft.id.map_or(0, |id| id.number());
            let content: String = draft.content.chars().take(24).collect();
            format!("Send {id} to {} {:?} {content:?}", draft.to.number(), draft.kind)
        }
        Request::Ack(Acked::One(id)) => format!("Ack {}", id.number()),
        Request::Ack(Acked::UpTo(id)) => format!("Ack up to {}", id.number()),
        Request::Ack(Acked::Many(ids)) => {
            let ids: Vec<String> = ids.iter().map(|id| id.number().to_string()).collect();
            format!("Ack {}", ids.join(" "))
        }
        other => format!("{other:?}"),
    }
}
