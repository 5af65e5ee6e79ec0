//! What the kernel dropped of a lane's datagrams before the lane could see them.
//!
//! In: the addresses that lanes are bound to; the kernel's own count for each socket, in `/proc/net/udp` and `udp6`. Out:
//! drops since the last look. They are those that the packet filter refused (`shield.rs`) and those that found no room in
//! the socket's buffer; the kernel does not tell them apart.
//! *Invariant:* no shard's thread reads this: whoever looks at the metrics does. Systems without these files have no drops.
//! Start reading at [`KernelDrops::since_last`].

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The kernel's tables of UDP sockets in this network namespace.
const TABLES: [&str; 2] = ["/proc/net/udp", "/proc/net/udp6"];

/// The sockets of all shards.
pub struct KernelDrops {
    sockets: Vec<Socket>,
}

struct Socket {
    bound: SocketAddr,
    shard: usize,
    seen: u64,
}

impl KernelDrops {
    /// `bound` says for each socket where it is bound, and whose it is.
    pub fn of(bound: impl IntoIterator<Item = (SocketAddr, usize)>) -> KernelDrops {
        let socket = |(bound, shard)| Socket { bound, shard, seen: 0 };
        KernelDrops { sockets: bound.into_iter().map(socket).collect() }
    }

    /// Drops since the last call, by shard; shards with several sockets come several times.
    pub fn since_last(&mut self) -> Vec<(usize, u64)> {
        let tables = TABLES.map(|path| std::fs::read_to_string(path).unwrap_or_default());
        let listed: Vec<(SocketAddr, u64)> = tables.iter().flat_map(|table| table.lines()).filter_map(row).collect();
        let mut drops = Vec::new();
        for socket in &mut self.sockets {
            let Some((_, count)) = listed.iter().find(|(bound, _)| *bound == socket.bound) else { continue };
            // A socket that was opened again counts from zero.
            let new = if *count >= socket.seen { count - socket.seen } else { *count };
            socket.seen = *count;
            if new > 0 {
                drops.push((socket.shard, new));
            }
        }
        drops
    }
}

/// Where the socket of a line is bound, and its drops; `None` for the heading.
fn row(line: &str) -> Option<(SocketAddr, u64)> {
    let mut fields = line.split_whitespace();
    let bound = address(fields.nth(1)?)?;
    Some((bound, fields.last()?.parse().ok()?))
}

/// `0100007F:2328`: words of the address as the machine's own numbers, in hexadecimal.
fn address(text: &str) -> Option<SocketAddr> {
    let (ip, port) = text.split_once(':')?;
    let word = |at: usize| Some(u32::from_str_radix(ip.get(8 * at..8 * at + 8)?, 16).ok()?.to_ne_bytes());
    let ip: IpAddr = match ip.len() {
        8 => Ipv4Addr::from(word(0)?).into(),
        32 => {
            let words = [word(0)?, word(1)?, word(2)?, word(3)?];
            Ipv6Addr::from(<[u8; 16]>::try_from(words.concat()).ok()?).into()
        }
        _ => return None,
    };
    Some(SocketAddr::new(ip, u16::from_str_radix(port, 16).ok()?))
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::net::UdpSocket;
    use std::time::Duration;

    use super::super::shield::Shield;
    use super::*;

    #[test]
    fn what_the_filter_of_a_flooded_lane_refuses_is_counted_once() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let (Ok(lane), Ok(stranger)) = (UdpSocket::bind(address), UdpSocket::bind(address)) else { continue };
            let bound = lane.local_addr().unwrap();
            let mut drops = KernelDrops::of([(bound, 3)]);
            let knock = |times: u32| (0..times).for_each(|_| _ = stranger.send_to(b"\x15knock", bound).unwrap());
            knock(5);
            assert_eq!(drops.since_last(), [], "{address}: without a flood nothing is dropped");
            let mut shield = Shield::default();
            (0..10_000).for_each(|_| shield.on_refused(false));
            shield.keep(&lane, std::iter::empty(), Duration::from_secs(1));
            knock(7);
            assert_eq!(drops.since_last(), [(3, 7)], "{address}");
            assert_eq!(drops.since_last(), [], "{address}: and not again");
            drop(lane);
            assert_eq!(drops.since_last(), [], "{address}: a socket that is gone");
            let lane = UdpSocket::bind(bound).unwrap();
            shield.on_peers_changed();
            shield.keep(&lane, std::iter::empty(), Duration::from_secs(2));
            knock(2);
            assert_eq!(drops.since_last(), [(3, 2)], "{address}: one that came back counts from zero");
        }
    }

    #[test]
    fn words_of_an_address_are_the_machines_own_numbers() {
        let hex = |octets: [u8; 4]| format!("{:08X}", u32::from_ne_bytes(octets));
        let loopback = format!("{}:2328", hex([127, 0, 0, 1]));
        assert_eq!(address(&loopback), Some("127.0.0.1:9000".parse().unwrap()));
        let v6 = format!("{}{}{}{}:0050", hex([0x20, 1, 0xd, 0xb8]), hex([0; 4]), hex([0; 4]), hex([0, 0, 0, 9]));
        assert_eq!(address(&v6), Some("[2001:db8::9]:80".parse().unwrap()));
        assert_eq!(row("   sl  local_address rem_address   st tx_queue drops"), None);
        let socket = format!("  1: {loopback} 00000000:0000 07 0:0 0:0 0 0 0 2 2 c 41 ");
        assert_eq!(row(&socket), Some(("127.0.0.1:9000".parse().unwrap(), 41)));
    }
}
