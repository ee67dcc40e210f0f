//! Every bound of the server: its unit, its reason, and what happens when it is reached.
//!
//! A queue, buffer, loop, batch or retry without a bound here is a bug. Relations between bounds
//! are asserted at compile time at the end of the file.

/// Bytes of an HTTP request's head. Beyond: 431 and the connection closes.
pub const HEAD_BYTES_MAX: usize = 16 * 1024;
/// Header lines of one HTTP request. Beyond: 431 and the connection closes.
pub const HEADERS_MAX: usize = 64;
/// Bytes of an HTTP body, chunked or not. Beyond: 413 and the connection closes.
pub const BODY_BYTES_MAX: usize = 1024 * 1024;
/// Payload bytes of a WebSocket message, whole or reassembled. Beyond: close 1009.
pub const FRAME_BYTES_MAX: usize = 64 * 1024;
/// Bytes of `company`, `app`, `thirdUserId` and `name` each: they are parts of keys and rows.
/// Beyond: the request is refused.
pub const NAME_BYTES_MAX: usize = 256;
/// Ids in one `srcIds`. A frame holds no more than this many 19-digit ids. Beyond: refused.
pub const ACK_IDS_MAX: usize = 4096;
/// JSON values of one frame or body: bounds the decoder's tape. Beyond: refused.
pub const JSON_VALUES_MAX: usize = 16 * 1024;
/// Nesting of a frame or body. Beyond: refused.
pub const JSON_DEPTH_MAX: usize = 32;

/// Frames that a session holds before its Auth. Beyond: close 4408.
pub const HELD_FRAMES_MAX: usize = 64;
/// Bytes that a session holds before its Auth. Beyond: close 4408.
pub const HELD_BYTES_MAX: usize = 64 * 1024;
/// Time from accept to a finished Auth, or to a whole HTTP request. Beyond: close 4408, or 408.
pub const UNAUTHENTICATED_MS_MAX: u64 = 10_000;
/// Silence on a connection. Beyond: it is closed.
pub const IDLE_MS_MAX: u64 = 90_000;
/// Silence after which the server sends a Ping, so that a live peer is never cut.
pub const PING_AFTER_MS: u64 = 45_000;
/// Refused frames in a row. At this count: close 1008.
pub const REFUSED_FRAMES_MAX: u32 = 20;
/// Time a closing connection has to take its last bytes and close its side. Beyond: it is cut.
pub const CLOSING_MS_MAX: u64 = 5_000;

/// Bytes waiting to be sent on one connection. Beyond: it is closed (1013).
pub const UNSENT_BYTES_MAX: usize = 1024 * 1024;
/// Bytes received but not decoded on one connection, while its last answer is awaited. At this
/// count its socket is not read until the answer is there: the peer's window fills.
pub const WINDOW_BYTES_MAX: usize = BODY_BYTES_MAX + 2 * HEAD_BYTES_MAX;
/// Receive buffers with bytes of one connection that wait to be decoded. Beyond: its socket is not
/// read until there are fewer, so that whoever floods waits for himself and not others for him.
pub const WAITING_BUFFERS_MAX: u32 = 16;
/// Connections that one user may hold. The next one closes the oldest (4409).
pub const CONNECTIONS_PER_USER_MAX: usize = 16;
/// Connections one shard holds. At this count accepting pauses until one closes.
pub const CONNECTIONS_PER_SHARD_MAX: usize = 4_000_000;
/// Bytes held before Auth by a whole shard. Beyond: the largest holder is closed (1013).
pub const SHARD_HELD_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Bytes unsent by a whole shard. Beyond: the largest holder is closed (1013).
pub const SHARD_UNSENT_BYTES_MAX: usize = 256 * 1024 * 1024;
/// Bytes of unfinished requests in a whole shard. Beyond: the largest holder is answered 503.
pub const SHARD_BODY_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Payload bytes of a WebSocket message that `conformance-echo` sends back. Beyond: close 1009.
pub const ECHO_MESSAGE_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Bytes waiting to be sent on one connection of it. From here on nothing more is decoded until all
/// of them have left: the peer's window fills.
pub const ECHO_UNSENT_BYTES: usize = 1024 * 1024;
/// Bytes that all of its connections have gathered of unfinished messages. Beyond: the largest
/// holder is closed (1013).
pub const ECHO_HELD_BYTES_MAX: usize = 256 * 1024 * 1024;
/// Bytes that all of its connections have unsent. Beyond: the largest holder is closed (1013).
pub const ECHO_TOTAL_UNSENT_BYTES_MAX: usize = 256 * 1024 * 1024;

