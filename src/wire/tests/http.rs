//! HTTP: where requests end, what exists, and how refusals look.

use super::{Peer, call, upgrade};
use crate::wire::session::{CloseCode, ErrorStyle, Port};

/// The status lines of all that was sent.
fn statuses(peer: &Peer) -> Vec<u16> {
    let text = peer.text();
    let lines = text.match_indices("HTTP/1.1 ").map(|(at, _)| text[at + 9..at + 12].parse());
    lines.map(|status| status.expect("a status is a number")).collect()
}

/// Status, and whether the connection ends, for a raw request.
fn outcome(raw: &[u8]) -> (u16, bool) {
    let mut peer = Peer::new(Port::Http);
    peer.give(raw);
    (statuses(&peer).last().copied().unwrap_or(0), peer.session.is_closing())
}

/// Invariant 1 of wire::http.
#[test]
fn what_two_readers_could_take_differently_is_400_and_closes() {
    let heads = [
        "Content-Length: 2\r\nTransfer-Encoding: chunked",
        "Content-Length: 2\r\nContent-Length: 3",
        "Content-Length: +2",
        "Content-Length: 0x2",
        "Content-Length: 2, 2",
        "Content-Length: -1",
        "Content-Length:",
        "Content-Length : 2",
        "X: a\r\n b",
        "X: a\nY: b",
        "X: a\rY: b",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked, chunked",
        "Transfer-Encoding: chunked, gzip",
        "Transfer-Encoding: chunked,",
        "Transfer-Encoding: ,chunked",
        "Transfer-Encoding: chunked;q=1",
        "Transfer-Encoding: identity",
        "Transfer-Encoding: gzip",
        "Transfer-Encoding: \"chunked\"",
        "Transfer-Encoding: \x0bchunked",
        "Transfer-Encoding:",
        "X: a\0b",
        "X: a\x7fb",
        "X\t: a",
        "X[]: a",
        ": a",
        "X",
        "Ä: a",
        "Host: another",
    ];
    for head in heads {
        let raw = format!("POST /im/user/find HTTP/1.1\r\nHost: h\r\n{head}\r\n\r\n{{}}");
        assert_eq!(outcome(raw.as_bytes()), (400, true), "{head:?}");
    }
    assert_eq!(outcome(b"GET /im/test HTTP/1.1\r\n\r\n"), (400, true), "no Host");
    assert_eq!(outcome(b"GET /im/test HTTP/1.1\nHost: h\n\n"), (400, true), "bare line feeds");
    assert_eq!(outcome(b"\x16\x03\x01\x02\x00\x01"), (400, true), "TLS");
    let te =
        b"POST /im/user/find HTTP/1.0\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    assert_eq!(outcome(te), (400, true), "HTTP/1.0 knows no chunks");
    assert_eq!(outcome(b"GET / HTTP/1.1\r\n X: y\r\nHost: h\r\n\r\n"), (400, true));
}

/// Invariant 2 of wire::body.
#[test]
fn bad_chunks_are_400_and_close() {
    for body in [
        "2 2\r\n{}\r\n0\r\n\r\n",
        "2\n{}\r\n0\r\n\r\n",
        "2\r\n{}x\r\n0\r\n\r\n",
        "0x2\r\n{}\r\n0\r\n\r\n",
        "+2\r\n{}\r\n0\r\n\r\n",
        "\r\n",
        "2;a\rb\r\n{}\r\n0\r\n\r\n",
        "-1\r\n",
        "ffffffffffffffffff\r\n",
        " 2\r\n{}\r\n0\r\n\r\n",
        "2 \r\n{}\r\n0\r\n\r\n",
        "2_\r\n{}\r\n0\r\n\r\n",
        "2;\r\n{}\r\n0\r\n\r\n",
        "2;a=\r\n{}\r\n0\r\n\r\n",
        "2;a=\"b\r\n{}\r\n0\r\n\r\n",
        "2;a=\"b\"c\r\n{}\r\n0\r\n\r\n",
        "2;a\0\r\n{}\r\n0\r\n\r\n",
        "2;a b\r\n{}\r\n0\r\n\r\n",
        "2\r\n{}\r\n0\r\nno colon\r\n\r\n",
        "2\r\n{}\r\n0\r\nX : y\r\n\r\n",
        "2\r\n{}\r\n0\r\nX: \x01\r\n\r\n",
        "2\r\n{}\r\n0\r\n folded\r\n\r\n",
        "2\r\n{}\r\n0\r\n\n",
    ] {
        let raw = format!(
            "POST /im/message/get/id HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n{body}"
        );
        assert_eq!(outcome(raw.as_bytes()), (400, true), "{body:?}");
    }
}

