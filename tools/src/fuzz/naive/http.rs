//! HTTP/1.x requests after RFC 9112, read from bytes that are all there, in the plainest way: no
//! byte is passed over that the grammar does not have.

use crate::fuzz::naive::hosts::is_host;
use crate::fuzz::naive::requests::{Asked, CALLS, call};
use anser::limits::{BODY_BYTES_MAX, HEAD_BYTES_MAX, HEADERS_MAX};

/// What must be heard next.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Expected {
    /// A call: a request or a refusal, and its answer.
    Call(Asked),
    /// `GET /im/test`; `is_head`: without the body.
    Hello { is_head: bool },
    /// An answer with this status.
    Status(u16),
    /// `100 Continue`.
    Continue,
    /// The upgrade, and where frames begin.
    Upgraded(usize),
    /// Refused with one of these, and nothing is read behind it.
    Fault(Vec<u16>),
}

/// What must be heard, and whether it is the last answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Step {
    /// What.
    pub expected: Expected,
    /// The connection ends with it.
    pub closes: bool,
}

/// How the bytes end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    /// Between two requests.
    Open,
    /// Within a request: it may be refused already.
    Within,
    /// With a refusal, a last answer or the upgrade.
    Over,
}

/// A request's head.
struct Head<'b> {
    method: &'b str,
    target: &'b str,
    is_old: bool,
    lines: Vec<(&'b str, &'b [u8])>,
    bytes: usize,
}

/// A part of a request: not all there, or what is wrong with it.
enum Lack {
    More,
    Fault(Vec<u16>),
}

/// Reads all requests.
pub fn read(bytes: &[u8]) -> (Vec<Step>, End) {
    let (mut steps, mut at) = (Vec::new(), 0);
    loop {
        let rest = &bytes[at..];
        // An empty line behind a request begins none.
        if rest.is_empty() || rest == b"\r\n" {
            return (steps, End::Open);
        }
        match request(rest, at, &mut steps) {
            Ok(used) => at += used,
            Err(Lack::More) => return (steps, End::Within),
            Err(Lack::Fault(statuses)) => {
                steps.push(Step { expected: Expected::Fault(statuses), closes: true });
                return (steps, End::Over);
            }
        }
        if steps.last().is_some_and(|it| it.closes || matches!(it.expected, Expected::Upgraded(_)))
        {
            return (steps, End::Over);
        }
    }
}

/// Reads one request; returns its bytes.
fn request(input: &[u8], at: usize, steps: &mut Vec<Step>) -> Result<usize, Lack> {
    let head = head(input)?;
    let framing = framing(&head)?;
    let values = |name| values(&head, name);
    let has = |name, token| values(name).any(|value| has_token(value, token));
    let says_continue = values("Expect").next().is_some() && !head.is_old;
    if says_continue && framing != Framing::Length(0) {
        steps.push(Step { expected: Expected::Continue, closes: false });
    }
    let rest = &input[head.bytes..];
    let (body, bytes) = match framing {
        Framing::Length(length) if rest.len() < length => return Err(Lack::More),
        Framing::Length(length) => (rest[..length].to_vec(), length),
        Framing::Chunked => chunks(rest)?,
    };
    let closes = has("Connection", "close") || (head.is_old && !has("Connection", "keep-alive"));
    let end = head.bytes + bytes;
    let expected = answer(&head, &body, at + end);
    steps.push(Step { expected, closes });
    Ok(end)
}

fn is_token(text: &[u8]) -> bool {
    let is_letter = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    !text.is_empty() && text.iter().all(is_letter)
}

/// A field's content: visible characters, blanks and bytes beyond ASCII.
fn is_content(text: &[u8]) -> bool {
    text.iter().all(|byte| matches!(byte, b'\t' | b' '..=b'~' | 0x80..))
}

fn trim(text: &[u8]) -> &[u8] {
    let is_blank = |byte: &u8| matches!(byte, b' ' | b'\t');
    let start = text.iter().position(|byte| !is_blank(byte)).unwrap_or(text.len());
    let end = text.iter().rposition(|byte| !is_blank(byte)).map_or(start, |last| last + 1);
    &text[start..end]
}

/// A line up to its CR LF, and its bytes with them. Another of either may stand in it.
fn line(input: &[u8]) -> Option<(&[u8], usize)> {
    let end = input.windows(2).position(|pair| pair == b"\r\n")?;
    Some((&input[..end], end + 2))
}

