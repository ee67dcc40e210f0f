//! STUB
/// Bad row.
#[derive(Debug, thiserror::Error)]
pub enum RowError {}
