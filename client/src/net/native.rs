//! UDP sockets: one for a player, a few shared by thousands of bots.
//!
//! In: datagrams to send, and from where. Out: datagrams that came, with the number of whom they are for.
//! Bots of a loopback server share sockets: each has a source address 127.x.y.z of its own, and what comes back
//! is told apart by the address it was sent to. Everywhere else a bot has a socket of its own.
//! *Invariant:* only datagrams from the server's own address are handed on.
//! *Invariant:* finding whom a datagram is for costs one look into a table, whatever the number of bots.
//! *Invariant:* one call takes a bounded number of datagrams, so a flood starves nobody's sending.
//! Start reading at [`FleetSockets`].

use std::io::{self, ErrorKind, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use quinn_udp::{BATCH_SIZE, RecvMeta, Transmit, UdpSocketState};
use socket2::{Domain, Protocol, Socket, Type};

/// Kernel buffers asked for, each way; the kernel clamps them silently. Shared by a thousand bots, this is what
/// comes in while the process is off the CPU for a tenth of a second.
const SHARED_BUFFER_BYTES: usize = 8 << 20;
/// The same for a socket with one user: a second of snapshots.
const OWN_BUFFER_BYTES: usize = 256 << 10;
/// One receive buffer: the longest run of datagrams that the kernel may join into one.
const RECEIVE_BYTES: usize = 64 << 10;
/// Batches that one call takes from one socket at most.
const BATCHES_MAX: usize = 64;
/// Sockets that bots share. One would do; more spread the kernel's locks and queues.
const SHARED_SOCKETS: usize = 4;
/// Source addresses: 127.64.0.0 to 127.79.255.255, used in turn, so that one comes back only after a million
/// sessions and no server still remembers it.
const ADDRESSES: u32 = 1 << 20;
const FIRST_ADDRESS: u32 = u32::from_be_bytes([127, 64, 0, 0]);

/// A socket with its batched receive and send.
struct Endpoint {
    socket: UdpSocket,
    state: UdpSocketState,
}

/// Memory for one batch; lent to whichever socket is being read.
struct Batch {
    bytes: Vec<u8>,
    meta: [RecvMeta; BATCH_SIZE],
}

impl Endpoint {
    fn bind(address: SocketAddr, buffer_bytes: usize) -> io::Result<Endpoint> {
        let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
        socket.set_recv_buffer_size(buffer_bytes)?;
        socket.set_send_buffer_size(buffer_bytes)?;
        socket.bind(&address.into())?;
        let socket: UdpSocket = socket.into();
        let state = UdpSocketState::new((&socket).into())?;
        Ok(Endpoint { socket, state })
    }

    /// Sends one datagram, or loses it as a network might: UDP promises nothing and neither do we.
    fn send(&self, from: Option<IpAddr>, to: SocketAddr, bytes: &[u8]) -> bool {
        let transmit = Transmit { destination: to, ecn: None, contents: bytes, segment_size: None, src_ip: from };
        self.state.try_send((&self.socket).into(), &transmit).is_ok()
    }

    /// Hands everything that waits to `take`, with where it came from and which of our addresses it went to.
    fn receive(&self, batch: &mut Batch, mut take: impl FnMut(SocketAddr, Option<IpAddr>, &mut [u8])) {
        let mut chunks = batch.bytes.chunks_mut(RECEIVE_BYTES);
        let mut buffers: [IoSliceMut<'_>; BATCH_SIZE] =
            std::array::from_fn(|_| IoSliceMut::new(chunks.next().unwrap_or_default()));
        for _ in 0..BATCHES_MAX {
            let count = match self.state.recv((&self.socket).into(), &mut buffers, &mut batch.meta) {
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                // Nothing waits, or a port was closed somewhere: the sessions notice silence themselves.
                Err(_) => return,
            };
            for (meta, buffer) in batch.meta[..count].iter().zip(&mut buffers) {
                for datagram in buffer[..meta.len].chunks_mut(meta.stride.max(1)) {
                    take(meta.addr, meta.dst_ip, datagram);
                }
            }
            if count < BATCH_SIZE {
                return;
            }
        }
    }
}

impl Batch {
    fn new() -> Batch {
        Batch { bytes: vec![0; BATCH_SIZE * RECEIVE_BYTES], meta: [RecvMeta::default(); BATCH_SIZE] }
    }
}

/// Any address of the same family, any port.
fn unspecified(server: SocketAddr) -> SocketAddr {
    let ip = if server.is_ipv4() { IpAddr::V4(Ipv4Addr::UNSPECIFIED) } else { IpAddr::V6(Ipv6Addr::UNSPECIFIED) };
    SocketAddr::new(ip, 0)
}

/// The socket of one session: what a player's client uses.
pub struct ClientSocket {
    endpoint: Endpoint,
    server: SocketAddr,
    batch: Batch,
}

impl ClientSocket {
    /// # Errors
    /// When the system has no socket to give.
    pub fn bind(server: SocketAddr) -> io::Result<ClientSocket> {
        let endpoint = Endpoint::bind(unspecified(server), OWN_BUFFER_BYTES)?;
        Ok(ClientSocket { endpoint, server, batch: Batch::new() })
    }

    /// False when the system would not take it; it is lost then.
    pub fn send(&self, bytes: &[u8]) -> bool {
        self.endpoint.send(None, self.server, bytes)
    }

    /// Hands on every datagram of the server's that waits.
    pub fn receive(&mut self, mut take: impl FnMut(&mut [u8])) {
        let server = self.server;
        self.endpoint.receive(&mut self.batch, |from, _, datagram| {
            if from == server {
                take(datagram);
            }
        });
    }
}

/// The sockets of a fleet of bots.
pub struct FleetSockets {
    /// Shared by all bots of loopback servers; opened with the first of them.
    shared: Vec<Endpoint>,
    /// By address number: who has it. As long as the highest number used yet, at most [`ADDRESSES`].
    addresses: Vec<Option<Holder>>,
    next_address: u32,
    /// Bots of servers elsewhere, by [`Port::Own`] number.
    own: Vec<Option<(Endpoint, Holder)>>,
    own_free: Vec<usize>,
    batch: Batch,
    /// Datagrams that the system would not take.
    pub unsent: u64,
}

/// Who receives, and from whom alone.
#[derive(Clone, Copy, Debug)]
struct Holder {
    bot: u32,
    server: SocketAddr,
}

/// A bot's place on the network. To be given back with [`FleetSockets::close`].
#[derive(Debug, PartialEq, Eq)]
pub enum Port {
    /// An address number on the shared sockets.
    Shared(u32),
    /// A socket of its own.
    Own(usize),
}

impl FleetSockets {
    pub fn new() -> FleetSockets {
        FleetSockets {
            shared: Vec::new(),
            addresses: Vec::new(),
            next_address: 0,
            own: Vec::new(),
            own_free: Vec::new(),
            batch: Batch::new(),
            unsent: 0,
        }
    }

    /// Opens a port to `server` for the bot of that number.
    ///
    /// # Errors
    /// When the system has no socket to give (see `ulimit -n` when servers are elsewhere).
    pub fn open(&mut self, bot: u32, server: SocketAddr) -> io::Result<Port> {
        let holder = Holder { bot, server };
        if !is_shareable(server) {
            return self.open_own(holder);
        }
        if self.shared.is_empty() {
            let any = unspecified(server);
            let sockets = (0..SHARED_SOCKETS).map(|_| Endpoint::bind(any, SHARED_BUFFER_BYTES));
            self.shared = sockets.collect::<io::Result<_>>()?;
        }
        let mut in_turn = (0..ADDRESSES).map(|step| self.next_address.wrapping_add(step) % ADDRESSES);
        let free = |number: &u32| self.addresses.get(*number as usize).is_none_or(Option::is_none);
        let Some(number) = in_turn.find(free) else {
            return Err(io::Error::new(ErrorKind::AddrInUse, "every loopback source address is taken"));
        };
        self.next_address = number + 1;
        let index = number as usize;
        if index >= self.addresses.len() {
            self.addresses.resize(index + 1, None);
        }
        self.addresses[index] = Some(holder);
        Ok(Port::Shared(number))
    }

    fn open_own(&mut self, holder: Holder) -> io::Result<Port> {
        let endpoint = Endpoint::bind(unspecified(holder.server), OWN_BUFFER_BYTES)?;
        let number = self.own_free.pop().unwrap_or_else(|| {
            self.own.push(None);
            self.own.len() - 1
        });
        self.own[number] = Some((endpoint, holder));
        Ok(Port::Own(number))
    }

    /// Gives a port back.
    pub fn close(&mut self, port: Port) {
        match port {
            Port::Shared(number) => self.addresses[number as usize] = None,
            Port::Own(number) => {
                self.own[number] = None;
                self.own_free.push(number);
            }
        }
    }

    /// Sends to the port's server.
    pub fn send(&mut self, port: &Port, bytes: &[u8]) {
        let sent = match port {
            Port::Shared(number) => self.addresses[*number as usize].is_some_and(|holder| {
                let endpoint = &self.shared[*number as usize % SHARED_SOCKETS];
                endpoint.send(Some(address_of(*number)), holder.server, bytes)
            }),
            Port::Own(number) => {
                self.own[*number].as_ref().is_some_and(|(endpoint, holder)| endpoint.send(None, holder.server, bytes))
            }
        };
        self.unsent += u64::from(!sent);
    }

    /// Hands on every datagram that waits, with the number of the bot it is for.
    pub fn receive(&mut self, mut take: impl FnMut(u32, &mut [u8])) {
        let FleetSockets { shared, addresses, own, batch, .. } = self;
        for (index, endpoint) in shared.iter().enumerate() {
            endpoint.receive(batch, |from, to, datagram| {
                let number = to.and_then(number_of).filter(|number| *number as usize % SHARED_SOCKETS == index);
                let holder = number.and_then(|number| addresses.get(number as usize).copied().flatten());
                if let Some(holder) = holder.filter(|holder| holder.server == from) {
                    take(holder.bot, datagram);
                }
            });
        }
        for (endpoint, holder) in own.iter().flatten() {
            endpoint.receive(batch, |from, _, datagram| {
                if from == holder.server {
                    take(holder.bot, datagram);
                }
            });
        }
    }
}

impl Default for FleetSockets {
    fn default() -> Self {
        FleetSockets::new()
    }
}

/// Whether bots of this server can share sockets: all of 127.0.0.0/8 is ours only on Linux's loopback.
fn is_shareable(server: SocketAddr) -> bool {
    cfg!(target_os = "linux") && server.is_ipv4() && server.ip().is_loopback()
}

fn address_of(number: u32) -> IpAddr {
    IpAddr::V4(Ipv4Addr::from_bits(FIRST_ADDRESS + number))
}

fn number_of(address: IpAddr) -> Option<u32> {
    let IpAddr::V4(address) = address else { return None };
    address.to_bits().checked_sub(FIRST_ADDRESS).filter(|number| *number < ADDRESSES)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A socket that answers; blocking, with a limit so that a failure ends.
    fn server(address: &str) -> (UdpSocket, SocketAddr) {
        let socket = UdpSocket::bind(address).unwrap();
        socket.set_read_timeout(Some(std::time::Duration::from_secs(5))).unwrap();
        let address = socket.local_addr().unwrap();
        (socket, address)
    }

    /// Loopback delivers within the sender's call, so what was sent is there.
    fn received(sockets: &mut FleetSockets) -> Vec<(u32, Vec<u8>)> {
        let mut all = Vec::new();
        sockets.receive(|bot, bytes| all.push((bot, bytes.to_vec())));
        all.sort();
        all
    }

    #[test]
    fn a_thousand_bots_on_four_sockets_get_each_their_own_answers() {
        let (socket, address) = server("127.0.0.1:0");
        let mut sockets = FleetSockets::new();
        let ports: Vec<Port> = (0..1000).map(|bot| sockets.open(bot, address).unwrap()).collect();
        let mut sources = std::collections::HashSet::new();
        for (bot, port) in ports.iter().enumerate() {
            sockets.send(port, &(bot as u32).to_le_bytes());
            let mut bytes = [0; 4];
            let (_, from) = socket.recv_from(&mut bytes).unwrap();
            sources.insert(from);
            socket.send_to(&(u32::from_le_bytes(bytes) * 3).to_le_bytes(), from).unwrap();
        }
        assert_eq!((sources.len(), sockets.shared.len(), sockets.unsent), (1000, SHARED_SOCKETS, 0));
        let expected: Vec<_> = (0..1000u32).map(|bot| (bot, (bot * 3).to_le_bytes().to_vec())).collect();
        assert_eq!(received(&mut sockets), expected);
    }

    #[test]
    fn strangers_and_former_holders_are_not_heard() {
        let (socket, address) = server("127.0.0.1:0");
        let (stranger, _) = server("127.0.0.1:0");
        let mut sockets = FleetSockets::new();
        let port = sockets.open(7, address).unwrap();
        sockets.send(&port, b"hello");
        let (_, from) = socket.recv_from(&mut [0; 8]).unwrap();
        stranger.send_to(b"gotcha", from).unwrap();
        socket.send_to(b"welcome", from).unwrap();
        assert_eq!(received(&mut sockets), [(7, b"welcome".to_vec())]);
        sockets.close(port);
        let next = sockets.open(8, address).unwrap();
        socket.send_to(b"late", from).unwrap();
        assert_eq!(received(&mut sockets), []);
        assert_eq!(next, Port::Shared(1), "addresses are not reused at once");
    }

    #[test]
    fn servers_elsewhere_get_a_socket_per_bot() {
        let Ok(socket) = UdpSocket::bind("[::1]:0") else { return };
        let address = socket.local_addr().unwrap();
        let mut sockets = FleetSockets::new();
        let ports: Vec<Port> = (0..3).map(|bot| sockets.open(bot, address).unwrap()).collect();
        for port in &ports {
            sockets.send(port, b"hello");
            let (_, from) = socket.recv_from(&mut [0; 8]).unwrap();
            socket.send_to(b"welcome", from).unwrap();
        }
        assert_eq!(received(&mut sockets).iter().map(|(bot, _)| *bot).collect::<Vec<_>>(), [0, 1, 2]);
        ports.into_iter().for_each(|port| sockets.close(port));
        assert_eq!(sockets.open(9, address).unwrap(), Port::Own(2));
    }

    #[test]
    fn a_players_socket_hears_its_server_alone() {
        let (socket, address) = server("127.0.0.1:0");
        let (stranger, _) = server("127.0.0.1:0");
        let mut client = ClientSocket::bind(address).unwrap();
        assert!(client.send(b"hello"));
        let (_, from) = socket.recv_from(&mut [0; 8]).unwrap();
        stranger.send_to(b"gotcha", from).unwrap();
        socket.send_to(b"welcome", from).unwrap();
        let mut all = Vec::new();
        client.receive(|bytes| all.push(bytes.to_vec()));
        assert_eq!(all, [b"welcome".to_vec()]);
    }
}
