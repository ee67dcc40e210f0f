//! What a data folder says of itself.