#[test]
fn chunks_are_joined_and_trailers_and_extensions_ignored() {
    let mut peer = Peer::new(Port::Http);
    peer.give(
        b"POST /im/message/get/id HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: Chunked\r\n\r\n\
          4;a=\"b\"\r\n{\"co\r\n08 ;x; y = \"\\\";\" ;z=1\r\nunt\":12}\r\n0\r\nX-Sum: 1\r\nY:\r\n\r\n",
    );
    peer.give(&call("/im/message/get/id", ""));
    assert_eq!(peer.seen, ["MintIds(Some(12))", "MintIds(None)"]);
    assert!(!peer.session.is_closing() && !peer.session.is_unfinished());
}

#[test]
fn an_empty_line_behind_a_request_begins_none() {
    let mut peer = Peer::new(Port::Http);
    for pieces in [&[&b"\r\n"[..]][..], &[b"\r", b"\n"], &[]] {
        peer.give(&call("/im/message/get/id", ""));
        pieces.iter().for_each(|piece| peer.give(piece));
        assert!(!peer.session.is_unfinished(), "{pieces:?}");
    }
    assert_eq!(peer.seen.len(), 3);
    assert!(!peer.session.is_closing());
    let more = [&call("/im/message/get/id", "")[..], b"\r\n\r\n"].concat();
    peer.give(&more);
    assert!(peer.session.is_unfinished(), "who sends more of them has begun something");
    assert_eq!(outcome(b"\nGET /im/test HTTP/1.1\r\nHost: h\r\n\r\n"), (400, true));
}

#[test]
fn trailers_are_as_few_as_a_heads_lines() {
    let head = b"POST /im/message/get/id HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n";
    let with = |trailers: usize| [&head[..], b"0\r\n", &b"A: b\r\n".repeat(trailers)].concat();
    assert_eq!(outcome(&[&with(2_000)[..], b"\r\n"].concat()).0, 200);
    assert_eq!(outcome(&with(3_000)), (431, true), "before their end is there");
}

/// Invariant 3 of wire::body.
/// Invariant 3 of wire::http.
#[test]
fn bounds_are_judged_before_the_bytes_are_there() {
    let head = |lines: &str| format!("POST /im/user/find HTTP/1.1\r\nHost: h\r\n{lines}\r\n\r\n");
    let long = "a".repeat(17_000);
    let many = "X: y\r\n".repeat(64) + "Z: z";
    assert_eq!(outcome(head("Content-Length: 1048577").as_bytes()), (413, true));
    assert_eq!(outcome(head("Content-Length: 99999999999999999999999").as_bytes()), (413, true));
    assert_eq!(
        outcome((head("Transfer-Encoding: chunked") + "100001\r\n").as_bytes()),
        (413, true)
    );
    assert_eq!(outcome(head(&format!("X: {long}")).as_bytes()), (431, true));
    assert_eq!(outcome(head(&many).as_bytes()), (431, true));
    assert_eq!(outcome(format!("GET /{long}").as_bytes()), (414, true));
    assert_eq!(outcome(head("Transfer-Encoding: gzip, chunked").as_bytes()), (501, true));
    assert_eq!(outcome(head("Expect: tea").as_bytes()), (417, true));
    assert_eq!(outcome(b"GET / HTTP/2.0\r\nHost: h\r\n\r\n"), (505, true));
    assert_eq!(outcome(b"GET / HTTPS/1.1\r\nHost: h\r\n\r\n"), (400, true));
}

#[test]
fn other_versions_are_told_from_none() {
    for (version, status) in [
        ("HTTP/2.0", 505),
        ("HTTP/9.9", 505),
        ("HTTP/1", 400),
        ("HTTP/01.1", 400),
        ("HTTP/1.10", 400),
        ("HTTP/ 1.1", 400),
        ("http/1.1", 400),
        ("HTTP/a.b", 400),
        ("", 400),
    ] {
        let raw = format!("GET / {version}\r\nHost: h\r\n\r\n");
        assert_eq!(outcome(raw.as_bytes()), (status, true), "{version}");
    }
    assert_eq!(outcome(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), (505, true), "HTTP/2 as it is");
    assert_eq!(outcome(b"GET /\r\n\r\n"), (400, true), "HTTP/0.9");
    assert_eq!(outcome(b"GET / HTTP/2"), (0, false), "it may still become one");
}

