//! The oracles: each reads the same bytes in the plainest way, or by somebody else's code.

pub mod ack;
pub mod chat;
pub mod frames;
pub mod hosts;
pub mod http;
pub mod json;
pub mod requests;
