//! A Python with `websockets`: the machine's, or one of our own under the build's output folder.

use crate::server::output_folder;
use std::path::{Path, PathBuf};
use std::process::Command;

/// An interpreter that has `websockets`; a virtual environment is made when there is none.
///
/// # Errors
/// Says in words which step did not work.
pub fn interpreter() -> Result<PathBuf, String> {
    let system = PathBuf::from("python3");
    if has_websockets(&system) {
        return Ok(system);
    }
    let folder = output_folder().join("python");
    let python = folder.join("bin/python");
    if has_websockets(&python) {
        return Ok(python);
    }
    let text = folder.to_string_lossy().into_owned();
    run(&system, &["-m", "venv", &text])?;
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
