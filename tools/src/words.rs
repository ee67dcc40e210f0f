//! Figures as people read them.

/// `1234567` is `1,234,567`.
pub fn count(value: u64) -> String {
    let digits = value.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// Nanoseconds as milliseconds, with as many places as say something; at most 6 characters up to
/// 1,000 s.
pub fn ms(nanos: u64) -> String {
    let ms = nanos as f64 / 1e6;
    match ms {
        _ if nanos == 0 => "0".to_owned(),
        ..9.9995 => format!("{ms:.3}"),
        ..99.995 => format!("{ms:.2}"),
        ..999.95 => format!("{ms:.1}"),
        _ => format!("{ms:.0}"),
    }
}

/// A share of 1 as percent, with one place.
pub fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_read_as_people_write_them() {
        assert_eq!([0, 999, 1000, 1_234_567].map(count), ["0", "999", "1,000", "1,234,567"]);
        let nanos = [0, 480, 9_999_400, 9_999_600, 99_996_000, 1_234_567_890];
        assert_eq!(nanos.map(ms), ["0", "0.000", "9.999", "10.00", "100.0", "1235"]);
        assert_eq!([0.0, 0.1234, 1.0].map(percent), ["0.0 %", "12.3 %", "100.0 %"]);
    }
}