/// Messages and requests that one turn takes up before its rows are written.
pub const TURN_REQUESTS_MAX: usize = 1024;
/// Bytes of row changes that one turn gathers before its rows are written.
pub const TURN_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Parcels waiting in one direction between two shards. Full: streams read on from their outbox
/// later, other senders keep theirs and try again.
pub const MESH_PARCELS_MAX: usize = 1024;
/// Relays in one parcel.
pub const PARCEL_RELAYS_MAX: usize = 256;
/// Relays of one stream posted but not confirmed. At this count the stream waits.
pub const UNCONFIRMED_RELAYS_MAX: u64 = 64 * 1024;
/// Parts of lists that are made and wait for the disk, of [`LIST_PART_BYTES`] each, of one shard.
/// Beyond: others are made when these have left.
pub const HELD_PARTS_MAX: usize = 256;
/// HTTP requests of other shards that one shard holds. Beyond: 503.
pub const FORWARDED_MAX: usize = 16 * 1024;

/// Acks and pushes on their way to the kernel whose time one shard takes: 10 MiB. Beyond: theirs is
/// not taken, and they are counted.
pub const FOLLOWED_MAX: usize = 64 * 1024;
/// Relays that wait to be read from an outbox and whose time goes on, for each destination. Beyond:
/// it is not taken, and they are counted.
pub const LATE_RELAYS_MAX: usize = 16 * 1024;
/// A round of a shard that takes longer, ms, is looked into: what it was doing is named.
pub const AWAY_MS_MAX: u64 = 2;
/// Such rounds that a shard remembers. Beyond: the oldest is forgotten.
pub const AWAY_ROUNDS_MAX: usize = 64;

/// Messages that one `upTo` acks in one turn. The rest follows, as many each tick.
pub const ACKS_PER_STEP_MAX: usize = 4096;
/// Large acks that wait to go on. Beyond: the rest of the newest is forgotten, and what it named
/// is offered again.
pub const CHORES_MAX: usize = 1024;
/// How long what is set aside for a user whose rows cannot be read waits for another try, ms.
pub const ASIDE_EVERY_MS: u64 = 60_000;
/// Messages set aside that one tick takes up again. The rest follows with the next.
pub const ASIDE_PER_STEP_MAX: usize = 256;
/// Messages looked at for redelivery in one tick. The rest follows with the next.
pub const REDELIVERIES_PER_STEP_MAX: usize = 8192;
/// How long a pushed message may stay unacked before it is pushed again.
pub const REDELIVER_AFTER_MS: u64 = 60_000;
/// How often a message is pushed again.
pub const REDELIVERIES_MAX: u8 = 5;
/// Pushed messages that a shard remembers for redelivery. Beyond: the oldest is not pushed again
/// (it stays in the offline list).
pub const AWAITED_ACKS_MAX: usize = 1024 * 1024;
/// Pushed messages whose places a shard remembers, so that their acks need no look into the id
/// index. Beyond: the index is asked.
pub const EXPECTED_ACKS: usize = 64 * 1024;
/// How long a change of what a peer may see (pushed, acked, read) waits for others to go with.
pub const MARKS_EVERY_MS: u64 = 200;
/// Chats whose marks one step sends to their peers. The rest goes with the next.
pub const MARKS_PER_STEP_MAX: usize = 4096;
/// Gaps that the marks of one chat remember exactly. Beyond: a message above the last gap may
/// show an earlier state than it has until the chat is acked whole.
pub const MARK_GAPS_MAX: usize = 256;

