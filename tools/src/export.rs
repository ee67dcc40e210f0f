//! `anser-tools export`: users, chats and messages of a stopped server as lines of JSON.
//!
//! The first line is `{"anserExport":1,"mintBound":"..."}`, the last
//! `{"totals":{"users":..,"chats":..,"messages":..}}`: a file without it is cut off. Between them
//! each user, then his chats, then his messages; `anser::chat::portable` names the fields.
//!
//! Invariants:
//! 1. A file has its name when it is whole and on disk.

use anser::chat::portable::{Item, Totals, count_users, mint_bound, visit_all, waits_aside};
use anser::node::offline::Offline;
use anser::node::reshard::refuse_underway;
use anser::store::Store;
use anyhow::{Context, bail};
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// The version of the lines.
pub const VERSION: u64 = 1;
/// Bytes gathered before they are written.
const BUFFER: usize = 1024 * 1024;
/// Items between two movements of the bar.
const STEP: u64 = 1024;

/// What `export` is told.
#[derive(Args, Debug)]
pub struct Arguments {
    /// The data folder of a server that is not running
    #[arg(long, value_name = "FOLDER")]
    data_dir: PathBuf,
    /// Where to; -: standard output
    #[arg(long, value_name = "FILE", default_value = "-")]
    to: PathBuf,
}

/// Runs `export`.
pub fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let offline = Offline::open(&arguments.data_dir)?;
    refuse_underway(&offline.shards)?;
    let stores: Vec<_> = offline.shards.iter().collect();
    refuse_aside(&stores)?;
    let style = ProgressStyle::with_template("{msg} {wide_bar} {pos}/{len} users {eta}");
    let bar = ProgressBar::new(count_users(&stores)?).with_message("exporting");
    bar.set_style(style.expect("the template is right"));
    let to = arguments.to.as_path();
    let totals = if to == Path::new("-") {
        export(&stores, io::stdout().lock(), &bar)?
    } else {
        let unfinished = to.with_added_extension("part");
        let cannot = || format!("{} cannot be written", unfinished.display());
        let mut file = File::create(&unfinished).with_context(cannot)?;
        let totals = export(&stores, &mut file, &bar).map_err(|error| {
            // Nobody takes a part for the whole.
            let _ = fs::remove_file(&unfinished);
            // Else it is the folder that cannot be read.
            if error.is::<io::Error>() { error.context(cannot()) } else { error }
        })?;
        file.sync_all().with_context(cannot)?;
        fs::rename(&unfinished, to).with_context(cannot)?;
        totals
    };
    let Totals { users, chats, messages } = totals;
    eprintln!("export: {users} users, {chats} chats, {messages} messages");
    Ok(ExitCode::SUCCESS)
}

/// What is set aside is in nobody's history, and would be lost.
fn refuse_aside<S: Store>(stores: &[&S]) -> anyhow::Result<()> {
    let Some(user) = waits_aside(stores)? else { return Ok(()) };
    bail!(
        "messages to user {} are set aside, for what was stored of him could not be read: put that \
         right (`anser-tools verify` names a damaged file), start the server once more, stop it \
         when its metric `messages_set_aside` is 0 on each shard, and run this again",
        user.number()
    )
}

/// Writes all that these shards hold.
pub fn export<S: Store>(
    stores: &[&S],
    out: impl Write,
    bar: &ProgressBar,
) -> anyhow::Result<Totals> {
    let mut out = BufWriter::with_capacity(BUFFER, out);
    let bound = mint_bound(stores)?.to_string();
    writeln!(out, "{}", json!({"anserExport": VERSION, "mintBound": bound}))?;
    let (mut totals, mut outcome, mut count) = (Totals::default(), Ok(()), 0_u64);
    visit_all(stores, &mut |item| {
        totals.count(item);
        count += 1;
        if count.is_multiple_of(STEP) {
            bar.set_message(format!("exporting: {} messages", totals.messages));
            bar.set_position(totals.users);
        }
        outcome = line(&mut out, item);
        if outcome.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    })?;
    bar.finish_and_clear();
    outcome?;
    writeln!(out, "{}", json!({"totals": totals}))?;
    out.flush()?;
    Ok(totals)
}

fn line(out: &mut impl Write, item: &Item<'_>) -> io::Result<()> {
    serde_json::to_writer(&mut *out, item)?;
    out.write_all(b"\n")
}
