//! People of the test world: what they do, in few words.

use crate::api::{Acked, ChatType, Draft, Identity, MessageType, Reply, Request};
use crate::ids::{ConnectionId, MessageId, UserId};
use crate::sim::world::{Kept, Sent, World};

/// A connected user.
#[derive(Clone, Copy, Debug)]
pub struct Person {
    /// Who.
    pub user: UserId,
    /// His connection.
    pub connection: ConnectionId,
}

/// An identity of the company "c" and its application "a".
pub fn identity(name: &str) -> Identity<'static> {
    Identity { company: "c".into(), app: "a".into(), third_user_id: name.to_owned().into() }
}

/// A message id.
pub fn id(number: i64) -> MessageId {
    MessageId::new(number).expect("ids are positive")
}

/// A text message.
pub fn text(number: i64, to: UserId, content: &str) -> Draft<'_> {
    Draft {
        id: MessageId::new(number),
        from: None,
        to,
        team: None,
        kind: MessageType::Text,
        chat_type: ChatType::Single,
        event: None,
        content,
        timestamp_ms: None,
    }
}

impl World {
    /// Registers a name and returns its user.
    pub fn register(&mut self, name: &str) -> UserId {
        match self.call(Request::Register { identity: identity(name), name: None }) {
            Sent::Reply(Reply::Registered(user)) => user,
            other => panic!("registering was answered with {other:?}"),
        }
    }

    /// Connects a user; what he is welcomed with stays to be taken.
    pub fn connect(&mut self, user: UserId) -> Person {
        let home = self.home(user);
        let connection = self.connection(home);
        let token = "token".into();
        let request = Request::Auth { user, token, id: None };
        self.ask(connection, None, request);
        self.sync(usize::from(home.0));
        Person { user, connection }
    }

    /// Ends a connection.
    pub fn disconnect(&mut self, person: Person) {
        let Person { user, connection } = person;
        self.close(connection, user);
    }

    /// Puts a message on a connection; it is acked when its shard has synced.
    pub fn send(&mut self, person: Person, draft: Draft<'_>) {
        self.ask(person.connection, Some(person.user), Request::Send(draft));
    }

    /// Puts a client's Ack on a connection.
    pub fn ack(&mut self, person: Person, acked: Acked<'_>) {
        self.ask(person.connection, Some(person.user), Request::Ack(acked));
    }

    /// A list of messages.
    pub fn messages(&mut self, request: Request<'static>) -> Vec<Kept> {
        match self.call(request) {
            Sent::Messages(messages) => messages,
            other => panic!("a list of messages was answered with {other:?}"),
        }
    }

    /// All that waits for a user's ack.
    pub fn offline(&mut self, user: UserId) -> Vec<Kept> {
        self.messages(Request::Offline { user, after_seq: 0, limit: 10_000 })
    }

    /// A user's newest messages, at most 200.
    pub fn history(&mut self, user: UserId) -> Vec<Kept> {
        let start = crate::api::PageStart::Number(1);
        self.messages(Request::Page { user, start, size: 200 })
    }
}