#[test]
fn a_target_has_the_form_that_goes_with_its_method() {
    for (line, status, closes) in [
        ("GET /im/test?a=[b]|c\\", 200, false),
        ("GET http://h/im/test", 200, false),
        ("GET HTTP://[::1]:80/im/test?x", 200, false),
        ("GET http://h", 404, false),
        ("GET http://h?x", 404, false),
        ("OPTIONS *", 204, false),
        ("CONNECT h:443", 501, false),
        ("GET *", 400, true),
        ("GET im/test", 400, true),
        ("GET /im/test#x", 400, true),
        ("GET /im/t\u{e9}st", 400, true),
        ("GET http:///im/test", 400, true),
        ("GET http://user@h/im/test", 400, true),
        ("GET ftp://h/im/test", 400, true),
        ("CONNECT /im/test", 400, true),
        ("CONNECT h", 400, true),
        ("GET  /im/test", 400, true),
        ("GET\t/im/test", 400, true),
        ("GET /im/te st", 400, true),
        ("GET /im/test ", 400, true),
        ("GET", 400, true),
        (" GET /im/test", 400, true),
    ] {
        let raw = format!("{line} HTTP/1.1\r\nHost: h\r\n\r\n");
        assert_eq!(outcome(raw.as_bytes()), (status, closes), "{line}");
    }
}

/// Invariant 2 of wire::exchange.
#[test]
fn other_faults_leave_the_connection_open() {
    let json = "Content-Type: Application/JSON; charset=utf-8\r\n";
    let table = [
        ("GET", "/im/test", "", 200),
        ("GET", "http://host:8093/im/test?x=1", "", 200),
        ("HEAD", "/im/test", "", 200),
        ("GET", "/im/nothing", "", 404),
        ("GET", "/im/user/register", "", 405),
        ("POST", "/im/test", "", 405),
        ("BREW", "/im/test", "", 405),
        ("GET", "/ws", "", 426),
        ("OPTIONS", "/im/user/register", "", 204),
        ("OPTIONS", "*", "", 204),
        ("POST", "/im/message/get/id?a=b", json, 200),
        ("POST", "/im/message/get/id", "Content-Type: text/plain\r\n", 200),
        ("POST", "/im/message/get/id", "Content-Type: application/x+JSON\r\n", 200),
        ("POST", "/im/message/get/id", "Content-Type: multipart/form-data; boundary=x\r\n", 415),
        ("POST", "/im/message/get/id", "Content-Type: image/png\r\n", 415),
        ("POST", "/im/message/get/id", "Content-Encoding: gzip\r\n", 415),
    ];
    for (method, path, lines, status) in table {
        let raw = format!("{method} {path} HTTP/1.1\r\nHost: h\r\n{lines}\r\n");
        assert_eq!(outcome(raw.as_bytes()), (status, false), "{method} {path} {lines}");
    }
}

#[test]
fn a_host_is_one_of_a_uri() {
    for (host, status) in [
        ("", 400),
        (":80", 400),
        ("h:", 200),
        ("chat.example.com:8093", 200),
        ("127.0.0.1", 200),
        ("[::1]:6666", 200),
        ("a%20b", 200),
        ("[v7.a:b]", 200),
        ("[2001:db8::1]", 200),
        ("%", 400),
        ("a%zz", 400),
        ("a%2", 400),
        ("[x]", 400),
        ("[::1%25eth0]", 400),
        ("[v.a]", 400),
        ("a b", 400),
        ("a,b", 400),
        ("a/c", 400),
        ("a:80:80", 400),
        ("a:http", 400),
        ("a:1234567", 400),
        ("[]", 400),
        ("[::1", 400),
        ("user@h", 400),
        ("h?x", 400),
    ] {
        let raw = format!("GET /im/test HTTP/1.1\r\nHost: {host}\r\n\r\n");
        assert_eq!(outcome(raw.as_bytes()), (status, status == 400), "{host}");
    }
}

#[test]
fn who_has_to_upgrade_is_told_how() {
    let mut peer = Peer::new(Port::Http);
    peer.give(b"GET /ws HTTP/1.1\r\nHost: h\r\n\r\n");
    let text = peer.text();
    for line in ["HTTP/1.1 426 ", "Connection: Upgrade\r\n", "Upgrade: websocket\r\n"] {
        assert!(text.contains(line), "{line}: {text}");
    }
}

#[test]
fn only_the_upgrade_exists_on_the_websocket_port() {
    let mut peer = Peer::new(Port::WebSocket);
    peer.give(&call("/im/message/get/id", "{}"));
    assert_eq!(statuses(&peer), [404]);
    peer.give(&upgrade());
    assert!(peer.session.is_websocket());
    assert!(peer.text().contains("Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"));
}