/// Entries of one chat list. Beyond: the oldest leaves the list (its messages stay).
pub const CHATS_MAX: u32 = 10_000;
/// Entries above [`CHATS_MAX`] that a list may hold before the oldest of them leave together.
pub const CHATS_SLACK: u32 = 256;
/// `pageSize`. Beyond: refused.
pub const PAGE_SIZE_MAX: u16 = 200;
/// Messages of one offline answer. Beyond: refused.
pub const OFFLINE_LIMIT_MAX: u32 = 10_000;
/// Rows of an offline list that are looked up at once.
pub const OFFLINE_STEP_ROWS: usize = 128;
/// Bytes of a list that are made at once; the rest follows when these have left.
pub const LIST_PART_BYTES: usize = 64 * 1024;
/// Users whose offline list was given only in part, remembered to be told again. Beyond: the
/// oldest is forgotten (he is told at his next Auth).
pub const NOTICES_MAX: usize = 16 * 1024;
/// `count` of `/im/message/get/id`. Beyond: refused.
pub const MINT_COUNT_MAX: u16 = 1000;
/// How far minted ids may run ahead of the clock, ms. Beyond: 429.
pub const MINT_AHEAD_MS_MAX: u64 = 10_000;
/// How far the bound of ids that is on disk runs ahead of the ids shown, ms.
pub const MINT_BOUND_MS: u64 = 2_000;

/// Files of tables and contents that one shard's store keeps open. Beyond: the one unused for
/// longest is closed. Few, because descriptors belong to connections.
pub const STORE_FILES_MAX: usize = 64;
/// New tables that are merged with each other at once.
pub const STORE_MERGED_TABLES: usize = 12;
/// Runs of those that are merged with each other at once.
pub const STORE_MERGED_RUNS: usize = 12;
/// Runs of one level. Beyond: nothing is merged into it until its own are.
pub const STORE_RUNS_MAX: usize = 64;
/// Marks of removal for which a merge down to the last level is worth its while, where they are a
/// quarter of all rows: then the store is small, and so is the merge.
pub const STORE_MARKS_MIN: u64 = 64;
/// New tables that compaction has not merged. From this count on they are made only as fast as they
/// are merged: senders slow down instead of standing still.
pub const STORE_NEW_TABLES_CALM: usize = 32;
/// At this count no other is made: the LSM counts them in a byte.
pub const STORE_NEW_TABLES_MAX: usize = 96;
/// The longest that the next table waits for compaction before that, ms.
pub const STORE_TABLE_MS_MAX: u64 = 1_500;
/// How often linking a store begins anew because compaction has changed its list of tables. Beyond:
/// the cut fails, and the next backup makes another.
pub const LINK_TRIES_MAX: usize = 1_000;
/// Cuts of a data folder that are kept. Beyond: the oldest is removed, and a backup that still
/// copies it ends and says so.
pub const CUTS_MAX: usize = 2;
/// How long whoever asks for a cut waits for it, ms. Beyond: 503; it is finished all the same.
pub const CUT_MS_MAX: u64 = 60_000;

