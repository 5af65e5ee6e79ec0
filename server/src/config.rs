//! The command line, and the data folder: lock and keys.
//!
//! In: arguments, the folder. Out: a checked [`Config`], a locked [`DataFolder`], the [`FleetKey`].
//! *Invariant:* a `Config` that exists has passed every check that needs no other machine.
//! *Invariant:* two servers never work on one data folder; a key that others could read is never used.
//! Start reading at [`Arguments`]; adding a setting is one field there.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use clap::{Args, Parser, Subcommand};
use rand::TryRngCore;
use rand::rngs::OsRng;
use sha2::{Digest, Sha256};

/// Shards at most: more threads than any machine this runs on has cores to spare.
const SHARDS_MAX: u16 = 256;
/// Demo matches at most: they are for looking at, not for load.
const DEMO_MAX: u16 = 1000;

/// Astro Party server. Without a subcommand it runs everything in one process.
#[derive(Debug, Parser)]
#[command(name = "astro-server", version, args_conflicts_with_subcommands = true)]
pub struct Arguments {
    #[command(flatten)]
    pub serve: ServeArguments,
    #[command(subcommand)]
    pub command: Option<Subcommands>,
}

#[derive(Debug, Subcommand)]
pub enum Subcommands {
    /// Bring the database up to date and end.
    Migrate {
        /// Folder of the database.
        #[arg(long, value_name = "DIR", default_value = "./data")]
        data: PathBuf,
    },
    /// Look at replay files.
    Replay {
        #[command(subcommand)]
        command: ReplayCommand,
    },
}

#[derive(Debug, Subcommand)]
pub enum ReplayCommand {
    /// Play replays again and compare every recorded hash: says equal, or where they differ.
    Verify {
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
    },
    /// Print the summary and the kill list of a replay.
    Show {
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
    /// Play the last ticks of the matches in a capsule again, and say which of them panics.
    Capsule {
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
}

#[derive(Clone, Debug, Args)]
pub struct ServeArguments {
    /// Where HTTP listens. Port 0 picks a free one.
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:8080", value_parser = socket_address)]
    http: SocketAddr,
    /// Where the game listens: this UDP port and the ones after it, eight per shard. Port 0 picks free ones.
    #[arg(long, value_name = "ADDR:FIRST_PORT", default_value = "127.0.0.1:9000", value_parser = socket_address)]
    udp: SocketAddr,
    /// Address that players reach the UDP ports at. Needed when --udp is a wildcard such as 0.0.0.0.
    #[arg(long, value_name = "ADDR")]
    public_udp: Option<String>,
    /// URL that players reach HTTP at. Needed when --http is a wildcard such as 0.0.0.0.
    #[arg(long, value_name = "URL")]
    public_url: Option<String>,
    /// Folder for database, keys and results on their way. Made when missing.
    #[arg(long, value_name = "DIR", default_value = "./data")]
    data: PathBuf,
    /// Threads that run matches. Default: one less than there are cores, at least one.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=i64::from(SHARDS_MAX)))]
    shards: Option<u16>,
    /// Matches flown by pilots, to have something to look at.
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u16).range(0..=i64::from(DEMO_MAX)))]
    demo: u16,
    /// Folder with rules/*.ron and arenas/*.ron that replace or add to the built-in ones by name.
    #[arg(long, value_name = "DIR")]
    assets: Option<PathBuf>,
}

/// Checked settings of role `all`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    pub http: SocketAddr,
    pub udp: SocketAddr,
    pub public_udp: Option<IpAddr>,
    /// Without a slash at the end.
    pub public_url: Option<String>,
    pub data: PathBuf,
    pub shards: usize,
    pub demo: usize,
    pub assets: Option<PathBuf>,
}

/// Settings or a data folder that cannot be used; one line for whoever started the program.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("--udp {0} listens on every address, but a ticket must name one: add --public-udp ADDR")]
    PublicUdpMissing(SocketAddr),
    #[error("--http {0} listens on every address, but links must name one: add --public-url URL")]
    PublicUrlMissing(SocketAddr),
    #[error("--public-udp {0}: not an address or a known host of the same kind as --udp (give no port)")]
    PublicUdp(String),
    #[error("--public-url {0}: must begin with http:// or https://")]
    PublicUrl(String),
    #[error("another server uses the data folder {0}")]
    DataInUse(PathBuf),
    #[error("{path}: {source}")]
    Data { path: PathBuf, source: io::Error },
    #[error("{path}: a fleet key is 64 hex digits; delete the file to have a new one made")]
    KeyFormat { path: PathBuf },
    #[error("{path}: others can read this key (mode {mode:03o}); run `chmod 600` on it")]
    KeyOpen { path: PathBuf, mode: u32 },
}

