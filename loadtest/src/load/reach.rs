//! Whether what a run is to measure is there at all: asked before the run begins, so that what is
//! missing is said in plain words.

use super::process;
use anyhow::{Result, bail, ensure};
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::Duration;

/// How long whoever listens may take to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// The longest answer of an admin port that is read, bytes.
const ANSWER_BYTES_MAX: u64 = 4 << 20;

/// Somebody listens at the address that `flag` gives.
///
/// # Errors
/// When nobody does.
pub fn listens(address: SocketAddr, flag: &str) -> Result<()> {
    let Err(error) = TcpStream::connect_timeout(&address, ANSWER_WITHIN) else { return Ok(()) };
    let start = match flag {
        "--peer" => "start the server of that protocol",
        _ => "start a server (`cargo run --release`)",
    };
    bail!("nobody listens at {address}, the address of {flag}: {error}; {start}, or set {flag}")
}

/// A server's admin port is at this address.
///
/// # Errors
/// When nobody listens there, or something else.
pub fn is_admin(address: SocketAddr) -> Result<()> {
    listens(address, "--admin")?;
    let is_one = figures(address).is_ok_and(|figures| figures.contains("anser_info{"));
    ensure!(is_one, "what listens at {address}, the address of --admin, is no server's admin port");
    Ok(())
}

/// What an admin port answers when it is asked for its figures, head and all.
///
/// # Errors
/// When nobody answers in time.
pub fn figures(address: SocketAddr) -> io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, ANSWER_WITHIN)?;
    stream.set_read_timeout(Some(ANSWER_WITHIN))?;
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// There is a process of this id, and the kernel says what it uses.
///
/// # Errors
/// When there is none, or it is another user's.
pub fn is_process(id: u32) -> Result<()> {
    let exists = Path::new(&format!("/proc/{id}")).exists();
    ensure!(exists, "there is no process {id} (--server-pid); `pgrep -x anser` tells a server's");
    let is_shown = process::cpu_ms(id).is_some()
        && process::resident_bytes(id).is_some()
        && process::written_bytes(id).is_some();
    ensure!(is_shown, "what process {id} (--server-pid) uses is not shown to this user");
    Ok(())
}
