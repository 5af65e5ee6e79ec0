//! Promise: a server whose shard is stuck can be told to stop like any other: every wait on the way has a limit.
//!
//! The host and the shutdown are the program's own, in this process, with real signals; the shard is held between two
//! ticks from outside.

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::time::{Duration, Instant};

use astro_server::api::admin::Operators;
use astro_server::api::fleet_key::FleetKey;
use astro_server::api::limits::Limits;
use astro_server::api::{self, Api};
use astro_server::assets::Rulebook;
use astro_server::directory::Directory;
use astro_server::host::placement::ShardLimits;
use astro_server::host::spool::Spool;
use astro_server::host::{Host, HostConfig};
use astro_server::hosts::{Hold, Hosts, MatchOrder};
use astro_server::shutdown::{Shutdown, Signals};
use astro_server::store::Store;
use astro_server::telemetry::Metrics;
use astro_server::transport::websocket::SocketLimits;
use astro_shared::sim::units::MatchId;
use astro_tests::pilots::rules;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::runtime::Handle;
use tokio::sync::watch;

/// What a stop takes at most is 4 s after a second signal; whatever takes longer than this has hung.
const LIMIT: Duration = Duration::from_secs(30);

/// A server without listeners, and one match that does not end while its shard is held.
async fn server(folder: &Path) -> (Shutdown, Arc<Host>) {
    let (spool, _) = Spool::open(&folder.join("spool")).expect("a spool");
    let (directory, metrics) = (Arc::new(Directory::in_memory()), Arc::new(Metrics::new()));
    let config = HostConfig {
        udp: "127.0.0.1:0".parse().expect("an address"),
        public_udp: None,
        shards: 1,
        lanes_per_shard: 1,
        limits: ShardLimits::default(),
        capsules: folder.join("capsules"),
        sockets: SocketLimits::default(),
    };
    let host = Host::start(config, &metrics, spool.clone(), directory.clone(), &Handle::current()).expect("a host");
    let host = Arc::new(host);
    let store = Store::open(folder).await.expect("a store");
    let api = Api::new(api::Parts {
        hosts: host.clone(),
        store: store.clone(),
        directory,
        rulebook: Arc::new(Rulebook::load(None).expect("rules")),
        metrics,
        fleet_key: FleetKey::new("key"),
        public_url: "http://party.example".into(),
        limits: Limits::default(),
        gate: host.gate(),
        origins: Vec::new(),
        operators: Operators { key: None, drain_grace: Duration::ZERO },
        spectate_delay: Duration::ZERO,
    });
    let order = MatchOrder {
        match_id: MatchId(1),
        seats: 2,
        ruleset: rules("standard"),
        fill_after: Duration::ZERO,
        demo: false,
        spectate_delay: Duration::ZERO,
        listed: true,
        unclaimed: Hold::default(),
    };
    host.allocate(order).await.expect("room");
    let delivery = tokio::spawn(spool.deliver_to(api.results()));
    let (stop_http, _) = watch::channel(false);
    (Shutdown { api, host: host.clone(), spool, delivery, stop_http, servers: Vec::new(), store }, host)
}

/// Holds the shard for as long as the answer lives.
async fn hold(host: &Host) -> Sender<()> {
    let (release, held) = channel::<()>();
    assert!(host.inspect(0, move |_| _ = held.recv()));
    while !host.shards().await.expect("reports")[0].stuck {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    release
}

/// How long a server with a stuck shard takes to stop from the last of so many signals on.
fn stopped(signals: usize, grace: Duration) -> Duration {
    let folder = std::env::temp_dir().join(format!("astro-stuck-{signals}-{}", std::process::id()));
    let (done, ended) = channel();
    let kept = folder.clone();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        runtime.expect("a runtime").block_on(async {
            let mut taken = Signals::new().expect("signals");
            let (shutdown, host) = server(&kept).await;
            let _held = hold(&host).await;
            for signal in 1..=signals {
                kill(Pid::this(), Signal::SIGTERM).expect("a signal");
                if signal == 1 {
                    taken.next().await;
                }
            }
            let told = Instant::now();
            shutdown.run(grace, taken).await;
            let _ = done.send(told.elapsed());
        });
    });
    let took = ended.recv_timeout(LIMIT).expect("it stops");
    let _ = std::fs::remove_dir_all(folder);
    took
}

/// Broken by any wait for the shard's thread that has no limit.
#[test]
fn one_signal_ends_it_after_the_drain_and_two_at_once() {
    let patient = Duration::from_secs(2);
    assert!(stopped(1, patient) >= patient, "its match may go on for as long as others may");
    let hurried = stopped(2, Duration::from_secs(300));
    assert!(hurried < LIMIT, "{hurried:?}");
}
