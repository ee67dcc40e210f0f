//! `anser-tools flame`: what the shards' threads spend their CPU on, as a flame graph.
//!
//! `perf` takes the samples; it finds the frames by the debug information that release builds have
//! (`--call-graph dwarf`), as they keep no frame pointers. The picture is one SVG file that can be
//! searched and zoomed in a browser.

use anyhow::{Context, bail, ensure};
use clap::Args;
use inferno::collapse::Collapse;
use inferno::collapse::perf::Folder;
use inferno::flamegraph;
use std::fs;
use std::io::{self, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Output};

/// How threads of shards are called, with their number behind.
const SHARD: &str = "shard-";
/// Samples a second of each thread: odd, so that it does not keep step with what ticks.
const SAMPLES_HZ: &str = "199";
/// How frames are found, and how many bytes of the stack are kept for it with each sample.
const CALL_GRAPH: &str = "dwarf,16384";
/// What is told of a sample: without its period, so that each counts once.
const FIELDS: &str = "comm,tid,time,event,ip,sym,dso";
/// Where the kernel says whom it lets look.
const PARANOID: &str = "/proc/sys/kernel/perf_event_paranoid";

/// What `flame` is told.
#[derive(Args, Debug)]
pub struct Arguments {
    /// The server's process; by default the only one here that has shards
    #[arg(long)]
    pid: Option<u32>,
    /// For how long
    #[arg(long, value_name = "COUNT", default_value_t = 10,
          value_parser = clap::value_parser!(u32).range(1..=600))]
    seconds: u32,
    /// The picture
    #[arg(long, value_name = "FILE", default_value = "flame.svg")]
    out: PathBuf,
}

/// What `perf` writes, removed in the end.
struct Samples(PathBuf);

impl Drop for Samples {
    fn drop(&mut self) {
        // It was never written when perf was refused.
        let _ = fs::remove_file(&self.0);
    }
}

/// Runs `flame`.
pub fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let proc = Path::new("/proc");
    let pid = match arguments.pid {
        Some(pid) => pid,
        None => only_server(proc)?,
    };
    let threads = shard_threads(proc, pid);
    ensure!(!threads.is_empty(), "process {pid} has no threads of shards: it is no server");
    let name = format!("anser-flame-{}.data", std::process::id());
    let samples = Samples(std::env::temp_dir().join(name));
    record(&threads, arguments.seconds, &samples.0)?;
    let folded = fold(&script(&samples.0)?)?;
    let title = format!("anser, CPU of the shards of process {pid}, {} s", arguments.seconds);
    let mut picture = Vec::new();
    draw(&folded, title, &mut picture)?;
    let path = &arguments.out;
    fs::write(path, picture).with_context(|| format!("cannot write {}", path.display()))?;
    writeln!(io::stdout(), "flame: {} samples, {}", sample_count(&folded), path.display())?;
    Ok(ExitCode::SUCCESS)
}

/// The process that has shards, if there is one alone.
fn only_server(proc: &Path) -> anyhow::Result<u32> {
    let entries = fs::read_dir(proc).with_context(|| format!("cannot read {}", proc.display()))?;
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    let mut servers: Vec<u32> = pids.filter(|pid| !shard_threads(proc, *pid).is_empty()).collect();
    servers.sort_unstable();
    match servers[..] {
        [] => bail!("no server runs here: no process has threads of shards"),
        [pid] => Ok(pid),
        _ => bail!("more than one server runs here: choose one of {servers:?} with --pid"),
    }
}

/// The ids of a process's threads that belong to shards; none if there is no such process.
fn shard_threads(proc: &Path, pid: u32) -> Vec<u32> {
    let folder = proc.join(pid.to_string()).join("task");
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let is_shard = |thread: &fs::DirEntry| {
        fs::read_to_string(thread.path().join("comm")).is_ok_and(|name| name.starts_with(SHARD))
    };
    let threads = entries.filter_map(Result::ok).filter(is_shard);
    let mut threads: Vec<u32> =
        threads.filter_map(|thread| thread.file_name().to_str()?.parse().ok()).collect();
    threads.sort_unstable();
    threads
}

fn record(threads: &[u32], seconds: u32, samples: &Path) -> anyhow::Result<()> {
    let threads: Vec<_> = threads.iter().map(u32::to_string).collect();
    let mut command = Command::new("perf");
    command.args(["record", "--quiet", "-F", SAMPLES_HZ, "--call-graph", CALL_GRAPH, "-t"]);
    command.arg(threads.join(",")).arg("-o").arg(samples);
    command.args(["--", "sleep", &seconds.to_string()]);
    let output = run_perf(&mut command)?;
    if output.status.success() {
        return Ok(());
    }
    let level = fs::read_to_string(PARANOID).ok().and_then(|level| level.trim().parse().ok());
    bail!("{}", refusal(&String::from_utf8_lossy(&output.stderr), level))
}

/// The samples as text.
fn script(samples: &Path) -> anyhow::Result<Vec<u8>> {
    // Functions that were put into others would be looked up by a process for each address.
    let mut command = Command::new("perf");
    let output =
        run_perf(command.args(["script", "--no-inline", "-F", FIELDS, "-i"]).arg(samples))?;
    let words = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "perf cannot read what it wrote: {}", words.trim());
    Ok(output.stdout)
}

