//! The host: matches on shards, behind the [`Hosts`] border.
//!
//! In: orders and claims. Out: tickets, and records through the spool.
//! *Invariant:* knows nothing of HTTP, accounts or databases.
//! *Invariant:* the key that connect tokens are sealed with is random per start and never leaves this process.
//! Start reading at [`Host::start`]; a tick is spelled in [`shard::build`].

pub mod capsule;
pub mod crew;
pub mod link;
pub mod matches;
mod panics;
pub mod placement;
pub mod record;
pub mod replicate;
mod report;
pub mod shard;
pub mod spool;
pub mod watch;
mod wreck;

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use astro_shared::sim::units::MatchId;
use astro_shared::wire;
use bevy_ecs::world::World;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use renetcode::ConnectToken;
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use crate::directory::Directory;
use crate::hosts::{
    Access, Answer, Claim, Hold, HostError, Hosts, MatchOrder, MatchReport, MatchesByState, ShardReport, Ticket,
    WatchTicket,
};
use crate::telemetry::{MatchState, Metrics, Queue, ShardMetrics};
use crate::threads::{Joined, joined_until};
use crate::transport::LinkId;
use crate::transport::kernel_drops::KernelDrops;
use crate::transport::udp::{Invitation, Invitations, LINKS_PER_LANE, LaneConfig, UdpTransport};
use crate::transport::websocket::{Gate, SocketLimits};
use crew::CLAIM_TTL;
use matches::{Command, Reservation};
use placement::{Load, MatchPlace, ShardLimits, ShardStatus};
use shard::{COMMANDS_MAX, Clock, PERIOD, ShardParts, ShardThread};
use spool::Spool;
use watch::WatchLimits;

/// Netcode's own timeout; ours (5 s) comes first and gives a reason.
const NETCODE_TIMEOUT_S: i32 = 8;
/// How long a caller waits for a shard to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);
/// How long shards may take to end their last tick; one that is stuck is left behind.
const STOP_WITHIN: Duration = Duration::from_secs(1);
/// How long a full command queue is waited for when every shard must be told something.
const TELL_WITHIN: Duration = Duration::from_secs(1);
/// How long shards may take to end what a drain has left. They do it in their next tick; one that was paused, or has
/// another 200 ms of work, needs longer.
const VOIDED_WITHIN: Duration = Duration::from_secs(2);

/// How a host is set up.
#[derive(Clone, Debug)]
pub struct HostConfig {
    /// First UDP port; shard `s`, lane `l` binds `port + s * lanes_per_shard + l`. Port 0 picks free ones.
    pub udp: SocketAddr,
    /// What players reach when that is not the bound address.
    pub public_udp: Option<IpAddr>,
    pub shards: usize,
    pub lanes_per_shard: usize,
    pub limits: ShardLimits,
    /// Where capsules of panicked shards are kept.
    pub capsules: PathBuf,
    pub sockets: SocketLimits,
}

