//! The table of the house: who may import whom, and what stands in `node` only.

use super::Broken;
use super::source::{Source, is_word};

/// A module and those of the house that it may import, besides itself.
const TABLE: &[(&str, &[&str])] = &[
    ("main", &["config", "node"]),
    (
        "node",
        &["admin", "api", "chat", "config", "ids", "limits", "metrics", "speech", "store", "wire"],
    ),
    ("sim", &["api", "chat", "ids", "limits", "metrics", "speech", "store", "wire"]),
    ("speech", &["api", "chat", "limits", "store", "wire"]),
    ("admin", &["ids", "limits", "metrics"]),
    ("chat", &["api", "ids", "limits", "metrics", "store"]),
    ("wire", &["api", "ids", "limits", "metrics"]),
    ("store", &["api", "ids", "limits", "metrics"]),
    ("config", &["ids", "limits"]),
    ("api", &["ids", "limits"]),
    ("ids", &["limits"]),
    ("limits", &[]),
    ("metrics", &[]),
];

/// Something outside the house that only some files may name.
struct Reserved {
    /// A crate, or a module of `std`.
    name: &'static str,
    /// Where it may stand: beginnings of paths.
    allowed: &'static [&'static str],
    /// Why, and what to do instead.
    words: &'static str,
}

const NODE: &[&str] = &["src/node/"];

const RESERVED: &[Reserved] = &[
    Reserved {
        name: "std::net",
        allowed: &["src/node/", "src/config"],
        words: "sockets are node's",
    },
    Reserved { name: "std::thread", allowed: NODE, words: "threads are node's" },
    Reserved { name: "std::time", allowed: NODE, words: "`now` arrives as an argument" },
    Reserved {
        name: "std::fs",
        allowed: &["src/node/", "src/config", "src/store/view"],
        words: "the disk is node's, rows go through `Store`",
    },
    Reserved { name: "glommio", allowed: NODE, words: "the executor is node's" },
    Reserved { name: "io_uring", allowed: NODE, words: "the ring is node's" },
    Reserved { name: "rustix", allowed: NODE, words: "the operating system is node's" },
    Reserved {
        name: "fjall",
        allowed: &["src/store/view", "src/store/mod.rs"],
        words: "the LSM hides behind `Store`",
    },
    Reserved {
        name: "lsm_tree",
        allowed: &["src/store/view"],
        words: "the LSM hides behind `Store`",
    },
];

/// Words that stand in `node` only.
const NODE_WORDS: &[(&str, &str)] = &[
    ("async", "a turn never awaits: return an effect and let node perform it"),
    ("await", "a turn never awaits: return an effect and let node perform it"),
    ("Mutex", "state belongs to one shard: pass owned values through the mesh"),
    ("RwLock", "state belongs to one shard: pass owned values through the mesh"),
];

/// Files that may say `unsafe`: each operation argued above it, behind a safe type.
const UNSAFE_FILES: &[&str] = &[
    "src/node/ring.rs",
    "src/node/ring/buffers.rs",
    "src/node/ring/write.rs",
    "src/node/handoff.rs",
    "src/store/aligned.rs",
];

/// Every rule about what a file names.
pub fn check(source: &Source) -> Vec<Broken> {
    let mut broken = unsafe_elsewhere(source);
    let Some(module) = module_of(&source.file) else {
        return broken;
    };
    broken.extend(house(source, module));
    broken.extend(reserved(source));
    broken
}

/// The top module of a file of the server; `lib.rs` is the map and names all.
fn module_of(file: &str) -> Option<&str> {
    let inside = file.strip_prefix("src/")?;
    let top = inside.split('/').next()?;
    let module = top.strip_suffix(".rs").unwrap_or(top);
    (module != "lib").then_some(module)
}

fn house(source: &Source, module: &str) -> Vec<Broken> {
    let Some((_, allowed)) = TABLE.iter().find(|(name, _)| *name == module) else {
        let words = format!("`{module}` is not in the table of the house: find it a place there");
        return vec![source.broken(1, words)];
    };
    let root = if module == "main" { "anser" } else { "crate" };
    let mut broken = Vec::new();
    for (offset, imported) in paths_from(source, root).into_iter().chain(paths_up(source)) {
        let known = TABLE.iter().any(|(name, _)| *name == imported);
        if known && imported != module && !allowed.contains(&imported) {
            let words = format!(
                "`{module}` must not import `{imported}`, only {}: move the code, or pass the \
                 value in",
                if allowed.is_empty() { "nothing".to_owned() } else { allowed.join(", ") }
            );
            broken.push(source.broken(source.line_at(offset), words));
        }
    }
    broken
}

