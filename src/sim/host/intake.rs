//! From received bytes to events, as in `node::intake`.

use super::cold::Waiting;
use super::words;
use super::{Ground, Host};
use crate::api::{Refusal, Reply, Request};
use crate::chat::event::Event;
use crate::chat::kept::KeptRequest;
use crate::chat::way::{Here, Way};
use crate::sim::chronicle::Halt;
use crate::sim::coverage::Stage;
use crate::sim::lines::{Errand, Line, Token, id_of};
use crate::sim::mesh::Parcel;
use crate::sim::network::SocketId;
use crate::wire::encode;
use crate::wire::session::{Port, Session, Step};

impl Host {
    /// A peer has connected.
    pub fn accept(&mut self, socket: SocketId, port: Port, ground: &mut Ground<'_>) {
        let token = self.lines.insert(Line::new(socket, Session::new(port)));
        ground.network.listen(socket, Some((self.place.shard, token)));
        self.touch(token);
    }

    /// Bytes of a peer have arrived.
    pub fn receive(
        &mut self,
        token: Token,
        bytes: Vec<u8>,
        ground: &mut Ground<'_>,
    ) -> Result<(), Halt> {
        if let Some(line) = self.lines.get(token) {
            line.waiting += 1;
            self.inbox.push_back((token, bytes));
        }
        ground.chronicle.pass(self.place.shard, Stage::Received)
    }

    /// A peer sends no more; or its socket has failed.
    pub fn receive_end(&mut self, token: Token, is_dead: bool) {
        if let Some(line) = self.lines.get(token) {
            line.flags.ended = true;
            line.flags.dead |= is_dead;
        }
        self.touch(token);
    }

    /// Goes on with what was parked, then decodes what waits, oldest first.
    pub(super) fn decode_all(&mut self, ground: &mut Ground<'_>) -> Result<(), Halt> {
        self.resume_parked(ground)?;
        for _ in 0..self.ready.len() {
            if self.is_turn_full(ground) {
                return Ok(());
            }
            let Some(token) = self.ready.pop_front() else { break };
            if let Some(line) = self.lines.get(token) {
                line.flags.ready = false;
                self.decode_window(token, ground)?;
                self.touch(token);
            }
        }
        while !self.is_turn_full(ground) {
            let Some((token, bytes)) = self.inbox.pop_front() else { break };
            self.touch(token);
            let Some(line) = self.lines.get(token) else { continue };
            line.waiting -= 1;
            line.window.extend_from_slice(&bytes);
            self.decode_window(token, ground)?;
        }
        Ok(())
    }

    fn decode_window(&mut self, token: Token, ground: &mut Ground<'_>) -> Result<(), Halt> {
        let Some(line) = self.lines.get(token).filter(|line| !line.is_held()) else {
            return Ok(());
        };
        let mut window = std::mem::take(&mut line.window);
        let done = self.decode(token, &mut window, ground)?;
        window.drain(..done);
        if let Some(line) = self.lines.get(token) {
            line.window = window;
        }
        Ok(())
    }

    fn decode(
        &mut self,
        token: Token,
        input: &mut [u8],
        ground: &mut Ground<'_>,
    ) -> Result<usize, Halt> {
        let mut done = 0;
        if self.reach(token).is_none() {
            return Ok(input.len());
        }
        while !self.is_turn_full(ground) {
            let (used, more) = self.decode_one(token, &mut input[done..], ground)?;
            done += used;
            if !more {
                return Ok(done);
            }
        }
        self.make_ready(token);
        Ok(done)
    }

    /// Decodes one thing and does what it asks; `false`: nothing more can be decoded now.
    fn decode_one(
        &mut self,
        token: Token,
        input: &mut [u8],
        ground: &mut Ground<'_>,
    ) -> Result<(usize, bool), Halt> {
        let (shard, now_ms) = (self.place.shard, self.now.steady_ms as u32);
        let id = id_of(shard, token);
        let Some(line) = self.lines.get(token) else { return Ok((input.len(), false)) };
        let (used, step) = line.session.next(&mut self.codec, input, &mut line.out);
        let request = match step {
            Step::More => return Ok((used, false)),
            Step::Handled => return Ok((used, true)),
            Step::Request(request) => request,
            Step::Message(..) | Step::Content(_) => unreachable!("nobody here speaks that"),
        };
        let socket = line.socket.0;
        let chronicle = &mut ground.chronicle;
        if chronicle.is_told() {
            let words = words::of_request(&request);
            chronicle.tell(shard, format_args!("decodes of c{socket}: {words}"));
        }
        chronicle.pass(shard, Stage::Decoded)?;
        let user = line.session.user();
        let (place, forwarded) = (self.place, self.forwarded);
        let here = Here { place, directory: &ground.directory, forwarded, now_ms };
        match line.habits.way(&request, user, &here) {
            Way::Here => {
                self.applied += 1;
                let needs = self.shard.needs(user, &request)?;
                if !needs.is_empty() && self.parking.has_room() {
                    line.flags.parked = true;
                    let waiting = Waiting::Request(id, user, KeptRequest::of(request));
                    self.parking.park(waiting, needs, 1, &mut self.wants);
                    chronicle.pass(shard, Stage::Parked)?;
                    return Ok((used, false));
                }
                let event = Event::Request { connection: id, user, request };
                self.shard.apply(event, &self.now, &mut self.turn)?;
                chronicle.pass(shard, Stage::Applied)?;
            }
            Way::Forward(home) => {
                self.forwarded += 1;
                ground.mesh.post(shard, home, Parcel::Forward(id, request.into_owned()));
                chronicle.pass(shard, Stage::Forwarded)?;
            }
            Way::Leave(home) => {
                line.errand = Some(Errand::Leave(home, request.into_owned()));
                return Ok((used, false));
            }
            Way::Nobody => {
                let Request::Auth { id, .. } = request else { unreachable!("only Auth asks") };
                line.session.refuse_auth(id, Refusal::NotAuthenticated, &mut line.out);
            }
            Way::Busy => {
                self.body.clear();
                let reply = Reply::Refused(Refusal::Busy);
                let status = encode::reply_body(&reply, &self.options, &mut self.body);
                line.session.answer(status, &self.body, &mut line.out);
            }
        }
        Ok((used, true))
    }

    /// Puts a line on the list of those to settle.
    pub(super) fn touch(&mut self, token: Token) {
        let Some(line) = self.lines.get(token) else { return };
        if !std::mem::replace(&mut line.flags.touched, true) {
            self.touched.push(token);
        }
    }

    /// Puts a line on the list of those to decode.
    pub(super) fn make_ready(&mut self, token: Token) {
        let Some(line) = self.lines.get(token) else { return };
        if !std::mem::replace(&mut line.flags.ready, true) {
            self.ready.push_back(token);
        }
    }

    /// A line that can still be told something.
    pub(super) fn reach(&mut self, token: Token) -> Option<&mut Line> {
        self.touch(token);
        self.lines.get(token).filter(|line| !line.is_over())
    }
}
