//! Readers: threads that fetch rows from a slow disk, so that no shard waits for it.
//!
//! Invariants:
//! 1. Each job is answered once, whether its rows could be read or not: the shard's own read will
//!    say why not.
//! 2. A shard may have rows of any shard fetched: what it sends there finds them in memory.
//! 3. The threads of a shard end, and let go of its store, when nobody can ask for its rows any
//!    more.
//!
//! Left to others: which rows (`chat::needs`), what waits for them (`parking`).

use crate::ids::ShardId;
use crate::limits::{READERS, SLOW_READ_NS};
use crate::node::clock::steady_nanos;
use crate::node::core_wait::CoreWait;
use crate::node::mesh::Doorbell;
use crate::store::view::View;
use crate::store::warmth::{Need, Tag};
use std::io;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};

/// Rows to fetch.
pub struct Job {
    need: Need,
    ticket: u64,
    asked_by: ShardId,
    reply: Sender<Fetched>,
}

/// Rows are in memory.
#[derive(Clone, Copy, Debug)]
pub struct Fetched {
    /// What waits for them.
    pub ticket: u64,
    /// Which they are.
    pub tag: Tag,
    /// How long reading them took, without the time in which the reader had no core.
    pub took_ns: u64,
}

/// What the readers of one shard are to do.
pub struct Jobs {
    jobs: Receiver<Job>,
    bells: Arc<[Doorbell]>,
}

/// A shard's end.
pub struct Fetcher {
    me: ShardId,
    jobs: Vec<Sender<Job>>,
    reply: Sender<Fetched>,
    fetched: Receiver<Fetched>,
}

/// The ends of all shards, and the work of their readers.
pub fn fetchers(bells: &Arc<[Doorbell]>) -> Vec<(Fetcher, Jobs)> {
    let (senders, receivers): (Vec<_>, Vec<_>) = bells.iter().map(|_| channel()).unzip();
    let ends = receivers.into_iter().enumerate().map(|(me, jobs)| {
        let (reply, fetched) = channel();
        let fetcher = Fetcher { me: ShardId(me as u16), jobs: senders.clone(), reply, fetched };
        (fetcher, Jobs { jobs, bells: bells.clone() })
    });
    ends.collect()
}

impl Fetcher {
    /// Asks for rows.
    pub fn fetch(&self, ticket: u64, need: Need) {
        let readers = &self.jobs[usize::from(need.at.0)];
        let job = Job { need, ticket, asked_by: self.me, reply: self.reply.clone() };
        if let Err(refused) = readers.send(job) {
            // That shard is gone, and the server with it soon: nobody has to wait for it.
            let Job { need, ticket, .. } = refused.0;
            let fetched = Fetched { ticket, tag: need.tag(), took_ns: 0 };
            self.reply.send(fetched).expect("both ends are here");
        }
    }

    /// What has been fetched since.
    pub fn fetched(&self) -> impl Iterator<Item = Fetched> {
        self.fetched.try_iter()
    }
}

impl Jobs {
    /// Starts the readers of a shard's store.
    pub fn start(self, shard: ShardId, view: &View) -> io::Result<()> {
        let jobs = Arc::new(Mutex::new(self.jobs));
        for number in 0..READERS {
            let (jobs, bells, view) = (jobs.clone(), self.bells.clone(), view.reader());
            let name = format!("reader-{shard}-{number}");
            let thread = std::thread::Builder::new().name(name);
            thread.spawn(move || {
                let mut core_wait = CoreWait::of_this_thread();
                while let Some(job) = next(&jobs) {
                    job.perform(&bells, &mut core_wait, |need| drop(need.fetch(&view)));
                }
            })?;
        }
        Ok(())
    }

    /// The next job, to be performed by hand.
    #[cfg(test)]
    pub fn next(&self) -> Option<Job> {
        self.jobs.try_recv().ok()
    }

    /// Performs a job by hand, as if it had taken so long.
    #[cfg(test)]
    pub fn perform(&self, job: Job, took_ns: u64) {
        job.answer(&self.bells, took_ns);
    }
}

/// Waits for the next job; `None`: there will be none.
fn next(jobs: &Mutex<Receiver<Job>>) -> Option<Job> {
    // It is poisoned only by a reader that has panicked, and then the process ends.
    jobs.lock().ok()?.recv().ok()
}

