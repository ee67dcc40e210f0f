//! A house for tests: all shards of a server in one thread, each with a real ring and real
//! sockets, on stores in memory. Nothing happens but in the rounds that a test asks for.

use crate::chat::clock::Clock;
use crate::chat::directory::Directory;
use crate::chat::shard::{Place, Shard};
use crate::ids::{ShardId, UserId};
use crate::metrics::ShardMetrics;
use crate::node::clock::{self, steady_nanos};
use crate::node::connection::Connection;
use crate::node::control::{Control, Phase, Stage};
use crate::node::cuts::Cuts;
use crate::node::desk::{Desk, Fittings};
use crate::node::listener::{Listeners, bind_all};
use crate::node::mesh::{Mesh, bells, meshes};
use crate::node::ring::Token;
use crate::node::shard_loop::ShardLoop;
use crate::store::memory::{Durability, MemoryStore};
use crate::store::view::tests::TempFolder;
use crate::wire::session::{Port, Session, WireOptions};
use rustix::fd::OwnedFd;
use rustix::net::sockopt;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::mpsc::channel;

/// The upgrade of a client that needs no answer to its key.
pub const UPGRADE: &str = "GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\n\
    Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

/// What an Ack frame holds and no other does.
pub const ACK: &str = r#""msgType":"Ack""#;

/// All shards of a server, stepped by hand.
pub struct House {
    /// The shards.
    pub shards: Vec<ShardLoop<MemoryStore>>,
    /// Cuts of them; nobody links anything.
    pub cuts: Arc<Cuts>,
    door: TcpListener,
    people: u32,
    _folder: TempFolder,
}

/// A shard's rules over an empty store whose syncs count.
pub fn desk(mesh: Mesh, shards: u16, directory: &Arc<Directory>) -> Desk<MemoryStore> {
    let place = Place { shard: mesh.shard(), shards, lanes: shards.next_power_of_two() };
    let store = MemoryStore::default().with_durability(Durability::Manual);
    let metrics = Arc::new(ShardMetrics::default());
    let shard = Shard::open(store, place, directory.clone(), metrics.clone());
    let mut clock = Clock::new(clock::read(), directory.shown());
    Desk::new(Fittings {
        place,
        options: WireOptions::default(),
        shard: shard.expect("a store in memory opens"),
        directory: directory.clone(),
        metrics,
        mesh,
        now: clock.now(clock::read(), directory.shown()),
    })
}

/// The only desk of a server of one shard.
pub fn lone_desk() -> Desk<MemoryStore> {
    let bells = bells(1).expect("an eventfd");
    let mesh = meshes(&bells).pop().expect("one bell, one mesh");
    desk(mesh, 1, &Arc::new(Directory::new()))
}

impl House {
    /// A house of so many shards, which serves.
    pub fn new(shards: u16) -> House {
        let bells = bells(shards).expect("eventfds");
        let stage = Arc::new(Stage::new(bells.clone()));
        // Nobody listens to what shards report.
        let (sender, _) = channel();
        let directory = Arc::new(Directory::new());
        // Nobody lists what is not linked: only empty folders are made.
        let folder = TempFolder::new();
        let cuts = Arc::new(Cuts::new(folder.path().to_owned(), bells.clone()));
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let bind = || bind_all(any, shards).expect("free ports").1;
        let doors = bind().into_iter().zip(bind());
        let lone = |(mesh, (http, ws)): (Mesh, (OwnedFd, OwnedFd))| {
            let control = Control::new(stage.clone(), cuts.clone(), sender.clone());
            let clock = Clock::new(clock::read(), directory.shown());
            let desk = desk(mesh, shards, &directory);
            let listeners = Listeners::new(Some(http), Some(ws), u64::MAX);
            ShardLoop::new(desk, listeners, control, clock, None).expect("a ring")
        };
        let shards = meshes(&bells).into_iter().zip(doors).map(lone).collect();
        let door = TcpListener::bind(any).expect("a free port");
        House { shards, cuts, door, people: 0, _folder: folder }
    }

    /// A fresh connection to one shard.
    pub fn connect(&mut self, shard: usize, port: Port) -> Peer {
        let stream = TcpStream::connect(self.door.local_addr().expect("bound")).expect("connected");
        stream.set_nonblocking(true).expect("a socket");
        let (ours, _) = self.door.accept().expect("accepted");
        let desk = &mut self.shards[shard].desk;
        let now_ms = desk.now_ms();
        let token = desk.table.insert(Connection::new(ours.into(), Session::new(port)), now_ms);
        desk.touch(token);
        Peer { stream, token, received: Vec::new() }
    }

    /// A fresh connection whose sockets keep little of what nobody reads: at most 256 KiB.
    pub fn connect_narrow(&mut self, shard: usize, port: Port) -> Peer {
        let peer = self.connect(shard, port);
        let server_side = self.server_side(shard, &peer).expect("just made");
        sockopt::set_socket_send_buffer_size(&server_side.socket, 64 * 1024).expect("a socket");
        sockopt::set_socket_recv_buffer_size(&peer.stream, 64 * 1024).expect("a socket");
        peer
    }

