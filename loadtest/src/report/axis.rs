//! One direction of a plot: which values there are, where they stand, and which of them are named.

/// How values are laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scale {
    /// From 0, evenly.
    Linear,
    /// Every factor of ten is as long as the next; what is not above 0 has no place.
    Log,
    /// Shares below 1: 90 % is as far from 99 % as that from 99.9 %.
    Nines,
}

/// The most ticks that have room for their words.
const TICKS_MAX: usize = 6;
/// The closest to 1 that a share can be told apart.
const CLOSEST: f64 = 1e-9;

/// An axis that has room for all values it was made for.
#[derive(Clone, Debug)]
pub struct Axis {
    scale: Scale,
    /// Where it begins and ends, on the scale.
    low: f64,
    high: f64,
}

impl Axis {
    /// The axis for these values; those without a place on the scale do not count.
    pub fn of(scale: Scale, values: impl Iterator<Item = f64>) -> Axis {
        let (mut least, mut most) = (f64::INFINITY, f64::NEG_INFINITY);
        for value in values.filter(|value| place(scale, *value).is_some()) {
            (least, most) = (least.min(value), most.max(value));
        }
        if least > most {
            (least, most) = (1.0, 1.0);
        }
        let (low, high) = match scale {
            Scale::Linear => {
                let most = if most > 0.0 { most } else { 1.0 };
                let step = step(most);
                (0.0, (most / step - 1e-9).ceil() * step)
            }
            Scale::Log => {
                let (low, high) = (round_down(least), round_up(most));
                (low.log10(), if high > low { high.log10() } else { (low * 10.0).log10() })
            }
            Scale::Nines => (0.0, place(Scale::Nines, most).map_or(1.0, |most| most.max(1.0))),
        };
        Axis { scale, low, high }
    }

    /// How far along the axis a value stands, 0..=1; `None` for one that has no place.
    pub fn share(&self, value: f64) -> Option<f64> {
        let placed = place(self.scale, value)?;
        Some(((placed - self.low) / (self.high - self.low)).clamp(0.0, 1.0))
    }

    /// The values that are named, lowest first, with their words.
    pub fn ticks(&self) -> Vec<(f64, String)> {
        match self.scale {
            Scale::Linear => {
                let step = step(self.high);
                let count = (self.high / step + 1e-9).floor() as usize;
                (0..=count).map(|number| named(number as f64 * step)).collect()
            }
            Scale::Log => self.log_ticks().into_iter().map(named).collect(),
            Scale::Nines => {
                let decades = self.high.floor() as usize;
                let apart = (decades + 1).div_ceil(TICKS_MAX);
                (0..=decades).step_by(apart).map(|nines| (share(nines), percent(nines))).collect()
            }
        }
    }

    fn log_ticks(&self) -> Vec<f64> {
        let (low, high) = (self.low.floor() as i32, self.high.ceil() as i32);
        let is_inside = |value: &f64| {
            let placed = value.log10();
            placed >= self.low - 1e-9 && placed <= self.high + 1e-9
        };
        let steps = |each: &'static [f64]| {
            let decades = (low..=high).flat_map(|decade| each.iter().map(move |m| (m, decade)));
            let values = decades.map(|(m, decade)| m * 10f64.powi(decade));
            values.filter(is_inside).collect::<Vec<f64>>()
        };
        let fine = steps(&[1.0, 2.0, 5.0]);
        if fine.len() <= TICKS_MAX {
            return fine;
        }
        let decades = steps(&[1.0]);
        let apart = decades.len().div_ceil(TICKS_MAX);
        decades.into_iter().step_by(apart).collect()
    }
}

/// Where a value stands on a scale.
fn place(scale: Scale, value: f64) -> Option<f64> {
    let placed = match scale {
        Scale::Linear => value,
        Scale::Log => value.log10(),
        Scale::Nines => -(1.0 - value).max(CLOSEST).log10(),
    };
    (value.is_finite() && placed.is_finite()).then_some(placed)
}

