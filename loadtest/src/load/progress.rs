//! The line on a terminal that says how a run goes; nothing at all when nobody watches.

use super::seconds::Second;
use crate::latencies::Latencies;
use indicatif::{ProgressBar, ProgressStyle};

/// The line.
#[derive(Debug)]
pub struct Progress {
    line: ProgressBar,
    what: &'static str,
    so_far: Latencies,
    errors: u64,
}

impl Progress {
    /// Begins the line on standard error, if that is a terminal; `what` is counted in it.
    pub fn begin(what: &'static str) -> Progress {
        let line = ProgressBar::new_spinner();
        let style = ProgressStyle::with_template("{elapsed_precise} {msg}");
        line.set_style(style.expect("the template is right"));
        Progress { line, what, so_far: Latencies::default(), errors: 0 }
    }

    /// Shows what the last second was like, and the latencies of all together.
    pub fn show(&mut self, second: &Second) {
        if self.line.is_hidden() {
            return;
        }
        self.so_far.add(&second.took);
        self.errors += second.errors;
        let mut message = format!("{:.0} {} a second", second.rate, self.what);
        if self.so_far.total() > 0 {
            let ms = |share| self.so_far.quantile_ms(share);
            let [p50, p99, p99_9, longest] = [0.5, 0.99, 0.999, 1.0].map(ms);
            message += &format!(
                " | p50 {p50:.2} p99 {p99:.2} p99.9 {p99_9:.2} longest {longest:.1} ms so far"
            );
        }
        if let Some(cores) = second.server_cores {
            message += &format!(" | server {cores:.2} cores");
        }
        message += &format!(" | own {:.2} cores | {} errors", second.own_cores, self.errors);
        self.line.set_message(message);
        self.line.tick();
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.line.finish_and_clear();
    }
}
