//! Promise: whatever ends `astro-server top`, the terminal is left as it was found.

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Child, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use astro_tests::service::{Service, program};
use nix::pty::{Winsize, openpty};
use nix::sys::signal::{Signal, kill};
use nix::sys::termios::{LocalFlags, Termios, tcgetattr};
use nix::unistd::Pid;

const LIMIT: Duration = Duration::from_secs(30);
/// To another screen without a cursor, and back.
const ENTER: &str = "\x1b[?1049h\x1b[?25l";
const LEAVE: &str = "\x1b[?25h\x1b[?1049l";

/// A terminal of 80 by 24 in which `top` runs.
struct Screen {
    top: Child,
    near: OwnedFd,
    /// Held, so that the terminal outlives the program.
    _far: OwnedFd,
    written: Receiver<Vec<u8>>,
    seen: String,
}

impl Screen {
    fn open(service: &Service) -> Screen {
        let size = Winsize { ws_row: 24, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 };
        let settings: Option<&Termios> = None;
        let terminal = openpty(Some(&size), settings).expect("a terminal");
        let end = || Stdio::from(terminal.slave.try_clone().expect("a descriptor"));
        let mut top = program(&service.folder);
        top.args(["top", "--ops", &service.ops]).stdin(end()).stdout(end()).stderr(end());
        let top = top.spawn().expect("top starts");
        let mut reader = File::from(terminal.master.try_clone().expect("a descriptor"));
        let (sender, written) = channel();
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(read) = reader.read(&mut bytes)
                && sender.send(bytes[..read].to_vec()).is_ok()
            {}
        });
        Screen { top, near: terminal.master, _far: terminal.slave, written, seen: String::new() }
    }

    fn wait_for(&mut self, text: &str) {
        let deadline = Instant::now() + LIMIT;
        while !self.seen.contains(text) {
            let left = deadline.saturating_duration_since(Instant::now());
            let bytes = self.written.recv_timeout(left).unwrap_or_else(|_| panic!("no {text:?} in {:?}", self.seen));
            self.seen += &String::from_utf8_lossy(&bytes);
        }
    }

    /// Whether keys are shown and collected into lines, as a shell expects it.
    fn is_as_found(&self) -> bool {
        let flags = tcgetattr(self.near.as_fd()).expect("its settings").local_flags;
        flags.contains(LocalFlags::ICANON | LocalFlags::ECHO | LocalFlags::ISIG)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        let _ = self.top.kill();
        let _ = self.top.wait();
    }
}

/// Broken by a thread that exists before signals are blocked: it takes the signal, and the program dies of it.
#[test]
fn signals_that_ask_for_the_end_restore_screen_and_settings() {
    let service = Service::start("top-signals", &[]);
    for signal in [Signal::SIGTERM, Signal::SIGHUP, Signal::SIGINT, Signal::SIGQUIT] {
        let mut screen = Screen::open(&service);
        assert!(screen.is_as_found());
        screen.wait_for(ENTER);
        screen.wait_for("late/s");
        assert!(!screen.is_as_found(), "top reads keys one by one");
        kill(Pid::from_raw(screen.top.id() as i32), signal).expect("a signal");
        screen.wait_for(LEAVE);
        let status = screen.top.wait().expect("its end");
        assert_eq!(status.code(), Some(0), "{signal}");
        assert!(screen.is_as_found(), "{signal}");
    }
}
