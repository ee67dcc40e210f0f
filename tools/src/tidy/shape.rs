//! How a file is built: its head, its length, its functions, its lines.

use super::Broken;
use super::source::Source;

const FILE_LINES_MAX: usize = 500;
const FUNCTION_LINES_MAX: usize = 70;
const COLUMNS_MAX: usize = 100;

/// Notes that no delivered line holds; written in two parts, as this file is checked too.
const UNFINISHED: &[&str] = &[concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X:")];
/// Beginnings of paths that exist on one machine only.
const MACHINE_PATHS: &[&str] =
    &[concat!("/ro", "ot/"), concat!("/wo", "rk/"), concat!("/ho", "me/")];

/// Every rule about the shape of a file.
pub fn check(source: &Source) -> Vec<Broken> {
    let mut broken = Vec::from_iter(head(source));
    let count = source.text.lines().count();
    if count > FILE_LINES_MAX {
        let words = format!("{count} lines; a file has at most {FILE_LINES_MAX}: split it by idea");
        broken.push(source.broken(count, words));
    }
    let is_test = source.file.contains("tests");
    for (index, (line, code)) in source.text.lines().zip(source.code.lines()).enumerate() {
        let columns = if is_test { columns_of_code(line, code) } else { line.chars().count() };
        broken.extend(line_rules(line, columns).map(|words| source.broken(index + 1, words)));
    }
    for (offset, _) in source.code.match_indices("#[ignore") {
        let words = "a test that is skipped proves nothing: mend it or remove it";
        broken.push(source.broken(source.line_at(offset), words));
    }
    broken.extend(long_functions(source));
    broken
}

/// The numbers of the invariants in the head of a file.
pub fn invariants(source: &Source) -> Vec<usize> {
    let head = source.text.lines().take_while(|line| line.starts_with("//!"));
    let numbers = head.filter_map(|line| line[3..].trim_start().split_once(". "));
    numbers.filter_map(|(number, _)| number.parse().ok()).collect()
}

fn head(source: &Source) -> Option<Broken> {
    if !source.text.starts_with("//! ") {
        let words = "a file begins with `//! `: say what it is, what it keeps, what it leaves";
        return Some(source.broken(1, words));
    }
    let numbers = invariants(source);
    let dense = numbers.iter().enumerate().all(|(index, number)| *number == index + 1);
    let words = format!("invariants are numbered {numbers:?}: number them from 1 without gaps");
    (!dense).then(|| source.broken(1, words))
}

/// The width without literals: an expected frame reads best in one piece. Comments count whole.
fn columns_of_code(line: &str, code: &str) -> usize {
    match line.contains('"') && !line.trim_start().starts_with("//") {
        true => code.split_whitespace().map(|word| word.len() + 1).sum(),
        false => line.chars().count(),
    }
}

fn line_rules(line: &str, columns: usize) -> impl Iterator<Item = String> {
    let wide = (columns > COLUMNS_MAX)
        .then(|| format!("{columns} columns; a line has at most {COLUMNS_MAX}: break it"));
    let note = UNFINISHED.iter().find(|word| line.contains(**word));
    let note = note.map(|word| format!("`{word}`: write the issue or do the work"));
    let path = MACHINE_PATHS.iter().find(|path| line.contains(**path));
    let path =
        path.map(|path| format!("`{path}` is a path of one machine: take it as an argument"));
    [wide, note, path].into_iter().flatten()
}

fn long_functions(source: &Source) -> Vec<Broken> {
    let mut broken = Vec::new();
    for (offset, _) in source.words().filter(|(_, word)| *word == "fn") {
        let Some(end) = body_end(source.code.as_bytes(), offset) else {
            continue;
        };
        let (first, last) = (source.line_at(offset), source.line_at(end));
        let lines = last - first + 1;
        if lines > FUNCTION_LINES_MAX {
            let words = format!(
                "a function of {lines} lines; at most {FUNCTION_LINES_MAX}: take a step out of it"
            );
            broken.push(source.broken(first, words));
        }
    }
    broken
}

/// The brace that closes the function declared at `offset`; `None` if it has no body.
fn body_end(code: &[u8], offset: usize) -> Option<usize> {
    let (mut braces, mut brackets) = (0, 0);
    for (at, byte) in code.iter().enumerate().skip(offset) {
        match byte {
            b'(' | b'[' => brackets += 1,
            b')' | b']' => brackets -= 1,
            b';' | b',' if braces == 0 && brackets == 0 => return None,
            b'{' => braces += 1,
            b'}' => braces -= 1,
            _ => {}
        }
        if braces < 0 || brackets < 0 {
            return None;
        }
        if *byte == b'}' && braces == 0 {
            return Some(at);
        }
    }
    None
}
