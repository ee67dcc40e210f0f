//! A client's WebSocket frames, written in place.

use crate::websocket::opcode;

/// Appends a text frame around what `write` appends.
pub fn text(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    whole(out, opcode::TEXT, write);
}

/// Appends a binary frame around what `write` appends.
pub fn binary(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    whole(out, opcode::BINARY, write);
}

/// Appends a frame. Its mask is zero, which every server unmasks like any other: the generator
/// saves the work, the server does not.
fn whole(out: &mut Vec<u8>, opcode: u8, write: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend([0x80 | opcode, 0xFE, 0, 0, 0, 0, 0, 0]);
    write(out);
    let length = out.len() - start - 8;
    if length < 126 {
        out[start + 1] = 0x80 | length as u8;
        out.copy_within(start + 4.., start + 2);
        out.truncate(out.len() - 2);
    } else {
        let length = u16::try_from(length).expect("our frames are short");
        out[start + 2..start + 4].copy_from_slice(&length.to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::websocket::Frame;

    #[test]
    fn a_frame_says_how_long_it_is() {
        for length in [0, 1, 125, 126, 127, 65_535] {
            let payload = vec![b'x'; length];
            let mut written = b"before".to_vec();
            text(&mut written, |out| out.extend(&payload));
            let mut expected = Frame::whole(opcode::TEXT, &payload).bytes();
            // The same frame under a mask that is zero.
            let head = expected.len() - length;
            expected[head - 4..head].fill(0);
            expected[head..].fill(b'x');
            assert_eq!(written, [b"before".to_vec(), expected].concat());
        }
    }
}
