//! The rules, tried on one or two shards in memory.
