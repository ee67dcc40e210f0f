//! RFC 9112 and 9110 case by case: what must be refused is refused by the chat server and by
//! `conformance-echo` alike; what is legal comes back from the echo.
#![allow(missing_docs)]

use anser_loadtest::PATIENCE;
use anser_loadtest::echo::{self, Echo};
use anser_loadtest::http::Client;
use anser_loadtest::websocket::{KEY, upgrade_request};
use anser_loadtest::world::World;
use rustix::process::Signal;
use std::io::{BufRead, BufReader, Read};
use std::net::{Shutdown, SocketAddr};
use std::process::{Command, Stdio};

/// A request that any server of this wire answers, and what the echo says to it.
const NEXT: &str = "POST /next HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nnext";

/// Both servers' HTTP ports.
fn servers() -> [SocketAddr; 2] {
    [World::shared(1, "http_cases").http, Echo::shared().http]
}

/// The bytes must get one of these answers, and then the end.
#[track_caller]
fn is_refused(what: &str, bytes: &[u8], allowed: &[u16]) {
    for server in servers() {
        let mut client = Client::connect(server);
        client.send_all_you_can(bytes);
        client.send_all_you_can(NEXT);
        let answer = client.answer();
        assert!(allowed.contains(&answer.status), "{what}: {answer:?}");
        assert_eq!(answer.header("connection"), Some("close"), "{what}: {answer:?}");
        client.expect_closed();
    }
}

/// The bytes must get these bodies, and leave the connection open.
#[track_caller]
fn is_echoed(what: &str, bytes: impl AsRef<[u8]>, bodies: &[&str]) {
    let mut client = Client::connect(Echo::shared().http);
    client.send(bytes);
    client.send(NEXT);
    for body in bodies.iter().chain(&["next"]) {
        let answer = client.answer();
        assert_eq!((answer.status, answer.body.as_str()), (200, *body), "{what}: {answer:?}");
    }
}

