//! The terminal while `top` has it: keys one by one, a screen of its own, and everything back as it was at the end.
//!
//! In: lines to show, keys, signals. Out: the screen.
//! *Invariant:* dropping a [`Terminal`] restores settings and screen; a signal that asks for the end leads to a drop, too.
//! *Invariant:* signals are blocked before any other thread exists: one that another thread could take would end the
//! program before the drop.
//! Start reading at [`Ending::watch`] and [`Terminal::open`].

use std::io::{self, Read, Stdin, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nix::sys::signal::{SigSet, Signal};
use nix::sys::termios::{LocalFlags, SetArg, SpecialCharacterIndices, Termios, tcgetattr, tcsetattr};

/// Another screen, no cursor; and back.
const ENTER: &str = "\x1b[?1049h\x1b[?25l";
const LEAVE: &str = "\x1b[?25h\x1b[?1049l";
/// To the upper left corner; the rest of a line; the rest of the screen.
const HOME: &str = "\x1b[H";
const CLEAR_LINE: &str = "\x1b[K\r\n";
const CLEAR_BELOW: &str = "\x1b[J";
const CTRL_C: u8 = 3;
/// When the terminal does not say how large it is.
const SIZE_DEFAULT: (usize, usize) = (80, 24);

/// Signals that ask for the end. A kill -9 cannot be waited for.
const ENDING: [Signal; 4] = [Signal::SIGTERM, Signal::SIGHUP, Signal::SIGINT, Signal::SIGQUIT];

/// What came while waiting.
pub enum Key {
    Quit,
    Nothing,
}

/// Whether a signal has asked for the end.
#[derive(Clone)]
pub struct Ending(Arc<AtomicBool>);

impl Ending {
    /// Notes signals from now on instead of dying of them. To be called before any other thread is made: threads made
    /// later inherit the blocking, earlier ones would take the signals.
    ///
    /// # Errors
    /// When the system does not allow it.
    pub fn watch() -> io::Result<Ending> {
        let signals = SigSet::from_iter(ENDING);
        signals.thread_block()?;
        let ending = Ending(Arc::default());
        let noted = ending.clone();
        std::thread::Builder::new().name("signals".into()).spawn(move || {
            let _ = signals.wait();
            noted.0.store(true, Ordering::Relaxed);
        })?;
        Ok(ending)
    }
}

pub struct Terminal {
    input: Stdin,
    found: Termios,
    ending: Ending,
}

impl Terminal {
    /// Takes the terminal.
    ///
    /// # Errors
    /// When stdin is none.
    pub fn open(ending: Ending) -> io::Result<Terminal> {
        let input = io::stdin();
        let found = tcgetattr(&input)?;
        let mut raw = found.clone();
        // Signals off: Ctrl-C is a key, so that it cannot end the program before the drop.
        raw.local_flags.remove(LocalFlags::ICANON | LocalFlags::ECHO | LocalFlags::ISIG);
        // A read answers after a tenth of a second at the latest.
        raw.control_chars[SpecialCharacterIndices::VMIN as usize] = 0;
        raw.control_chars[SpecialCharacterIndices::VTIME as usize] = 1;
        tcsetattr(&input, SetArg::TCSANOW, &raw)?;
        let terminal = Terminal { input, found, ending };
        print!("{ENTER}");
        io::stdout().flush()?;
        Ok(terminal)
    }

    /// Waits that long, or until somebody wants to end.
    pub fn wait(&mut self, time: Duration) -> io::Result<Key> {
        let until = Instant::now() + time;
        while Instant::now() < until {
            let mut keys = [0; 16];
            let read = self.input.read(&mut keys)?;
            if self.ending.0.load(Ordering::Relaxed)
                || keys[..read].iter().any(|key| b"qQ".contains(key) || *key == CTRL_C)
            {
                return Ok(Key::Quit);
            }
        }
        Ok(Key::Nothing)
    }

    /// Draws lines over what was there; what does not fit is left out.
    pub fn show(&mut self, lines: &[String]) -> io::Result<()> {
        let (columns, rows) = size();
        let mut screen = String::from(HOME);
        // The last row stays free: a line break there would scroll.
        for line in lines.iter().take(rows.saturating_sub(1)) {
            screen.extend(line.chars().take(columns));
            screen.push_str(CLEAR_LINE);
        }
        screen.push_str(CLEAR_BELOW);
        let mut out = io::stdout().lock();
        out.write_all(screen.as_bytes())?;
        out.flush()
    }
}

/// Columns and rows of the terminal.
pub fn size() -> (usize, usize) {
    terminal_size::terminal_size().map_or(SIZE_DEFAULT, |(width, height)| (width.0.into(), height.0.into()))
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // Nothing can be done about a terminal that is gone.
        let _ = tcsetattr(&self.input, SetArg::TCSANOW, &self.found);
        let mut out = io::stdout();
        let _ = out.write_all(LEAVE.as_bytes()).and_then(|()| out.flush());
    }
}
