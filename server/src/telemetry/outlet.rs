//! The way of log lines to stderr: through a queue and a thread of its own.
//!
//! In: whole lines, from any thread. Out: the same lines on stderr.
//! *Invariant:* whoever logs never waits, even when nobody reads stderr: lines that do not fit are lost and counted.
//! *Invariant:* what was logged before an [`Outlet`] is dropped is written by then, if stderr takes it within a second.
//! Start reading at [`Outlet::open`].

use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use tracing_subscriber::fmt::MakeWriter;

use crate::priority::yield_to_shards;

/// Lines that may wait: about a second of a very talkative server.
const LINES_MAX: usize = 8192;
/// How long the end of the program waits for the last lines.
const FINISH_WITHIN: Duration = Duration::from_secs(1);

/// Lines that found no room, in this process.
static LOST: AtomicU64 = AtomicU64::new(0);

/// Lines lost so far because nobody took them.
pub fn lost_ever() -> u64 {
    LOST.load(Ordering::Relaxed)
}

enum Item {
    Line(Vec<u8>),
    /// Everything before this is written when the answer comes.
    Finish(SyncSender<()>),
}

/// The near end. Dropping it waits for what is under way.
pub struct Outlet {
    lines: SyncSender<Item>,
}

impl Outlet {
    /// Starts the thread.
    ///
    /// # Errors
    /// When the system gives none.
    pub fn open(target: impl Write + Send + 'static) -> io::Result<Outlet> {
        let (lines, waiting) = sync_channel(LINES_MAX);
        std::thread::Builder::new().name("log".into()).spawn(move || {
            yield_to_shards();
            write_all(&waiting, target);
        })?;
        Ok(Outlet { lines })
    }

    pub(super) fn writer(&self) -> Writer {
        Writer { lines: self.lines.clone() }
    }
}

impl Drop for Outlet {
    fn drop(&mut self) {
        let (done, wait) = sync_channel(1);
        if self.lines.try_send(Item::Finish(done)).is_ok() {
            let _ = wait.recv_timeout(FINISH_WITHIN);
        }
    }
}

fn write_all(waiting: &Receiver<Item>, mut target: impl Write) {
    for item in waiting {
        // Nobody can be told that the log cannot be written.
        let _ = match item {
            Item::Line(line) => target.write_all(&line),
            Item::Finish(done) => target.flush().map(|()| _ = done.try_send(())),
        };
    }
}

/// What the formatter writes a line to.
#[derive(Clone)]
pub(super) struct Writer {
    lines: SyncSender<Item>,
}

impl Write for Writer {
    /// The formatter gives a line at a time.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.lines.try_send(Item::Line(line.to_vec())).is_err() {
            LOST.fetch_add(1, Ordering::Relaxed);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Writer {
    type Writer = Writer;

    fn make_writer(&'a self) -> Writer {
        self.clone()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    /// A page that takes a line only when it is let.
    #[derive(Clone, Default)]
    struct Page {
        written: Arc<Mutex<Vec<u8>>>,
    }

    impl Write for Page {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.written.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lines_come_out_whole_and_in_order_before_the_outlet_is_gone() {
        let page = Page::default();
        let outlet = Outlet::open(page.clone()).unwrap();
        let mut writer = outlet.writer();
        (0..100).for_each(|number| writer.write_all(format!("line {number}\n").as_bytes()).unwrap());
        drop(outlet);
        let expected: String = (0..100).map(|number| format!("line {number}\n")).collect();
        assert_eq!(String::from_utf8(page.written.lock().unwrap().clone()).unwrap(), expected);
    }

    #[test]
    fn whoever_logs_does_not_wait_for_a_reader_that_hangs() {
        let page = Page::default();
        let hang = page.written.lock().unwrap();
        let outlet = Outlet::open(page.clone()).unwrap();
        let mut writer = outlet.writer();
        let before = lost_ever();
        (0..2 * LINES_MAX).for_each(|_| writer.write_all(b"x\n").unwrap());
        assert!(lost_ever() - before >= (LINES_MAX - 1) as u64, "one may be in the thread's hands");
        drop(hang);
    }
}