#[test]
fn request_lines_that_are_none_are_refused() {
    for (line, allowed) in [
        ("GET  / HTTP/1.1", &[400][..]),
        ("GET /  HTTP/1.1", &[400]),
        ("GET\t/ HTTP/1.1", &[400]),
        ("GET / HTTP/1.1 ", &[400]),
        (" GET / HTTP/1.1", &[400]),
        ("GET HTTP/1.1", &[400]),
        ("GET /a b HTTP/1.1", &[400]),
        ("GET / ", &[400]),
        ("GET /", &[400]),
        ("G@T / HTTP/1.1", &[400]),
        ("G\u{e9}T / HTTP/1.1", &[400]),
        ("GET /\u{e9} HTTP/1.1", &[400]),
        ("GET /\0 HTTP/1.1", &[400]),
        ("GET /a#b HTTP/1.1", &[400]),
        ("GET a HTTP/1.1", &[400]),
        ("GET * HTTP/1.1", &[400]),
        ("POST * HTTP/1.1", &[400]),
        ("CONNECT /a HTTP/1.1", &[400]),
        ("GET http://user@h/ HTTP/1.1", &[400]),
        ("GET / http/1.1", &[400]),
        ("GET / Http/1.1", &[400]),
        ("GET / HTTP/1", &[400]),
        ("GET / HTTP/01.1", &[400]),
        ("GET / HTTP/ 1.1", &[400]),
        ("GET / HTTP/1.11", &[400]),
        ("GET / HTTPS/1.1", &[400]),
        ("GET / HTTP/2.0", &[505]),
        ("GET / HTTP/9.9", &[505]),
    ] {
        is_refused(line, format!("{line}\r\nHost: h\r\n\r\n").as_bytes(), allowed);
    }
    is_refused("HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", &[505]);
    is_refused("TLS", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 and so on\r\n\r\n", &[400]);
    is_refused("overlong UTF-8", b"GET /\xc0\xaf HTTP/1.1\r\nHost: h\r\n\r\n", &[400]);
    let long = "a".repeat(17_000);
    is_refused(
        "a long line",
        format!("GET /{long} HTTP/1.1\r\nHost: h\r\n\r\n").as_bytes(),
        &[414],
    );
    is_refused("a long method", format!("{long} / HTTP/1.1\r\nHost: h\r\n\r\n").as_bytes(), &[414]);
}

#[test]
fn hosts_are_one_and_legal() {
    is_refused("none", b"GET / HTTP/1.1\r\n\r\n", &[400]);
    for host in [
        "",
        ":80",
        "a b",
        "a,b",
        "a/b",
        "a?b",
        "user@h",
        "h:80:80",
        "h:http",
        "[::1",
        "[]",
        "h#x",
        "h\\x",
        "h\r\nHost: h",
        "h\r\nHost: i",
        "h\r\nhost: h",
    ] {
        let request = format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n");
        is_refused(host, request.as_bytes(), &[400]);
    }
    for host in ["h", "h:", "h:80", "127.0.0.1:1", "[::1]:80", "a-b.c_d~e", "%41", "xn--a"] {
        is_echoed(host, format!("GET / HTTP/1.1\r\nhOsT:\t{host} \r\n\r\n"), &[""]);
    }
    is_echoed("absolute", "GET http://other/x HTTP/1.1\r\nHost: h\r\n\r\n", &[""]);
}

#[test]
fn header_lines_that_are_none_are_refused() {
    let head = |lines: &str| format!("POST / HTTP/1.1\r\nHost: h\r\n{lines}\r\n\r\n");
    for lines in [
        "X : y",
        "X\t: y",
        "X y: z",
        ": y",
        "X",
        "X[]: y",
        "X(: y",
        "X\u{e9}: y",
        "X: a\0b",
        "X: a\x07b",
        "X: a\x7fb",
        "X: a\rb",
        "X: a\nY: b",
        "X: a\r\n folded",
        "X: a\r\n\tfolded",
        "X: a\r\n \r\nY: b",
    ] {
        is_refused(lines, head(lines).as_bytes(), &[400]);
    }
    for request in [
        "GET / HTTP/1.1\r\n Host: h\r\n\r\n",
        "GET / HTTP/1.1\r\n \r\nHost: h\r\n\r\n",
        "GET / HTTP/1.1\nHost: h\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: h\n\r\n",
        "GET / HTTP/1.1\r\nHost: h\r\n\n",
        "GET / HTTP/1.1\rHost: h\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: h\r\n\rX: y\r\n\r\n",
        "\nGET / HTTP/1.1\r\nHost: h\r\n\r\n",
    ] {
        is_refused(request, request.as_bytes(), &[400]);
    }
    is_refused("a long line", head(&format!("X: {}", "x".repeat(17_000))).as_bytes(), &[431]);
    is_refused("a long name", head(&format!("{}: x", "x".repeat(17_000))).as_bytes(), &[431]);
    is_refused("many lines", head(&"X: y\r\n".repeat(70)).as_bytes(), &[431]);
    let legal = "X-Empty:\r\nX-Blank: \t \r\nX!#$%&'*+-.^_`|~1: a\u{e9} \"(),/:;<=>?@[\\]{}\tb";
    is_echoed("legal lines", head(legal), &[""]);
}

/// Whatever two readers could find the end of a body by differently.
#[test]
fn smuggling_is_refused() {
    let request = |lines: &str, body: &str| {
        format!("POST / HTTP/1.1\r\nHost: h\r\n{lines}\r\n\r\n{body}").into_bytes()
    };
    for length in [
        "",
        "+5",
        "-1",
        "-0",
        "0x5",
        "5,5",
        "5, 6",
        "5 5",
        "5_0",
        "0o5",
        "5.0",
        "5e0",
        "five",
        "5;",
        "\u{665}",
        "-123456789123456789123456789",
    ] {
        let lines = format!("Content-Length: {length}");
        is_refused(&lines, &request(&lines, "hello"), &[400]);
    }
    is_refused("two", &request("Content-Length: 5\r\nContent-Length: 6", "hello!"), &[400]);
    for length in ["1048577", "99999999999999999999", "18446744073709551617"] {
        is_refused(length, &request(&format!("Content-Length: {length}"), ""), &[413]);
    }
    let chunks = "5\r\nhello\r\n0\r\n\r\n";
    for both in [
        "Content-Length: 15\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nContent-Length: 0",
        "Transfer-Encoding: xchunked\r\nContent-Length: 5",
        "Transfer-Encoding: identity\r\nContent-Length: 5",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
    ] {
        is_refused(both, &request(both, chunks), &[400]);
    }
    for coding in [
        "",
        "chunked, chunked",
        "chunked, gzip",
        "chunked,",
        ", chunked",
        "chunked;a=b",
        "xchunked",
        "identity",
        "gzip",
        "chunked chunked",
        "\"chunked\"",
        "\x0bchunked",
        "chun\0ked",
        "chunked\0",
    ] {
        let lines = format!("Transfer-Encoding: {coding}");
        is_refused(&lines, &request(&lines, chunks), &[400]);
    }
    is_refused("folded", &request("Transfer-Encoding:\r\n chunked", chunks), &[400]);
    is_refused("a space", &request("Transfer-Encoding : chunked", chunks), &[400]);
    is_refused("known last", &request("Transfer-Encoding: gzip, chunked", chunks), &[501]);
    let old = "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
    is_refused("chunks in HTTP/1.0", old.as_bytes(), &[400]);
    for legal in ["5", "05", " 5", "5 ", "\t5\t", "5\r\nContent-Length: 5"] {
        is_echoed(legal, request(&format!("Content-Length: {legal}"), "hello"), &["hello"]);
    }
}

#[test]
fn bad_chunks_are_refused() {
    let head = "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n";
    for chunks in [
        "\r\nhello\r\n0\r\n\r\n",
        "x\r\nhello\r\n0\r\n\r\n",
        "0x5\r\nhello\r\n0\r\n\r\n",
        "+5\r\nhello\r\n0\r\n\r\n",
        "-5\r\nhello\r\n0\r\n\r\n",
        "5_\r\nhello\r\n0\r\n\r\n",
        " 5\r\nhello\r\n0\r\n\r\n",
        "5 \r\nhello\r\n0\r\n\r\n",
        "5\rhello\r\n0\r\n\r\n",
        "5\nhello\r\n0\r\n\r\n",
        "5\r\nhello\n0\r\n\r\n",
        "5\r\nhello0\r\n\r\n",
        "5\r\nhelloXX\r\n0\r\n\r\n",
        "4\r\nhello\r\n0\r\n\r\n",
        "5;\r\nhello\r\n0\r\n\r\n",
        "5;a b\r\nhello\r\n0\r\n\r\n",
        "5;a=\"b\r\nhello\r\n0\r\n\r\n",
        "5;a\0\r\nhello\r\n0\r\n\r\n",
        "5;a\rb\r\nhello\r\n0\r\n\r\n",
        "5;a\nb\r\nhello\r\n0\r\n\r\n",
        "5\r\nhello\r\n0\r\nno colon\r\n\r\n",
        "5\r\nhello\r\n0\r\nX : y\r\n\r\n",
        "5\r\nhello\r\n0\r\nX: y\r\n folded\r\n\r\n",
        "5\r\nhello\r\n0\r\nX: y\n\r\n",
        "5\r\nhello\r\n0\r\n\n",
        "ffffffffffffffffff\r\nhello\r\n0\r\n\r\n",
        "10000000000000005\r\nhello\r\n0\r\n\r\n",
    ] {
        is_refused(chunks, format!("{head}{chunks}").as_bytes(), &[400]);
    }
    for (chunks, allowed) in [
        ("100001\r\n".to_owned(), 413),
        ("ffffffffffffffff\r\n".to_owned(), 413),
        (format!("5;a={}\r\nhello\r\n0\r\n\r\n", "b".repeat(70_000)), 400),
    ] {
        is_refused("large", format!("{head}{chunks}").as_bytes(), &[allowed]);
    }
    for chunks in [
        "5\r\nhello\r\n0\r\n\r\n",
        "005\r\nhello\r\n000\r\n\r\n",
        "2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n",
        "5;a\r\nhello\r\n0;b=c\r\n\r\n",
        "5 ; a = \"\\\"b;\\\\\" ;c=d\r\nhello\r\n0\r\n\r\n",
        "5\r\nhello\r\n0\r\nX: y\r\nContent-Length: 1\r\nHost: i\r\nEmpty:\r\n\r\n",
    ] {
        is_echoed(chunks, format!("{head}{chunks}"), &["hello"]);
    }
    is_echoed("upper", format!("{head}A\r\nhelloworld\r\n0\r\n\r\n"), &["helloworld"]);
    is_echoed("empty", format!("{head}0\r\n\r\n"), &[""]);
    is_echoed("named in capitals", head.replace("chunked", "Chunked") + "0\r\n\r\n", &[""]);
}

#[test]
fn every_method_and_path_is_echoed() {
    let request = |line: &str| {
        format!("{line} HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello").into_bytes()
    };
    for method in [
        "GET",
        "POST",
        "PUT",
        "DELETE",
        "PATCH",
        "OPTIONS",
        "TRACE",
        "PROPFIND",
        "get",
        "M-SEARCH",
        "!#$%&'*+-.^_`|~1Z",
    ] {
        is_echoed(method, request(&format!("{method} /any/path?query")), &["hello"]);
    }
    for target in
        ["/", "//", "/%00", "/a?b=c&d", "/a;b", "/'\"|\\[]{}", "http://h", "HTTP://h:1/a?b"]
    {
        is_echoed(target, request(&format!("PUT {target}")), &["hello"]);
    }
    is_echoed("OPTIONS *", request("OPTIONS *"), &["hello"]);
    is_echoed("a long path", request(&format!("GET /{}", "a".repeat(8000))), &["hello"]);
    let mut client = Client::connect(Echo::shared().http);
    client.send(request("HEAD /"));
    let head = client.answer_to_head();
    assert_eq!((head.status, head.header("content-length")), (200, Some("5")));
    client.send(request("CONNECT h:443"));
    assert_eq!(client.answer().status, 501, "a 2xx would make a tunnel of it");
    client.send(NEXT);
    assert_eq!(client.answer().body, "next", "the connection is as it was");
}

#[test]
fn requests_are_pipelined_and_cut_anywhere() {
    let mut requests = String::from("\r\n\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n\r\n");
    let mut bodies = vec![String::new()];
    for number in 0..100 {
        let body = format!("body {number}");
        let length = body.len();
        requests +=
            &format!("PUT /{number} HTTP/1.1\r\nHost: h\r\nContent-Length: {length}\r\n\r\n");
        requests += &body;
        bodies.push(body);
    }
    let bodies: Vec<&str> = bodies.iter().map(String::as_str).collect();
    is_echoed("at once", &requests, &bodies);
    let mut client = Client::connect(Echo::shared().http);
    for piece in requests.as_bytes().chunks(7) {
        client.send(piece);
    }
    for body in bodies {
        assert_eq!(client.answer().body, body);
    }
    let large = "x".repeat(1 << 20);
    let request = format!("PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 1048576\r\n\r\n{large}");
    is_echoed("a megabyte", request, &[&large]);
    // Nothing is answered before it is whole.
    let mut half = Client::connect(Echo::shared().http);
    half.send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\nhello");
    half.stream().shutdown(Shutdown::Write).expect("a socket");
    half.expect_closed();
}

#[test]
fn expectations_are_met_before_the_body() {
    let mut client = Client::connect(Echo::shared().http);
    client.send("PUT / HTTP/1.1\r\nHost: h\r\nExpect: 100-Continue\r\nContent-Length: 5\r\n\r\n");
    assert_eq!(client.answer().status, 100);
    client.send("hello");
    assert_eq!(client.answer().body, "hello");
    is_echoed("no body", "GET / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\n\r\n", &[""]);
    let at_once = "PUT / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\
                   Connection: keep-alive\r\n\r\nhello";
    is_echoed("HTTP/1.0 knows no 100", at_once, &["hello"]);
    is_refused("others", b"PUT / HTTP/1.1\r\nHost: h\r\nExpect: tea\r\n\r\n", &[417]);
}

#[test]
fn connections_are_kept_as_the_version_says() {
    for (version, line, is_kept) in [
        ("1.1", "X: y", true),
        ("1.1", "Connection: keep-alive", true),
        ("1.1", "Connection: close", false),
        ("1.1", "connection: x, CLOSE", false),
        ("1.1", "Connection: x\r\nConnection: close", false),
        ("1.1", "Connection: keep-alive, close", false),
        ("1.0", "X: y", false),
        ("1.0", "Connection: Keep-Alive", true),
        ("1.0", "Connection: keep-alive, close", false),
    ] {
        let mut client = Client::connect(Echo::shared().http);
        client.send_all_you_can(format!("GET / HTTP/{version}\r\nHost: h\r\n{line}\r\n\r\n"));
        client.send_all_you_can(NEXT);
        let answer = client.answer();
        assert_eq!(answer.status, 200, "{version} {line}");
        if is_kept {
            assert_eq!(client.answer().body, "next", "{version} {line}");
        } else {
            assert_eq!(answer.header("connection"), Some("close"), "{version} {line}");
            client.expect_closed();
        }
    }
    is_echoed("no Host", "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", &[""]);
}

#[test]
fn answers_have_a_date() {
    for server in servers() {
        let mut client = Client::connect(server);
        client.send(format!("OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n{NEXT}nonsense\r\n\r\n"));
        for _ in 0..3 {
            let answer = client.answer();
            let date = answer.header("date").unwrap_or_else(|| panic!("no date: {answer:?}"));
            let parsed = jiff::fmt::rfc2822::parse(date).expect("a date of RFC 9110");
            let age = jiff::Timestamp::now().as_second() - parsed.timestamp().as_second();
            assert!((0..60).contains(&age) && date.len() == 29, "{date}");
        }
    }
}

#[test]
fn upgrades_are_judged_on_every_path() {
    let legal = upgrade_request("/any?path");
    let ask = |address, request: String| {
        let mut client = Client::connect(address);
        client.send_all_you_can(request);
        client.answer()
    };
    let answer = ask(
        Echo::shared().ws,
        legal.replace(
            "Host",
            "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n\
         Sec-WebSocket-Protocol: chat\r\nOrigin: http://web.example\r\nHost",
        ),
    );
    assert_eq!(answer.status, 101);
    assert_eq!(answer.header("sec-websocket-extensions"), None, "12 and 13 are not negotiated");
    assert_eq!(answer.header("sec-websocket-protocol"), None);
    for (from, to, status) in [
        ("GET", "POST", 405),
        ("HTTP/1.1", "HTTP/1.0", 426),
        ("Version: 13", "Version: 99", 426),
        ("Upgrade: websocket", "Upgrade: made-up/1.0", 426),
        ("Connection: Upgrade", "X: y", 426),
        (KEY, "c2hvcnQ=", 400),
        ("Host: localhost\r\n", "", 400),
    ] {
        let answer = ask(Echo::shared().ws, legal.replace(from, to));
        assert_eq!(answer.status, status, "{to:?}: {answer:?}");
        if status == 426 {
            assert_eq!(answer.header("sec-websocket-version"), Some("13"), "{answer:?}");
        }
    }
    assert_eq!(ask(Echo::shared().http, legal).status, 200, "there a request is a request");
}

#[test]
fn either_port_is_enough_and_signals_stop_it() {
    for signal in [Signal::INT, Signal::TERM] {
        let echo = Echo::start();
        let mut idle = Client::connect(echo.http);
        assert_eq!(echo.stop(signal).code(), Some(0));
        idle.expect_closed();
    }
    for (port, other) in [("ws", "http"), ("http", "ws")] {
        let mut command = Command::new(echo::binary());
        command.args([&format!("--{port}"), "127.0.0.1:0"]).stdout(Stdio::piped());
        let mut child = command.spawn().expect("the binary was just built");
        let mut line = String::new();
        let read = BufReader::new(child.stdout.take().expect("piped above")).read_line(&mut line);
        child.kill().and_then(|()| child.wait()).expect("our own child");
        let is_alone = line.starts_with(&format!("ready {port}=127")) && !line.contains(other);
        assert!(read.is_ok() && is_alone, "{line}");
    }
    let output = Command::new(echo::binary()).output().expect("the binary was just built");
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{words}");
    assert!(words.contains("--ws") && words.contains("--http"), "{words}");
    let taken = Echo::shared().http.to_string();
    let output = Command::new(echo::binary()).args(["--ws", &taken]).output();
    let output = output.expect("the binary was just built");
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.code() == Some(1) && words.contains(&taken), "{words}");
    let mut gone = Client::connect(Echo::shared().http);
    gone.stream().set_read_timeout(Some(PATIENCE)).expect("not zero");
    gone.stream().shutdown(Shutdown::Write).expect("a socket");
    assert_eq!(gone.stream().read(&mut [0]).expect("it ends"), 0);
}
