//! STUB
/// A list being answered.
#[derive(Debug)]
pub struct Listing {}
