//! What an operator may choose: flags over environment over file over defaults, as one [`Config`].
//!
//! Invariants:
//! 1. A setting comes from the first of: its flag, its `ANSER_` variable, its key in the file,
//!    its default. The others are not looked at.
//! 2. A value that is not allowed is refused before anything starts, in words that name the
//!    setting as its source spells it, the value, and what is allowed.
//! 3. Nothing listens off loopback while anyone may speak for anyone, unless the operator said
//!    that he knows.
//!
//! Left to others: how many cores there are and whether the machine can do it (`node::doctor`).

mod error;
mod flags;
mod reach;
mod sources;

pub use error::ConfigError;
pub use reach::reached_at;

use crate::limits;
use clap::FromArgMatches;
use sources::Sources;
use std::ffi::OsString;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

/// What an acknowledgement means.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Durability {
    /// On disk: an ack survives power loss.
    Sync,
    /// Written, synced soon after: an ack survives a kill, not a power cut.
    Async,
}

/// How a call that is understood but refused is answered over HTTP.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ErrorStyle {
    /// 500 with code 500, as the first document says.
    Seed,
    /// 400 or 404 with the same code.
    Rest,
}

/// Where rows are kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StoreKind {
    /// In the data folder.
    Disk,
    /// In memory: gone with the process. For measuring.
    Memory,
    /// Messages are thrown away, only users and chats are kept, in memory. For measuring.
    Nothing,
}

/// Where the thread runs that moves rows from the log into their tables.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum IndexerCore {
    /// On the last of the allowed cores.
    Last,
    /// On this one of the allowed cores, counted from 0.
    At(u16),
    /// On any of them.
    Shared,
}

/// Everything that may be chosen, checked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Config {
    /// Where rows are kept; made if it is not there.
    pub data_dir: PathBuf,
    /// HTTP calls, and the upgrade at `/ws`. Port 0: a free one.
    pub http: SocketAddr,
    /// WebSockets. Port 0: a free one.
    pub ws: SocketAddr,
    /// Health and figures. Port 0: a free one.
    pub admin: SocketAddr,
    /// The origins whose web pages are answered, in lower case; `None`: all.
    pub origins: Option<Vec<String>>,
    /// `1..=SHARDS_MAX`; `None`: as the data folder was made, else one for each allowed core.
    pub shards: Option<u16>,
    /// The first of the allowed cores, counted from 0, that shards are pinned to, round robin.
    pub pin_from: u16,
    /// Where the indexer runs.
    pub indexer_core: IndexerCore,
    /// What an ack means.
    pub durability: Durability,
    /// Room on the disk, MiB, below which nothing new is stored.
    pub disk_reserve_mb: u32,
    /// Days that messages are kept; `None`: for ever.
    pub retain_days: Option<u32>,
    /// Messages that are kept of each history; `None`: all.
    pub retain_messages: Option<u64>,
    /// What keeps the rows.
    pub store: StoreKind,
    /// How refused calls are answered.
    pub errors: ErrorStyle,
    /// Seconds east of UTC in which `createTime` and its like are written.
    pub utc_offset_seconds: i32,
    /// A filter for `tracing`, known to parse.
    pub log: String,
}

impl Config {
    /// What is promised, in one word: `sync`, `async`, or `none` where nothing is kept on disk.
    pub fn durability_word(&self) -> &'static str {
        match (self.store, self.durability) {
            (StoreKind::Memory | StoreKind::Nothing, _) => "none",
            (StoreKind::Disk, Durability::Sync) => "sync",
            (StoreKind::Disk, Durability::Async) => "async",
        }
    }
}

/// What the command line asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Command {
    /// Run the server.
    Serve,
    /// Say whether this machine can run it.
    Doctor,
    /// Write all rows anew for so many shards.
    Reshard(u16),
}

/// Where [`load`] reads from; tests bring their own.
pub struct Surroundings<'a> {
    /// The command line, the program's name first.
    pub arguments: Vec<OsString>,
    /// Looks up an environment variable.
    pub environment: &'a dyn Fn(&str) -> Option<OsString>,
    /// The machine's own UTC offset, seconds east.
    pub utc_offset_seconds: i32,
}

/// Reads the command line and the environment of this process.
#[allow(clippy::disallowed_methods, reason = "the offset at start, before there is any clock")]
pub fn from_process() -> Result<(Command, Config), ConfigError> {
    let zone = jiff::tz::TimeZone::system();
    load(Surroundings {
        arguments: std::env::args_os().collect(),
        environment: &|name| std::env::var_os(name),
        utc_offset_seconds: zone.to_offset(jiff::Timestamp::now()).seconds(),
    })
}

