//! Bytes to requests and back: HTTP/1.x, the upgrade, WebSocket frames, JSON. Sans-IO.
//!
//! Invariants:
//! 1. How bytes are cut into pieces never changes what they mean (`tests/splits.rs`).
//! 2. No bytes of a peer make this code panic, loop or hold more than [`crate::limits`] allows
//!    (`tests/mutations.rs`).
//! 3. An id is never routed through a float (`tests/incoming.rs`).
//!
//! Two dialects go over the same protocols: the chat's, and a bare one that gives messages and
//! requests as they came, for `conformance-echo`.
//!
//! In steady state a frame costs no allocation: scratch memory lives in the shard's [`Codec`].
//! Start reading at [`session`]: it shows the life of a connection. Requests come in by
//! `http`, `body`, `routes`, `calls` (HTTP) and by `frame`, `websocket`, `incoming` (WebSocket);
//! what leaves is written by [`encode`] and `answer`.
//!
//! Left to others: sockets, timers and the order of answers (`node`), every rule (`chat`).
//!
//! [`Codec`]: session::Codec

mod ack;
mod answer;
mod body;
mod buffer;
mod calls;
mod codec;
mod exchange;
mod fields;
mod frame;
mod http;
mod incoming;
mod json;
mod routes;
mod text;
mod upgrade;
mod websocket;

pub mod encode;
pub mod session;

#[cfg(test)]
mod tests;
