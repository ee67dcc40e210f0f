//! Rows read, changed and written out.

use super::*;

use crate::store::memory::MemoryStore;

#[test]
fn changed_users_and_chats_count_as_what_they_come_to() {
    let mut records = Records::new(MemoryStore::default());
    let user = UserId::FIRST;
    let name = Some("n".repeat(256).into());
    let recent = vec![rows::IdEntry { id: 5, seq: 6 }; rows::ID_BLOCK - 1];
    let sent = rows::IdsRow { recent, ..rows::IdsRow::default() };
    let received = sent.clone();
    records.add_user(user, UserRow { name, sent, received, ..UserRow::default() });
    let ranges = (0..256).map(|gap| (gap * 3 + 2, gap * 3 + 3)).collect();
    let marks = rows::MarksRow { up_to: 0, ranges };
    let row = ChatRow { acked: marks.clone(), peer_pushed: marks, ..ChatRow::default() };
    records.add_chat(user, user, row).expect("memory does not fail");
    for _ in 0..2 {
        let gathered = records.gathered_bytes();
        let written = records.write_out().expect("memory does not fail");
        assert!((written..written * 5 / 4).contains(&gathered), "{gathered}, {written}");
        assert_eq!(records.gathered_bytes(), 0);
        records.change_user(user).expect("he is there").listed += 1;
        let chat = records.change_chat(user, user).expect("memory does not fail");
        chat.expect("it is there").unread += 1;
    }
}

/// Invariants 1 and 2 of chat::records.
#[test]
fn however_often_a_user_changes_in_a_turn_his_row_is_written_once() {
    let mut records = Records::new(MemoryStore::default());
    let user = UserId::FIRST;
    records.add_user(user, UserRow::default());
    let once = records.write_out().expect("memory does not fail");
    for seq in 1..=50 {
        records.change_user(user).expect("he is there").last_seq = seq;
        assert_eq!(records.user(user).expect("he is there").last_seq, seq, "a read sees it");
    }
    assert_eq!(records.write_out().expect("memory does not fail"), once);
    assert_eq!(records.write_out().expect("memory does not fail"), 0);
    assert_eq!(records.store().written(), Position(2));
    let row = records.get::<UserRow>(&Key::user(user)).expect("memory does not fail");
    assert_eq!(row.map(|row| row.last_seq), Some(50));
}
