//! What the command line says.
//!
//! In: arguments. Out: [`Options`], or the help and an error in words.
//! Start reading at [`Options`].

use std::ffi::OsString;
use std::path::PathBuf;

use astro_shared::sim::units::{SEATS_MAX, SEATS_MIN};
use clap::builder::RangedU64ValueParser;
use clap::{Parser, ValueEnum};

use ureq::http::Uri;

use super::attack::{ATTACKERS_MAX, Profile};
use super::network::NetworkOptions;
use crate::net::Transport;

/// Where the help lists what is no playing.
const ATTACK: &str = "Attack";

/// Plays matches against a server with real clients, and reports what they met.
///
/// Every bot joins over HTTP, connects over UDP or WebSocket and flies by what it decodes. New matches are started for a while;
/// each one that ends before that is replaced. Then the bots wait for the results of all that were started.
///
/// Exit code: 0 when every started match has a stored result; 1 when one has none; 2 when nothing could be started;
/// 3 when a file could not be written in the end; 130 after Ctrl-C. With --profile: 0 when the server dealt with the attack, 1 when it did not.
#[derive(Parser, Clone, Debug, PartialEq, Eq)]
#[command(name = "bots", version)]
pub struct Options {
    /// The server's HTTP address. http only: put https in front of a server with a proxy, and point the bots behind it
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8080", value_parser = parse_server)]
    pub server: String,

    /// The server's operations address, where its metrics are [default: port 9090 of the server's host]
    #[arg(long, value_name = "URL", value_parser = parse_server)]
    pub ops: Option<String>,

    /// Matches that run at a time
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = RangedU64ValueParser::<u32>::new().range(1..=10_000))]
    pub matches: u32,

    /// Seats of each match, all taken by bots
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = RangedU64ValueParser::<u8>::new().range(SEATS_MIN as u64..=SEATS_MAX as u64))]
    pub seats: u8,

    /// How long new matches are started, counted from when the first ones are all in
    #[arg(long, value_name = "S", default_value_t = 20)]
    pub seconds: u64,

    /// How long to wait for results after that
    #[arg(long, value_name = "S", default_value_t = 60)]
    pub grace: u64,

    /// Mode of the matches
    #[arg(long, default_value = "last_ship")]
    pub mode: String,

    /// Rules preset of the matches
    #[arg(long, default_value = "sprint")]
    pub rules: String,

    /// Decides the bots' skills; equal seeds make equal fleets
    #[arg(long, default_value_t = 1)]
    pub seed: u64,

    /// Also write the report to this file, as JSON
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,

    /// Also write the ids of the matches whose result a bot was told to this file, one a line: what must be in the store
    #[arg(long, value_name = "FILE")]
    pub told: Option<PathBuf>,

    /// Snapshots a second that each bot asks for: 15, 30 or 60
    #[arg(long, value_name = "N", default_value_t = 30, value_parser = parse_snapshots)]
    pub snapshots: u8,

    /// What the bots connect over; mixed: every other one
    #[arg(long, value_enum, default_value_t = Carriers::Udp)]
    pub transport: Carriers,

    /// Each bot loses its connection about N times in 25 s (cut, silence, new port) and comes back with its seat's secret;
    /// with --transport mixed, over the other transport
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = RangedU64ValueParser::<u32>::new().range(0..=50))]
    pub rejoin: u32,

    #[command(flatten)]
    pub network: NetworkOptions,

    /// Attack instead of playing, to test a server of your own on this machine; see --attackers and --seconds
    #[arg(long, value_enum, value_name = "PROFILE", help_heading = ATTACK)]
    pub profile: Option<Profile>,

    /// Attackers at a time, each doing everything that the profile names
    #[arg(long, value_name = "N", default_value_t = 1, requires = "profile", help_heading = ATTACK, value_parser = RangedU64ValueParser::<u32>::new().range(1..=u64::from(ATTACKERS_MAX)))]
    pub attackers: u32,
}

/// What the bots of a match connect over.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carriers {
    Udp,
    Ws,
    Mixed,
}

impl Carriers {
    /// For the bot that asks for the `seat`th seat of its match.
    pub fn of(self, seat: u8) -> Transport {
        match self {
            Carriers::Udp => Transport::Udp,
            Carriers::Ws => Transport::WebSocket,
            Carriers::Mixed => Transport::ALL[usize::from(seat) % Transport::ALL.len()],
        }
    }

    /// For a bot that comes back after it was on `former`.
    pub fn after(self, former: Transport) -> Transport {
        match (self, former) {
            (Carriers::Mixed, Transport::Udp) => Transport::WebSocket,
            (Carriers::Mixed, Transport::WebSocket) => Transport::Udp,
            _ => former,
        }
    }
}