/// The host could not start.
#[derive(Debug, thiserror::Error)]
pub enum HostStartError {
    #[error("cannot bind {0}")]
    Bind(#[from] io::Error),
    #[error("{0} shards with {1} lanes from UDP port {2} on go beyond port 65535")]
    Ports(usize, usize, u16),
}

/// All shards of this process.
pub struct Host {
    shards: Vec<ShardHandle>,
    directory: Arc<Directory>,
    clock: Clock,
    key: [u8; 32],
    limits: ShardLimits,
    /// Held while somebody decides where a match goes, so that two never take the same place.
    placing: Mutex<()>,
    stop: Arc<AtomicBool>,
    draining: AtomicBool,
    spool: Spool,
    udp: Vec<SocketAddr>,
    gate: Arc<Gate>,
}

struct ShardHandle {
    commands: mpsc::SyncSender<Command>,
    status: Arc<ShardStatus>,
    metrics: ShardMetrics,
    /// Tells the shard of a connect token before anybody has it.
    invite: mpsc::Sender<Invitation>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl ShardHandle {
    /// Puts a command into the shard's queue.
    fn send(&self, command: Command) -> Result<(), HostError> {
        // Counted first, so that the shard never takes out what was not put in.
        self.metrics.queued(Queue::Commands);
        self.commands.try_send(command).map_err(|_| {
            self.metrics.unqueued(Queue::Commands, 1);
            HostError::Unresponsive
        })
    }

    fn report(&self, shard: usize, now: Duration) -> ShardReport {
        let load = self.status.load(now);
        let matches = |state| self.metrics.matches(state);
        ShardReport {
            shard,
            stuck: load.is_stuck,
            matches: MatchesByState {
                filling: matches(MatchState::Filling),
                playing: matches(MatchState::Playing),
                finishing: matches(MatchState::Finishing),
                demo: matches(MatchState::Demo),
            },
            seats: load.seats,
            players: self.status.players.load(Ordering::Relaxed),
            links: self.status.links.load(Ordering::Relaxed),
            tick_mean_us: load.tick_mean_ns / 1000,
        }
    }
}

impl Host {
    /// Binds every socket and starts every shard's thread. `runtime` carries the async half of WebSockets.
    ///
    /// # Errors
    /// When an address cannot be bound; nothing is left running then.
    pub fn start(
        config: HostConfig,
        metrics: &Metrics,
        spool: Spool,
        directory: Arc<Directory>,
        runtime: &Handle,
    ) -> Result<Host, HostStartError> {
        let clock = Clock::start();
        let key: [u8; 32] = rand::rng().random();
        let mut opened = Vec::new();
        for shard in 0..config.shards {
            let lanes = lanes_of(&config, shard, key)?;
            let (invite, invitations) = mpsc::channel();
            let invitations: Invitations = Arc::new(Mutex::new(invitations));
            let udp = UdpTransport::open(&lanes, Arc::clone(&invitations), clock.now())?;
            opened.push(Bound { lanes: rebound(&config, &udp, key), udp, invite, invitations });
        }
        let udp = opened.iter().flat_map(|bound| bound.udp.bound()).collect();
        let sockets = opened
            .iter()
            .enumerate()
            .flat_map(|(shard, bound)| bound.udp.bound().into_iter().map(move |at| (at, shard)));
        let mut kernel_drops = KernelDrops::of(sockets);
        metrics.watch_kernel(move || kernel_drops.since_last());
        let stop = Arc::new(AtomicBool::new(false));
        let gate = Gate::new(config.sockets, runtime.clone());
        let links_max = config.lanes_per_shard * LINKS_PER_LANE;
        // A seat beyond what the sockets hold could be reserved and never reached.
        let limits = ShardLimits { seats_per_shard: config.limits.seats_per_shard.min(links_max), ..config.limits };
        let watch = WatchLimits::new(&limits, links_max);
        let start = |(index, bound): (usize, Bound)| {
            let (stop, spool, directory) = (stop.clone(), spool.clone(), directory.clone());
            let (capsules, gate) = (config.capsules.clone(), gate.clone());
            let common = Common { clock, stop, spool, directory, capsules, gate, links_max, watch };
            start_shard(index, bound, metrics.shard(index), common)
        };
        let shards = opened.into_iter().enumerate().map(start).collect::<io::Result<Vec<_>>>()?;
        let (placing, draining) = (Mutex::default(), AtomicBool::new(false));
        Ok(Host { shards, directory, clock, key, limits, placing, stop, draining, spool, udp, gate })
    }

    /// Where UDP listens, shard by shard and lane by lane.
    pub fn udp_addresses(&self) -> Vec<SocketAddr> {
        self.udp.clone()
    }

    /// Way in for WebSockets.
    pub fn gate(&self) -> Arc<Gate> {
        self.gate.clone()
    }

