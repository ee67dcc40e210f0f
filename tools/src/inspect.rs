//! `anser-tools inspect`: what a stopped server's folder holds, as lines of JSON.
//!
//! Invariants:
//! 1. Contents of messages are printed only when they were asked for.
//! 2. A number that JSON readers may round is a string.
//!
//! Left to others: rows as JSON (`json`), opening the folder (`anser::node::offline`).

pub mod json;

use anser::ids::{ShardId, UserId};
use anser::node::offline::{Offline, OfflineShard, Record};
use anser::store::batch::Change;
use anser::store::keys::{Key, Kind};
use anser::store::parts::owned;
use anser::store::rows::{NumberRow, read_owned};
use anser::store::{Direction, Position, Range, Store};
use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use json::{Contents, number};
use serde_json::{Value, json};
use std::io::{self, BufWriter, ErrorKind, Write};
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::process::ExitCode;

/// What `inspect` is told.
#[derive(Args, Debug)]
pub struct Arguments {
    /// The data folder of a server that is not running
    #[arg(long, value_name = "FOLDER")]
    data_dir: PathBuf,
    /// Print the contents of messages, too
    #[arg(long, global = true)]
    contents: bool,
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand, Debug)]
enum What {
    /// What the folder says of itself, and how far each shard's tables and log reach
    Manifest,
    /// All rows of a user: his counters, chats, messages and their indexes
    User {
        /// The userId
        id: i64,
    },
    /// Records of a shard's commit log, as far as its segments still hold them
    Log {
        /// The shard
        #[arg(long)]
        shard: u16,
        /// The first position
        #[arg(long, default_value_t = 1)]
        from: u64,
        /// The last position
        #[arg(long, default_value_t = u64::MAX)]
        to: u64,
    },
    /// All rows of a shard
    Rows {
        /// The shard
        #[arg(long)]
        shard: u16,
    },
}

/// Where lines go, and the first reason why one did not.
struct Lines<W: Write> {
    out: W,
    contents: Contents,
    outcome: io::Result<()>,
}

/// Runs `inspect`.
pub fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let offline = Offline::open(&arguments.data_dir)?;
    let contents = if arguments.contents { Contents::Shown } else { Contents::Hidden };
    let out = BufWriter::new(io::stdout().lock());
    let mut lines = Lines { out, contents, outcome: Ok(()) };
    match &arguments.what {
        What::Manifest => manifest(&offline, &mut lines)?,
        What::User { id } => user(&offline, *id, &mut lines)?,
        What::Log { shard, from, to } => {
            let shard = shard_of(&offline, *shard)?;
            let mut found = 0_u64;
            let mut visit = |record: Record<'_>| {
                found += 1;
                lines.record(shard, record)
            };
            shard.records(Position(*from), Position(*to), &mut visit)?;
            if found == 0 {
                let last = if *to == u64::MAX { String::new() } else { format!(" to {to}") };
                eprintln!("the log's segments hold no record from {from}{last}");
            }
        }
        What::Rows { shard } => {
            let shard = shard_of(&offline, *shard)?;
            lines.rows(shard, &[0], &[u8::MAX])?;
        }
    }
    match lines.outcome.and_then(|()| lines.out.flush()) {
        // Whoever reads has seen enough.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(ExitCode::SUCCESS),
        outcome => Ok(outcome.map(|()| ExitCode::SUCCESS)?),
    }
}

fn shard_of(offline: &Offline, shard: u16) -> anyhow::Result<&OfflineShard> {
    let shards = offline.manifest.shards;
    let found = offline.shards.get(usize::from(shard));
    found.with_context(|| format!("there is no shard {shard}: they are 0 to {}", shards - 1))
}

fn manifest<W: Write>(offline: &Offline, lines: &mut Lines<W>) -> anyhow::Result<()> {
    let manifest = offline.manifest;
    lines.put(&json!({
        "format": manifest.format,
        "shards": manifest.shards,
        "lanes": manifest.lanes,
        "node": manifest.node,
        "id": number(manifest.id),
        "generation": manifest.generation,
    }));
    for shard in &offline.shards {
        let epoch = shard.get(&Key::of(Kind::Epoch), read_owned::<NumberRow>)?.transpose()?;
        lines.put(&json!({
            "shard": shard.shard.0,
            "epoch": number(epoch.map_or(0, |row| row.0)),
            "log": number(shard.covered.log),
            "tablesReach": number(shard.covered.position.0),
            "logReaches": number(shard.last.0),
        }));
    }
    Ok(())
}

fn user<W: Write>(offline: &Offline, id: i64, lines: &mut Lines<W>) -> anyhow::Result<()> {
    let user = UserId::new(id).with_context(|| format!("{id} is no userId"))?;
    let home: ShardId = user.home(offline.manifest.shards);
    let shard = &offline.shards[usize::from(home.0)];
    if shard.get(&Key::user(user), |_| ())?.is_none() {
        bail!("no user {id} is registered (he would be at home on shard {home})");
    }
    let kinds = [
        Kind::Tenant,
        Kind::Profile,
        Kind::User,
        Kind::Chat,
        Kind::HiddenChat,
        Kind::MarksDue,
        Kind::Waiting,
        Kind::Message,
        Kind::PairBlock,
        Kind::IdBlock,
        Kind::LateId,
    ];
    for kind in kinds {
        let (from, to) = owned(kind, user);
        lines.rows(shard, &from, &to)?;
    }
    Ok(())
}

impl<W: Write> Lines<W> {
    fn put(&mut self, line: &Value) {
        if self.outcome.is_ok() {
            self.outcome = writeln!(self.out, "{line}");
        }
    }

    /// `Break`: nobody takes any more.
    fn flow(&self) -> ControlFlow<()> {
        if self.outcome.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    }

    fn rows(&mut self, shard: &OfflineShard, from: &[u8], to: &[u8]) -> anyhow::Result<()> {
        let range = Range { from, to, direction: Direction::Forward };
        let mut visit = |key: &[u8], value: &[u8]| {
            let mut line = json::row(key, value, self.contents);
            line["shard"] = shard.shard.0.into();
            self.put(&line);
            self.flow()
        };
        Ok(shard.scan(range, &mut visit)?)
    }

    fn record(&mut self, shard: &OfflineShard, record: Record<'_>) -> ControlFlow<()> {
        let mut changes = Vec::with_capacity(record.count() as usize);
        let is_whole = record.changes(|key, change| {
            changes.push(match change {
                Change::Put(value) => json!({"put": json::row(key, value, self.contents)}),
                Change::Remove => json!({"remove": json::key(key)}),
            });
        });
        self.put(&json!({
            "shard": shard.shard.0,
            "position": number(record.position.0),
            "segment": shard.path(record.place).file_name().map(|name| name.to_string_lossy()),
            "offset": record.offset,
            "bytes": record.size(),
            "whole": is_whole.is_some(),
            "changes": changes,
        }));
        self.flow()
    }
}