impl ServeArguments {
    /// Checks what needs checking and fills in what depends on the machine.
    ///
    /// # Errors
    /// The first setting that does not fit.
    pub fn check(self) -> Result<Config, ConfigError> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Ok(Config {
            public_udp: public_udp(self.public_udp, self.udp)?,
            public_url: public_url(self.public_url, self.http)?,
            http: self.http,
            udp: self.udp,
            data: self.data,
            shards: self.shards.map_or(cores.saturating_sub(1).max(1), usize::from),
            demo: usize::from(self.demo),
            assets: self.assets,
        })
    }
}

/// An address with a port; host names are looked up.
fn socket_address(text: &str) -> Result<SocketAddr, String> {
    let mut found = text.to_socket_addrs().map_err(|_| "expected ADDR:PORT, such as 127.0.0.1:8080".to_owned())?;
    found.next().ok_or_else(|| "the name has no address".to_owned())
}

fn public_udp(text: Option<String>, udp: SocketAddr) -> Result<Option<IpAddr>, ConfigError> {
    let Some(text) = text else {
        return if udp.ip().is_unspecified() { Err(ConfigError::PublicUdpMissing(udp)) } else { Ok(None) };
    };
    let found = (text.trim_matches(['[', ']']), 0).to_socket_addrs().ok().into_iter().flatten().map(|found| found.ip());
    let mut fitting = found.filter(|ip| ip.is_ipv4() == udp.is_ipv4() && !ip.is_unspecified());
    fitting.next().map(Some).ok_or(ConfigError::PublicUdp(text))
}

fn public_url(text: Option<String>, http: SocketAddr) -> Result<Option<String>, ConfigError> {
    match text {
        None if http.ip().is_unspecified() => Err(ConfigError::PublicUrlMissing(http)),
        None => Ok(None),
        Some(url) if url.starts_with("http://") || url.starts_with("https://") => {
            Ok(Some(url.trim_end_matches('/').to_owned()))
        }
        Some(url) => Err(ConfigError::PublicUrl(url)),
    }
}

/// The data folder, ours alone while this lives.
#[derive(Debug)]
pub struct DataFolder {
    path: PathBuf,
    _lock: File,
}

impl DataFolder {
    /// Makes the folder when it is missing and locks it.
    ///
    /// # Errors
    /// When another server has it, or it cannot be written.
    pub fn open(path: &Path) -> Result<DataFolder, ConfigError> {
        let lock_path = path.join("server.lock");
        fs::create_dir_all(path).map_err(failed(path))?;
        let lock = OpenOptions::new().create(true).truncate(false).write(true).open(&lock_path);
        let lock = lock.map_err(failed(&lock_path))?;
        match lock.try_lock() {
            Ok(()) => Ok(DataFolder { path: path.to_owned(), _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(ConfigError::DataInUse(path.to_owned())),
            Err(TryLockError::Error(source)) => Err(ConfigError::Data { path: lock_path, source }),
        }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where results wait for the store.
    pub fn spool(&self) -> PathBuf {
        self.path.join("spool")
    }

    /// Where capsules of panicked shards are kept.
    pub fn capsules(&self) -> PathBuf {
        self.path.join("capsules")
    }

    /// The fleet key, made on first use.
    ///
    /// # Errors
    /// When the file is not a key or not private.
    pub fn fleet_key(&self) -> Result<FleetKey, ConfigError> {
        let folder = self.path.join("keys");
        let path = folder.join("fleet.key");
        DirBuilder::new().recursive(true).mode(0o700).create(&folder).map_err(failed(&folder))?;
        if !path.exists() {
            create_key(&folder, &path).map_err(failed(&path))?;
        }
        let mode = fs::metadata(&path).map_err(failed(&path))?.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(ConfigError::KeyOpen { path, mode });
        }
        let text = fs::read_to_string(&path).map_err(failed(&path))?;
        let text = text.trim_end();
        let is_key = text.len() == 64 && text.bytes().all(|digit| digit.is_ascii_hexdigit());
        if is_key { Ok(FleetKey::new(text)) } else { Err(ConfigError::KeyFormat { path }) }
    }
}

fn failed(path: &Path) -> impl FnOnce(io::Error) -> ConfigError {
    let path = path.to_owned();
    move |source| ConfigError::Data { path, source }
}

/// Writes a new key beside its place and renames it, so that a crash never leaves half a key.
fn create_key(folder: &Path, path: &Path) -> io::Result<()> {
    let mut key = [0; 32];
    OsRng.try_fill_bytes(&mut key).map_err(io::Error::other)?;
    let text: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
    let fresh = path.with_extension("key.new");
    let mut file = OpenOptions::new().create(true).write(true).truncate(true).mode(0o600).open(&fresh)?;
    writeln!(file, "{text}")?;
    file.sync_all()?;
    fs::rename(&fresh, path)?;
    File::open(folder)?.sync_all()
}

/// What a host shows to be let in at `/internal`. Kept as its hash only: nothing can print it, and comparing
/// hashes tells nobody how much of a guess was right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FleetKey {
    sha256: [u8; 32],
}

impl FleetKey {
    /// The key with this text.
    pub fn new(text: &str) -> FleetKey {
        FleetKey { sha256: Sha256::digest(text).into() }
    }