/// Variables of this process that are named as settings are, and name none.
pub fn unknown_variables() -> Vec<String> {
    sources::unknown(std::env::vars_os().map(|(name, _)| name))
}

/// Reads and checks everything.
pub fn load(surroundings: Surroundings<'_>) -> Result<(Command, Config), ConfigError> {
    let matches = flags::command().try_get_matches_from(surroundings.arguments)?;
    let subcommand = flags::Arguments::from_arg_matches(&matches)?.command;
    let flags = matches.subcommand().map_or(&matches, |(_, flags)| flags);
    let sources = Sources::open(flags, surroundings.environment)?;
    let config = read(&sources, surroundings.utc_offset_seconds)?;
    let command = match subcommand {
        Some(flags::Subcommand::Doctor(_)) => Command::Doctor,
        Some(flags::Subcommand::Serve(_)) | None => Command::Serve,
        Some(flags::Subcommand::Reshard(_)) => {
            Command::Reshard(config.shards.expect("the parser requires the flag"))
        }
    };
    refuse_other_than_open(&sources)?;
    refuse_open_to_all(&sources, &config)?;
    refuse_shared_port(&sources, &config)?;
    Ok((command, config))
}

/// Each setting by itself.
fn read(sources: &Sources, utc_offset_seconds: i32) -> Result<Config, ConfigError> {
    let loopback = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let address = |text: &str| text.parse().ok();
    Ok(Config {
        data_dir: sources.read("data_dir", "a path", folder)?.unwrap_or_else(|| "./data".into()),
        http: sources.read("http", ADDRESS, address)?.unwrap_or(loopback(8093)),
        ws: sources.read("ws", ADDRESS, address)?.unwrap_or(loopback(6666)),
        admin: sources.read("admin", ADDRESS, address)?.unwrap_or(loopback(8094)),
        origins: sources.read("origins", ORIGINS, origins)?.flatten(),
        shards: sources.read("shards", SHARDS, shards)?,
        pin_from: sources.read("pin_from", CORE, core)?.unwrap_or(0),
        indexer_core: sources
            .read("indexer_core", INDEXER, indexer_core)?
            .unwrap_or(IndexerCore::Last),
        durability: sources
            .read("durability", "sync or async", durability)?
            .unwrap_or(Durability::Sync),
        disk_reserve_mb: sources
            .read("disk_reserve_mb", MEBIBYTES, |text| text.parse().ok())?
            .unwrap_or(1024),
        retain_days: sources.read("retain_days", DAYS, days)?.flatten(),
        retain_messages: sources.read("retain_messages", MESSAGES, messages)?.flatten(),
        store: sources.read("store", "disk, memory or nothing", store)?.unwrap_or(StoreKind::Disk),
        errors: sources.read("errors", "seed or rest", errors)?.unwrap_or(ErrorStyle::Seed),
        utc_offset_seconds: sources
            .read("utc_offset", OFFSET, offset_seconds)?
            .unwrap_or(utc_offset_seconds),
        log: sources.read("log", FILTER, filter)?.unwrap_or_else(|| "info".to_owned()),
    })
}

const ADDRESS: &str = "an address with a port, such as 127.0.0.1:8093 or [::1]:8093";
const ORIGINS: &str = "any, none, or origins such as https://chat.example,http://localhost:8094";
const SHARDS: &str = "a whole number, 1 to 256";
const CORE: &str = "the place of a core among those allowed, 0 to 65535";
const INDEXER: &str = "the place of a core among those allowed, 0 to 65535, or shared";
const MEBIBYTES: &str = "a whole number of MiB, 0 to 4294967295";
const DAYS: &str = "a whole number of days, 1 to 36500, or 0 for ever";
const MESSAGES: &str = "a whole number, at least 100, or 0 for all";
const OFFSET: &str = "hours and minutes from UTC, such as +08:00, at most 18 hours";
const FILTER: &str = "a filter such as info, or warn,anser=debug";
const AUTH: &str = "open";

const _: () = assert!(limits::SHARDS_MAX == 256, "the text above says so");
const _: () = assert!(limits::RETAINED_DAYS_MAX == 36_500, "and so");
const _: () = assert!(limits::RETAINED_MESSAGES_MIN == 100, "and so");

fn folder(text: &str) -> Option<PathBuf> {
    (!text.is_empty()).then(|| PathBuf::from(text))
}

