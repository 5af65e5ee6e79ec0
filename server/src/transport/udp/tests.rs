//! Floods against a real socket, in virtual time: one call stays bounded, others get theirs, fakes leave nothing behind.

use std::net::Ipv4Addr;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, mpsc};

use quinn_udp::Transmit;
use renetcode::{ClientAuthentication, ConnectToken, NetcodeClient};

use super::*;

const KEY: [u8; 32] = [7; 32];
const PROTOCOL: u64 = 9;
const NOW: Duration = Duration::from_secs(1_800_000_000);
const TICK: Duration = Duration::from_micros(16_667);
/// The kernel joins at most this many datagrams of a sender into one buffer, and one read fills [`BATCH_SIZE`] buffers:
/// so far a lane may pass its budget.
const OVERSHOOT: usize = 64 * BATCH_SIZE;

/// A transport, and who tells it of tokens.
struct Town {
    transport: UdpTransport,
    invite: mpsc::Sender<Invitation>,
}

impl Deref for Town {
    type Target = UdpTransport;

    fn deref(&self) -> &UdpTransport {
        &self.transport
    }
}

impl DerefMut for Town {
    fn deref_mut(&mut self) -> &mut UdpTransport {
        &mut self.transport
    }
}

fn transport(lanes: usize) -> Town {
    let bind = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let lane = LaneConfig { bind, public_ip: None, protocol_id: PROTOCOL, key: KEY };
    let (invite, invitations) = mpsc::channel();
    let transport = UdpTransport::open(&vec![lane; lanes], Arc::new(Mutex::new(invitations)), NOW).unwrap();
    Town { transport, invite }
}

/// Puts that many small datagrams from one stranger into a lane's kernel buffer.
fn flood(to: SocketAddr, datagrams: usize) {
    const BYTES: usize = 18;
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let state = UdpSocketState::new((&socket).into()).unwrap();
    socket.set_nonblocking(false).unwrap();
    let at_once = state.max_gso_segments();
    let junk = vec![0x55; BYTES * at_once];
    for _ in 0..datagrams.div_ceil(at_once) {
        let segment_size = (at_once > 1).then_some(BYTES);
        let contents = if at_once > 1 { &junk[..] } else { &junk[..BYTES] };
        let transmit = Transmit { destination: to, ecn: None, contents, segment_size, src_ip: None };
        state.try_send((&socket).into(), &transmit).unwrap();
    }
}

/// A client by the stock crate.
struct Guest {
    netcode: NetcodeClient,
    socket: UdpSocket,
    link: LinkId,
}

impl Guest {
    /// Has a ticket for that lane; the transport keeps a place.
    fn invite(transport: &mut Town, lane: usize, id: u64) -> Guest {
        let (link, address) = (LinkId(id), transport.addresses()[lane]);
        transport.reserve(Vacancy { lane, address: Some(address) }, link);
        let mut user_data = [0; 256];
        user_data[..8].copy_from_slice(&id.to_le_bytes());
        let token = ConnectToken::generate(NOW, PROTOCOL, 15, id, 8, vec![address], Some(&user_data), &KEY).unwrap();
        transport.invite.send(Invitation { nonce: token.xnonce, until: NOW + Duration::from_secs(15) }).unwrap();
        let authentication = ClientAuthentication::Secure { connect_token: token };
        let netcode = NetcodeClient::new(NOW, authentication).unwrap();
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        socket.set_nonblocking(true).unwrap();
        Guest { netcode, socket, link }
    }

    /// The connection request, as it goes out.
    fn request(&mut self) -> Vec<u8> {
        let (bytes, _) = self.netcode.update(Duration::ZERO).unwrap();
        bytes.to_vec()
    }

    fn drive(&mut self) {
        let mut buffer = [0; 2048];
        while let Ok((length, _)) = self.socket.recv_from(&mut buffer) {
            self.netcode.process_packet(&mut buffer[..length]);
        }
        if let Some((bytes, to)) = self.netcode.update(TICK) {
            self.socket.send_to(bytes, to).unwrap();
        }
    }
}

fn received(transport: &UdpTransport) -> Vec<usize> {
    transport.lanes.iter().map(|lane| lane.traffic.received_datagrams as usize).collect()
}

