//! Log lines: for a person on a terminal, as JSON otherwise; and a lid on those that a stranger can cause.
//!
//! In: events of `tracing`. Out: lines on stderr.
//! *Invariant:* whatever strangers do, they cause at most [`STRANGER_LINES_PER_S`] lines a second; each line says how
//! many were suppressed before it.
//! Start reading at [`start_logging`], then [`LineLimit`].

use std::io::IsTerminal;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tracing::{Level, Metadata, Subscriber, warn};
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::fmt::layer;
use tracing_subscriber::fmt::writer::BoxMakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, registry};

use super::outlet::Outlet;
use super::traces::Traces;

/// Log filter when `RUST_LOG` says nothing. The two network crates log every bad datagram as an error (case N9);
/// ours are counted instead.
const LOG_FILTER: &str = "info,renetcode=off,renet=off,sqlx=warn";
/// Replaces it.
const FILTER_VARIABLE: &str = "RUST_LOG";
/// Log lines that all strangers together may cause in a second.
pub const STRANGER_LINES_PER_S: u32 = 10;

/// Sends logs to stderr: for a person on a terminal, as JSON otherwise. `RUST_LOG` overrides the filter, for logs and
/// not for traces, whose spans are ours alone.
/// Lines logged before the answer is dropped are written by then.
#[must_use]
pub fn start_logging(traces: Option<&Traces>) -> Option<Outlet> {
    let (filter, wrong) = log_filter(std::env::var(FILTER_VARIABLE).ok().as_deref());
    // Without a thread for it, the log is only slower.
    let outlet = Outlet::open(std::io::stderr()).ok();
    let writer = outlet.as_ref().map(|outlet| BoxMakeWriter::new(outlet.writer()));
    let lines = layer().with_writer(writer.unwrap_or_else(|| BoxMakeWriter::new(std::io::stderr)));
    let lines = if std::io::stderr().is_terminal() { lines.boxed() } else { lines.json().boxed() };
    let spans = traces.map(|traces| {
        traces.make_global();
        spans_to(traces)
    });
    // Fails only when a test has started logging before; then that stays.
    let _ = registry().with(spans).with(lines.with_filter(filter)).try_init();
    if let Some(wrong) = wrong {
        warn!("{FILTER_VARIABLE} cannot be read and counts as not set: {wrong}");
    }
    outlet
}

/// What a variable with this text asks for, and what is wrong with it. One that is empty counts as not set, like all of
/// ours: taken literally it would keep everything but errors out of the log.
pub(crate) fn log_filter(text: Option<&str>) -> (EnvFilter, Option<String>) {
    let asked = text.filter(|text| !text.trim().is_empty()).map(EnvFilter::try_new).transpose();
    let wrong = asked.as_ref().err().map(ToString::to_string);
    (asked.ok().flatten().unwrap_or_else(|| EnvFilter::new(LOG_FILTER)), wrong)
}

/// Our spans, and what is said inside them.
pub(super) fn spans_to<S>(traces: &Traces) -> impl Layer<S> + use<S>
where
    S: Subscriber + for<'span> LookupSpan<'span> + Send + Sync,
{
    let ours = |metadata: &Metadata<'_>| {
        *metadata.level() <= Level::INFO && metadata.target().starts_with(env!("CARGO_CRATE_NAME"))
    };
    let spans = tracing_opentelemetry::layer().with_tracer(traces.tracer());
    let spans = spans.with_location(false).with_threads(false).with_target(false).with_tracked_inactivity(false);
    spans.with_filter(filter_fn(ours))
}

/// The lid on lines that strangers can cause. There is one of it, because they share one log.
pub static STRANGERS: LineLimit = LineLimit::new();

/// At most [`STRANGER_LINES_PER_S`] lines in any second that begins with a line.
#[derive(Debug)]
pub struct LineLimit(Mutex<Lines>);

#[derive(Debug)]
struct Lines {
    second: Option<Instant>,
    written: u32,
    /// Since the last line that was written.
    suppressed: u64,
    suppressed_ever: u64,
}

impl LineLimit {
    #[expect(clippy::new_without_default, reason = "a default cannot make a static")]
    pub const fn new() -> LineLimit {
        LineLimit(Mutex::new(Lines { second: None, written: 0, suppressed: 0, suppressed_ever: 0 }))
    }

