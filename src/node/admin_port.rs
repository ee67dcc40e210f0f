//! The admin port: figures, health and a page over plain HTTP, on a thread of its own.
//!
//! Invariants:
//! 1. It never touches a shard: it reads figures, so it answers also when every shard is stuck.
//! 2. At most [`SERVED_MAX`] connections are served at once, each one request and at most
//!    [`PATIENCE`] long: a peer can hold little here and not for long.
//! 3. `/readyz` is 200 exactly while connections are accepted; `/healthz` is 503 once a shard's
//!    store has failed or a shard is silent.
//!
//! Left to others: what is written (`admin`), when the server is ready (`node::launch`).

use crate::admin::exposition::{self, Process};
use crate::admin::page::PAGE;
use crate::admin::profile::{self, Moment};
use crate::admin::status::{self, Health, Ports, Readiness};
use crate::limits;
use crate::metrics::ShardMetrics;
use crate::node::admin_cuts::{self, Asker};
use crate::node::clock::{self, steady_nanos};
use crate::node::cuts::Cuts;
use rustix::time::{ClockId, clock_gettime};
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

/// Connections served at once. Beyond: closed unanswered.
const SERVED_MAX: usize = 8;
/// Time for a request to arrive, and again for its answer to leave. Beyond: closed.
const PATIENCE: Duration = Duration::from_secs(2);
/// Headers of a request. Beyond: 431.
const HEADERS_MAX: usize = 64;

/// What the port shows; shared with whoever runs the server.
pub struct AdminState {
    metrics: Vec<Arc<ShardMetrics>>,
    durability: &'static str,
    steady_ms: Box<dyn Fn() -> u64 + Send + Sync>,
    readiness: AtomicU8,
    start: SystemTime,
    ports: Ports,
    /// Where there is a data folder.
    cuts: Option<Arc<Cuts>>,
}

impl AdminState {
    /// Figures by shard, the word for what an ack means, and the clock that heartbeats are set
    /// from. Begins as [`Readiness::Starting`].
    pub fn new(
        metrics: Vec<Arc<ShardMetrics>>,
        durability: &'static str,
        steady_ms: impl Fn() -> u64 + Send + Sync + 'static,
    ) -> AdminState {
        AdminState {
            metrics,
            durability,
            steady_ms: Box::new(steady_ms),
            readiness: AtomicU8::new(Readiness::Starting as u8),
            start: SystemTime::now(),
            ports: Ports::default(),
            cuts: None,
        }
    }

    /// The same, with cuts of a data folder to be had.
    pub fn with_cuts(self, cuts: Option<Arc<Cuts>>) -> AdminState {
        AdminState { cuts, ..self }
    }

    /// The same, knowing where users are served.
    pub fn with_ports(self, ports: Ports) -> AdminState {
        AdminState { ports, ..self }
    }

    /// Cuts of the data folder, where there is one.
    pub fn cuts(&self) -> Option<&Cuts> {
        self.cuts.as_deref()
    }

    /// Says how far the server is.
    pub fn set_readiness(&self, readiness: Readiness) {
        self.readiness.store(readiness as u8, SeqCst);
    }

    /// How far the server is.
    pub fn readiness(&self) -> Readiness {
        let word = self.readiness.load(SeqCst);
        let all = [Readiness::Starting, Readiness::Ready, Readiness::Draining];
        all.into_iter().find(|known| *known as u8 == word).unwrap_or(Readiness::Starting)
    }