/// The bytes of an empty line at the front.
fn empty_line(input: &[u8]) -> Option<usize> {
    match input {
        [b'\r', b'\n', ..] => Some(2),
        [b'\n', ..] => Some(1),
        _ => None,
    }
}

fn head(input: &[u8]) -> Result<Head<'_>, Lack> {
    let too_long = input.len() >= HEAD_BYTES_MAX;
    let mut at = 0;
    let mut faults = Vec::new();
    // Empty lines are no request yet. Where one of them ends without its CR, the request that
    // comes behind it is refused.
    while let Some(bytes) = empty_line(&input[at..]) {
        if bytes == 1 {
            faults.extend([400, 431, 505]);
        }
        at += bytes;
    }
    let mut lines = Vec::new();
    loop {
        let Some((line, bytes)) = line(&input[at..]) else {
            faults.extend([414, 431, 400, 505]);
            return Err(if too_long { Lack::Fault(faults) } else { Lack::More });
        };
        at += bytes;
        if line.contains(&b'\r') || line.contains(&b'\n') {
            // Whoever takes them for ends of lines finds more lines, and another version.
            faults.extend([400, 431, 505]);
        }
        if line.is_empty() && !lines.is_empty() {
            break;
        }
        lines.push(line);
    }
    if at > HEAD_BYTES_MAX {
        faults.extend([414, 431]);
    }
    let (first, fields) = lines.split_first().ok_or(Lack::More)?;
    if fields.len() > HEADERS_MAX {
        faults.push(431);
    }
    let parts: Vec<&[u8]> = first.split(|byte| *byte == b' ').collect();
    let (method, target, version) = match parts[..] {
        [method, target, version] => (method, target, version),
        _ => return Err(Lack::Fault([&faults[..], &[400, 505]].concat())),
    };
    if !is_token(method) || !is_target(target, method) {
        faults.push(400);
    }
    match version {
        [b'H', b'T', b'T', b'P', b'/', b'1', b'.', b'0'..=b'9'] => {}
        [b'H', b'T', b'T', b'P', b'/', major, b'.', minor]
            if major.is_ascii_digit() && minor.is_ascii_digit() =>
        {
            faults.extend([400, 505]);
        }
        _ => faults.push(400),
    }
    let mut pairs = Vec::new();
    for line in fields {
        let colon = line.iter().position(|byte| *byte == b':').unwrap_or(line.len());
        let (name, value) = line.split_at(colon);
        if !is_token(name) || value.is_empty() || !is_content(value) {
            faults.push(400);
            continue;
        }
        pairs.push((std::str::from_utf8(name).unwrap_or_default(), trim(&value[1..])));
    }
    let (Ok(method), Ok(target)) = (std::str::from_utf8(method), std::str::from_utf8(target))
    else {
        return Err(Lack::Fault([&faults[..], &[400]].concat()));
    };
    if !faults.is_empty() {
        faults.extend(judged(&pairs, false));
        return Err(Lack::Fault(faults));
    }
    Ok(Head { method, target, is_old: version == b"HTTP/1.0", lines: pairs, bytes: at })
}

/// How a body ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Framing {
    Length(usize),
    Chunked,
}

fn framing(head: &Head<'_>) -> Result<Framing, Lack> {
    let faults = judged(&head.lines, head.is_old);
    if !faults.is_empty() {
        return Err(Lack::Fault(faults));
    }
    if values(head, "Transfer-Encoding").next().is_some() {
        return Ok(Framing::Chunked);
    }
    let length = values(head, "Content-Length").next().map_or(Some(0), number);
    Ok(Framing::Length(length.unwrap_or(usize::MAX)))
}

