//! The two words that a backup has with a running server.

use crate::admin::ask;
use anyhow::Context;
use serde::Deserialize;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// Longer than the server takes to answer, whatever it answers.
const PATIENCE: Duration = Duration::from_secs(90);

/// A cut of a running server.
#[derive(Deserialize)]
pub struct Cut {
    /// Its number.
    #[serde(rename = "cut")]
    pub number: u64,
    /// Where it is.
    pub folder: PathBuf,
}

/// Has a cut made.
pub fn make_cut(admin: SocketAddr) -> anyhow::Result<Cut> {
    let body = ask(admin, "POST /admin/backup", PATIENCE).context(
        "no cut was made: give the admin port of a running server with --admin, or the folder of \
         one that is not running with --data-dir",
    )?;
    serde_json::from_str(&body).context("the server's answer makes no sense")
}

/// Has a cut removed. A later backup may have done so already.
pub fn remove_cut(admin: SocketAddr, number: u64) -> anyhow::Result<()> {
    ask(admin, &format!("DELETE /admin/backup/{number}"), PATIENCE).map(drop)
}
