//! Changes to cases: of bits, bytes, ranges, numbers, words and lines, and with parts of others.

use crate::fuzz::case::{CASE_BYTES_MAX, one_of};
use anser::sim::prng::Prng;
use std::ops::Range;

/// Bytes that end, begin or escape something in some format.
const TELLING: &[u8] = b"\r\n\0\xff\x80\x81\x7f{}[]\":,;'\\0+- \t\x0b\x0c/.\xe2\x80\x9c";

/// Numbers around which something changes.
const BOUNDS: &[u64] = &[
    0,
    1,
    2,
    9,
    10,
    31,
    32,
    63,
    64,
    65,
    125,
    126,
    127,
    128,
    255,
    256,
    1000,
    1023,
    1024,
    4095,
    4096,
    4097,
    16_383,
    16_384,
    16_385,
    65_535,
    65_536,
    1 << 20,
    (1 << 20) + 1,
    (1 << 31) - 1,
    1 << 31,
    u32::MAX as u64,
    1 << 32,
    (1 << 53) - 1,
    1 << 53,
    (1 << 53) + 1,
    i64::MAX as u64,
    i64::MAX as u64 + 1,
    u64::MAX,
];

/// Changes a case one to a few times.
pub fn mutate(case: &mut Vec<u8>, other: &[u8], words: &[&str], prng: &mut Prng) {
    let most = 1 << prng.below(4);
    let changes = 1 + prng.below(most);
    for _ in 0..changes {
        change(case, other, words, prng);
    }
    case.truncate(CASE_BYTES_MAX);
}

fn change(case: &mut Vec<u8>, other: &[u8], words: &[&str], prng: &mut Prng) {
    if case.is_empty() {
        case.extend_from_slice(other);
        return;
    }
    match prng.below(18) {
        0 => *byte(case, prng) ^= 1 << prng.below(8),
        1 => *byte(case, prng) = *one_of(TELLING, prng),
        2 => *byte(case, prng) = prng.below(256) as u8,
        3 => insert(case, &[*one_of(TELLING, prng)], prng),
        4 | 5 => insert(case, one_of(words, prng).as_bytes(), prng),
        6 => {
            let word = one_of(words, prng).as_bytes();
            let at = place(case.len(), prng);
            let end = (at + word.len()).min(case.len());
            case.splice(at..end, word.iter().copied());
        }
        7 | 8 => drop(case.drain(range(case.len(), prng))),
        9 => {
            let part = case[range(case.len(), prng)].to_vec();
            insert(case, &part.repeat(1 + prng.below(3) as usize), prng);
        }
        10 => {
            let part = other[range(other.len(), prng)].to_vec();
            insert(case, &part, prng);
        }
        11 => {
            case.truncate(place(case.len(), prng));
            case.extend_from_slice(&other[place(other.len(), prng)..]);
        }
        12 | 13 => digits(case, prng),
        14 => whole_number(case, prng),
        15 => case.truncate(place(case.len(), prng)),
        16 => lines(case, prng),
        _ => {
            let letter = byte(case, prng);
            *letter = if letter.is_ascii_alphabetic() { *letter ^ 0x20 } else { b'a' };
        }
    }
}

fn place(length: usize, prng: &mut Prng) -> usize {
    prng.below(length as u64 + 1) as usize
}

fn byte<'c>(case: &'c mut [u8], prng: &mut Prng) -> &'c mut u8 {
    let at = prng.below(case.len() as u64) as usize;
    &mut case[at]
}

/// A part: mostly short.
fn range(length: usize, prng: &mut Prng) -> Range<usize> {
    let start = place(length, prng);
    let most = if prng.once_in(4) { length } else { 12 };
    start..start + place(most.min(length - start), prng)
}

fn insert(case: &mut Vec<u8>, part: &[u8], prng: &mut Prng) {
    let at = place(case.len(), prng);
    case.splice(at..at, part.iter().copied());
}

/// A number at a bound, or beside it.
pub fn bound(prng: &mut Prng) -> u64 {
    one_of(BOUNDS, prng).wrapping_add(prng.below(3)).wrapping_sub(1)
}

/// Another number in the place of one that is written in digits.
fn digits(case: &mut Vec<u8>, prng: &mut Prng) {
    let from = place(case.len(), prng);
    let found = case[from..].iter().position(u8::is_ascii_digit);
    let Some(start) = found.map(|at| from + at) else { return };
    let digits = case[start..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    let before = std::str::from_utf8(&case[start..start + digits]).ok();
    let before = before.and_then(|text| text.parse::<u64>().ok()).unwrap_or(0);
    let number = match prng.below(4) {
        0 => before.wrapping_add(1),
        1 => before.wrapping_sub(1),
        _ => bound(prng),
    };
    case.splice(start..start + digits, number.to_string().into_bytes());
}

/// Another number in the place of some bytes.
fn whole_number(case: &mut [u8], prng: &mut Prng) {
    let size = 1 << prng.below(4);
    let Some(last) = case.len().checked_sub(size) else { return };
    let at = place(last, prng);
    let number = bound(prng);
    let (little, big) = (number.to_le_bytes(), number.to_be_bytes());
    let bytes = if prng.once_in(2) { &little[..size] } else { &big[8 - size..] };
    case[at..at + size].copy_from_slice(bytes);
}

/// A line goes, comes twice, or changes places with another.
fn lines(case: &mut Vec<u8>, prng: &mut Prng) {
    let mut lines: Vec<&[u8]> = case.split_inclusive(|byte| *byte == b'\n').collect();
    let (one, two) = (place(lines.len() - 1, prng), place(lines.len() - 1, prng));
    match prng.below(3) {
        0 => drop(lines.remove(one)),
        1 => lines.insert(two, lines[one]),
        _ => lines.swap(one, two),
    }
    *case = lines.concat();
}
