//! From received bytes to events: decoding, and carrying each request to where it goes.
//!
//! Invariants:
//! 1. Bytes of a connection are decoded in the order in which they came, each once.
//! 2. A request is applied on the shard that keeps its rows, and nowhere else.
//! 3. Behind a request that is answered elsewhere, or that makes the connection move, nothing is
//!    decoded until it is answered; behind one that is parked, until it is applied.
//!
//! Left to others: the protocols (`wire::session`), the rules and where a request goes (`chat`).

use crate::api::{Refusal, Reply, Request};
use crate::chat::event::Event;
use crate::chat::kept::KeptRequest;
use crate::chat::way::{Here, Way};
use crate::metrics::Counter;
use crate::node::clock::steady_nanos;
use crate::node::connection::Errand;
use crate::node::desk::Desk;
use crate::node::echo;
use crate::node::journeys::Wanted;
use crate::node::mesh::Parcel;
use crate::node::parking::Waiting;
use crate::node::profile::Arrival;
use crate::node::ring::{BUFFER_BYTES, Token};
use crate::store::{Store, StoreError};
use crate::wire::encode;
use crate::wire::session::Step;

impl<S: Store> Desk<S> {
    /// Decodes what has just been received, and what waited before it. What cannot be decoded
    /// yet goes to the connection's window.
    pub fn decode_received(
        &mut self,
        token: Token,
        bytes: &mut [u8],
        received_ns: u64,
    ) -> Result<(), StoreError> {
        let Some(connection) = self.table.get(token) else { return Ok(()) };
        if !connection.window.is_empty() || connection.is_held() {
            self.keep(token, bytes, received_ns);
            return self.decode_window(token);
        }
        let done = self.decode(token, bytes, received_ns)?;
        if done < bytes.len() {
            self.keep(token, &bytes[done..], received_ns);
        }
        Ok(())
    }

    /// Keeps bytes that cannot be decoded yet. A message counts from its last bytes; messages that
    /// wait for an earlier request all count from the first of them.
    fn keep(&mut self, token: Token, bytes: &[u8], received_ns: u64) {
        let Some(connection) = self.table.get(token) else { return };
        let waits_already = connection.is_held() && !connection.window.is_empty();
        connection.window.extend_from_slice(bytes);
        if !waits_already {
            self.table.wait_since(token, received_ns);
        }
    }

    /// Decodes what waits in the window (or is held by the session).
    pub fn decode_window(&mut self, token: Token) -> Result<(), StoreError> {
        let Some(connection) = self.table.get(token) else { return Ok(()) };
        if connection.is_held() {
            return Ok(());
        }
        let mut window = std::mem::take(&mut connection.window);
        let received_ns = self.table.received_ns(token, self.profile.round);
        let done = self.decode(token, &mut window, received_ns)?;
        window.drain(..done);
        if let Some(connection) = self.table.get(token)
            && !window.is_empty()
        {
            // What is counted is what waits: memory that held much more is not kept for it.
            if window.capacity() > BUFFER_BYTES && window.capacity() / 2 > window.len() {
                window.shrink_to_fit();
            }
            connection.window = window;
        }
        Ok(())
    }

    /// Decodes as much as can be; returns how many bytes are done with.
    fn decode(
        &mut self,
        token: Token,
        input: &mut [u8],
        received_ns: u64,
    ) -> Result<usize, StoreError> {
        let mut done = 0;
        let mut arrival = Arrival { received: received_ns, decoded: None };
        if self.reach(token).is_none() {
            return Ok(input.len());
        }
        while !self.is_turn_full() {
            let (used, more) = self.decode_one(token, &mut input[done..], &mut arrival)?;
            done += used;
            if !more {
                self.time_unfinished(token);
                return Ok(done);
            }
        }
        self.make_ready(token);
        Ok(done)
    }

