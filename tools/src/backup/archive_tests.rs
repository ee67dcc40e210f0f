//! Backups in one file: whole, broken off, damaged and of somebody else.

use super::super::fixture::{Temporary, inventory, listed};
use super::super::keep::open_to_read;
use super::*;

const SIZES: [usize; 9] = [0, 1, 511, 512, 513, 70_000, 2, 1_024, 1_025];

/// Files of all sizes about that of a block.
fn files(count: u8) -> Vec<(Listed, Vec<u8>)> {
    let bytes = |number: u8| vec![number; SIZES[usize::from(number)]];
    (0..count).map(|number| (listed(&bytes(number)), bytes(number))).collect()
}

/// Takes files as far as they are not there. Returns how many it took.
fn fill(keep: &mut Archive, beside: &Temporary, files: &[(Listed, Vec<u8>)]) -> usize {
    let mut progress = Progress::new("", 0, 0);
    let mut taken = 0;
    for (file, bytes) in files {
        if !keep.has(file, false).expect("temporary") {
            let from = beside.put("source", bytes);
            let found = keep.take(&from, file, &mut progress).expect("it can be read");
            assert_eq!(found, (file.bytes, file.checksum));
            taken += 1;
        }
    }
    taken
}

fn list_of(files: &[(Listed, Vec<u8>)]) -> Inventory {
    inventory(files.iter().map(|(file, _)| file.clone()).collect())
}

#[track_caller]
fn is_whole(to: &Path, files: &[(Listed, Vec<u8>)]) {
    let (kept, list) = open_to_read(to).expect("it is finished");
    assert_eq!(list, list_of(files));
    for (file, bytes) in files {
        let mut read = Vec::new();
        let mut source = kept.open(file.checksum).expect("it is there");
        source.bytes.read_to_end(&mut read).expect("it can be read");
        assert_eq!(&read, bytes);
    }
}

/// Holds invariant 1 of `backup::archive`.
#[test]
fn the_backup_before_counts_until_the_next_is_whole() {
    let folder = Temporary::new("tar-before");
    let to = folder.path().join("backup.tar");
    let (first, second) = (files(6), files(9));
    let mut keep = Archive::open(&to).expect("it is new");
    assert!(keep.list().expect("none").is_none());
    fill(&mut keep, &folder, &first);
    assert!(!to.exists());
    keep.finish(&list_of(&first)).expect("there is room");
    drop(keep);
    is_whole(&to, &first);
    let mut keep = Archive::open(&to).expect("it is ours");
    assert_eq!(keep.list().expect("it is whole"), Some(list_of(&first)));
    assert_eq!(fill(&mut keep, &folder, &second), second.len());
    is_whole(&to, &first);
    keep.finish(&list_of(&second)).expect("there is room");
    drop(keep);
    is_whole(&to, &second);
    assert!(!unfinished(&to).exists());
}

/// Holds invariant 2 of `backup::archive`.
#[test]
fn what_was_broken_off_anywhere_goes_on_with_what_is_whole() {
    let folder = Temporary::new("tar-broken");
    let to = folder.path().join("backup.tar");
    let files = files(6);
    let mut keep = Archive::open(&to).expect("it is new");
    fill(&mut keep, &folder, &files);
    let ends: Vec<u64> = keep.files.values().map(|place| place.end()).collect();
    // Also what has its list, and not yet its name.
    keep.write_list(&list_of(&files)).expect("there is room");
    drop(keep);
    let part = fs::read(unfinished(&to)).expect("it is there");
    for cut in (0..part.len()).step_by(173).chain([part.len()]) {
        fs::write(unfinished(&to), &part[..cut]).expect("temporary");
        let mut keep = Archive::open(&to).expect("it is ours");
        let bytes_end = |end: &&u64| **end <= (cut as u64).next_multiple_of(BLOCK);
        let kept = ends.iter().filter(bytes_end).count();
        let taken = fill(&mut keep, &folder, &files);
        // The last may lack some of the zeros that fill its block, and nothing else.
        assert!(
            (files.len() - kept..=files.len() - kept + 1).contains(&taken),
            "cut at {cut}: {taken} taken"
        );
        keep.finish(&list_of(&files)).expect("there is room");
        drop(keep);
        is_whole(&to, &files);
    }
    let mut changed = part.clone();
    changed[ends[2] as usize + BLOCK as usize] ^= 1;
    fs::write(unfinished(&to), changed).expect("temporary");
    let mut keep = Archive::open(&to).expect("it is ours");
    assert!(fill(&mut keep, &folder, &files) > 0, "a damaged file is copied anew");
    keep.finish(&list_of(&files)).expect("there is room");
    is_whole(&to, &files);
}

