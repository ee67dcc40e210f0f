//! The real binary as a child process, on a folder and ports of its own.
//!
//! Invariants:
//! 1. A test never talks to a stale binary: it is built (or found fresh) once per test process.
//! 2. No server outlives the process that started it: a watchdog waits on a pipe that the kernel
//!    closes with its owner, then kills the server by its id and removes the folder.
//! 3. A server that does not get ready or does not stop in time is a failure with its log shown.

mod finished;

pub use finished::{Finished, run, run_tools, run_tools_within};

use crate::{cores, http};
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// How long a server may take to print its ready line.
pub(crate) const READY_WITHIN: Duration = Duration::from_secs(60);
/// How long a server may take to drain (the contract says 10 s).
pub(crate) const STOP_WITHIN: Duration = Duration::from_secs(10);

/// How to start a server.
#[derive(Clone, Debug)]
pub struct Setup {
    /// `--shards`.
    pub shards: u16,
    /// Further arguments.
    pub arguments: Vec<String>,
    /// Environment variables.
    pub environment: Vec<(String, String)>,
    /// `ulimit -n`, both soft and hard.
    pub open_files_max: Option<u32>,
    /// A write beyond the size that a file may have fails, and does not end the process.
    pub survives_large_files: bool,
    /// The cores it may use; `None` for those of this process.
    pub cores: Option<Vec<usize>>,
}

impl Setup {
    /// So many shards, everything else as by default.
    pub fn shards(shards: u16) -> Setup {
        Setup {
            shards,
            arguments: Vec::new(),
            environment: Vec::new(),
            open_files_max: None,
            survives_large_files: false,
            cores: None,
        }
    }

    /// The same with one more setting.
    pub fn with(mut self, setting: &str, value: &str) -> Setup {
        self.arguments.extend([setting.to_owned(), value.to_owned()]);
        self
    }