    /// Starts the time that an unfinished request, or a WebSocket without a user, may last.
    fn time_unfinished(&mut self, token: Token) {
        let now_ms = self.now_ms();
        let Some(connection) = self.table.get(token) else { return };
        let is_unfinished = connection.session.is_unfinished();
        if is_unfinished && !connection.flags.unfinished || connection.session.is_closing() {
            self.table.begin(token, now_ms);
        }
        if let Some(connection) = self.table.get(token) {
            connection.flags.unfinished = is_unfinished;
        }
    }

    /// Decodes one thing and does what it asks; `false`: nothing more can be decoded now.
    fn decode_one(
        &mut self,
        token: Token,
        input: &mut [u8],
        arrival: &mut Arrival,
    ) -> Result<(usize, bool), StoreError> {
        let id = self.table.id(token);
        let now_ms = self.now_ms();
        let Some(connection) = self.table.get(token) else { return Ok((input.len(), false)) };
        let (used, step) = connection.session.next(&mut self.codec, input, &mut connection.out);
        let request = match step {
            Step::More => return Ok((used, false)),
            Step::Handled => {
                if let Some(refusal) = self.codec.take_refusal() {
                    self.metrics.refuse(refusal.reason());
                }
                return Ok((used, true));
            }
            Step::Request(request) => request,
            said => return Ok((used, echo::say_back(connection, &said))),
        };
        connection.flags.unfinished &= connection.session.is_websocket();
        let user = connection.session.user();
        let counter = match connection.session.is_websocket() {
            true => Counter::Frames,
            false => Counter::HttpRequests,
        };
        self.metrics.count(counter, 1);
        let (place, forwarded) = (self.place, self.forwarded);
        let here = Here { place, directory: &self.directory, forwarded, now_ms };
        match connection.habits.way(&request, user, &here) {
            Way::Here => {
                self.applied += 1;
                let journey = match (&request, user) {
                    (Request::Send(draft), Some(author)) => {
                        arrival.decoded.get_or_insert_with(steady_nanos);
                        Some(self.profile.begin(author, draft.to, *arrival))
                    }
                    _ => None,
                };
                let needs = self.shard.needs(user, &request)?;
                if !needs.is_empty() && self.parking.has_room() {
                    connection.flags.parked = true;
                    self.metrics.count(Counter::Parked, 1);
                    let (kept, journey) = (KeptRequest::of(request), journey.map(Box::new));
                    let waiting = Waiting::Request(id, user, kept, journey);
                    self.parking.park(waiting, needs, 1);
                    return Ok((used, false));
                }
                self.parking.begin_event();
                let event = Event::Request { connection: id, user, request };
                let before = Wanted::of(&self.turn);
                self.shard.apply(event, &self.now, &mut self.turn)?;
                if let Some(journey) = journey {
                    self.profile.journeys.add(journey, before, &self.turn);
                }
                self.end_event();
            }
            Way::Forward(home) => {
                self.forwarded += 1;
                self.metrics.count(Counter::Forwarded, 1);
                let parcel = Parcel::Forward(Box::new((id, request.into_owned())));
                self.mesh.post(home, parcel);
            }
            Way::Leave(home) => {
                let leave = Errand::Leave(Box::new((home, request.into_owned())));
                connection.errand = Some(leave);
                return Ok((used, false));
            }
            Way::Nobody => {
                let Request::Auth { id, .. } = request else { unreachable!("only Auth asks") };
                self.metrics.refuse(Refusal::NotAuthenticated.reason());
                connection.session.refuse_auth(id, Refusal::NotAuthenticated, &mut connection.out);
            }
            Way::Busy => {
                self.metrics.refuse(Refusal::Busy.reason());
                self.body.clear();
                let reply = Reply::Refused(Refusal::Busy);
                let status = encode::reply_body(&reply, &self.options, &mut self.body);
                connection.session.answer(status, &self.body, &mut connection.out);
            }
        }
        Ok((used, true))
    }
}

#[cfg(test)]
#[path = "intake_tests.rs"]
mod tests;
