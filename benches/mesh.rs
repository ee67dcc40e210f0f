//! Parcels between two shards, both ends on one thread: what they do, not how long one waits.

use crate::case::Case;
use crate::wire::{CONTENT_BYTES, ID, MOMENT_MS, id, user};
use anser::api::{ChatType, MessageType};
use anser::chat::event::{Letter, Relay, StreamPosition};
use anser::ids::ShardId;
use anser::metrics::message::Stamps;
use anser::node::mesh::{Mesh, Parcel, Post, bells, meshes};
use std::hint::black_box;

const OPERATIONS: u64 = 1024;
/// What one turn of a busy shard relays to another.
const RELAYS: u64 = 64;

/// What goes there and what comes back.
pub fn cases() -> Vec<Case> {
    vec![
        Case::repeated("mesh/relays", OPERATIONS, relays),
        Case::repeated("mesh/confirm", OPERATIONS, confirm),
    ]
}

/// A parcel of relays is posted and drained, and filled again for the next time.
fn relays() -> impl FnMut() {
    let ([mut sender, mut receiver], mut parcels) = (ends(), Vec::new());
    let mut kept: Option<Vec<Post>> = Some((1..=RELAYS).map(post).collect());
    move || {
        let posted = sender.post_relays(receiver.shard(), kept.take().expect("they came back"));
        assert!(posted.is_ok(), "there is room for one");
        sender.flush();
        receiver.drain(&mut parcels);
        let Some((ShardId(0), Parcel::Relays(relays))) = parcels.pop() else {
            panic!("what was posted is drained")
        };
        assert_eq!(relays.len() as u64, RELAYS);
        kept = Some(black_box(relays));
    }
}

fn confirm() -> impl FnMut() {
    let ([mut sender, mut receiver], mut parcels) = (ends(), Vec::new());
    let mut sequence = 0;
    move || {
        sequence += 1;
        sender.post(receiver.shard(), Parcel::Confirm(StreamPosition { epoch: 1, sequence }));
        sender.flush();
        receiver.drain(&mut parcels);
        assert!(matches!(black_box(parcels.pop()), Some((_, Parcel::Confirm(_)))));
    }
}

fn ends() -> [Mesh; 2] {
    let bells = bells(2).expect("two eventfds");
    meshes(&bells).try_into().ok().expect("one for each bell")
}

fn post(sequence: u64) -> Post {
    let letter = Letter {
        kind: MessageType::Text,
        from: user(1026),
        to: user(2051),
        team: None,
        event: None,
        id: id(ID + sequence as i64),
        timestamp_ms: MOMENT_MS,
        chat_type: ChatType::Single,
    };
    let relay = Relay {
        position: StreamPosition { epoch: 1, sequence },
        letter,
        ordinal: sequence,
        server_send_time_ms: MOMENT_MS,
        content: "x".repeat(CONTENT_BYTES).into(),
        name: None,
    };
    Post { relay, stamps: Some(Stamps::default()) }
}