    /// The same with one environment variable.
    pub fn environment(mut self, name: &str, value: &str) -> Setup {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The same with few file descriptors.
    pub fn open_files(mut self, max: u32) -> Setup {
        self.open_files_max = Some(max);
        self
    }

    /// The same, ready for [`Server::refuse_files_beyond`].
    pub fn surviving_large_files(mut self) -> Setup {
        self.survives_large_files = true;
        self
    }

    /// The same on these cores alone.
    pub fn on_cores(mut self, cores: Vec<usize>) -> Setup {
        self.cores = Some(cores);
        self
    }

    /// Starts a server on a new folder.
    #[track_caller]
    pub fn start(self) -> Server {
        self.start_in(Folder::new())
    }

    /// Starts a server on what is in a folder.
    #[track_caller]
    pub fn start_in(self, folder: Folder) -> Server {
        Server::start_in(folder, self)
    }

    fn command(&self, data: &Path) -> Command {
        let mut command = match (self.open_files_max, self.survives_large_files) {
            (None, false) => Command::new(binary()),
            (max, survives) => {
                let mut shell = Command::new("sh");
                let max = max.map_or("unlimited".to_owned(), |max| max.to_string());
                let limit = r#"[ "$0" = unlimited ] || ulimit -n "$0" || exit 1"#;
                let trap = if survives { r#"trap "" XFSZ"# } else { ":" };
                shell.arg("-c").arg(format!(r#"{limit}; {trap}; exec "$@""#)).arg(max);
                shell.arg(binary());
                shell
            }
        };
        command.arg("serve").arg("--data-dir").arg(data);
        command.args(["--http", "127.0.0.1:0", "--ws", "127.0.0.1:0", "--admin", "127.0.0.1:0"]);
        command.args(["--shards", &self.shards.to_string()]).args(&self.arguments);
        without_environment(&mut command);
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }
}

/// A folder that is removed with its owner.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    data: PathBuf,
}

impl Folder {
    /// A new empty folder beside the build's own output, on a real disk.
    pub fn new() -> Folder {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("{}-{count}", std::process::id());
        let path = output_folder().join("black-box").join(name);
        fs::create_dir_all(&path).expect("the build's output folder is writable");
        Folder { data: path.join("data"), path }
    }

    /// The same for a server whose data is elsewhere, and is not removed.
    pub fn with_data(data: PathBuf) -> Folder {
        let mut folder = Folder::new();
        folder.data = data;
        folder
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where the data of a server in it is.
    pub fn data(&self) -> PathBuf {
        self.data.clone()
    }

    fn log(&self) -> PathBuf {
        self.path.join("log")
    }
}

impl Default for Folder {
    fn default() -> Folder {
        Folder::new()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // Nothing depends on it: what is left is in the build's output and named by process id.
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// A running server. Dropping it kills it by its id and removes its folder.
#[derive(Debug)]
pub struct Server {
    /// The HTTP port.
    pub http: SocketAddr,
    /// The WebSocket port.
    pub ws: SocketAddr,
    /// The operators' port.
    pub admin: SocketAddr,
    /// The ready line as printed.
    pub ready_line: String,
    /// How it was started.
    pub setup: Setup,
    process: Process,
    folder: Folder,
}

/// The child and the watchdog that ends it should this process die first.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) child: Child,
    watchdog: Child,
}

impl Process {
    /// Watches over a child that works in a folder.
    pub(crate) fn watched(child: Child, folder: &Path) -> Process {
        Process { watchdog: watch_over(child.id(), folder), child }
    }

    fn end(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = self.watchdog.kill();
        let _ = self.watchdog.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end();
    }
}

impl Server {
    #[track_caller]
    fn start_in(folder: Folder, setup: Setup) -> Server {
        let log = fs::File::options().create(true).append(true).open(folder.log());
        let mut command = setup.command(&folder.data());
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        command.stderr(log.expect("the folder was just made"));
        let spawned = match &setup.cores {
            Some(cores) => cores::only(cores, || command.spawn()),
            None => command.spawn(),
        };
        let mut child = spawned.expect("the binary was just built");
        let stdout = child.stdout.take().expect("piped above");
        let process = Process::watched(child, folder.path());
        let line = match first_line(stdout).recv_timeout(READY_WITHIN) {
            Ok(line) if line.starts_with("ready ") => line,
            other => panic!("not ready but {other:?}; log:\n{}", tail(&folder.log())),
        };
        let address = |key: &str| -> SocketAddr {
            let value = field(&line, key);
            value.parse().unwrap_or_else(|_| panic!("{key} is no address in {line:?}"))
        };
        let (http, ws, admin) = (address("http"), address("ws"), address("admin"));
        Server { http, ws, admin, ready_line: line, setup, process, folder }
    }

    /// What the ready line says under a key.
    #[track_caller]
    pub fn ready_field(&self, key: &str) -> &str {
        field(&self.ready_line, key)
    }

    /// A figure of its `/metrics`, the sum over all shards and labels.
    pub fn figure(&self, name: &str) -> f64 {
        let text = http::get(self.admin, "/metrics").body;
        let lines = text.lines().filter(|line| line.starts_with(&format!("{name}{{")));
        lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    }

    /// What it says of its health while it is one that goes on.
    #[track_caller]
    pub fn health(&self) -> String {
        let answer = http::get(self.admin, "/healthz");
        assert_eq!(answer.status, 200, "no reason to start it again: {answer:?}");
        answer.json()["status"].as_str().expect("a word").to_owned()
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.process.child.id()
    }

    /// Where its data is.
    pub fn data(&self) -> PathBuf {
        self.folder.data()
    }

    /// The arguments that it would be started with, and `serve` before them.
    pub fn arguments(&self) -> Vec<String> {
        let command = self.setup.command(&self.data());
        command.get_args().map(|text| text.to_string_lossy().into_owned()).collect()
    }

    /// What it has logged so far.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.log()).unwrap_or_default()
    }

    /// From now on the disk refuses to let a file grow beyond so many bytes.
    #[track_caller]
    pub fn refuse_files_beyond(&self, bytes: u64) {
        let id = rustix::process::Pid::from_raw(self.id() as i32);
        let limit = rustix::process::Rlimit { current: Some(bytes), maximum: Some(bytes) };
        rustix::process::prlimit(id, rustix::process::Resource::Fsize, limit)
            .expect("our own child");
    }

    /// Whether the process is still there.
    pub fn is_running(&mut self) -> bool {
        matches!(self.process.child.try_wait(), Ok(None))
    }

    /// Asks it to stop, without waiting.
    #[track_caller]
    pub fn terminate(&self) {
        self.signal(rustix::process::Signal::TERM);
    }

    /// Sends a signal.
    #[track_caller]
    pub fn signal(&self, signal: rustix::process::Signal) {
        let id = rustix::process::Pid::from_raw(self.id() as i32).expect("a child has an id");
        rustix::process::kill_process(id, signal).expect("our own child");
    }

    /// Waits until it has gone by itself.
    #[track_caller]
    pub fn wait(&mut self, within: Duration) -> ExitStatus {
        let deadline = Instant::now() + within;
        loop {
            match self.process.child.try_wait().expect("our own child") {
                Some(status) => return status,
                None if Instant::now() < deadline => pause(),
                None => panic!("still running after {within:?}; log:\n{}", self.log()),
            }
        }
    }

    /// SIGTERM; it must drain and exit 0 inside 10 s. The folder stays.
    #[track_caller]
    pub fn stop(mut self) -> Stopped {
        self.terminate();
        let status = self.wait(STOP_WITHIN);
        assert_eq!(status.code(), Some(0), "exit after SIGTERM; log:\n{}", self.log());
        self.into_stopped()
    }

    /// SIGKILL, as a crash would. The folder stays.
    pub fn kill(mut self) -> Stopped {
        self.process.end();
        self.into_stopped()
    }

    fn into_stopped(self) -> Stopped {
        let Server { setup, folder, process, .. } = self;
        drop(process);
        Stopped { setup, folder }
    }
}

/// A server that was, and what it left on the disk.
#[derive(Debug)]
pub struct Stopped {
    /// How it was started.
    pub setup: Setup,
    folder: Folder,
}

impl Stopped {
    /// Starts it again on the same folder.
    #[track_caller]
    pub fn start(self) -> Server {
        Server::start_in(self.folder, self.setup)
    }

    /// Begins to start it, and kills it after so long, wherever it is then.
    pub fn kill_while_starting(self, after: Duration) -> Stopped {
        let mut command = self.setup.command(&self.folder.data());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().expect("the binary was just built");
        let mut process = Process::watched(child, self.folder.path());
        std::thread::sleep(after);
        process.end();
        self
    }

    /// The same, to be started with another number of shards.
    pub fn with_shards(self, shards: u16) -> Stopped {
        Stopped { setup: Setup { shards, ..self.setup }, ..self }
    }

    /// Where its data is.
    pub fn data(&self) -> PathBuf {
        self.folder.data()
    }
}

/// The time between two looks at something that cannot be waited for otherwise.
pub fn pause() {
    std::thread::sleep(Duration::from_millis(10));
}

/// Looks again and again until there is something, at most [`crate::PATIENCE`] long.
#[track_caller]
pub fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + crate::PATIENCE;
    loop {
        match look() {
            Some(found) => return found,
            None if Instant::now() < deadline => pause(),
            None => panic!("not within {:?}: {what}", crate::PATIENCE),
        }
    }
}

pub(crate) fn field<'a>(line: &'a str, key: &str) -> &'a str {
    let named = |word: &'a str| word.strip_prefix(key).and_then(|rest| rest.strip_prefix('='));
    match line.split_whitespace().find_map(named) {
        Some(value) => value,
        None => panic!("no {key}= in {line:?}"),
    }
}

/// The first line of a pipe; the rest is read and dropped, so that the writer never blocks.
pub(crate) fn first_line(pipe: impl Read + Send + 'static) -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        let mut lines = BufReader::new(pipe).lines();
        if let Some(Ok(line)) = lines.next() {
            let _ = sender.send(line);
        }
        drop(sender);
        lines.for_each(drop);
    });
    receiver
}

