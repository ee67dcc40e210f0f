//! Exports, whatever is in them: refused with the line, or taken, and then exported as the same.

use crate::export::export;
use crate::fuzz::case::{Target, Trail, Wrong, hold, one_of, shown};
use crate::fuzz::mutate::bound;
use crate::import::Items;
use anser::api::{Acked, Request};
use anser::chat::audit;
use anser::chat::portable::{Builder, Item};
use anser::sim::prng::Prng;
use anser::sim::users::{id, text};
use anser::sim::world::World;
use anser::store::keys::{Key, Kind};
use anser::store::memory::MemoryStore;
use anser::store::rows::{NumberRow, RowWriter};
use anser::store::{Batch, Store};
use anyhow::{Context, bail, ensure};
use indicatif::ProgressBar;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// What takes an export in.
pub type Take = fn(&[u8]) -> anyhow::Result<MemoryStore>;

/// The target.
pub struct Import {
    /// The code under test.
    pub take: Take,
}

impl Default for Import {
    fn default() -> Import {
        Import { take }
    }
}

impl Target for Import {
    fn name(&self) -> &'static str {
        "import"
    }

    fn words(&self) -> &'static [&'static str] {
        &[
            "null",
            "true",
            "false",
            "[]",
            "[[3,4]]",
            "\"1\"",
            "\"-1\"",
            "\"+7\"",
            "\"9223372036854775807\"",
            "18446744073709551615",
            "4294967295",
            "\"forgotten\":{\"lastSeq\":1,\"highestSent\":\"1\",\"highestReceived\":\"0\",\"sent\":\
             {\"indexedUpTo\":\"0\",\"highestLate\":\"0\",\"recent\":[[\"1\",1]]},\"received\":\
             {\"indexedUpTo\":\"0\",\"highestLate\":\"0\",\"recent\":[]}},",
            "\"forgotten\":{\"messages\":1,\"recent\":[1],\"lastSeq\":1,\"received\":0,\
             \"sent\":1},",
            "\"Text\"",
            "\"Event\"",
            "\"Single\"",
            "\"Like\"",
            "\"waits\":true",
            "\n",
            "}}\n",
        ]
    }

    fn make(&self, prng: &mut Prng) -> Vec<u8> {
        exported(world(prng).shards[0].store())
    }

    fn mend(&self, case: &mut Vec<u8>, prng: &mut Prng) {
        let text = String::from_utf8_lossy(case).into_owned();
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        let at = prng.below(lines.len().max(1) as u64) as usize;
        if let Some(line) = lines.get_mut(at)
            && let Ok(mut item) = serde_json::from_str::<Value>(line)
        {
            change(&mut item, prng);
            *line = item.to_string();
        }
        let count = |kind: &str| lines.iter().filter(|line| line.starts_with(kind)).count();
        let totals = format!(
            "{{\"totals\":{{\"users\":{},\"chats\":{},\"messages\":{}}}}}",
            count("{\"user\""),
            count("{\"chat\""),
            count("{\"message\"")
        );
        lines.retain(|line| !line.starts_with("{\"totals\""));
        lines.push(totals);
        *case = (lines.join("\n") + "\n").into_bytes();
    }

    fn run(&self, case: &[u8], trail: &mut Trail) -> Result<(), Wrong> {
        let store = match (self.take)(case) {
            Ok(store) => store,
            Err(error) => {
                let words = format!("{error:#}");
                let kind: String = words.chars().filter(|it| !it.is_ascii_digit()).collect();
                trail.note(kind);
                let tells = ["line ", "rows do not agree", "it is empty"];
                let is_told = tells.iter().any(|part| words.contains(part));
                return hold(is_told, "a refusal names the line", || words);
            }
        };
        let out = exported(&store);
        let (before, after) = (canonical(case), canonical(&out));
        trail.count("taken", before.len());
        let words = || format!("{}: {}", shown(case), difference(&before, &after));
        hold(before == after, "what is taken is exported as the same", words)?;
        let again = (self.take)(&out).map(|store| exported(&store));
        let is_same = again.as_ref().is_ok_and(|again| *again == out);
        hold(is_same, "what was exported is taken again", || format!("{:?}", again.err()))
    }
}

/// Changes a value somewhere in an item.
fn change(item: &mut Value, prng: &mut Prng) {
    match item {
        Value::Object(fields) => {
            let at = prng.below(fields.len().max(1) as u64) as usize;
            if let Some(field) = fields.values_mut().nth(at) {
                change(field, prng);
            }
        }
        Value::Array(values) => match values.len() as u64 {
            0 => values.push(json!([bound(prng), bound(prng)])),
            count => change(&mut values[prng.below(count) as usize], prng),
        },
        Value::Number(number) => {
            let before = number.as_u64().unwrap_or(0);
            let near = [before.wrapping_add(1), before.wrapping_sub(1), bound(prng)];
            *item = json!(one_of(&near, prng));
        }
        Value::String(text) => {
            let bound = bound(prng).to_string();
            let others = [bound.as_str(), "Event", "Text", "Image", "Single", "Group", "+1", ""];
            *text = (*one_of(&others, prng)).to_owned();
        }
        Value::Bool(flag) => *flag = !*flag,
        Value::Null => *item = json!(one_of(&["7", "Like"], prng)),
    }
}

