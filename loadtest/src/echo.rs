//! `conformance-echo` as a child process: the server's wire and ring, and nobody behind them who
//! knows chat.

use crate::server::{
    Folder, Process, READY_WITHIN, STOP_WITHIN, build, field, first_line, given, pause,
};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::time::Instant;

/// A running echo. Dropping it kills it by its id.
#[derive(Debug)]
pub struct Echo {
    /// Its port for WebSockets.
    pub ws: SocketAddr,
    /// Its port for HTTP.
    pub http: SocketAddr,
    process: Process,
    _folder: Folder,
}

impl Echo {
    /// Starts one on free ports.
    #[track_caller]
    pub fn start() -> Echo {
        let folder = Folder::new();
        let mut command = Command::new(binary());
        command.args(["--ws", "127.0.0.1:0", "--http", "127.0.0.1:0"]);
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("the binary was just built");
        let stdout = child.stdout.take().expect("piped above");
        let process = Process::watched(child, folder.path());
        let line = first_line(stdout).recv_timeout(READY_WITHIN).expect("it gets ready");
        let address = |key| field(&line, key).parse().expect("an address");
        let (ws, http) = (address("ws"), address("http"));
        Echo { ws, http, process, _folder: folder }
    }

    /// The one of this test process.
    #[track_caller]
    pub fn shared() -> &'static Echo {
        static ECHO: OnceLock<Echo> = OnceLock::new();
        ECHO.get_or_init(Echo::start)
    }

    /// Sends a signal and waits until it has ended.
    #[track_caller]
    pub fn stop(mut self, signal: rustix::process::Signal) -> ExitStatus {
        let child = &mut self.process.child;
        let id = rustix::process::Pid::from_raw(child.id() as i32).expect("a child has an id");
        rustix::process::kill_process(id, signal).expect("our own child");
        let deadline = Instant::now() + STOP_WITHIN;
        loop {
            match child.try_wait().expect("our own child") {
                Some(status) => return status,
                None => assert!(Instant::now() < deadline, "it stops in time"),
            }
            pause();
        }
    }
}

/// Its binary: `ANSER_ECHO_BINARY`, or that of this build, brought up to date first.
pub fn binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    let of_build = || build("anser-tools", "conformance-echo");
    BINARY.get_or_init(|| given("ANSER_ECHO_BINARY").unwrap_or_else(of_build))
}
