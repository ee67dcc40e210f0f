//! Frames of an authenticated client; tungstenite's context is the oracle.

use crate::fuzz::case::{Target, Trail, Wrong, dice_of, hold, one_of, shown};
use crate::fuzz::mutate::mutate;
use crate::fuzz::naive::frames::{Header, Seen, masked, tungstenite};
use crate::fuzz::naive::requests::frame;
use crate::fuzz::peer::{Conversation, Heard, Peer, note, same_however_cut, talk};
use crate::fuzz::targets::json::{Reader, WORDS, is_among, object};
use anser::ids::UserId;
use anser::limits::{FRAME_BYTES_MAX, REFUSED_FRAMES_MAX};
use anser::sim::prng::Prng;

/// The target.
pub struct Frames {
    /// The code under test.
    pub reader: Reader,
}

impl Default for Frames {
    fn default() -> Frames {
        Frames { reader: talk }
    }
}

impl Target for Frames {
    fn name(&self) -> &'static str {
        "frames"
    }

    fn words(&self) -> &'static [&'static str] {
        WORDS
    }

    fn make(&self, prng: &mut Prng) -> Vec<u8> {
        (0..1 + prng.below(6)).flat_map(|_| some_frames(prng)).collect()
    }

    fn mend(&self, case: &mut Vec<u8>, prng: &mut Prng) {
        reframe(case, 0, prng);
    }

    fn run(&self, case: &[u8], trail: &mut Trail) -> Result<(), Wrong> {
        let peer = || Peer::upgraded(UserId::new(3));
        let whole = (self.reader)(peer(), &[case])?;
        note(&whole, trail);
        check(case, &whole)?;
        let mut prng = dice_of(case);
        same_however_cut(&whole, case, &mut prng, &mut |pieces| (self.reader)(peer(), pieces))
    }
}

/// Whether a conversation is what tungstenite reads, until one of them refuses.
fn check(case: &[u8], whole: &Conversation) -> Result<(), Wrong> {
    let mut bytes = case.to_vec();
    if whole.is_closing {
        // A frame is judged by its header: the other one sees it when its payload is there.
        bytes.resize(case.len() + FRAME_BYTES_MAX + 16, 0);
    }
    let (seen, refused) = (tungstenite(&bytes), refusals_at(&bytes, whole.consumed));
    let words = || format!("{}: {:?}, not {seen:?}", shown(case), whole.heard);
    let is_close_frame = bytes.get(whole.consumed) == Some(&0x88);
    let (mut heard, mut in_a_row) = (whole.heard.iter().peekable(), 0);
    for one in &seen {
        if let Some(Heard::Close(Some(code))) = heard.peek()
            && refused.contains(code)
        {
            break;
        }
        let rule = "frames are what tungstenite reads";
        match (one, heard.next()) {
            (Seen::Text(text), found) => {
                let is_right = is_answer(text, found);
                hold(is_right, rule, words)?;
                let is_error = matches!(found, Some(Heard::Error { .. }));
                in_a_row = if is_error { in_a_row + 1 } else { 0 };
                if in_a_row == REFUSED_FRAMES_MAX {
                    let last = [heard.next(), heard.next()];
                    let is_last = last == [Some(&Heard::Close(Some(1008))), None];
                    return hold(is_last, "twenty refusals close", words);
                }
            }
            (Seen::Ping(sent), Some(Heard::Pong(found))) => hold(sent == found, rule, words)?,
            (Seen::Close(code), Some(Heard::Close(found))) => {
                let is_odd = |code: u16| !matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999);
                let is_stricter = *found == Some(1002) && code.is_some_and(is_odd);
                // Registered after tungstenite's list was made.
                let is_newer = *found == Some(1014) && *code == Some(1002);
                let is_right = code == found || is_stricter || is_newer;
                return hold(is_right && heard.next().is_none() && whole.is_closing, rule, words);
            }
            // Of a close that is wrong in two ways either may be said.
            (Seen::Refused(_), Some(Heard::Close(Some(1002 | 1007)))) if is_close_frame => {
                return hold(heard.next().is_none(), rule, words);
            }
            (Seen::Refused(code), Some(Heard::Close(Some(found)))) => {
                return hold(code == found && heard.next().is_none(), rule, words);
            }
            _ => return Err(Wrong::new(rule, words())),
        }
    }
    match heard.next() {
        None => hold(!whole.is_closing, "who closes says why", words),
        Some(Heard::Close(Some(code))) if refused.contains(code) => Ok(()),
        Some(_) => Err(Wrong::new("nothing is heard that was not said", words())),
    }
}