/// Bytes of a segment of a shard's commit log. When it is full the next one is begun.
pub const SEGMENT_BYTES: u64 = 64 * 1024 * 1024;
/// Bytes of the first segment of a new folder: made quickly, so that the first start is quick.
pub const FIRST_SEGMENT_BYTES: u64 = 32 * 1024 * 1024;
/// Segments of one shard. At this count appending waits until the LSM has synced what the oldest
/// holds.
pub const LOG_SEGMENTS_MAX: usize = 16;
/// Another segment is made when none is free and this part of the one being filled is used: 1/n.
pub const SEGMENT_SPARE_PARTS: u64 = 8;
/// Bytes of records that wait for the write in flight. At this count no request is taken up until
/// they are on their way; the turn that reaches it may exceed it.
pub const LOG_WAITING_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Bytes of a write to the log for which there is memory from the start.
pub const LOG_READY_BYTES: usize = 1024 * 1024;
/// The longest that the disk rests after a write to the log, while more is gathered.
pub const LOG_REST_MS_MAX: u64 = 1;
/// Bytes of records that are written at once, however little the disk has rested.
pub const LOG_GATHER_BYTES: usize = 64 * 1024;
/// How often the room on the disk is looked at.
pub const DISK_LOOK_MS: u64 = 1_000;
/// The reserve of room on a disk is at most one part of so many.
pub const DISK_RESERVE_PARTS: u64 = 8;
/// Room that there must be beside what is about to be written: tables are a little larger than
/// their rows, and lists of tables must be written, too.
pub const DISK_MARGIN_BYTES: u64 = 16 * 1024 * 1024;
/// Messages that retention keeps of each history at least.
pub const RETAINED_MESSAGES_MIN: u64 = 100;
/// Days that retention keeps at most: a century.
pub const RETAINED_DAYS_MAX: u32 = 36_500;
/// Messages that one event forgets. If there are more its user is looked at again.
pub const FORGET_STEP: u64 = PACK_ROWS;
/// Messages put into a history between two looks at whether some are to be forgotten.
pub const FORGET_EACH: u64 = 8;
/// Users who wait to be looked at. Beyond: the next sweep finds them.
pub const FORGET_DUE_MAX: usize = 4 * 1024;
/// Time in which every user is looked at, ms.
pub const FORGET_SWEEP_MS: u64 = 60 * 60 * 1000;
/// Users that a sweep looks at in each tick.
pub const FORGET_TICK_USERS: usize = 64;
/// Users looked at in each turn at least; for each four requests of it another.
pub const FORGET_TURN_USERS: usize = 16;
/// How often a merge that found no room looks again, ms.
pub const MERGE_RETRY_MS: u64 = 10_000;
/// Room without which compaction waits.
pub const MERGE_ROOM_BYTES: u64 = 64 * 1024 * 1024;
/// How long a table or segment for which there was no room waits until it is tried again.
pub const DISK_RETRY_MS: u64 = 1_000;
/// Bytes of a chunk of the overlay at which it is sealed and goes to the LSM.
pub const CHUNK_BYTES: usize = 8 * 1024 * 1024;
/// Bytes of row changes, replaced ones included, at which a chunk is sealed though its rows are
/// few: no chunk keeps more than two segments of the log from being used again.
pub const CHUNK_LOG_BYTES: usize = 32 * 1024 * 1024;
/// Age at which a chunk is sealed though it is small. Reads look into each chunk: there should be
/// few.
pub const CHUNK_MS: u64 = 1_000;
/// Bytes of one shard's rows that are not yet in the LSM, as far as memory holds them. At this
/// count no request is taken up until the indexer has caught up.
pub const OVERLAY_BYTES_MAX: usize = 128 * 1024 * 1024;
/// How long requests wait at most, at once, because tables are made more slowly than rows come.
pub const ADMISSION_WAIT_MS_MAX: u64 = 10;
/// Emptied chunks whose memory is kept for the next, while rows come fast.
pub const SPARE_CHUNKS_MAX: usize = OVERLAY_BYTES_MAX / CHUNK_BYTES;
/// Seconds in which rows come slowly and a spare chunk is not needed until it is given back.
pub const SPARE_CHUNK_SECONDS: u32 = 10;
/// Empty chunks that are ready before the next is needed. While the first table of a load is made
/// more may be; then there are as many as it needs.
pub const SPARE_CHUNKS_AHEAD: usize = 1;
/// A disk that keeps a shard waiting for longer is slow: it is in trouble, or has too much to do.
pub const DISK_SLOW_MS: u64 = 1_000;
/// How long it counts as slow afterwards: the next write may be as slow, and whoever looks every
/// quarter of a minute should see it.
pub const DISK_SLOW_SHOWN_MS: u64 = 15_000;
/// Time after which what was written to the log is on disk in async mode.
pub const LOG_SYNC_MS: u64 = 100;
/// Bytes that go into tables of the LSM until they are handed to the disk, and whoever writes them
/// looks whether to wait.
pub const BRAKE_STEP_BYTES: usize = 128 * 1024;
/// Bytes a second that go into tables while there is time: little enough that a write to the
/// commit log hardly waits for them.
pub const TABLE_BYTES_PER_SECOND: u64 = 64 * 1024 * 1024;
/// Bytes a second that a lane merges though fewer come.
pub const MERGE_BYTES_PER_SECOND: u64 = 8 * 1024 * 1024;
/// Bytes by which a file that nobody needs becomes shorter at once.
pub const GIVEN_BACK_STEP_BYTES: u64 = 1024 * 1024;
/// Bytes of such files a second, while there are few.
pub const GIVEN_BACK_BYTES_PER_SECOND: u64 = 64 * 1024 * 1024;
/// In about that time all that waits is given back, however much it is.
pub const GIVEN_BACK_MS_MAX: u64 = 60_000;
/// The longest that a writer of tables waits at once.
pub const PACE_AHEAD_MS_MAX: u64 = 50;
/// The longest that compaction waits for a store to be opened. Then it goes on beside it.
pub const OPENING_MS_MAX: u64 = 10_000;
/// Tables that are watched while they are written: more than are written at once. Beyond: the one
/// that has not grown for the longest time is left to its own sync.
pub const YOUNG_TABLES_MAX: usize = 8;
/// Looks in a row that find no new file, after which the newest number is asked for: of contents
/// some are left out.
pub const YOUNG_BLIND_LOOKS: u32 = 64;
/// Bytes that go into tables until new ones are looked for: the first of a table's pieces are
/// handed to the disk that late.
pub const YOUNG_LOOK_BYTES: usize = 8 * BRAKE_STEP_BYTES;
/// Neighbouring rows of one owner that share a row of a table.
pub const PACK_ROWS: u64 = 16;
/// Bytes of them at most, but for one that is larger alone: who reads one row reads all of them.
pub const PACK_BYTES: usize = 16 * 1024;
/// Bytes of a value that may lie apart from its table. A store keeps the bound it was made with.
pub const APART_BYTES: u32 = 1024;
/// Bytes that a table is made of from which on such values lie apart from it, in a file of its own.
pub const APART_TABLE_BYTES: usize = INDEX_BYTES / 2;
/// Bytes of a row in a table whose value lies apart, but for its key.
pub const PLACE_BYTES: usize = 16;
/// Bytes of stale contents for which a merge of all that is old is worth its while.
pub const STORE_STALE_MIN_BYTES: u64 = 1024 * 1024;
/// Bytes of chunks that become one table of the LSM.
pub const INDEX_BYTES: usize = 32 * 1024 * 1024;
/// Age of a chunk at which a table is made though it is small. Memory and the log hold its rows
/// meanwhile, and a restart replays as much.
pub const INDEX_MS: u64 = 3_000;

