//! Users of a tenant of their own, registered over pipelined HTTP, and their sessions.

use super::driver::seed::Seed;
use super::driver::{Driver, Heard};
use super::part::Part;
use super::sockets::{Opening, Said, Sockets, Transport};
use super::stages::Stages;
use super::{process, reach};
use crate::arguments;
use crate::http::{Client, post};
use crate::interrupt;
use crate::outcome::Outcome;
use crate::world::{EPOCH_MS, now_ms};
use anser::config::reached_at;
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// HTTP connections that ask for something together: a server answers each in the order of its
/// requests, and what is to be on the disk first is waited for once for all.
const CLIENTS: usize = 16;
/// Requests in flight on each.
const PIPELINED: usize = 16;
/// Connections that are not ready yet, at most: beyond what a listener keeps waiting, connecting
/// takes seconds.
pub const CONNECTING: usize = 256;
/// Files that a thread's table needs to hold beside its connections.
pub const FILES_BESIDE: usize = 200;
/// A server that has no more files left than this takes no more connections, for all that is known.
const FILES_LEFT: usize = 1024;
/// After so long without one more that is ready, no more will be.
const STALLED_AFTER: Duration = Duration::from_secs(10);
/// Between two looks at lists from which something must leave.
const PAUSE: Duration = Duration::from_millis(100);
/// How long all sessions together may take to get ready, or to drain.
pub const SETTLE_WITHIN: Duration = Duration::from_secs(60);

/// Where the server is and which process it is.
#[derive(Clone, Debug, clap::Args)]
pub struct Target {
    /// The server's HTTP port.
    #[arg(long, default_value = "127.0.0.1:8093", value_parser = reached_at)]
    pub http: SocketAddr,
    /// The server's WebSocket port.
    #[arg(long, default_value = "127.0.0.1:6666", value_parser = reached_at)]
    pub ws: SocketAddr,
    /// The server's process id: its CPU and memory are reported then.
    #[arg(long)]
    pub server_pid: Option<u32>,
    /// The server's admin port: where its time goes is reported then.
    #[arg(long, value_parser = reached_at)]
    pub admin: Option<SocketAddr>,
    /// Connections that one thread has at most, if not as many as it may have files open.
    #[arg(long, value_parser = arguments::several)]
    pub connections_per_thread: Option<usize>,
    /// Which part of a run this is.
    #[arg(skip)]
    pub part: Part,
}

impl Target {
    /// A server of which nothing else is known.
    pub fn at(http: SocketAddr, ws: SocketAddr) -> Target {
        let (server_pid, admin, connections_per_thread) = (None, None, None);
        Target { http, ws, server_pid, admin, connections_per_thread, part: Part::default() }
    }

    /// The same for one part of a run.
    pub fn with(&self, part: Part) -> Target {
        Target { part, ..self.clone() }
    }

    /// What each of the parts of a run does, made for a target of that part.
    ///
    /// # Errors
    /// When a thread may have too few files open.
    pub fn divided<S>(
        &self,
        units: usize,
        per_unit: usize,
        make: impl Fn(Target) -> S,
    ) -> Result<Vec<(Part, S)>> {
        let parts = self.parts(units, per_unit)?.into_iter();
        Ok(parts.map(|part| (part.clone(), make(self.with(part)))).collect())
    }

    /// The parts in which a run has so many connections, `per_unit` for each of so many units.
    ///
    /// # Errors
    /// When a thread may have too few files open.
    pub fn parts(&self, units: usize, per_unit: usize) -> Result<Vec<Part>> {
        Part::all(units, per_unit, self.connections_per_thread)
    }

    /// Looks whether the server and its process are there.
    ///
    /// # Errors
    /// When something of it is not.
    pub fn check(&self) -> Result<()> {
        reach::listens(self.http, "--http")?;
        reach::listens(self.ws, "--ws")?;
        self.check_watched()
    }

    /// Looks whether what tells what the server uses is there, as far as it is named.
    ///
    /// # Errors
    /// When something of it is not.
    pub fn check_watched(&self) -> Result<()> {
        self.admin.map_or(Ok(()), reach::is_admin)?;
        self.server_pid.map_or(Ok(()), reach::is_process)
    }

    /// The server's CPU time so far, ms; 0 when its process is not known.
    pub fn cpu_ms(&self) -> u64 {
        self.server_pid.and_then(process::cpu_ms).unwrap_or(0)
    }

