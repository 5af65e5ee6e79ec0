//! UDP by the netcode 1.02 standard: stock `renetcode` behind our own pump.
//!
//! In: datagrams from anyone. Out: payloads of links that showed a valid connect token.
//! A transport has several *lanes*: a socket and a `NetcodeServer` of at most [`LINKS_PER_LANE`] links each,
//! because the stock server is quadratic in its links.
//! *Invariant:* every datagram passes `wire::filter` before stock code, and is fenced: a panic costs that
//! datagram, not the shard.
//! *Invariant:* nothing is decrypted for a connection request whose token was not given out (`requests`).
//! *Invariant:* one `receive` takes a bounded number of datagrams, so a flood delays nobody's tick; one of strangers is
//! stopped before it gets here (`shield.rs`).
//! Start reading at [`Lane::handle`].

mod requests;

use std::collections::HashMap;
use std::io::{self, ErrorKind, IoSliceMut};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use astro_shared::wire::filter::{REQUEST_BYTES, Side, check_netcode};
use astro_shared::wire::message::CloseReason;
use quinn_udp::{BATCH_SIZE, RecvMeta, UdpSocketState};
use renetcode::{NetcodeServer, ServerAuthentication, ServerConfig, ServerResult};
use socket2::{Domain, Protocol, Socket, Type};

use super::shield::Shield;
use super::{Allowance, Incoming, LinkId, Network, PACKETS_REFUSED_MAX, Traffic, Transport, Vacancy};
use crate::telemetry::stranger_line;
use requests::Requests;
pub use requests::{Invitation, Invitations};

/// Links of one lane. At 256 a full sweep of the stock server costs 37 µs, at 1,024 a millisecond.
pub const LINKS_PER_LANE: usize = 256;
/// Kernel buffers of a lane's socket, each way: 256 clients' datagrams for a quarter second.
const SOCKET_BUFFER_BYTES: usize = 4 << 20;
/// Room for the longest run of datagrams that the kernel may join into one buffer.
const RECEIVE_BUFFER_BYTES: usize = 64 * 1024;
/// Datagrams a lane takes per call, besides four for each of its links: room for handshakes.
const HANDSHAKE_DATAGRAMS_PER_CALL: usize = 256;
/// Datagrams that all lanes together may take per call beyond that. Refusing one costs about a microsecond, so a
/// flood costs a tick 4 ms at most and has to bring a quarter million datagrams a second to delay anybody.
const SPARE_DATAGRAMS_PER_CALL: usize = 4096;
/// Length of a netcode response without its sequence; besides requests the only thing strangers may send.
pub(super) const RESPONSE_BYTES: usize = 325;
/// For this long what still comes from a link that has ended is told apart from what strangers send.
const LATE_FOR: Duration = Duration::from_secs(10);
/// Between two sweeps for keep-alives and timeouts; netcode's own keep-alive period.
const SWEEP_EVERY: Duration = Duration::from_millis(250);

/// What one lane is opened with.
#[derive(Clone, Debug)]
pub struct LaneConfig {
    pub bind: SocketAddr,
    /// The address players reach, when it is not the one bound.
    pub public_ip: Option<IpAddr>,
    pub protocol_id: u64,
    /// The key that connect tokens are sealed with.
    pub key: [u8; 32],
}

/// All lanes of one shard.
pub struct UdpTransport {
    lanes: Vec<Lane>,
    /// Where datagrams land; the lanes take turns.
    buffers: Vec<u8>,
    /// Lane of each link, connected or promised.
    lane_of: HashMap<LinkId, usize>,
    requests: Requests,
}

struct Lane {
    socket: UdpSocket,
    state: UdpSocketState,
    netcode: NetcodeServer,
    address: SocketAddr,
    /// Connected peers by address.
    peers: HashMap<SocketAddr, Peer>,
    /// Addresses whose link has ended, and when. At most [`LINKS_PER_LANE`].
    former: HashMap<SocketAddr, Duration>,
    /// Links connected or promised here.
    taken: usize,
    updated: Duration,
    swept: Duration,
    /// Links that ended while nobody was listening; reported at the next receive.
    ended: Vec<LinkId>,
    shield: Shield,
    traffic: Traffic,
}

/// A connected address.
struct Peer {
    link: LinkId,
    allowance: Allowance,
    /// Datagrams above the allowance.
    refused: u32,
    /// The keep-alive that told the client of its connection, until the client shows that it has it.
    greeting: Option<Box<[u8]>>,
}

