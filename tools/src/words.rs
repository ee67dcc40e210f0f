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

/// Bytes with a unit, at most 8 characters: `640 B`, `12.3 MiB`.
pub fn bytes(value: f64) -> String {
    let mut value = value;
    for unit in ["B", "KiB", "MiB", "GiB"] {
        if value < 999.5 {
            let places = usize::from(unit != "B" && value < 99.95);
            return format!("{value:.places$} {unit}");
        }
        value /= 1024.0;
    }
    format!("{value:.1} TiB")
}

/// A time span in its two largest units: `42 s`, `3 min 12 s`, `2 h 5 min`, `9 d 3 h`.
pub fn span(seconds: f64) -> String {
    let seconds = seconds.max(0.0) as u64;
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, _) => format!("{minutes} min {} s", seconds % 60),
        (0, _, _) => format!("{hours} h {} min", minutes % 60),
        _ => format!("{days} d {} h", hours % 24),
    }
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
        let sizes = [0.0, 999.0, 1000.0, 1536.0, 134_217_728.0, 5e15];
        let words = ["0 B", "999 B", "1.0 KiB", "1.5 KiB", "128 MiB", "4547.5 TiB"];
        assert_eq!(sizes.map(bytes), words);
        let spans = [42.9, 192.0, 7500.0, 788_400.0];
        assert_eq!(spans.map(span), ["42 s", "3 min 12 s", "2 h 5 min", "9 d 3 h"]);
    }
}
