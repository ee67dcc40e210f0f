//! What must hold of a simulated server, whatever its seed did to it.

use crate::chat::audit::{self, Finding};
use crate::store::Store;

/// Whatever crashed when, the rows of all shards agree.
pub(crate) fn audit<S: Store>(stores: &[&S]) {
    let mut report = |finding: Finding| panic!("{finding}");
    audit::run(stores, &mut report).expect("memory does not fail");
}
