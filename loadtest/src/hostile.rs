//! A siege: whatever is done to a server, two people go on chatting through it, and its memory is
//! watched.
//!
//! The two are at home on two shards where there are two. Each writes to the other in turn; every
//! message must be acked and come once, in order and within [`LATENCY_MAX`], and so must the
//! answers to HTTP calls on a connection that one of them keeps. In the end the server must be
//! well: `/healthz` is, its log holds no error, it stops by itself, and `verify` finds nothing.

use crate::PATIENCE;
use crate::http::{self, post};
use crate::json::Integers;
use crate::load::process;
use crate::server::{Server, Setup, eventually, pause, run_tools};
use crate::world::{Client, Pair, World, ids};
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long a message of the two takes at most, whatever else is going on.
pub const LATENCY_MAX: Duration = Duration::from_secs(2);
/// Connections that the two keep: one each, and one for calls.
pub const CONNECTIONS: usize = 3;
/// What a server of two shards takes meanwhile for itself: rows on their way into its first tables.
const OWN_BYTES: u64 = 64 * MIB;
/// Messages after which the server has what it needs for them, and its memory is looked at first.
const WARM: usize = 50;

/// A mebibyte.
pub const MIB: u64 = 1024 * 1024;

/// A server with two healthy users on it.
#[derive(Debug)]
pub struct Siege {
    server: Server,
    stop: Arc<AtomicBool>,
    chat: JoinHandle<Chat>,
    resident: u64,
}

/// What the two did.
#[derive(Clone, Copy, Debug)]
struct Chat {
    messages: usize,
    slowest: Duration,
}

impl Siege {
    /// Starts a server, and two people on it.
    #[track_caller]
    pub fn of(setup: Setup) -> Siege {
        let server = setup.start();
        let (stop, messages) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let world = World::on(&server, "healthy");
        let chat = {
            let (stop, messages) = (stop.clone(), messages.clone());
            std::thread::spawn(move || converse(&world, &stop, &messages))
        };
        eventually("the two chat", || {
            (messages.load(SeqCst) >= WARM || chat.is_finished()).then_some(())
        });
        process::forget_peak(server.id()).expect("our own child");
        let resident = process::peak_bytes(server.id()).expect("it runs");
        Siege { server, stop, chat, resident }
    }

    /// A tenant of its own on the server.
    pub fn world(&self, name: &str) -> World {
        World::on(&self.server, name)
    }

    /// The server.
    pub fn server(&self) -> &Server {
        &self.server
    }

    /// Waits until nobody is connected but the two and so many others.
    #[track_caller]
    pub fn until_left_alone(&self, others: usize) {
        let most = CONNECTIONS + others;
        eventually(&format!("no more than {most} connections"), || {
            (self.server.figure("anser_connections") as usize <= most).then_some(())
        });
    }

    /// How much more memory the server had at its worst than when the siege began, bytes.
    pub fn grown(&self) -> u64 {
        let peak = process::peak_bytes(self.server.id()).expect("it runs");
        peak.saturating_sub(self.resident)
    }

    /// Ends it: the server is well, the two missed nothing, and besides what it took for itself it
    /// took so much memory at most.
    #[track_caller]
    pub fn end(self, most_bytes: u64) {
        let grown = self.grown();
        let health = http::get(self.server.admin, "/healthz");
        let log = self.server.log();
        self.stop.store(true, SeqCst);
        let chat = match self.chat.join() {
            Ok(chat) => chat,
            Err(panic) => {
                eprintln!("the server's log:\n{log}");
                std::panic::resume_unwind(panic);
            }
        };
        let kib = grown / 1024;
        eprintln!("siege: {} messages, slowest {:?}, {kib} KiB", chat.messages, chat.slowest);
        assert_eq!((health.status, health.json().text("status")), (200, "ok"), "{log}");
        assert_eq!(self.server.figure("anser_store_failed"), 0.0, "{log}");
        assert!(chat.slowest <= LATENCY_MAX, "{chat:?}");
        let most_kib = (OWN_BYTES + most_bytes) / 1024;
        assert!(kib <= most_kib, "{kib} KiB more than before, {most_kib} allowed");
        let stopped = self.server.stop();
        for bad in [" ERROR ", "panicked"] {
            assert!(!log.contains(bad), "{log}");
        }
        let done = run_tools(&["verify", "--data-dir", &stopped.data().to_string_lossy()]);
        assert_eq!((done.code, done.said.contains(": 0 findings")), (Some(0), true), "{done:?}");
    }
}

/// Two people write to each other until they are told to stop.
fn converse(world: &World, stop: &AtomicBool, messages: &AtomicUsize) -> Chat {
    let (anna, bo) = world.pair(Pair::Apart);
    let (mut first, mut second) = (world.connect(anna), world.connect(bo));
    let mut calls = http::Client::connect(world.http);
    let (mut sent, mut slowest, mut last_id) = (Vec::new(), Duration::ZERO, 0);
    while !stop.load(SeqCst) {
        slowest = slowest.max(say(&mut first, &mut second, bo, &mut sent));
        slowest = slowest.max(say(&mut second, &mut first, anna, &mut sent));
        let begun = Instant::now();
        calls.send(post("/im/message/get/id", "{}"));
        let id = calls.answer().json().int("id");
        slowest = slowest.max(begun.elapsed());
        assert!(id > last_id, "ids rise");
        last_id = id;
        messages.store(sent.len(), SeqCst);
        pause();
    }
    for (client, user) in [(&mut first, anna), (&mut second, bo)] {
        client.expect_nothing_more();
        assert_eq!(world.offline(user), Vec::<Value>::new(), "all was acked");
        let newest = json!({"userId": user, "pageSize": 200});
        let page = ids(&world.list("/im/message/user/get/page", newest));
        let newest = sent.iter().rev().take(200).copied().collect::<Vec<i64>>();
        assert_eq!(page, newest, "each once, and in order");
    }
    Chat { messages: sent.len(), slowest }
}

/// One message, which the other acks; how long it took.
fn say(from: &mut Client, to: &mut Client, user: i64, sent: &mut Vec<i64>) -> Duration {
    let begun = Instant::now();
    let id = from.post(user, "are you well?");
    assert_eq!(to.next_message().json.int("id"), id, "the next message and no other");
    from.expect_ack(id);
    let took = begun.elapsed();
    to.ack(id);
    sent.push(id);
    took
}

/// Does something on many connections at once, from as many threads as there are parts.
pub fn at_once<T: Send>(threads: usize, work: impl Fn(usize) -> T + Sync) -> Vec<T> {
    std::thread::scope(|scope| {
        let work = &work;
        let parts = (0..threads).map(|part| scope.spawn(move || work(part)));
        let parts: Vec<_> = parts.collect();
        let done = parts.into_iter().map(|part| match part.join() {
            Ok(done) => done,
            Err(panic) => std::panic::resume_unwind(panic),
        });
        done.collect()
    })
}

const _: () = assert!(LATENCY_MAX.as_secs() < PATIENCE.as_secs(), "slow is told from never");
