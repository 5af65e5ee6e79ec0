//! Which connection requests are worth decrypting: those that show a token which was really given out, and not too often.
//!
//! In: the nonce of every token, from whoever mints them; requests. Out: yes, or why not.
//! A token's nonce stands in the clear in its request, 24 random bytes that nobody can guess. So a flood of fakes costs
//! a look-up each, wherever they seem to come from; whoever floods with a token of his own uses up the allowance of that
//! token, and nobody else's. A budget per source address would do neither: addresses can be made up.
//! *Invariant:* memory is bounded by the tickets given out in a ticket's life, which have limits of their own.
//! *Invariant:* time comes as an argument.
//! Start reading at [`Requests::check`].

use std::collections::{HashMap, VecDeque};
use std::sync::mpsc::Receiver;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Where the nonce lies in a request: behind prefix, version, protocol and expiry.
const NONCE_AT: usize = 1 + 13 + 8 + 8;
/// Length of a netcode 1.02 nonce.
pub const NONCE_BYTES: usize = 24;
/// Requests with one token: at once, and per second. A client repeats its own four times a second, PROTOCOL.md
/// allows ten.
const AT_ONCE: f64 = 8.0;
const PER_S: f64 = 20.0;

/// A token that was given out.
#[derive(Clone, Copy, Debug)]
pub struct Invitation {
    pub nonce: [u8; NONCE_BYTES],
    /// When the token is worth nothing any more, on the shards' clock.
    pub until: Duration,
}

/// The receiving end of a shard's invitations. It outlives the shard's `App`; only the shard's thread ever locks it.
pub type Invitations = Arc<Mutex<Receiver<Invitation>>>;

/// Tokens that may be shown now.
pub(super) struct Requests {
    invitations: Invitations,
    open: HashMap<[u8; NONCE_BYTES], Tries>,
    by_age: VecDeque<Invitation>,
}

/// What is left of a token's allowance.
struct Tries {
    left: f64,
    counted: Duration,
}

impl Requests {
    pub fn new(invitations: Invitations) -> Requests {
        Requests { invitations, open: HashMap::new(), by_age: VecDeque::new() }
    }

    /// Takes in what was given out, forgets what is over; to be called before requests are checked.
    pub fn update(&mut self, now: Duration) {
        let invitations = self.invitations.lock().unwrap_or_else(PoisonError::into_inner);
        for invitation in invitations.try_iter() {
            self.open.insert(invitation.nonce, Tries { left: AT_ONCE, counted: now });
            self.by_age.push_back(invitation);
        }
        // All live equally long, give or take what two threads need to hand them over.
        while let Some(oldest) = self.by_age.pop_front_if(|oldest| oldest.until <= now) {
            self.open.remove(&oldest.nonce);
        }
    }

    /// Whether a request may be decrypted; counts it.
    ///
    /// # Errors
    /// Why not, as metrics name it.
    pub fn check(&mut self, request: &[u8], now: Duration) -> Result<(), &'static str> {
        let nonce = request.get(NONCE_AT..NONCE_AT + NONCE_BYTES).unwrap_or_default();
        let Some(tries) = self.open.get_mut(nonce) else { return Err("uninvited") };
        let passed = now.saturating_sub(tries.counted).as_secs_f64();
        tries.counted = now;
        tries.left = (tries.left + passed * PER_S).min(AT_ONCE);
        if tries.left < 1.0 {
            return Err("rate");
        }
        tries.left -= 1.0;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;

    #[test]
    fn only_tokens_that_were_given_out_are_looked_at_each_so_often_and_until_they_are_over() {
        let (sender, receiver) = channel();
        let mut requests = Requests::new(Arc::new(Mutex::new(receiver)));
        let second = Duration::from_secs(1);
        let request = |byte: u8| {
            let mut request = vec![9; 1078];
            request[NONCE_AT..NONCE_AT + NONCE_BYTES].fill(byte);
            request
        };
        let passes = |requests: &mut Requests, byte, now| {
            (0..100).filter(|_| requests.check(&request(byte), now).is_ok()).count()
        };
        sender.send(Invitation { nonce: [1; NONCE_BYTES], until: second * 16 }).unwrap();
        assert_eq!(requests.check(&request(1), second), Err("uninvited"), "not known yet");
        requests.update(second);
        assert_eq!(passes(&mut requests, 1, second), 8);
        assert_eq!(requests.check(&request(1), second), Err("rate"));
        assert_eq!(requests.check(&request(2), second), Err("uninvited"));
        assert_eq!(passes(&mut requests, 1, second * 5 / 4), 5);
        assert_eq!(requests.check(&[], second), Err("uninvited"));
        requests.update(second * 16);
        assert_eq!(requests.check(&request(1), second * 16), Err("uninvited"), "over");
        assert!(requests.open.is_empty() && requests.by_age.is_empty());
    }
}