#[test]
fn a_part_most_of_which_is_not_needed_is_begun_anew() {
    let folder = Temporary::new("tar-stale");
    let to = folder.path().join("backup.tar");
    let files = files(6);
    let largest = files.iter().position(|(file, _)| file.bytes == 70_000).expect("there is one");
    for (needed, expected) in [(&files[largest..], files.len()), (&files[..largest], 0)] {
        let mut keep = Archive::open(&to).expect("it is new");
        fill(&mut keep, &folder, &files);
        keep.begin(&list_of(needed)).expect("temporary");
        assert_eq!(keep.files.len(), expected, "{needed:?}");
        fill(&mut keep, &folder, needed);
        keep.finish(&list_of(needed)).expect("there is room");
        drop(keep);
        is_whole(&to, needed);
        fs::remove_file(&to).expect("it is ours");
    }
}

#[test]
fn a_file_that_is_another_than_was_listed_is_not_kept() {
    let folder = Temporary::new("tar-other");
    let to = folder.path().join("backup.tar");
    let files = files(6);
    let mut keep = Archive::open(&to).expect("it is new");
    for wrong in [&b"short"[..], &[9; 100_000]] {
        let from = folder.put("source", wrong);
        let found = keep.take(&from, &files[2].0, &mut Progress::new("", 0, 0));
        assert_ne!(found.expect("it can be read").1, files[2].0.checksum);
        assert!(!keep.has(&files[2].0, false).expect("temporary"));
    }
    fill(&mut keep, &folder, &files);
    keep.finish(&list_of(&files)).expect("there is room");
    is_whole(&to, &files);
}

/// Holds invariant 3 of `backup::archive`.
#[test]
fn a_file_of_somebody_else_and_one_in_use_are_refused() {
    let folder = Temporary::new("tar-foreign");
    let to = folder.path().join("backup.tar");
    let keep = Archive::open(&to).expect("it is new");
    let refused = Archive::open(&to).err().expect("in use").to_string();
    assert!(refused.contains("another backup"), "{refused}");
    drop(keep);
    Archive::open(&to).expect("it is free again");
    for (name, text) in [("backup.tar.part", "mine"), ("backup.tar", "mine, too")] {
        let path = folder.put(name, text.as_bytes());
        let refused = Archive::open(&to).err().expect("foreign").to_string();
        assert!(refused.contains("left as it is"), "{refused}");
        assert_eq!(fs::read_to_string(path).expect("it is there"), text);
    }
    let refused = open_to_read(&to).err().expect("foreign").to_string();
    assert!(refused.contains("it is no backup"), "{refused}");
}

/// Holds invariant 4 of `backup::archive`.
#[test]
fn unpacked_it_is_a_backup_folder() {
    let folder = Temporary::new("tar-unpacked");
    let to = folder.path().join("backup.tar");
    let files = files(6);
    let mut keep = Archive::open(&to).expect("it is new");
    fill(&mut keep, &folder, &files);
    keep.finish(&list_of(&files)).expect("there is room");
    let unpacked = folder.path().join("unpacked");
    tar::Archive::new(File::open(&to).expect("it is there")).unpack(&unpacked).expect("a tar");
    is_whole(&unpacked, &files);
    // Somebody packs it again.
    let again = folder.path().join("again.tar");
    let mut packer = tar::Builder::new(File::create(&again).expect("temporary"));
    packer.append_dir_all(".", &unpacked).expect("temporary");
    packer.into_inner().expect("temporary");
    is_whole(&again, &files);
}

#[test]
fn a_file_that_is_damaged_is_told_from_one_that_is_no_backup() {
    let folder = Temporary::new("tar-damaged");
    let to = folder.path().join("backup.tar");
    let files = files(6);
    let mut keep = Archive::open(&to).expect("it is new");
    fill(&mut keep, &folder, &files);
    keep.finish(&list_of(&files)).expect("there is room");
    drop(keep);
    let whole = fs::read(&to).expect("it is there");
    for cut in [whole.len() - LAST.len() - BLOCK as usize, whole.len() / 2, BLOCK as usize] {
        fs::write(&to, &whole[..cut]).expect("temporary");
        let refused = open_to_read(&to).err().expect("it is cut off");
        assert!(format!("{refused:#}").contains("damaged"), "{refused:#}");
        Archive::open(&to)
            .expect("it is ours")
            .list()
            .expect_err("another takes its place if told");
    }
}
