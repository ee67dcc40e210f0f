//! Who is registered, under which names.

use super::{Checkers, Span, failure};
use crate::api::Identity;
use crate::ids::UserId;
use crate::sim::answers;
use crate::sim::model::{NEVER, Step};
use crate::sim::observation::Failure;
use simd_json::OwnedValue;
use simd_json::prelude::*;
use std::collections::BTreeMap;

/// Company, application, and the application's name of a user.
type Who = (String, String, String);

/// Everybody who ever wanted to be registered.
#[derive(Default)]
pub(super) struct People {
    users: BTreeMap<Who, UserId>,
    identities: BTreeMap<UserId, Who>,
    names: BTreeMap<Who, Vec<Naming>>,
    /// Whose registration was answered, and when first: for ever.
    answered: BTreeMap<Who, Step>,
}

/// Somebody wants to be called so.
struct Naming {
    name: String,
    begun: Step,
    /// When it was answered; `NEVER`: it was not.
    over: Step,
}

fn who(identity: &Identity<'_>) -> Who {
    let [company, app, user] = [&identity.company, &identity.app, &identity.third_user_id];
    (company.to_string(), app.to_string(), user.to_string())
}

impl People {
    /// Somebody wants to be registered, and perhaps to be called so.
    pub fn registers(&mut self, identity: &Identity<'_>, name: Option<&str>, begun: Step) {
        let naming = name.map(|name| Naming { name: name.to_owned(), begun, over: NEVER });
        self.names.entry(who(identity)).or_default().extend(naming);
    }

    /// A registration was answered.
    pub fn is_answered(&mut self, identity: &Identity<'_>, span: Span) {
        self.answered.entry(who(identity)).or_insert(span.answered);
        let namings = self.names.get_mut(&who(identity)).into_iter().flatten();
        let named = namings.filter(|naming| naming.begun == span.asked);
        named.for_each(|naming| naming.over = span.answered);
    }

    /// Whether an identity may have this name: the last that was given, or one given meanwhile.
    pub fn may_be_named(&self, identity: &Identity<'_>, name: Option<&str>, span: Span) -> bool {
        let namings = || self.names.get(&who(identity)).into_iter().flatten();
        let is_later =
            |than: Step| namings().any(|naming| naming.begun > than && naming.over <= span.asked);
        match name {
            None => !is_later(0),
            Some(name) => namings().any(|naming| {
                naming.name == name && naming.begun < span.answered && !is_later(naming.over)
            }),
        }
    }

    /// Who was only found may be lost with all that was not on disk.
    pub fn keep_answered(&mut self) {
        self.users.retain(|who, _| self.answered.contains_key(who));
        self.identities.retain(|_, who| self.answered.contains_key(who));
    }

    /// Who an identity is, if its registration was answered by then.
    pub fn found(&self, identity: &Identity<'_>, asked: Step) -> Option<UserId> {
        let who = who(identity);
        self.answered.get(&who).filter(|answered| **answered < asked)?;
        self.users.get(&who).copied()
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
        let is_one =
            |name: &String| names.is_some_and(|names| names.iter().any(|one| one.name == *name));
        name.is_none_or(is_one)
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

    /// An identity was shown with its name.
    pub(super) fn see_name(
        &self,
        identity: &Identity<'_>,
        body: &OwnedValue,
        span: Span,
    ) -> Result<(), Failure> {
        let name = body.get_str("name");
        if !self.people.may_be_named(identity, name, span) {
            let words = format!("expected the last name given to {identity:?}, found {name:?}");
            return Err(failure("lists", UserId::SYSTEM, words));
        }
        Ok(())
    }
}