    /// Whether a line may be written now: how many were suppressed before it, or `None` when it is suppressed itself.
    pub fn admit(&self, now: Instant) -> Option<u64> {
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.second.is_none_or(|began| now.saturating_duration_since(began) >= Duration::from_secs(1)) {
            (lines.second, lines.written) = (Some(now), 0);
        }
        if lines.written == STRANGER_LINES_PER_S {
            lines.suppressed += 1;
            lines.suppressed_ever += 1;
            return None;
        }
        lines.written += 1;
        Some(std::mem::take(&mut lines.suppressed))
    }

    /// Lines suppressed so far.
    pub fn suppressed_ever(&self) -> u64 {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).suppressed_ever
    }
}

/// Logs a line that a stranger can cause: `stranger_line!(warn, field, "words")`. Nothing is evaluated when the level is off.
#[macro_export]
macro_rules! stranger_line {
    ($level:ident, $($rest:tt)+) => {
        $crate::stranger_line!(in $crate::telemetry::STRANGERS, $level, $($rest)+)
    };
    (in $limit:expr, error, $($rest:tt)+) => { $crate::stranger_line!(at $limit, ERROR, error, $($rest)+) };
    (in $limit:expr, warn, $($rest:tt)+) => { $crate::stranger_line!(at $limit, WARN, warn, $($rest)+) };
    (in $limit:expr, info, $($rest:tt)+) => { $crate::stranger_line!(at $limit, INFO, info, $($rest)+) };
    (in $limit:expr, debug, $($rest:tt)+) => { $crate::stranger_line!(at $limit, DEBUG, debug, $($rest)+) };
    (at $limit:expr, $level:ident, $write:ident, $($rest:tt)+) => {
        if ::tracing::enabled!(::tracing::Level::$level)
            && let Some(suppressed) = $limit.admit(::std::time::Instant::now())
        {
            ::tracing::$write!(suppressed, $($rest)+);
        }
    };
}

pub use crate::stranger_line;

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn ten_lines_a_second_pass_and_the_next_one_tells_how_many_did_not() {
        let (limit, noon) = (LineLimit::new(), Instant::now());
        let at = |ms| noon + Duration::from_millis(ms);
        let admitted = (0..1000).filter(|line| limit.admit(at(line / 2)).is_some()).count();
        assert_eq!(admitted, 10);
        assert_eq!(limit.admit(at(1000)), Some(990));
        assert_eq!(limit.admit(at(1001)), Some(0));
        assert_eq!(limit.suppressed_ever(), 990);
    }

    #[test]
    fn a_filter_that_says_nothing_or_nonsense_counts_as_not_set() {
        let usual = log_filter(None).0.to_string();
        assert_eq!(log_filter(Some("")).0.to_string(), usual);
        assert_eq!(log_filter(Some(" ")).0.to_string(), usual);
        assert_eq!(log_filter(Some("info,astro_server=debug")).0.to_string(), "astro_server=debug,info");
        let (filter, wrong) = log_filter(Some("astro_server=loud"));
        assert_eq!(filter.to_string(), usual);
        assert!(wrong.is_some() && log_filter(Some("debug")).1.is_none());
    }

    /// Keeps what is written.
    #[derive(Clone, Default)]
    struct Page(Arc<Mutex<Vec<u8>>>);

    impl std::io::Write for Page {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_flood_of_one_stranger_line_leaves_ten_on_the_page() {
        let (limit, page) = (LineLimit::new(), Page::default());
        let writer = page.clone();
        let log = tracing_subscriber::fmt().json().with_writer(move || writer.clone()).finish();
        tracing::subscriber::with_default(log, || {
            for number in 0..500 {
                stranger_line!(in limit, warn, number, "knock");
                stranger_line!(in limit, debug, number, "off, so it costs nothing of the ten");
            }
        });
        let page = String::from_utf8(page.0.lock().unwrap().clone()).unwrap();
        // A machine that takes over a second for this may write the next ten.
        let seconds = page.lines().count() / 10;
        assert!(page.lines().count() == 10 * seconds && seconds < 5, "{} lines", page.lines().count());
        assert!(page.lines().all(|line| line.contains("\"suppressed\":") && line.contains("knock")), "{page}");
    }
}