fn reserved(source: &Source) -> Vec<Broken> {
    let mut broken = Vec::new();
    let may = |allowed: &[&str]| allowed.iter().any(|start| source.file.starts_with(start));
    for one in RESERVED.iter().filter(|one| !may(one.allowed)) {
        let places = match one.name.strip_prefix("std::") {
            Some(part) => {
                let paths = paths_from(source, "std").into_iter();
                paths.filter(|(_, name)| *name == part).map(|(offset, _)| offset).collect()
            }
            None => crate_places(source, one.name),
        };
        for offset in places {
            let words = format!("`{}` has no place here: {}", one.name, one.words);
            broken.push(source.broken(source.line_at(offset), words));
        }
    }
    for (offset, word) in source.words().filter(|_| !may(NODE)) {
        if let Some((_, advice)) = NODE_WORDS.iter().find(|(name, _)| *name == word) {
            let words = format!("`{word}` has no place here: {advice}");
            broken.push(source.broken(source.line_at(offset), words));
        }
    }
    broken
}

fn unsafe_elsewhere(source: &Source) -> Vec<Broken> {
    if UNSAFE_FILES.contains(&source.file.as_str()) {
        return Vec::new();
    }
    let places = source.words().filter(|(_, word)| *word == "unsafe");
    let words = format!("`unsafe` stands in {} only: use what they offer", UNSAFE_FILES.join(", "));
    places.map(|(offset, _)| source.broken(source.line_at(offset), words.clone())).collect()
}

/// Places where a crate is named: before `::`, or in a `use`.
fn crate_places(source: &Source, name: &str) -> Vec<usize> {
    let follows = |offset: usize| source.code[offset + name.len()..].trim_start();
    source
        .words()
        .filter(|(offset, word)| *word == name && !source.code[..*offset].ends_with("::"))
        .filter(|(offset, _)| follows(*offset).starts_with("::"))
        .map(|(offset, _)| offset)
        .collect()
}

/// The names that follow `root::`, also in a group: `crate::{ids, store::Batch}` has two.
fn paths_from<'a>(source: &'a Source, root: &str) -> Vec<(usize, &'a str)> {
    let mut found = Vec::new();
    for offset in crate_places(source, root) {
        let after = offset + root.len();
        let colons = source.code[after..].find("::").map_or(after, |at| after + at + 2);
        names_at(&source.code, colons, &mut found);
    }
    found
}

/// The names that `super::super::...` reaches in the root of the crate.
fn paths_up(source: &Source) -> Vec<(usize, &str)> {
    let parts = source.file.split('/').count() - 1;
    let depth = if source.file.ends_with("/mod.rs") { parts - 1 } else { parts };
    let chain = "super::".repeat(depth.max(1));
    let starts = source.code.match_indices(&chain).map(|(offset, _)| offset);
    let mut found = Vec::new();
    for offset in starts {
        names_at(&source.code, offset + chain.len(), &mut found);
    }
    found
}

/// The name at `at`, or those of the group there.
fn names_at<'a>(code: &'a str, at: usize, found: &mut Vec<(usize, &'a str)>) {
    let bytes = code.as_bytes();
    let (mut at, mut depth, mut expected) = (at, 0_usize, true);
    while at < bytes.len() {
        match bytes[at] {
            b'{' => depth += 1,
            b'}' => depth = depth.saturating_sub(1),
            b',' if depth == 1 => expected = true,
            byte if is_word(byte) => {
                let length = bytes[at..].iter().take_while(|byte| is_word(**byte)).count();
                if expected {
                    found.push((at, &code[at..at + length]));
                }
                (expected, at) = (false, at + length - 1);
            }
            _ => {}
        }
        at += 1;
        if depth == 0 && !expected || bytes.get(at) == Some(&b';') {
            return;
        }
    }
}
