//! What a setting can be: how its value is read from text, and written as text again.
//!
//! In: text, as a flag, an environment variable or a line of the file gives it. Out: typed values, or what was expected.
//! *Invariant:* `parse(text())` is the same value, so that what `--print-config` prints can be read back.
//! *Invariant:* a [`Secret`] is shown by nothing: its `Debug` and its `text` are stars.
//! Start reading at [`Value`]; a new kind of value is one `impl`.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::path::PathBuf;

use crate::api::peer::TrustedProxy;
use crate::api::play::Origin;
use crate::transport::websocket::SnapshotQueue;

/// What a secret looks like wherever it might be shown.
pub const STARS: &str = "***";

/// What a value is in a TOML file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Text,
    /// Whole, not negative.
    Number,
    Switch,
    /// Of texts; in flags and variables separated by commas.
    List,
}

/// Why a text is no value.
#[derive(Debug)]
pub enum Misfit {
    /// What was expected, as the rest of a sentence.
    Expected(String),
    /// A name of a host that nobody knows, now.
    Unknown { host: String, source: io::Error },
}

impl<T: Into<String>> From<T> for Misfit {
    fn from(expected: T) -> Misfit {
        Misfit::Expected(expected.into())
    }
}

/// The misfit of a look-up that failed; `None` when no name service has been asked, because this can be no host's name.
fn unknown(host: &str, source: io::Error) -> Option<Misfit> {
    let is_name = host.contains(|c: char| c.is_ascii_alphabetic())
        && host.chars().all(|c| c.is_ascii_alphanumeric() || "-._".contains(c))
        && source.kind() != io::ErrorKind::InvalidInput;
    is_name.then(|| Misfit::Unknown { host: host.into(), source })
}

/// A type that a setting can have.
pub trait Value: Sized {
    const KIND: Kind = Kind::Text;
    /// Never shown, and may come from a file of its own.
    const SECRET: bool = false;

    /// # Errors
    /// What was expected, or which name nobody knows.
    fn parse(text: &str) -> Result<Self, Misfit>;

    /// What [`Value::parse`] makes the same value of.
    fn text(&self) -> String;
}

macro_rules! number {
    ($($kind:ty),*) => {$(
        impl Value for $kind {
            const KIND: Kind = Kind::Number;

            fn parse(text: &str) -> Result<Self, Misfit> {
                text.parse().map_err(|_| format!("a whole number from 0 to {}", <$kind>::MAX).into())
            }

            fn text(&self) -> String {
                self.to_string()
            }
        }
    )*};
}
number!(u32, u64, usize);

impl Value for bool {
    const KIND: Kind = Kind::Switch;

    fn parse(text: &str) -> Result<bool, Misfit> {
        match text {
            "true" | "1" | "yes" | "on" => Ok(true),
            "false" | "0" | "no" | "off" => Ok(false),
            _ => Err("true or false".into()),
        }
    }

    fn text(&self) -> String {
        self.to_string()
    }
}

impl Value for PathBuf {
    fn parse(text: &str) -> Result<PathBuf, Misfit> {
        if text.is_empty() { Err("a path".into()) } else { Ok(text.into()) }
    }

    fn text(&self) -> String {
        self.display().to_string()
    }
}

/// An address with a port; host names are looked up.
impl Value for SocketAddr {
    fn parse(text: &str) -> Result<SocketAddr, Misfit> {
        let wrong = || Misfit::from("ADDR:PORT, such as 127.0.0.1:8080");
        let (host, _) = text.rsplit_once(':').ok_or_else(wrong)?;
        let mut found = text.to_socket_addrs().map_err(|error| unknown(host, error).unwrap_or_else(wrong))?;
        found.next().ok_or_else(wrong)
    }

    fn text(&self) -> String {
        self.to_string()
    }
}

/// Where to listen, or nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listen(pub Option<SocketAddr>);