fn watch_over(server: u32, folder: &Path) -> Child {
    let mut command = Command::new("sh");
    command.args(["-c", r#"read line; kill -9 "$0" 2>/dev/null; rm -rf "$1""#]);
    command.arg(server.to_string()).arg(folder);
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().expect("every Linux has sh")
}

fn tail(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    let skipped = text.lines().count().saturating_sub(40);
    text.lines().skip(skipped).collect::<Vec<_>>().join("\n")
}

fn without_environment(command: &mut Command) {
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("ANSER_")) {
        command.env_remove(name);
    }
}

/// `target/debug` or its like: the folder of the profile that this very process was built with.
pub fn profile_folder() -> PathBuf {
    let own = std::env::current_exe().expect("/proc is mounted");
    let folder = own.parent().expect("a file is in a folder");
    let is_test = folder.ends_with("deps") || folder.ends_with("examples");
    let profile = if is_test { folder.parent() } else { Some(folder) };
    profile.expect("the build's output has a root").to_owned()
}

/// The build's output folder.
pub fn output_folder() -> PathBuf {
    profile_folder().parent().expect("a profile is in the output folder").to_owned()
}

/// The server's binary: `ANSER_BINARY`, or the one of this build, brought up to date first.
pub fn binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| given("ANSER_BINARY").unwrap_or_else(|| build("anser", "anser")))
}

/// The tools' binary: `ANSER_TOOLS_BINARY`, or that of this build likewise.
pub fn tools() -> &'static Path {
    static TOOLS: OnceLock<PathBuf> = OnceLock::new();
    let of_build = || build("anser-tools", "anser-tools");
    TOOLS.get_or_init(|| given("ANSER_TOOLS_BINARY").unwrap_or_else(of_build))
}

pub(crate) fn given(variable: &str) -> Option<PathBuf> {
    std::env::var_os(variable).map(PathBuf::from)
}

pub(crate) fn build(package: &str, name: &str) -> PathBuf {
    let profile = profile_folder();
    let built = profile.file_name().and_then(|name| name.to_str()).expect("a plain name");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("a member of a workspace");
    let mut command = Command::new(cargo);
    command.current_dir(root).args(["build", "--quiet", "--package", package, "--bin", name]);
    command.args(["--profile", if built == "debug" { "dev" } else { built }]);
    command.arg("--target-dir").arg(output_folder());
    eprintln!("building {name}, where it is not up to date");
    let built = command.status();
    let is_built = built.as_ref().is_ok_and(|status| status.success());
    assert!(is_built, "cargo does not build {name} in {}: {built:?}", root.display());
    profile.join(name)
}