#[test]
fn a_flood_costs_one_call_a_bounded_number_of_datagrams_and_the_lanes_behind_it_get_theirs() {
    let mut transport = transport(4);
    let own = HANDSHAKE_DATAGRAMS_PER_CALL;
    let addresses = transport.addresses();
    (0..2).for_each(|lane| flood(addresses[lane], 10_000));
    flood(addresses[2], own / 2);
    let mut guests: Vec<Guest> = (0..20).map(|id| Guest::invite(&mut transport, 3, id)).collect();
    guests.iter_mut().for_each(Guest::drive);

    transport.receive(NOW, &mut |incoming| panic!("nobody is connected: {incoming:?}"));
    let counts = received(&transport);
    assert!(counts[0] >= own + SPARE_DATAGRAMS_PER_CALL, "the first flood may use up what is spare: {counts:?}");
    assert!(counts[0] < own + SPARE_DATAGRAMS_PER_CALL + OVERSHOOT, "but no more: {counts:?}");
    assert!((own..own + OVERSHOOT).contains(&counts[1]), "the second has its lane's share only: {counts:?}");
    assert!(counts[2] >= own / 2, "what comes to other lanes is taken whole: {counts:?}");
    assert_eq!(counts[3], guests.len());
    assert_eq!(transport.lanes[3].traffic.sent_datagrams, 20, "every honest request is answered in the same call");
    assert_eq!(transport.flush(NOW).sent_datagrams, 20, "and no stranger is");

    // The rest waits in the kernel and is taken by and by.
    let mut calls = 0;
    while transport.flush(NOW).received_datagrams > 0 || calls == 0 {
        transport.receive(NOW, &mut |_| {});
        calls += 1;
        assert!(calls < 100, "the floods never end");
    }
    assert!(calls > 2, "20,000 datagrams are more than two calls take");
}

/// Requests with every outside right, and a token that nobody gave out.
fn fake(request: &[u8], number: u32) -> Vec<u8> {
    let mut fake = request.to_vec();
    for (index, byte) in fake[30..].iter_mut().enumerate() {
        *byte = (number.wrapping_mul(2_654_435_761).wrapping_add(index as u32 * 97) >> 7) as u8;
    }
    fake
}

#[test]
fn a_flood_of_fake_requests_keeps_no_ticket_holder_out_and_leaves_nothing_behind() {
    const FAKES_PER_TICK: u32 = 170;
    let mut transport = transport(1);
    let address = transport.addresses()[0];
    let mut guests: Vec<Guest> = (0..100).map(|id| Guest::invite(&mut transport, 0, id)).collect();
    let pattern = guests[0].request();
    let strangers: Vec<UdpSocket> = (0..50).map(|_| UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap()).collect();
    strangers.iter().for_each(|socket| socket.set_nonblocking(true).unwrap());
    let mut connected = Vec::new();
    let mut now = NOW;
    let mut number = 0;
    // 10,200 fakes a second, for five seconds; every guest comes at a tick of its own.
    for tick in 0..300 {
        now += TICK;
        for _ in 0..FAKES_PER_TICK {
            number += 1;
            strangers[number as usize % strangers.len()].send_to(&fake(&pattern, number), address).unwrap();
        }
        guests.iter_mut().take(tick / 2).for_each(Guest::drive);
        transport.receive(now, &mut |incoming| {
            if let Incoming::Connected(link) = incoming {
                connected.push(link);
            }
        });
    }
    let invited: Vec<LinkId> = guests.iter().map(|guest| guest.link).collect();
    connected.sort_unstable_by_key(|link| link.0);
    assert_eq!(connected, invited, "everybody with a ticket gets in, once");
    let lane = &transport.lanes[0];
    assert_eq!(format!("{:?}", lane.netcode).matches("PendingResponse").count(), 0, "a fake is forgotten at once");
    let refused = lane.traffic.dropped.iter().find(|(reason, _)| *reason == "uninvited").map_or(0, |(_, count)| *count);
    assert_eq!(refused, u64::from(number), "every fake is counted");
    for stranger in &strangers {
        let answer = stranger.recv_from(&mut [0; 2048]);
        assert_eq!(answer.unwrap_err().kind(), ErrorKind::WouldBlock, "a fake is not answered");
    }
}

