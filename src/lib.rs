//! anser.
pub mod admin;
pub mod api;
pub mod chat;
pub mod config;
pub mod ids;
pub mod limits;
pub mod metrics;
pub mod node;
pub mod sim;
pub mod speech;
pub mod store;
pub mod wire;
