//! A word with a running server's admin port: one request, one answer.

use anyhow::{Context, bail};
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// Longer than the server takes to tell its figures.
const PATIENCE: Duration = Duration::from_secs(5);

/// The body of a good answer to `GET path`, by a server that only looks at its figures.
pub fn get(admin: SocketAddr, path: &str) -> anyhow::Result<String> {
    ask(admin, &format!("GET {path}"), PATIENCE)
}

/// The body of a good answer to a method and a path. Connecting and each read may take as long as
/// `patience`.
pub fn ask(admin: SocketAddr, what: &str, patience: Duration) -> anyhow::Result<String> {
    let talk = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect_timeout(&admin, patience)?;
        stream.set_read_timeout(Some(patience))?;
        let head = format!("{what} HTTP/1.1\r\nhost: {admin}\r\nconnection: close\r\n\r\n");
        stream.write_all(head.as_bytes())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    let answer = talk().map_err(|error| match error.kind() {
        // What the system calls a read that took too long.
        ErrorKind::WouldBlock => ErrorKind::TimedOut.into(),
        _ => error,
    });
    let answer = answer.with_context(|| format!("no server answers on its admin port {admin}"))?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    match head.split(' ').nth(1) {
        Some("200") => Ok(body.to_owned()),
        Some("404") if what.starts_with("GET") => {
            bail!("{admin} says 404: is it the admin port? {}", body.trim())
        }
        Some(code) => bail!("the server on {admin} says {code}: {}", body.trim()),
        None => bail!("{admin} is no admin port of a server"),
    }
}

/// A stand-in for a server, for tests.
#[cfg(test)]
pub mod stub {
    use std::io::{Read, Write};
    use std::net::{SocketAddr, TcpListener};

    /// Answers request after request with what `answer` makes of its path, until the test ends;
    /// `None` is a 404.
    pub fn serve(answer: impl Fn(&str) -> Option<String> + Send + 'static) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("it listens");
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.expect("a peer");
                let mut head = Vec::new();
                let mut byte = [0];
                while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap_or(0) > 0 {
                    head.push(byte[0]);
                }
                let head = String::from_utf8_lossy(&head);
                let path = head.split(' ').nth(1).expect("a path");
                let (code, body) = match answer(path) {
                    Some(body) => ("200 OK", body),
                    None => ("404 Not Found", "there is no such page\n".to_owned()),
                };
                let answer = format!("HTTP/1.1 {code}\r\nconnection: close\r\n\r\n{body}");
                stream.write_all(answer.as_bytes()).expect("the peer reads");
            }
        });
        address
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_hangs_is_told_from_one_that_is_not_there() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let admin = listener.local_addr().expect("it listens");
        let hangs = ask(admin, "GET /", Duration::from_millis(1)).expect_err("nobody accepts");
        assert!(format!("{hangs:#}").ends_with("timed out"), "{hangs:#}");
    }

    #[test]
    fn a_good_answer_is_its_body_and_all_else_is_told_in_words() {
        let admin = stub::serve(|path| (path == "/metrics").then(|| "figures\n".to_owned()));
        assert_eq!(get(admin, "/metrics").expect("it is there"), "figures\n");
        let refused = get(admin, "/admin/latency").expect_err("it is not there").to_string();
        let words = format!("{admin} says 404: is it the admin port? there is no such page");
        assert_eq!(refused, words);
        let nobody = {
            let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
            listener.local_addr().expect("it listens")
        };
        let silent = get(nobody, "/metrics").expect_err("nobody listens").to_string();
        assert_eq!(silent, format!("no server answers on its admin port {nobody}"));
    }
}
