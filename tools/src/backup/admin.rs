//! The two words that a backup has with a running server.

use anyhow::{Context, bail};
use serde::Deserialize;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::time::Duration;

/// Longer than the server takes to answer, whatever it answers.
const PATIENCE: Duration = Duration::from_secs(90);

/// A cut of a running server.
#[derive(Deserialize)]
pub struct Cut {
    /// Its number.
    #[serde(rename = "cut")]
    pub number: u64,
    /// Where it is.
    pub folder: PathBuf,
}

/// Has a cut made.
pub fn make_cut(admin: SocketAddr) -> anyhow::Result<Cut> {
    let body = ask(admin, "POST /admin/backup")?;
    serde_json::from_str(&body).context("the server's answer makes no sense")
}

/// Has a cut removed. A later backup may have done so already.
pub fn remove_cut(admin: SocketAddr, number: u64) -> anyhow::Result<()> {
    ask(admin, &format!("DELETE /admin/backup/{number}")).map(drop)
}

/// The body of a good answer.
fn ask(admin: SocketAddr, what: &str) -> anyhow::Result<String> {
    let talk = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect_timeout(&admin, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let head = format!("{what} HTTP/1.1\r\nhost: {admin}\r\nconnection: close\r\n\r\n");
        stream.write_all(head.as_bytes())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    let answer = talk().with_context(|| {
        format!(
            "no server answers on its admin port {admin}: give it with --admin, or the folder of \
             one that is not running with --data-dir"
        )
    })?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    match head.split(' ').nth(1) {
        Some("200") => Ok(body.to_owned()),
        Some(code) => bail!("the server on {admin} says {code}: {}", body.trim()),
        None => bail!("{admin} is no admin port of a server"),
    }
}