    /// The answer to a path and its query; `None` where nothing is.
    fn answer(&self, path: &str, query: &str) -> Option<Answer> {
        let (durability, shards) = (self.durability, self.metrics.len());
        Some(match path {
            "/" => Answer::new(200, "text/html; charset=utf-8", PAGE.to_owned()),
            "/metrics" => {
                let text = exposition::render(&self.metrics, &self.process());
                Answer::new(200, exposition::CONTENT_TYPE, text)
            }
            "/healthz" => {
                let health = Health::of(&self.metrics, (self.steady_ms)());
                let code = if health.is_good() { 200 } else { 503 };
                Answer::new(code, JSON, status::health_json(&health, durability, shards))
            }
            "/readyz" => {
                let readiness = self.readiness();
                let code = if readiness == Readiness::Ready { 200 } else { 503 };
                Answer::new(code, JSON, status::readiness_json(readiness, durability, shards))
            }
            "/admin/ports" => Answer::new(200, JSON, status::ports_json(self.ports)),
            "/admin/latency" => self.profile(profile::latency_json),
            "/admin/slow" => match profile::slow_within(query) {
                Some(ns) => self.profile(|moment, shards| profile::slow_json(moment, shards, ns)),
                None => Answer::words(400, "ask for /admin/slow, or of it ?seconds=, up to 300"),
            },
            "/admin/away" => self.profile(profile::away_json),
            _ => return None,
        })
    }

    fn profile(&self, render: impl Fn(Moment, &[Arc<ShardMetrics>]) -> String) -> Answer {
        let unix_ms = clock::read().wall_micros.div_euclid(1000);
        let moment = Moment { steady_ns: steady_nanos(), unix_ms };
        Answer::new(200, JSON, render(moment, &self.metrics))
    }

    /// Figures of the process; one that cannot be read is 0.
    fn process(&self) -> Process {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = resident.and_then(|rest| rest.trim().trim_end_matches(" kB").parse::<u64>().ok());
        let cpu = clock_gettime(ClockId::ProcessCPUTime);
        let start = self.start.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Process {
            resident_bytes: kib.unwrap_or(0) * 1024,
            open_files: std::fs::read_dir("/proc/self/fd").map_or(0, |files| files.count() as u64),
            cpu_seconds: cpu.tv_sec as f64 + cpu.tv_nsec as f64 / 1e9,
            start_seconds: start.as_millis() as f64 / 1e3,
            durability: self.durability,
        }
    }
}

/// The running port. It serves until the process ends.
pub struct AdminPort {
    address: SocketAddr,
}

impl AdminPort {
    /// Serves on a bound listener from a thread of its own.
    pub fn start(listener: TcpListener, state: Arc<AdminState>) -> io::Result<AdminPort> {
        let address = listener.local_addr()?;
        thread::Builder::new().name("admin".to_owned()).spawn(move || accept(&listener, &state))?;
        Ok(AdminPort { address })
    }

    /// Where it listens; the port is the real one.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

fn accept(listener: &TcpListener, state: &Arc<AdminState>) {
    let served = Arc::new(AtomicUsize::new(0));
    loop {
        let Ok((stream, _)) = listener.accept() else {
            // No descriptors left, most likely: some come back as connections close.
            thread::sleep(Duration::from_millis(limits::ACCEPT_PAUSE_MS));
            continue;
        };
        if served.load(SeqCst) >= SERVED_MAX {
            continue;
        }
        served.fetch_add(1, SeqCst);
        let place = Place(Arc::clone(&served));
        let state = Arc::clone(state);
        // Without a thread the connection is dropped, and its place with it.
        let _ = thread::Builder::new().name("admin-peer".to_owned()).spawn(move || {
            let _place = place;
            // A peer that breaks off gets no answer; there is nobody to tell.
            let _ = serve(stream, &state);
        });
    }
}

/// One of the [`SERVED_MAX`].
struct Place(Arc<AtomicUsize>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, SeqCst);
    }
}

pub(super) const JSON: &str = "application/json";
const PLAIN: &str = "text/plain; charset=utf-8";

pub(super) struct Answer {
    code: u16,
    media: &'static str,
    body: String,
    head_only: bool,
}

impl Answer {
    pub(super) fn new(code: u16, media: &'static str, body: String) -> Answer {
        Answer { code, media, body, head_only: false }
    }

    pub(super) fn words(code: u16, words: &str) -> Answer {
        Answer::new(code, PLAIN, format!("{words}\n"))
    }

    #[cfg(test)]
    pub(super) fn code(&self) -> u16 {
        self.code
    }