/// `Some(None)`: all. An origin is a scheme, a host and perhaps a port, and no path.
fn origins(text: &str) -> Option<Option<Vec<String>>> {
    let is_origin = |origin: &String| {
        let host = origin.split_once("://").map_or("", |(_, host)| host);
        !host.is_empty() && !host.contains(['/', '*', ' '])
    };
    match text {
        "any" => Some(None),
        "none" => Some(Some(Vec::new())),
        list => {
            let list: Vec<String> =
                list.split(',').map(|origin| origin.trim().to_ascii_lowercase()).collect();
            list.iter().all(is_origin).then_some(Some(list))
        }
    }
}

fn shards(text: &str) -> Option<u16> {
    text.parse().ok().filter(|count| (1..=limits::SHARDS_MAX).contains(count))
}

/// `Some(None)`: for ever.
fn days(text: &str) -> Option<Option<u32>> {
    match text.parse().ok()? {
        0 => Some(None),
        days => (days <= limits::RETAINED_DAYS_MAX).then_some(Some(days)),
    }
}

/// `Some(None)`: all.
fn messages(text: &str) -> Option<Option<u64>> {
    match text.parse().ok()? {
        0 => Some(None),
        count => (count >= limits::RETAINED_MESSAGES_MIN).then_some(Some(count)),
    }
}

fn core(text: &str) -> Option<u16> {
    text.parse().ok()
}

fn indexer_core(text: &str) -> Option<IndexerCore> {
    match text {
        "shared" => Some(IndexerCore::Shared),
        place => place.parse().ok().map(IndexerCore::At),
    }
}

fn durability(text: &str) -> Option<Durability> {
    match text {
        "sync" => Some(Durability::Sync),
        "async" => Some(Durability::Async),
        _ => None,
    }
}

fn store(text: &str) -> Option<StoreKind> {
    match text {
        "disk" => Some(StoreKind::Disk),
        "memory" => Some(StoreKind::Memory),
        "nothing" => Some(StoreKind::Nothing),
        _ => None,
    }
}

fn errors(text: &str) -> Option<ErrorStyle> {
    match text {
        "seed" => Some(ErrorStyle::Seed),
        "rest" => Some(ErrorStyle::Rest),
        _ => None,
    }
}

fn filter(text: &str) -> Option<String> {
    let parsed = tracing_subscriber::EnvFilter::builder().parse(text);
    (!text.is_empty() && parsed.is_ok()).then(|| text.to_owned())
}

/// `+08:00`, `-05:30`: seconds east of UTC.
fn offset_seconds(text: &str) -> Option<i32> {
    let bytes = text.as_bytes();
    if bytes.len() != 6 || bytes[3] != b':' {
        return None;
    }
    let sign = match bytes[0] {
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let two_digits = |at: usize| match bytes[at..at + 2] {
        [tens @ b'0'..=b'9', ones @ b'0'..=b'9'] => {
            Some(i32::from(tens - b'0') * 10 + i32::from(ones - b'0'))
        }
        _ => None,
    };
    let (hours, minutes) = (two_digits(1)?, two_digits(4)?);
    let seconds = hours * 3600 + minutes * 60;
    (minutes < 60 && seconds <= 18 * 3600).then_some(sign * seconds)
}

fn refuse_other_than_open(sources: &Sources) -> Result<(), ConfigError> {
    match sources.find("auth") {
        Some((setting, value)) if value == "token" => Err(ConfigError::TokenAuth { setting }),
        Some((setting, value)) if value != "open" => {
            Err(ConfigError::Value { setting, value, allowed: AUTH })
        }
        _ => Ok(()),
    }
}

fn refuse_open_to_all(sources: &Sources, config: &Config) -> Result<(), ConfigError> {
    let known = sources.read("i_know_this_is_open", "true or false", |text| text.parse().ok())?;
    if known == Some(true) {
        return Ok(());
    }
    let listeners = [("http", config.http), ("ws", config.ws), ("admin", config.admin)];
    match listeners.into_iter().find(|(_, address)| !address.ip().is_loopback()) {
        None => Ok(()),
        Some((name, address)) => {
            Err(ConfigError::OpenToAll { setting: sources.setting(name), address })
        }
    }
}

/// Listeners are shared between shards by port, so the kernel would let two services mix.
fn refuse_shared_port(sources: &Sources, config: &Config) -> Result<(), ConfigError> {
    let listeners = [("http", config.http), ("ws", config.ws), ("admin", config.admin)];
    for (index, (name, address)) in listeners.into_iter().enumerate() {
        let earlier = listeners[..index].iter().find(|(_, other)| *other == address);
        if let Some((other, _)) = earlier.filter(|_| address.port() != 0) {
            let (setting, other) = (sources.setting(name), sources.setting(other));
            return Err(ConfigError::SharedPort { setting, other, address });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
