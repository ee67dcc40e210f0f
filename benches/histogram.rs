//! What is noted of each message for `/metrics`.

use crate::case::Case;
use anser::metrics::{Counter, Histogram, ShardMetrics};
use std::hint::black_box;

const OPERATIONS: u64 = 4096;

/// A duration, and a count.
pub fn cases() -> Vec<Case> {
    vec![
        Case::repeated("histogram/record", OPERATIONS, record),
        Case::repeated("histogram/count", OPERATIONS, count),
    ]
}

/// Durations from nothing to a second, ns.
fn record() -> impl FnMut() {
    let (histogram, mut nanos) = (Histogram::default(), 1_u64);
    move || {
        nanos = nanos * 3 % 1_000_000_007;
        black_box(&histogram).record(nanos);
    }
}

fn count() -> impl FnMut() {
    let metrics = ShardMetrics::default();
    move || black_box(&metrics).count(Counter::Sent, 1)
}
