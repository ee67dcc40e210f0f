//! Whom a request is for, after RFC 3986, in the plainest way.

/// A name or an address in brackets, with a port of digits or without.
pub fn is_host(value: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(value) else { return false };
    let of_name =
        |letter: char| letter.is_ascii_alphanumeric() || "-._~!$&'()*+;=".contains(letter);
    // What stands behind each percent sign are two digits; without them and it the rest is letters.
    let are_letters = |name: &str| {
        let mut pieces = name.split('%');
        let plain = pieces.next().unwrap_or_default().chars().all(of_name);
        let mut escaped = pieces.map(|piece| {
            let digits = piece.get(..2).unwrap_or("-");
            u8::from_str_radix(digits, 16).is_ok()
                && !digits.contains('+')
                && piece.chars().all(of_name)
        });
        plain && escaped.all(|is_right| is_right)
    };
    let is_port = |port: &str| port.len() <= 5 && port.bytes().all(|byte| byte.is_ascii_digit());
    let (is_good, port) = match text.strip_prefix('[').map(|rest| rest.split_once(']')) {
        Some(Some((address, port))) => {
            let is_part = |letter| of_name(letter) || letter == ':';
            let to_come = address.strip_prefix(['v', 'V']).and_then(|rest| rest.split_once('.'));
            let is_to_come = to_come.is_some_and(|(kind, rest)| {
                !kind.is_empty()
                    && kind.chars().all(|letter| letter.is_ascii_hexdigit())
                    && !rest.is_empty()
                    && rest.chars().all(is_part)
            });
            (is_to_come || address.parse::<std::net::Ipv6Addr>().is_ok(), port)
        }
        Some(None) => return false,
        None => {
            let colon = text.find(':').unwrap_or(text.len());
            (colon > 0 && are_letters(&text[..colon]), &text[colon..])
        }
    };
    is_good && (port.is_empty() || port.strip_prefix(':').is_some_and(is_port))
}
