//! `conformance-echo`: anser's wire and ring with nobody behind them who knows chat, so that public
//! suites can try the protocols. What is said to it comes back; on its HTTP port a request's body.

use anser::node::echo::{self, Ports};
use clap::Parser;
use std::net::SocketAddr;

/// Says back every WebSocket message, and the body of every HTTP request, until SIGINT or SIGTERM
#[derive(Parser)]
#[command(name = "conformance-echo", version)]
#[group(required = true, multiple = true)]
struct Arguments {
    /// Listen here for WebSockets, which open on every path; port 0: any
    #[arg(long, value_name = "ADDRESS")]
    ws: Option<SocketAddr>,
    /// Listen here for HTTP requests, which are answered 200 with their body; port 0: any
    #[arg(long, value_name = "ADDRESS")]
    http: Option<SocketAddr>,
}

fn main() -> anyhow::Result<()> {
    let Arguments { ws, http } = Arguments::parse();
    Ok(echo::serve(Ports { ws, http })?)
}