fn is_answer(text: &str, found: Option<&Heard>) -> bool {
    let expected = frame(text.as_bytes());
    match (expected.asked, found) {
        (Ok(asked), Some(Heard::Asked(found))) => asked == *found,
        (Err(problems), Some(Heard::Error { source, code, words })) => {
            *source == expected.source && is_among(*code, words, &problems)
        }
        _ => false,
    }
}

/// The codes with which the frame may be refused that begins at `at`.
fn refusals_at(bytes: &[u8], at: usize) -> Vec<u16> {
    let (mut from, mut before) = (0, None);
    while let Some(header) = bytes.get(from..).and_then(Header::read) {
        if from >= at {
            return header.refusals(before);
        }
        if !header.is_control() {
            let gathered = before.unwrap_or(0) + header.length as usize;
            before = (!header.is_final()).then_some(gathered);
        }
        from += header.bytes();
    }
    Vec::new()
}

/// A message in one frame or in some, with something between them at times.
pub fn some_frames(prng: &mut Prng) -> Vec<u8> {
    let text = match prng.below(8) {
        0 => Vec::new(),
        1 => vec![b' '; *one_of(&[125, 126, 65_535, 65_536, 65_537], prng)],
        2 => "你好 \u{1F600}".into(),
        _ => object(prng).into_bytes(),
    };
    match prng.below(10) {
        0 => masked(0x89, &text[..text.len().min(prng.below(140) as usize)], prng),
        1 => masked(0x8A, b"late", prng),
        2 => {
            let codes = [1000, 1001, 1004, 1005, 1012, 1014, 1015, 2999, 3000, 4999, 5000];
            let code = *one_of(&codes, prng);
            let payload = [&u16::to_be_bytes(code)[..], "再见".as_bytes()].concat();
            masked(0x88, &payload[..prng.below(payload.len() as u64 + 1) as usize], prng)
        }
        3 => {
            let first = prng.below(256) as u8;
            masked(first, &text[..text.len().min(20)], prng)
        }
        4 | 5 => {
            let (front, back) = text.split_at(prng.below(text.len() as u64 + 1) as usize);
            let between = if prng.once_in(2) { masked(0x89, b"hi", prng) } else { Vec::new() };
            [masked(0x01, front, prng), between, masked(0x80, back, prng)].concat()
        }
        _ => masked(0x81, &text, prng),
    }
}

/// Changes the payload of a frame behind `from`, or the header of one; whatever is cut off becomes
/// a whole frame.
pub fn reframe(case: &mut Vec<u8>, from: usize, prng: &mut Prng) {
    let mut places = Vec::new();
    let mut at = from;
    while let Some(header) = case.get(at..).and_then(Header::read) {
        places.push((at, header));
        at = at.saturating_add(header.bytes());
    }
    let Some(&(at, header)) = places.get(prng.below(places.len().max(1) as u64) as usize) else {
        return;
    };
    let end = at.saturating_add(header.bytes()).min(case.len());
    let start = (at + header.start).min(end);
    let mask = header.mask.unwrap_or([0; 4]);
    let mut payload: Vec<u8> =
        case[start..end].iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask).collect();
    let first = match prng.below(12) {
        0 => header.first ^ (1 << prng.below(8)),
        _ => header.first,
    };
    if prng.once_in(2) {
        mutate(&mut payload, b"{}", WORDS, prng);
    }
    case.splice(at..end, masked(first, &payload, prng));
}
