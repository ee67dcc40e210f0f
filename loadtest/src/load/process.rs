//! What the kernel says about a process.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::collections::BTreeMap;
use std::fs;

/// `USER_HZ`: the unit of times in `/proc`, fixed in the kernel's interface.
const TICKS_PER_SECOND: u64 = 100;

/// CPU time of a process so far, ms: user and system, all threads.
pub fn cpu_ms(process: u32) -> Option<u64> {
    stat_cpu_ms(&format!("/proc/{process}/stat"))
}

/// The CPU time of this very process so far, ms.
pub fn own_cpu_ms() -> u64 {
    cpu_ms(std::process::id()).unwrap_or(0)
}

/// The CPU time of a process by the names of its threads, those of one name together.
pub fn threads_cpu_ms(process: u32) -> Option<BTreeMap<String, u64>> {
    let mut threads = BTreeMap::new();
    for thread in fs::read_dir(format!("/proc/{process}/task")).ok()? {
        let folder = thread.ok()?.path();
        // A thread may end while it is looked at.
        let Ok(name) = fs::read_to_string(folder.join("comm")) else { continue };
        let Some(ms) = stat_cpu_ms(&folder.join("stat").to_string_lossy()) else { continue };
        *threads.entry(name.trim().to_owned()).or_default() += ms;
    }
    Some(threads)
}

/// Files that a process has open, and how many it may have.
pub fn open_files(process: u32) -> Option<(usize, usize)> {
    let open = fs::read_dir(format!("/proc/{process}/fd")).ok()?.count();
    let limits = fs::read_to_string(format!("/proc/{process}/limits")).ok()?;
    let limit = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    Some((open, limit.split_whitespace().next()?.parse().ok()?))
}

/// How many files this process may have open.
pub fn files_max() -> usize {
    let limit = getrlimit(Resource::Nofile).current;
    limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(usize::MAX)
}

/// Lets this process have as many files open as it may allow itself.
pub fn allow_all_files() {
    let limit = getrlimit(Resource::Nofile);
    // Where that is refused the limit stays as it was, and is heeded.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
}

/// Memory of the kernel, bytes: what all TCP sockets of this machine hold in their queues, and
/// its slabs, in which sockets, files and their like are kept.
pub fn kernel_bytes() -> Option<(u64, u64)> {
    let sockets = fs::read_to_string("/proc/net/sockstat").ok()?;
    let words: Vec<&str> =
        sockets.lines().find(|line| line.starts_with("TCP:"))?.split_whitespace().collect();
    let pages: u64 = words.iter().skip_while(|word| **word != "mem").nth(1)?.parse().ok()?;
    let memory = fs::read_to_string("/proc/meminfo").ok()?;
    let slab = memory.lines().find_map(|line| line.strip_prefix("Slab:"))?;
    let slab_kilobytes: u64 = slab.split_whitespace().next()?.parse().ok()?;
    Some((pages * page_bytes()?, slab_kilobytes * 1024))
}

/// The size of a page of this machine, as the kernel tells it of every mapping.
fn page_bytes() -> Option<u64> {
    let mappings = fs::read_to_string("/proc/self/smaps").ok()?;
    let size = mappings.lines().find_map(|line| line.strip_prefix("KernelPageSize:"))?;
    Some(size.split_whitespace().next()?.parse::<u64>().ok()? * 1024)
}

/// Bytes that a process has had written to disks so far.
pub fn written_bytes(process: u32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{process}/io")).ok()?;
    text.lines().find_map(|line| line.strip_prefix("write_bytes: "))?.parse().ok()
}

/// How long this machine's cores were taken away by whoever runs it, if it is a virtual one, so
/// far; all of them together, ms.
pub fn stolen_ms() -> u64 {
    let text = fs::read_to_string("/proc/stat").unwrap_or_default();
    let all = text.lines().find(|line| line.starts_with("cpu "));
    let ticks = all.and_then(|line| line.split_whitespace().nth(8)?.parse::<u64>().ok());
    ticks.unwrap_or(0) * 1000 / TICKS_PER_SECOND
}

fn stat_cpu_ms(path: &str) -> Option<u64> {
    let stat = fs::read_to_string(path).ok()?;
    // The name may hold spaces and parentheses: what follows the last one is plain.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = |place: usize| -> Option<u64> { fields.get(place)?.parse().ok() };
    Some((ticks(11)? + ticks(12)?) * 1000 / TICKS_PER_SECOND)
}

/// Resident memory of a process, bytes.
pub fn resident_bytes(process: u32) -> Option<u64> {
    status_bytes(process, "VmRSS:")
}

/// The most resident memory that a process ever had, or since [`forget_peak`], bytes.
pub fn peak_bytes(process: u32) -> Option<u64> {
    status_bytes(process, "VmHWM:")
}

/// Lets [`peak_bytes`] begin anew.
pub fn forget_peak(process: u32) -> std::io::Result<()> {
    fs::write(format!("/proc/{process}/clear_refs"), "5")
}

fn status_bytes(process: u32, name: &str) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    let kilobytes: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kilobytes * 1024)
}
