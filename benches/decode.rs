//! From bytes to requests: frames of a session, calls over HTTP.

use crate::case::Case;
use crate::wire::{ID, Wire, contents, masked, text_message};

const OPERATIONS: u64 = 1024;

/// All that come in often.
pub fn cases() -> Vec<Case> {
    let [latin, han, escaped] = contents();
    let ack = format!(r#"{{"chatType":"Single","msgType":"Ack","content":"{{'srcId':{ID}}}"}}"#);
    vec![
        of_frame("decode/text", text_message(&latin)),
        of_frame("decode/text-han", text_message(&han)),
        of_frame("decode/text-escaped", text_message(&escaped.replace('"', "\\\""))),
        of_frame("decode/ack", ack),
        of_frame("decode/heartbeat", r#"{"msgType":"Heartbeat"}"#.to_owned()),
        Case::repeated("decode/http-call", OPERATIONS, http_call),
    ]
}

fn of_frame(name: &'static str, text: String) -> Case {
    Case::repeated(name, OPERATIONS, move || {
        let (mut wire, mut frame) = (Wire::authenticated(), masked(&text));
        move || wire.request(&mut frame)
    })
}

/// Head and body of a call, as a common client sends them, and an empty answer.
fn http_call() -> impl FnMut() {
    let body = r#"{"userId":1026,"pageNum":1,"pageSize":20}"#;
    let head = "POST /im/message/user/get/page HTTP/1.1\r\nHost: chat.example.com:8090\r\n\
        User-Agent: okhttp/4.12.0\r\nAccept: application/json\r\nAccept-Encoding: gzip\r\n\
        Content-Type: application/json; charset=utf-8\r\nConnection: Keep-Alive\r\n";
    let mut call = format!("{head}Content-Length: {}\r\n\r\n{body}", body.len()).into_bytes();
    let mut wire = Wire::http();
    move || {
        wire.request(&mut call);
        wire.answer();
    }
}
