//! A case made as small as it can be and still do the same.

/// Runs that making one case smaller may take.
const RUNS_MAX: u32 = 4000;

/// The smallest case found for which `is_same` holds, as it does for `case`.
pub fn shrink(case: &[u8], mut is_same: impl FnMut(&[u8]) -> bool) -> Vec<u8> {
    let mut best = case.to_vec();
    let mut runs = 0;
    let mut part = best.len().next_power_of_two() / 2;
    while part > 0 && runs < RUNS_MAX {
        let (mut at, before) = (0, best.len());
        while at < best.len() && runs < RUNS_MAX {
            let mut smaller = best.clone();
            smaller.drain(at..(at + part).min(best.len()));
            runs += 1;
            if is_same(&smaller) {
                best = smaller;
            } else {
                at += part;
            }
        }
        // What was needed for a byte that is gone may go now, too.
        if part > 1 || best.len() == before {
            part /= 2;
        }
    }
    for at in 0..best.len() {
        for plain in [b'0', b'a', 0] {
            if runs >= RUNS_MAX || best[at] == plain {
                break;
            }
            let before = std::mem::replace(&mut best[at], plain);
            runs += 1;
            if is_same(&best) {
                break;
            }
            best[at] = before;
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_is_what_it_takes() {
        let case = b"some long text with a needle in it, and more behind it".repeat(3);
        let has_needle = |case: &[u8]| case.windows(6).any(|part| part == b"needle");
        assert_eq!(shrink(&case, has_needle), b"needle");
        let has_both = |case: &[u8]| case.contains(&b'{') && case.len() > 3;
        assert_eq!(shrink(b"ab{cdefgh", has_both).len(), 4);
    }
}
