//! node.
pub mod admin_port;
pub mod doctor;
