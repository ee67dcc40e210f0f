//! The evening: faults end, everybody comes home, all comes to rest, and a clerk asks for all.

use super::Town;
use crate::api::{PageStart, Request};
use crate::ids::UserId;
use crate::limits::{PAGE_SIZE_MAX, REDELIVER_AFTER_MS};
use crate::sim::chronicle::Halt;
use crate::sim::network::SocketId;
use crate::sim::observation::{Failure, Observation, Sizes};
use simd_json::prelude::*;

/// Virtual microseconds in which everything must have come to rest.
const REST_US: u64 = 60_000_000;
/// And in which a call must be answered.
const ANSWER_US: u64 = 10_000_000;
/// Marks are sent, and chores done, in less.
const QUIET_US: u64 = 2_000_000;

fn restless(words: String) -> Failure {
    Failure::of("rest", words)
}

impl Town<'_> {
    pub(super) fn pass_evening(&mut self) -> Result<(), Failure> {
        self.ground.chronicle.tell_of(format_args!("town"), format_args!("evening comes"));
        match self.make_peace() {
            Err(Halt::Failed(failure)) => return Err(failure),
            Err(halt) => unreachable!("peace breaks nothing: {halt:?}"),
            Ok(()) => {}
        }
        self.come_to_rest()?;
        if self.plan.has_night {
            self.pass(REDELIVER_AFTER_MS * 1_000)?;
            self.come_to_rest()?;
            self.crowd.witness(Observation::Morning, &self.ground)?;
        }
        let sizes = self.sizes();
        self.crowd.witness(Observation::Evening, &self.ground)?;
        self.crowd.witness(Observation::Sizes(&sizes), &self.ground)?;
        self.ask_everything()?;
        self.audit()?;
        self.crowd.checkers().end()
    }

    /// All that is under way ends, and everybody is there.
    fn come_to_rest(&mut self) -> Result<(), Failure> {
        let end = self.ground.chronicle.now_us + REST_US;
        loop {
            self.pass(300_000)?;
            if self.is_at_rest() {
                break;
            }
            self.crowd.come_home(&mut self.ground)?;
            if self.ground.chronicle.now_us > end {
                return Err(restless(self.unrest()));
            }
        }
        self.pass(QUIET_US)
    }

    /// Lets time pass.
    fn pass(&mut self, micros: u64) -> Result<(), Failure> {
        let end = self.ground.chronicle.now_us + micros;
        while self.ground.chronicle.now_us < end {
            self.step()?;
        }
        Ok(())
    }

    fn is_at_rest(&mut self) -> bool {
        let is_everybody_home = self.crowd.is_everybody_home();
        let is_still = self.ground.mesh.waiting_max() == 0 && self.ground.network.in_flight() == 0;
        let all = self.hosts.len() == usize::from(self.plan.shards);
        let is_quiet = self.is_serving && all && self.hosts.iter().all(|host| host.is_at_rest());
        is_everybody_home && is_still && is_quiet && self.sizes().outbox_rows == 0
    }

    /// Why it is not at rest.
    fn unrest(&mut self) -> String {
        let resting: Vec<bool> = self.hosts.iter().map(|host| host.is_at_rest()).collect();
        let (parcels, bytes) = (self.ground.mesh.waiting_max(), self.ground.network.in_flight());
        let (home, sizes) = (self.crowd.is_everybody_home(), self.sizes());
        format!(
            "no rest after {} s: shards at rest {resting:?}, all at home {home}, {parcels} parcels \
             and {bytes} bytes on their way, {sizes:?}",
            REST_US / 1_000_000
        )
    }

    /// What the server holds.
    pub(super) fn sizes(&mut self) -> Sizes {
        let mut most = Sizes::default();
        for host in &mut self.hosts {
            let one = host.sizes();
            most.overlay_bytes = most.overlay_bytes.max(one.overlay_bytes);
            most.log_waiting_bytes = most.log_waiting_bytes.max(one.log_waiting_bytes);
            most.session_unsent_bytes = most.session_unsent_bytes.max(one.session_unsent_bytes);
            most.unsent_bytes = most.unsent_bytes.max(one.unsent_bytes);
            most.session_held_bytes = most.session_held_bytes.max(one.session_held_bytes);
            most.held_bytes = most.held_bytes.max(one.held_bytes);
            most.parked = most.parked.max(one.parked);
            most.outbox_rows += one.outbox_rows;
        }
        most.lane_parcels = self.ground.mesh.waiting_max();
        most
    }

    /// The clerk asks for everything of everybody.
    fn ask_everything(&mut self) -> Result<(), Failure> {
        let mut clerk = None;
        for identity in self.crowd.identities() {
            self.ask(&mut clerk, Request::Find(identity))?;
        }
        let users = self.crowd.users();
        for user in &users {
            self.ask_pages(&mut clerk, &|start, size| Request::Page { user: *user, start, size })?;
            let limit = 10_000;
            self.ask(&mut clerk, Request::Offline { user: *user, after_seq: 0, limit })?;
            self.ask(&mut clerk, Request::ChatList { user: *user, limit: 1_000 })?;
            self.ask(&mut clerk, Request::UnreadCount(*user))?;
            for peer in &users {
                let (owner, peer): (UserId, UserId) = (*user, *peer);
                let page = |start, size| Request::PairPage { owner, peer, start, size };
                self.ask_pages(&mut clerk, &page)?;
            }
        }
        Ok(())
    }

    /// Asks for one page after the other, until one is not full.
    fn ask_pages(
        &mut self,
        clerk: &mut Option<SocketId>,
        page: &dyn Fn(PageStart, u16) -> Request<'static>,
    ) -> Result<(), Failure> {
        for number in 1.. {
            let items = self.ask(clerk, page(PageStart::Number(number), PAGE_SIZE_MAX))?;
            if items < usize::from(PAGE_SIZE_MAX) {
                break;
            }
        }
        Ok(())
    }

    /// Asks and waits for the answer; the number of items in it.
    fn ask(
        &mut self,
        clerk: &mut Option<SocketId>,
        call: Request<'static>,
    ) -> Result<usize, Failure> {
        let words = format!("{call:?} was not answered");
        *clerk = Some(self.crowd.clerk_calls(*clerk, call, &mut self.ground)?);
        let end = self.ground.chronicle.now_us + ANSWER_US;
        while self.ground.chronicle.now_us < end {
            self.step()?;
            if let Some((_, _, body)) = self.crowd.take_answer() {
                return Ok(body.as_array().map_or(0, Vec::len));
            }
        }
        Err(restless(words))
    }
}