/// Takes an export in, as `import` does, but into memory.
fn take(case: &[u8]) -> anyhow::Result<MemoryStore> {
    let mut items = Items::begin(case)?;
    let (mut builder, mut batch, mut rows) = (Builder::default(), Batch::new(), 0_u64);
    let mut put = |key: &[u8], value: &[u8]| {
        batch.put(key, value);
        rows += 1;
    };
    while let Some(item) = items.next()? {
        builder.take(&item, &mut put).with_context(|| items.place())?;
    }
    builder.finish(&mut put);
    for (kind, number) in [(Kind::Epoch, 0), (Kind::MintBound, items.mint_bound)] {
        let mut value = Vec::new();
        RowWriter::default().append(&NumberRow(number), &mut value);
        put(&Key::of(kind), &value);
    }
    let mut store = MemoryStore::default();
    store.write(&batch)?;
    let (counts, first) = audit::damage(&[&store])?;
    if let Some(finding) = first {
        bail!("rows do not agree: {finding}");
    }
    ensure!(counts.rows == rows, "rows do not agree: {} of {rows}", counts.rows);
    Ok(store)
}

fn exported(store: &MemoryStore) -> Vec<u8> {
    let mut out = Vec::new();
    let written = export(&[store], &mut out, &ProgressBar::hidden());
    assert!(written.is_ok(), "what agrees can be exported: {written:?}");
    out
}

/// The items of an export in one order: by user, chats by peer, messages as they come. Ids as
/// numbers print.
fn canonical(case: &[u8]) -> BTreeMap<(u32, u8, u64), String> {
    let (mut all, mut owner) = (BTreeMap::new(), 0);
    let Ok(mut items) = Items::begin(case) else { return all };
    while let Ok(Some(item)) = items.next() {
        let plain = |text: &str| text.parse::<i64>().map_or(text.to_owned(), |id| id.to_string());
        match item {
            Item::User(mut user) => {
                owner = user.user_id;
                if let Some(forgotten) = &mut user.forgotten {
                    for text in [&mut forgotten.highest_sent, &mut forgotten.highest_received] {
                        *text = plain(text);
                    }
                    for ids in [&mut forgotten.sent, &mut forgotten.received] {
                        ids.indexed_up_to = plain(&ids.indexed_up_to);
                        ids.highest_late = plain(&ids.highest_late);
                        ids.recent.iter_mut().for_each(|(text, _)| *text = plain(text));
                    }
                }
                all.insert((owner, 0, 0), format!("{user:?}"));
            }
            Item::Chat(chat) => {
                all.insert((owner, 1, chat.peer.into()), format!("{chat:?}"));
            }
            Item::Message(mut message) => {
                message.id = plain(&message.id).into();
                message.team_id = message.team_id.map(|team| plain(&team).into());
                all.insert((owner, 2, message.seq), format!("{message:?}"));
            }
        }
    }
    all
}

fn difference<T: PartialEq + std::fmt::Debug>(
    before: &BTreeMap<(u32, u8, u64), T>,
    after: &BTreeMap<(u32, u8, u64), T>,
) -> String {
    let differs = |key: &&(u32, u8, u64)| before.get(key) != after.get(key);
    let first = before.keys().chain(after.keys()).find(differs);
    first.map_or(String::new(), |key| format!("{:?}, not {:?}", after.get(key), before.get(key)))
}

/// A server on which some people have written to each other.
fn world(prng: &mut Prng) -> World {
    let mut world = World::new(1);
    let users: Vec<_> = ["ann", "bob", "eve"].map(|name| world.register(name)).into();
    let people: Vec<_> = users.iter().map(|user| world.connect(*user)).collect();
    for number in 1..=prng.below(40) as i64 {
        let from = people[prng.below(3) as usize];
        let to = users[prng.below(3) as usize];
        match prng.below(8) {
            0 => world.ack(from, Acked::UpTo(id(1 + prng.below(number as u64) as i64))),
            1 => {
                let _ = world.call(Request::ClearUnreadOf { owner: from.user, peer: to });
            }
            2 => {
                let number = i64::try_from(bound(prng) >> 1).unwrap_or(1).max(1);
                world.send(from, text(number, to, "late"));
            }
            _ => world.send(from, text(1000 * number, to, "hello 你好")),
        }
    }
    world.pass(1000);
    world.settle();
    world
}
