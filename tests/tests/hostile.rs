//! Promise: nothing that a stranger or a player can send ends a match. Cases N1 to N9, thrown at a live server
//! (the real program) and N1, N2 and N4 at a live client.

use std::net::UdpSocket;
use std::time::{Duration, Instant};

use astro_server::transport::udp::LINKS_PER_LANE;
use astro_shared::wire::filter::REQUEST_BYTES;
use astro_tests::service::{Service, UdpPlayer, drive_until, unix_now};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use renetcode::{ClientAuthentication, ConnectToken, NetcodeClient};

const LIMIT: Duration = Duration::from_secs(20);

/// A match of two honest players that is under way.
struct Honest {
    ada: UdpPlayer,
    grace: UdpPlayer,
}

impl Honest {
    fn start(service: &Service) -> Honest {
        let mut honest = Honest {
            ada: service.join("Ada", "standard", 2, "honest"),
            grace: service.join("Grace", "standard", 2, "honest"),
        };
        honest.still_plays("at the start");
        honest
    }

    /// Plays on for about a second and a half and checks that nothing is amiss.
    fn still_plays(&mut self, after: &str) {
        let before = (self.ada.snapshots(), self.grace.snapshots());
        drive_until(&mut [&mut self.ada, &mut self.grace], LIMIT, |players| {
            players[0].snapshots() >= before.0 + 40 && players[1].snapshots() >= before.1 + 40
        });
        for player in [&self.ada, &self.grace] {
            assert!(!player.session.is_closed(), "{after}");
            assert_eq!(player.session.statistics().state_mismatches, 0, "{after}");
        }
    }
}

/// A client by the stock crate, with no filter and no manners.
struct Attacker {
    netcode: NetcodeClient,
    socket: UdpSocket,
}

impl Attacker {
    /// Takes a seat of its own match and connects.
    fn connected(service: &Service) -> Attacker {
        let mut attacker = Attacker::pending(service);
        let deadline = Instant::now() + LIMIT;
        while !attacker.netcode.is_connected() {
            attacker.pump();
            assert!(Instant::now() < deadline, "the attacker cannot connect");
        }
        attacker
    }

    /// Has asked for a connection; the server is waiting for the answer to its challenge.
    fn pending(service: &Service) -> Attacker {
        let ticket = service.quickplay("Mallory", "standard", 2, "attack");
        let token = STANDARD.decode(ticket.connect_token).expect("base64");
        let connect_token = ConnectToken::read(&mut &token[..]).expect("a token");
        let netcode = NetcodeClient::new(unix_now(), ClientAuthentication::Secure { connect_token }).expect("a client");
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
        socket.set_read_timeout(Some(Duration::from_millis(2))).expect("a timeout");
        let mut attacker = Attacker { netcode, socket };
        attacker.send_due();
        let mut challenge = [0u8; 2048];
        attacker.socket.set_read_timeout(Some(LIMIT)).expect("a timeout");
        let (length, _) = attacker.socket.recv_from(&mut challenge).expect("a challenge");
        attacker.socket.set_read_timeout(Some(Duration::from_millis(2))).expect("a timeout");
        attacker.netcode.process_packet(&mut challenge[..length]);
        attacker
    }

    fn send_due(&mut self) {
        let passed = unix_now().saturating_sub(self.netcode.current_time());
        if let Some((bytes, to)) = self.netcode.update(passed) {
            let _ = self.socket.send_to(bytes, to);
        }
    }

    fn pump(&mut self) {
        let mut buffer = [0u8; 2048];
        while let Ok((length, _)) = self.socket.recv_from(&mut buffer) {
            self.netcode.process_packet(&mut buffer[..length]);
        }
        self.send_due();
    }

    /// Sends raw bytes from the attacker's address.
    fn throw(&self, bytes: &[u8]) {
        let _ = self.socket.send_to(bytes, self.netcode.server_addr());
    }

    /// Sends a payload properly sealed.
    fn throw_sealed(&mut self, payload: &[u8]) {
        if let Ok((to, sealed)) = self.netcode.generate_payload_packet(payload) {
            let _ = self.socket.send_to(sealed, to);
        }
    }

    /// Waits until the server has closed this connection.
    fn is_thrown_out(&mut self) -> bool {
        let deadline = Instant::now() + Duration::from_secs(10);
        while !self.netcode.is_disconnected() && Instant::now() < deadline {
            self.pump();
        }
        self.netcode.is_disconnected()
    }
}

fn varint(out: &mut Vec<u8>, value: u64) {
    out.extend_from_slice(&(value | 0xc000_0000_0000_0000).to_be_bytes());
}

/// A renet slice packet.
fn slice(kind: u8, sequence: u64, message: u64, index: u64, count: u64, bytes: usize) -> Vec<u8> {
    let mut packet = vec![kind];
    varint(&mut packet, sequence);
    packet.push(0);
    for value in [message, index, count, bytes as u64] {
        varint(&mut packet, value);
    }
    packet.resize(packet.len() + bytes, 7);
    packet
}