impl Job {
    fn perform(self, bells: &[Doorbell], core_wait: &mut CoreWait, fetch: impl FnOnce(&Need)) {
        core_wait.look();
        let begun_ns = steady_nanos();
        fetch(&self.need);
        let mut took_ns = steady_nanos() - begun_ns;
        if took_ns >= SLOW_READ_NS {
            took_ns = took_ns.saturating_sub(core_wait.look());
        }
        self.answer(bells, took_ns);
    }

    fn answer(self, bells: &[Doorbell], took_ns: u64) {
        let fetched = Fetched { ticket: self.ticket, tag: self.need.tag(), took_ns };
        // A shard that is gone waits for nothing.
        if self.reply.send(fetched).is_ok() {
            bells[usize::from(self.asked_by.0)].ring();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::core_wait::tests::{beside_another, until_waited};
    use crate::node::mesh::bells;
    use crate::store::view::tests::{TempFolder, open};
    use crate::store::{Batch, Store};
    use std::collections::BTreeSet;

    fn need(at: u16, number: u64) -> Need {
        Need::row(ShardId(at), &[&[7][..], &number.to_be_bytes()].concat())
    }

    /// Invariants 1 and 2 of node::readers.
    #[test]
    fn rows_of_every_shard_are_fetched_and_each_job_is_answered_once() {
        let folders = [TempFolder::new(), TempFolder::new()];
        let (mut ends, mut views) = (Vec::new(), Vec::new());
        let fetchers = fetchers(&bells(2).expect("eventfds"));
        for (index, (fetcher, jobs)) in fetchers.into_iter().enumerate() {
            let mut view = open(&folders[index]);
            let mut batch = Batch::new();
            (0..200_u64).for_each(|n| batch.put(&[&[7][..], &n.to_be_bytes()].concat(), b"row"));
            view.write(&batch).expect("the store is well");
            jobs.start(ShardId(index as u16), &view).expect("threads start");
            ends.push(fetcher);
            views.push(view);
        }
        for ticket in 0..300 {
            ends[0].fetch(ticket, need((ticket % 2) as u16, ticket));
        }
        let mut tickets = BTreeSet::new();
        for _ in 0..300 {
            let fetched = ends[0].fetched.recv().expect("readers are there");
            assert!(tickets.insert(fetched.ticket), "{} was answered twice", fetched.ticket);
            let at = (fetched.ticket % 2) as u16;
            assert_eq!(fetched.tag, need(at, fetched.ticket).tag());
        }
        assert_eq!(ends[0].fetched().count() + ends[1].fetched().count(), 0);
    }

    #[test]
    fn a_reader_without_a_core_does_not_make_the_disk_slow() {
        let (fetcher, jobs) = fetchers(&bells(1).expect("an eventfd")).pop().expect("one shard");
        fetcher.fetch(1, need(0, 1));
        let job = jobs.next().expect("it was asked for");
        let waited_ns = 4 * SLOW_READ_NS;
        let all_ns = beside_another(|| {
            let mut core_wait = CoreWait::of_this_thread();
            // What it waited before the job is not the job's.
            until_waited(3 * waited_ns);
            let begun_ns = steady_nanos();
            job.perform(&jobs.bells, &mut core_wait, |_| until_waited(waited_ns));
            steady_nanos() - begun_ns
        });
        let took_ns = fetcher.fetched().next().expect("it was answered").took_ns;
        assert!((1..=all_ns - waited_ns).contains(&took_ns), "{took_ns} of {all_ns}");
    }

    /// Invariant 3 of node::readers.
    #[test]
    fn readers_let_go_of_a_store_when_nobody_can_ask_for_its_rows() {
        let folder = TempFolder::new();
        let view = open(&folder);
        let mut fetchers = fetchers(&bells(2).expect("eventfds"));
        let (other, _) = fetchers.pop().expect("two shards");
        let (own, jobs) = fetchers.pop().expect("two shards");
        jobs.start(ShardId(0), &view).expect("threads start");
        drop((own, view));
        other.fetch(5, need(0, 1));
        assert_eq!(other.fetched.recv().expect("it still reads").ticket, 5);
        drop(other);
        // Opening it again is refused as long as a thread holds it.
        let begun = steady_nanos();
        while let Err(error) = View::open(folder.path(), crate::store::view::tests::BEGINNING, 0) {
            assert!(steady_nanos() - begun < 30_000_000_000, "{error:?}");
            std::thread::yield_now();
        }
    }
}
