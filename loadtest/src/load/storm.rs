//! Many connections break at once, and everybody comes back.
//!
//! While they are away each of them is sent a message. Whoever comes back must be told that
//! something waits, and must find exactly that, unchanged; when he has acked it, nothing is left.

use super::accounts::{MessageIds, Target};
use super::crew::{Crew, Order};
use super::part::Part;
use super::process;
use super::seconds::Seconds;
use super::sockets::Sockets;
use super::words::{self, Word};
use crate::arguments;
use crate::outcome::{Outcome, Run, Scenario};
use anyhow::{Result, bail, ensure};
use serde::Serialize;
use serde_json::json;
use std::time::{Duration, Instant};

/// Those who write to the absent, at most.
const AUTHORS: usize = 64;
/// Messages of an author without an Ack, at most.
const WINDOW: usize = 16;

/// What to run.
#[derive(Clone, Debug, Serialize, clap::Args)]
pub struct Storm {
    /// Where.
    #[command(flatten)]
    #[serde(skip)]
    pub target: Target,
    /// What every scenario is told.
    #[command(flatten)]
    #[serde(skip)]
    pub run: Run,
    /// Connections, each of a user of its own.
    #[arg(long, default_value_t = 15_000, value_parser = arguments::positive::<usize>)]
    pub connections: usize,
    /// The first tries to come back are spread evenly over so many seconds; after one that failed
    /// a user waits for 3 s, and after ten he gives up.
    #[arg(long, default_value_t = 3)]
    pub seconds_within: u64,
    /// The longest that writing to the absent may take.
    #[arg(long, default_value_t = 60, value_parser = arguments::up_to::<1_000_000>)]
    #[serde(skip)]
    pub seconds: u64,
    /// How long all rest, connected, before their connections break.
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u64).range(..=1_000_000))]
    pub warm_seconds: u64,
}

impl Scenario for Storm {
    const NAME: &'static str = "storm";

    fn options(&self) -> &Run {
        &self.run
    }

    fn target(&self) -> Option<&Target> {
        Some(&self.target)
    }

    fn run(&self, outcome: &mut Outcome) -> Result<()> {
        let people = self.target.register(self.connections + AUTHORS.min(self.connections))?;
        let (users, authors) = people.split_at(self.connections);
        let crew = Crew::start(&self.target, self.connections, 1)?;
        let begun = Instant::now();
        crew.connect(users)?;
        outcome.add(json!({
            "threads": crew.count(),
            "connects_per_second": (users.len() as f64 / begun.elapsed().as_secs_f64()).round(),
        }));
        let sockets = Sockets::of(&Part::after(self.connections))?;
        let mut sockets = self.target.connect(sockets, authors)?;
        std::thread::sleep(Duration::from_secs(self.warm_seconds));
        crew.all(&Order::Cut, |_, _| {})?;
        let ids = MessageIds::new();
        self.write(&mut sockets, authors, users, ids)?;
        self.come_back(&crew, outcome)?;
        self.check_lists(authors, users, ids)?;
        crew.all(&Order::Ack { ids }, |_, _| {})?;
        self.target.until_nothing_waits(users)
    }
}

impl Storm {
    /// Everybody who is away is sent a message; ends with the last Ack.
    fn write(
        &self,
        sockets: &mut Sockets,
        authors: &[i64],
        users: &[i64],
        ids: MessageIds,
    ) -> Result<()> {
        let write = |author: usize, index: usize, out: &mut Vec<u8>| {
            let id = ids.of(index as u64);
            words::message(out, authors[author], users[index], id, index as u64);
        };
        // An author writes to every so-manieth user, from his own number on.
        for author in 0..authors.len() {
            let his = (author..users.len()).step_by(authors.len());
            his.take(WINDOW).for_each(|index| write(author, index, sockets.outbound(author)));
        }
        let mut next: Vec<usize> = (0..authors.len()).collect();
        let deadline = Instant::now() + Duration::from_secs(self.seconds);
        let mut left = users.len();
        while left > 0 {
            ensure!(Instant::now() < deadline, "{left} messages to the absent were not acked");
            sockets.round(Duration::from_millis(50), |author, said, out| {
                let text = said.text()?;
                match words::read(text) {
                    Some(Word::Ack { source }) if source == ids.of(next[author] as u64) => {}
                    _ => bail!("not the next Ack: {}", text.escape_ascii()),
                }
                let following = next[author] + WINDOW * authors.len();
                if following < users.len() {
                    write(author, following, out);
                }
                next[author] += authors.len();
                left -= 1;
                Ok(())
            })?;
        }
        Ok(())
    }

    /// Everybody comes back; tells how fast, and fails if somebody gave up.
    fn come_back(&self, crew: &Crew, outcome: &mut Outcome) -> Result<()> {
        let within_ms = self.seconds_within * 1000;
        let mut seconds = Seconds::begin(&self.target, "back");
        let (cpu_before, own_before) = (self.target.cpu_ms(), process::own_cpu_ms());
        let begun = Instant::now();
        let all = crew.all(&Order::Return { within_ms }, |back, failed| {
            seconds.count(back);
            seconds.count_errors(failed);
            seconds.look();
        })?;
        let took_ms = begun.elapsed().as_millis().max(1) as f64;
        seconds.end(outcome);
        // Who came back when is known only afterwards, from the workers.
        let mut each_second = Vec::new();
        for back_us in &all.back_us {
            let second = (back_us / 1_000_000) as usize;
            each_second.resize(each_second.len().max(second + 1), 0.0);
            each_second[second] += 1.0;
        }
        outcome.series.insert("back_each_second".to_owned(), each_second);
        let all_back_ms = all.back_us.iter().max().copied().unwrap_or(0) as f64 / 1000.0;
        let own_cores = (process::own_cpu_ms() - own_before) as f64 / took_ms;
        outcome.note_own_cores(own_cores, crew.count());
        let latencies = outcome.latencies.entry("reconnect".to_owned()).or_default();
        all.reconnect_us.iter().for_each(|took_us| latencies.record(*took_us));
        outcome.add(json!({
            "back": all.back_us.len(),
            "back_per_second": (all.back_us.len() as f64 * 1000.0 / all_back_ms.max(1.0)).round(),
            "all_back_ms": all_back_ms,
            "tries": all.tries,
            "tries_failed": all.failures,
            "gave_up": all.gave_up,
            "told_of_a_message": all.told,
            "own_cores": own_cores,
        }));
        if self.target.is_process_known(outcome) {
            let used_ms = self.target.cpu_ms().saturating_sub(cpu_before);
            outcome.add(json!({"server_cores": used_ms as f64 / took_ms}));
        }
        ensure!(all.gave_up == 0, "{} users gave up: {:?}", all.gave_up, all.failures);
        Ok(())
    }

    /// What waits for each user is the message that he was sent, unchanged, and nothing else.
    fn check_lists(&self, authors: &[i64], users: &[i64], ids: MessageIds) -> Result<()> {
        let mut index = 0;
        self.target.offline_lists(users, |list| {
            let (user, author) = (users[index], authors[index % authors.len()]);
            let mut content = Vec::new();
            words::content(&mut content, author, index as u64);
            let content = String::from_utf8_lossy(&content);
            let messages = list.as_array().map(Vec::as_slice).unwrap_or_default();
            let [message] = messages else {
                bail!("LOST or doubled: {} messages wait for {user}, not 1", messages.len())
            };
            let id = ids.of(index as u64);
            ensure!(message["id"] == id, "{user} was sent {id}, and {message} waits");
            ensure!(message["content"] == *content, "message {id} has another content");
            index += 1;
            Ok(())
        })
    }
}
