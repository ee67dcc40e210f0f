//! The rules. One deterministic state machine per shard: (state, event, now) -> row changes + effects.
pub mod directory;
pub mod event;
pub mod history;
pub mod marks;
pub mod shard;
pub mod turn;