    /// The same by the names of its threads.
    pub fn threads_cpu_ms(&self) -> BTreeMap<String, u64> {
        self.server_pid.and_then(process::threads_cpu_ms).unwrap_or_default()
    }

    /// The CPU time of all processes but the server's and this one's, see
    /// [`process::others_cpu_ms`].
    pub fn others_cpu_ms(&self) -> BTreeMap<String, u64> {
        let ours = [Some(std::process::id()), self.server_pid];
        process::others_cpu_ms(&ours.into_iter().flatten().collect::<Vec<u32>>())
    }

    /// Whether what the server uses can be told; the outcome says so when it cannot.
    pub fn is_process_known(&self, outcome: &mut Outcome) -> bool {
        let words = match self.server_pid {
            Some(_) if self.is_process_there() => return true,
            Some(_) => "what the server used is not known: its process has ended",
            None => "what the server used is not known: name its process (--server-pid)",
        };
        outcome.flag_once(words);
        false
    }

    /// The server's process is known, and has not ended.
    pub fn is_process_there(&self) -> bool {
        self.server_pid.and_then(process::resident_bytes).is_some()
    }

    /// How long the server's stages took so far; nothing when its admin port is not known.
    pub fn stages(&self) -> Option<Stages> {
        self.admin.map(Stages::ask)
    }

    /// Bytes that the server has had written to disks so far; 0 when its process is not known.
    pub fn written_bytes(&self) -> u64 {
        self.server_pid.and_then(process::written_bytes).unwrap_or(0)
    }

    /// The server's resident memory, bytes; 0 when its process is not known.
    pub fn resident_bytes(&self) -> u64 {
        self.server_pid.and_then(process::resident_bytes).unwrap_or(0)
    }

    /// Posts many requests on a few connections and gives their JSON answers in order.
    ///
    /// # Errors
    /// When one is refused.
    pub fn post_all(
        &self,
        path: &str,
        bodies: impl Iterator<Item = Value>,
        mut each: impl FnMut(Value) -> Result<()>,
    ) -> Result<()> {
        let requests: Vec<String> = bodies.map(|body| post(path, &body.to_string())).collect();
        let count = requests.len().div_ceil(PIPELINED).min(CLIENTS);
        let mut clients: Vec<Client> = (0..count).map(|_| Client::connect(self.http)).collect();
        for together in requests.chunks(PIPELINED * CLIENTS) {
            interrupt::check()?;
            self.part.check()?;
            let parts = || together.chunks(PIPELINED);
            clients.iter_mut().zip(parts()).for_each(|(client, part)| client.send(part.concat()));
            for (client, part) in clients.iter_mut().zip(parts()) {
                for _ in part {
                    let answer = client.answer();
                    let (http, status) = (self.http, answer.status);
                    let advice = if status == 404 { ": is it the HTTP port?" } else { "" };
                    let words = answer.body.trim();
                    ensure!(status == 200, "{http} says {status} to {path}{advice} {words}");
                    each(answer.json())?;
                }
            }
        }
        Ok(())
    }

    /// Registers so many new users.
    ///
    /// # Errors
    /// When the server refuses.
    pub fn register(&self, count: usize) -> Result<Vec<i64>> {
        let part = self.part.number();
        let company = format!("load {} {} {part}", std::process::id(), now_ms());
        let bodies = (0..count)
            .map(|number| json!({"company": company, "app": "load", "thirdUserId": number}));
        let mut users = Vec::with_capacity(count);
        self.post_all("/im/user/register", bodies, |answer| {
            users.push(answer["userId"].as_i64().context("a user id")?);
            Ok(())
        })?;
        Ok(users)
    }

    /// Connects and authenticates each user on sockets that are new; all are ready when this
    /// returns, each at the place of his index.
    ///
    /// # Errors
    /// When one is refused, or no more become ready.
    pub fn connect(&self, sockets: Sockets, users: &[i64]) -> Result<Sockets> {
        let seed = Seed::new(Opening::seed(self.ws));
        self.connect_as(&seed, sockets, users).map(|connected| connected.0)
    }

