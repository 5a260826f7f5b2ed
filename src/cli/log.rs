//! What is logged, and where to. What repeats itself is counted instead: others can make
//! the engine say something as often as they like, and a log is not theirs to fill.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::config::LogLevel;
use crate::engine::systemd;
use tracing::callsite::Identifier;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::field::MakeExt;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::format;
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;
use v2m_error::text;

/// Lines of one kind that are written out within a [`MINUTE`]; after these, the tenth,
/// the hundredth and so on.
const FREE: u64 = 5;
const MINUTE: Duration = Duration::from_secs(60);

/// Logs from this level on to standard error or, where that is the journal, to it with
/// levels and fields.
pub(super) fn start(level: LogLevel) {
    let filter = match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
    };
    let limited = tracing_subscriber::registry()
        .with(filter)
        .with(Repeats::default());
    if systemd::stderr_is_journal()
        && let Ok(journal) = tracing_journald::layer()
    {
        let journal = journal.with_syslog_identifier("v2m-engine".into());
        limited.with(journal).init();
        return;
    }
    // Names and paths in fields are others' texts.
    let fields = format::debug_fn(|line, field, value| {
        let value = text::printable(&format!("{value:?}"), text::MESSAGE);
        match field.name() {
            "message" => write!(line, "{value}"),
            name => write!(line, "{name}={value}"),
        }
    });
    let lines = tracing_subscriber::fmt::layer()
        .fmt_fields(fields.delimited(" "))
        .with_writer(std::io::stderr)
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
        .with_target(false);
    limited.with(lines).init();
}

/// Leaves out what repeats itself, by the place in the code that says it.
#[derive(Default)]
struct Repeats(Mutex<HashMap<Identifier, Count>>);

struct Count {
    since: Instant,
    said: u64,
}

impl Count {
    /// How often it was said within this minute, this time included; 0 stands for a time
    /// that is left out.
    fn next(&mut self, now: Instant) -> u64 {
        if now.duration_since(self.since) >= MINUTE {
            (self.since, self.said) = (now, 0);
        }
        self.said += 1;
        let is_round = 10_u64.pow(self.said.ilog10()) == self.said;
        if self.said <= FREE || is_round {
            self.said
        } else {
            0
        }
    }
}

impl<S: Subscriber> Layer<S> for Repeats {
    fn event_enabled(&self, event: &Event<'_>, _: Context<'_, S>) -> bool {
        // Who asks for details gets them all.
        if *event.metadata().level() >= Level::DEBUG {
            return true;
        }
        let now = Instant::now();
        let said = {
            let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let fresh = || Count {
                since: now,
                said: 0,
            };
            let count = counts.entry(event.metadata().callsite());
            count.or_insert_with(fresh).next(now)
        };
        // Rare enough never to be left out itself.
        if said > FREE {
            tracing::warn!("said {said} times within a minute, mostly left out:");
        }
        said > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeats_are_counted_and_few_are_written() {
        let start = Instant::now();
        let mut count = Count {
            since: start,
            said: 0,
        };
        let mut said = |seconds| count.next(start + Duration::from_secs(seconds));
        let first: Vec<u64> = (0..2000)
            .map(|_| said(1))
            .filter(|&said| said > 0)
            .collect();
        assert_eq!(first, [1, 2, 3, 4, 5, 10, 100, 1000]);
        assert_eq!([said(59), said(60), said(61)], [0, 1, 2]);
    }
}
