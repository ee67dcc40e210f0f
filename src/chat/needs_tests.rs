//! What requests lack.
