//! The program: reads the command line, puts the parts together, takes them apart in order when told to stop.
//!
//! In: arguments, signals. Out: a running server, lines for a person on stdout, logs on stderr, an exit code
//! (0 done, 1 failed, 2 wrong arguments or settings).
//! *Invariant:* nothing is announced before it listens; nothing is closed before what feeds it.
//! *Invariant:* shards get the cores: everything asynchronous runs on few threads that yield to them.
//! Start reading at [`serve`].

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use astro_server::api::admin::Operators;
use astro_server::api::fleet_key::FleetKey;
use astro_server::api::limits::Limits;
use astro_server::api::{self, Api};
use astro_server::arena_command;
use astro_server::assets::{Rulebook, RulebookError};
use astro_server::config::{
    self, ArenaCommand, Arguments, Config, ConfigError, DataFolder, Flags, FolderError, LayerError, Loaded,
    ReplayCommand, Subcommands,
};
use astro_server::console::{Listening, ranges, say, welcome};
use astro_server::demos;
use astro_server::directory::Directory;
use astro_server::host::spool::{Recovery, Spool, SpoolError};
use astro_server::host::{Host, HostConfig, HostStartError};
use astro_server::hosts::Hosts;
use astro_server::priority;
use astro_server::replay_command;
use astro_server::shutdown::{Shutdown, Signals};
use astro_server::store::{Store, StoreError};
use astro_server::telemetry::{self, Build, Metrics, SpoolState, Traces, start_logging};
use astro_server::top;
use astro_shared::sim::SIM_VERSION;
use clap::Parser;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tracing::{error, info, warn};

/// UDP sockets of a shard, 256 links each: twice what a core has been seen to carry at 60 ticks a second.
const LANES_PER_SHARD: usize = 8;

/// Which program this is.
const BUILD: Build = Build {
    version: env!("CARGO_PKG_VERSION"),
    commit: match option_env!("ASTRO_COMMIT") {
        Some(commit) => commit,
        None => "unknown",
    },
    sim_version: SIM_VERSION,
};

