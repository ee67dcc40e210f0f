//! What is fuzzed.

pub mod frames;
pub mod http;
pub mod import;
pub mod json;
pub mod log;
pub mod rows;
pub mod session;

use crate::fuzz::case::Target;

/// All targets.
pub fn all() -> Vec<Box<dyn Target>> {
    vec![
        Box::new(http::Http::default()),
        Box::new(frames::Frames::default()),
        Box::new(json::Json::default()),
        Box::new(session::Session::default()),
        Box::new(log::Log::default()),
        Box::new(rows::Rows::default()),
        Box::new(import::Import::default()),
    ]
}
