//! A part of a run's connections, on a thread of its own.
//!
//! A process may have only so many files open, and a connection is one: but that holds for a table
//! of files, and a thread may have one of its own. So a run that needs more connections is done
//! in parts, each by a thread with users, connections and a ring of its own. Parts do not talk to
//! each other; they meet when all are ready and when all are done, and what they count is counted
//! together. Between that nobody waits: whoever waits serves no connection.

use super::accounts::FILES_BESIDE;
use super::process;
use super::seconds::Tally;
use anyhow::{Context, Result, bail, ensure};
use nix::sched::{CloneFlags, unshare};
use std::ops::Range;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};

/// Nobody panics while he has the hall.
const CALM: &str = "no part panics in the hall";

/// Which part, and where it meets the others. By default it is all there is.
#[derive(Clone, Debug, Default)]
pub struct Part {
    number: usize,
    units: Range<usize>,
    all_units: usize,
    first_connection: usize,
    per_unit: usize,
    meeting: Arc<Meeting>,
}

/// Where the parts of a run meet.
#[derive(Debug, Default)]
struct Meeting {
    /// How many meet; with less than two nobody waits for anybody.
    parts: usize,
    hall: Mutex<Hall>,
    all_are_here: Condvar,
}

#[derive(Debug, Default)]
struct Hall {
    here: usize,
    /// Those who have left for good.
    gone: usize,
    meetings: u64,
    sum: u64,
    last_sum: u64,
    /// What other parts have done, for the first.
    tally: Option<Tally>,
    is_enough: bool,
    /// Why the run is over before its time.
    off: Option<String>,
}

impl Part {
    /// The parts in which so many connections are had, `per_unit` by each of those who can be
    /// divided: in each at most `per_thread` of them, and as many as a thread may have files open.
    ///
    /// # Errors
    /// When that is too few.
    pub fn all(units: usize, per_unit: usize, per_thread: Option<usize>) -> Result<Vec<Part>> {
        let files = process::files_max().saturating_sub(FILES_BESIDE);
        let most = per_thread.unwrap_or(usize::MAX).min(files);
        ensure!(
            most >= per_unit,
            "{per_unit} connections belong together, and a thread may have {most} (--connections-\
             per-thread; ulimit -n, which is {})",
            process::files_max()
        );
        let parts = units.div_ceil(most / per_unit).max(1);
        let meeting = Arc::new(Meeting { parts, ..Meeting::default() });
        let part = |number: usize| {
            let units_of = number * units / parts..(number + 1) * units / parts;
            Part {
                number,
                first_connection: units_of.start * per_unit,
                units: units_of,
                all_units: units,
                per_unit,
                meeting: Arc::clone(&meeting),
            }
        };
        Ok((0..parts).map(part).collect())
    }
}

impl Part {
    /// What has its connections behind so many of the run's.
    pub fn after(first_connection: usize) -> Part {
        Part { first_connection, ..Part::default() }
    }

    /// Of whom it has those with these numbers, such as pairs.
    pub fn units(&self) -> Range<usize> {
        self.units.clone()
    }

    /// Which of the run's connections it has.
    pub fn connections(&self) -> Range<usize> {
        self.first_connection..self.first_connection + self.units.len() * self.per_unit
    }

    /// How many connections the parts before it have.
    pub fn first_connection(&self) -> usize {
        self.first_connection
    }

    /// Numbers for so many users of this part, which no other has; each has one connection.
    pub fn users(&self, count: usize) -> impl Iterator<Item = i64> {
        let first = self.first_connection as i64;
        first..first + count as i64
    }

    /// How many parts there are.
    pub fn count(&self) -> usize {
        self.meeting.parts.max(1)
    }

    /// It is the one that tells what all have done together.
    pub fn is_first(&self) -> bool {
        self.number == 0
    }

    /// Its number, from 0 on.
    pub fn number(&self) -> usize {
        self.number
    }

    /// Its share of something, but at least 1; those of all parts are the whole of it, unless that
    /// is less than there are parts.
    pub fn share_of(&self, whole: u64) -> u64 {
        if self.count() == 1 {
            return whole;
        }
        let until = |unit: usize| u128::from(whole) * unit as u128 / self.all_units as u128;
        let share = until(self.units.end) - until(self.units.start);
        u64::try_from(share).unwrap_or(whole).max(1)
    }

    /// Waits until all parts are here, but for those who have left; what all of them have counted
    /// together.
    pub fn meet(&self, count: u64) -> u64 {
        let mut hall = self.hall();
        let meeting = hall.meetings;
        hall.sum += count;
        hall.here += 1;
        self.end_meeting(&mut hall);
        let waits = |hall: &mut Hall| hall.meetings == meeting;
        self.meeting.all_are_here.wait_while(hall, waits).expect(CALM).last_sum
    }

    /// The same before all of them begin.
    ///
    /// # Errors
    /// When the run was called off meanwhile.
    pub fn begin_together(&self) -> Result<()> {
        self.meet(0);
        self.check()
    }

    /// Nobody waits for this part any more.
    pub fn leave(&self) {
        let mut hall = self.hall();
        hall.gone += 1;
        self.end_meeting(&mut hall);
    }

