//! The end of the server: players told, matches ended well, results kept.
//!
//! In: everything that runs, and signals. Out: nothing runs any more, and every result is stored or in the spool.
//! *Invariant:* nothing is closed before what feeds it.
//! *Invariant:* every wait here has a limit, a stuck shard, a disk that hangs and a silent database included: a first
//! signal ends within the drain time and some seconds, a second one within [`HURRIED_WITHIN`] and a moment more.
//! Start reading at [`Shutdown::run`].

use std::future::pending;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};
use tracing::{error, info, warn};

use crate::api::Api;
use crate::console::{is_watched, say};
use crate::host::Host;
use crate::host::spool::Spool;
use crate::hosts::{HostError, Hosts};
use crate::store::Store;

/// How long results may take into the store at the end; what is left stays in the spool for the next start.
const FLUSH_WITHIN: Duration = Duration::from_secs(5);
/// The same after a second signal.
const HURRIED_FLUSH_WITHIN: Duration = Duration::from_secs(1);
/// From a second signal to the end, whatever is still under way then.
const HURRIED_WITHIN: Duration = Duration::from_secs(4);
/// For the database to end its connections; an open one loses nothing, the next start takes care of it.
const STORE_WITHIN: Duration = Duration::from_secs(1);
/// Between two lines about who is still playing: for a person, and in a log.
const PROGRESS_EVERY: Duration = Duration::from_secs(1);
const LOG_EVERY: Duration = Duration::from_secs(10);

/// What has to be ended, in the order in which it is.
pub struct Shutdown {
    pub api: Arc<Api>,
    pub host: Arc<Host>,
    pub spool: Spool,
    pub delivery: JoinHandle<()>,
    pub stop_http: watch::Sender<bool>,
    pub servers: Vec<JoinHandle<()>>,
    pub store: Store,
}

impl Shutdown {
    /// Not ready, matches drained, results delivered, threads and connections ended. `grace` is what matches get.
    pub async fn run(self, grace: Duration, signals: Signals) {
        let hurry = Hurry::on(signals);
        let mut patience = hurry.clone();
        tokio::select! {
            () = self.end(grace, hurry) => {}
            () = patience.exhausted() => error!("something does not end; the program does without it"),
        }
    }

    async fn end(self, grace: Duration, mut hurry: Hurry) {
        self.api.drain();
        note(tokio::select! {
            drained = self.host.drain(grace) => drained,
            () = self.tell_progress(grace) => Ok(()),
            () = hurry.wanted() => self.host.drain(Duration::ZERO).await,
        });
        let flushed = tokio::select! {
            flushed = self.spool.flush(FLUSH_WITHIN) => flushed,
            () = hurry.wanted() => self.spool.flush(HURRIED_FLUSH_WITHIN).await,
        };
        if !flushed {
            warn!(results = self.spool.depth(), "results stay in the spool until the next start");
        }
        let (host, spool) = (Arc::clone(&self.host), self.spool.clone());
        // Off this thread, so that a hurry need not wait for them.
        let _ = spawn_blocking(move || host.stop()).await;
        self.delivery.abort();
        let _ = spawn_blocking(move || spool.close()).await;
        // Fails only when they have ended already.
        let _ = self.stop_http.send(true);
        let gate = self.host.gate();
        let servers = futures_util::future::join_all(self.servers);
        let _ = tokio::join!(servers, gate.closed());
        if timeout(STORE_WITHIN, self.store.close()).await.is_err() {
            warn!("the database did not close in time; its log is folded in at the next start");
        }
    }

    /// Says who is still playing, for ever.
    async fn tell_progress(&self, grace: Duration) {
        let until = Instant::now() + grace;
        let (watched, mut told) = (is_watched(), None);
        let mut every = interval(if watched { PROGRESS_EVERY } else { LOG_EVERY });
        every.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            every.tick().await;
            let (players, seconds_left) = (self.host.players(), until.duration_since(Instant::now()).as_secs());
            if players == 0 || grace.is_zero() {
                continue;
            }
            if !watched {
                info!(players, seconds_left, "waiting for matches to end");
            } else if told.replace(players).is_none() {
                say(&format!("Waiting up to {seconds_left} s for {players} players; once more to hurry."));
            } else {
                say(&format!("  {players} players left, {seconds_left} s"));
            }
        }
    }
}

fn note(drained: Result<(), HostError>) {
    if let Err(error) = drained {
        warn!(%error, "the matches could not be drained");
    }
}

/// Whether somebody has lost patience: from the second signal on.
#[derive(Clone)]
struct Hurry {
    wanted: watch::Receiver<bool>,
}

impl Hurry {
    /// Signals after the second one change nothing.
    fn on(mut signals: Signals) -> Hurry {
        let (want, wanted) = watch::channel(false);
        tokio::spawn(async move {
            signals.next().await;
            warn!("told to stop again: matches end now");
            want.send_replace(true);
            pending::<()>().await;
        });
        Hurry { wanted }
    }

    /// Waits until it is so; at once when it already is.
    async fn wanted(&mut self) {
        if self.wanted.wait_for(|wanted| *wanted).await.is_err() {
            pending::<()>().await;
        }
    }

    /// Waits until a hurry has taken too long.
    async fn exhausted(&mut self) {
        self.wanted().await;
        sleep(HURRIED_WITHIN).await;
    }
}

/// Ctrl-C and SIGTERM, which mean the same.
pub struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    /// From now on these signals no longer end the program by themselves.
    ///
    /// # Errors
    /// When the system does not allow it.
    pub fn new() -> io::Result<Signals> {
        Ok(Signals { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    pub async fn next(&mut self) {
        let told = tokio::select! {
            told = self.interrupt.recv() => told,
            told = self.terminate.recv() => told,
        };
        // `None` would mean that no further signal can come.
        if told.is_none() {
            pending::<()>().await;
        }
    }
}
