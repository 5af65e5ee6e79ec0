//! Demo matches: something to look at before anybody has come.
//!
//! In: a number. Out: matches flown by pilots, on the host.
//! *Invariant:* their want of room is no reason not to start.
//! Start reading at [`open`].

use std::sync::Arc;
use std::time::Duration;

use astro_shared::sim::units::MatchId;
use tracing::warn;
use uuid::Uuid;

use crate::assets::{DEFAULT_RULES, Rulebook};
use crate::hosts::{Hold, Hosts, MatchOrder};

/// Seats of a demo match.
const SEATS: u8 = 4;

/// Opens so many demo matches; answers how many there are.
pub async fn open(hosts: &dyn Hosts, rulebook: &Rulebook, wanted: usize) -> usize {
    let Some(ruleset) = rulebook.named(DEFAULT_RULES) else { return 0 };
    for opened in 0..wanted {
        let order = MatchOrder {
            match_id: MatchId(Uuid::now_v7().as_u128()),
            seats: SEATS,
            ruleset: Arc::clone(ruleset),
            fill_after: Duration::ZERO,
            demo: true,
            spectate_delay: Duration::ZERO,
            listed: true,
            unclaimed: Hold::default(),
        };
        if let Err(error) = hosts.allocate(order).await {
            warn!(%error, opened, wanted, "no room for more demo matches");
            return opened;
        }
    }
    wanted
}