/// Why the server did not start, or not end well, in one line.
#[derive(Debug, thiserror::Error)]
enum StartError {
    #[error(transparent)]
    Layer(#[from] LayerError),
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Folder(#[from] FolderError),
    #[error(transparent)]
    Rulebook(#[from] RulebookError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Spool(#[from] SpoolError),
    #[error("cannot listen for HTTP on {address}: {source}")]
    Http { address: SocketAddr, source: io::Error },
    #[error("cannot listen for operators on {address}: {source}; --ops names another address, or off")]
    Ops { address: SocketAddr, source: io::Error },
    #[error(transparent)]
    Host(#[from] HostStartError),
    #[error("{0} results could not be written to disk and are lost; the log names them")]
    Unwritten(usize),
    #[error("cannot start: {0}")]
    System(#[from] io::Error),
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let done = match arguments.command {
        Some(command) => {
            // Top has nothing to log and must find the process without threads.
            let _log = (!matches!(command, Subcommands::Top(_))).then(|| start_logging(None));
            carry_out(command)
        }
        None => start(arguments),
    };
    done.unwrap_or_else(|error| {
        eprintln!("astro-server: {error}");
        error.exit_code()
    })
}

/// Everything that is not serving.
fn carry_out(command: Subcommands) -> Result<ExitCode, StartError> {
    Ok(match command {
        Subcommands::Arena { command: ArenaCommand::Check { file, svg } } => {
            arena_command::check(&file, svg.as_deref())
        }
        Subcommands::Arena { command: ArenaCommand::List { assets } } => arena_command::list(assets.as_deref()),
        Subcommands::Replay { command: ReplayCommand::Verify { files } } => replay_command::verify(&files),
        Subcommands::Replay { command: ReplayCommand::Show { file } } => replay_command::show(&file),
        Subcommands::Replay { command: ReplayCommand::Capsule { file } } => replay_command::capsule(&file),
        Subcommands::Migrate { config, data } => {
            let flags = Flags(data.map(|data| ("data".to_owned(), data)).into_iter().collect());
            let loaded = settings(config.as_deref(), flags)?;
            run(|_| migrate(loaded.config.data))?;
            ExitCode::SUCCESS
        }
        Subcommands::Top(options) => top::run(&options),
        Subcommands::Metrics => {
            say(telemetry::table::markdown().trim_end());
            ExitCode::SUCCESS
        }
    })
}

/// Serves, when the settings allow it and nobody only wants to see them.
fn start(arguments: Arguments) -> Result<ExitCode, StartError> {
    let traces = Traces::from_environment(|name| std::env::var(name).ok());
    let _log = start_logging(traces.as_ref().ok().and_then(Option::as_ref));
    let traces = traces.unwrap_or_else(|error| {
        warn!(%error, "no traces are exported");
        None
    });
    let loaded = settings(arguments.config.as_deref(), arguments.flags)?;
    if arguments.print_config {
        say(loaded.print().trim_end());
    }
    loaded.config.check()?;
    if !arguments.print_config {
        run(|runtime| serve(loaded.config, runtime))?;
    }
    if let Some(traces) = traces {
        traces.finish();
    }
    Ok(ExitCode::SUCCESS)
}

impl StartError {
    fn exit_code(&self) -> ExitCode {
        match self {
            // A name service may not be up yet, or know the name later.
            StartError::Layer(LayerError::Lookup { .. }) => ExitCode::FAILURE,
            // Another try would meet the same settings; supervisors may want to know.
            StartError::Layer(_) | StartError::Config(_) => ExitCode::from(2),
            _ => ExitCode::FAILURE,
        }
    }
}

/// The settings, from all layers.
fn settings(file: Option<&Path>, flags: Flags) -> Result<Loaded, StartError> {
    Ok(config::load(file, config::as_text(std::env::vars_os())?, flags)?)
}

/// Runs a role to its end. Its first future runs on this thread, which is not niced: shards are started from it.
fn run<R: Future<Output = Result<(), StartError>>>(
    role: impl FnOnce(tokio::runtime::Handle) -> R,
) -> Result<(), StartError> {
    raise_file_limit();
    let runtime = service_runtime()?;
    let done = runtime.block_on(role(runtime.handle().clone()));
    // Whatever still runs has nothing left to write.
    runtime.shutdown_background();
    done
}

async fn migrate(data: PathBuf) -> Result<(), StartError> {
    let folder = DataFolder::open(&data)?;
    let store = Store::open(folder.path()).await?;
    say(&format!("{} is at version {}", data.display(), store.version().await?));
    store.close().await;
    Ok(())
}

/// Role `all`.
async fn serve(config: Config, runtime: tokio::runtime::Handle) -> Result<(), StartError> {
    let mut signals = Signals::new()?;
    let data = DataFolder::open(&config.data)?;
    let fleet_key = match &config.fleet_key {
        Some(key) => FleetKey::new(key.reveal()),
        None => data.fleet_key()?,
    };
    let rulebook = Arc::new(Rulebook::load(config.assets.as_deref())?);
    let listeners = Listeners::bind(&config).await?;
    let (http, ops) = listeners.addresses()?;
    let store = open_store(&runtime, data.path()).await?;
    let (spool, recovery) = Spool::open(&data.spool())?;
    report(&recovery);

    let metrics = new_metrics(&spool);
    let directory = Arc::new(Directory::in_memory());
    let host_config = HostConfig {
        udp: config.udp,
        public_udp: config.public_ip(),
        shards: config.shards,
        lanes_per_shard: LANES_PER_SHARD,
        limits: config.shard_limits(),
        capsules: data.capsules(),
        sockets: config.socket_limits(),
    };
    let host = Arc::new(Host::start(host_config, &metrics, spool.clone(), Arc::clone(&directory), &runtime)?);
    if config.load_test {
        warn!("load test: nothing limits what a single address may take");
    }
    let public_url = config.public_url.as_ref().map_or_else(|| format!("http://{http}"), |url| url.0.clone());
    let parts = api::Parts {
        hosts: Arc::clone(&host) as Arc<dyn Hosts>,
        store: store.clone(),
        directory,
        rulebook: Arc::clone(&rulebook),
        metrics: Arc::clone(&metrics),
        fleet_key,
        public_url,
        spectate_delay: Duration::from_secs(config.spectate_delay_seconds),
        limits: config.limits(),
        gate: host.gate(),
        origins: config.origins.clone(),
        operators: Operators {
            key: config.ops_key.as_ref().map(|key| FleetKey::new(key.reveal())),
            drain_grace: Duration::from_secs(config.drain_seconds),
        },
    };
    let api = Api::new(parts);
    let delivery = tokio::spawn(spool.deliver_to(api.results()));
    let (stop_http, stopped) = watch::channel(false);
    let servers = listeners.serve(&api, config.limits(), &metrics, &stopped);
    let demos = demos::open(host.as_ref(), &rulebook, config.demo).await;
    announce(&config, &Listening { http, ops, udp: host.udp_addresses() }, demos);

    signals.next().await;
    let grace = Duration::from_secs(config.drain_seconds);
    info!(grace_seconds = grace.as_secs(), "told to stop");
    let results = spool.clone();
    Shutdown { api, host, spool, delivery, stop_http, servers, store }.run(grace, signals).await;
    info!("stopped");
    match results.unwritten() {
        0 => Ok(()),
        lost => Err(StartError::Unwritten(lost)),
    }
}

/// Says that the server runs: to whoever started it, and to whoever reads its log.
fn announce(config: &Config, listening: &Listening, demos: usize) {
    let ops = listening.ops.map_or_else(|| "off".into(), |ops| ops.to_string());
    let (version, commit, http, udp) = (BUILD.version, BUILD.commit, listening.http, ranges(&listening.udp));
    info!(version, commit, %http, udp, ops, shards = config.shards, "started");
    say(&welcome(config, listening, demos));
}

/// Where HTTP comes in: from players and, unless that is turned off, from operators.
struct Listeners {
    http: TcpListener,
    ops: Option<TcpListener>,
}

impl Listeners {
    async fn bind(config: &Config) -> Result<Listeners, StartError> {
        let address = config.http;
        let http = TcpListener::bind(address).await.map_err(|source| StartError::Http { address, source })?;
        let Some(address) = config.ops.0 else { return Ok(Listeners { http, ops: None }) };
        let ops = TcpListener::bind(address).await.map_err(|source| StartError::Ops { address, source })?;
        Ok(Listeners { http, ops: Some(ops) })
    }

    fn addresses(&self) -> io::Result<(SocketAddr, Option<SocketAddr>)> {
        Ok((self.http.local_addr()?, self.ops.as_ref().map(TcpListener::local_addr).transpose()?))
    }

    /// Begins to answer; each has limits of its own, so that neither can starve the other.
    fn serve(
        self,
        api: &Arc<Api>,
        limits: Limits,
        metrics: &Arc<Metrics>,
        stopped: &watch::Receiver<bool>,
    ) -> Vec<JoinHandle<()>> {
        let answer = |listener, routes, limits: Limits| {
            let (metrics, stopped) = (Arc::clone(metrics), stopped.clone());
            tokio::spawn(async move { api::serve::serve(listener, routes, &limits, metrics, stopped).await })
        };
        let for_players = answer(self.http, api::routes(Arc::clone(api)), limits);
        let for_operators = self.ops.map(|ops| answer(ops, api::ops_routes(Arc::clone(api)), Limits::of_operators()));
        [Some(for_players), for_operators].into_iter().flatten().collect()
    }
}

fn new_metrics(spool: &Spool) -> Arc<Metrics> {
    let (metrics, probe) = (Metrics::new(), spool.clone());
    metrics.set_build(&BUILD);
    metrics.watch_spool(move || SpoolState { healthy: probe.healthy(), depth: probe.depth(), lost: probe.lost() });
    Arc::new(metrics)
}

/// On a thread of the runtime, so that the database's own threads are as yielding as it is.
async fn open_store(runtime: &tokio::runtime::Handle, folder: &Path) -> Result<Store, StartError> {
    let folder = folder.to_owned();
    let opened = runtime.spawn(async move { Store::open(&folder).await }).await;
    Ok(opened.map_err(io::Error::other)??)
}

/// What a crash left behind, told once.
fn report(recovery: &Recovery) {
    recovery.torn.iter().for_each(|torn| warn!("spool {torn}"));
    recovery.damaged.iter().for_each(|damage| error!("ALARM: spool {damage}"));
    if recovery.undelivered > 0 {
        info!(results = recovery.undelivered, "results of the last run are delivered now");
    }
}

/// The runtime of everything that is not a shard. Threads inherit the niceness of the thread that makes them,
/// so one made only for this hands it to all of them, and to those that they make.
fn service_runtime() -> io::Result<Runtime> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let build = move || {
        priority::yield_to_shards();
        let workers = if cores <= 2 { 1 } else { 2 };
        tokio::runtime::Builder::new_multi_thread().worker_threads(workers).thread_name("service").enable_all().build()
    };
    let built = std::thread::Builder::new().name("service".into()).spawn(build)?.join();
    built.unwrap_or_else(|_| Err(io::Error::other("the runtime could not be built")))
}

/// Connections, sockets and files may together be more than the usual 1,024.
fn raise_file_limit() {
    let raised =
        getrlimit(Resource::RLIMIT_NOFILE).and_then(|(_, most)| setrlimit(Resource::RLIMIT_NOFILE, most, most));
    if let Err(error) = raised {
        warn!(%error, "cannot raise the limit of open files");
    }
}