/// Headers that the stock parser panics on, before it decrypts anything.
fn bad_headers() -> Vec<(&'static str, Vec<u8>)> {
    let mut cases = Vec::new();
    for nibble in 9..=15u8 {
        let mut bytes = vec![3; 200];
        bytes[0] = 5 | nibble << 4;
        cases.push(("N1", bytes));
    }
    for length in 18..25usize {
        let mut bytes = vec![3; length];
        bytes[0] = 5 | 8 << 4;
        cases.push(("N2", bytes));
    }
    for below in [0u64, 1, 255, 256] {
        let mut bytes = vec![3; 60];
        bytes[0] = 5 | 8 << 4;
        bytes[1..9].copy_from_slice(&(u64::MAX - below).to_le_bytes());
        cases.push(("N3", bytes));
    }
    cases
}

#[test]
fn bad_headers_from_pending_and_connected_addresses_change_nothing() {
    let mut service = Service::start("headers", &[]);
    let mut honest = Honest::start(&service);
    for attacker in [Attacker::pending(&service), Attacker::connected(&service)] {
        for (case, bytes) in bad_headers() {
            attacker.throw(&bytes);
            assert!(service.is_running(), "{case}");
        }
        honest.still_plays("N1, N2, N3");
    }
    assert!(service.metric("astro_datagrams_dropped_total{") >= 20.0, "they are counted");
}

#[test]
fn slices_and_empty_messages_end_only_their_sender() {
    let mut service = Service::start("slices", &[]);
    let mut honest = Honest::start(&service);
    let mut reliable_gap = vec![0u8];
    varint(&mut reliable_gap, 1);
    reliable_gap.extend([0, 0, 1]);
    varint(&mut reliable_gap, 5);
    varint(&mut reliable_gap, 0);
    let cases: [(&str, Vec<Vec<u8>>); 4] = [
        ("N4 reliable", vec![slice(2, 1, 0, 9, 2, 1200)]),
        ("N4 unreliable", vec![slice(3, 1, 0, 9, 2, 1200)]),
        ("N5", vec![slice(2, 1, 0, 0, 2, 1200), slice(2, 2, 0, 1, 900_000, 1200), slice(2, 3, 1, 0, 900_000, 1200)]),
        ("N6", vec![reliable_gap; 200]),
    ];
    for (case, packets) in cases {
        let mut attacker = Attacker::connected(&service);
        packets.iter().for_each(|packet| attacker.throw_sealed(packet));
        assert!(attacker.is_thrown_out(), "{case}: the attacker is still there");
        assert!(service.is_running(), "{case}");
        honest.still_plays(case);
    }
}

#[test]
fn slots_stay_below_the_stock_limit() {
    // N7: the stock constructor panics above 1,024.
    const { assert!(LINKS_PER_LANE <= 1024) };
}

#[test]
fn a_flood_of_junk_neither_fills_the_log_nor_stops_the_ticks() {
    let service = Service::start("junk", &[]);
    let mut honest = Honest::start(&service);
    let seed = 20_261_121;
    let mut random = StdRng::seed_from_u64(seed);
    let junk = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    let attacker = Attacker::connected(&service);
    let (lines_before, ticks_before) = (service.log().len(), service.metric("astro_ticks_total{"));
    for _ in 0..40 {
        for _ in 0..500 {
            let length = random.random_range(0..1400);
            let mut bytes: Vec<u8> = (0..length).map(|_| random.random()).collect();
            if length == REQUEST_BYTES {
                bytes[0] = 0;
            }
            let _ = junk.send_to(&bytes, honest.ada.server);
            attacker.throw(&bytes);
        }
        honest.ada.drive();
        honest.grace.drive();
    }
    honest.still_plays("N9");
    let lines = service.log().len() - lines_before;
    assert!(lines <= 20, "seed {seed}: 40,000 junk datagrams wrote {lines} lines of log");
    assert!(service.metric("astro_ticks_total{") > ticks_before + 60.0);
}

#[test]
fn a_client_survives_the_same_bytes_from_a_spoofed_server() {
    let service = Service::start("client", &[]);
    let mut honest = Honest::start(&service);
    for (_, mut bytes) in bad_headers() {
        honest.ada.receive(&mut bytes);
    }
    // N4 inside the encryption would need the key, so it goes to a session over a bare link, which is the same path
    // behind the decryption.
    use astro_client::session::{Link, Session};
    use astro_shared::sim::SimPlugin;
    let mut world = SimPlugin::world();
    let mut bare = Session::new(Link::Bare, 30, Duration::from_secs(1));
    for kind in [2, 3] {
        bare.handle_datagram(&mut world, &mut slice(kind, 1, 0, 9, 2, 1200), Duration::from_secs(1));
    }
    assert_eq!(bare.statistics().datagrams_refused, 2);
    honest.still_plays("spoofed server packets");
    assert!(honest.ada.session.statistics().datagrams_refused >= 14);
}