fn run_perf(command: &mut Command) -> anyhow::Result<Output> {
    command.output().map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => anyhow::anyhow!(
            "perf is not installed: the package is linux-perf on Debian, linux-tools-generic on \
             Ubuntu, perf on Fedora and Arch"
        ),
        _ => anyhow::Error::new(error).context("perf cannot be started"),
    })
}

/// Why `perf` took no samples, and what to do; `level` is what the kernel's setting says.
fn refusal(words: &str, level: Option<i32>) -> String {
    let words = words.trim();
    let is_refused = ["paranoid", "ermission", "not permitted", "access"];
    if !is_refused.iter().any(|word| words.contains(word)) {
        return format!("perf took no samples: {words}");
    }
    match level {
        Some(level) if level > 1 => format!(
            "the kernel does not let perf look: kernel.perf_event_paranoid is {level}. Be root, \
             or allow it until the next boot: sysctl kernel.perf_event_paranoid=1"
        ),
        _ => format!(
            "the kernel does not let perf look. Look at your own processes, or be root; in a \
             container it needs CAP_PERFMON and the system call perf_event_open. It says: {words}"
        ),
    }
}

/// Stacks with their counts, one a line.
fn fold(samples: &[u8]) -> anyhow::Result<Vec<u8>> {
    let mut folded = Vec::new();
    Folder::default().collapse(BufReader::new(samples), &mut folded).context("perf's words")?;
    ensure!(!folded.is_empty(), "no sample was taken: the shards were idle all the time");
    Ok(folded)
}

fn sample_count(folded: &[u8]) -> u64 {
    let text = String::from_utf8_lossy(folded);
    let counts = text.lines().filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok());
    counts.sum()
}

fn draw(folded: &[u8], title: String, picture: &mut Vec<u8>) -> anyhow::Result<()> {
    let mut options = flamegraph::Options::default();
    options.title = title;
    // The same function has the same colour in every picture.
    options.hash = true;
    flamegraph::from_reader(&mut options, folded, picture).context("the picture")
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLES: &str = "\
shard-0-1 18016   844.748362: cpu-clock:ppp: \n\
\t    15ba9 anser::chat::send::send+0x12 (/bin/anser)\n\
\t    e173 anser::node::shard_loop::round+0x34 (/bin/anser)\n\
\n\
shard-0-1 18016   844.758433: cpu-clock:ppp: \n\
\t    e173 anser::node::shard_loop::round+0x40 (/bin/anser)\n\
\n\
shard-1-2 18017   844.758433: cpu-clock:ppp: \n\
\t    e173 anser::node::shard_loop::round+0x40 (/bin/anser)\n\
\n";

    #[test]
    fn samples_are_drawn_by_shard_and_function() {
        let folded = fold(SAMPLES.as_bytes()).expect("as perf writes it");
        assert_eq!(sample_count(&folded), 3);
        let lines = String::from_utf8_lossy(&folded);
        let expected = "shard-0-1;anser::node::shard_loop::round;anser::chat::send::send 1";
        assert!(lines.lines().any(|line| line == expected), "{lines}");
        let mut picture = Vec::new();
        draw(&folded, "a title".to_owned(), &mut picture).expect("there are samples");
        let picture = String::from_utf8(picture).expect("text");
        for word in ["<svg", "a title", "shard-1-2", "anser::chat::send::send (1 samples, 33.33%)"]
        {
            assert!(picture.contains(word), "{word} is not in {picture}");
        }
        let idle = fold(b"").expect_err("nothing was sampled").to_string();
        assert_eq!(idle, "no sample was taken: the shards were idle all the time");
    }

    #[test]
    fn a_refusal_says_what_to_do() {
        let words = "Access to performance monitoring is limited: perf_event_paranoid";
        let told = refusal(words, Some(4));
        assert!(told.contains("is 4") && told.contains("sysctl kernel.perf_event_paranoid=1"));
        assert!(refusal("Permission denied", Some(-1)).contains("CAP_PERFMON"));
        assert_eq!(refusal("no space\n", Some(4)), "perf took no samples: no space");
    }

    /// A folder like `/proc`, with these threads of each process.
    fn proc(name: &str, processes: &[(u32, &[(u32, &str)])]) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("anser-{name}-{}", std::process::id()));
        for (pid, threads) in processes {
            for (thread, comm) in *threads {
                let folder = folder.join(format!("{pid}/task/{thread}"));
                fs::create_dir_all(&folder).expect("it is ours");
                fs::write(folder.join("comm"), format!("{comm}\n")).expect("it is ours");
            }
        }
        folder
    }

    #[test]
    fn the_only_server_is_found_by_its_shards_and_of_many_one_is_to_be_chosen() {
        let server: &[_] = &[(70, "anser"), (72, "shard-1-2"), (71, "shard-0-1"), (73, "indexer")];
        let other: &[_] = &[(90, "bash")];
        let one = proc("one", &[(70, server), (90, other)]);
        assert_eq!(only_server(&one).expect("there is one"), 70);
        assert_eq!(shard_threads(&one, 70), [71, 72]);
        assert!(shard_threads(&one, 5).is_empty());
        let two = proc("two", &[(80, server), (70, server)]);
        let told = only_server(&two).expect_err("which?").to_string();
        assert!(told.contains("[70, 80] with --pid"), "{told}");
        let none = proc("none", &[(90, other)]);
        assert!(only_server(&none).is_err());
        for folder in [one, two, none] {
            fs::remove_dir_all(folder).expect("it is ours");
        }
    }
}
