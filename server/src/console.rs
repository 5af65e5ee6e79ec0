//! What a person who runs the server on a terminal reads.
//!
//! In: what was started. Out: lines on stdout; logs go elsewhere.
//! *Invariant:* a closed pipe is no reason to end the program.
//! Start reading at [`welcome`].

use std::io::{self, IsTerminal, Write};
use std::net::SocketAddr;

use crate::config::Config;

/// Prints a line.
pub fn say(line: &str) {
    let _ = writeln!(io::stdout(), "{line}");
}

/// Whether somebody may be reading along.
pub fn is_watched() -> bool {
    io::stdout().is_terminal()
}

/// The addresses that were really bound.
pub struct Listening {
    pub http: SocketAddr,
    pub ops: Option<SocketAddr>,
    pub udp: Vec<SocketAddr>,
}

/// What somebody who has just started the server wants to know.
pub fn welcome(config: &Config, listening: &Listening, demos: usize) -> String {
    let Listening { http, ops, udp } = listening;
    let server = if *http == SocketAddr::from(([127, 0, 0, 1], 8080)) {
        String::new()
    } else {
        format!(" --server http://{http}")
    };
    format!(
        "Astro Party {version}\n{load_test}\
         \x20 HTTP    http://{http}\n\
         \x20 UDP     {udp}\n\
         \x20 ops     {ops}\n\
         \x20 data    {data}\n\
         \x20 shards  {shards}, demo matches {demos}\n\
         Try next, in a second terminal:\n\
         \x20 cargo bots -- --matches 25 --seconds 20{server}\n\
         \x20 curl http://{http}/v1/matches\n\
         Ctrl-C ends it.",
        version = env!("CARGO_PKG_VERSION"),
        udp = ranges(udp),
        ops = ops.map_or_else(|| "off".into(), |ops| format!("http://{ops} (metrics, admin)")),
        data = config.data.display(),
        shards = config.shards,
        load_test = if config.load_test { LOAD_TEST } else { "" },
    )
}

/// The welcome's line for a server without the limits that keep one address from taking everything.
const LOAD_TEST: &str = "\x20 LOAD TEST: one address may take every seat and connection; not for the public\n";

/// Addresses with runs of ports drawn together: `127.0.0.1:9000-9007`.
pub fn ranges(addresses: &[SocketAddr]) -> String {
    let mut runs: Vec<(SocketAddr, u16)> = Vec::new();
    for address in addresses {
        match runs.last_mut() {
            Some((first, last)) if first.ip() == address.ip() && last.checked_add(1) == Some(address.port()) => {
                *last = address.port();
            }
            _ => runs.push((*address, address.port())),
        }
    }
    let text = |(first, last): &(SocketAddr, u16)| {
        if first.port() == *last { first.to_string() } else { format!("{first}-{last}") }
    };
    runs.iter().map(text).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_of_ports_are_drawn_together() {
        let addresses: Vec<SocketAddr> = ["127.0.0.1:9000", "127.0.0.1:9001", "127.0.0.1:9003", "[::1]:9004"]
            .map(|text| text.parse().unwrap())
            .into();
        assert_eq!(ranges(&addresses), "127.0.0.1:9000-9001 127.0.0.1:9003 [::1]:9004");
    }
}
