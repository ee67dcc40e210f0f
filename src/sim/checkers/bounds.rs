//! What the server holds is bounded.

use crate::limits::{
    FRAME_BYTES_MAX, HELD_BYTES_MAX, LOG_WAITING_BYTES_MAX, MESH_PARCELS_MAX, OVERLAY_BYTES_MAX,
    PARKED_MAX, SHARD_HELD_BYTES_MAX, SHARD_UNSENT_BYTES_MAX, TURN_BYTES_MAX, UNSENT_BYTES_MAX,
    WINDOW_BYTES_MAX,
};
use crate::sim::observation::{Failure, Sizes};

/// Each bound; where one turn or frame may exceed it, by that much.
pub(super) fn check(sizes: &Sizes, is_evening: bool) -> Result<(), Failure> {
    let outbox_max = if is_evening { 0 } else { usize::MAX };
    let all = [
        ("overlay bytes", sizes.overlay_bytes, OVERLAY_BYTES_MAX + 2 * TURN_BYTES_MAX),
        ("waiting log bytes", sizes.log_waiting_bytes, LOG_WAITING_BYTES_MAX + 2 * TURN_BYTES_MAX),
        ("parcels in a lane", sizes.lane_parcels, MESH_PARCELS_MAX),
        ("unsent bytes of a session", sizes.session_unsent_bytes, session_unsent_max()),
        ("unsent bytes of a shard", sizes.unsent_bytes, SHARD_UNSENT_BYTES_MAX),
        ("bytes that a session holds", sizes.session_held_bytes, HELD_BYTES_MAX + FRAME_BYTES_MAX),
        ("bytes held before Auth", sizes.held_bytes, SHARD_HELD_BYTES_MAX),
        ("parked events", sizes.parked, PARKED_MAX),
        ("relays in outboxes at rest", sizes.outbox_rows, outbox_max),
    ];
    match all.into_iter().find(|(_, found, bound)| found > bound) {
        None => Ok(()),
        Some((what, found, bound)) => Err(Failure {
            checker: if what.starts_with("relays") { "arrives" } else { "bounds" },
            user: None,
            message: None,
            words: format!("expected {what} of at most {bound}, found {found}"),
        }),
    }
}

/// The frame that reaches the bound is still there.
fn session_unsent_max() -> usize {
    UNSENT_BYTES_MAX + WINDOW_BYTES_MAX
}
