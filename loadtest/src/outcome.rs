//! What a scenario gives back, whatever it is: settings, figures, latencies, seconds, warnings.
//!
//! A scenario writes into an [`Outcome`] as it goes, so that a run that fails still tells what it
//! had measured until then, and why it failed.

mod parts;

use crate::document::ServerFacts;
use crate::interrupt;
use crate::latencies::Latencies;
use crate::load::accounts::Target;
use crate::load::limit::{Beside, Ceiling};
use crate::load::part::Part;
use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::any::Any;
use std::collections::BTreeMap;
use std::fs;
use std::panic::AssertUnwindSafe;
use std::path::PathBuf;

/// The share of its cores at which the load generator counts as the limit of a run.
const LIMIT_SHARE: f64 = 0.9;

/// Of the p99 of a delivery, what the generator's own lateness may be before it is told.
const LATE_SHARE_MAX: f64 = 0.25;

/// Digits of a fraction on standard output.
const DIGITS: i32 = 6;

/// What every scenario is told beside its own settings.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Run {
    /// Whatever is left to chance is drawn from this number.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// A name for this run, such as that of a build; `compare` puts those of one name together.
    #[arg(long)]
    pub label: Option<String>,
    /// Write everything that was measured to this file.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Draw what was measured on a page that needs no other file.
    #[arg(long, value_name = "FILE.html")]
    pub report: Option<PathBuf>,
}

impl Run {
    /// The same for a part of the run, whose chance is another.
    pub fn of(&self, part: &Part) -> Run {
        Run { seed: self.seed.wrapping_add(part.number() as u64), ..self.clone() }
    }

    /// Looks whether the files can be written, before a run is made for nothing.
    ///
    /// # Errors
    /// When one cannot.
    pub fn check(&self) -> Result<()> {
        for file in [&self.json, &self.report].into_iter().flatten() {
            let is_there = file.exists();
            let opened = fs::OpenOptions::new().create(true).append(true).open(file);
            opened.with_context(|| format!("{} cannot be written", file.display()))?;
            if !is_there {
                fs::remove_file(file).with_context(|| file.display().to_string())?;
            }
        }
        Ok(())
    }
}

/// One kind of load, with its settings: they are what `Serialize` gives, without addresses and
/// without [`Run`], so that two runs of the same load have the same.
pub trait Scenario: Serialize + Sized + Send {
    /// Its subcommand.
    const NAME: &'static str;

    /// What it was told beside its settings.
    fn options(&self) -> &Run;

    /// The server, where there is one already.
    fn target(&self) -> Option<&Target> {
        None
    }

    /// Looks whether what it needs is there, before anything is measured.
    ///
    /// # Errors
    /// When it is not: what is missing, and what to do.
    fn check(&self) -> Result<()> {
        self.target().map_or(Ok(()), Target::check)
    }

    /// What each of several parts of it does, where it needs more connections than one thread may
    /// have. By default all of it is one part.
    ///
    /// # Errors
    /// When a thread may have too few.
    fn divided(&self) -> Result<Vec<(Part, Self)>> {
        Ok(Vec::new())
    }

    /// What to hold one of its rates against, if it is wanted.
    fn ceiling(&self) -> Option<Ceiling> {
        None
    }

    /// Runs it; what it measures goes into the outcome, also when it fails then.
    ///
    /// # Errors
    /// When the server lost, doubled, reordered or changed anything, refused, or was not there.
    fn run(&self, outcome: &mut Outcome) -> Result<()>;
}

/// One value for each second that was measured, by names that end in `_each_second`.
pub type Series = BTreeMap<String, Vec<f64>>;

/// What came of one run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// The scenario's subcommand.
    pub scenario: String,
    /// The name that the run was given, to be told apart from others of the same settings.
    pub label: Option<String>,
    /// Its settings by name.
    pub settings: Value,
    /// What all chance was drawn from.
    pub seed: u64,
    /// An object of what was measured, by name.
    pub figures: Value,
    /// How long things took, by name.
    pub latencies: BTreeMap<String, Latencies>,
    /// What each second was like.
    pub series: Series,
    /// Which server it was, if its admin port or its process is known.
    pub server: Option<ServerFacts>,
    /// What the reader of the figures must know.
    pub flags: Vec<String>,
    /// Why the run failed, if it did.
    pub error: Option<String>,
}

