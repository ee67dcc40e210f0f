//! What connections may hold, by what is said over them.
//!
//! Left to others: what happens at a bound (`settle`).

use crate::limits::{
    ECHO_HELD_BYTES_MAX, ECHO_MESSAGE_BYTES_MAX, ECHO_TOTAL_UNSENT_BYTES_MAX, ECHO_UNSENT_BYTES,
    SHARD_HELD_BYTES_MAX, SHARD_UNSENT_BYTES_MAX, UNSENT_BYTES_MAX,
};
use crate::wire::session::Dialect;

/// Bounds of a shard, bytes.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Written to one connection and not sent.
    pub unsent: usize,
    /// The same of all.
    pub total_unsent: usize,
    /// Held before Auth, or of unfinished messages, by all.
    pub total_held: usize,
}

impl Bounds {
    /// Those of a dialect.
    pub fn of(dialect: Dialect) -> Bounds {
        match dialect {
            Dialect::Chat => Bounds {
                unsent: UNSENT_BYTES_MAX,
                total_unsent: SHARD_UNSENT_BYTES_MAX,
                total_held: SHARD_HELD_BYTES_MAX,
            },
            // Whoever does not read is not heard either (`echo`), but for what answers his pings.
            Dialect::Bare => Bounds {
                unsent: ECHO_UNSENT_BYTES + ECHO_MESSAGE_BYTES_MAX + UNSENT_BYTES_MAX,
                total_unsent: ECHO_TOTAL_UNSENT_BYTES_MAX,
                total_held: ECHO_HELD_BYTES_MAX,
            },
        }
    }
}
