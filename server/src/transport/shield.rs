//! A shield against strangers, held by the kernel: while a lane is flooded, its socket takes only what a player may send.
//!
//! In: how many datagrams of strangers were dropped here, who is connected, time. Out: a packet filter on the socket, or none.
//! Refusing a datagram after it was received costs the shard's thread about half a microsecond, most of it in the
//! kernel's copying; at 50,000 a second that is what hundreds of players cost. The filter (classic BPF, Linux only)
//! refuses it before it is queued. It lets in whatever comes from the address of a connected player, and from anybody
//! what has the shape of a connection request or of the answer to a challenge.
//! *Invariant:* it refuses nothing that the pump behind it would have taken; what it lets in by mistake the pump refuses.
//! Requests themselves pass, so a flood of those costs what it did; the bound on datagrams per call is what is left then.
//! *Invariant:* without a flood there is no filter, and on systems without such filters all works as before.
//! Start reading at [`Shield::keep`].

use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use astro_shared::wire::filter::REQUEST_BYTES;

use super::udp::RESPONSE_BYTES;
use crate::telemetry::stranger_line;

/// Strangers' datagrams in [`COUNTED_OVER`] that raise the shield: 2,000 a second, a tenth of a percent of a core.
const RAISED_FROM: u32 = 500;
const COUNTED_OVER: Duration = Duration::from_millis(250);
/// Datagrams of former players that count as one of a stranger's.
const LATE_PER_STRANGER: u32 = 8;
/// How long it stays. What the kernel refuses is counted for operators only (`kernel_drops.rs`), where it cannot be told
/// from what found no room; so it is lowered to look whether they still come.
const RAISED_FOR: Duration = Duration::from_secs(10);

/// The shield of one lane.
#[derive(Debug, Default)]
pub(super) struct Shield {
    /// Strangers' datagrams since then, in [`LATE_PER_STRANGER`]ths.
    parts: u32,
    counted_since: Duration,
    raised_until: Option<Duration>,
    /// Somebody has come or gone since the filter was made.
    outdated: bool,
}

impl Shield {
    /// A datagram came that only a player may send. `late` when its sender was one: a few of those come after every
    /// match, so one in [`LATE_PER_STRANGER`] counts.
    pub fn on_refused(&mut self, late: bool) {
        self.parts = self.parts.saturating_add(if late { 1 } else { LATE_PER_STRANGER });
    }

    /// A player has come or gone.
    pub fn on_peers_changed(&mut self) {
        self.outdated = true;
    }

    /// Raises, renews or lowers the shield; to be called once for each receive.
    pub fn keep(&mut self, socket: &UdpSocket, peers: impl Iterator<Item = SocketAddr>, now: Duration) {
        let flooded = self.parts >= RAISED_FROM * LATE_PER_STRANGER;
        if now.saturating_sub(self.counted_since) >= COUNTED_OVER {
            (self.parts, self.counted_since) = (0, now);
        }
        match self.raised_until {
            Some(until) if now >= until => {
                self.raised_until = None;
                filter::lower(socket);
            }
            Some(_) if self.outdated => self.raise(socket, peers),
            None if flooded => {
                stranger_line!(warn, socket = ?socket.local_addr().ok(), "flooded by strangers; the kernel keeps them out");
                self.raised_until = Some(now + RAISED_FOR);
                self.parts = 0;
                self.raise(socket, peers);
            }
            _ => {}
        }
    }

    fn raise(&mut self, socket: &UdpSocket, peers: impl Iterator<Item = SocketAddr>) {
        self.outdated = false;
        filter::raise(socket, peers);
    }
}

#[cfg(not(target_os = "linux"))]
mod filter {
    use super::*;

    pub fn raise(_: &UdpSocket, _: impl Iterator<Item = SocketAddr>) {}
    pub fn lower(_: &UdpSocket) {}
}

#[cfg(target_os = "linux")]
mod filter {
    use super::*;
    use socket2::{SockFilter, SockRef};

