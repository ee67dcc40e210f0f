//! When nobody is there any more: whether the server has all that was sent, and nothing else.

use super::asking::page_of;
use super::checks::OFFLINE_MAX;
use super::model::Model;
use crate::load::accounts::Target;
use anyhow::{Context, Result};
use serde_json::{Value, json};

/// Messages on a page.
const PAGE_SIZE: usize = 200;

/// Looks at everybody's offline list, chats and counts, and at each conversation from its newest
/// message to its first, as both of its ends have it.
///
/// # Errors
/// When something is lost, doubled, changed or out of order.
pub fn check(target: &Target, model: &Model) -> Result<()> {
    type Check = fn(&Model, usize, &[u8]) -> Result<()>;
    let offline: Check =
        |model, person, body| model.check_offline(person, &model.floor(person), body).map(drop);
    let chats: Check = |model, person, body| model.check_chats(person, &model.floor(person), body);
    let unread: Check =
        |model, person, body| model.check_unread(person, &model.floor(person), body);
    for (path, check) in [
        ("/im/message/offline", offline),
        ("/im/user/chat/list", chats),
        ("/im/user/chat/unread/count", unread),
    ] {
        let body = |person| json!({"userId": model.user(person), "limit": OFFLINE_MAX});
        let mut person = 0;
        target.post_all(path, (0..model.people()).map(body), |answer| {
            check(model, person, &bytes(&answer)?)
                .with_context(|| format!("{path} of {}", model.user(person)))?;
            person += 1;
            Ok(())
        })?;
    }
    check_conversations(target, model)
}

fn check_conversations(target: &Target, model: &Model) -> Result<()> {
    let scroll = |person, slot| (person, slot, Model::scroll(&model.floor(person), slot));
    let mut left: Vec<_> = (0..model.people())
        .flat_map(|person| (0..model.others()).map(move |slot| scroll(person, slot)))
        .collect();
    while !left.is_empty() {
        let bodies: Vec<Value> = left
            .iter()
            .map(|(person, slot, scroll)| {
                let other = model.other(*person, *slot);
                page_of(model.user(*person), model.user(other), PAGE_SIZE, scroll.before)
            })
            .collect();
        let mut each = left.iter_mut();
        target.post_all("/im/message/user/get/page", bodies.into_iter(), |answer| {
            let (person, slot, scroll) = each.next().context("an answer to a question")?;
            let other = model.other(*person, *slot);
            model.check_page(*person, other, scroll, PAGE_SIZE, &bytes(&answer)?)
        })?;
        left.retain(|(_, _, scroll)| scroll.before.is_some());
    }
    Ok(())
}

fn bytes(answer: &Value) -> Result<Vec<u8>> {
    Ok(serde_json::to_vec(answer)?)
}