fn number(digits: &[u8]) -> Option<usize> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// All that is wrong with what lines say of where the body ends, and of whom the request is for.
fn judged(lines: &[(&str, &[u8])], is_old: bool) -> Vec<u16> {
    let all = |wanted: &str| -> Vec<&[u8]> {
        let is_it = |(name, _): &&(&str, &[u8])| name.eq_ignore_ascii_case(wanted);
        lines.iter().filter(is_it).map(|(_, value)| *value).collect()
    };
    let mut faults = Vec::new();
    let hosts = all("Host");
    if hosts.len() > 1 || (hosts.is_empty() && !is_old) || !hosts.iter().all(|host| is_host(host)) {
        faults.push(400);
    }
    let lengths = all("Content-Length");
    let is_digits = |text: &&[u8]| !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    if !lengths.iter().all(is_digits) {
        faults.push(400);
    } else {
        let numbers: Vec<usize> =
            lengths.iter().map(|text| number(text).unwrap_or(usize::MAX)).collect();
        if numbers.windows(2).any(|pair| pair[0] != pair[1]) {
            faults.push(400);
        }
        if numbers.iter().any(|length| *length > BODY_BYTES_MAX) {
            faults.push(413);
        }
    }
    let codings = all("Transfer-Encoding");
    if codings.len() > 1 || (!codings.is_empty() && (is_old || !lengths.is_empty())) {
        faults.push(400);
    }
    // A coding before the chunks is told apart from one without them.
    if codings.iter().any(|coding| !coding.eq_ignore_ascii_case(b"chunked")) {
        faults.extend([400, 501]);
    }
    let expected = all("Expect");
    if expected.last().is_some_and(|value| !value.eq_ignore_ascii_case(b"100-continue")) {
        faults.push(417);
    }
    faults
}

fn values<'h>(head: &'h Head<'_>, wanted: &'static str) -> impl Iterator<Item = &'h [u8]> {
    let is_it = move |(name, _): &&(&str, &[u8])| name.eq_ignore_ascii_case(wanted);
    head.lines.iter().filter(is_it).map(|(_, value)| *value)
}

fn has_token(list: &[u8], token: &str) -> bool {
    list.split(|byte| *byte == b',').any(|it| trim(it).eq_ignore_ascii_case(token.as_bytes()))
}

/// `; name` or `; name = value`, some of them or none.
fn are_extensions(text: &[u8]) -> bool {
    if text.is_empty() {
        return true;
    }
    let behind_token = |text: &[u8]| text.iter().take_while(|byte| is_token(&[**byte])).count();
    let Some(name) = blanks_off(text).strip_prefix(b";").map(blanks_off) else { return false };
    let rest = &name[behind_token(name)..];
    let Some(value) = blanks_off(rest).strip_prefix(b"=").map(blanks_off) else {
        return rest.len() < name.len() && are_extensions(rest);
    };
    let length = match value.first() {
        Some(b'"') => quoted(value),
        _ => behind_token(value),
    };
    rest.len() < name.len() && length > 0 && are_extensions(&value[length..])
}

/// Bytes of the quoted string at the front, with its quotes; 0: it has no end.
fn quoted(text: &[u8]) -> usize {
    let mut at = 1;
    loop {
        match text.get(at) {
            Some(b'"') => return at + 1,
            Some(b'\\') if text.get(at + 1).is_some_and(|byte| is_content(&[*byte])) => at += 2,
            Some(byte) if *byte != b'\\' && is_content(&[*byte]) => at += 1,
            _ => return 0,
        }
    }
}

fn blanks_off(text: &[u8]) -> &[u8] {
    let blanks = text.iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
    &text[blanks..]
}

/// A chunked body and its bytes.
fn chunks(input: &[u8]) -> Result<(Vec<u8>, usize), Lack> {
    let bad = || Lack::Fault(vec![400, 413]);
    let (mut body, mut at) = (Vec::new(), 0);
    loop {
        let (size, bytes) = line(&input[at..]).ok_or(Lack::More)?;
        at += bytes;
        let digits = size.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
        let (digits, extension) = size.split_at(digits);
        if digits.is_empty() || !are_extensions(extension) || size.len() >= 1024 {
            return Err(bad());
        }
        let text = std::str::from_utf8(digits).unwrap_or_default();
        let size = usize::from_str_radix(text, 16).map_err(|_| bad())?;
        if size > BODY_BYTES_MAX || digits.len() > 16 {
            return Err(bad());
        }
        if size == 0 {
            break;
        }
        let chunk = input.get(at..at + size).ok_or(Lack::More)?;
        body.extend_from_slice(chunk);
        at += size;
        match input.get(at..at + 2) {
            Some(b"\r\n") => at += 2,
            Some(_) => return Err(bad()),
            None => return Err(Lack::More),
        }
    }
    let start = at;
    let too_many = || Lack::Fault(vec![400, 413, 431]);
    loop {
        let Some((trailer, bytes)) = line(&input[at..]) else {
            let is_long = input.len() - start > HEAD_BYTES_MAX;
            return Err(if is_long { too_many() } else { Lack::More });
        };
        at += bytes;
        if at - start > HEAD_BYTES_MAX {
            return Err(too_many());
        }
        if trailer.is_empty() {
            return Ok((body, at));
        }
        let colon = trailer.iter().position(|byte| *byte == b':').unwrap_or(0);
        let is_long = trailer.len() >= 1024;
        if !is_token(&trailer[..colon]) || !is_content(trailer) || is_long {
            return Err(bad());
        }
    }
}

