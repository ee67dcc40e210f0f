//! A file as lines, and the same lines with comments and literals blanked out.

use super::Broken;

/// One file of Rust.
pub struct Source {
    /// From the top of the repository, with `/`.
    pub file: String,
    /// As written.
    pub text: String,
    /// As long as `text` in lines; comments and the insides of literals are blanks.
    pub code: String,
}

impl Source {
    /// Reads the text once.
    pub fn new(file: impl Into<String>, text: impl Into<String>) -> Source {
        let text = text.into();
        let code = blank(&text);
        Source { file: file.into(), text, code }
    }

    /// A rule broken here.
    pub fn broken(&self, line: usize, words: impl Into<String>) -> Broken {
        Broken { file: self.file.clone(), line, words: words.into() }
    }

    /// The line, from 1, of a place in `code`.
    pub fn line_at(&self, offset: usize) -> usize {
        1 + self.code[..offset].bytes().filter(|byte| *byte == b'\n').count()
    }

    /// Identifiers of the code with their places.
    pub fn words(&self) -> impl Iterator<Item = (usize, &str)> {
        let bytes = self.code.as_bytes();
        let mut at = 0;
        std::iter::from_fn(move || {
            while at < bytes.len() && !is_word(bytes[at]) {
                at += 1;
            }
            let start = at;
            while at < bytes.len() && is_word(bytes[at]) {
                at += 1;
            }
            (start < at).then(|| (start, &self.code[start..at]))
        })
    }
}

/// Whether a byte may stand in an identifier.
pub fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// Blanks comments and literals. Bytes become single blanks, so that the result is ASCII there.
fn blank(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut code = String::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let end = literal_end(bytes, at).unwrap_or(at);
        if end == at {
            code.push(if bytes[at].is_ascii() { char::from(bytes[at]) } else { ' ' });
            at += 1;
        } else {
            let skipped = &bytes[at..end];
            code.extend(skipped.iter().map(|byte| if *byte == b'\n' { '\n' } else { ' ' }));
            at = end;
        }
    }
    code
}

/// The end of the comment or literal that begins here, if one does.
fn literal_end(bytes: &[u8], at: usize) -> Option<usize> {
    let rest = &bytes[at..];
    let after_word = at > 0 && is_word(bytes[at - 1]);
    match rest {
        [b'/', b'/', ..] => Some(at + position(rest, b'\n').unwrap_or(rest.len())),
        [b'/', b'*', ..] => Some(at + block_comment(rest)),
        [b'"', ..] => Some(at + quoted(rest, b'"')),
        [b'r', b'"' | b'#', ..] if !after_word => raw_string(rest).map(|length| at + length),
        [b'b', b'r', b'"' | b'#', ..] if !after_word => {
            raw_string(&rest[1..]).map(|length| at + 1 + length)
        }
        // 'x' and '\n' are characters, 'static is a lifetime.
        [b'\'', b'\\', ..] => Some(at + quoted(rest, b'\'')),
        [b'\'', first, ..] => {
            let width = std::str::from_utf8(&rest[1..rest.len().min(5)])
                .map_or_else(|error| error.valid_up_to(), |valid| valid.len())
                .min(if first.is_ascii() { 1 } else { 4 });
            let closed = (1..=width).find(|width| rest.get(1 + width) == Some(&b'\''));
            closed.map(|width| at + width + 2)
        }
        _ => None,
    }
}

fn position(bytes: &[u8], wanted: u8) -> Option<usize> {
    bytes.iter().position(|byte| *byte == wanted)
}

fn block_comment(rest: &[u8]) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < rest.len() {
        match &rest[at..] {
            [b'/', b'*', ..] => (depth, at) = (depth + 1, at + 2),
            [b'*', b'/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            break;
        }
    }
    at
}

fn quoted(rest: &[u8], quote: u8) -> usize {
    let mut at = 1;
    while at < rest.len() {
        match rest[at] {
            b'\\' => at += 2,
            byte if byte == quote => return at + 1,
            _ => at += 1,
        }
    }
    rest.len()
}

/// `rest` begins at the `r`. `None`: a raw identifier.
fn raw_string(rest: &[u8]) -> Option<usize> {
    let hashes = rest[1..].iter().take_while(|byte| **byte == b'#').count();
    let open = 1 + hashes;
    if rest.get(open) != Some(&b'"') {
        return None;
    }
    let closes = |at: &usize| {
        rest[*at] == b'"'
            && rest[at + 1..].iter().take(hashes).filter(|b| **b == b'#').count() == hashes
    };
    Some((open + 1..rest.len()).find(closes).map_or(rest.len(), |at| at + 1 + hashes))
}