impl UdpTransport {
    /// Binds every lane. Only tokens that come through `invitations` are good.
    ///
    /// # Errors
    /// The first address that cannot be bound, in words.
    pub fn open(lanes: &[LaneConfig], invitations: Invitations, now: Duration) -> io::Result<UdpTransport> {
        let lanes = lanes.iter().map(|config| Lane::open(config, now)).collect::<io::Result<Vec<_>>>()?;
        let buffers = vec![0; BATCH_SIZE * RECEIVE_BUFFER_BYTES];
        Ok(UdpTransport { lanes, buffers, lane_of: HashMap::new(), requests: Requests::new(invitations) })
    }

    /// The addresses that connect tokens name, lane by lane.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.lanes.iter().map(|lane| lane.address).collect()
    }

    /// The ports bound, lane by lane; they differ from the configuration where that said 0.
    pub fn bound(&self) -> Vec<SocketAddr> {
        self.lanes.iter().filter_map(|lane| lane.socket.local_addr().ok()).collect()
    }
}

impl Transport for UdpTransport {
    fn network(&self) -> Network {
        Network::Udp
    }

    fn receive(&mut self, now: Duration, take: &mut dyn FnMut(Incoming<'_>)) {
        let mut spare = SPARE_DATAGRAMS_PER_CALL;
        let mut unwanted = Vec::new();
        let UdpTransport { lanes, buffers, lane_of, requests } = self;
        requests.update(now);
        for (index, lane) in lanes.iter_mut().enumerate() {
            lane.update(now);
            for link in std::mem::take(&mut lane.ended) {
                take(Incoming::Disconnected(link));
            }
            let own = HANDSHAKE_DATAGRAMS_PER_CALL + 4 * lane.peers.len();
            let taken = lane.receive(now, own + spare, buffers, requests, &mut |incoming| match incoming {
                // The token is genuine, but its place was given back: used elsewhere, or a newer one was asked for.
                Incoming::Connected(link) if lane_of.get(&link) != Some(&index) => unwanted.push(link),
                incoming => take(incoming),
            });
            spare -= taken.saturating_sub(own).min(spare);
            for link in unwanted.drain(..) {
                lane.disconnect(link);
                lane.traffic.drop_one("ticket");
            }
        }
    }

    fn send(&mut self, link: LinkId, payload: &[u8]) {
        if let Some(lane) = self.lane_of.get(&link).and_then(|lane| self.lanes.get_mut(*lane)) {
            lane.send(link, payload);
        }
    }

    /// Netcode has no word for why; the control channel has said it.
    fn disconnect(&mut self, link: LinkId, _reason: CloseReason) {
        if let Some(lane) = self.lane_of.remove(&link).and_then(|lane| self.lanes.get_mut(lane)) {
            lane.taken = lane.taken.saturating_sub(1);
            lane.disconnect(link);
        }
    }

    fn flush(&mut self, _now: Duration) -> Traffic {
        let mut total = Traffic::default();
        for lane in &mut self.lanes {
            let traffic = std::mem::take(&mut lane.traffic);
            total.received_datagrams += traffic.received_datagrams;
            total.received_bytes += traffic.received_bytes;
            total.sent_datagrams += traffic.sent_datagrams;
            total.sent_bytes += traffic.sent_bytes;
            total.dropped.extend(traffic.dropped);
        }
        total
    }

    fn vacancy(&self) -> Option<Vacancy> {
        let free = self.lanes.iter().enumerate().filter(|(_, lane)| lane.taken < LINKS_PER_LANE);
        let (lane, emptiest) = free.min_by_key(|(_, lane)| lane.taken)?;
        Some(Vacancy { lane, address: Some(emptiest.address) })
    }

    fn taken(&self) -> usize {
        self.lanes.iter().map(|lane| lane.taken).sum()
    }

    fn reserve(&mut self, vacancy: Vacancy, link: LinkId) {
        self.lanes[vacancy.lane].taken += 1;
        self.lane_of.insert(link, vacancy.lane);
    }

    fn release(&mut self, link: LinkId) {
        self.disconnect(link, CloseReason::Replaced);
    }
}

impl Lane {
    fn open(config: &LaneConfig, now: Duration) -> io::Result<Lane> {
        let named = |error: io::Error| io::Error::new(error.kind(), format!("UDP {}: {error}", config.bind));
        let socket = Socket::new(Domain::for_address(config.bind), Type::DGRAM, Some(Protocol::UDP)).map_err(named)?;
        // The kernel clamps these silently; smaller ones cost datagrams under bursts, which are counted as lost.
        socket.set_recv_buffer_size(SOCKET_BUFFER_BYTES).map_err(named)?;
        socket.set_send_buffer_size(SOCKET_BUFFER_BYTES).map_err(named)?;
        socket.bind(&config.bind.into()).map_err(named)?;
        let socket: UdpSocket = socket.into();
        let state = UdpSocketState::new((&socket).into()).map_err(named)?;
        let bound = socket.local_addr().map_err(named)?;
        let address = SocketAddr::new(config.public_ip.unwrap_or(bound.ip()), bound.port());
        let netcode = NetcodeServer::new(ServerConfig {
            current_time: now,
            max_clients: LINKS_PER_LANE,
            protocol_id: config.protocol_id,
            public_addresses: vec![address],
            authentication: ServerAuthentication::Secure { private_key: config.key },
        });
        Ok(Lane {
            socket,
            state,
            netcode,
            address,
            peers: HashMap::new(),
            former: HashMap::new(),
            taken: 0,
            updated: now,
            swept: now,
            ended: Vec::new(),
            shield: Shield::default(),
            traffic: Traffic::default(),
        })
    }