/// Port of a server's operations listener when nobody has said otherwise.
const DEFAULT_OPS_PORT: u16 = 9090;

impl Options {
    /// Reads a command line, the program's name first. A `--` right after it is skipped: the cargo alias adds one.
    ///
    /// # Errors
    /// What is wrong with it; or the help, when that was asked for.
    pub fn read(arguments: impl IntoIterator<Item = OsString>) -> Result<Options, clap::Error> {
        let mut arguments: Vec<OsString> = arguments.into_iter().collect();
        if arguments.get(1).is_some_and(|first| first == "--") {
            arguments.remove(1);
        }
        Options::try_parse_from(arguments)
    }

    /// Where the server's operations listener is; without `--ops` where a server puts it that was started without.
    pub fn ops(&self) -> String {
        let host = || self.server.parse::<Uri>().ok()?.host().map(str::to_owned);
        let default = || format!("http://{}:{DEFAULT_OPS_PORT}", host().unwrap_or_default());
        self.ops.clone().unwrap_or_else(default)
    }

    /// How many bots play at a time.
    pub fn clients(&self) -> u32 {
        self.matches * u32::from(self.seats)
    }
}

fn parse_server(text: &str) -> Result<String, String> {
    if text.starts_with("https://") {
        return Err("https is not supported: give the http address behind the proxy".into());
    }
    let rest = text.strip_prefix("http://").ok_or("must begin with http://")?;
    if rest.trim_matches('/').is_empty() {
        return Err("names no host".into());
    }
    Ok(text.trim_end_matches('/').to_owned())
}

fn parse_snapshots(text: &str) -> Result<u8, String> {
    match text.parse() {
        Ok(rate @ (15 | 30 | 60)) => Ok(rate),
        _ => Err("must be 15, 30 or 60".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Options, String> {
        let arguments = std::iter::once("bots").chain(line.split_whitespace()).map(OsString::from);
        Options::read(arguments).map_err(|error| error.to_string())
    }

    #[test]
    fn a_leading_double_dash_changes_nothing() {
        assert_eq!(read("--matches 25 --seconds 20").unwrap(), read("-- --matches 25 --seconds 20").unwrap());
        assert_eq!(read("").unwrap(), read("--").unwrap());
        assert_eq!(read("--matches 25").unwrap().clients(), 100);
    }

    #[test]
    fn metrics_are_looked_for_where_they_are_said_to_be() {
        assert_eq!(read("--ops http://127.0.0.1:7000/").unwrap().ops(), "http://127.0.0.1:7000");
        assert_eq!(read("--server http://[::1]:8000").unwrap().ops(), "http://[::1]:9090");
    }

    #[test]
    fn mixed_is_every_other_bot() {
        let carriers = |line: &str| (0..4).map(|seat| read(line).unwrap().transport.of(seat)).collect::<Vec<_>>();
        let (udp, ws) = (Transport::Udp, Transport::WebSocket);
        assert_eq!(carriers(""), [udp; 4]);
        assert_eq!(carriers("--transport ws"), [ws; 4]);
        assert_eq!(carriers("--transport mixed"), [udp, ws, udp, ws]);
        assert_eq!((Carriers::Mixed.after(udp), Carriers::Mixed.after(ws)), (ws, udp));
        assert_eq!((Carriers::Udp.after(udp), Carriers::Ws.after(ws)), (udp, ws));
    }

    #[test]
    fn mistakes_are_said_in_words() {
        assert!(read("--server https://example.org").unwrap_err().contains("https is not supported"));
        assert!(read("--server example.org").unwrap_err().contains("must begin with http://"));
        assert!(read("--seats 9").unwrap_err().contains("9 is not in 2..=8"));
        assert!(read("--snapshots 20").unwrap_err().contains("must be 15, 30 or 60"));
        assert!(read("--attackers 2").unwrap_err().contains("--profile"));
        assert!(read("--profile flood --attackers 17").unwrap_err().contains("17 is not in 1..=16"));
        assert!(read("--rejoin 51").unwrap_err().contains("51 is not in 0..=50"));
        assert!(read("--loss 101").unwrap_err().contains("must be 0 to 100"));
        let help = read("--help").unwrap_err();
        assert!(help.contains("Exit code"));
        let network = help.split("Bad network between").nth(1).unwrap().split("\nAttack:\n").collect::<Vec<_>>();
        assert!(network[0].contains("--jitter-ms") && !network[0].contains("--profile"), "{help}");
        assert!(network[1].contains("--profile") && network[1].contains("--attackers"), "{help}");
        assert_eq!(read("--server http://[::1]:80/").unwrap().server, "http://[::1]:80");
    }
}
