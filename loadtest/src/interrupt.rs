//! Ctrl-C: a run stops where it is, and still tells what it has measured until then.

use anyhow::{Result, ensure};
use signal_hook::consts::SIGINT;
use signal_hook::flag;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock};

/// What a run that was stopped exits with, as shells have it.
pub const EXIT_CODE: u8 = 130;

static ASKED: LazyLock<Arc<AtomicBool>> = LazyLock::new(Arc::default);

/// From now on the first Ctrl-C only asks; a second one ends the process.
///
/// # Errors
/// When the kernel refuses.
pub fn heed() -> io::Result<()> {
    // In this order: the first one looks whether it was asked before.
    flag::register_conditional_default(SIGINT, Arc::clone(&ASKED))?;
    flag::register(SIGINT, Arc::clone(&ASKED))?;
    Ok(())
}

/// Whether somebody has asked.
pub fn is_asked() -> bool {
    ASKED.load(Ordering::Relaxed)
}

/// Whether what was under way has ended since somebody has asked: what it did until then counts.
///
/// # Errors
/// When it failed, and nobody has asked.
pub fn broke_off<T>(done: Result<T>) -> Result<bool> {
    match done {
        Err(_) if is_asked() => Ok(true),
        other => other.map(|_| false),
    }
}

/// Ends what is under way when somebody has asked.
///
/// # Errors
/// Then.
pub fn check() -> Result<()> {
    ensure!(!is_asked(), "interrupted");
    Ok(())
}