    /// Seats held by people.
    pub fn players(&self) -> usize {
        self.shards.iter().map(|shard| shard.status.players.load(Ordering::Relaxed)).sum()
    }

    /// Has `look` run between two ticks of a shard with its World in hand: for tests and debuggers. False when the shard
    /// takes no commands. A panic in it is a panic of the shard.
    pub fn inspect(&self, shard: usize, look: impl FnOnce(&mut World) + Send + 'static) -> bool {
        let shard = self.shards.get(shard);
        shard.is_some_and(|shard| shard.send(Command::Inspect(Box::new(look))).is_ok())
    }

    /// Ends every thread; matches still running are gone. Blocks for [`STOP_WITHIN`] at most: a shard that is stuck is
    /// left behind, and ends with the program.
    pub fn stop(&self) {
        self.gate.stop();
        self.stop.store(true, Ordering::Relaxed);
        let deadline = Instant::now() + STOP_WITHIN;
        for (index, shard) in self.shards.iter().enumerate() {
            let thread = shard.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
            match thread.map(|thread| joined_until(thread, deadline)) {
                None | Some(Joined::Ended) => {}
                Some(Joined::Panicked) => tracing::error!(shard = index, "the shard's thread ended by a panic"),
                Some(Joined::Running) => tracing::error!(shard = index, "the shard is stuck; it is left behind"),
            }
        }
    }

    /// Finds a place for a match and takes it, before the shard knows; `None` when there is none.
    fn reserve(&self, seats: u8) -> Option<(&ShardHandle, MatchPlace)> {
        let _placing = self.placing.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.clock.now();
        let loads: Vec<Load> = self.shards.iter().map(|shard| shard.status.load(now)).collect();
        let shard = self.shards.get(placement::place(&loads, seats, &self.limits)?)?;
        Some((shard, MatchPlace::reserve(&shard.status, seats)))
    }

    /// Sends a command and waits for its answer.
    async fn ask<T>(
        &self,
        shard: usize,
        command: impl FnOnce(oneshot::Sender<Result<T, HostError>>) -> Command,
    ) -> Result<T, HostError> {
        let (reply, answer) = oneshot::channel();
        let shard = self.shards.get(shard).ok_or(HostError::NoSuchMatch)?;
        shard.send(command(reply))?;
        answered(answer).await
    }

    /// The ways in for a link that was promised.
    fn mint(&self, shard: usize, link: LinkId, address: SocketAddr) -> Result<Access, HostError> {
        let mut user_data = [0u8; 256];
        user_data[..8].copy_from_slice(&link.0.to_le_bytes());
        let token = ConnectToken::generate(
            self.clock.now(),
            wire::fingerprint(),
            CLAIM_TTL.as_secs(),
            link.0,
            NETCODE_TIMEOUT_S,
            vec![address],
            Some(&user_data),
            &self.key,
        );
        // Fails only without an address or for lack of memory; either way the caller may try again.
        let token = token.map_err(|_| HostError::Unresponsive)?;
        let mut connect_token = Vec::with_capacity(1200);
        token.write(&mut connect_token).map_err(|_| HostError::Unresponsive)?;
        let invitation = Invitation { nonce: token.xnonce, until: self.clock.now() + CLAIM_TTL };
        let invited = self.shards.get(shard).map(|shard| shard.invite.send(invitation));
        invited.and_then(Result::ok).ok_or(HostError::Unresponsive)?;
        let websocket_ticket = rand::rng().random();
        if !self.gate.register(websocket_ticket, shard, link, Instant::now()) {
            return Err(HostError::Full);
        }
        Ok(Access { connect_token, udp: address, websocket_ticket })
    }

    fn matches(&self) -> u64 {
        let now = self.clock.now();
        self.shards.iter().map(|shard| shard.status.load(now).matches).sum()
    }