    /// One round of every shard.
    pub fn round(&mut self) {
        for shard in &mut self.shards {
            shard.round(Phase::Serving).expect("nothing fails in memory");
        }
    }

    /// Rounds, until a test has what it waits for.
    #[track_caller]
    pub fn until(&mut self, what: &str, mut is_so: impl FnMut(&mut House) -> bool) {
        let start = steady_nanos();
        while !is_so(self) {
            assert!(steady_nanos() - start < 30_000_000_000, "not within 30 s: {what}");
            self.round();
        }
    }

    /// Rounds, until a peer has received this text so many times.
    #[track_caller]
    pub fn until_received(&mut self, peer: &mut Peer, text: &str, times: usize) {
        self.until(text, |_| peer.count(text) >= times);
        assert_eq!(peer.count(text), times, "{text} came too often");
    }

    /// Asks by HTTP and returns the answer, head and body, of an answer that is not chunked.
    #[track_caller]
    pub fn ask(&mut self, peer: &mut Peer, path: &str, body: &str) -> String {
        peer.received.clear();
        peer.say(call(path, body));
        self.until("an answer", |_| peer.count("\r\n\r\n") > 0);
        String::from_utf8_lossy(&peer.received).into_owned()
    }

    /// Somebody new who is at home on this shard.
    #[track_caller]
    pub fn person(&mut self, shard: u16) -> UserId {
        let mut peer = self.connect(usize::from(shard), Port::Http);
        for _ in 0..1000 {
            self.people += 1;
            let body = format!(r#"{{"company":"c","app":"a","thirdUserId":{}}}"#, self.people);
            let answer = self.ask(&mut peer, "/im/user/register", &body);
            let number: String =
                answer.chars().rev().skip(1).take_while(char::is_ascii_digit).collect();
            let number = number.chars().rev().collect::<String>().parse().ok();
            let user = number.and_then(UserId::new).expect("a user's id");
            if user.home(self.shards.len() as u16) == ShardId(shard) {
                return user;
            }
        }
        panic!("of a thousand people some live on each shard")
    }

    /// A device of a user, authenticated at his home.
    #[track_caller]
    pub fn device(&mut self, user: UserId) -> Peer {
        let shard = usize::from(user.home(self.shards.len() as u16).0);
        let mut peer = self.connect(shard, Port::WebSocket);
        peer.say(UPGRADE);
        peer.say(auth(user));
        self.until_received(&mut peer, ACK, 1);
        peer.received.clear();
        peer
    }

    /// The server's side of a peer's connection.
    pub fn server_side(&mut self, shard: usize, peer: &Peer) -> Option<&mut Connection> {
        self.shards[shard].desk.table.get(peer.token)
    }
}

/// A client's side of a connection.
pub struct Peer {
    /// The socket, which never blocks.
    pub stream: TcpStream,
    /// What the connection was called by the shard that it was made on.
    pub token: Token,
    /// What came and was not forgotten.
    pub received: Vec<u8>,
}

impl Peer {
    /// Sends bytes, all at once.
    #[track_caller]
    pub fn say(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).expect("the kernel has room for it");
    }

    /// Takes in what has come; `false`: the other side has ended.
    pub fn read(&mut self) -> bool {
        let mut part = [0; 64 * 1024];
        loop {
            match self.stream.read(&mut part) {
                Ok(0) => return false,
                Ok(count) => self.received.extend_from_slice(&part[..count]),
                Err(error) => return error.kind() == ErrorKind::WouldBlock,
            }
        }
    }

    /// How often a text has come.
    pub fn count(&mut self, text: &str) -> usize {
        self.read();
        String::from_utf8_lossy(&self.received).matches(text).count()
    }
}

/// The bytes of an HTTP call.
pub fn call(path: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "POST {path} HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n\
         Content-Length: {length}\r\n\r\n{body}"
    )
}

/// The bytes of a client's text frame, masked with nothing.
pub fn frame(text: &str) -> Vec<u8> {
    let length = u16::try_from(text.len()).expect("a short text");
    let head = match length {
        0..126 => vec![0x81, 0x80 | length as u8],
        _ => [&[0x81, 0x80 | 126][..], &length.to_be_bytes()].concat(),
    };
    [&head[..], &[0; 4], text.as_bytes()].concat()
}

/// An Auth that is acked under the user's own number.
pub fn auth(user: UserId) -> Vec<u8> {
    let number = user.number();
    frame(&format!(r#"{{"msgType":"Auth","fromUserId":{number},"content":"t","id":{number}}}"#))
}

/// A Text for somebody.
pub fn text(id: u64, to: UserId, content: &str) -> Vec<u8> {
    let to = to.number();
    frame(&format!(r#"{{"id":{id},"toUserId":{to},"msgType":"Text","content":"{content}"}}"#))
}
