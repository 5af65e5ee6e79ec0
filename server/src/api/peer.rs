//! Who is asking: the client's address, and what counts as one address.
//!
//! In: the socket's other end, the forwarding header, the proxies that are trusted. Out: [`Peer`], [`Network`].
//! *Invariant:* the forwarding header counts only when the socket's other end is a trusted proxy; everybody
//! else could write anything into it.
//! Start reading at [`client_address`].

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

use axum::http::HeaderMap;

/// What proxies write their client's address into.
const FORWARDED_FOR: &str = "x-forwarded-for";
/// Bits of an IPv6 address that name a customer's network; the rest is the customer's to choose.
const IPV6_NETWORK_BITS: u8 = 64;

/// Request extension: the client's address, proxies looked through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer(pub IpAddr);

/// What limits count as one address: an IPv4 address, or all of an IPv6 /64.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Network(IpAddr);

impl Network {
    /// Everybody who does not fit into a table of networks any more.
    pub const CROWD: Network = Network(IpAddr::V6(Ipv6Addr::UNSPECIFIED));

    pub fn of(address: IpAddr) -> Network {
        let canonical = address.to_canonical();
        let bits = if canonical.is_ipv4() { 32 } else { IPV6_NETWORK_BITS };
        Network(masked(canonical, bits))
    }

    /// Its first address: a name for it that others understand.
    pub fn address(self) -> IpAddr {
        self.0
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            IpAddr::V4(address) => write!(f, "{address}"),
            IpAddr::V6(address) => write!(f, "{address}/{IPV6_NETWORK_BITS}"),
        }
    }
}

/// A proxy in front of the server, or a network of them: `192.0.2.7`, `10.0.0.0/8`, `2001:db8::/32`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TrustedProxy {
    network: IpAddr,
    bits: u8,
}

/// Text that is not a [`TrustedProxy`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not an address or a network such as 10.0.0.0/8")]
pub struct TrustedProxyError(String);

impl FromStr for TrustedProxy {
    type Err = TrustedProxyError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || TrustedProxyError(text.to_owned());
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits.parse::<u8>().map_err(|_| wrong())?)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let bits = bits.unwrap_or(most);
        if bits > most {
            return Err(wrong());
        }
        Ok(TrustedProxy { network: masked(address, bits), bits })
    }
}

impl fmt::Display for TrustedProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = if self.network.is_ipv4() { 32 } else { 128 };
        if self.bits == whole { write!(f, "{}", self.network) } else { write!(f, "{}/{}", self.network, self.bits) }
    }
}

impl TrustedProxy {
    pub fn contains(&self, address: IpAddr) -> bool {
        let canonical = address.to_canonical();
        canonical.is_ipv4() == self.network.is_ipv4() && masked(canonical, self.bits) == self.network
    }
}

/// `address` with all but its first `bits` cleared.
fn masked(address: IpAddr, bits: u8) -> IpAddr {
    match address {
        IpAddr::V4(address) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(bits.min(32))).unwrap_or(0);
            IpAddr::V4((address.to_bits() & mask).into())
        }
        IpAddr::V6(address) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(bits.min(128))).unwrap_or(0);
            IpAddr::V6((address.to_bits() & mask).into())
        }
    }
}

/// The client behind a socket: its other end, or, when that is a trusted proxy, the right-most address of the
/// forwarding header that is not one. What stands left of that was written by the client itself.
pub fn client_address(other_end: IpAddr, headers: &HeaderMap, trusted: &[TrustedProxy]) -> IpAddr {
    let is_trusted = |address: IpAddr| trusted.iter().any(|proxy| proxy.contains(address));
    let mut client = other_end.to_canonical();
    let lines = headers.get_all(FORWARDED_FOR).iter().rev();
    let mut hops = lines.flat_map(|line| line.to_str().unwrap_or_default().rsplit(',')).map(forwarded_address);
    while is_trusted(client) {
        match hops.next() {
            Some(Some(before)) => client = before,
            // Nothing more, or nothing sensible: the proxy itself is all that is known.
            _ => break,
        }
    }
    client
}