    // Opcodes of classic BPF (linux/bpf_common.h), with the operand each takes.
    const LOAD_BYTE: u16 = 0x30;
    const LOAD_HALF: u16 = 0x28;
    const LOAD_WORD: u16 = 0x20;
    const SHIFT_LEFT: u16 = 0x64;
    const AND: u16 = 0x54;
    const XOR_INDEX: u16 = 0xac;
    const COPY_TO_INDEX: u16 = 0x07;
    const JUMP_IF_EQUAL: u16 = 0x15;
    const JUMP_IF_GREATER: u16 = 0x25;
    const JUMP_IF_AT_LEAST: u16 = 0x35;
    const JUMP: u16 = 0x05;
    const RETURN: u16 = 0x06;

    /// Offsets from here on count from the network header (`SKF_NET_OFF`); others from the UDP header.
    const NETWORK_HEADER: u32 = -0x10_0000_i32 as u32;
    const UDP_SOURCE_PORT: u32 = 0;
    const UDP_LENGTH: u32 = 4;
    const UDP_PAYLOAD: u32 = 8;
    const UDP_HEADER_BYTES: u32 = 8;
    /// Sequence of a response at most.
    const SEQUENCE_BYTES_MAX: u32 = 8;
    /// Comparisons that one exit serves: jumps reach 255 steps.
    const PEERS_PER_EXIT: usize = 200;
    const WHOLE: u32 = u32::MAX;
    const NOTHING: u32 = 0;

    pub fn raise(socket: &UdpSocket, peers: impl Iterator<Item = SocketAddr>) {
        let is_ipv4 = socket.local_addr().is_ok_and(|address| address.is_ipv4());
        let mut keys: Vec<u32> = peers.map(key).collect();
        keys.sort_unstable();
        if let Err(error) = SockRef::from(socket).attach_filter(&program(is_ipv4, &keys)) {
            tracing::debug!(%error, "the system keeps no filter for us");
        }
    }

    pub fn lower(socket: &UdpSocket) {
        // Fails when none was attached.
        let _ = SockRef::from(socket).detach_filter();
    }

    /// An address in 32 bits: its last four bytes, mixed with the port. Two may be equal; then the pump tells them apart.
    fn key(peer: SocketAddr) -> u32 {
        let last = match peer {
            SocketAddr::V4(v4) => v4.ip().to_bits(),
            SocketAddr::V6(v6) => v6.ip().to_bits() as u32,
        };
        last ^ u32::from(peer.port()) << 16
    }

    fn step(code: u16, operand: u32) -> SockFilter {
        SockFilter::new(code, 0, 0, operand)
    }

    /// A comparison and how many steps to skip then and else.
    fn test(code: u16, operand: u32, then: usize, otherwise: usize) -> SockFilter {
        SockFilter::new(code, then as u8, otherwise as u8, operand)
    }

