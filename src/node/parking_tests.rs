//! Parked events.
