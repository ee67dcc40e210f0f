//! Hostile peers, each kind against a server on which two people chat: what the kind can cost in
//! memory and time is bounded, the two notice nothing, and the server is well afterwards.
#![allow(missing_docs)]

mod descriptors;
mod floods;
mod hoarding;
mod slow;
mod storms;
mod words;

use socket2::{Domain, Socket, Type};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// A socket that is connected and given up as soon as it does not go on: what a server does to it
/// is no failure.
fn raw(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).expect("the server listens");
    stream.set_nodelay(true).expect("a TCP socket");
    stream.set_write_timeout(Some(Duration::from_millis(500))).expect("not zero");
    stream.set_read_timeout(Some(anser_loadtest::PATIENCE)).expect("not zero");
    stream
}

/// The same with a small receive buffer and small segments: of what its server sends the kernel
/// takes little.
fn narrow(address: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket.set_tcp_mss(536).expect("a TCP socket");
    socket.set_recv_buffer_size(16 * 1024).expect("a socket");
    socket.connect(&address.into()).expect("the server listens");
    let stream = TcpStream::from(socket);
    stream.set_write_timeout(Some(Duration::from_millis(500))).expect("not zero");
    stream
}