    fn program(is_ipv4: bool, keys: &[u32]) -> Vec<SockFilter> {
        let source = NETWORK_HEADER + if is_ipv4 { 12 } else { 8 + 12 };
        let mut steps = vec![
            step(LOAD_HALF, UDP_SOURCE_PORT),
            step(SHIFT_LEFT, 16),
            step(COPY_TO_INDEX, 0),
            step(LOAD_WORD, source),
            step(XOR_INDEX, 0),
        ];
        for keys in keys.chunks(PEERS_PER_EXIT) {
            // To the exit: over the keys that follow, and the jump that leads around it.
            steps.extend(keys.iter().enumerate().map(|(at, key)| test(JUMP_IF_EQUAL, *key, keys.len() - at, 0)));
            steps.extend([step(JUMP, 1), step(RETURN, WHOLE)]);
        }
        let request = UDP_HEADER_BYTES + REQUEST_BYTES as u32;
        let response = UDP_HEADER_BYTES + RESPONSE_BYTES as u32;
        steps.extend([
            step(LOAD_BYTE, UDP_PAYLOAD),
            test(JUMP_IF_EQUAL, 0, 0, 2),
            step(LOAD_HALF, UDP_LENGTH),
            test(JUMP_IF_EQUAL, request, 5, 6),
            step(AND, 0x0f),
            test(JUMP_IF_EQUAL, 3, 0, 4),
            step(LOAD_HALF, UDP_LENGTH),
            test(JUMP_IF_AT_LEAST, response, 0, 2),
            test(JUMP_IF_GREATER, response + SEQUENCE_BYTES_MAX, 1, 0),
            step(RETURN, WHOLE),
            step(RETURN, NOTHING),
        ]);
        steps
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn socket(address: &str) -> UdpSocket {
        let socket = UdpSocket::bind(address).unwrap();
        socket.set_nonblocking(true).unwrap();
        socket
    }

    fn flood(shield: &mut Shield) {
        (0..RAISED_FROM).for_each(|_| shield.on_refused(false));
    }

    /// Loopback delivers within the sender's call, so what was sent and taken is there.
    fn taken(lane: &UdpSocket, from: &UdpSocket, datagram: &[u8]) -> bool {
        from.send_to(datagram, lane.local_addr().unwrap()).unwrap();
        let mut buffer = [0; 2048];
        let came = lane.recv_from(&mut buffer);
        came.is_ok_and(|(length, _)| buffer[..length] == *datagram)
    }

    fn of_length(first: u8, length: usize) -> Vec<u8> {
        let mut datagram = vec![9; length];
        datagram[0] = first;
        datagram
    }

    #[test]
    fn players_and_newcomers_pass_and_strangers_do_not() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(_) = UdpSocket::bind(address) else { continue };
            // More players than one exit of the program serves.
            let (lane, stranger) = (socket(address), socket(address));
            let players: Vec<UdpSocket> = (0..256).map(|_| socket(address)).collect();
            let mut shield = Shield::default();
            flood(&mut shield);
            shield.keep(&lane, players.iter().map(|player| player.local_addr().unwrap()), SECOND);
            for player in &players {
                assert!(taken(&lane, player, &[0x15; 40]), "{address}");
            }
            for (first, length, passes) in [
                (0x15, 40, false),
                (0x15, REQUEST_BYTES, false),
                (0x00, REQUEST_BYTES, true),
                (0x00, REQUEST_BYTES - 1, false),
                (0x13, RESPONSE_BYTES + 1, true),
                (0x83, RESPONSE_BYTES + 8, true),
                (0x03, RESPONSE_BYTES - 1, false),
                (0x93, RESPONSE_BYTES + 9, false),
                (0x14, 18, false),
            ] {
                let datagram = of_length(first, length);
                assert_eq!(taken(&lane, &stranger, &datagram), passes, "{address}: {first:#x}, {length} bytes");
            }
            assert!(!taken(&lane, &stranger, &[]), "{address}: nothing at all");
        }
    }

    #[test]
    fn it_is_raised_by_a_flood_renewed_by_newcomers_and_lowered_to_look_again() {
        let (lane, player, late) = (socket("127.0.0.1:0"), socket("127.0.0.1:0"), socket("127.0.0.1:0"));
        let one = || std::iter::once(player.local_addr().unwrap());
        let both = || one().chain([late.local_addr().unwrap()]);
        let mut shield = Shield::default();
        shield.keep(&lane, one(), SECOND);
        (1..RAISED_FROM).for_each(|_| shield.on_refused(false));
        shield.keep(&lane, one(), SECOND);
        assert!(taken(&lane, &late, b"\x15few"), "a few strangers are no flood");
        shield.keep(&lane, one(), SECOND * 5 / 4);
        (0..RAISED_FROM * 7).for_each(|_| shield.on_refused(true));
        shield.keep(&lane, one(), SECOND * 3 / 2);
        assert!(taken(&lane, &late, b"\x15late"), "and neither is the end of many matches");
        flood(&mut shield);
        shield.keep(&lane, one(), SECOND * 2);
        assert!(!taken(&lane, &late, b"\x15many") && taken(&lane, &player, b"\x15ours"));
        shield.on_peers_changed();
        shield.keep(&lane, both(), SECOND * 3);
        assert!(taken(&lane, &late, b"\x15let in"));
        shield.on_peers_changed();
        shield.keep(&lane, one(), SECOND * 11);
        assert!(!taken(&lane, &late, b"\x15left"), "who has left is a stranger");
        shield.keep(&lane, one(), SECOND * 13);
        assert!(taken(&lane, &late, b"\x15still there?"));
    }

    #[test]
    fn strangers_that_trickle_in_never_add_up_to_a_flood() {
        let lane = socket("127.0.0.1:0");
        let mut shield = Shield::default();
        for step in 0..1000 {
            (0..RAISED_FROM / 20).for_each(|_| shield.on_refused(false));
            shield.keep(&lane, std::iter::empty(), Duration::from_millis(17 * step));
            assert_eq!(shield.raised_until, None);
        }
    }
}
