//! Promise: a panic in one shard costs that shard's matches and nothing else.
//!
//! A real host of three shards over real UDP, in this process; the panic is a system added to a running shard.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use astro_client::session::{Ended, SessionEvent};
use astro_server::directory::Directory;
use astro_server::host::capsule::{CAPSULES_MAX, Capsule};
use astro_server::host::placement::ShardLimits;
use astro_server::host::shard::{PERIOD, ShardTick};
use astro_server::host::spool::Spool;
use astro_server::host::{Host, HostConfig};
use astro_server::hosts::{Answer, Claim, Hold, Hosts, MatchOrder, MatchRecord, Results, ResultsError, VOID_FAULT};
use astro_server::telemetry::Metrics;
use astro_server::transport::websocket::SocketLimits;
use astro_shared::sim::units::MatchId;
use astro_shared::wire::message::CloseReason;
use astro_tests::dice::Dice;
use astro_tests::pilots::rules;
use astro_tests::service::UdpPlayer;
use bevy_ecs::prelude::*;
use bevy_ecs::schedule::Schedules;
use tokio::runtime::Runtime;
use tokio::sync::mpsc;

const SHARDS: usize = 3;
const INJECTIONS: usize = 20;
const PATIENCE: Duration = Duration::from_secs(30);

/// A host with a spool in a temporary folder.
struct Stand {
    host: Host,
    directory: Arc<Directory>,
    metrics: Metrics,
    spool: Spool,
    runtime: Runtime,
    folder: PathBuf,
    opened: u128,
}

