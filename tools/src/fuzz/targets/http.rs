//! HTTP requests; a plain reading of RFC 9112 is the oracle.

use crate::fuzz::case::{Target, Trail, Wrong, dice_of, one_of, shown};
use crate::fuzz::mutate::bound;
use crate::fuzz::naive::http::{End, Expected, Step, read};
use crate::fuzz::naive::requests::CALLS;
use crate::fuzz::peer::{Conversation, Heard, Peer, note, same_however_cut, talk};
use crate::fuzz::targets::json::{Reader, is_refused, object};
use anser::sim::prng::Prng;
use std::slice::Iter;

/// The target.
pub struct Http {
    /// The code under test.
    pub reader: Reader,
}

impl Default for Http {
    fn default() -> Http {
        Http { reader: talk }
    }
}

impl Target for Http {
    fn name(&self) -> &'static str {
        "http"
    }

    fn words(&self) -> &'static [&'static str] {
        WORDS
    }

    fn make(&self, prng: &mut Prng) -> Vec<u8> {
        (0..1 + prng.below(3)).flat_map(|_| request(prng)).collect()
    }

    fn run(&self, case: &[u8], trail: &mut Trail) -> Result<(), Wrong> {
        let (steps, end) = read(case);
        // What comes behind an upgrade is no HTTP.
        let case = match steps.last().map(|step| &step.expected) {
            Some(Expected::Upgraded(end)) => &case[..*end],
            _ => case,
        };
        let whole = (self.reader)(Peer::new(), &[case])?;
        note(&whole, trail);
        check(&steps, end, &whole).map_err(|rule| {
            let words = format!("{}: {:?}, not {steps:?}, {end:?}", shown(case), whole.heard);
            Wrong::new(rule, words)
        })?;
        let mut prng = dice_of(case);
        let reader = &mut |pieces: &[&[u8]]| (self.reader)(Peer::new(), pieces);
        same_however_cut(&whole, case, &mut prng, reader)
    }
}

/// The rule that a conversation breaks.
fn check(steps: &[Step], end: End, whole: &Conversation) -> Result<(), &'static str> {
    let agreed = |heard: &Heard| match heard {
        Heard::Answer { status, body, .. } => *status == 200 && (body == b"{}" || body.is_empty()),
        _ => true,
    };
    let mut asked = whole.heard.windows(2).filter(|pair| matches!(pair[0], Heard::Asked(_)));
    if !asked.all(|pair| agreed(&pair[1])) {
        return Err("answers are given as the rules gave them");
    }
    let rest = check_answers(steps, end, whole)?;
    if rest.is_empty() { Ok(()) } else { Err("nothing is said behind the last request") }
}

/// Whether a conversation begins with what these requests must be answered with. Returns what was
/// heard behind an upgrade.
pub fn check_answers<'w>(
    steps: &[Step],
    end: End,
    whole: &'w Conversation,
) -> Result<&'w [Heard], &'static str> {
    let mut heard = whole.heard.iter();
    steps.iter().try_for_each(|step| check_step(step, &mut heard))?;
    let rest = heard.as_slice();
    if matches!(steps.last(), Some(Step { expected: Expected::Upgraded(_), .. })) {
        return Ok(rest);
    }
    let is_right = match end {
        End::Open => rest.is_empty() && !whole.is_closing && !whole.is_unfinished,
        End::Over => rest.is_empty() && whole.is_closing,
        End::Within => match rest {
            [] => !whole.is_closing && whole.is_unfinished,
            [Heard::Answer { status: 400.., closes: true, .. }] => whole.is_closing,
            _ => false,
        },
    };
    if is_right { Ok(&[]) } else { Err("requests end where RFC 9112 has their end") }
}