/// How long rows that were fetched from a slow disk count as being in memory, at least.
pub const WARM_MS: u64 = 60_000;
/// Rows, and groups of rows, of which a shard remembers that they were fetched: 256 KiB. Beyond: an
/// older one is forgotten, and fetched again when it is needed.
pub const WARM_PLACES: usize = 64 * 1024;
/// Rows, and groups of rows, that an event waits for at once. It waits for the rest after these.
pub const NEEDS_MAX: usize = 512;
/// Of these, how many one event has under way: others wait for the disk beside it.
pub const NEEDS_UNDER_WAY_MAX: usize = 4;
/// How often an event waits for rows. Beyond: it reads for itself, and the shard waits.
pub const NEEDS_STAGES_MAX: u8 = 64;
/// Events of a shard that wait for rows, of a frame or request each. Beyond: they read for
/// themselves, and the shard waits.
pub const PARKED_MAX: usize = 1024;
/// Items of a list in one part, whose rows are seen to before it is given.
pub const LIST_AHEAD: u32 = 256;
/// Threads that fetch rows for each shard.
pub const READERS: usize = 2;
/// A read that takes so long, ns, while its thread has a core, has waited for a slow disk: 5 ms.
pub const SLOW_READ_NS: u64 = 5_000_000;
/// So many reads in a row that were quick make a disk trusted.
pub const QUICK_READS: u32 = 1024;