impl Outcome {
    /// Runs a scenario to its end, good or bad.
    ///
    /// # Errors
    /// When its settings cannot be written as JSON. That the run failed is [`Outcome::error`].
    pub fn of(scenario: &impl Scenario) -> Result<Outcome> {
        let mut outcome = Outcome::begin(scenario)?;
        if cfg!(debug_assertions) {
            outcome.flag("the load generator is a development build");
        }
        let mut ceiling = None;
        outcome.error = reason(|| {
            outcome.server = scenario.target().map(ServerFacts::ask);
            ceiling = outcome.measure(scenario.ceiling());
            outcome.run_in_parts(scenario)
        });
        outcome.note_lateness();
        ceiling.inspect(|ceiling| ceiling.beside(&mut outcome));
        if interrupt::is_asked() {
            outcome.flag("interrupted: this is what was measured until then");
            // A terminal interrupts the servers of a run, too: what that makes of it is no failure.
            let error = outcome.error.take().filter(|error| !error.ends_with("interrupted"));
            error.iter().for_each(|error| outcome.flag(format!("when it ended: {error}")));
        }
        Ok(outcome)
    }

    /// The bare echo is ours: when it fails that is no fault of the server, and a rate is only not
    /// compared with it.
    fn measure(&mut self, ceiling: Option<Ceiling>) -> Option<Beside> {
        let measured = ceiling?.measure();
        let failed = measured.as_ref().err().filter(|_| !interrupt::is_asked());
        failed.inspect(|why| self.flag(format!("limit: it could not be measured: {why:#}")));
        measured.ok()
    }

    fn begin<S: Scenario>(scenario: &S) -> Result<Outcome> {
        Ok(Outcome {
            scenario: S::NAME.to_owned(),
            label: scenario.options().label.clone(),
            settings: serde_json::to_value(scenario).context("settings as JSON")?,
            seed: scenario.options().seed,
            figures: json!({}),
            latencies: BTreeMap::new(),
            series: Series::new(),
            server: None,
            flags: Vec::new(),
            error: None,
        })
    }

    /// Adds the members of an object to the figures.
    pub fn add(&mut self, figures: Value) {
        join(&mut self.figures, figures);
    }

    /// Says something that the reader of the figures must know.
    pub fn flag(&mut self, words: impl Into<String>) {
        self.flags.push(words.into());
    }

    /// The same, unless it was said before.
    pub fn flag_once(&mut self, words: &str) {
        if self.flags.iter().all(|flag| flag != words) {
            self.flag(words);
        }
    }

    /// Says so when the load generator, with so many threads, was what limited the run.
    pub fn note_own_cores(&mut self, used: f64, threads: usize) {
        let cores =
            std::thread::available_parallelism().map_or(threads, |it| it.get().min(threads));
        if used > LIMIT_SHARE * cores as f64 {
            let cores = if cores == 1 { "a core".to_owned() } else { format!("{cores} cores") };
            self.flag(format!("the load generator was the limit: {used:.2} of {cores}"));
        }
    }

    /// Says so when messages were sent so late that much of the latencies is the generator's own.
    fn note_lateness(&mut self) {
        let any = |name| self.latencies.get(name).filter(|all: &&Latencies| all.total() > 0);
        let p99 = |name| any(name).map(|all| all.quantile_ms(0.99));
        let (Some(late), Some(whole)) = (p99("lateness"), p99("delivery")) else { return };
        if late > LATE_SHARE_MAX * whole {
            self.flag(format!(
                "the load generator was late itself: p99 {late:.3} of {whole:.3} ms until delivery"
            ));
        }
    }

    /// The figures, or why there are none.
    ///
    /// # Errors
    /// When the run failed.
    pub fn passed(&self) -> Result<&Value> {
        match &self.error {
            Some(error) => bail!("{error}"),
            None => Ok(&self.figures),
        }
    }

