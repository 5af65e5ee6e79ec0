//! Settings: one table, one typed struct, and the data folder.
//!
//! In: defaults < a TOML file < environment variables < flags. Out: a checked [`Config`], and where each value came from.
//! *Invariant:* a setting is declared in one place: its field name is its key in the file, `--its-name` its flag,
//! `ASTRO_ITS_NAME` its variable, its doc comment its help, in `--help`, `--print-config` and `.env.example`.
//! *Invariant:* a `Config` that passed [`Config::check`] passed every check that needs no other machine.
//! Start reading at `settings!` below; adding a setting is one field there.

mod command;
mod folder;
mod layers;
mod print;
mod production;
mod values;

use std::io::IsTerminal;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use crate::api::limits::Limits;
use crate::api::peer::TrustedProxy;
use crate::api::play::Origin;
use crate::host::matches::MATCHES_MAX;
use crate::host::placement::ShardLimits;
use crate::host::watch;
use crate::transport::websocket::{SnapshotQueue, SocketLimits};
pub use command::{ArenaCommand, Arguments, Flags, ReplayCommand, Subcommands};
pub use folder::{DataFolder, FolderError};
use layers::Setting;
pub use layers::{LayerError, Layers, as_text};
use values::Value;
pub use values::{Listen, PublicHost, PublicUrl, Secret};

/// Read when it is there and no other file is named.
const DEFAULT_FILE: &str = "./astro.toml";
/// Shards at most: more threads than any machine this runs on has cores to spare.
const SHARDS_MAX: u64 = 256;
/// Demo matches at most: they are for looking at, not for load.
const DEMO_MAX: u64 = 1000;
/// Matches of a shard at most.
const MATCHES_LIMIT: u64 = MATCHES_MAX as u64;
/// Seats of a shard at most: what its sockets hold.
const SEATS_LIMIT: u64 = 2048;
/// HTTP connections at most: each takes a file descriptor and up to 16 KiB.
const CONNECTIONS_LIMIT: u64 = 65_536;
/// Joins at most: beyond anything a machine could answer.
const JOINS_LIMIT: u64 = 1_000_000;
/// Spectators of a match at most: they cost as much as players.
const SPECTATORS_LIMIT: u64 = 100;
/// Longest wait for matches to end: longer than the longest match the rules allow.
const DRAIN_SECONDS_MAX: u64 = 24 * 3600;

