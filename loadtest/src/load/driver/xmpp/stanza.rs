//! Elements of XMPP over WebSocket (RFC 7395), of which each is one frame: what is looked at in
//! those that a server sends.

use anyhow::{Context, Result, bail, ensure};
use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event};
use std::borrow::Cow;

/// The elements that are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The stream begins.
    Open,
    /// What the server offers next.
    Features,
    /// An answer, or a question.
    Iq,
    /// The password was right.
    Success,
    /// Stream management is on.
    Enabled,
    /// The server asks for the count of stanzas that came.
    AckRequest,
    /// The server says how many stanzas it took over.
    Ack,
    /// A message.
    Message,
    /// Somebody's presence.
    Presence,
}

/// What is looked at of an element, whatever the order of its attributes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Element<'a> {
    /// What it is.
    pub kind: Kind,
    /// Its `id` where that is a number.
    pub id: Option<u64>,
    /// How many stanzas were taken over.
    pub handled: Option<u64>,
    /// Whether its type is `error`.
    pub is_error: bool,
    /// Whether it has a child `register`: the server makes accounts.
    pub offers_register: bool,
    /// The text of its child `body`, which holds nothing that XML escapes.
    pub body: Option<&'a str>,
}

impl<'a> Element<'a> {
    /// Reads a frame.
    ///
    /// # Errors
    /// When it is not one whole element, or none that should come.
    pub fn read(frame: &'a [u8]) -> Result<Element<'a>> {
        let text = std::str::from_utf8(frame).context("a frame is UTF-8")?;
        let mut reader = Reader::from_str(text);
        let element = match reader.read_event()? {
            Event::Empty(start) => Element::of(&start),
            Event::Start(start) => {
                let mut element = Element::of(&start)?;
                element.read_children(&mut reader)?;
                Ok(element)
            }
            _ => bail!("not an element"),
        };
        ensure!(reader.read_event()? == Event::Eof, "more than one element");
        element
    }

    fn of(start: &BytesStart<'_>) -> Result<Element<'a>> {
        let value = |name: &str| -> Result<Option<Cow<'_, str>>> {
            Ok(start.try_get_attribute(name)?.map(|attribute| attribute.value))
        };
        let number = |name: &str| -> Result<Option<u64>> {
            Ok(value(name)?.and_then(|value| value.parse().ok()))
        };
        Ok(Element {
            kind: kind(start.local_name().as_ref())?,
            id: number("id")?,
            handled: number("h")?,
            is_error: value("type")?.is_some_and(|kind| kind == "error"),
            offers_register: false,
            body: None,
        })
    }

    /// Reads up to the end of the element whose start was read.
    fn read_children(&mut self, reader: &mut Reader<&'a [u8]>) -> Result<()> {
        let (mut depth, mut is_body) = (1, false);
        while depth > 0 {
            match reader.read_event()? {
                Event::Start(start) => {
                    self.note_child(depth, start.local_name().as_ref());
                    is_body = depth == 1 && start.local_name().as_ref() == "body";
                    depth += 1;
                }
                Event::Empty(start) => self.note_child(depth, start.local_name().as_ref()),
                Event::End(_) => (depth, is_body) = (depth - 1, false),
                Event::Text(text) if is_body => {
                    let Cow::Borrowed(text) = text.into_inner() else { continue };
                    ensure!(self.body.is_none(), "a body in parts");
                    self.body = Some(text);
                }
                Event::Eof => bail!("an element is cut short"),
                _ => {}
            }
        }
        Ok(())
    }

    fn note_child(&mut self, depth: usize, name: &str) {
        self.offers_register |= depth == 1 && name == "register";
    }
}

fn kind(name: &str) -> Result<Kind> {
    Ok(match name {
        "open" => Kind::Open,
        "features" => Kind::Features,
        "iq" => Kind::Iq,
        "success" => Kind::Success,
        "enabled" => Kind::Enabled,
        "r" => Kind::AckRequest,
        "a" => Kind::Ack,
        "message" => Kind::Message,
        "presence" => Kind::Presence,
        other => bail!("<{other}> should not come"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(kind: Kind) -> Element<'static> {
        let (id, handled, body) = (None, None, None);
        Element { kind, id, handled, is_error: false, offers_register: false, body }
    }

    /// Elements as servers write them, and what is read of them.
    fn elements() -> Vec<(&'static str, Element<'static>)> {
        vec![
            ("<r xmlns='urn:xmpp:sm:3'/>", plain(Kind::AckRequest)),
            (
                "<a xmlns='urn:xmpp:sm:3' h='17'></a>",
                Element { handled: Some(17), ..plain(Kind::Ack) },
            ),
            (
                "<message to='b@x/y' type='chat' id='5'><active xmlns='n'><body>no</body></active>\
                 <body>3 5 xxx</body></message>",
                Element { id: Some(5), body: Some("3 5 xxx"), ..plain(Kind::Message) },
            ),
            (
                "<stream:features xmlns:stream='s'><register xmlns='r'/><mechanisms>\
                 <mechanism>PLAIN</mechanism></mechanisms></stream:features>",
                Element { offers_register: true, ..plain(Kind::Features) },
            ),
            (
                "<iq id='1' type='error'><error><register/></error></iq>",
                Element { id: Some(1), is_error: true, ..plain(Kind::Iq) },
            ),
        ]
    }

    #[test]
    fn what_is_looked_at_is_found_whatever_is_around_it() {
        for (text, expected) in elements() {
            let element = Element::read(text.as_bytes()).expect("a server may say this");
            assert_eq!(element, expected, "{text}");
        }
    }

    #[test]
    fn an_element_that_is_not_whole_or_not_alone_is_refused() {
        for (text, _) in elements() {
            for end in 0..text.len() {
                assert!(Element::read(&text.as_bytes()[..end]).is_err(), "{}", &text[..end]);
            }
            assert!(Element::read(format!("{text}<r/>").as_bytes()).is_err(), "{text}");
        }
        assert!(Element::read(b"<close xmlns='urn:ietf:params:xml:ns:xmpp-framing'/>").is_err());
    }
}
