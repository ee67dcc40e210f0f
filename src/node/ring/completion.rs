//! What a ring tells its shard.

use super::{Filled, Token};
use crate::store::aligned::AlignedBuffer;
use rustix::fd::OwnedFd;
use rustix::io::Errno;

/// Something that was asked for has happened.
#[derive(Debug)]
pub enum Completion {
    /// A connection came in by a listener.
    Accepted {
        /// As given to [`super::Ring::accept`].
        listener: u32,
        /// Its socket.
        socket: OwnedFd,
    },
    /// No connection came in.
    AcceptFailed {
        /// As given to [`super::Ring::accept`].
        listener: u32,
        /// Why.
        error: Errno,
    },
    /// Bytes came in.
    Received {
        /// As given to [`super::Ring::receive`].
        token: Token,
        /// Where they are.
        filled: Filled,
        /// The receive is still armed.
        more: bool,
    },
    /// A receive ended without bytes.
    ReceiveEnded {
        /// As given to [`super::Ring::receive`].
        token: Token,
        /// `Ok`: the peer sends no more. `ECANCELED`, `ENOBUFS`: arm it again. Else: it is dead.
        result: Result<(), Errno>,
    },
    /// A send is done.
    Sent {
        /// As given to [`super::Ring::send`].
        token: Token,
        /// The bytes given, to be used again.
        bytes: Vec<u8>,
        /// Whether the kernel took all of them.
        result: Result<(), Errno>,
    },
    /// A cancel found nothing to cancel: the receive has ended, or was just then between two of
    /// its steps and goes on. In the second case it is to be cancelled again.
    CancelMissed {
        /// As given to [`super::Ring::cancel_receive`].
        token: Token,
    },
    /// The time asked for by [`super::Ring::tick`] is over.
    Ticked,
    /// The write is done.
    Written {
        /// The bytes given.
        buffer: AlignedBuffer,
        /// Whether all of it is written.
        result: Result<(), Errno>,
    },
    /// The sync is done.
    Synced(Result<(), Errno>),
}
