//! Backups that are one file.

use super::*;

/// What the name of each file in a tar begins with.
fn is_head(bytes: &&[u8]) -> bool {
    *bytes == b"files/"
}

/// Files of a backup, and files that were copied for it.
fn counts(done: &Finished) -> (usize, usize) {
    let of = |before: &str| {
        let rest = done.said.split(before).nth(1).expect(before);
        rest.split(' ').next().expect("a word").parse().expect("a number")
    };
    (of("backup: "), of("copied "))
}

/// Holds invariants 1 and 2 of `backup`.
#[test]
fn a_backup_in_one_file_goes_on_where_it_was_and_takes_the_place_of_the_one_before() {
    let (server, bo, mut sent) = large();
    eventually("all is in tables", || (server.figure("anser_index_lag") == 0.0).then_some(()));
    let backup = Folder::new();
    let to = backup.path().join("backup.tar");
    let part = backup.path().join("backup.tar.part");
    let admin = server.admin.to_string();
    let mut command = Command::new(tools());
    command.args(["backup", "--rate", "1", "--admin", &admin, "--to", text(&to)]);
    let quiet = command.stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = quiet.spawn().expect("it was just built");
    // Where a second one begins the first is whole.
    let begun = || fs::read(&part).map_or(0, |part| part.windows(6).filter(is_head).count());
    eventually("a file that is copied", || (begun() >= 2).then_some(()));
    assert_eq!(how_it_ends(&mut child, Signal::KILL), None);
    let refused = run_tools(&["restore", "--from", text(&to), "--check"]);
    assert_eq!(refused.code, Some(1), "{}", refused.said);
    let again = || run_tools(&["backup", "--admin", &admin, "--to", text(&to)]);
    let done = again();
    assert_eq!(done.code, Some(0), "{}", done.said);
    let (all, copied) = counts(&done);
    assert!(copied < all, "what was there is not copied again: {}", done.said);
    assert!(!part.exists());

    let world = World::on(&server, TENANT);
    let anna = world.offline(bo)[0].int("fromUserId");
    sent.push(world.connect(anna).send(bo, "later"));
    assert_eq!(again().code, Some(0));
    let restored = Setup::shards(2).start_in(restore(&to));
    assert_eq!(ids(&World::on(&restored, TENANT).offline(bo)), sent);

    for part in [2, 3, 4] {
        let whole = fs::read(&to).expect("it is there");
        let mut bytes = whole.clone();
        bytes[whole.len() / part] ^= 1;
        fs::write(&to, bytes).expect("it is ours");
        let data = Folder::new().data();
        let refused = run_tools(&["restore", "--from", text(&to), "--data-dir", text(&data)]);
        assert_eq!(refused.code, Some(1), "{}", refused.said);
        assert!(refused.said.contains("damaged"), "{refused:?}");
        assert!(!data.exists(), "nothing is written");
        fs::write(&to, whole).expect("it is ours");
    }
}
