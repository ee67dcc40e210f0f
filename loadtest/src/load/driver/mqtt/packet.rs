//! Packets of MQTT 3.1.1 as bytes: those that a client with QoS 1 writes, and those it is sent.

use anyhow::{Context, Result, bail, ensure};

/// The most bytes that two digits of a remaining length can say: our packets are shorter.
const LENGTH_MAX: usize = 128 * 128 - 1;

/// What a broker says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packet<'a> {
    /// An answer to CONNECT; a code but 0 is a refusal.
    ConnAck {
        /// Why it is refused.
        code: u8,
    },
    /// An answer to SUBSCRIBE; 128 is a refusal, others are the QoS granted.
    SubAck {
        /// What was granted.
        code: u8,
    },
    /// A PUBLISH of ours with QoS 1 was taken over.
    PubAck {
        /// Its packet id.
        id: u16,
    },
    /// A message of somebody with QoS 1.
    Publish {
        /// Its packet id.
        id: u16,
        /// Where it was published.
        topic: &'a [u8],
        /// Its content.
        payload: &'a [u8],
    },
}

impl<'a> Packet<'a> {
    /// Reads the first packet of what came, and how many bytes it has; `None` when it is not whole.
    ///
    /// # Errors
    /// When it is none that a broker sends to us.
    pub fn read(bytes: &'a [u8]) -> Result<Option<(Packet<'a>, usize)>> {
        let Some((&first, rest)) = bytes.split_first() else { return Ok(None) };
        let Some((length, digits)) = remaining_length(rest)? else { return Ok(None) };
        let Some(body) = rest[digits..].get(..length) else { return Ok(None) };
        let packet = match (first, body) {
            (0x20, [_, code]) => Packet::ConnAck { code: *code },
            (0x40, [high, low]) => Packet::PubAck { id: u16::from_be_bytes([*high, *low]) },
            (0x90, [_, _, code]) => Packet::SubAck { code: *code },
            // QoS 1, sent for the first time or again, retained or not.
            (0x32 | 0x33 | 0x3A | 0x3B, _) => publish_body(body).context("a PUBLISH cut short")?,
            _ => bail!("not what a broker should say: {first:#04x} {}", body.escape_ascii()),
        };
        Ok(Some((packet, 1 + digits + length)))
    }
}

/// The number that begins here, and how many bytes it has; `None` when it is not whole.
fn remaining_length(bytes: &[u8]) -> Result<Option<(usize, usize)>> {
    let mut length = 0;
    for (place, &byte) in bytes.iter().take(4).enumerate() {
        length |= usize::from(byte & 0x7F) << (7 * place);
        if byte < 0x80 {
            return Ok(Some((length, place + 1)));
        }
    }
    ensure!(bytes.len() < 4, "a remaining length of more than four bytes");
    Ok(None)
}

fn publish_body(body: &[u8]) -> Option<Packet<'_>> {
    let (length, rest) = body.split_first_chunk()?;
    let (topic, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
    let (id, payload) = rest.split_first_chunk()?;
    Some(Packet::Publish { id: u16::from_be_bytes(*id), topic, payload })
}

/// Appends a CONNECT of a clean session that is never asked whether it lives.
pub fn connect(out: &mut Vec<u8>, client: &str) {
    packet(out, 0x10, |out| {
        text(out, |out| out.extend(b"MQTT"));
        out.extend([4, 0x02, 0, 0]);
        text(out, |out| out.extend(client.as_bytes()));
    });
}

/// Appends a SUBSCRIBE with QoS 1 to the topic that `topic` appends.
pub fn subscribe(out: &mut Vec<u8>, topic: impl FnOnce(&mut Vec<u8>)) {
    packet(out, 0x82, |out| {
        out.extend([0, 1]);
        text(out, topic);
        out.push(1);
    });
}

