//! Which cores a process may use: a child has those of the thread that starts it.

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// Who gets which cores when a server and its load share a machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shares {
    /// The server's.
    pub server: Vec<usize>,
    /// The load generator's.
    pub load: Vec<usize>,
}

impl Shares {
    /// The first core for the server and the last for the load; both have the only one.
    pub fn of(cores: &[usize]) -> Shares {
        let one = |core: Option<&usize>| core.copied().into_iter().collect();
        Shares { server: one(cores.first()), load: one(cores.last()) }
    }

    /// Whether the two get in each other's way.
    pub fn overlap(&self) -> bool {
        self.server.iter().any(|core| self.load.contains(core))
    }
}

/// The cores that this thread may use, in order.
pub fn allowed() -> Vec<usize> {
    let set = sched_getaffinity(None).expect("a thread may ask for its own cores");
    (0..CpuSet::MAX_CPU).filter(|core| set.is_set(*core)).collect()
}

/// Does something while this thread may use these cores alone, which are some of those allowed.
pub fn only<T>(cores: &[usize], work: impl FnOnce() -> T) -> T {
    let before = allowed();
    keep_to(cores).expect("some of the cores that are allowed");
    let done = work();
    keep_to(&before).expect("the cores that were allowed before");
    done
}

/// From now on this thread may use these cores alone.
///
/// # Errors
/// When it may have none of them.
pub fn keep_to(cores: &[usize]) -> rustix::io::Result<()> {
    let mut set = CpuSet::new();
    cores.iter().for_each(|core| set.set(*core));
    sched_setaffinity(None, &set)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_has_the_cores_of_the_thread_that_starts_it() {
        let all = allowed();
        let last = *all.last().expect("a thread runs somewhere");
        let spawn = || std::process::Command::new("cat").arg("/proc/self/status").output();
        let status = only(&[last], spawn).expect("every Linux has cat").stdout;
        let status = String::from_utf8_lossy(&status).into_owned();
        let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
        assert_eq!(list.map(str::trim), Some(last.to_string().as_str()));
        assert_eq!(allowed(), all, "the thread has its cores again");
    }

    #[test]
    fn server_and_load_have_a_core_each_where_there_are_two() {
        assert!(!Shares::of(&[4, 5, 6]).overlap());
        assert_eq!(Shares::of(&[4, 5, 6]), Shares { server: vec![4], load: vec![6] });
        assert!(Shares::of(&[3]).overlap());
    }
}
