//! What the kernel says about a process.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// `USER_HZ`: the unit of times in `/proc`, fixed in the kernel's interface.
const TICKS_PER_SECOND: u64 = 100;

/// CPU time of a process so far, ms: user and system, all threads.
pub fn cpu_ms(process: u32) -> Option<u64> {
    stat_name_and_cpu_ms(Path::new(&format!("/proc/{process}/stat"))).map(|(_, ms)| ms)
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
        let Some((name, ms)) = stat_name_and_cpu_ms(&folder.join("stat")) else { continue };
        *threads.entry(name).or_default() += ms;
    }
    Some(threads)
}

/// The CPU time of all processes but these, so far, by their names, those of one name together,
/// ms. Threads of the kernel count as processes, by their names without what follows a slash: most
/// have the number of a core there. In a container they are not to be seen.
pub fn others_cpu_ms(but: &[u32]) -> BTreeMap<String, u64> {
    let mut others = BTreeMap::new();
    for process in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let number = process.file_name().to_str().and_then(|name| name.parse().ok());
        if number.is_none_or(|number: u32| but.contains(&number)) {
            continue;
        }
        // A process may end while it is looked at.
        let Some((name, ms)) = stat_name_and_cpu_ms(&process.path().join("stat")) else { continue };
        let family = name.split('/').next().unwrap_or_default();
        *others.entry(family.to_owned()).or_default() += ms;
    }
    others
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

fn stat_name_and_cpu_ms(path: &Path) -> Option<(String, u64)> {
    let stat = fs::read_to_string(path).ok()?;
    // The name may hold spaces and parentheses: what follows the last one is plain.
    let (before, after) = stat.rsplit_once(')')?;
    let fields: Vec<&str> = after.split_whitespace().collect();
    let ticks = |place: usize| -> Option<u64> { fields.get(place)?.parse().ok() };
    let ms = (ticks(11)? + ticks(12)?) * 1000 / TICKS_PER_SECOND;
    Some((before.split_once('(')?.1.to_owned(), ms))
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn the_time_of_another_process_counts_by_its_name_unless_it_is_left_out() {
        let hashing = Command::new("sha256sum").arg("/dev/zero").spawn();
        let mut hashing = hashing.expect("every Linux has sha256sum");
        while cpu_ms(hashing.id()).is_none_or(|ms| ms < 100) {
            std::thread::yield_now();
        }
        let of = |but: &[u32]| others_cpu_ms(but).get("sha256sum").copied().unwrap_or(0);
        // Others of this name may run, too.
        let (without, all) = (of(&[hashing.id()]), of(&[]));
        assert!(all >= without + 100, "{all} ms, without it {without}");
        hashing.kill().and_then(|()| hashing.wait()).expect("it is ours");
    }

    #[test]
    fn a_thread_of_the_kernel_has_no_number_of_a_core_in_its_name() {
        assert!(others_cpu_ms(&[]).keys().all(|name| !name.contains('/')));
    }
}
