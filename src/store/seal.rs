//! The seal of small text files in TOML: a last line, `# ` and the checksum of all before it, which
//! TOML takes for a comment.
//!
//! Invariants:
//! 1. A text that was sealed is refused with any byte of it changed or gone, but for the white
//!    space at its end.
//! 2. A text that never had a seal, of an earlier server, is told from a broken one.
//!
//! Left to others: files, and what is in them (`inventory`, `manifest`, `node::log_record`).

use crate::store::inventory::checksum;

/// What begins the last line.
const MARK: &str = "# ";
/// Hexadecimal digits of a checksum.
const DIGITS: usize = 32;

/// What is wrong with a text that is not the one that was sealed.
pub const BROKEN: &str = "its last line does not fit the others";

/// The text is not the one that was sealed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{BROKEN}")]
pub struct Broken;

/// Seals a text, whose last line has an end.
pub fn seal(mut body: String) -> String {
    let seal = checksum(body.as_bytes());
    body.push_str(&format!("{MARK}{seal}\n"));
    body
}

/// Looks at the seal of a text. `Ok(false)`: it has none, and no comment as its last line, and
/// whoever may be read without one says so himself.
pub fn is_sealed(text: &str) -> Result<bool, Broken> {
    let text = text.trim_end();
    let (body, seal) = text.rsplit_once(MARK).unwrap_or((text, ""));
    let is_seal = seal.len() == DIGITS && seal.bytes().all(|byte| byte.is_ascii_hexdigit());
    let last = text.rsplit('\n').next().unwrap_or(text);
    match is_seal {
        true if checksum(body.as_bytes()).to_string() == seal => Ok(true),
        false if !last.starts_with('#') => Ok(false),
        _ => Err(Broken),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BODY: &str = "# Who made this, and for what.\nformat = 6\nlast = 7\n";

    /// Invariant 1 of store::seal.
    #[test]
    fn a_sealed_text_is_refused_with_any_byte_changed_or_gone() {
        let whole = seal(BODY.to_owned());
        assert_eq!(is_sealed(&whole), Ok(true));
        assert_eq!(is_sealed(whole.trim_end()), Ok(true));
        // The text goes with its seal: a reader of TOML sees to that part.
        let is_refused = |text: &str| {
            let is_toml = toml::from_str::<toml::Table>(text);
            is_sealed(text) == Err(Broken) || is_toml.is_err() || BODY.len() > text.len()
        };
        for at in 0..whole.len() - 1 {
            for other in 0..=127 {
                let mut bytes = whole.clone().into_bytes();
                if bytes[at] != other {
                    bytes[at] = other;
                    let text = String::from_utf8(bytes).expect("ASCII");
                    assert!(is_refused(&text), "byte {at} is {other}: {text}");
                }
            }
        }
        for cut in BODY.len() + 1..whole.len() - 1 {
            assert_eq!(is_sealed(&whole[..cut]), Err(Broken), "cut at {cut}");
        }
    }

    /// Invariant 2 of store::seal.
    #[test]
    fn a_text_that_never_had_a_seal_is_none_that_was_changed() {
        for text in [BODY, BODY.trim_end(), "", "a = 1", "a = \"# b\"\n"] {
            assert_eq!(is_sealed(text), Ok(false), "{text}");
        }
        let foreign = format!("{BODY}# and this\n");
        assert_eq!(is_sealed(&foreign), Err(Broken));
    }
}
