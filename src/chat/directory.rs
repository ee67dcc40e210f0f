//! STUB
use crate::ids::UserId;
/// Which users exist.
pub struct Directory {}
impl Directory {
    /// An empty directory.
    #[allow(clippy::new_without_default)]
    pub fn new() -> Directory {
        todo!()
    }
    /// The tenant of a registered user; `None`: nobody.
    pub fn tenant(&self, _user: UserId) -> Option<u32> {
        todo!()
    }
    /// The highest minted number (id / 1000) that any shard may have shown.
    pub fn shown(&self) -> u64 {
        todo!()
    }
    /// Raises it. The node calls this with `Shard`'s figure at the end of every turn, before effects leave.
    pub fn raise_shown(&self, _number: u64) {
        todo!()
    }
}