/// A round step of which about four reach `most`.
fn step(most: f64) -> f64 {
    let rough = most / 4.0;
    let decade = 10f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 2.5, 5.0].into_iter().find(|step| step * decade >= rough * 0.999);
    step.unwrap_or(10.0) * decade
}

fn round_down(value: f64) -> f64 {
    let decade = 10f64.powf(value.log10().floor());
    let step = [5.0, 2.0].into_iter().find(|step| step * decade <= value * 1.000_001);
    step.unwrap_or(1.0) * decade
}

fn round_up(value: f64) -> f64 {
    let decade = 10f64.powf(value.log10().floor());
    let step = [1.0, 2.0, 5.0].into_iter().find(|step| step * decade >= value * 0.999_999);
    step.unwrap_or(10.0) * decade
}

fn share(nines: usize) -> f64 {
    1.0 - 10f64.powi(-(nines as i32))
}

fn percent(nines: usize) -> String {
    match nines {
        0 => "0".to_owned(),
        1 => "90".to_owned(),
        2 => "99".to_owned(),
        more => format!("99.{}", "9".repeat(more - 2)),
    }
}

fn named(value: f64) -> (f64, String) {
    (value, words(value))
}

/// A round number in few letters: `0.05`, `250`, `150k`, `2.5M`.
fn words(value: f64) -> String {
    let (value, unit) = match value.abs() {
        large if large >= 1e9 => (value / 1e9, "G"),
        large if large >= 1e6 => (value / 1e6, "M"),
        large if large >= 1e4 => (value / 1e3, "k"),
        _ => (value, ""),
    };
    let decimals = match value.abs() {
        small if small > 0.0 && small < 1.0 => (1.0 - small.log10().floor()) as usize,
        small if small < 10.0 => 2,
        _ => 1,
    };
    let text = format!("{value:.decimals$}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if value == 0.0 { "0".to_owned() } else { format!("{text}{unit}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ticks(scale: Scale, values: &[f64]) -> Vec<String> {
        let ticks = Axis::of(scale, values.iter().copied()).ticks();
        ticks.into_iter().map(|(_, words)| words).collect()
    }

    #[test]
    fn ticks_are_round_and_few() {
        assert_eq!(ticks(Scale::Linear, &[3.0, 0.93]), ["0", "1", "2", "3"]);
        assert_eq!(ticks(Scale::Linear, &[154_800.0]), ["0", "50k", "100k", "150k", "200k"]);
        assert_eq!(ticks(Scale::Linear, &[0.97]), ["0", "0.25", "0.5", "0.75", "1"]);
        assert_eq!(ticks(Scale::Log, &[0.13, 4.2]), ["0.1", "0.2", "0.5", "1", "2", "5"]);
        assert_eq!(ticks(Scale::Log, &[0.013, 1_300.0]), ["0.01", "0.1", "1", "10", "100", "1000"]);
        assert_eq!(ticks(Scale::Nines, &[0.0, 0.9995]), ["0", "90", "99", "99.9"]);
        for scale in [Scale::Linear, Scale::Log, Scale::Nines] {
            for most in [1e-7, 0.3, 1.0, 7.0, 99.0, 1e5, 3e9] {
                let ticks = ticks(scale, &[most / 1e5, most]);
                assert!((2..=TICKS_MAX + 1).contains(&ticks.len()), "{scale:?} {most}: {ticks:?}");
            }
        }
    }

    #[test]
    fn every_value_stands_inside_and_what_has_no_place_has_none() {
        let values = [0.0, 0.4, 0.999_999, 1.0, 12.0, 4e6];
        for scale in [Scale::Linear, Scale::Log, Scale::Nines] {
            let axis = Axis::of(scale, values.into_iter());
            for value in values {
                let share = axis.share(value);
                assert_eq!(share.is_none(), scale == Scale::Log && value == 0.0);
                assert!(share.is_none_or(|share| (0.0..=1.0).contains(&share)));
            }
            assert_eq!(axis.share(f64::NAN), None);
            let nothing = Axis::of(scale, [f64::NAN].into_iter());
            assert!(nothing.share(0.5).is_some_and(f64::is_finite));
        }
    }
}
