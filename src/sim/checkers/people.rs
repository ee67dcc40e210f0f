//! Who is registered, under which names.

use super::{Checkers, failure};
use crate::api::Identity;
use crate::ids::UserId;
use crate::sim::answers;
use crate::sim::observation::Failure;
use simd_json::OwnedValue;
use simd_json::prelude::Writable;
use std::collections::{BTreeMap, BTreeSet};

/// Company, application, and the application's name of a user.
type Who = (String, String, String);

/// Everybody who ever wanted to be registered.
#[derive(Default)]
pub(super) struct People {
    users: BTreeMap<Who, UserId>,
    identities: BTreeMap<UserId, Who>,
    names: BTreeMap<Who, BTreeSet<String>>,
}

fn who(identity: &Identity<'_>) -> Who {
    let [company, app, user] = [&identity.company, &identity.app, &identity.third_user_id];
    (company.to_string(), app.to_string(), user.to_string())
}

impl People {
    /// Somebody wants to be registered, and perhaps to be called so.
    pub fn registers(&mut self, identity: &Identity<'_>, name: Option<&str>) {
        let names = self.names.entry(who(identity)).or_default();
        names.extend(name.map(str::to_owned));
    }

    /// Whether a user is registered.
    pub fn knows(&self, user: UserId) -> bool {
        self.identities.contains_key(&user)
    }

    /// Whether two users are of the same application; `None`: one of them is not known.
    pub fn are_of_one(&self, first: UserId, second: UserId) -> Option<bool> {
        let (first, second) = (self.identities.get(&first)?, self.identities.get(&second)?);
        Some((&first.0, &first.1) == (&second.0, &second.1))
    }

    /// Whether a user may be called so.
    pub fn may_be_called(&self, user: UserId, name: Option<&String>) -> bool {
        let names = self.identities.get(&user).and_then(|who| self.names.get(who));
        name.is_none_or(|name| names.is_some_and(|names| names.contains(name)))
    }
}

impl Checkers {
    /// An identity is registered, or found.
    pub(super) fn is_registered(
        &mut self,
        identity: &Identity<'_>,
        body: &OwnedValue,
    ) -> Result<(), Failure> {
        let user = answers::user(body).ok_or_else(|| {
            let words = format!("expected the user of {identity:?}, found {}", body.encode());
            failure("ids", UserId::SYSTEM, words)
        })?;
        let who = who(identity);
        let known = *self.people.users.entry(who.clone()).or_insert(user);
        let owner = self.people.identities.entry(user).or_insert_with(|| who.clone());
        if known != user || *owner != who {
            let known = known.number();
            let words =
                format!("{who:?} is user {known}; found {}, who is {owner:?}", user.number());
            return Err(failure("ids", user, words));
        }
        Ok(())
    }
}
