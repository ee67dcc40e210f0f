//! Whole conversations: HTTP, the upgrade, Auth, messages, with the real rules behind them; the
//! contract, told in the plainest way, is the oracle.

use crate::fuzz::case::{Target, Trail, Wrong, dice_of, hold, one_of, shown};
use crate::fuzz::naive::chat::Chat;
use crate::fuzz::naive::frames::masked;
use crate::fuzz::naive::http::{Expected, read};
use crate::fuzz::peer::{Conversation, Heard, Peer, UPGRADE, note, same_however_cut};
use crate::fuzz::server::{Kept, Server, Tampering};
use crate::fuzz::targets::frames::{reframe, some_frames};
use crate::fuzz::targets::http::{check_answers, request};
use crate::fuzz::targets::json::WORDS;
use anser::ids::UserId;
use anser::sim::prng::Prng;

/// Messages of a history that are looked at.
const HISTORY_MAX: usize = 200;

/// The target.
pub struct Session {
    /// What happens to requests on their way to the rules.
    pub tampering: Tampering,
}

impl Default for Session {
    fn default() -> Session {
        Session { tampering: |request| request }
    }
}

impl Session {
    fn talk(&self, pieces: &[&[u8]]) -> Result<(Conversation, Vec<Kept>, Server), Wrong> {
        let (mut server, mut peer) = (Server::new(self.tampering), Peer::new());
        for piece in pieces {
            peer.give(piece, &mut server)?;
        }
        let history = peer.session().user().map_or(Vec::new(), |user| server.history(user));
        Ok((peer.conversation, history, server))
    }
}

impl Target for Session {
    fn name(&self) -> &'static str {
        "session"
    }

    fn words(&self) -> &'static [&'static str] {
        WORDS
    }

    fn make(&self, prng: &mut Prng) -> Vec<u8> {
        conversation(prng)
    }

    fn mend(&self, case: &mut Vec<u8>, prng: &mut Prng) {
        let from = frames_of(case).unwrap_or(case.len());
        reframe(case, from, prng);
    }

    fn run(&self, case: &[u8], trail: &mut Trail) -> Result<(), Wrong> {
        let (whole, history, server) = self.talk(&[case])?;
        note(&whole, trail);
        let words = || format!("{}: {:?}", shown(case), whole.heard);
        check(case, &whole, &history, &server).map_err(|rule| Wrong::new(rule, words()))?;
        let mut prng = dice_of(case);
        same_however_cut(&whole, case, &mut prng, &mut |pieces| {
            let (conversation, other, _) = self.talk(pieces)?;
            let same = || format!("{history:?} and {other:?}");
            hold(other == history, "keeps the same however it is cut", same)?;
            Ok(conversation)
        })
    }
}

/// Where frames begin.
fn frames_of(case: &[u8]) -> Option<usize> {
    match read(case).0.last().map(|step| &step.expected) {
        Some(Expected::Upgraded(at)) => Some(*at),
        _ => None,
    }
}

/// The rule that a conversation breaks.
fn check(
    case: &[u8],
    whole: &Conversation,
    history: &[Kept],
    server: &Server,
) -> Result<(), &'static str> {
    let (steps, end) = read(case);
    let rest = check_answers(&steps, end, whole)?;
    let Some(Expected::Upgraded(at)) = steps.last().map(|step| &step.expected) else {
        return Ok(());
    };
    let strangers = whole.heard.iter().any(|heard| match heard {
        Heard::Asked(asked) => asked.starts_with("Register"),
        _ => false,
    });
    let mut chat = Chat::new(server.people, strangers, rest);
    chat.read(&case[*at..])?;
    if chat.is_over != whole.is_closing {
        return Err("it ends when it is closed, and not before");
    }
    let Some(user) = chat.user else {
        return if history.is_empty() { Ok(()) } else { Err("who is nobody has no history") };
    };
    check_history(user, &chat, history, server)
}

/// Everything is kept that was acked, as it was sent and by whom, and nothing else.
fn check_history(
    user: UserId,
    chat: &Chat<'_>,
    history: &[Kept],
    server: &Server,
) -> Result<(), &'static str> {
    let mut own = history.iter().filter(|kept| kept.from == user);
    let others = history.iter().filter(|kept| kept.from != user).count();
    let is_bob = user == server.people.bob;
    if others != usize::from(is_bob) && history.len() < HISTORY_MAX {
        return Err("nobody's messages are in a history but his and those to him");
    }
    for (id, letter) in chat.kept.iter().rev().take(HISTORY_MAX) {
        let Some(kept) = own.next() else {
            return if history.len() == HISTORY_MAX {
                Ok(())
            } else {
                Err("what is acked is kept")
            };
        };
        let is_it = kept.id.number() == *id
            && (kept.to, kept.kind) == (letter.to, letter.kind)
            && kept.content == letter.content;
        if !is_it {
            return Err("what is acked is kept as it was sent");
        }
    }
    if own.next().is_none() { Ok(()) } else { Err("what is refused is not kept") }
}

/// A conversation that is mostly good.
fn conversation(prng: &mut Prng) -> Vec<u8> {
    let Server { people, .. } = Server::new(|request| request);
    let mut out = Vec::new();
    for _ in 0..prng.below(2) {
        out.extend(request(prng));
    }
    out.extend_from_slice(UPGRADE);
    let all = [people.ann, people.bob, people.eve].map(UserId::number);
    let me = *one_of(&all, prng);
    let auth = format!(r#"{{"msgType":"Auth","fromUserId":{me},"content":"t","id":7}}"#);
    let auth_at = prng.below(4);
    for index in 0..prng.below(12) {
        if index == auth_at {
            out.extend(masked(0x81, auth.as_bytes(), prng));
        }
        let text = match prng.below(8) {
            0 => r#"{"msgType":"Heartbeat"}"#.to_owned(),
            1 => r#"{"msgType":"Ack","content":"{'srcId':1000}"}"#.to_owned(),
            2 => auth.replace(&me.to_string(), &one_of(&all, prng).to_string()),
            3 => {
                out.extend(some_frames(prng));
                continue;
            }
            _ => {
                let to = match prng.below(6) {
                    0 => 1,
                    1 => 77,
                    _ => *one_of(&all, prng),
                };
                let id = *one_of(&["0", "5", "6", "1000", "\"7\"", "null"], prng);
                let from = match prng.below(4) {
                    0 => format!(r#""fromUserId":{},"#, one_of(&all, prng)),
                    _ => String::new(),
                };
                let content = *one_of(&["x", "y", "你好", "are you there?"], prng);
                let kind = *one_of(&["Text", "Text", "Event", "Image"], prng);
                let head = format!(r#"{{"id":{id},{from}"toUserId":{to},"msgType":"{kind}""#);
                format!(r#"{head},"content":"{content}"}}"#)
            }
        };
        out.extend(masked(0x81, text.as_bytes(), prng));
    }
    out
}
