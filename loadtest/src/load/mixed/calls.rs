//! Calls over HTTP by many people on some connections: one at a time on each, in the order in
//! which they were asked for.

use crate::load::answers::{Answer, Answers};
use crate::load::sockets::{Opening, Sockets, Transport};
use anyhow::{Context, Result};
use std::collections::VecDeque;
use std::net::SocketAddr;

/// The connections, and who waits for one.
pub struct Calls {
    lines: Vec<Line>,
    free: Vec<usize>,
    waiting: VecDeque<(usize, String)>,
}

/// One connection.
#[derive(Default)]
struct Line {
    answers: Answers,
    asker: Option<usize>,
}

impl Calls {
    /// Opens so many connections: they must be the first of these sockets.
    ///
    /// # Errors
    /// When there are too few descriptors or ports.
    pub fn open(sockets: &mut Sockets, server: SocketAddr, count: usize) -> Result<Calls> {
        let opening = Opening { server, transport: Transport::Stream };
        for place in 0..count {
            let opened = sockets.open_as(&opening)?;
            assert_eq!(opened, place, "they are the first");
        }
        let lines = (0..count).map(|_| Line::default()).collect();
        Ok(Calls { lines, free: (0..count).rev().collect(), waiting: VecDeque::new() })
    }

    /// How many places they have.
    pub fn places(&self) -> usize {
        self.lines.len()
    }

    /// Sends a request for somebody as soon as a connection is free.
    pub fn ask(&mut self, sockets: &mut Sockets, asker: usize, request: String) {
        self.waiting.push_back((asker, request));
        self.send_waiting(sockets);
    }

    /// Sends what waits, as far as connections are free.
    pub fn send_waiting(&mut self, sockets: &mut Sockets) {
        while !self.waiting.is_empty()
            && let Some(place) = self.free.pop()
            && let Some((asker, request)) = self.waiting.pop_front()
        {
            self.lines[place].asker = Some(asker);
            sockets.outbound(place).extend_from_slice(request.as_bytes());
        }
    }

    /// Takes what came on a connection and shows each answer to who asked.
    ///
    /// # Errors
    /// When it is no answer, and whatever `show` says.
    pub fn receive(
        &mut self,
        place: usize,
        bytes: &[u8],
        mut show: impl FnMut(usize, Answer<'_>) -> Result<()>,
    ) -> Result<()> {
        let (line, free) = (&mut self.lines[place], &mut self.free);
        let asker = &mut line.asker;
        line.answers.receive(bytes, |answer| {
            let asker = asker.take().context("an answer that nobody asked for")?;
            free.push(place);
            show(asker, answer)
        })
    }
}
