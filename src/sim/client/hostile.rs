//! Bytes that no good client sends. Nothing may come of them but a refusal or an end.

use super::{Crowd, bytes};
use crate::ids::UserId;
use crate::sim::host::Ground;
use crate::sim::network::SocketId;
use crate::sim::observation::{DeviceId, Failure, Observation, Said};
use crate::wire::session::Port;

impl Crowd {
    /// A device of somebody says something broken.
    pub(super) fn babble(
        &mut self,
        socket: SocketId,
        ground: &mut Ground<'_>,
    ) -> Result<(), Failure> {
        let Some(device) = self.devices.get(&socket) else { return Ok(()) };
        let name = device.id;
        let bytes = self.broken_frame();
        ground.chronicle.tell_of(format_args!("{name}"), format_args!("says broken bytes"));
        self.note(&Observation::Said { device: name, frame: &Said::Garbage }, ground)?;
        ground.network.send_up(socket, &bytes);
        Ok(())
    }

    fn broken_frame(&mut self) -> Vec<u8> {
        let mask = [self.prng.below(256) as u8; 4];
        let text = |text: &str| bytes::frame(0x80 | bytes::TEXT, text.as_bytes(), mask);
        match self.prng.below(10) {
            0 => text("{\"msgType\":\"Text\",\"toUserId\":"),
            1 => text("[1,2,3]"),
            // An id of no message: an Error that names it is about nothing else.
            2 => text("{\"msgType\":\"Nonsense\",\"id\":4444444444444}"),
            3 => text(&"[".repeat(5_000)),
            4 => text("{\"msgType\":\"Text\",\"toUserId\":1e99,\"id\":123456789012345678901234}"),
            5 => bytes::frame(0x80 | bytes::BINARY, b"binary", mask),
            6 => bytes::frame(0x80 | bytes::TEXT, &[0xFF, 0xFE, 0x80], mask),
            7 => bytes::frame(0x80 | 0x40 | bytes::TEXT, b"{}", mask),
            // A server's frame: not masked.
            8 => vec![0x81, 2, b'{', b'}'],
            // Says that 2^40 bytes follow.
            _ => [&[0x81, 0x80 | 127][..], &(1_u64 << 40).to_be_bytes(), &mask].concat(),
        }
    }

    /// A stranger comes, says something hostile and goes, or stays and says no more.
    pub fn stranger(&mut self, ground: &mut Ground<'_>) -> SocketId {
        let port = if self.prng.once_in(2) { Port::Http } else { Port::WebSocket };
        let socket = ground.network.connect(DeviceId::STRANGER, port);
        let mut bytes = self.hostile_bytes();
        if self.prng.once_in(3) {
            bytes.truncate(self.prng.below(bytes.len() as u64 + 1) as usize);
        }
        let name = ground.network.at(socket).device;
        let words = format_args!("sends {} hostile bytes", bytes.len());
        ground.chronicle.tell_of(format_args!("{name}"), words);
        ground.network.send_up(socket, &bytes);
        match self.prng.below(4) {
            0 => ground.network.end_up(socket),
            1 => ground.network.reset(socket),
            _ => {}
        }
        socket
    }

    fn hostile_bytes(&mut self) -> Vec<u8> {
        let somebody = self.anybody().map_or(7, UserId::number);
        match self.prng.below(10) {
            0 => (0..self.prng.below(600)).map(|_| self.prng.below(256) as u8).collect(),
            1 => {
                b"POST /im/message/get/id HTTP/1.1\r\nContent-Length: 99999999999\r\n\r\n".to_vec()
            }
            2 => b"POST /im/user/register HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"
                .to_vec(),
            3 => format!("GET /{} HTTP/1.1\r\n\r\n", "a".repeat(20_000)).into_bytes(),
            4 => {
                let body = format!("{{\"userId\":{somebody},\"limit\":999999}}");
                let length = body.len();
                format!(
                    "POST /im/message/offline HTTP/1.1\r\nContent-Length: {length}\r\n\r\n{body}"
                )
                .repeat(5)
                .into_bytes()
            }
            5 => {
                // An Auth of nobody.
                let auth = "{\"msgType\":\"Auth\",\"fromUserId\":88888,\"content\":\"t\",\"id\":5}";
                let auth = bytes::frame(0x80 | bytes::TEXT, auth.as_bytes(), [7, 7, 7, 7]);
                [bytes::UPGRADE.as_bytes(), &auth].concat()
            }
            6 => {
                // Frames before an Auth that never comes.
                let text = format!("{{\"msgType\":\"Text\",\"toUserId\":{somebody},\"id\":1}}");
                let frame = bytes::frame(0x80 | bytes::TEXT, text.as_bytes(), [1, 2, 3, 4]);
                [bytes::UPGRADE.as_bytes(), &frame.repeat(80)].concat()
            }
            7 => {
                // The same, few and large.
                let text = format!(
                    "{{\"msgType\":\"Text\",\"toUserId\":{somebody},\"id\":1,\"content\":\"{}\"}}",
                    "x".repeat(9_000)
                );
                let frame = bytes::frame(0x80 | bytes::TEXT, text.as_bytes(), [1, 2, 3, 4]);
                [bytes::UPGRADE.as_bytes(), &frame.repeat(30)].concat()
            }
            8 => {
                let mut all = bytes::UPGRADE.as_bytes().to_vec();
                (0..30).for_each(|_| all.extend(self.broken_frame()));
                all
            }
            _ => b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec(),
        }
    }
}