/// Appends a PUBLISH with QoS 1: `topic` and `payload` append theirs.
pub fn publish(
    out: &mut Vec<u8>,
    id: u16,
    topic: impl FnOnce(&mut Vec<u8>),
    payload: impl FnOnce(&mut Vec<u8>),
) {
    packet(out, 0x32, |out| {
        text(out, topic);
        out.extend(id.to_be_bytes());
        payload(out);
    });
}

/// Appends a PUBACK.
pub fn acknowledge(out: &mut Vec<u8>, id: u16) {
    packet(out, 0x40, |out| out.extend(id.to_be_bytes()));
}

/// Appends a packet around the body that `write` appends.
fn packet(out: &mut Vec<u8>, first_byte: u8, write: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend([first_byte, 0, 0]);
    write(out);
    let length = out.len() - start - 3;
    assert!(length <= LENGTH_MAX, "our packets are short");
    if length < 128 {
        out[start + 1] = length as u8;
        out.remove(start + 2);
    } else {
        out[start + 1] = 0x80 | (length % 128) as u8;
        out[start + 2] = (length / 128) as u8;
    }
}

/// Appends a string, its length before it.
fn text(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend([0, 0]);
    write(out);
    let length = u16::try_from(out.len() - start - 2).expect("our names are short");
    out[start..start + 2].copy_from_slice(&length.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> Option<(Packet<'_>, usize)> {
        Packet::read(bytes).expect("a broker may say this")
    }

    #[test]
    fn what_is_written_is_what_the_standard_shows() {
        let mut out = Vec::new();
        connect(&mut out, "ann");
        assert_eq!(out, b"\x10\x0F\0\x04MQTT\x04\x02\0\0\0\x03ann");
        out.clear();
        subscribe(&mut out, |out| out.extend(b"to/ann"));
        assert_eq!(out, b"\x82\x0B\0\x01\0\x06to/ann\x01");
        out.clear();
        acknowledge(&mut out, 0x1234);
        assert_eq!(out, b"\x40\x02\x12\x34");
    }

    #[test]
    fn a_message_is_read_as_it_was_written_and_never_before_it_is_whole() {
        for length in [0, 1, 117, 118, 119, 200, 16_000] {
            let payload = vec![b'x'; length];
            let mut out = b"before".to_vec();
            publish(&mut out, 77, |out| out.extend(b"to/ann"), |out| out.extend(&payload));
            let packet = &out[6..];
            for end in 0..packet.len() {
                assert_eq!(read(&packet[..end]), None, "cut at {end}");
            }
            let expected = Packet::Publish { id: 77, topic: b"to/ann", payload: &payload };
            assert_eq!(read(packet), Some((expected, packet.len())));
            let with_more = [packet, b"more"].concat();
            assert_eq!(read(&with_more), Some((expected, packet.len())));
        }
    }

    #[test]
    fn short_packets_are_read_and_never_before_they_are_whole() {
        for (bytes, packet) in [
            (&b"\x20\x02\0\x05"[..], Packet::ConnAck { code: 5 }),
            (b"\x40\x02\x12\x34", Packet::PubAck { id: 0x1234 }),
            (b"\x90\x03\0\x01\x80", Packet::SubAck { code: 128 }),
        ] {
            for end in 0..bytes.len() {
                assert_eq!(read(&bytes[..end]), None, "cut at {end}");
            }
            assert_eq!(read(bytes), Some((packet, bytes.len())));
        }
    }

    #[test]
    fn what_no_broker_sends_is_refused() {
        let words: [&[u8]; 6] = [
            b"\x30\x04\0\x01ax",         // QoS 0
            b"\x32\x03\0\x04a",          // a topic longer than the packet
            b"\x32\x03\0\x01a",          // no packet id
            b"\x20\x03\0\0\0",           // a CONNACK of three bytes
            b"\x32\xFF\xFF\xFF\xFF\x01", // a length of five bytes
            b"\x10\x00",                 // a CONNECT
        ];
        for bytes in words {
            assert!(Packet::read(bytes).is_err(), "{}", bytes.escape_ascii());
        }
    }
}
