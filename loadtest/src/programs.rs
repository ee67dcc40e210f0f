//! Programs of others that some tests use: the machine's, or those that `tools/test` has put
//! under the build's output folder.

use crate::server::output_folder;
use std::io::Write;
use std::path::PathBuf;

/// Where a program is.
///
/// # Errors
/// Says in words that it is not there, and how to get it.
pub fn find(name: &str, package: &str) -> Result<PathBuf, String> {
    let paths = std::env::var_os("PATH").unwrap_or_default();
    let own = output_folder().join("debian/bin");
    let mut folders = std::env::split_paths(&paths).chain([own]);
    let found = folders.find_map(|folder| Some(folder.join(name)).filter(|path| path.is_file()));
    found.ok_or(format!("{name} is not there (Debian's package {package} has it)"))
}

/// Says loudly that a test did not run, past what captures the words of tests that pass.
pub fn say_skipped(test: &str, reason: &str) {
    // Where there is nobody to tell, nobody is told.
    let _ = writeln!(std::io::stderr(), "\nSKIPPED, NOT TESTED: {test}: {reason}");
}
