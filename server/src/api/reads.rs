//! How much one address may read: finished matches, replays, running matches.
//!
//! In: who asks, and when. Out: yes, or a [`Refusal`] that says for how long.
//! Each costs a query of the store or a look at the directory, and a replay a hundred kilobytes; so a loop around `curl`
//! should not cost players anything.
//! *Invariant:* memory is bounded: at most [`NETWORKS_MAX`] networks are told apart; the rest share one allowance.
//! *Invariant:* time is an argument.
//! Start reading at [`Reads::admit`].

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::Extension;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;

use super::Api;
use super::error::ApiError;
use super::limits::{NETWORKS_MAX, Rate, Refusal, SWEEP_EVERY};
use super::peer::{Network, Peer};

/// Reads of one address at once, and then per second. A class of 30 that opens a list with all its replays, and then each
/// of them again every other second.
const BURST: u32 = 600;
const PER_SECOND: u32 = 20;

/// Who may read now.
pub(super) struct Reads {
    rate: Rate,
    /// Lifted for a load test, which comes from one address.
    limited: bool,
    known: Mutex<Known>,
}

struct Known {
    /// When the allowance of each is whole again. Bounded by [`NETWORKS_MAX`].
    networks: HashMap<Network, Instant>,
    swept: Instant,
}

impl Reads {
    pub fn new(load_test: bool, now: Instant) -> Reads {
        let known = Mutex::new(Known { networks: HashMap::new(), swept: now });
        Reads { rate: Rate::new(BURST, PER_SECOND, Duration::from_secs(1)), limited: !load_test, known }
    }

    /// Counts one read.
    ///
    /// # Errors
    /// When the address has used up its allowance.
    fn admit(&self, address: IpAddr, now: Instant) -> Result<(), Refusal> {
        if !self.limited {
            return Ok(());
        }
        // A panic elsewhere cannot leave an operation on the map half done, so a poisoned lock is still sound.
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if now.saturating_duration_since(known.swept) >= SWEEP_EVERY {
            known.swept = now;
            known.networks.retain(|_, whole_again| *whole_again > now);
        }
        let mut network = Network::of(address);
        if known.networks.len() >= NETWORKS_MAX && !known.networks.contains_key(&network) {
            network = Network::CROWD;
        }
        let whole_again = known.networks.entry(network).or_insert(now);
        self.rate.take(whole_again, now).map_err(|wait| Refusal::ReadsOfAddress {
            network,
            burst: BURST,
            per_second: PER_SECOND,
            wait,
        })
    }
}

/// Lets a reading request through, or not.
pub(super) async fn limit(
    State(api): State<Arc<Api>>,
    peer: Option<Extension<Peer>>,
    request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    // Without an address, as in a test without a network, all share one.
    let address = peer.map_or(Network::CROWD.address(), |Extension(Peer(address))| address);
    api.reads.admit(address, Instant::now()).map_err(|refusal| api.refused(refusal))?;
    Ok(next.run(request).await)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADA: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(203, 0, 113, 1));
    const GRACE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(203, 0, 113, 2));

    fn let_in(reads: &Reads, address: IpAddr, now: Instant) -> usize {
        (0..1000).filter(|_| reads.admit(address, now).is_ok()).count()
    }

    #[test]
    fn an_address_reads_its_burst_and_then_its_rate_and_others_have_their_own() {
        let start = Instant::now();
        let reads = Reads::new(false, start);
        assert_eq!(let_in(&reads, ADA, start), 600);
        let refusal = reads.admit(ADA, start).err().unwrap();
        assert_eq!((refusal.name(), refusal.is_of_address(), refusal.retry_after_s()), ("reads_per_address", true, 1));
        assert_eq!(let_in(&reads, GRACE, start), 600);
        assert_eq!(let_in(&reads, ADA, start + Duration::from_secs(2)), 40);
        let _ = reads.admit(GRACE, start + Duration::from_secs(60));
        assert_eq!(reads.known.lock().unwrap().networks.len(), 1, "who has all of it back is forgotten");
        assert_eq!(let_in(&Reads::new(true, start), ADA, start), 1000, "a load test is not limited");
    }
}
