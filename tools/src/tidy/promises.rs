//! Invariants and their tests: a test says `/// Invariant 2 of store::keys.` above itself.

use super::Broken;
use super::shape;
use super::source::Source;
use std::collections::BTreeSet;

/// One numbered invariant of a module below `src`.
type Promise = (String, usize);

/// Invariants that no test names, and names of invariants that are not there.
pub fn check(sources: &[Source]) -> Vec<Broken> {
    let mut broken = Vec::new();
    let mut promised: BTreeSet<Promise> = BTreeSet::new();
    let held: BTreeSet<Promise> = sources.iter().flat_map(named).map(|(_, one)| one).collect();
    for source in sources {
        let Some(module) = module(&source.file) else { continue };
        for number in shape::invariants(source) {
            let promise = (module.clone(), number);
            if !held.contains(&promise) {
                let words = format!(
                    "no test says `/// Invariant {number} of {module}.`: write it, or say so \
                     above the one that holds it"
                );
                broken.push(source.broken(1, words));
            }
            promised.insert(promise);
        }
    }
    for source in sources {
        for (line, (module, number)) in named(source) {
            if !promised.contains(&(module.clone(), number)) {
                let words = format!("`{module}` has no invariant {number}: name the one it holds");
                broken.push(source.broken(line, words));
            }
        }
    }
    broken
}

/// `src/store/keys.rs` is `store::keys`, `src/store/mod.rs` is `store`.
fn module(file: &str) -> Option<String> {
    let path = file.strip_prefix("src/")?.strip_suffix(".rs")?;
    Some(path.strip_suffix("/mod").unwrap_or(path).replace('/', "::"))
}

/// The invariants that the comments of a file name, with their lines.
fn named(source: &Source) -> Vec<(usize, Promise)> {
    let mut all = Vec::new();
    for (index, line) in source.text.lines().enumerate() {
        let line = line.trim_start().strip_prefix("/// Invariant").and_then(|rest| {
            let (numbers, module) = rest.strip_suffix('.')?.split_once(" of ")?;
            Some((numbers.strip_prefix('s').unwrap_or(numbers), module))
        });
        let Some((numbers, module)) = line else { continue };
        let numbers = numbers.split([' ', ',']).filter_map(|word| word.parse().ok());
        all.extend(numbers.map(|number| (index + 1, (module.to_owned(), number))));
    }
    all
}
