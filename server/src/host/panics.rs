//! What the last panic of a shard's thread said.
//!
//! In: panics, through the process's hook. Out: message and place, for the log and the capsule.
//! *Invariant:* only threads that asked for it are listened to; everybody else's panics are reported as before.
//! Start reading at [`listen`].

use std::cell::RefCell;
use std::panic::{PanicHookInfo, set_hook, take_hook};
use std::sync::Once;

thread_local! {
    /// `None`: this thread has not asked.
    static LAST: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// From now on this thread's panics are remembered instead of printed; whoever fences them tells.
pub fn listen() {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = take_hook();
        set_hook(Box::new(move |panic| {
            if !LAST.with_borrow_mut(|last| remember(last, panic)) {
                before(panic);
            }
        }));
    });
    LAST.set(Some(String::new()));
}

/// What the thread's newest panic said since the last call, and where.
pub fn take() -> String {
    LAST.with_borrow_mut(|last| last.as_mut().map(std::mem::take).unwrap_or_default())
}

fn remember(last: &mut Option<String>, panic: &PanicHookInfo<'_>) -> bool {
    let Some(last) = last else { return false };
    let said = panic.payload_as_str().unwrap_or("a panic without words");
    *last = match panic.location() {
        Some(place) => format!("{said} ({place})"),
        None => said.to_owned(),
    };
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listening_thread_knows_what_its_panic_said_and_where() {
        let thread = std::thread::spawn(|| {
            listen();
            let fenced = std::panic::catch_unwind(|| panic!("the {} is wet", "powder"));
            (fenced.is_err(), take(), take())
        });
        let (panicked, said, again) = thread.join().unwrap();
        assert!(panicked && said.starts_with("the powder is wet (") && said.contains("panics.rs:"), "{said}");
        assert_eq!(again, "");
    }
}
