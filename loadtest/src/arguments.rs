//! Settings that the command line refuses: with them a run would measure nothing.

use std::fmt::Display;
use std::str::FromStr;

/// A number of at least 1.
///
/// # Errors
/// When it is another.
pub fn positive<T: FromStr<Err: Display> + PartialOrd + From<u8>>(text: &str) -> Result<T, String> {
    let number = text.parse::<T>().map_err(|error| error.to_string())?;
    let is_one = number >= T::from(1);
    is_one.then_some(number).ok_or_else(|| "at least 1, or nothing would be measured".to_owned())
}

/// A number of at least 2, for those who meet others.
///
/// # Errors
/// When it is another.
pub fn several(text: &str) -> Result<usize, String> {
    let number = positive(text)?;
    if number > 1 { Ok(number) } else { Err("at least 2: a message has two ends".to_owned()) }
}

/// An even number of at least 2, for those who come in pairs.
///
/// # Errors
/// When it is another.
pub fn paired(text: &str) -> Result<usize, String> {
    let number: usize = positive(text)?;
    let is_even = number.is_multiple_of(2);
    is_even.then_some(number).ok_or_else(|| "an even number: they come in pairs".to_owned())
}

/// A number of at least 1 that is no greater than what can be measured.
///
/// # Errors
/// When it is another.
pub fn up_to<const MOST: u64>(text: &str) -> Result<u64, String> {
    let number = positive(text)?;
    if number <= MOST { Ok(number) } else { Err(format!("at most {MOST}")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_which_nothing_comes_are_refused() {
        assert_eq!((positive::<u64>("1"), paired("2"), several("3")), (Ok(1), Ok(2), Ok(3)));
        for text in ["0", "-1", "x", ""] {
            assert!(positive::<u64>(text).is_err() && positive::<u16>(text).is_err(), "{text:?}");
            assert!(paired(text).is_err() && several(text).is_err(), "{text:?}");
        }
        assert!(paired("3").is_err() && several("1").is_err());
        assert!(positive::<u16>("65536").is_err());
        assert_eq!((up_to::<9>("9"), up_to::<9>("10")), (Ok(9), Err("at most 9".to_owned())));
    }
}