    /// The same in any protocol.
    ///
    /// # Errors
    /// The same.
    pub fn connect_as<D: Driver>(
        &self,
        driver: &D,
        mut sockets: Sockets,
        users: &[i64],
    ) -> Result<(Sockets, Vec<D::Session>)> {
        let mut sessions: Vec<D::Session> = (self.part.first_connection()..)
            .zip(users)
            .map(|(place, user)| driver.session(place, *user))
            .collect();
        let (needed, most) = (users.len() + FILES_BESIDE, process::files_max());
        ensure!(
            needed <= most,
            "{needed} open files are needed, and the limit (ulimit -n) is {most}"
        );
        let (mut ready, server) = (0, driver.opening().server);
        let mut deadline = Instant::now() + STALLED_AFTER;
        while ready < users.len() {
            let before = ready;
            while sockets.count() < users.len().min(ready + CONNECTING) {
                let place = sockets.open_as(driver.opening())?;
                if driver.opening().transport == Transport::Stream {
                    driver.greet(&mut sessions[place], sockets.outbound(place));
                }
            }
            let heard = sockets.round(Duration::from_millis(100), |place, said, out| {
                if let Said::Upgraded = said {
                    driver.greet(&mut sessions[place], out);
                    return Ok(());
                }
                driver.hear(&mut sessions[place], said.payload()?, out, |heard| {
                    ensure!(heard == Heard::Ready, "before he is ready: {heard:?}");
                    ready += 1;
                    Ok(())
                })
            });
            // Who takes nobody at all is not full.
            let is_begun = ready > 0 || self.part.first_connection() > 0;
            let full = || if is_begun { self.full() } else { String::new() };
            heard.with_context(|| format!("connecting to {server}{}", full()))?;
            if ready > before {
                deadline = Instant::now() + STALLED_AFTER;
            }
            let is_stalled = Instant::now() >= deadline;
            ensure!(!is_stalled, "{ready} of {} are ready and no more{}", users.len(), full());
        }
        Ok((sockets, sessions))
    }

    /// What waits for each of these users, in order.
    ///
    /// # Errors
    /// When one is refused, and whatever `each` says.
    pub fn offline_lists(
        &self,
        users: &[i64],
        each: impl FnMut(Value) -> Result<()>,
    ) -> Result<()> {
        let bodies = users.iter().map(|user| json!({"userId": user}));
        self.post_all("/im/message/offline", bodies, each)
    }

    /// Waits until nothing waits for these users: Acks have no answer, and what was acked leaves
    /// the lists soon.
    ///
    /// # Errors
    /// When something stays.
    pub fn until_nothing_waits(&self, users: &[i64]) -> Result<()> {
        let deadline = Instant::now() + SETTLE_WITHIN;
        loop {
            let mut left = 0;
            self.offline_lists(users, |list| {
                left += list.as_array().map_or(0, Vec::len);
                Ok(())
            })?;
            if left == 0 {
                return Ok(());
            }
            ensure!(Instant::now() < deadline, "{left} messages were acked and still wait");
            std::thread::sleep(PAUSE);
        }
    }

    /// Why a server may take no more connections, as far as its process tells.
    fn full(&self) -> String {
        let Some(pid) = self.server_pid else {
            return " (it may have no files left for more: --server-pid tells)".to_owned();
        };
        let files = process::open_files(pid);
        let nearly_all = files.filter(|(open, most)| open + FILES_LEFT > *most);
        nearly_all.map_or(String::new(), |(open, most)| {
            format!("; the server has {open} files open, and its limit (ulimit -n) is {most}")
        })
    }
}

/// The id of an author's `number`-th message in this run: 19 digits, odd, rising.
#[derive(Clone, Copy, Debug)]
pub struct MessageIds(i64);

impl MessageIds {
    /// Ids of now.
    pub fn new() -> MessageIds {
        MessageIds(((now_ms() - EPOCH_MS) << 22) | 1)
    }

    /// The id of the `number`-th message, counted from 0.
    pub fn of(self, number: u64) -> i64 {
        self.0 + 2 * number as i64
    }

    /// Which message an id is of; `None` when it is of another run.
    pub fn number(self, id: i64) -> Option<u64> {
        let distance = u64::try_from(id.checked_sub(self.0)?).ok()?;
        distance.is_multiple_of(2).then_some(distance / 2)
    }
}

impl Default for MessageIds {
    fn default() -> MessageIds {
        MessageIds::new()
    }
}
