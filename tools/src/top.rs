//! `anser-tools top`: a running server, live on a terminal.
//!
//! A thread asks the admin port and the terminal's thread draws, so that a server that hangs does
//! not keep anybody from quitting. Left to others: what is shown (`snapshot`), and how (`screen`).

mod screen;
mod snapshot;

use anser::config::reached_at;
use anyhow::{Context, bail};
use clap::Args;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyModifiers};
use ratatui::{DefaultTerminal, Terminal, backend::TestBackend};
use signal_hook::consts::{SIGHUP, SIGTERM};
use snapshot::{Reading, View};
use std::io::{IsTerminal, stdout};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::Duration;

/// How long a key or a reading may wait until it is seen.
const ATTENTION: Duration = Duration::from_millis(100);
/// The frame that `--once` prints, columns and lines: that of a terminal nobody has resized.
const FRAME: (u16, u16) = (80, 24);

/// What `top` is told.
#[derive(Args, Debug)]
pub struct Arguments {
    /// The admin port of the running server
    #[arg(long, default_value = "127.0.0.1:8094", value_parser = reached_at)]
    admin: SocketAddr,
    /// How often to look
    #[arg(long, value_name = "MS", default_value_t = 1000,
          value_parser = clap::value_parser!(u64).range(100..=60_000))]
    interval_ms: u64,
    /// Print one frame of 80 columns as text, of one interval
    #[arg(long)]
    once: bool,
}

/// Runs `top`.
pub fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let interval = Duration::from_millis(arguments.interval_ms);
    if arguments.once {
        print!("{}", once(arguments.admin, interval)?);
        return Ok(ExitCode::SUCCESS);
    }
    if !stdout().is_terminal() {
        bail!("standard output is no terminal: `top --once` prints one frame");
    }
    let is_told_to_stop = Arc::<AtomicBool>::default();
    for signal in [SIGTERM, SIGHUP] {
        signal_hook::flag::register(signal, is_told_to_stop.clone())?;
    }
    let readings = ask(arguments.admin, interval);
    let mut terminal = ratatui::try_init().context("the terminal cannot be drawn on")?;
    let outcome = show(&mut terminal, View::new(arguments.admin), &readings, &is_told_to_stop);
    ratatui::restore();
    outcome.map(|()| ExitCode::SUCCESS)
}

/// One frame as text, of what happens within one interval.
fn once(admin: SocketAddr, interval: Duration) -> anyhow::Result<String> {
    let mut view = View::new(admin);
    view.take(Ok(Reading::take(admin)?));
    std::thread::sleep(interval);
    view.take(Ok(Reading::take(admin)?));
    let mut terminal = Terminal::new(TestBackend::new(FRAME.0, FRAME.1))?;
    terminal.draw(|frame| screen::draw(frame, &view))?;
    Ok(screen::text(terminal.backend().buffer()))
}

/// Asks again and again, until nobody takes what comes.
fn ask(admin: SocketAddr, interval: Duration) -> Receiver<Result<Reading, String>> {
    let (sender, receiver) = sync_channel(1);
    std::thread::spawn(move || {
        loop {
            let reading = Reading::take(admin).map_err(|error| error.to_string());
            if sender.send(reading).is_err() {
                return;
            }
            std::thread::sleep(interval);
        }
    });
    receiver
}

/// Draws what comes until `q` is pressed.
fn show(
    terminal: &mut DefaultTerminal,
    mut view: View,
    readings: &Receiver<Result<Reading, String>>,
    is_told_to_stop: &AtomicBool,
) -> anyhow::Result<()> {
    while !is_told_to_stop.load(Ordering::Relaxed) {
        terminal.draw(|frame| screen::draw(frame, &view))?;
        if event::poll(ATTENTION)? && is_quit(&event::read()?) {
            break;
        }
        readings.try_iter().for_each(|reading| view.take(reading));
    }
    Ok(())
}

/// The terminal is in raw mode: Ctrl-C comes as a key.
fn is_quit(event: &Event) -> bool {
    let Event::Key(KeyEvent { code, modifiers, .. }) = event else { return false };
    match code {
        KeyCode::Char('q') | KeyCode::Esc => true,
        KeyCode::Char('c') => modifiers.contains(KeyModifiers::CONTROL),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::stub;
    use crate::fixture;
    use std::sync::atomic::AtomicU64;

    #[test]
    fn one_frame_shows_what_happened_in_one_interval() {
        let readings = AtomicU64::new(0);
        let admin = stub::serve(move |path| match path {
            "/admin/latency" => {
                let seconds = readings.fetch_add(1, Ordering::Relaxed);
                Some(fixture::latency(seconds).to_string())
            }
            "/admin/slow" => Some(fixture::slow().to_string()),
            "/metrics" => Some(fixture::metrics(readings.load(Ordering::Relaxed))),
            _ => None,
        });
        let text = once(admin, Duration::ZERO).expect("it answers");
        assert_eq!(text.lines().count(), usize::from(FRAME.1));
        assert!(text.contains("1268242042090296000"), "{text}");
    }

    #[test]
    fn q_escape_and_control_c_quit_and_other_keys_do_not() {
        let key = |code, modifiers| Event::Key(KeyEvent::new(code, modifiers));
        let none = KeyModifiers::NONE;
        assert!(is_quit(&key(KeyCode::Char('q'), none)) && is_quit(&key(KeyCode::Esc, none)));
        assert!(is_quit(&key(KeyCode::Char('c'), KeyModifiers::CONTROL)));
        assert!(!is_quit(&key(KeyCode::Char('c'), none)) && !is_quit(&Event::FocusLost));
    }

    #[test]
    fn a_server_that_is_gone_is_told_again_and_again() {
        let nobody = {
            let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
            listener.local_addr().expect("it listens")
        };
        let readings = ask(nobody, Duration::ZERO);
        for _ in 0..3 {
            let told = readings.recv().expect("the thread runs").expect_err("nobody is there");
            assert_eq!(told, format!("no server answers on its admin port {nobody}"));
        }
        assert!(once(nobody, Duration::ZERO).is_err());
    }
}