#[test]
fn an_upgrade_needs_a_sixteen_byte_key_and_version_13() {
    let raw = String::from_utf8(upgrade()).expect("ASCII");
    for (from, to, status) in [
        ("dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZSBub25jZQ=", 400),
        ("dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZSBub25jZR==", 400),
        ("Sec-WebSocket-Key: ", "X: ", 400),
        ("Version: 13", "Version: 8", 426),
        ("keep-alive, Upgrade", "keep-alive", 426),
        ("GET", "POST", 405),
    ] {
        assert_eq!(outcome(raw.replace(from, to).as_bytes()), (status, false), "{to}");
    }
}

/// Invariant 1 of wire::exchange.
/// Invariant 2 of wire::session.
#[test]
fn answers_leave_in_order_and_wait_for_each_other() {
    let mut peer = Peer::new(Port::Http);
    peer.answers = false;
    let two = [call("/im/message/get/id", "{}"), call("/im/user/chat/list", r#"{"userId":"2"}"#)];
    peer.give(&two.concat());
    assert_eq!(peer.seen, ["MintIds(None)"]);
    assert!(peer.session.is_awaiting());
    peer.session.answer(200, b"{\"id\":1}", &mut peer.out);
    peer.run();
    assert_eq!(peer.seen[1..], ["ChatList { user: UserId(2), limit: 10000 }"]);
    peer.session.answer_begin(&mut peer.out);
    peer.session.answer_part(b"[", &mut peer.out);
    peer.session.answer_part(b"", &mut peer.out);
    peer.session.answer_part(&[b' '; 300], &mut peer.out);
    peer.session.answer_part(b"]", &mut peer.out);
    peer.session.answer_end(&mut peer.out);
    let spaces = " ".repeat(300);
    let chunks = format!("\r\n\r\n1\r\n[\r\n12c\r\n{spaces}\r\n1\r\n]\r\n0\r\n\r\n");
    assert!(peer.text().ends_with(&chunks), "{}", peer.text());
    assert!(!peer.session.is_awaiting() && !peer.session.is_closing());
}

#[test]
fn keep_alive_follows_the_version_and_the_connection_line() {
    for (version, line, stays) in [
        ("1.1", "", true),
        ("1.1", "Connection: close\r\n", false),
        ("1.0", "", false),
        ("1.0", "Connection: Keep-Alive\r\n", true),
        // Later versions of HTTP/1 are read as the last that is known.
        ("1.2", "", true),
        ("1.9", "Connection: close\r\n", false),
    ] {
        let raw = format!("GET /im/test HTTP/{version}\r\nHost: h\r\n{line}\r\n");
        assert_eq!(outcome(raw.as_bytes()), (200, !stays), "{version} {line}");
    }
    let mut old = Peer::new(Port::Http);
    old.answers = false;
    old.give(
        b"POST /im/message/offline HTTP/1.0\r\nContent-Length: 12\r\n\
        Connection: keep-alive\r\n\r\n{\"userId\":2}",
    );
    old.session.answer_begin(&mut old.out);
    old.session.answer_part(b"[]", &mut old.out);
    old.session.answer_end(&mut old.out);
    assert!(old.text().ends_with("\r\n\r\n[]") && old.text().contains("Connection: close"));
    assert!(old.session.is_closing());
}

#[test]
fn heads_answer_without_body_and_continue_is_said_before_the_body() {
    let mut peer = Peer::new(Port::Http);
    peer.answers = false;
    peer.give(b"HEAD /im/test HTTP/1.1\r\nHost: h\r\n\r\n");
    peer.session.answer(200, b"Hello im", &mut peer.out);
    let text = peer.taken();
    assert!(text.contains("text/plain") && text.ends_with("Content-Length: 8\r\n\r\n"), "{text}");
    let mut broken = Peer::new(Port::Http);
    broken.give(b"HEAD /im/test HTTP/1.1\r\n\r\n");
    let text = broken.taken();
    assert!(text.starts_with("HTTP/1.1 400 ") && text.ends_with("\r\n\r\n"), "{text}");
    peer.give(
        b"POST /im/message/get/id HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\n\
        Content-Length: 2\r\n\r\n",
    );
    assert_eq!(peer.taken(), "HTTP/1.1 100 Continue\r\n\r\n");
    assert!(peer.session.is_unfinished());
    peer.give(b"{}");
    assert_eq!(peer.seen.last().map(String::as_str), Some("MintIds(None)"));
}

#[test]
fn refused_calls_are_500_or_by_their_kind_and_keep_the_connection() {
    let table = [
        ("/im/user/chat/list", "{}", 400, "userId is missing"),
        ("/im/user/chat/list", "nonsense", 400, "not a JSON object"),
        ("/im/user/chat/list", r#"{"userId":99999999999}"#, 404, "userId is not a known user"),
    ];
    for (path, body, code, message) in table {
        for (style, code) in [(ErrorStyle::Seed, 500), (ErrorStyle::Rest, code)] {
            let mut peer = Peer::styled(Port::Http, style);
            peer.give(&call(path, body));
            assert_eq!(statuses(&peer), [code], "{body}");
            let expected = format!("\r\n\r\n{{\"msg\":\"{message}\",\"code\":{code}}}");
            assert!(peer.text().ends_with(&expected), "{}", peer.text());
            assert!(!peer.session.is_closing() && !peer.session.is_awaiting());
            assert!(peer.codec.take_refusal().is_some());
        }
    }
}

#[test]
fn closing_answers_what_is_owed() {
    let mut begun = Peer::new(Port::Http);
    begun.give(b"POST /im");
    begun.session.close(CloseCode::AuthTimeout, &mut begun.out);
    assert_eq!((statuses(&begun), begun.session.is_closing()), (vec![408], true));
    let mut idle = Peer::new(Port::Http);
    idle.session.close(CloseCode::AuthTimeout, &mut idle.out);
    assert_eq!((statuses(&idle), idle.session.is_closing()), (vec![], true));
    let mut owed = Peer::new(Port::Http);
    owed.answers = false;
    owed.give(&call("/im/message/get/id", "{}"));
    owed.session.close(CloseCode::GoingAway, &mut owed.out);
    assert_eq!((statuses(&owed), owed.session.is_closing()), (vec![503], true));
    owed.session.answer(200, b"late", &mut owed.out);
    assert_eq!(statuses(&owed), [503]);
}

#[test]
fn faults_have_a_body_of_the_length_they_announce() {
    let mut peer = Peer::new(Port::Http);
    peer.give(b"GET /nothing HTTP/1.1\r\nHost: h\r\n\r\n");
    let text = peer.text();
    let (head, body) = text.split_once("\r\n\r\n").expect("a head ends");
    assert_eq!(body, r#"{"msg":"no such path","code":404}"#);
    assert!(head.contains(&format!("Content-Length: {}", body.len())), "{head}");
    assert!(head.contains("Access-Control-Allow-Origin: *"));
}

#[test]
fn answers_say_when_they_were_made_if_somebody_knows() {
    for (seconds, line) in [
        (0, ""),
        (1, "Thu, 01 Jan 1970 00:00:01 GMT"),
        (784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT"),
        (951_827_696, "Tue, 29 Feb 2000 12:34:56 GMT"),
        (4_107_542_399, "Sun, 28 Feb 2100 23:59:59 GMT"),
        (4_107_542_400, "Mon, 01 Mar 2100 00:00:00 GMT"),
    ] {
        let mut peer = Peer::new(Port::Http);
        peer.codec.set_time(seconds * 1000 + 999);
        peer.give(b"GET /im/test HTTP/1.1\r\nHost: h\r\n\r\nOPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n");
        peer.give(b"GET /nothing HTTP/1.1\r\nHost: h\r\n\r\nnonsense\r\n\r\n");
        let count = if seconds == 0 { 0 } else { 4 };
        assert_eq!(peer.text().matches(&format!("Date: {line}\r\n")).count(), count, "{seconds}");
    }
    let mut late = Peer::new(Port::Http);
    late.codec.set_time(1000);
    late.give(b"POST");
    late.session.close(CloseCode::AuthTimeout, &mut late.out);
    assert!(late.text().contains("408 ") && late.text().contains("Date: Thu,"), "{}", late.text());
}

#[test]
fn a_preflight_echoes_the_headers_it_asks_for() {
    let mut peer = Peer::new(Port::Http);
    peer.give(
        b"OPTIONS /im/user/find HTTP/1.1\r\nHost: h\r\nOrigin: http://o\r\n\
        Access-Control-Request-Method: POST\r\nAccess-Control-Request-Headers: x-a, token\r\n\r\n",
    );
    let text = peer.text();
    assert!(text.starts_with("HTTP/1.1 204 No Content\r\n"));
    assert!(text.contains("Access-Control-Allow-Headers: x-a, token\r\n"), "{text}");
    assert!(text.contains("Access-Control-Allow-Methods: POST, OPTIONS\r\n"));
    assert!(!text.contains("Content-Length"));
}
