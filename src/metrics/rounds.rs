//! What a shard does in a round, and the rounds that took it away for long.

figures! {
    /// A step of a shard's round.
    Step {
        Ring = "ring", "Handing requests to the kernel and taking what has completed.";
        Reap = "reap", "Noting what has completed, and moving the log on.";
        Exchange = "exchange", "Applying what other shards have sent.";
        Tick = "tick", "What is due ten times a second.";
        Decode = "decode", "Decoding requests and applying them.";
        Write = "write", "Handing the rows of a turn to the store.";
        Release = "release", "Putting what turns want done on connections and into the mesh.";
        Log = "log", "Asking for the next write to the log, or syncing a store without one.";
        Settle = "settle", "Sending, receiving, accepting and closing.";
    }
}

/// A round that took its shard away for longer than `limits::AWAY_MS_MAX`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AwayRound {
    /// When it began, ms since the Unix epoch.
    pub unix_ms: i64,
    /// How long it took, ns.
    pub nanos: u64,
    /// The step that took longest.
    pub doing: Step,
    /// How long that took, ns.
    pub doing_nanos: u64,
    /// How much of the round the thread waited for a core that somebody else had, ns: at most so
    /// much, for what it waited up to 0.1 s before may be among it.
    pub waited_nanos: u64,
}
