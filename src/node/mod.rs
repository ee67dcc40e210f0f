//! node.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "clocks, threads and locks live here, so that they live nowhere else"
)]
pub mod admin_port;
pub mod data_folder;
pub mod doctor;