    /// Moves the stock server's clock; four times a second also its keep-alives and timeouts.
    fn update(&mut self, now: Duration) {
        self.netcode.update(now.saturating_sub(self.updated));
        self.updated = now;
        if now.saturating_sub(self.swept) < SWEEP_EVERY {
            return;
        }
        self.swept = now;
        self.former.retain(|_, ended| now.saturating_sub(*ended) < LATE_FOR);
        for id in self.netcode.clients_id() {
            match self.netcode.update_client(id) {
                ServerResult::PacketToSend { addr, payload } => {
                    send_to(&self.socket, &mut self.traffic, addr, payload);
                }
                ServerResult::ClientDisconnected { client_id, addr, payload } => {
                    if let Some(payload) = payload {
                        send_to(&self.socket, &mut self.traffic, addr, payload);
                    }
                    self.forget(addr);
                    self.ended.push(LinkId(client_id));
                }
                _ => {}
            }
        }
    }

    /// Takes at least what is there or `budget` datagrams, whichever is less; returns how many.
    fn receive(
        &mut self,
        now: Duration,
        budget: usize,
        buffers: &mut [u8],
        requests: &mut Requests,
        take: &mut dyn FnMut(Incoming<'_>),
    ) -> usize {
        let mut taken = 0;
        let mut chunks = buffers.chunks_mut(RECEIVE_BUFFER_BYTES);
        let mut slices: [IoSliceMut<'_>; BATCH_SIZE] =
            std::array::from_fn(|_| IoSliceMut::new(chunks.next().unwrap_or_default()));
        let mut meta = [RecvMeta::default(); BATCH_SIZE];
        while taken < budget {
            let count = match self.state.recv((&self.socket).into(), &mut slices, &mut meta) {
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(_) => {
                    self.traffic.drop_one("receive_error");
                    break;
                }
            };
            for (meta, buffer) in meta[..count].iter().zip(&mut slices) {
                for datagram in buffer[..meta.len].chunks_mut(meta.stride.max(1)) {
                    taken += 1;
                    self.fenced(meta.addr, datagram, now, requests, take);
                }
            }
        }
        self.shield.keep(&self.socket, self.peers.keys().copied(), now);
        taken
    }

    /// Handles one datagram behind a fence: whatever stock code does with it, the shard goes on.
    fn fenced(
        &mut self,
        from: SocketAddr,
        datagram: &mut [u8],
        now: Duration,
        requests: &mut Requests,
        take: &mut dyn FnMut(Incoming<'_>),
    ) {
        let handled = catch_unwind(AssertUnwindSafe(|| {
            if self.is_wanted(from, datagram, now, requests) {
                self.handle(from, datagram, now, take);
            }
        }));
        if handled.is_err() {
            self.traffic.drop_one("panic");
            stranger_line!(error, %from, "a datagram made the receive path panic; it was dropped");
        }
    }

    /// Whether a datagram is worth decrypting: who may send it, does it show a token that was given out, is it well formed.
    fn is_wanted(&mut self, from: SocketAddr, datagram: &[u8], now: Duration, requests: &mut Requests) -> bool {
        self.traffic.received_datagrams += 1;
        self.traffic.received_bytes += datagram.len() as u64;
        let known = self.peers.contains_key(&from);
        // Still answering our challenge: the one keep-alive that would have told it was lost. Stock code sends no other
        // while payloads flow, and the client takes none before it; so one handshake in fifty failed at 2 % loss.
        if known && is_response(datagram) {
            self.greet_again(from);
            return false;
        }
        let is_request = datagram.first() == Some(&0);
        let refused = if known && is_request {
            // It is not authenticated, yet would count as a sign of life.
            Err("type")
        } else if !known && !may_come_from_a_stranger(datagram) {
            let late = self.former.contains_key(&from);
            self.shield.on_refused(late);
            Err(if late { "late" } else { "stranger" })
        } else if is_request {
            requests.check(datagram, now)
        } else {
            Ok(())
        };
        let refused = refused.and_then(|()| check_netcode(datagram, Side::Server).map_err(|refused| refused.name()));
        refused.map_err(|reason| self.traffic.drop_one(reason)).is_ok()
    }

    /// The path of a datagram that is wanted: netcode, allowance, then the link it belongs to.
    fn handle(&mut self, from: SocketAddr, datagram: &mut [u8], now: Duration, take: &mut dyn FnMut(Incoming<'_>)) {
        match self.netcode.process_packet(from, datagram) {
            ServerResult::Payload { client_id, payload } => {
                // Counted only now: before decryption anybody could use up a player's allowance in his name.
                if let Some(peer) = self.peers.get_mut(&from) {
                    peer.greeting = None;
                    if !peer.allowance.take(now) {
                        self.traffic.drop_one("rate");
                        peer.refused = peer.refused.saturating_add(1);
                        if peer.refused == PACKETS_REFUSED_MAX {
                            take(Incoming::Flooding(peer.link));
                        }
                        return;
                    }
                }
                take(Incoming::Payload(LinkId(client_id), payload));
            }
            ServerResult::PacketToSend { addr, payload } => send_to(&self.socket, &mut self.traffic, addr, payload),
            // The ticket's id stands twice in a token; a mixture of two tokens shows here.
            ServerResult::ClientConnected { client_id, user_data, .. } if user_data[..8] != client_id.to_le_bytes() => {
                self.netcode.disconnect(client_id);
                self.traffic.drop_one("ticket");
            }
            ServerResult::ClientConnected { client_id, addr, payload, .. } => {
                let greeting = Some(Box::from(&*payload));
                send_to(&self.socket, &mut self.traffic, addr, payload);
                let (link, allowance) = (LinkId(client_id), Allowance::new(now));
                self.peers.insert(addr, Peer { link, allowance, refused: 0, greeting });
                self.shield.on_peers_changed();
                take(Incoming::Connected(LinkId(client_id)));
            }
            ServerResult::ClientDisconnected { client_id, addr, payload } => {
                if let Some(payload) = payload {
                    send_to(&self.socket, &mut self.traffic, addr, payload);
                }
                self.forget(addr);
                take(Incoming::Disconnected(LinkId(client_id)));
            }
            // Handshake noise, replays, and bytes that do not decrypt.
            ServerResult::None if !self.peers.contains_key(&from) => self.traffic.drop_one("handshake"),
            ServerResult::None => {}
        }
    }

    /// Repeats the keep-alive of the handshake. One that has it takes it for a replay.
    fn greet_again(&mut self, peer: SocketAddr) {
        match self.peers.get(&peer).and_then(|peer| peer.greeting.as_deref()) {
            Some(greeting) => send_to(&self.socket, &mut self.traffic, peer, greeting),
            None => self.traffic.drop_one("type"),
        }
    }

    fn send(&mut self, link: LinkId, payload: &[u8]) {
        match self.netcode.generate_payload_packet(link.0, payload) {
            Ok((address, sealed)) => send_to(&self.socket, &mut self.traffic, address, sealed),
            Err(_) => self.traffic.drop_one("not_connected"),
        }
    }

    /// The link of this address has ended; what it had sent before may still arrive.
    fn forget(&mut self, address: SocketAddr) {
        self.peers.remove(&address);
        self.shield.on_peers_changed();
        if self.former.len() < LINKS_PER_LANE {
            self.former.insert(address, self.updated);
        }
    }

    fn disconnect(&mut self, link: LinkId) {
        if let ServerResult::ClientDisconnected { addr, payload, .. } = self.netcode.disconnect(link.0) {
            if let Some(payload) = payload {
                send_to(&self.socket, &mut self.traffic, addr, payload);
            }
            self.forget(addr);
        }
        debug_assert!(self.peers.values().all(|peer| peer.link != link), "a peer outlives its link");
    }
}

/// Whether an address that is not connected may send this: a request or the response to a challenge.
fn may_come_from_a_stranger(datagram: &[u8]) -> bool {
    (datagram.first() == Some(&0) && datagram.len() == REQUEST_BYTES) || is_response(datagram)
}

/// Whether this looks like the response to a challenge; only decryption could tell.
fn is_response(datagram: &[u8]) -> bool {
    datagram
        .first()
        .is_some_and(|prefix| prefix & 0x0f == 3 && datagram.len() == RESPONSE_BYTES + usize::from(prefix >> 4))
}

/// Sends, or counts why not; UDP promises nothing, so nothing is retried.
fn send_to(socket: &UdpSocket, traffic: &mut Traffic, to: SocketAddr, bytes: &[u8]) {
    match socket.send_to(bytes, to) {
        Ok(_) => {
            traffic.sent_datagrams += 1;
            traffic.sent_bytes += bytes.len() as u64;
        }
        Err(error) if error.kind() == ErrorKind::WouldBlock => traffic.drop_one("send_full"),
        Err(_) => traffic.drop_one("send_error"),
    }
}

#[cfg(test)]
mod tests;