/// Broken by an allowance for all requests together, or for those of an address.
#[test]
fn whoever_floods_with_a_token_of_his_own_uses_up_its_allowance_and_nobody_elses() {
    let mut transport = transport(1);
    let address = transport.addresses()[0];
    let mut rogue = Guest::invite(&mut transport, 0, 1);
    let mut ada = Guest::invite(&mut transport, 0, 2);
    let mut broken = rogue.request();
    broken[500] ^= 1;
    (0..400).for_each(|_| _ = rogue.socket.send_to(&broken, address).unwrap());
    let honest = ada.request();
    ada.socket.send_to(&honest, address).unwrap();
    transport.receive(NOW, &mut |_| {});
    let lane = &transport.lanes[0];
    let count = |name: &str| lane.traffic.dropped.iter().find(|(reason, _)| *reason == name).map_or(0, |(_, n)| *n);
    assert_eq!((count("handshake"), count("rate")), (8, 392), "eight are looked at");
    assert_eq!(lane.traffic.sent_datagrams, 1, "Ada is answered");
}

#[test]
fn a_genuine_request_overheard_and_sent_from_elsewhere_takes_no_place() {
    let mut transport = transport(1);
    let address = transport.addresses()[0];
    let mut guest = Guest::invite(&mut transport, 0, 1);
    let request = guest.request();
    guest.socket.send_to(&request, address).unwrap();
    transport.receive(NOW, &mut |_| {});
    let thieves: Vec<UdpSocket> = (0..500).map(|_| UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap()).collect();
    thieves.iter().for_each(|thief| _ = thief.send_to(&request, address).unwrap());
    transport.receive(NOW, &mut |_| {});
    let lane = &transport.lanes[0];
    assert_eq!(lane.traffic.received_datagrams, 501);
    assert_eq!(lane.traffic.sent_datagrams, 1, "only the first address is answered");
    assert_eq!(format!("{:?}", lane.netcode).matches("PendingResponse").count(), 1);
}

const KEEP_ALIVE: u8 = 4;

impl Guest {
    /// Takes in what has come, but for one kind that is lost; how many keep-alives there were.
    fn receive_without(&mut self, lost: Option<u8>) -> usize {
        let (mut keep_alives, mut buffer) = (0, [0; 2048]);
        while let Ok((length, _)) = self.socket.recv_from(&mut buffer) {
            let kind = buffer[0] & 0x0f;
            keep_alives += usize::from(kind == KEEP_ALIVE);
            if lost != Some(kind) {
                self.netcode.process_packet(&mut buffer[..length]);
            }
        }
        keep_alives
    }
}

/// Broken by leaving the repeated keep-alive to stock code, which sends none while payloads flow.
#[test]
fn a_client_that_lost_the_last_step_of_the_handshake_gets_it_again_until_it_has_it() {
    let mut transport = transport(1);
    let mut guest = Guest::invite(&mut transport, 0, 1);
    let (mut now, mut connected, mut keep_alives) = (NOW, false, 0);
    for tick in 0..90 {
        now += TICK;
        transport.receive(now, &mut |incoming| connected |= incoming == Incoming::Connected(LinkId(1)));
        if connected {
            transport.send(guest.link, b"a snapshot");
        }
        keep_alives += guest.receive_without((tick < 60).then_some(KEEP_ALIVE));
        assert!(tick >= 60 || !guest.netcode.is_connected());
        guest.drive();
    }
    assert!(connected && guest.netcode.is_connected());
    assert!((3..12).contains(&keep_alives), "{keep_alives} in one and a half seconds");
    // From its first payload on it gets no more of them: a stranger in its name could ask for ever.
    let (to, datagram) = guest.netcode.generate_payload_packet(b"here").unwrap();
    guest.socket.send_to(datagram, to).unwrap();
    transport.receive(now, &mut |_| {});
    guest.socket.send_to(&[3; RESPONSE_BYTES], to).unwrap();
    transport.receive(now, &mut |_| {});
    assert_eq!(guest.receive_without(None), 0);
}