/// Declares settings by section, `name: type, "VALUE" = default;`, after the default perhaps the range of a number.
macro_rules! settings {
    ($($section:literal {
        $($(#[doc = $help:literal])+ $name:ident: $kind:ty, $value_name:literal = $default:expr $(, $range:expr)?;)*
    })*) => {
        /// Every setting, in its own type.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct Config { $($($(#[doc = $help])+ pub $name: $kind,)*)* }

        /// What there is to know about every setting but its value.
        static SETTINGS: &[Setting] = &[$($(Setting {
            section: $section,
            name: stringify!($name),
            help: concat!($($help),+),
            value_name: $value_name,
            kind: <$kind as Value>::KIND,
            secret: <$kind as Value>::SECRET,
            default: || $default.to_string(),
            range: { let range = None; $(let _: Option<()> = range; let range = Some($range);)? range },
        },)*)*];

        impl Config {
            fn read(layers: &Layers) -> Result<Config, LayerError> {
                Ok(Config { $($($name: layers.read(stringify!($name))?,)*)* })
            }

            /// Every value as text, by name, in the order of the table.
            fn texts(&self) -> Vec<(&'static str, String)> {
                vec![$($((stringify!($name), self.$name.text()),)*)*]
            }
        }
    };
}

settings! {
    "Network" {
        /// Where HTTP listens. Port 0 picks a free one.
        http: SocketAddr, "ADDR:PORT" = "127.0.0.1:8080";
        /// URL that players reach HTTP at. Needed when HTTP listens on a wildcard such as 0.0.0.0.
        public_url: Option<PublicUrl>, "URL" = "";
        /// Where the game listens: this UDP port and the ones after it, eight per shard. Port 0 picks free ones.
        udp: SocketAddr, "ADDR:FIRST_PORT" = "127.0.0.1:9000";
        /// Address that players reach the UDP ports at. Needed when UDP listens on a wildcard such as 0.0.0.0.
        public_udp: Option<PublicHost>, "ADDR" = "";
        /// Pages that may open WebSockets here besides those from the host of public_url; * is every page.
        origins: Vec<Origin>, "ORIGIN,..." = "";
    }
    "Matches" {
        /// Threads that run matches. Unless given, one less than there are cores, at least one.
        shards: usize, "N" = default_shards(), 1..=SHARDS_MAX;
        /// Matches flown by pilots, to have something to look at.
        demo: usize, "N" = 2, 0..=DEMO_MAX;
        /// Matches that a shard may run, demo matches included.
        matches_per_shard: usize, "N" = ShardLimits::default().matches_per_shard, 1..=MATCHES_LIMIT;
        /// Seats of all matches of a shard, demo matches included; each may have a connection. Of 2,048 places for
        /// connections those that are left are for spectators, up to a quarter: with 2048 seats nobody may watch.
        seats_per_shard: usize, "N" = ShardLimits::default().seats_per_shard, 2..=SEATS_LIMIT;
        /// Share of the time between two ticks that a shard's mean tick may take before it gets no more matches.
        tick_budget_percent: u32, "PERCENT" = ShardLimits::default().tick_budget_percent, 1..=100;
        /// How long after it was spectators are shown what happens, so that they cannot tell players anything of use.
        /// Demo matches, and quickplay with a group, are shown at once.
        spectate_delay_seconds: u64, "S" = 10, 0..=watch::DELAY_MAX.as_secs();
        /// Folder with rules/*.ron and arenas/*.ron that replace or add to the built-in ones by name.
        assets: Option<PathBuf>, "DIR" = "";
    }
    "Limits" {
        /// Proxies in front of HTTP: only theirs is an X-Forwarded-For that counts.
        trusted_proxies: Vec<TrustedProxy>, "ADDR[/BITS],..." = "";
        /// HTTP connections at once. When they are all taken, slow and idle ones are closed for new ones.
        connections_max: usize, "N" = Limits::default().connections_max, 1..=CONNECTIONS_LIMIT;
        /// HTTP connections at once from one address (for IPv6, from one /64).
        connections_per_address: usize, "N" = Limits::default().connections_per_address, 1..=CONNECTIONS_LIMIT;
        /// Seats that one address may ask for at once, before its rate counts.
        joins_burst_per_address: u32, "N" = Limits::default().joins_burst_per_address, 1..=JOINS_LIMIT;
        /// Seats that one address may ask for per minute after that.
        joins_per_minute_per_address: u32, "N" = Limits::default().joins_per_minute_per_address, 1..=JOINS_LIMIT;
        /// Tickets of one address that nobody has used yet.
        joins_outstanding_per_address: u32, "N" = Limits::default().joins_outstanding_per_address, 1..=JOINS_LIMIT;
        /// Seats that all addresses together may ask for at once.
        joins_burst: u32, "N" = Limits::default().joins_burst, 1..=JOINS_LIMIT;
        /// Seats that all addresses together may ask for per second after that.
        joins_per_second: u32, "N" = Limits::default().joins_per_second, 1..=JOINS_LIMIT;
        /// Requests for seats that may wait for an answer at once.
        joins_in_flight_max: usize, "N" = Limits::default().joins_in_flight_max, 1..=JOINS_LIMIT;
        /// WebSockets that have not shown a ticket yet, at once.
        sockets_waiting_max: usize, "N" = SocketLimits::default().waiting_max, 1..=CONNECTIONS_LIMIT;
        /// Of these from one address (for IPv6, from one /64).
        sockets_waiting_per_address: usize, "N" = SocketLimits::default().waiting_per_address_max, 1..=CONNECTIONS_LIMIT;
        /// Spectators of one match.
        spectators_per_match: usize, "N" = ShardLimits::default().spectators_per_match, 0..=SPECTATORS_LIMIT;
        /// Lifts what limits single addresses, for load tests, which come from one. Production mode refuses it.
        load_test: bool, "BOOL" = false;
    }
    "Operation" {
        /// Folder for database, keys and results on their way. Made when missing.
        data: PathBuf, "DIR" = "./data";
        /// How long running matches may go on when the server is told to stop; then they end without a result.
        /// Unless given, 30 on a terminal and 300 otherwise.
        drain_seconds: u64, "N" = default_drain_seconds(), 0..=DRAIN_SECONDS_MAX;
        /// What a WebSocket that cannot take a snapshot yet gets later: the latest one, or, only for measuring what that
        /// is worth, all of them.
        snapshot_queue: SnapshotQueue, "latest|all" = SnapshotQueue::default();
        /// Refuses to start with anything that is fine on a desk and not in public, and says what.
        production: bool, "BOOL" = false;
        /// Where operators are answered: metrics, and admin routes that end matches. Port 0 picks a free one, off closes it.
        /// Anywhere but on a loopback address it needs ops_key.
        ops: Listen, "ADDR:PORT" = "127.0.0.1:9090";
        /// What operators must show there, as a Bearer token. Health and readiness are open.
        ops_key: Option<Secret>, "KEY" = "";
        /// What a host shows to deliver results. Unless given, one is made in the data folder at the first start.
        fleet_key: Option<Secret>, "KEY" = "";
    }
}

fn default_shards() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from).saturating_sub(1).max(1)
}

/// Whoever watches a terminal waits for it; whoever does not would rather have the matches ended well.
fn default_drain_seconds() -> u64 {
    if std::io::stdin().is_terminal() { 30 } else { 300 }
}

