//! HTTP/1.1 as browsers, proxies and troublemakers speak it.
#![allow(missing_docs)]

use anser_loadtest::http::{Answer, Client, post};
use anser_loadtest::json::Integers;
use anser_loadtest::on_every_shard_count;
use anser_loadtest::world::World;
use serde_json::json;

const MINT: &str = "/im/message/get/id";
const REGISTER: &str = "/im/user/register";

on_every_shard_count! {
    hello,
    a_connection_is_kept_and_closed_as_asked,
    pipelined_requests_are_answered_in_order,
    bodies_may_come_in_chunks,
    requests_may_come_byte_by_byte,
    expect_is_answered_before_the_body,
    head_is_get_without_the_body,
    browsers_may_ask_first_and_read_the_answer,
    malformed_requests_are_400_and_the_end,
    unknown_paths_are_404_and_wrong_methods_405,
    bodies_are_bounded_by_a_megabyte,
    heads_are_bounded,
    only_json_is_read,
    errors_are_json_and_leave_the_connection_open,
    forms_of_a_request_line,
}

#[track_caller]
fn is_error(answer: &Answer, status: u16) {
    assert_eq!(answer.status, status, "{answer:?}");
    assert_eq!(answer.json().int("code"), i64::from(status), "{answer:?}");
    assert!(!answer.json().text("msg").is_empty(), "{answer:?}");
}

/// Sends bytes on a connection of their own; they must get this error and the end.
#[track_caller]
fn ends_with(world: &World, bytes: &[u8], status: u16) {
    let mut client = Client::connect(world.http);
    client.send_all_you_can(bytes);
    let answer = client.answer();
    assert_eq!(answer.status, status, "{answer:?} to {:.200}", String::from_utf8_lossy(bytes));
    is_error(&answer, status);
    client.expect_closed();
}

fn hello(world: &World) {
    let mut client = Client::connect(world.http);
    client.send("GET /im/test HTTP/1.1\r\nHost: h\r\n\r\n");
    let answer = client.answer();
    assert_eq!((answer.status, answer.body.as_str()), (200, "Hello im"));
}

