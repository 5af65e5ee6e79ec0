//! Production mode: what is fine on a desk and not in public.
//!
//! In: settings. Out: everything that speaks against them, each with what to do instead.
//! *Invariant:* no complaint shows a secret.
//! Start reading at [`complaints`].

use super::{Config, Secret, names_of};
use crate::api::play::Origin;
use crate::transport::websocket::SnapshotQueue;

/// Characters of a key at least: 32 hex digits are 128 bits.
const KEY_CHARS_MIN: usize = 32;
/// What stands for secrets in `.env.example`.
pub const SAMPLE_SECRET: &str = "sample-put-64-random-hex-digits-here";

/// Everything that production mode refuses in these settings.
pub fn complaints(config: &Config) -> Vec<String> {
    let fleet_key = secret("fleet_key", config.fleet_key.as_ref());
    // Without one the listener is on a loopback address.
    let ops_key = config.ops_key.as_ref().and_then(|key| secret("ops_key", Some(key)));
    [fleet_key, ops_key, load_test(config), origins(config), snapshot_queue(config)].into_iter().flatten().collect()
}

fn snapshot_queue(config: &Config) -> Option<String> {
    let complaint =
        || format!("snapshot_queue = all lets players see what is old: leave it out ({})", names_of("snapshot_queue"));
    (config.snapshot_queue == SnapshotQueue::All).then(complaint)
}

fn load_test(config: &Config) -> Option<String> {
    let complaint =
        || format!("load_test lifts the limits on single addresses: leave it out ({})", names_of("load_test"));
    config.load_test.then(complaint)
}

fn origins(config: &Config) -> Option<String> {
    let complaint =
        || format!("origins = * lets any page play here for whoever opens it: list pages ({})", names_of("origins"));
    config.origins.contains(&Origin::Any).then(complaint)
}

fn secret(name: &str, secret: Option<&Secret>) -> Option<String> {
    let wrong = match secret.map(Secret::reveal) {
        None => "is not set".to_owned(),
        Some(text) if text == SAMPLE_SECRET => "is the sample from .env.example".to_owned(),
        Some(text) if text.chars().count() < KEY_CHARS_MIN => format!("has less than {KEY_CHARS_MIN} characters"),
        Some(text) if is_dull(text) => "repeats a few characters".to_owned(),
        Some(_) => return None,
    };
    Some(format!("{name} {wrong}: make one with `openssl rand -hex 32` ({})", names_of(name)))
}

/// Whether nobody drew this at random: 32 random hex digits have fewer than 6 different ones about once in 10^11 draws.
fn is_dull(text: &str) -> bool {
    let mut different: Vec<char> = text.chars().collect();
    different.sort_unstable();
    different.dedup();
    different.len() < 6
}