/// Settings that cannot be used; for whoever started the program.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error(transparent)]
    Layer(#[from] LayerError),
    #[error("{listening} = {address} listens on every address, but players must be told one: set {missing} ({names})")]
    PublicMissing { listening: &'static str, address: SocketAddr, missing: &'static str, names: String },
    #[error("public_udp has no address of the same kind (IPv4 or IPv6) as udp = {udp} ({names})")]
    PublicKind { udp: SocketAddr, names: String },
    #[error("ops = {0} can be reached from other machines, and whoever reaches it can end matches: set ops_key ({names})", names = names_of("ops_key"))]
    OpsOpen(SocketAddr),
    #[error("production mode refuses to start:{}", list(.0))]
    Production(Vec<String>),
}

fn list(complaints: &[String]) -> String {
    complaints.iter().map(|complaint| format!("\n  - {complaint}")).collect()
}

/// Settings, and where they came from.
pub struct Loaded {
    pub config: Config,
    layers: Layers,
}

/// Puts the layers together. `file` is what `--config` names; otherwise `ASTRO_CONFIG` may, and otherwise
/// `./astro.toml` is read when it is there.
///
/// # Errors
/// The first setting that cannot be read, or name that no setting has.
pub fn load(
    file: Option<&Path>,
    environment: impl IntoIterator<Item = (String, String)>,
    flags: Flags,
) -> Result<Loaded, LayerError> {
    let environment: Vec<(String, String)> = environment.into_iter().collect();
    let named = environment.iter().find(|(name, value)| name == layers::FILE_VARIABLE && !value.is_empty());
    let named = file.or(named.map(|(_, value)| Path::new(value)));
    let mut layers = Layers::defaults();
    if let Some(path) = named.or(Some(Path::new(DEFAULT_FILE)).filter(|path| path.exists())) {
        layers.file(path)?;
    }
    layers.environment(environment)?;
    flags.0.into_iter().try_for_each(|(flag, text)| layers.flag(flag, text))?;
    Ok(Loaded { config: Config::read(&layers)?, layers })
}

impl Loaded {
    /// Every setting with its value and its source, as TOML.
    pub fn print(&self) -> String {
        print::print(&self.config, &self.layers)
    }
}

impl Config {
    /// The address that players reach UDP at, when it is not the bound one.
    pub fn public_ip(&self) -> Option<IpAddr> {
        let host = self.public_udp.as_ref()?;
        host.addresses.iter().copied().find(|ip| ip.is_ipv4() == self.udp.is_ipv4())
    }

    /// What every shard may take on.
    pub fn shard_limits(&self) -> ShardLimits {
        ShardLimits {
            matches_per_shard: self.matches_per_shard,
            seats_per_shard: self.seats_per_shard,
            spectators_per_match: self.spectators_per_match,
            tick_budget_percent: self.tick_budget_percent,
        }
    }

    /// What strangers may ask of the service.
    pub fn limits(&self) -> Limits {
        Limits {
            connections_max: self.connections_max,
            connections_per_address: self.connections_per_address,
            joins_burst_per_address: self.joins_burst_per_address,
            joins_per_minute_per_address: self.joins_per_minute_per_address,
            joins_outstanding_per_address: self.joins_outstanding_per_address,
            joins_burst: self.joins_burst,
            joins_per_second: self.joins_per_second,
            joins_in_flight_max: self.joins_in_flight_max,
            trusted_proxies: self.trusted_proxies.clone(),
            load_test: self.load_test,
        }
    }

    /// What WebSockets may take, and how their snapshots wait.
    pub fn socket_limits(&self) -> SocketLimits {
        let per_address = if self.load_test { self.sockets_waiting_max } else { self.sockets_waiting_per_address };
        SocketLimits {
            waiting_max: self.sockets_waiting_max,
            waiting_per_address_max: per_address,
            snapshot_queue: self.snapshot_queue,
        }
    }

    /// Checks what one value alone does not show.
    ///
    /// # Errors
    /// What does not fit together, or everything that production mode refuses.
    pub fn check(&self) -> Result<(), ConfigError> {
        let missing = |listening, address: SocketAddr, missing| ConfigError::PublicMissing {
            listening,
            address,
            missing,
            names: names_of(missing),
        };
        if self.udp.ip().is_unspecified() && self.public_udp.is_none() {
            return Err(missing("udp", self.udp, "public_udp"));
        }
        if self.http.ip().is_unspecified() && self.public_url.is_none() {
            return Err(missing("http", self.http, "public_url"));
        }
        if self.public_udp.is_some() && self.public_ip().is_none() {
            return Err(ConfigError::PublicKind { udp: self.udp, names: names_of("public_udp") });
        }
        if let Some(address) = self.ops.0
            && !address.ip().is_loopback()
            && self.ops_key.is_none()
        {
            return Err(ConfigError::OpsOpen(address));
        }
        let complaints = if self.production { production::complaints(self) } else { Vec::new() };
        if complaints.is_empty() { Ok(()) } else { Err(ConfigError::Production(complaints)) }
    }
}

/// Every name of the setting with this key.
fn names_of(key: &str) -> String {
    SETTINGS.iter().find(|setting| setting.name == key).map(Setting::names).unwrap_or_default()
}

#[cfg(test)]
mod tests;
