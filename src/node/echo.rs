//! The echo: the same wire, ring and connections as the server's, behind which nobody lives who
//! knows chat. What comes is said back, so that public suites can try the protocols.
//!
//! Invariants:
//! 1. A message and the content of a request come back as they came, in order.
//! 2. A peer who reads nothing of what is said back is not heard any more: at most
//!    [`ECHO_UNSENT_BYTES`] and one message are kept for him.
//!
//! It is one shard on a store in memory whose rules are never asked. Left to others: what is legal
//! (`wire`), and everything that a shard does for its connections.

use crate::chat::directory::Directory;
use crate::chat::forget::Retention;
use crate::chat::shard::Place;
use crate::config::StoreKind;
use crate::ids::ShardId;
use crate::limits::ECHO_UNSENT_BYTES;
use crate::node::connection::{Connection, Errand};
use crate::node::control::{Phase, Report, Stage};
use crate::node::cuts::Cuts;
use crate::node::doctor;
use crate::node::launch::{
    Berth, ServeError, abort_on_panic, allowed_cores, listen, refuse_unfit, start_shard,
    watch_signals,
};
use crate::node::listener::Listeners;
use crate::node::mesh::{bells, meshes};
use crate::wire::session::{Dialect, Step, WireOptions};
use rustix::fd::OwnedFd;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};

/// Where to listen; port 0 becomes a free one.
#[derive(Clone, Copy, Debug)]
pub struct Ports {
    /// For WebSockets, which open on every path.
    pub ws: Option<SocketAddr>,
    /// For HTTP requests of every method and path.
    pub http: Option<SocketAddr>,
}

/// Says back whatever comes until a signal ends it.
pub fn serve(ports: Ports) -> Result<(), ServeError> {
    refuse_unfit(&doctor::examine_machine(Some(1)))?;
    let (http, http_socket) = listen_if("http", ports.http)?;
    let (ws, ws_socket) = listen_if("ws", ports.ws)?;
    let system = |doing| move |source| ServeError::System { doing, source };
    let bells = bells(1).map_err(system("make an eventfd"))?;
    let stage = Arc::new(Stage::new(bells.clone()));
    let (reports, inbox) = channel();
    abort_on_panic();
    watch_signals(reports.clone()).map_err(system("watch signals"))?;
    let berth = Berth {
        place: Place { shard: ShardId(0), shards: 1, lanes: 1 },
        mesh: meshes(&bells).pop().expect("one bell, one mesh"),
        listeners: Listeners::new(http_socket, ws_socket, u64::MAX),
        directory: Arc::new(Directory::new()),
        metrics: Arc::default(),
        options: WireOptions { dialect: Dialect::Bare, ..Default::default() },
        retention: Retention::default(),
        stage: stage.clone(),
        // There is no data folder to be cut, and nobody asks for it.
        cuts: Arc::new(Cuts::new(PathBuf::new(), bells)),
        reports,
        disk: None,
        readers: None,
    };
    start_shard(berth, allowed_cores()[0], StoreKind::Memory)?;
    watch(&inbox, &stage, || say_ready(ws, http))
}

fn listen_if(
    setting: &'static str,
    address: Option<SocketAddr>,
) -> Result<(Option<SocketAddr>, Option<OwnedFd>), ServeError> {
    let Some(address) = address else { return Ok((None, None)) };
    let (address, mut sockets) = listen(setting, address, 1)?;
    Ok((Some(address), sockets.pop()))
}

/// Moves the shard on, until it has ended.
fn watch(inbox: &Receiver<Report>, stage: &Stage, say_ready: impl Fn()) -> Result<(), ServeError> {
    for report in inbox {
        match report {
            Report::Opened => {
                stage.advance(Phase::Serving);
                say_ready();
            }
            Report::Replayed => {}
            Report::Signal => stage.advance(Phase::Draining),
            Report::Drained => stage.advance(Phase::Stopping),
            Report::Ended(shard, result) => {
                return result.map_err(|error| ServeError::Shard(shard, error));
            }
        }
    }
    Ok(())
}

fn say_ready(ws: Option<SocketAddr>, http: Option<SocketAddr>) {
    let addresses = [("ws", ws), ("http", http)].into_iter();
    let words = addresses.filter_map(|(name, address)| Some(format!(" {name}={}", address?)));
    let mut out = io::stdout().lock();
    // A closed standard output is the caller's choice.
    let _ = writeln!(out, "ready{}", words.collect::<String>());
    let _ = out.flush();
}

/// Says back what came. `false`: so much is unsent that nothing more is heard until it has left.
pub(super) fn say_back(connection: &mut Connection, said: &Step<'_>) -> bool {
    match said {
        Step::Message(form, message) => {
            connection.session.say(*form, message, &mut connection.out);
        }
        Step::Content(content) => connection.session.answer(200, content, &mut connection.out),
        Step::More | Step::Handled | Step::Request(_) => {}
    }
    let is_slow = connection.unsent() > ECHO_UNSENT_BYTES;
    if is_slow {
        connection.errand = Some(Errand::SendFirst);
    }
    !is_slow
}

#[cfg(test)]
#[path = "echo_tests.rs"]
mod tests;