/// Users whose header a shard keeps in memory though none of their devices is connected.
pub const CACHED_USERS_MAX: usize = 64 * 1024;
/// Chats a shard keeps in memory.
pub const CACHED_CHATS_MAX: usize = 128 * 1024;
/// Bytes of rows that a reshard holds for all new shards, before they become a table each: few
/// tables, and little memory.
pub const RESHARD_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Shards of one server.
pub const SHARDS_MAX: u16 = 256;
/// Time that draining may take before the process exits all the same.
pub const DRAIN_MS_MAX: u64 = 8_000;
/// How long accepting pauses when there are no descriptors left for connections.
pub const ACCEPT_PAUSE_MS: u64 = 20;
/// How long it is not said again that accepting pauses.
pub const ACCEPT_SAID_MS: u64 = 60_000;
/// Connections that may come in by one listening socket before a shard looks whether they may.
pub const ACCEPTS_AT_ONCE: u32 = 16;
/// Descriptors that connections leave to a server: rings, listeners, operators.
pub const FILES_KEPT: u64 = 64;
/// Those that they leave to each shard: the files of its log, tables that are read and merged, and
/// connections that come in at once. At this point connections wait to be accepted.
pub const FILES_KEPT_PER_SHARD: u64 = 192;
/// Of few descriptors connections leave at most one part of so many.
pub const FILES_KEPT_PARTS: u64 = 2;

const _: () = {
    assert!(HELD_BYTES_MAX >= FRAME_BYTES_MAX, "a held frame may be as large as any");
    assert!(UNSENT_BYTES_MAX > 8 * FRAME_BYTES_MAX, "a burst of large frames is no slow reader");
    assert!(SHARD_UNSENT_BYTES_MAX > UNSENT_BYTES_MAX, "one connection cannot use up the total");
    assert!(SHARD_BODY_BYTES_MAX > WINDOW_BYTES_MAX, "one connection cannot use up the total");
    assert!(SHARD_HELD_BYTES_MAX > HELD_BYTES_MAX, "one connection cannot use up the total");
    assert!(ECHO_HELD_BYTES_MAX > ECHO_MESSAGE_BYTES_MAX, "one message cannot use up the total");
    assert!(
        ECHO_TOTAL_UNSENT_BYTES_MAX > ECHO_UNSENT_BYTES + ECHO_MESSAGE_BYTES_MAX,
        "one connection cannot use up the total"
    );
    assert!(ACK_IDS_MAX * 20 > FRAME_BYTES_MAX, "the frame's limit is reached first");
    assert!(PING_AFTER_MS * 2 <= IDLE_MS_MAX, "a ping is answered before silence is judged");
    assert!(MINT_BOUND_MS < MINT_AHEAD_MS_MAX, "the bound on disk is within what is allowed");
    assert!(TURN_BYTES_MAX > 16 * FRAME_BYTES_MAX, "a turn holds many large messages");
    assert!(PARKED_MAX * FRAME_BYTES_MAX <= SHARD_BODY_BYTES_MAX, "parked requests are bounded");
    assert!(EXPECTED_ACKS.is_power_of_two(), "a place is some bits of a hash");
    assert!(INDEX_BYTES > 4 * TURN_BYTES_MAX, "a table holds many turns");
    assert!(OVERLAY_BYTES_MAX >= 3 * INDEX_BYTES, "chunks are gathered while a table is made");
    assert!(
        FIRST_SEGMENT_BYTES as usize > LOG_WAITING_BYTES_MAX + TURN_BYTES_MAX + BODY_BYTES_MAX,
        "a segment holds what waits, and a turn that ends with the largest request"
    );
    assert!(OVERLAY_BYTES_MAX >= 8 * CHUNK_BYTES, "a chunk can be indexed while others fill");
    assert!(CHUNK_LOG_BYTES as u64 <= SEGMENT_BYTES / 2, "a chunk holds few segments");
    assert!(CHUNK_BYTES + TURN_BYTES_MAX <= 16 << 20, "a chunk is no larger than 16 MiB");
    assert!(
        LOG_SEGMENTS_MAX as u64 * SEGMENT_BYTES > 4 * OVERLAY_BYTES_MAX as u64,
        "the overlay is full before the segments are used up"
    );
    assert!(LIST_PART_BYTES < UNSENT_BYTES_MAX, "a part of a list is no slow reader");
    assert!(
        FILES_KEPT_PER_SHARD as usize
            > 2 * STORE_FILES_MAX + LOG_SEGMENTS_MAX + 2 * ACCEPTS_AT_ONCE as usize,
        "as many tables can be merged as are kept open for reading"
    );
};
