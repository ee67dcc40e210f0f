//! `anser-tools verify`: whether all that a stopped server's folder holds can be read and agrees.
//!
//! Left to others: what agrees with what (`anser::chat::audit`), opening the folder
//! (`anser::node::offline`).

use anser::chat::audit;
use anser::node::offline::Offline;
use clap::Args;
use std::path::PathBuf;
use std::process::ExitCode;

/// The folder cannot be read.
const UNREADABLE: u8 = 2;

/// What `verify` is told.
#[derive(Args, Debug)]
pub struct Arguments {
    /// The data folder of a server that is not running
    #[arg(long, value_name = "FOLDER")]
    data_dir: PathBuf,
    /// Print so many findings; all are counted
    #[arg(long, value_name = "COUNT", default_value_t = 1000)]
    limit: u64,
}

/// Runs `verify`: exit code 0 clean, 1 findings, 2 it cannot be read.
pub fn run(arguments: &Arguments) -> ExitCode {
    match verify(arguments) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("verify: {error:#}");
            ExitCode::from(UNREADABLE)
        }
    }
}

/// Names what was damaged and is whole again: it says something about the disk.
fn tell_of_mended(offline: &Offline) {
    if let Some(file) = offline.mended() {
        println!("{}: was damaged or gone, and is put back from its second copy", file.display());
    }
    for shard in &offline.shards {
        for file in shard.mended() {
            let (shard, file) = (shard.shard, file.display());
            println!("shard {shard}, {file}: was damaged, and is put back from its second copy");
        }
    }
}

/// Returns the number of findings.
fn verify(arguments: &Arguments) -> anyhow::Result<u64> {
    let offline = Offline::open(&arguments.data_dir)?;
    let (mut records, mut gaps, mut changed) = (0, 0, 0);
    tell_of_mended(&offline);
    for shard in &offline.shards {
        // Named first: what cannot be read ends the look at the rows.
        for file in shard.changed_files()? {
            changed += 1;
            println!(
                "shard {}, {}: expected the bytes that were written, found others: put it back \
                 from a copy, or restore a backup",
                shard.shard,
                file.display()
            );
        }
        let (whole, missing) = shard.check_log()?;
        records += whole;
        gaps += missing.len() as u64;
        for gap in missing {
            println!(
                "shard {}, log {}: byte {}: expected turns {} to {}, found none that is whole \
                 (the tables have them)",
                shard.shard,
                gap.segment.display(),
                gap.offset,
                gap.first.0,
                gap.next.0 - 1
            );
        }
    }
    let stores: Vec<_> = offline.shards.iter().collect();
    let mut printed = 0;
    let counts = audit::run(&stores, &mut |finding| {
        printed += 1;
        if printed <= arguments.limit {
            println!("{finding}");
        }
    })?;
    let findings = counts.findings + gaps + changed;
    println!(
        "verify: {} shards, {records} log records, {} rows, {} users, {} messages, {} chats, {} \
         waiting, {} between shards: {findings} findings",
        stores.len(),
        counts.rows,
        counts.users,
        counts.messages,
        counts.chats,
        counts.waiting,
        counts.relays
    );
    if counts.aside > 0 {
        println!(
            "verify: {} more are set aside until the rows of those whom they were sent to can be \
             read",
            counts.aside
        );
    }
    if counts.parted > 0 {
        println!(
            "verify: in {} of them two homes disagree: a power cut with `--durability async` may \
             leave that",
            counts.parted
        );
    }
    Ok(findings)
}

#[cfg(test)]
mod tests {
    use super::*;
    use anser::ids::{ShardId, UserId};
    use anser::node::data_folder::{self, Shards, open_or_create};
    use anser::node::recover;
    use anser::store::keys::Key;
    use anser::store::log::Durability;
    use anser::store::rows::{RowWriter, UserRow};
    use anser::store::{Batch, Store};

    /// A data folder whose only shard has these rows.
    fn folder(name: &str, batch: &Batch) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("anser-{name}-{}", std::process::id()));
        let shards = Shards { asked: Some(1), default: 1 };
        open_or_create(&folder, shards).expect("new");
        let home = data_folder::shard_folder(&folder, ShardId(0));
        let (_, mut writable) = recover::open(&home, 7, Durability::Sync, 0).expect("new");
        if !batch.is_empty() {
            writable.view.write(batch).expect("the disk is well");
        }
        folder
    }

    #[test]
    fn clean_findings_and_unreadable_have_exit_codes_of_their_own() {
        let user = UserId::new(1024).expect("positive");
        let mut doctored = Batch::new();
        let row = UserRow { unread: 3, ..UserRow::default() };
        doctored.put_with(&Key::user(user), |bytes| RowWriter::default().append(&row, bytes));
        let folders =
            [folder("clean", &Batch::new()), folder("doctored", &doctored), "/nowhere".into()];
        let codes = [ExitCode::SUCCESS, ExitCode::FAILURE, ExitCode::from(UNREADABLE)];
        for (data_dir, expected) in folders.into_iter().zip(codes) {
            let code = run(&Arguments { data_dir: data_dir.clone(), limit: 9 });
            assert_eq!(format!("{code:?}"), format!("{expected:?}"), "{}", data_dir.display());
            if data_dir.starts_with(std::env::temp_dir()) {
                std::fs::remove_dir_all(&data_dir).expect("it is ours");
            }
        }
    }
}
