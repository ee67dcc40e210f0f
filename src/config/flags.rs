//! The command line as `--help` shows it. Values are plain text here: whatever source they come
//! from, they are checked in one place.

use clap::{Args, CommandFactory, Parser, Subcommand as ClapSubcommand};
use std::ffi::OsString;

/// Every setting, as the file spells it.
pub const SETTINGS: &[&str] = &[
    "data_dir",
    "http",
    "ws",
    "admin",
    "shards",
    "pin_from",
    "indexer_core",
    "durability",
    "disk_reserve_mb",
    "retain_days",
    "retain_messages",
    "store",
    "auth",
    "i_know_this_is_open",
    "origins",
    "errors",
    "utc_offset",
    "log",
];

const AFTER_HELP: &str = "\
A setting is taken from its flag, else from its environment variable (--data-dir: ANSER_DATA_DIR),
else from the configuration file (data_dir = \"./data\"), else its default holds.

Exit codes: 0 after SIGTERM or Ctrl-C, 1 when it cannot run here, 2 when a setting is wrong.";

/// `anser [serve|doctor|reshard] [settings]`.
#[derive(Parser)]
#[command(
    name = "anser",
    version,
    about = "A chat server: one pinned thread per core, every user at home on one of them",
    after_help = AFTER_HELP,
    args_conflicts_with_subcommands = true,
    disable_help_subcommand = true,
    max_term_width = 100
)]
pub struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub command: Option<Subcommand>,
    #[command(flatten)]
    serve: Serve,
}

/// What the program can do.
#[derive(ClapSubcommand)]
pub enum Subcommand {
    /// Run the server (so does `anser` alone)
    #[command(after_help = AFTER_HELP)]
    Serve(Box<Serve>),
    /// Say in words whether this machine can run the server
    Doctor(Doctor),
    /// Write all rows of a stopped server anew, for another number of shards
    Reshard(Reshard),
}

/// The settings of a server.
#[derive(Args)]
pub struct Serve {
    /// A TOML file with settings, one `name = value` a line [default: none]
    #[arg(long, value_name = "FILE")]
    config: Option<OsString>,
    /// The folder for everything that is kept; made if it is not there [default: ./data]
    #[arg(long, value_name = "FOLDER")]
    data_dir: Option<OsString>,

    /// HTTP calls; port 0 picks a free one [default: 127.0.0.1:8093]
    #[arg(long, value_name = "ADDRESS", help_heading = "Listening")]
    http: Option<OsString>,
    /// WebSockets; port 0 picks a free one [default: 127.0.0.1:6666]
    #[arg(long, value_name = "ADDRESS", help_heading = "Listening")]
    ws: Option<OsString>,
    /// Health, metrics, the admin page; port 0 picks a free one [default: 127.0.0.1:8094]
    #[arg(long, value_name = "ADDRESS", help_heading = "Listening")]
    admin: Option<OsString>,
    /// Who may speak for a user: open (anyone) or token (not built yet) [default: open]
    #[arg(long, value_name = "WAY", help_heading = "Listening")]
    auth: Option<OsString>,
    /// Listen off loopback though anyone may then speak for any user
    #[arg(
        long, value_name = "BOOL", help_heading = "Listening",
        num_args = 0..=1, require_equals = true, default_missing_value = "true",
        hide_possible_values = true
    )]
    i_know_this_is_open: Option<OsString>,
    /// Whose web pages may call and connect: any, none, or a list such as
    /// https://chat.example,http://localhost:8094; programs always may [default: any]
    #[arg(long, value_name = "LIST", help_heading = "Listening")]
    origins: Option<OsString>,

    /// Threads that users are spread over, 1 to 256; fixed once the data folder is made
    /// [default: one for each core allowed]
    #[arg(long, value_name = "COUNT", help_heading = "Running")]
    shards: Option<OsString>,
    /// The first of the allowed cores to pin shards to, counted from 0 [default: 0]
    #[arg(long, value_name = "CORE", help_heading = "Running")]
    pin_from: Option<OsString>,
    /// Where the thread runs that moves rows into their tables: a core counted like --pin-from, or
    /// shared (any) [default: the last core allowed]
    #[arg(long, value_name = "CORE", help_heading = "Running")]
    indexer_core: Option<OsString>,
    /// What an ack means: sync (survives power loss) or async (survives a kill) [default: sync]
    #[arg(long, value_name = "HOW", help_heading = "Running")]
    durability: Option<OsString>,
    /// Room on the disk, MiB, below which nothing new is stored, an eighth of the disk at most
    /// [default: 1024]
    #[arg(long, value_name = "MIB", help_heading = "Running")]
    disk_reserve_mb: Option<OsString>,
    /// Days that messages are kept, 1 to 36500; 0: for ever [default: 0]
    #[arg(long, value_name = "DAYS", help_heading = "Running")]
    retain_days: Option<OsString>,
    /// Messages that are kept of each user's history, 100 at least; 0: all [default: 0]
    #[arg(long, value_name = "COUNT", help_heading = "Running")]
    retain_messages: Option<OsString>,
    /// disk, or memory or nothing: then nothing survives; for measuring [default: disk]
    #[arg(long, value_name = "KIND", help_heading = "Running")]
    store: Option<OsString>,

    /// Refused calls: seed (HTTP 500) or rest (400, 404) [default: seed]
    #[arg(long, value_name = "STYLE", help_heading = "Answering")]
    errors: Option<OsString>,
    /// The zone of createTime and its like, such as +08:00 [default: the machine's]
    #[arg(long, value_name = "OFFSET", help_heading = "Answering", allow_hyphen_values = true)]
    utc_offset: Option<OsString>,
    /// What is logged, to standard error: a tracing filter [default: info]
    #[arg(long, value_name = "FILTER", help_heading = "Answering")]
    log: Option<OsString>,
}

/// What `doctor` looks at.
#[derive(Args)]
pub struct Doctor {
    /// A TOML file with settings [default: none]
    #[arg(long, value_name = "FILE")]
    config: Option<OsString>,
    /// The folder to try; made if it is not there [default: ./data]
    #[arg(long, value_name = "FOLDER")]
    data_dir: Option<OsString>,
}

/// What `reshard` is told.
#[derive(Args)]
pub struct Reshard {
    /// A TOML file with settings [default: none]
    #[arg(long, value_name = "FILE")]
    config: Option<OsString>,
    /// The folder of the stopped server [default: ./data]
    #[arg(long, value_name = "FOLDER")]
    data_dir: Option<OsString>,
    /// Threads that users are to be spread over, 1 to 256
    #[arg(long, value_name = "COUNT", required = true)]
    shards: Option<OsString>,
}

/// The parser.
pub fn command() -> clap::Command {
    Arguments::command()
}