    /// All but the histograms as one flat object, for standard output: settings and figures by
    /// their names (a figure wins), latencies by their quantiles, and the seconds.
    pub fn line(&self) -> Value {
        let mut line = json!({"test": self.scenario, "label": self.label, "seed": self.seed});
        join(&mut line, self.settings.clone());
        for (name, latencies) in &self.latencies {
            line[name] = latencies.summary();
        }
        join(&mut line, json!(self.series));
        join(&mut line, self.figures.clone());
        join(&mut line, json!({"flags": self.flags, "error": self.error}));
        rounded(line)
    }
}

/// The same with at most six digits in each fraction: more are no good to anybody who reads a line.
fn rounded(value: Value) -> Value {
    let each = |(key, value)| (key, rounded(value));
    match value {
        Value::Array(all) => all.into_iter().map(rounded).collect(),
        Value::Object(all) => Value::Object(all.into_iter().map(each).collect()),
        Value::Number(number) if number.is_f64() => {
            let number = number.as_f64().unwrap_or(0.0);
            let whole_digits = number.abs().max(1.0).log10() as i32 + 1;
            let factor = 10_f64.powi((DIGITS - whole_digits).max(0));
            json!((number * factor).round() / factor)
        }
        other => other,
    }
}

/// Adds the members of one object to another.
pub fn join(object: &mut Value, more: Value) {
    if let (Value::Object(object), Value::Object(mut more)) = (object, more) {
        object.append(&mut more);
    }
}

/// Why it failed, if it did. The HTTP client, which the tests share, panics where a server breaks
/// off.
fn reason(run: impl FnOnce() -> Result<()>) -> Option<String> {
    match std::panic::catch_unwind(AssertUnwindSafe(run)) {
        Ok(Ok(())) => None,
        Ok(Err(error)) => Some(format!("{error:#}")),
        Err(panic) => Some(words(panic.as_ref()).to_owned()),
    }
}

pub(crate) fn words(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("it panicked")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Serialize)]
    struct Failing {
        users: u32,
        #[serde(skip)]
        run: Run,
        panics: bool,
    }

    impl Scenario for Failing {
        const NAME: &'static str = "failing";

        fn options(&self) -> &Run {
            &self.run
        }

        fn run(&self, outcome: &mut Outcome) -> Result<()> {
            outcome.add(json!({"delivered": 7}));
            assert!(!self.panics, "the server closed");
            bail!("LOST: a message")
        }
    }

    #[test]
    fn a_run_that_fails_tells_why_and_what_it_had_measured() {
        for (panics, error) in [(false, "LOST: a message"), (true, "the server closed")] {
            let outcome = Outcome::of(&Failing { users: 3, run: Run::default(), panics });
            let outcome = outcome.expect("its settings are plain");
            assert_eq!(outcome.error.as_deref(), Some(error));
            assert!(outcome.passed().is_err());
            let line = outcome.line();
            assert_eq!((&line["delivered"], &line["users"]), (&json!(7), &json!(3)));
            assert_eq!((&line["test"], &line["error"]), (&json!("failing"), &json!(error)));
        }
    }

    #[test]
    fn a_line_has_the_digits_that_are_good_for_something() {
        let long = json!({"a": [16.777216000000003, 1.0], "b": {"c": 0.1 + 0.2, "d": 7_u64}});
        let round = json!({"a": [16.7772, 1.0], "b": {"c": 0.3, "d": 7_u64}});
        assert_eq!(rounded(long), round);
        assert_eq!(rounded(json!([123_456_789.25, -2.5])), json!([123_456_789.0, -2.5]));
    }

    #[test]
    fn a_generator_that_was_the_limit_says_so() {
        let scenario = Failing { users: 3, run: Run::default(), panics: false };
        let mut outcome = Outcome::begin(&scenario).expect("its settings are plain");
        outcome.note_own_cores(0.89, 1);
        assert_eq!(outcome.flags, [""; 0]);
        outcome.note_own_cores(0.97, 1);
        assert_eq!(outcome.flags, ["the load generator was the limit: 0.97 of a core"]);
    }
}
