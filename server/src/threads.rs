//! The end of threads: waited for, but never for ever.
//!
//! In: a thread that was told to end, and until when. Out: how that went.
//! *Invariant:* no wait here outlives its deadline by more than a poll.
//! Start reading at [`joined_until`].

use std::thread::{JoinHandle, sleep};
use std::time::{Duration, Instant};

/// Between two looks: short beside every deadline, long beside the cost of a look.
const POLL_EVERY: Duration = Duration::from_millis(1);

/// What has become of a thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Joined {
    Ended,
    Panicked,
    /// It goes on, without anybody who waits for it, until the program ends.
    Running,
}

/// Waits for the end of a thread; blocks until `deadline` at most.
pub fn joined_until(thread: JoinHandle<()>, deadline: Instant) -> Joined {
    while !thread.is_finished() {
        if Instant::now() >= deadline {
            return Joined::Running;
        }
        sleep(POLL_EVERY);
    }
    if thread.join().is_ok() { Joined::Ended } else { Joined::Panicked }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    #[test]
    fn a_thread_that_does_not_end_is_waited_for_no_longer_than_said() {
        let (release, held) = channel::<()>();
        let stuck = std::thread::spawn(move || _ = held.recv());
        let until = Instant::now() + Duration::from_millis(20);
        assert_eq!(joined_until(stuck, until), Joined::Running);
        assert!(Instant::now() >= until);
        drop(release);
        let long = Instant::now() + Duration::from_secs(30);
        assert_eq!(joined_until(std::thread::spawn(|| ()), long), Joined::Ended);
        assert_eq!(joined_until(std::thread::spawn(|| panic!("on purpose")), long), Joined::Panicked);
    }
}
