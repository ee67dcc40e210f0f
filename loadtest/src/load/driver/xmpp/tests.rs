//! What the driver says to a server, word by word, and what it hears.

use super::*;
use crate::load::driver::tests::heard;
use crate::load::sockets::Transport;

fn xmpp(accounts: Option<&str>) -> Xmpp {
    let server = "127.0.0.1:5280".parse().expect("an address");
    let opening = Opening { server, transport: Transport::Stream };
    Xmpp::new(opening, "example.org", accounts).expect("plain names")
}

/// The texts of frames whose mask is zero.
fn texts(frames: &[u8]) -> Vec<String> {
    let (mut texts, mut rest) = (Vec::new(), frames);
    while let [first, length, more @ ..] = rest {
        assert_eq!(*first, 0x81, "a whole text frame");
        let (length, head) = match length & 0x7F {
            126 => (usize::from(u16::from_be_bytes([more[0], more[1]])), 6),
            short => (usize::from(short), 4),
        };
        let text = more[head..head + length].to_vec();
        texts.push(String::from_utf8(text).expect("a text is UTF-8"));
        rest = &more[head + length..];
    }
    texts
}

/// Says these words to a driver in turn; gives what it answered and what it told.
fn talk(xmpp: &Xmpp, session: &mut Session, words: &[&str]) -> Result<(String, String)> {
    let mut out = Vec::new();
    let words: Vec<&[u8]> = words.iter().map(|word| word.as_bytes()).collect();
    let told = heard(xmpp, session, &words, &mut out)?;
    Ok((texts(&out).concat(), told.join(" ")))
}

const FEATURES: &str = "<stream:features xmlns:stream='s'><register/></stream:features>";
const OPEN: &str = "<open xmlns='urn:ietf:params:xml:ns:xmpp-framing' from='example.org'/>";

/// A user who is logged in, and all that was said for it.
fn ready(xmpp: &Xmpp) -> (Session, String) {
    let mut out = Vec::new();
    let mut session = xmpp.session(0, 7);
    xmpp.greet(&mut session, &mut out);
    let mut said = texts(&out).concat();
    let mut words = vec![OPEN, FEATURES];
    if xmpp.accounts == Accounts::AreMade {
        words.push("<iq type='result' id='1'/>");
    }
    let after = ["<success/>", OPEN, FEATURES, "<iq type='result' id='2'/>", "<enabled/>"];
    words.extend(after);
    let (more, told) = talk(xmpp, &mut session, &words).expect("a server may say this");
    assert_eq!(told, "", "he is not ready before the count says so");
    said.push_str(&more);
    let more = talk(xmpp, &mut session, &["<presence/>", "<a h='1'/>"]);
    assert_eq!(more.expect("a server may say this"), (String::new(), "ready".to_owned()));
    (session, said)
}

#[test]
fn a_user_logs_in_step_by_step() {
    let (_, said) = ready(&xmpp(Some("ann")));
    let open = "<open xmlns='urn:ietf:params:xml:ns:xmpp-framing' version='1.0' to='example.org'/>";
    let secret = BASE64.encode(b"\0ann7\0load");
    let expected = format!(
        "{open}<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>{secret}</auth>\
         {open}<iq xmlns='jabber:client' type='set' id='2'>\
         <bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq><enable xmlns='urn:xmpp:sm:3'/>\
         <presence xmlns='jabber:client'/><r xmlns='urn:xmpp:sm:3'/>"
    );
    assert_eq!(said, expected);
}

#[test]
fn accounts_are_registered_where_none_are_given() {
    let xmpp = xmpp(None);
    let (_, said) = ready(&xmpp);
    let expected = format!(
        "<query xmlns='jabber:iq:register'><username>{}7</username><password>load</password>",
        xmpp.prefix
    );
    assert!(said.contains(&expected), "{said}");
    let mut session = xmpp.session(0, 7);
    let without = "<features><mechanisms/></features>";
    assert!(talk(&xmpp, &mut session, &[OPEN, without]).is_err(), "nobody registers there");
    assert!(Xmpp::new(xmpp.opening.clone(), "a'b", None).is_err(), "it would need escaping");
}

#[test]
fn counts_are_acks_in_both_directions() {
    let xmpp = xmpp(Some("ann"));
    let (mut session, _) = ready(&xmpp);
    let mut out = Vec::new();
    for number in 0..3 {
        let message = Message { from: 7, to: 8, number };
        xmpp.send(&mut session, message, &mut out).expect("memory takes all");
    }
    let said = texts(&out);
    assert!(said[4].starts_with(
        "<message xmlns='jabber:client' type='chat' id='2' to='ann8@example.org'><body>7 2 xx"
    ));
    assert_eq!((said.len(), said[5].as_str()), (6, "<r xmlns='urn:xmpp:sm:3'/>"));
    let message = "<message id='0' type='chat'><body>8 0 xxx</body></message>";
    let words = ["<a h='2'/>", message, "<r/>", "<a h='4'/>", "<a h='4'/>"];
    let (said, told) = talk(&xmpp, &mut session, &words).expect("a server may say this");
    assert_eq!(said, "<a xmlns='urn:xmpp:sm:3' h='2'/>", "a presence and a message came");
    assert_eq!(told, "acked 0 message 0 acked 1 acked 2");
}

#[test]
fn what_is_refused_or_comes_too_early_is_an_error() {
    let xmpp = xmpp(Some("ann"));
    let message = "<message id='0'><body>8 0 x</body></message>";
    let refused = "<message id='0' type='error'><body>8 0 x</body></message>";
    for word in ["<enabled/>", message, "<failure/>"] {
        let mut session = xmpp.session(0, 7);
        assert!(talk(&xmpp, &mut session, &[OPEN, word]).is_err(), "{word}");
    }
    for word in [refused, "<message id='0'/>", "<features/>", "<close/>"] {
        let (mut session, _) = ready(&xmpp);
        assert!(talk(&xmpp, &mut session, &[word]).is_err(), "{word}");
    }
}