impl Stand {
    fn new(name: &str) -> Stand {
        let folder = std::env::temp_dir().join(format!("astro-panics-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        let (spool, _) = Spool::open(&folder.join("spool")).expect("a spool");
        let (directory, metrics) = (Arc::new(Directory::in_memory()), Metrics::new());
        let config = HostConfig {
            udp: "127.0.0.1:0".parse().expect("an address"),
            public_udp: None,
            shards: SHARDS,
            lanes_per_shard: 1,
            limits: ShardLimits::default(),
            capsules: folder.join("capsules"),
            sockets: SocketLimits::default(),
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let host = Host::start(config, &metrics, spool.clone(), directory.clone(), runtime.handle()).expect("a host");
        Stand { host, directory, metrics, spool, runtime, folder, opened: 0 }
    }

    fn next_order(&mut self, demo: bool) -> MatchOrder {
        self.opened += 1;
        MatchOrder {
            match_id: MatchId(self.opened),
            seats: 2,
            ruleset: rules("standard"),
            fill_after: Duration::ZERO,
            demo,
            spectate_delay: Duration::ZERO,
            listed: true,
            unclaimed: Hold::default(),
        }
    }

    fn order(&mut self, demo: bool) -> MatchId {
        let order = self.next_order(demo);
        let match_id = order.match_id;
        self.runtime.block_on(self.host.allocate(order)).expect("room");
        match_id
    }

    /// Seats of all matches, as placement counts them.
    fn seats(&self) -> u64 {
        let shards = self.runtime.block_on(self.host.shards()).expect("a report");
        shards.iter().map(|shard| shard.seats).sum()
    }

    /// A match of one player and a pilot, on whichever shard has most room.
    fn join(&mut self) -> Guest {
        let match_id = self.order(false);
        let claim = Claim::Join { name: "Ada".into() };
        let ticket = self.runtime.block_on(self.host.ticket(match_id, claim, Hold::default())).expect("a seat");
        let shard = self.directory.shard_of(match_id).expect("a running match");
        Guest {
            shard,
            player: UdpPlayer::from_token(match_id, &ticket.access.connect_token, rules("standard")),
            closed: None,
        }
    }

    /// From the next tick on a system of this shard panics, inside the executor.
    fn inject_panic(&self, shard: usize) {
        let add = |world: &mut World| {
            let mut schedules = world.resource_mut::<Schedules>();
            let tick = schedules.get_mut(ShardTick).expect("the shard's schedule");
            tick.add_systems(|| panic!("injected"));
        };
        assert!(self.host.inspect(shard, add));
    }

    fn capsules(&self) -> BTreeSet<PathBuf> {
        let Ok(entries) = std::fs::read_dir(self.folder.join("capsules")) else { return BTreeSet::new() };
        let paths = entries.map(|entry| entry.expect("an entry").path());
        paths.filter(|path| path.extension().is_some_and(|extension| extension == "capsule")).collect()
    }

    /// A figure of one shard.
    fn metric(&self, name: &str, shard: usize) -> f64 {
        let (page, start) = (self.metrics.render(), format!("{name}{{shard=\"{shard}\""));
        let lines = page.lines().filter(|line| line.starts_with(&start));
        lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    }

    /// Ticks that each shard has played.
    fn ticks(&self) -> [f64; SHARDS] {
        std::array::from_fn(|shard| self.metric("astro_ticks_total", shard))
    }

    /// The records of these matches, as they reach the store.
    fn stored(&self, wanted: &BTreeSet<MatchId>) -> Vec<MatchRecord> {
        let (sender, mut records) = mpsc::unbounded_channel();
        let mut found = Vec::new();
        let collect = async {
            while found.len() < wanted.len() {
                let record: MatchRecord = records.recv().await.expect("the delivery goes on");
                if wanted.contains(&record.match_id) {
                    found.push(record);
                }
            }
        };
        let delivery = self.spool.deliver_to(Arc::new(Capture(sender)));
        let all = async {
            tokio::select! {
                () = delivery => panic!("the delivery ended"),
                () = collect => {}
            }
        };
        let done = self.runtime.block_on(async { tokio::time::timeout(PATIENCE, all).await });
        assert!(done.is_ok(), "of {wanted:?} only {} are stored", found.len());
        found
    }
}

/// Takes delivered records instead of a store.
struct Capture(mpsc::UnboundedSender<MatchRecord>);

impl Results for Capture {
    fn deliver(&self, records: Vec<MatchRecord>) -> Answer<'_, (), ResultsError> {
        records.into_iter().for_each(|record| _ = self.0.send(record));
        Box::pin(async { Ok(()) })
    }
}

impl Drop for Stand {
    fn drop(&mut self) {
        self.host.stop();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

struct Guest {
    shard: usize,
    player: UdpPlayer,
    closed: Option<Ended>,
}

impl Guest {
    fn drive(&mut self) {
        self.player.drive();
        while let Some(event) = self.player.session.poll_event() {
            if let SessionEvent::Closed { reason } = event {
                self.closed = Some(reason);
            }
        }
    }
}

fn drive_all(guests: &mut [Guest], what: &str, mut done: impl FnMut(&[Guest]) -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !done(guests) {
        guests.iter_mut().for_each(Guest::drive);
        assert!(Instant::now() < deadline, "{what}: not within {PATIENCE:?}");
    }
}

/// Broken by: not closing links in `wreck::abandon`; sharing anything between shards that a panic poisons; losing the
/// sockets' ports; a directory entry that outlives its shard's `App`.
#[test]
fn twenty_panics_in_one_of_three_shards_end_that_shards_matches_with_a_reason_and_no_others() {
    let mut stand = Stand::new("twenty");
    let mut dice = Dice::new(20);
    // Ticks of the shards that did not panic, played and due.
    let mut pace = (0.0, 0.0);
    let mut guests: Vec<Guest> = (0..2 * SHARDS).map(|_| stand.join()).collect();
    let shards: BTreeSet<usize> = guests.iter().map(|guest| guest.shard).collect();
    assert_eq!(shards.len(), SHARDS, "the matches are spread over all shards");
    for injection in 0..INJECTIONS {
        drive_all(&mut guests, "snapshots for all", |all| all.iter().all(|guest| guest.player.snapshots() > 5));
        let victim = dice.below(SHARDS);
        let known = stand.capsules();
        let before: Vec<u64> = guests.iter().map(|guest| guest.player.snapshots()).collect();
        let (began, ticks) = (Instant::now(), stand.ticks());
        stand.inject_panic(victim);
        drive_all(&mut guests, "the end is told", |all| {
            all.iter().filter(|guest| guest.shard == victim).all(|guest| guest.closed.is_some())
        });
        drive_all(&mut guests, "the others go on", |all| {
            let others = all.iter().zip(&before).filter(|(guest, _)| guest.shard != victim);
            others.into_iter().all(|(guest, before)| guest.player.snapshots() > before + 10)
        });
        let due = began.elapsed().as_secs_f64() / PERIOD.as_secs_f64();
        let played = stand.ticks().into_iter().zip(ticks).map(|(after, before)| after - before);
        let others = played.enumerate().filter(|(shard, _)| *shard != victim);
        others.for_each(|(_, played)| (pace.0, pace.1) = (pace.0 + played, pace.1 + due));
        for guest in &guests {
            let match_id = guest.player.match_id;
            let expected = (guest.shard == victim).then_some(Ended::Server(CloseReason::ServerFault));
            assert_eq!(guest.closed, expected, "injection {injection}, match {match_id}");
            assert_eq!(stand.directory.shard_of(match_id).is_none(), guest.shard == victim);
            assert_eq!(guest.player.session.statistics().state_mismatches, 0);
        }
        let lost: BTreeSet<MatchId> =
            guests.iter().filter(|guest| guest.shard == victim).map(|guest| guest.player.match_id).collect();
        check_capsule(&stand, &known, victim, &lost);
        for record in stand.stored(&lost) {
            assert_eq!(record.void.as_deref(), Some(VOID_FAULT), "match {}", record.match_id);
        }
        guests.retain(|guest| guest.shard != victim);
        // The shard is back: placement, which goes by cost, comes to it soon, and its matches can be played.
        let joins_max = guests.len() + 8 * SHARDS;
        while !guests.iter().any(|guest| guest.shard == victim) {
            assert!(guests.len() < joins_max, "no match is placed on shard {victim} any more");
            guests.push(stand.join());
        }
    }
    let (played, due) = pace;
    println!("{INJECTIONS} panics; meanwhile the other shards played {played:.0} of {due:.0} ticks");
    // All of them on an idle machine. One on which others compute too may hold a shard up for a while now and then.
    assert!(played > 0.85 * due, "the other shards played {played:.0} of {due:.0} ticks");
    assert!(stand.capsules().len() <= CAPSULES_MAX);
}

/// The one new capsule names the panic and holds exactly the lost matches, each of which can be played again.
fn check_capsule(stand: &Stand, known: &BTreeSet<PathBuf>, shard: usize, lost: &BTreeSet<MatchId>) {
    let deadline = Instant::now() + PATIENCE;
    let path = loop {
        if let Some(path) = stand.capsules().difference(known).next() {
            break path.clone();
        }
        assert!(Instant::now() < deadline, "no capsule");
    };
    let capsule = Capsule::read(&path).expect("a capsule");
    assert!(capsule.message.starts_with("injected ("), "{}", capsule.message);
    assert_eq!(capsule.shard, shard);
    let kept: BTreeSet<MatchId> = capsule.matches.iter().map(|lost| lost.match_id).collect();
    assert_eq!(&kept, lost);
    for lost in &capsule.matches {
        let mut ticks = 0;
        capsule.play(lost, |_| ticks += 1).expect("a match that plays");
        assert!(ticks > 0, "{} has no inputs", lost.match_id);
    }
}

/// Broken by: not returning the orders of demo matches from `wreck::abandon`.
#[test]
fn demo_matches_come_back_after_a_panic_unless_the_shard_panicked_at_once() {
    let mut stand = Stand::new("demo");
    let demo = stand.order(true);
    let shard = stand.directory.shard_of(demo).expect("a running match");
    let metric = |stand: &Stand, name: &str| stand.metric(name, shard);
    let wait = |stand: &Stand, what: &str, done: &dyn Fn(&Stand) -> bool| {
        let deadline = Instant::now() + PATIENCE;
        while !done(stand) {
            assert!(Instant::now() < deadline, "{what}: not within {PATIENCE:?}");
        }
    };
    // Old enough to be trusted: only then the demo returns.
    wait(&stand, "three seconds of ticks", &|stand| metric(stand, "astro_ticks_total") > 180.0);
    let known = stand.capsules();
    stand.inject_panic(shard);
    check_capsule(&stand, &known, shard, &BTreeSet::from([demo]));
    wait(&stand, "a demo match again", &|stand| metric(stand, "astro_matches") == 1.0);
    assert_eq!(stand.directory.shard_of(demo), None, "it is another match");
    // At once again: now they stay away.
    stand.inject_panic(shard);
    wait(&stand, "no demo match any more", &|stand| metric(stand, "astro_matches") == 0.0);
}

/// Broken by: dropping what a panicking tick had still to carry out; a fresh `App` that does not know that the server stops.
#[test]
fn commands_behind_one_that_panics_are_carried_out_and_a_drain_is_not_forgotten() {
    let mut stand = Stand::new("batch");
    let demo = stand.order(true);
    // Old enough to be trusted: only then the demo returns.
    let trust = |stand: &Stand, shard| {
        let (deadline, trusted) = (Instant::now() + PATIENCE, stand.metric("astro_ticks_total", shard) + 150.0);
        while stand.metric("astro_ticks_total", shard) < trusted {
            assert!(Instant::now() < deadline, "shard {shard} does not tick");
            std::thread::sleep(Duration::from_millis(20));
        }
    };
    let shard = stand.directory.shard_of(demo).expect("a running match");
    trust(&stand, shard);
    // The shards stand still until the panic and all that is behind it wait together.
    let stall_and_panic = |stand: &Stand| {
        for shard in 0..SHARDS {
            assert!(stand.host.inspect(shard, |_| std::thread::sleep(Duration::from_millis(300))));
            assert!(stand.host.inspect(shard, |_| panic!("injected")));
        }
    };
    stall_and_panic(&stand);
    let orders = [0; 3].map(|_| stand.next_order(false));
    let ids = orders.each_ref().map(|order| order.match_id);
    let [first, second, third] = orders.map(|order| stand.host.allocate(order));
    let opened = stand.runtime.block_on(async { tokio::join!(first, second, third) });
    assert_eq!(opened, (Ok(()), Ok(()), Ok(())));
    assert!(ids.iter().all(|id| stand.directory.shard_of(*id).is_some()));
    // Its own shard may be the last to panic: the orders may all have gone to the others.
    let deadline = Instant::now() + PATIENCE;
    while stand.directory.shard_of(demo).is_some() || stand.seats() != 2 * (3 + 1) {
        assert!(Instant::now() < deadline, "the demo's shard panics, and a demo comes back: {} seats", stand.seats());
        std::thread::sleep(Duration::from_millis(20));
    }

    let grace = Duration::from_secs(20);
    trust(&stand, shard);
    stall_and_panic(&stand);
    let began = Instant::now();
    stand.runtime.block_on(stand.host.drain(grace)).expect("drained");
    assert!(began.elapsed() < grace / 2, "a drain that was lost, or a demo that came back, is waited for in vain");
    assert_eq!(stand.seats(), 0);
}

/// A path that is no capsule is an error in words.
#[test]
fn what_is_no_capsule_is_refused_in_words() {
    let missing = Capsule::read(Path::new("/nonexistent/x.capsule")).expect_err("no file");
    assert!(missing.to_string().contains("No such file"), "{missing}");
    let path = std::env::temp_dir().join(format!("astro-no-capsule-{}", std::process::id()));
    std::fs::write(&path, "{}").expect("a file");
    let wrong = Capsule::read(&path).expect_err("not a capsule");
    std::fs::remove_file(&path).expect("removed");
    assert!(wrong.to_string().starts_with("not a capsule: "), "{wrong}");
}
