//! STUB
/// Which ordinals.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Marks {}
