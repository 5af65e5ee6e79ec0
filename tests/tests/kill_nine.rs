//! Promise: a finished match is stored exactly once, even when the server is killed between its end and its storing.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use astro_shared::sim::units::MatchId;
use astro_tests::service::{Service, UdpPlayer, blitz_assets};
use nix::unistd;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions, Connection};

const KILLS: u64 = 20;

/// Matches of about a second, one after the other on several pairs of seats, until `enough`.
fn play_until(service: &Service, seen: &mut HashSet<MatchId>, mut enough: impl FnMut(usize) -> bool) {
    let mut players: Vec<UdpPlayer> = Vec::new();
    let started = Instant::now();
    let mut told = 0;
    for pair in 0..4 {
        for name in ["Ada", "Grace"] {
            players.push(service.join(name, "blitz", 2, &format!("pair{pair}")));
        }
    }
    while !enough(told) {
        for player in &mut players {
            player.drive();
            if player.session.result().is_some() && seen.insert(player.match_id) {
                told += 1;
            }
        }
        assert!(started.elapsed() < Duration::from_secs(30), "no results: {told} told");
    }
}

/// Holds the database's write lock, so that nothing can be stored.
async fn locked(service: &Service) -> SqliteConnection {
    let path = service.folder.join("data/astro.db");
    let mut connection = SqliteConnectOptions::new().filename(path).connect().await.expect("the database");
    sqlx::query("BEGIN IMMEDIATE").execute(&mut connection).await.expect("the write lock");
    connection
}

#[test]
fn twenty_kills_between_match_end_and_stored_result_lose_and_double_nothing() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let seed: u64 = 4711;
    let mut random = StdRng::seed_from_u64(seed);
    let scratch = std::env::temp_dir().join(format!("astro-kill-{}", unistd::getpid()));
    let assets = blitz_assets(&scratch);
    let mut service = Service::start("kill", &["--assets", assets.to_str().unwrap()]);
    // Matches whose result players were told: from then on the server has promised to store them.
    let mut told = HashSet::new();
    let mut killed_before_storing = 0;
    for kill in 0..KILLS {
        // Every second time the store is held up, so that the kill surely falls between the two; the other
        // times it falls anywhere in the middle of writing, delivering and storing.
        let held = kill % 2 == 0;
        let lock = held.then(|| runtime.block_on(locked(&service)));
        let wanted = random.random_range(1..=4);
        play_until(&service, &mut told, |results| results >= wanted);
        let pause = Instant::now() + Duration::from_micros(random.random_range(0..20_000));
        while Instant::now() < pause {
            std::hint::spin_loop();
        }
        service.kill_nine();
        if let Some(lock) = lock {
            runtime.block_on(lock.close()).expect("released");
        }
        let stored = runtime.block_on(stored_ids(&service));
        killed_before_storing += usize::from(told.iter().any(|id| !stored.contains(id)));
        service = service.restart();
        for id in &told {
            service.stored(*id);
        }
    }
    assert!(killed_before_storing >= 10, "seed {seed}: only {killed_before_storing} kills fell before the storing");
    let stored = runtime.block_on(stored_ids(&service));
    let distinct: HashSet<MatchId> = stored.iter().copied().collect();
    assert_eq!(distinct.len(), stored.len(), "seed {seed}: a match is stored twice");
    assert!(told.is_subset(&distinct), "seed {seed}: a told result is missing");
    // Seats and replays are stored with their match or not at all.
    let (seats, replays) = runtime.block_on(row_counts(&service));
    assert_eq!((seats, replays), (2 * stored.len() as i64, stored.len() as i64), "seed {seed}");
    println!(
        "seed {seed}: {KILLS} kills, {killed_before_storing} of them before the storing, {} matches stored",
        stored.len()
    );
    let _ = std::fs::remove_dir_all(scratch);
}

async fn open(service: &Service) -> SqliteConnection {
    let path = service.folder.join("data/astro.db");
    SqliteConnectOptions::new().filename(path).connect().await.expect("the database")
}

async fn stored_ids(service: &Service) -> Vec<MatchId> {
    let mut connection = open(service).await;
    let rows: Vec<Vec<u8>> =
        sqlx::query_scalar("SELECT match_id FROM matches").fetch_all(&mut connection).await.unwrap();
    rows.iter().map(|id| MatchId(u128::from_be_bytes(id[..].try_into().expect("16 bytes")))).collect()
}

async fn row_counts(service: &Service) -> (i64, i64) {
    let mut connection = open(service).await;
    let seats = sqlx::query_scalar("SELECT count(*) FROM match_seats").fetch_one(&mut connection).await.unwrap();
    let replays = sqlx::query_scalar("SELECT count(*) FROM match_replays").fetch_one(&mut connection).await.unwrap();
    (seats, replays)
}