fn a_connection_is_kept_and_closed_as_asked(world: &World) {
    let mut client = Client::connect(world.http);
    let ids: Vec<i64> = (0..50).map(|_| client.post(MINT, "{}").json().int("id")).collect();
    assert!(ids.windows(2).all(|two| two[0] < two[1]));
    let request = post(MINT, "{}").replace("Host", "Connection: close\r\nHost");
    client.send(request);
    assert_eq!(client.answer().status, 200);
    client.expect_closed();

    let mut old = Client::connect(world.http);
    old.send("GET /im/test HTTP/1.0\r\n\r\n");
    assert_eq!(old.answer().body, "Hello im");
    old.expect_closed();
    let mut kept = Client::connect(world.http);
    for _ in 0..2 {
        kept.send("GET /im/test HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
        assert_eq!(kept.answer().body, "Hello im");
    }
}

fn pipelined_requests_are_answered_in_order(world: &World) {
    let people: Vec<i64> = (0..24).map(|_| world.person()).collect();
    let mut client = Client::connect(world.http);
    let mut requests = String::new();
    for (place, user) in people.iter().enumerate() {
        let identity = world.identity(&format!("person {place}"));
        requests += &post("/im/user/find", &identity.to_string());
        requests += &post("/im/user/chat/unread/count", &json!({"userId": user}).to_string());
        requests += &post(MINT, "{}");
        requests += "GET /nowhere HTTP/1.1\r\nHost: h\r\n\r\n";
    }
    for _ in 0..4 {
        client.send(&requests);
    }
    for _ in 0..4 {
        for user in &people {
            assert_eq!(client.answer().json()["userId"], *user);
            assert_eq!(client.answer().json()["count"], 0);
            assert!(client.answer().json().int("id") > 0);
            assert_eq!(client.answer().status, 404);
        }
    }
}

fn bodies_may_come_in_chunks(world: &World) {
    let mut client = Client::connect(world.http);
    let body = world.identity("chunked").to_string();
    let (first, second) = body.split_at(7);
    let head = format!(
        "POST {REGISTER} HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\n\
         Transfer-Encoding: chunked\r\n\r\n"
    );
    let chunks = format!(
        "{:x}\r\n{first}\r\n{:X};name=value\r\n{second}\r\n0\r\nTrailer: ignored\r\n\r\n",
        first.len(),
        second.len()
    );
    client.send(format!("{head}{chunks}{head}{chunks}"));
    let user = client.answer().json().int("userId");
    assert_eq!(client.answer().json().int("userId"), user);
    assert_eq!(world.register("chunked"), user);
    for bad in [
        "x\r\n{}\r\n0\r\n\r\n",
        "-2\r\n{}\r\n0\r\n\r\n",
        "2\r\n{}x\r\n0\r\n\r\n",
        "0x2\r\n{}\r\n0\r\n\r\n",
    ] {
        ends_with(world, format!("{head}{bad}").as_bytes(), 400);
    }
}

fn requests_may_come_byte_by_byte(world: &World) {
    let mut client = Client::connect(world.http);
    let request = post(REGISTER, &world.identity("slow").to_string());
    for byte in request.bytes() {
        client.send([byte]);
    }
    let user = client.answer().json().int("userId");
    assert_eq!(world.register("slow"), user);
}

fn expect_is_answered_before_the_body(world: &World) {
    let mut client = Client::connect(world.http);
    let body = world.identity("expecting").to_string();
    let head = post(REGISTER, &body).replace("Host", "Expect: 100-continue\r\nHost");
    let head = head.strip_suffix(&body).expect("the body is last");
    client.send(head);
    assert_eq!(client.answer().status, 100);
    client.send(&body);
    assert!(client.answer().json().int("userId") > 1);
}

fn head_is_get_without_the_body(world: &World) {
    let mut client = Client::connect(world.http);
    client
        .send("HEAD /im/test HTTP/1.1\r\nHost: h\r\n\r\nGET /im/test HTTP/1.1\r\nHost: h\r\n\r\n");
    let head = client.answer_to_head();
    assert_eq!((head.status, head.header("content-length")), (200, Some("8")));
    assert_eq!(client.answer().body, "Hello im");
}

fn browsers_may_ask_first_and_read_the_answer(world: &World) {
    let mut client = Client::connect(world.http);
    client.send(format!(
        "OPTIONS {REGISTER} HTTP/1.1\r\nHost: h\r\nOrigin: http://web.example\r\n\
         Access-Control-Request-Method: POST\r\n\
         Access-Control-Request-Headers: content-type\r\n\r\n"
    ));
    let preflight = client.answer();
    assert!(matches!(preflight.status, 200 | 204), "{preflight:?}");
    let allows = |answer: &Answer, name: &str, word: &str| {
        let value = answer.header(name).unwrap_or_else(|| panic!("{name} in {answer:?}"));
        assert!(value == "*" || value.to_lowercase().contains(word), "{name}: {value}");
    };
    allows(&preflight, "access-control-allow-origin", "http://web.example");
    allows(&preflight, "access-control-allow-methods", "post");
    allows(&preflight, "access-control-allow-headers", "content-type");
    let request = post(MINT, "{}").replace("Host", "Origin: http://web.example\r\nHost");
    client.send(request);
    allows(&client.answer(), "access-control-allow-origin", "http://web.example");
    allows(
        &client.post(MINT, "{\"count\":0}"),
        "access-control-allow-origin",
        "http://web.example",
    );
}

fn malformed_requests_are_400_and_the_end(world: &World) {
    for head in [
        "Content-Length: -1",
        "Content-Length: +2",
        "Content-Length: 0x2",
        "Content-Length: 2, 3",
        "Content-Length: two",
        "Content-Length: 2\r\nContent-Length: 3",
        "Content-Length: 2\r\nTransfer-Encoding: chunked",
        "Content-Length : 2",
        "Content-Length: 99999999999999999999999",
        "Folded: a\r\n b",
        "No colon",
    ] {
        let request = format!("POST {MINT} HTTP/1.1\r\nHost: h\r\n{head}\r\n\r\n{{}}");
        let mut client = Client::connect(world.http);
        client.send_all_you_can(request);
        let answer = client.answer();
        let huge = head.contains("9999");
        assert!(answer.status == 400 || huge && answer.status == 413, "{head}: {answer:?}");
        client.expect_closed();
    }
    ends_with(world, format!("POST {MINT} HTTP/1.1\r\n\r\n").as_bytes(), 400);
    ends_with(world, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 TLS\r\n\r\n", 400);
    ends_with(world, b"GET /im/te st HTTP/1.1\r\nHost: h\r\n\r\n", 400);
    ends_with(world, b"hello there\r\n\r\n", 400);
}

fn unknown_paths_are_404_and_wrong_methods_405(world: &World) {
    let mut client = Client::connect(world.http);
    for path in ["/", "/im", "/im/", "/im/user", "/im/user/registers", "/favicon.ico", "/im/../x"] {
        client.send(format!("GET {path} HTTP/1.1\r\nHost: h\r\n\r\n"));
        is_error(&client.answer(), 404);
        is_error(&client.post(path, "{}"), 404);
    }
    for method in ["GET", "PUT", "DELETE", "PATCH"] {
        client
            .send(format!("{method} {REGISTER} HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n"));
        let answer = client.answer();
        is_error(&answer, 405);
        assert!(answer.header("allow").is_some_and(|allow| allow.contains("POST")), "{answer:?}");
    }
    let answer = client.post("/im/test", "{}");
    is_error(&answer, 405);
    assert!(answer.header("allow").is_some_and(|allow| allow.contains("GET")), "{answer:?}");
}

fn bodies_are_bounded_by_a_megabyte(world: &World) {
    let mut body = world.identity("large");
    let overhead = {
        body["padding"] = json!("");
        body.to_string().len()
    };
    body["padding"] = json!("x".repeat((1 << 20) - overhead));
    let body = body.to_string();
    assert_eq!(body.len(), 1 << 20);
    let mut client = Client::connect(world.http);
    let answer = client.post(REGISTER, &body);
    assert_eq!(answer.status, 200, "a body of exactly 1 MiB: {answer:?}");

    let announced =
        format!("POST {REGISTER} HTTP/1.1\r\nHost: h\r\nContent-Length: 1048577\r\n\r\n");
    ends_with(world, announced.as_bytes(), 413);
    let head = format!("POST {REGISTER} HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n");
    let chunk = format!("10000\r\n{}\r\n", "x".repeat(0x10000)).repeat(17);
    ends_with(world, (head + &chunk).as_bytes(), 413);
}

fn heads_are_bounded(world: &World) {
    let mut client = Client::connect(world.http);
    client.send(format!("GET /im/test HTTP/1.1\r\nHost: h\r\nX: {}\r\n\r\n", "x".repeat(15_000)));
    assert_eq!(client.answer().status, 200);
    let long = format!("GET /im/test HTTP/1.1\r\nHost: h\r\nX: {}\r\n\r\n", "x".repeat(17_000));
    ends_with(world, long.as_bytes(), 431);
    let endless = format!("GET /im/test HTTP/1.1\r\nHost: h\r\nX: {}", "x".repeat(40_000));
    ends_with(world, endless.as_bytes(), 431);
    let many = format!("GET /im/test HTTP/1.1\r\nHost: h\r\n{}\r\n", "X: x\r\n".repeat(200));
    ends_with(world, many.as_bytes(), 431);
}

fn only_json_is_read(world: &World) {
    let mut client = Client::connect(world.http);
    let body = world.identity("typed").to_string();
    let mut ask = |kind: &str| {
        client.send(post(REGISTER, &body).replace("application/json", kind));
        client.answer()
    };
    for kind in
        ["application/json; charset=utf-8", "application/json;charset=UTF-8", "Application/JSON"]
    {
        assert_eq!(ask(kind).status, 200, "{kind}");
    }
    for kind in ["image/png", "multipart/form-data; boundary=x", "application/xml"] {
        is_error(&ask(kind), 415);
    }
    let mut bare = Client::connect(world.http);
    let request = post(REGISTER, &body).replace("Content-Type: application/json\r\n", "");
    bare.send(request);
    assert_eq!(bare.answer().status, 200, "without a type it is JSON");
    let mut packed = Client::connect(world.http);
    packed.send(post(REGISTER, &body).replace("Host", "Content-Encoding: gzip\r\nHost"));
    is_error(&packed.answer(), 415);
}

fn errors_are_json_and_leave_the_connection_open(world: &World) {
    let mut client = Client::connect(world.http);
    for body in ["{}", "no json", "", "{\"userId\":15000000}"] {
        let answer = client.post("/im/user/chat/list", body);
        is_error(&answer, 500);
        let kind = answer.header("content-type").expect("a type");
        assert!(kind.starts_with("application/json"), "{kind}");
    }
    assert_eq!(client.post(MINT, "{}").status, 200);
}

fn forms_of_a_request_line(world: &World) {
    let mut client = Client::connect(world.http);
    client.send("GET /im/test?a=b&c=%20 HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_eq!(client.answer().body, "Hello im", "a query changes nothing");
    client.send("\r\nGET /im/test HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_eq!(client.answer().body, "Hello im", "an empty line before a request is skipped");
    client.send("GET /im/test HTTP/1.1\r\nhOsT: h\r\ncontent-LENGTH: 0\r\n\r\n");
    assert_eq!(client.answer().body, "Hello im", "names of headers have no case");
}