    /// Sends a command to every shard, waiting for those whose queue is full.
    async fn tell_all(&self, command: impl Fn() -> Command) {
        let deadline = self.clock.now() + TELL_WITHIN;
        for (index, shard) in self.shards.iter().enumerate() {
            while shard.send(command()).is_err() {
                if self.clock.now() >= deadline {
                    tracing::error!(shard = index, "the shard takes no commands");
                    break;
                }
                tokio::time::sleep(PERIOD).await;
            }
        }
    }

    async fn wait_until_empty(&self, within: Duration) -> bool {
        let deadline = self.clock.now() + within;
        while self.matches() > 0 {
            if self.clock.now() >= deadline {
                return false;
            }
            tokio::time::sleep(PERIOD).await;
        }
        true
    }
}

/// A shard's answer, when it comes in time.
async fn answered<T>(answer: oneshot::Receiver<Result<T, HostError>>) -> Result<T, HostError> {
    match tokio::time::timeout(ANSWER_WITHIN, answer).await {
        Ok(Ok(result)) => result,
        _ => Err(HostError::Unresponsive),
    }
}

impl Hosts for Host {
    fn allocate(&self, order: MatchOrder) -> Answer<'_, (), HostError> {
        Box::pin(async move {
            if self.draining.load(Ordering::Relaxed) {
                return Err(HostError::Draining);
            }
            if !self.spool.healthy() && !order.demo {
                return Err(HostError::Unwritable);
            }
            let (shard, place) = self.reserve(order.seats).ok_or(HostError::Full)?;
            let (reply, answer) = oneshot::channel();
            shard.send(Command::Open { order, place, reply })?;
            answered(answer).await
        })
    }

    fn ticket(&self, match_id: MatchId, claim: Claim, hold: Hold) -> Answer<'_, Ticket, HostError> {
        Box::pin(async move {
            let shard = self.directory.shard_of(match_id).ok_or(HostError::NoSuchMatch)?;
            let promised = self.ask(shard, |reply| Command::Claim { match_id, claim, hold, reply }).await?;
            let Reservation { seat, secret, link, address, seats_free } = promised;
            Ok(Ticket { seat, secret, access: self.mint(shard, link, address)?, seats_free })
        })
    }

    fn watch(&self, match_id: MatchId, hold: Hold) -> Answer<'_, WatchTicket, HostError> {
        Box::pin(async move {
            let shard = self.directory.shard_of(match_id).ok_or(HostError::NoSuchMatch)?;
            let promised = self.ask(shard, |reply| Command::Watch { match_id, hold, reply }).await?;
            Ok(WatchTicket { access: self.mint(shard, promised.link, promised.address)?, delay: promised.delay })
        })
    }

    fn void(&self, match_id: MatchId, reason: String) -> Answer<'_, (), HostError> {
        Box::pin(async move {
            let shard = self.directory.shard_of(match_id).ok_or(HostError::NoSuchMatch)?;
            self.ask(shard, |reply| Command::Void { match_id, reason, reply }).await
        })
    }

    fn drain(&self, grace: Duration) -> Answer<'_, (), HostError> {
        Box::pin(async move {
            self.draining.store(true, Ordering::Relaxed);
            // Before the commands: a shard that panics on the way there comes back empty and stays so.
            self.shards.iter().for_each(|shard| shard.status.drain());
            let until = self.clock.now() + grace;
            self.tell_all(|| Command::Drain { until }).await;
            if !self.wait_until_empty(grace.max(PERIOD * 6)).await {
                self.tell_all(|| Command::VoidAll).await;
                if !self.wait_until_empty(VOIDED_WITHIN).await {
                    tracing::error!(
                        matches = self.matches(),
                        "these matches did not end in time, and may not be stored"
                    );
                }
            }
            Ok(())
        })
    }

    fn shards(&self) -> Answer<'_, Vec<ShardReport>, HostError> {
        let report = |(shard, handle): (usize, &ShardHandle)| handle.report(shard, self.clock.now());
        let reports = self.shards.iter().enumerate().map(report).collect();
        Box::pin(std::future::ready(Ok(reports)))
    }

    fn running(&self, limit: usize) -> Answer<'_, Vec<MatchReport>, HostError> {
        Box::pin(async move {
            let asked = (0..self.shards.len()).map(|shard| self.ask(shard, |reply| Command::List { limit, reply }));
            let lists = futures_util::future::join_all(asked).await;
            // A shard that does not answer must not hide the others.
            Ok(lists.into_iter().filter_map(Result::ok).flatten().collect())
        })
    }
}