    fn bytes(&self) -> Vec<u8> {
        let reason = match self.code {
            200 => "OK",
            400 => "Bad Request",
            403 => "Forbidden",
            404 => "Not Found",
            405 => "Method Not Allowed",
            408 => "Request Timeout",
            409 => "Conflict",
            431 => "Request Header Fields Too Large",
            500 => "Internal Server Error",
            _ => "Service Unavailable",
        };
        let allow = if self.code == 405 { "allow: GET, HEAD\r\n" } else { "" };
        let (code, media, length) = (self.code, self.media, self.body.len());
        let body = if self.head_only { "" } else { self.body.as_str() };
        format!(
            "HTTP/1.1 {code} {reason}\r\ncontent-type: {media}\r\ncontent-length: {length}\r\n\
             {allow}cache-control: no-store\r\nx-content-type-options: nosniff\r\n\
             connection: close\r\n\r\n{body}"
        )
        .into_bytes()
    }
}

fn serve(mut stream: TcpStream, state: &AdminState) -> io::Result<()> {
    let deadline = Instant::now() + PATIENCE;
    let answer = read_answer(&mut stream, state, deadline)?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.write_all(&answer.bytes())?;
    stream.shutdown(Shutdown::Write)?;
    // Closing over unread bytes would reset the connection and take the answer with it.
    let deadline = Instant::now() + PATIENCE;
    let mut rest = [0; 1024];
    while read_until(&mut stream, &mut rest, deadline)? > 0 {}
    Ok(())
}

/// Reads one head and answers it.
fn read_answer(
    stream: &mut TcpStream,
    state: &AdminState,
    deadline: Instant,
) -> io::Result<Answer> {
    let mut head = vec![0; limits::HEAD_BYTES_MAX];
    let mut length = 0;
    loop {
        match read_until(stream, &mut head[length..], deadline) {
            Ok(0) if length == head.len() => return Ok(Answer::words(431, "the head is too long")),
            Ok(0) => return Ok(Answer::words(400, "the request ends in its head")),
            Ok(more) => length += more,
            Err(error) if is_timeout(&error) => {
                return Ok(Answer::words(408, "the request took too long"));
            }
            Err(error) => return Err(error),
        }
        if let Some(answer) = answer_head(&head[..length], state) {
            return Ok(answer);
        }
    }
}

/// `None` while the head is not whole.
fn answer_head(head: &[u8], state: &AdminState) -> Option<Answer> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut request = httparse::Request::new(&mut headers);
    match request.parse(head) {
        Ok(httparse::Status::Partial) => return None,
        Ok(httparse::Status::Complete(_)) => {}
        Err(httparse::Error::TooManyHeaders) => {
            return Some(Answer::words(431, "too many headers"));
        }
        Err(_) => return Some(Answer::words(400, "this is not HTTP")),
    }
    let target = request.path.unwrap_or("/");
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let head_only = request.method == Some("HEAD");
    let mut answer = match request.method {
        Some("GET" | "HEAD") => {
            let known = "try /, /metrics, /healthz, /readyz, or /admin/ ports, latency, slow, away";
            state.answer(path, query).unwrap_or_else(|| Answer::words(404, known))
        }
        Some(method) if admin_cuts::is_there(path) => {
            let is_from_a_page = request.headers.iter().any(|header| is_named(header, "origin"));
            let asker = if is_from_a_page { Asker::Page } else { Asker::Program };
            admin_cuts::answer(method, path, asker, state)
        }
        _ => Answer::words(405, "only GET and HEAD"),
    };
    answer.head_only = head_only;
    Some(answer)
}

fn is_named(header: &httparse::Header<'_>, name: &str) -> bool {
    header.name.eq_ignore_ascii_case(name)
}

fn read_until(stream: &mut TcpStream, into: &mut [u8], deadline: Instant) -> io::Result<usize> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return Err(io::ErrorKind::TimedOut.into());
    }
    stream.set_read_timeout(Some(left))?;
    stream.read(into)
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock)
}

#[cfg(test)]
#[path = "admin_port_tests.rs"]
mod tests;