    /// Whether `text` is the key.
    pub fn is(&self, text: &str) -> bool {
        *self == FleetKey::new(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tests::Folder;

    fn parsed(words: &[&str]) -> Result<Config, String> {
        let words = ["astro-server"].iter().chain(words);
        let arguments = Arguments::try_parse_from(words).map_err(|error| error.to_string())?;
        arguments.serve.check().map_err(|error| error.to_string())
    }

    #[test]
    fn defaults_suit_a_newcomer() {
        let config = parsed(&[]).unwrap();
        assert_eq!(
            (config.http.to_string(), config.udp.to_string()),
            ("127.0.0.1:8080".into(), "127.0.0.1:9000".into())
        );
        assert_eq!((config.data, config.demo, config.public_udp), (PathBuf::from("./data"), 2, None));
        assert!(config.shards >= 1);
    }

    #[test]
    fn a_wildcard_needs_a_public_name() {
        assert!(parsed(&["--udp", "0.0.0.0:9000"]).unwrap_err().contains("add --public-udp"));
        assert!(parsed(&["--http", "[::]:80"]).unwrap_err().contains("add --public-url"));
        let config = parsed(&["--udp", "0.0.0.0:9000", "--public-udp", "203.0.113.7"]).unwrap();
        assert_eq!(config.public_udp, Some("203.0.113.7".parse().unwrap()));
        let config = parsed(&["--udp", "[::]:9000", "--public-udp", "[2001:db8::1]"]).unwrap();
        assert_eq!(config.public_udp, Some("2001:db8::1".parse().unwrap()));
        let config = parsed(&["--http", "0.0.0.0:80", "--public-url", "https://party.example/"]).unwrap();
        assert_eq!(config.public_url.as_deref(), Some("https://party.example"));
    }

    #[test]
    fn settings_that_cannot_work_are_refused() {
        for (words, reason) in [
            (&["--udp", "0.0.0.0:9000", "--public-udp", "2001:db8::1"][..], "same kind as --udp"),
            (&["--public-udp", "203.0.113.7:9000"], "give no port"),
            (&["--public-url", "party.example"], "must begin with http"),
            (&["--shards", "0"], "0 is not in 1..="),
            (&["--http", "8080"], "expected ADDR:PORT"),
            (&["replay", "verify"], "required arguments"),
            (&["--demo", "1", "migrate"], "cannot be used with"),
        ] {
            let error = parsed(words).unwrap_err();
            assert!(error.contains(reason), "{words:?}: {error}");
        }
    }

    #[test]
    fn a_data_folder_has_one_server_at_a_time() {
        let folder = Folder::new();
        let first = DataFolder::open(&folder.0.join("new/data")).unwrap();
        let second = DataFolder::open(&folder.0.join("new/data"));
        assert!(matches!(second, Err(ConfigError::DataInUse(_))));
        drop(first);
        assert!(DataFolder::open(&folder.0.join("new/data")).is_ok());
    }

    #[test]
    fn the_fleet_key_is_made_once_and_must_stay_private() {
        let folder = Folder::new();
        let data = DataFolder::open(&folder.0).unwrap();
        let path = folder.0.join("keys/fleet.key");
        let key = data.fleet_key().unwrap();
        let text = fs::read_to_string(&path).unwrap();
        assert!(key.is(text.trim_end()) && !key.is(&text[1..]));
        assert_eq!(data.fleet_key().unwrap(), key);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(data.fleet_key(), Err(ConfigError::KeyOpen { mode: 0o640, .. })));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(&path, "abc\n").unwrap();
        assert!(matches!(data.fleet_key(), Err(ConfigError::KeyFormat { .. })));
    }
}