/// One hop of the header; some proxies add a port.
fn forwarded_address(hop: &str) -> Option<IpAddr> {
    let hop = hop.trim();
    let address = hop.parse::<IpAddr>().or_else(|_| hop.parse().map(|with_port: std::net::SocketAddr| with_port.ip()));
    let bracketed = || hop.strip_prefix('[')?.strip_suffix(']')?.parse().ok();
    address.ok().or_else(bracketed).map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn behind(other_end: &str, forwarded: &[&str], trusted: &[&str]) -> IpAddr {
        let mut headers = HeaderMap::new();
        for line in forwarded {
            headers.append(FORWARDED_FOR, line.parse().unwrap());
        }
        let trusted: Vec<TrustedProxy> = trusted.iter().map(|text| text.parse().unwrap()).collect();
        client_address(ip(other_end), &headers, &trusted)
    }

    #[test]
    fn an_ipv6_customer_is_one_address_however_many_they_use() {
        assert_eq!(Network::of(ip("2001:db8:1:2:3::4")), Network::of(ip("2001:db8:1:2:ffff::")));
        assert_ne!(Network::of(ip("2001:db8:1:2::")), Network::of(ip("2001:db8:1:3::")));
        assert_ne!(Network::of(ip("192.0.2.1")), Network::of(ip("192.0.2.2")));
        assert_eq!(Network::of(ip("::ffff:192.0.2.1")), Network::of(ip("192.0.2.1")));
        assert_eq!(Network::of(ip("2001:db8:1:2:3::4")).to_string(), "2001:db8:1:2::/64");
    }

    #[test]
    fn strangers_cannot_say_who_they_are() {
        assert_eq!(behind("203.0.113.9", &["198.51.100.1"], &[]), ip("203.0.113.9"));
        assert_eq!(behind("203.0.113.9", &["198.51.100.1"], &["10.0.0.0/8"]), ip("203.0.113.9"));
    }

    #[test]
    fn the_right_most_address_that_is_no_proxy_is_the_client() {
        let proxies = &["10.0.0.0/8", "2001:db8::/32"][..];
        for (forwarded, client) in [
            (&["198.51.100.1"][..], "198.51.100.1"),
            (&["1.1.1.1, 198.51.100.1"], "198.51.100.1"),
            (&["1.1.1.1, 198.51.100.1, 10.9.9.9"], "198.51.100.1"),
            (&["1.1.1.1", "198.51.100.1,2001:db8::7"], "198.51.100.1"),
            (&["198.51.100.1:4711"], "198.51.100.1"),
            (&["[2a00::1]:4711"], "2a00::1"),
            (&["[2a00::1]"], "2a00::1"),
            (&["10.0.0.2"], "10.0.0.2"),
            (&["1.1.1.1, nonsense"], "10.0.0.1"),
            (&["1.1.1.1, nonsense, 10.0.0.3"], "10.0.0.3"),
            (&[""], "10.0.0.1"),
            (&[], "10.0.0.1"),
        ] {
            assert_eq!(behind("10.0.0.1", forwarded, proxies), ip(client), "{forwarded:?}");
            assert_eq!(behind("::ffff:10.0.0.1", forwarded, proxies), ip(client), "{forwarded:?}");
        }
    }

    #[test]
    fn a_proxy_is_an_address_or_a_network() {
        let contains = |proxy: &str, address: &str| proxy.parse::<TrustedProxy>().unwrap().contains(ip(address));
        assert!(contains("192.0.2.7", "192.0.2.7") && !contains("192.0.2.7", "192.0.2.8"));
        assert!(contains("10.1.0.0/16", "10.1.255.3") && !contains("10.1.0.0/16", "10.2.0.0"));
        assert!(contains("0.0.0.0/0", "203.0.113.9") && !contains("0.0.0.0/0", "2001:db8::1"));
        assert!(contains("::/0", "2001:db8::1"));
        for wrong in ["", "proxy.example", "10.0.0.0/33", "::/129", "10.0.0.0/", "10.0.0.0/-1", "10.0.0.1:80"] {
            let error = wrong.parse::<TrustedProxy>().unwrap_err().to_string();
            assert!(error.contains("such as 10.0.0.0/8"), "{error}");
        }
        for (text, printed) in [("10.1.2.3/16", "10.1.0.0/16"), ("2001:db8::1", "2001:db8::1")] {
            assert_eq!(text.parse::<TrustedProxy>().unwrap().to_string(), printed);
        }
    }
}
