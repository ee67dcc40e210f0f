//! Bytes <-> api. Sans-IO, no allocation per frame.
pub mod encode;
pub mod session;