impl Value for Listen {
    fn parse(text: &str) -> Result<Listen, Misfit> {
        if text == "off" {
            return Ok(Listen(None));
        }
        let wrong = |misfit| match misfit {
            Misfit::Expected(_) => "ADDR:PORT, such as 127.0.0.1:9090, or off".into(),
            unknown => unknown,
        };
        Ok(Listen(Some(SocketAddr::parse(text).map_err(wrong)?)))
    }

    fn text(&self) -> String {
        self.0.map_or_else(|| "off".into(), |address| address.to_string())
    }
}

/// The empty text is `None`.
impl<T: Value> Value for Option<T> {
    const KIND: Kind = T::KIND;
    const SECRET: bool = T::SECRET;

    fn parse(text: &str) -> Result<Option<T>, Misfit> {
        if text.is_empty() { Ok(None) } else { T::parse(text).map(Some) }
    }

    fn text(&self) -> String {
        self.as_ref().map(T::text).unwrap_or_default()
    }
}

/// Separated by commas; the empty text is no item.
impl<T: Value> Value for Vec<T> {
    const KIND: Kind = Kind::List;

    fn parse(text: &str) -> Result<Vec<T>, Misfit> {
        text.split(',').map(str::trim).filter(|item| !item.is_empty()).map(T::parse).collect()
    }

    fn text(&self) -> String {
        self.iter().map(T::text).collect::<Vec<_>>().join(",")
    }
}

impl Value for TrustedProxy {
    fn parse(text: &str) -> Result<TrustedProxy, Misfit> {
        text.parse().map_err(|_| "an address or a network such as 10.0.0.0/8".into())
    }

    fn text(&self) -> String {
        self.to_string()
    }
}

impl Value for Origin {
    fn parse(text: &str) -> Result<Origin, Misfit> {
        text.parse().map_err(|_| "an origin such as https://play.example, or *".into())
    }

    fn text(&self) -> String {
        self.to_string()
    }
}

impl Value for SnapshotQueue {
    fn parse(text: &str) -> Result<SnapshotQueue, Misfit> {
        match text {
            "latest" => Ok(SnapshotQueue::Latest),
            "all" => Ok(SnapshotQueue::All),
            _ => Err("latest or all".into()),
        }
    }

    fn text(&self) -> String {
        self.to_string()
    }
}

/// A host that players reach, with every address it has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicHost {
    name: String,
    pub addresses: Vec<IpAddr>,
}

impl Value for PublicHost {
    fn parse(text: &str) -> Result<PublicHost, Misfit> {
        let wrong = || Misfit::from("an address or a known host, without a port");
        let host = text.trim_matches(['[', ']']);
        let found = (host, 0).to_socket_addrs().map_err(|error| unknown(host, error).unwrap_or_else(wrong))?;
        let addresses: Vec<IpAddr> = found.map(|found| found.ip()).filter(|ip| !ip.is_unspecified()).collect();
        if addresses.is_empty() {
            return Err(wrong());
        }
        Ok(PublicHost { name: text.into(), addresses })
    }

    fn text(&self) -> String {
        self.name.clone()
    }
}

/// The beginning of links to this server; without a slash at the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicUrl(pub String);

impl Value for PublicUrl {
    fn parse(text: &str) -> Result<PublicUrl, Misfit> {
        if !text.starts_with("http://") && !text.starts_with("https://") {
            return Err("a URL that begins with http:// or https://".into());
        }
        Ok(PublicUrl(text.trim_end_matches('/').to_owned()))
    }

    fn text(&self) -> String {
        self.0.clone()
    }
}

/// A text that nobody may see.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// The text itself, for the one place that needs it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(STARS)
    }
}

impl Value for Secret {
    const SECRET: bool = true;

    fn parse(text: &str) -> Result<Secret, Misfit> {
        Ok(Secret(text.into()))
    }

    fn text(&self) -> String {
        STARS.into()
    }
}
