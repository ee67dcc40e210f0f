//! A Python of our own, with `websockets`, under the build's output folder.

use crate::server::output_folder;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The interpreter of a virtual environment that has `websockets`; made when it is not there.
///
/// # Errors
/// Says in words which step did not work.
pub fn interpreter() -> Result<PathBuf, String> {
    let folder = output_folder().join("python");
    let python = folder.join("bin/python");
    if has_websockets(&python) {
        return Ok(python);
    }
    let text = folder.to_string_lossy().into_owned();
    run(Path::new("python3"), &["-m", "venv", &text])?;
    run(&python, &["-m", "pip", "install", "--quiet", "websockets"])?;
    Ok(python)
}

fn has_websockets(python: &Path) -> bool {
    run(python, &["-c", "import websockets"]).is_ok()
}

/// Runs a program to its end and gives what it wrote.
///
/// # Errors
/// With what it wrote, when it cannot be run or does not exit 0.
pub fn run(program: &Path, arguments: &[&str]) -> Result<String, String> {
    let output = Command::new(program).args(arguments).output();
    let output = output.map_err(|error| format!("{}: {error}", program.display()))?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if output.status.success() {
        return Ok(text(&output.stdout));
    }
    let said = text(&output.stdout) + &text(&output.stderr);
    Err(format!("{} {arguments:?}: {}\n{said}", program.display(), output.status))
}