fn check_step(step: &Step, heard: &mut Iter<'_, Heard>) -> Result<(), &'static str> {
    let asked = match &step.expected {
        Expected::Call(Ok(asked)) => Some(asked.as_str()),
        Expected::Hello { .. } => Some("Hello"),
        _ => None,
    };
    if let Some(asked) = asked
        && heard.next() != Some(&Heard::Asked(asked.to_owned()))
    {
        return Err("requests are what RFC 9112 reads");
    }
    let (status, closes, body) = match heard.next() {
        Some(Heard::Answer { status, closes, body }) => (*status, *closes, &body[..]),
        Some(Heard::Continue) => (100, false, &[][..]),
        Some(Heard::Upgraded) => (101, step.closes, &[][..]),
        _ => return Err("each request has its answer"),
    };
    let is_right = match &step.expected {
        Expected::Call(Ok(_)) => matches!(status, 200 | 400..=499),
        Expected::Call(Err(problems)) => is_refused(status, body, problems),
        Expected::Hello { is_head } => status == 200 && body.is_empty() == *is_head,
        Expected::Status(expected) => status == *expected,
        Expected::Continue => status == 100,
        Expected::Upgraded(_) => status == 101,
        Expected::Fault(statuses) if !statuses.contains(&status) => {
            return Err("what RFC 9112 does not have is refused");
        }
        Expected::Fault(_) => true,
    };
    match (is_right, closes == step.closes) {
        (true, true) => Ok(()),
        (false, _) => Err("answers have the right status"),
        (true, false) => Err("the last answer says so, and no other"),
    }
}

const WORDS: &[&str] = &[
    "\r\n",
    "\r\n\r\n",
    "\n",
    "\r",
    " ",
    "\t",
    "\x0b",
    "\x0c",
    ":",
    ";",
    ",",
    "GET ",
    "POST ",
    "HEAD ",
    "OPTIONS * ",
    "/im/message/get/id",
    "/im/test",
    "/ws",
    "http://h/im/test",
    "?a=b",
    "#",
    " HTTP/1.1\r\n",
    " HTTP/1.0\r\n",
    " HTTP/2.0\r\n",
    "Host: h\r\n",
    "Host: [::1]:80\r\n",
    "Content-Length: 2\r\n",
    "Content-Length: 02\r\n",
    "Content-Length: 2, 2\r\n",
    "Content-Length: +2\r\n",
    "Content-Length : 2\r\n",
    "Content-Length: 1048577\r\n",
    "Transfer-Encoding: chunked\r\n",
    "Transfer-Encoding: gzip, chunked\r\n",
    "Transfer-Encoding: \x0bchunked\r\n",
    "Connection: close\r\n",
    "Connection: keep-alive\r\n",
    "Connection: keep-alive, Upgrade\r\n",
    "Upgrade: websocket\r\n",
    "Sec-WebSocket-Version: 13\r\n",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
    "Expect: 100-continue\r\n",
    "Content-Type: application/json\r\n",
    "Content-Type: image/png\r\n",
    "Content-Encoding: gzip\r\n",
    "Access-Control-Request-Headers: x-a\r\n",
    " folded\r\n",
    "2\r\n{}\r\n0\r\n\r\n",
    "0\r\n\r\n",
    "0\r\nTrailer: x\r\n\r\n",
    ";a=\"b\"",
    "ffffffffffffffff",
    "{}",
    "{\"count\":3}",
    "{\"userId\":2}",
];

/// A request that is mostly good.
pub fn request(prng: &mut Prng) -> Vec<u8> {
    let method =
        *one_of(&["POST", "POST", "POST", "GET", "HEAD", "OPTIONS", "BREW", "CONNECT"], prng);
    let path = match prng.below(8) {
        0 => "/im/test",
        1 => "/ws",
        2 => "*",
        3 => "/im/nothing",
        _ => *one_of(&CALLS, prng),
    };
    let prefix = *one_of(&["", "", "", "http://h:1", "HTTPS://x"], prng);
    let query = *one_of(&["", "", "", "", "", "?a=b", "?a=b", "#c"], prng);
    let version = *one_of(&["1.1", "1.1", "1.1", "1.1", "1.0", "2.0", "1.10"], prng);
    let mut lines = vec![(*one_of(&["Host: h", "host:h:80", "HOST:  [::1]  "], prng)).to_owned()];
    let others: Vec<&str> = WORDS.iter().copied().filter(|word| word.contains(": ")).collect();
    for _ in 0..prng.below(4) {
        let line = one_of(&others, prng).trim_end();
        let says_length = line.starts_with("Content-L") || line.starts_with("Transfer-");
        if !says_length || prng.once_in(3) {
            lines.push(line.to_owned());
        }
    }
    let body = match prng.below(5) {
        0 => String::new(),
        1 => "{}".to_owned(),
        _ => object(prng),
    };
    let body = if prng.once_in(3) {
        lines.push("Transfer-Encoding: Chunked".to_owned());
        chunked(body.as_bytes(), prng)
    } else {
        lines.push(format!("Content-Length: {}", body.len()));
        body.into_bytes()
    };
    let empty = if prng.once_in(8) { "\r\n" } else { "" };
    let head = lines.join("\r\n");
    let head = format!("{empty}{method} {prefix}{path}{query} HTTP/{version}\r\n{head}\r\n\r\n");
    [head.as_bytes(), &body].concat()
}

fn chunked(body: &[u8], prng: &mut Prng) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = body;
    while !rest.is_empty() {
        let most = 1 + bound(prng) % 60;
        let length = (1 + prng.below(most) as usize).min(rest.len());
        let (chunk, after) = rest.split_at(length);
        let zeros = *one_of(&["", "", "0", "000"], prng);
        let extension = *one_of(&["", "", "", ";a", " ; a=\"b c\"", "\t;x", ";"], prng);
        out.extend_from_slice(format!("{zeros}{length:x}{extension}\r\n").as_bytes());
        out.extend_from_slice(chunk);
        out.extend_from_slice(b"\r\n");
        rest = after;
    }
    let trailers = *one_of(&["", "", "X: y\r\n", "A: 1\r\nB:\r\n", "nonsense\r\n"], prng);
    out.extend_from_slice(format!("0\r\n{trailers}\r\n").as_bytes());
    out
}