    /// A meeting ends when nobody is missing.
    fn end_meeting(&self, hall: &mut Hall) {
        if hall.here > 0 && hall.here + hall.gone >= self.meeting.parts {
            (hall.here, hall.meetings) = (0, hall.meetings + 1);
            hall.last_sum = std::mem::take(&mut hall.sum);
            self.meeting.all_are_here.notify_all();
        }
    }

    /// Gives the first part what was done in this one.
    pub fn give(&self, tally: &mut Tally) {
        tally.move_to(self.hall().tally.get_or_insert_default());
    }

    /// Takes what others have given.
    pub fn take_given(&self, tally: &mut Tally) {
        let given = self.hall().tally.take();
        given.into_iter().for_each(|mut given| given.move_to(tally));
    }

    /// From now on no part begins anything new.
    pub fn say_enough(&self) {
        self.hall().is_enough = true;
    }

    /// Whether one has said so.
    pub fn is_enough(&self) -> bool {
        self.hall().is_enough
    }

    /// Ends all parts, with the first reason that is given.
    pub fn call_off(&self, why: &str) {
        self.hall().off.get_or_insert_with(|| why.to_owned());
    }

    /// The same result, and the end of all parts if it is an error.
    ///
    /// # Errors
    /// That one.
    pub fn for_all<T>(&self, result: Result<T>) -> Result<T> {
        result.inspect_err(|error| self.call_off(&format!("{error:#}")))
    }

    /// Ends what is under way in this part when another has called off the run.
    ///
    /// # Errors
    /// Then.
    pub fn check(&self) -> Result<()> {
        self.hall().off.as_ref().map_or(Ok(()), |why| bail!("{why}"))
    }

    /// Gives this thread a table of files of its own, if it is one of several: it is the thread of
    /// this part from now on. What others have open stays open there and here.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn settle_in(&self) -> Result<()> {
        if self.count() > 1 {
            unshare(CloneFlags::CLONE_FILES).context(
                "a table of files for a thread: where that is forbidden (`unshare`, in some \
                 containers) only a higher `ulimit -n` gives more connections",
            )?;
        }
        Ok(())
    }

    fn hall(&self) -> MutexGuard<'_, Hall> {
        self.meeting.hall.lock().expect(CALM)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsRawFd;

    #[test]
    fn parts_are_the_whole_and_no_more() {
        for (units, per_unit, per_thread, expected) in
            [(10, 2, 8, 3), (1, 2, 2, 1), (50, 1, 20, 3), (7, 5, 9, 7), (4, 2, 100, 1)]
        {
            let parts = Part::all(units, per_unit, Some(per_thread)).expect("enough files");
            assert_eq!((parts.len(), parts[0].count()), (expected, expected));
            let mut next = (0, 0);
            for part in &parts {
                assert_eq!((part.units().start, part.connections().start), next);
                assert!(part.connections().len() <= per_thread, "{part:?}");
                next = (part.units().end, part.connections().end);
            }
            assert_eq!(next, (units, units * per_unit));
            let shares: u64 = parts.iter().map(|part| part.share_of(1_000_003)).sum();
            assert_eq!(shares, 1_000_003);
        }
        assert!(Part::all(1, 2, Some(1)).is_err());
    }

    #[test]
    fn all_there_is_waits_for_nobody() {
        let all = Part::default();
        assert_eq!((all.count(), all.is_first(), all.meet(7), all.share_of(9)), (1, true, 7, 9));
    }

    #[test]
    fn nobody_waits_for_those_who_have_left() {
        let parts = Part::all(3, 1, Some(1)).expect("enough files");
        std::thread::scope(|scope| {
            let [one, two, three] = [&parts[0], &parts[1], &parts[2]];
            let met = scope.spawn(|| (one.begin_together().is_ok(), one.meet(5), one.meet(1)));
            scope.spawn(|| {
                assert_eq!((two.meet(0), two.meet(7)), (0, 12));
                two.leave();
            });
            three.meet(0);
            three.leave();
            assert_eq!(met.join().expect("it does not panic"), (true, 12, 1));
        });
        parts[1].call_off("why");
        parts[2].call_off("another");
        let all = parts.iter().map(|part| part.check().expect_err("it is over").to_string());
        assert!(all.into_iter().all(|why| why == "why"));
        assert!(parts[0].begin_together().is_err());
    }

    #[test]
    fn a_part_has_files_of_its_own() {
        let program = std::env::current_exe().expect("a test is a program");
        let opened = |number: i32| {
            std::fs::read_link(format!("/proc/thread-self/fd/{number}")).unwrap_or_default()
        };
        std::thread::scope(|scope| {
            let (told, tells) = std::sync::mpsc::channel();
            let (end, ends) = std::sync::mpsc::channel::<()>();
            let path = &program;
            scope.spawn(move || {
                let part = Part::all(2, 1, Some(1)).expect("enough files").remove(1);
                part.settle_in().expect("the kernel allows it");
                let file = std::fs::File::open(path).expect("it is there");
                assert_eq!(opened(file.as_raw_fd()), *path);
                told.send(file.as_raw_fd()).expect("somebody waits");
                assert!(ends.recv().is_err(), "nobody says anything");
            });
            let number = tells.recv().expect("it was opened");
            assert_ne!(opened(number), program, "it is open there, and not here");
            drop(end);
        });
    }
}