fn lanes_of(config: &HostConfig, shard: usize, key: [u8; 32]) -> Result<Vec<LaneConfig>, HostStartError> {
    let lane = |lane: usize| {
        let offset = shard * config.lanes_per_shard + lane;
        let port = match config.udp.port() {
            0 => Some(0),
            first => u16::try_from(usize::from(first) + offset).ok(),
        };
        let too_far = HostStartError::Ports(config.shards, config.lanes_per_shard, config.udp.port());
        let bind = SocketAddr::new(config.udp.ip(), port.ok_or(too_far)?);
        Ok(LaneConfig { bind, public_ip: config.public_udp, protocol_id: wire::fingerprint(), key })
    };
    (0..config.lanes_per_shard).map(lane).collect()
}

/// The same lanes on the ports that were really bound: for the `App` that follows a panic.
fn rebound(config: &HostConfig, udp: &UdpTransport, key: [u8; 32]) -> Vec<LaneConfig> {
    let lane = |bind| LaneConfig { bind, public_ip: config.public_udp, protocol_id: wire::fingerprint(), key };
    udp.bound().into_iter().map(lane).collect()
}

/// What every shard shares.
struct Common {
    clock: Clock,
    stop: Arc<AtomicBool>,
    spool: Spool,
    directory: Arc<Directory>,
    capsules: PathBuf,
    gate: Arc<Gate>,
    /// Of each transport.
    links_max: usize,
    watch: WatchLimits,
}

/// The sockets of a shard that is about to start.
struct Bound {
    udp: UdpTransport,
    /// The same again, for the `App` that follows a panic.
    lanes: Vec<LaneConfig>,
    invite: mpsc::Sender<Invitation>,
    invitations: Invitations,
}

fn start_shard(index: usize, bound: Bound, metrics: ShardMetrics, common: Common) -> io::Result<ShardHandle> {
    let (commands, command_queue) = mpsc::sync_channel(COMMANDS_MAX);
    let (recorded, recorded_queue) = mpsc::channel();
    let Bound { udp, lanes, invite, invitations } = bound;
    let status = Arc::<ShardStatus>::default();
    let Common { clock, stop, spool, directory, capsules, gate, links_max, watch } = common;
    let thread = ShardThread {
        index,
        clock,
        commands: command_queue,
        recorded: recorded_queue,
        stop,
        status: status.clone(),
        metrics: metrics.clone(),
        waiting: VecDeque::new(),
        capsules,
    };
    let (shard_status, shard_metrics) = (status.clone(), metrics.clone());
    let mut first = Some(udp);
    let make = move || {
        let udp = match first.take() {
            Some(udp) => udp,
            None => UdpTransport::open(&lanes, Arc::clone(&invitations), clock.now())?,
        };
        let parts = ShardParts {
            index,
            directory: directory.clone(),
            status: shard_status.clone(),
            metrics: shard_metrics.clone(),
            spool: spool.clone(),
            recorded: recorded.clone(),
            transports: vec![Box::new(udp), Box::new(gate.open_shard(index, links_max))],
            chance: StdRng::from_os_rng(),
            watch,
        };
        Ok(shard::build(parts, clock.now()))
    };
    let thread = std::thread::Builder::new().name(format!("shard-{index}")).spawn(move || shard::run(thread, make))?;
    Ok(ShardHandle { commands, status, metrics, invite, thread: Mutex::new(Some(thread)) })
}
