//! A TCP relay between clients and a server, for tests that meddle with what passes.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;

/// One connection on its way through.
pub struct Relayed {
    /// How many came before it.
    pub number: usize,
    /// The end at the client.
    pub client: TcpStream,
    /// The end at the server.
    pub server: TcpStream,
}

/// Relays connections to `server` until the process ends; gives where it listens. What clients say
/// passes as it is; what the server says is passed by `answer`, on a thread of each connection.
pub fn start(
    server: SocketAddr,
    answer: impl Fn(Relayed) + Send + Sync + 'static,
) -> io::Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let address = listener.local_addr()?;
    let answer = Arc::new(answer);
    thread::spawn(move || {
        for (number, client) in listener.incoming().map_while(Result::ok).enumerate() {
            let answer = Arc::clone(&answer);
            let relayed = Relayed::open(number, client, server).expect("the server listens");
            thread::spawn(move || answer(relayed));
        }
    });
    Ok(address)
}

impl Relayed {
    fn open(number: usize, client: TcpStream, server: SocketAddr) -> io::Result<Relayed> {
        let server = TcpStream::connect(server)?;
        for stream in [&client, &server] {
            stream.set_nodelay(true)?;
        }
        let (mut from, mut to) = (client.try_clone()?, server.try_clone()?);
        // It ends with either side.
        thread::spawn(move || io::copy(&mut from, &mut to));
        Ok(Relayed { number, client, server })
    }
}