/// What a whole request is answered with.
fn answer(head: &Head<'_>, body: &[u8], end: usize) -> Expected {
    if head.method == "CONNECT" {
        return Expected::Status(501);
    }
    let path = path(head.target);
    let known = ["/ws", "*", "/im/test"].contains(&path) || CALLS.contains(&path);
    let methods: &[&str] = match path {
        _ if !known => return Expected::Status(404),
        "/ws" => &["GET"],
        "/im/test" => &["GET", "HEAD"],
        "*" => &[],
        _ => &["POST"],
    };
    if head.method == "OPTIONS" {
        return Expected::Status(204);
    }
    if !methods.contains(&head.method) {
        return Expected::Status(405);
    }
    match path {
        "/im/test" => Expected::Hello { is_head: head.method == "HEAD" },
        "/ws" => upgrade(head, end),
        _ if !is_readable(head) => Expected::Status(415),
        _ => Expected::Call(call(path, body)),
    }
}

/// Whether a target has one of the four forms, and the one for its method.
fn is_target(target: &[u8], method: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(target) else { return false };
    if !text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#') {
        return false;
    }
    match method {
        b"CONNECT" => text.contains(':') && is_host(target),
        b"OPTIONS" if text == "*" => true,
        _ => text.starts_with('/') || absolute(text).is_some(),
    }
}

/// What stands behind the host of a target with a scheme.
fn absolute(target: &str) -> Option<&str> {
    let lower = target.to_ascii_lowercase();
    let scheme = ["http://", "https://"].into_iter().find(|scheme| lower.starts_with(scheme))?;
    let rest = &target[scheme.len()..];
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    is_host(&rest.as_bytes()[..end]).then_some(&rest[end..])
}

/// The path of a target, in its short form or with a scheme and a host before it.
fn path(target: &str) -> &str {
    let behind = if target.starts_with('/') { None } else { absolute(target) };
    let target = behind.unwrap_or(target);
    let path = target.split('?').next().unwrap_or_default();
    if path.is_empty() { "/" } else { path }
}

fn is_readable(head: &Head<'_>) -> bool {
    let is_known = |kind: &[u8]| {
        let kind = kind.split(|byte| *byte == b';').next().map(trim).unwrap_or_default();
        let kind = kind.to_ascii_lowercase();
        let known: [&[u8]; 5] = [
            b"",
            b"application/json",
            b"text/json",
            b"text/plain",
            b"application/x-www-form-urlencoded",
        ];
        known.contains(&&kind[..]) || kind.ends_with(b"+json")
    };
    values(head, "Content-Type").all(is_known)
        && values(head, "Content-Encoding").all(|it| it.eq_ignore_ascii_case(b"identity"))
}

fn upgrade(head: &Head<'_>, end: usize) -> Expected {
    let has = |name, token| values(head, name).any(|value| has_token(value, token));
    let version = values(head, "Sec-WebSocket-Version").last();
    let asks = has("Connection", "upgrade") && has("Upgrade", "websocket") && !head.is_old;
    if !asks || version != Some(b"13") {
        return Expected::Status(426);
    }
    let keys: Vec<&[u8]> = values(head, "Sec-WebSocket-Key").collect();
    let is_digit = |byte: &u8| byte.is_ascii_alphanumeric() || b"+/".contains(byte);
    match keys[..] {
        [[key @ .., last, b'=', b'=']]
            if key.len() == 21 && key.iter().all(is_digit) && b"AQgw".contains(last) =>
        {
            Expected::Upgraded(end)
        }
        _ => Expected::Status(400),
    }
}
