//! `anser-tools import`: a new data folder made of what `export` has written.
//!
//! Invariants:
//! 1. A file that is cut off, or not what it says, gives no data folder.
//!
//! Left to others: rows and the folder (`anser::node::import`).

use crate::backup::Progress;
use crate::export::VERSION;
use anser::chat::portable::{Item, Totals};
use anser::node::import::{Import, Imported};
use anyhow::{Context, bail, ensure};
use clap::Args;
use serde::Deserialize;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Bytes of the longest line: a message of 64 KiB, all of it escaped, and more.
const LINE_BYTES_MAX: u64 = 1024 * 1024;
/// Bytes between two movements of the bar.
const STEP: u64 = 1024 * 1024;

/// What `import` is told.
#[derive(Args, Debug)]
pub struct Arguments {
    /// Where the data folder is to be: not there yet, or empty
    #[arg(long, value_name = "FOLDER")]
    data_dir: PathBuf,
    /// Threads that users are to be spread over
    #[arg(long, value_name = "COUNT")]
    shards: u16,
    /// The file; -: standard input
    #[arg(long, value_name = "FILE", default_value = "-")]
    from: PathBuf,
}

/// The first line.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct First {
    anser_export: u64,
    mint_bound: String,
}

/// The last line.
#[derive(Deserialize)]
struct Last {
    totals: Totals,
}

/// Runs `import`.
pub fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let from = arguments.from.as_path();
    let (reader, bytes): (Box<dyn Read>, u64) = if from == Path::new("-") {
        (Box::new(io::stdin().lock()), 0)
    } else {
        let file = File::open(from).with_context(|| from.display().to_string())?;
        let bytes = file.metadata()?.len();
        (Box::new(file), bytes)
    };
    let mut progress = Progress::new("importing", bytes, 0);
    let (totals, Imported { rows, parted }) =
        import(arguments, BufReader::new(reader), &mut progress)?;
    progress.end();
    let Totals { users, chats, messages } = totals;
    println!(
        "import: {users} users, {chats} chats, {messages} messages, {rows} rows; start \
         `anser --data-dir {}`",
        arguments.data_dir.display()
    );
    if parted > 0 {
        println!(
            "import: two homes disagree in {parted} places, as before (a power cut with \
             `--durability async` leaves that; `anser-tools verify` names them)"
        );
    }
    Ok(ExitCode::SUCCESS)
}

fn import(
    arguments: &Arguments,
    reader: impl BufRead,
    progress: &mut Progress,
) -> anyhow::Result<(Totals, Imported)> {
    let mut items = Items::begin(reader)?;
    let import = Import::begin(&arguments.data_dir, arguments.shards)?;
    let imported = take_all(import, &mut items, progress).with_context(|| {
        let folder = arguments.data_dir.display();
        format!("{folder} is of no use: empty it before you try again")
    })?;
    Ok((items.found, imported))
}

fn take_all(
    mut import: Import,
    items: &mut Items<impl BufRead>,
    progress: &mut Progress,
) -> anyhow::Result<Imported> {
    let mut unshown = 0;
    while let Some(item) = items.next()? {
        unshown += items.lines.line.len() as u64 + 1;
        if unshown >= STEP {
            progress.add(std::mem::take(&mut unshown))?;
        }
        import.take(&item).with_context(|| items.place())?;
    }
    Ok(import.finish(items.mint_bound)?)
}

/// What an export holds, item by item.
pub struct Items<R> {
    lines: Lines<R>,
    /// Ids begin above it.
    pub mint_bound: u64,
    found: Totals,
}

impl<R: BufRead> Items<R> {
    /// Reads the first line.
    pub fn begin(reader: R) -> anyhow::Result<Items<R>> {
        let mut lines = Lines { reader, line: Vec::new(), number: 0 };
        let first = lines.next()?.context("it is empty: no export")?;
        let First { anser_export, mint_bound } =
            serde_json::from_slice(first).context("line 1: this is no export of anser")?;
        let is_known = anser_export == VERSION;
        ensure!(is_known, "line 1: its version is {anser_export}, this tool reads {VERSION}");
        let mint_bound = mint_bound.parse().context("line 1: `mintBound`")?;
        Ok(Items { lines, mint_bound, found: Totals::default() })
    }

    /// The next item; `None`: that was all, and as many as the last line says.
    pub fn next(&mut self) -> anyhow::Result<Option<Item<'static>>> {
        let Some(line) = self.lines.next()? else {
            bail!("it is cut off after {}: the line of totals is missing", self.place())
        };
        if !line.starts_with(br#"{"totals""#) {
            let item = serde_json::from_slice(line).with_context(|| self.place())?;
            self.found.count(&item);
            return Ok(Some(item));
        }
        let Last { totals } = serde_json::from_slice(line).with_context(|| self.place())?;
        let found = self.found;
        ensure!(totals == found, "{}: it says {totals:?} and holds {found:?}", self.place());
        ensure!(self.lines.next()?.is_none(), "there is more behind {}", self.place());
        Ok(None)
    }

    /// Where reading is.
    pub fn place(&self) -> String {
        format!("line {}", self.lines.number)
    }
}

/// Lines, one at a time.
struct Lines<R> {
    reader: R,
    line: Vec<u8>,
    number: u64,
}

impl<R: BufRead> Lines<R> {
    /// The next line without its end; `None`: there is no whole one.
    fn next(&mut self) -> anyhow::Result<Option<&[u8]>> {
        self.line.clear();
        (&mut self.reader).take(LINE_BYTES_MAX).read_until(b'\n', &mut self.line)?;
        if self.line.pop() != Some(b'\n') {
            ensure!(
                (self.line.len() as u64) < LINE_BYTES_MAX - 1,
                "line {} is too long",
                self.number + 1
            );
            return Ok(None);
        }
        self.number += 1;
        Ok(Some(&self.line))
    }
}
