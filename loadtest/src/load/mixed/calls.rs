//! Calls over HTTP by many people on some connections: one at a time on each, in the order in
//! which they were asked for.
//!
//! A server may close a connection on which nothing is asked; it is opened again when it is
//! needed. A call that such an end has overtaken is made once more: all of them may be repeated.

use crate::load::answers::{Answer, Answers};
use crate::load::sockets::{Opening, Sockets, Transport};
use anyhow::{Context, Result, ensure};
use std::collections::VecDeque;
use std::net::SocketAddr;

/// The connections, and who waits for one.
pub struct Calls {
    opening: Opening,
    lines: Vec<Line>,
    free: Vec<usize>,
    waiting: VecDeque<(usize, String)>,
}

/// One connection.
#[derive(Default)]
struct Line {
    answers: Answers,
    /// Who asked, and what.
    asked: Option<(usize, String)>,
    state: State,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// It may have ended without our knowing.
    #[default]
    Open,
    /// It was opened for the call that is under way.
    Fresh,
    Ended,
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
        let free = (0..count).rev().collect();
        Ok(Calls { opening, lines, free, waiting: VecDeque::new() })
    }

    /// How many places they have.
    pub fn places(&self) -> usize {
        self.lines.len()
    }

    /// Sends a request for somebody as soon as a connection is free.
    ///
    /// # Errors
    /// When there are too few descriptors or ports.
    pub fn ask(&mut self, sockets: &mut Sockets, asker: usize, request: String) -> Result<()> {
        self.waiting.push_back((asker, request));
        self.send_waiting(sockets)
    }

    /// Sends what waits, as far as connections are free.
    ///
    /// # Errors
    /// The same.
    pub fn send_waiting(&mut self, sockets: &mut Sockets) -> Result<()> {
        while !self.waiting.is_empty()
            && let Some(place) = self.free.pop()
            && let Some(asked) = self.waiting.pop_front()
        {
            let line = &mut self.lines[place];
            if line.state == State::Ended {
                sockets.reopen_as(place, &self.opening)?;
                *line = Line { state: State::Fresh, ..Line::default() };
            }
            sockets.outbound(place).extend_from_slice(asked.1.as_bytes());
            line.asked = Some(asked);
        }
        Ok(())
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
        let Line { answers, asked, state } = &mut self.lines[place];
        let free = &mut self.free;
        *state = State::Open;
        answers.receive(bytes, |answer| {
            let (asker, _) = asked.take().context("an answer that nobody asked for")?;
            free.push(place);
            show(asker, answer)
        })
    }

    /// A connection has ended.
    ///
    /// # Errors
    /// When it was opened for a call and did not answer that.
    pub fn ended(&mut self, place: usize, why: &str) -> Result<()> {
        let line = &mut self.lines[place];
        ensure!(line.state != State::Fresh, "an HTTP connection ended: {why}");
        line.state = State::Ended;
        if let Some(asked) = line.asked.take() {
            self.waiting.push_front(asked);
            self.free.push(place);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::PATIENCE;
    use crate::http::post;
    use crate::load::sockets::Said;
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use std::time::{Duration, Instant};

    /// Rounds until somebody has his answer, or an error.
    fn answered(calls: &mut Calls, sockets: &mut Sockets) -> Result<usize> {
        let (begun, mut who) = (Instant::now(), None);
        while who.is_none() {
            ensure!(begun.elapsed() < PATIENCE, "no answer came");
            sockets.round(Duration::from_millis(50), |place, said, _| match said {
                Said::Gone(why) => calls.ended(place, &why),
                said => calls.receive(place, said.payload()?, |asker, _| {
                    who = Some(asker);
                    Ok(())
                }),
            })?;
            calls.send_waiting(sockets)?;
        }
        who.context("somebody")
    }

    /// A server that answers so many calls, each on a connection that it closes then, and takes
    /// one more connection without a word.
    fn server(answers: usize) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("bound");
        std::thread::spawn(move || {
            for number in 0..=answers {
                let (mut stream, _) = listener.accept().expect("a client");
                let mut part = [0; 1024];
                let count = stream.read(&mut part).expect("a request");
                assert!(count > 0);
                if number < answers {
                    let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]";
                    stream.write_all(answer).expect("a client");
                }
            }
        });
        address
    }

    #[test]
    fn a_connection_that_the_server_closes_is_opened_again_when_it_is_needed() {
        let mut sockets = Sockets::new().expect("a ring");
        let mut calls = Calls::open(&mut sockets, server(2), 1).expect("begun");
        for person in [7, 8] {
            calls.ask(&mut sockets, person, post("/x", "{}")).expect("begun");
            assert_eq!(answered(&mut calls, &mut sockets).expect("an answer"), person);
        }
        calls.ask(&mut sockets, 9, post("/x", "{}")).expect("begun");
        assert!(answered(&mut calls, &mut sockets).is_err(), "it never answers");
    }
}
