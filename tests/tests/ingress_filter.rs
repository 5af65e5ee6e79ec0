//! Promise: everything honest passes the ingress filter, and nothing that passes hurts the stock parsers behind it.
//!
//! Real `renet` and `renetcode` pairs in memory, under loss; structured attackers, because raw noise never gets far.
//! The cases N1 to N6 are those of the filter's own numbering.

use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use allocation_counter::measure;
use astro_shared::wire::filter::{MESSAGES_AHEAD_MAX, NETCODE_BYTES_MAX, REQUEST_BYTES, Refused, RenetProgress, Side};
use astro_shared::wire::filter::{check_netcode, check_renet};
use astro_shared::wire::{CLIENT_MESSAGE_BYTES_MAX, CONTROL_CHANNEL, CONTROL_CHANNEL_BYTES_MAX, MESSAGE_BYTES_MAX};
use astro_tests::dice::{Dice, each_seed};
use renet::{ChannelConfig, ConnectionConfig, DisconnectReason, RenetClient, RenetServer, SendType};
use renetcode::{
    ClientAuthentication, ConnectToken, NetcodeClient, NetcodeServer, ServerAuthentication, ServerConfig, ServerResult,
};

const TICK: Duration = Duration::from_micros(16_667);
const PEER: u64 = 1;

/// The one control channel, as both ends configure it.
fn control() -> ConnectionConfig {
    let channel = || ChannelConfig {
        channel_id: CONTROL_CHANNEL,
        max_memory_usage_bytes: CONTROL_CHANNEL_BYTES_MAX,
        send_type: SendType::ReliableOrdered { resend_time: Duration::from_millis(100) },
    };
    ConnectionConfig {
        available_bytes_per_tick: CONTROL_CHANNEL_BYTES_MAX as u64,
        server_channels_config: vec![channel()],
        client_channels_config: vec![channel()],
    }
}

// ---- renet, honest ----

/// Packets under way, with the tick of their arrival.
#[derive(Default)]
struct Wire(Vec<(u32, Vec<u8>)>);

impl Wire {
    fn send(&mut self, now: u32, packet: &[u8], loss: u64, dice: &mut Dice) {
        // Some are lost, some arrive twice, all of them at any time within a sixth of a second.
        for copies_lost in [loss, 97] {
            if !dice.percent(copies_lost) {
                self.0.push((now + dice.step(1..10) as u32, packet.to_vec()));
            }
        }
    }

    fn arrived(&mut self, now: u32) -> Vec<Vec<u8>> {
        self.0.extract_if(.., |(at, _)| *at <= now).map(|(_, packet)| packet).collect()
    }
}

/// Both ends of a control connection, each behind its filter.
struct Pair {
    server: RenetServer,
    client: RenetClient,
    up: (Wire, RenetProgress),
    down: (Wire, RenetProgress),
}

impl Pair {
    fn new() -> Pair {
        let (mut server, mut client) = (RenetServer::new(control()), RenetClient::new(control()));
        server.add_connection(PEER);
        client.set_connected();
        Pair { server, client, up: Default::default(), down: Default::default() }
    }

    /// One tick of both ends; what each has received, and how many packets came through the filters.
    fn tick(&mut self, now: u32, loss: u64, dice: &mut Dice) -> (Vec<Vec<u8>>, Vec<Vec<u8>>, u32) {
        self.server.update(TICK);
        self.client.update(TICK);
        let (mut at_server, mut at_client, mut packets) = (Vec::new(), Vec::new(), 0);
        for packet in self.up.0.arrived(now) {
            let passed = check_renet(&packet, &mut self.up.1, CLIENT_MESSAGE_BYTES_MAX);
            assert_eq!(passed, Ok(()), "an honest packet of a client: {packet:02x?}");
            self.server.process_packet_from(&packet, PEER).expect("a known client");
            packets += 1;
        }
        for packet in self.down.0.arrived(now) {
            let passed = check_renet(&packet, &mut self.down.1, MESSAGE_BYTES_MAX);
            assert_eq!(passed, Ok(()), "an honest packet of the server: {packet:02x?}");
            self.client.process_packet(&packet);
            packets += 1;
        }
        while let Some(message) = self.server.receive_message(PEER, CONTROL_CHANNEL) {
            self.up.1.messages_received += 1;
            at_server.push(message.to_vec());
        }
        while let Some(message) = self.client.receive_message(CONTROL_CHANNEL) {
            self.down.1.messages_received += 1;
            at_client.push(message.to_vec());
        }
        // Polled in every tick, which the host never does: acknowledgements of acknowledgements are the worst case.
        for packet in self.client.get_packets_to_send() {
            self.up.0.send(now, &packet, loss, dice);
        }
        for packet in self.server.get_packets_to_send(PEER).expect("a known client") {
            self.down.0.send(now, &packet, loss, dice);
        }
        (at_server, at_client, packets)
    }
}

/// Broken by a filter that knows the format less well than renet: a varint's length, an empty packet, a long gap.
#[test]
fn every_honest_renet_packet_passes_under_loss_reordering_and_duplication() {
    let mut packets = 0;
    let all = each_seed(40, |_, dice| {
        let mut pair = Pair::new();
        let loss = dice.pick(&[0, 2, 10, 30, 50]);
        let (mut sent_up, mut sent_down) = (Vec::new(), Vec::new());
        let (mut got_up, mut got_down) = (Vec::new(), Vec::new());
        for now in 0..1500 {
            if now < 1200 && dice.percent(8) {
                let length = dice.below(CLIENT_MESSAGE_BYTES_MAX) + 1;
                sent_up.push(dice.bytes(length));
                pair.client.send_message(CONTROL_CHANNEL, sent_up.last().cloned().expect("pushed"));
            }
            if now < 1200 && dice.percent(8) {
                let length = if dice.percent(20) { MESSAGE_BYTES_MAX } else { dice.below(MESSAGE_BYTES_MAX) + 1 };
                sent_down.push(dice.bytes(length));
                pair.server.send_message(PEER, CONTROL_CHANNEL, sent_down.last().cloned().expect("pushed"));
            }
            let (up, down, passed) = pair.tick(now, loss, dice);
            got_up.extend(up);
            got_down.extend(down);
            packets += passed;
        }
        assert!(got_up == sent_up && got_down == sent_down, "everything sent has arrived, in order");
    });
    println!("{packets} honest packets passed");
    assert!(!all || packets > 50_000, "{packets} packets");
}

// ---- renet, hostile ----

fn put_varint(out: &mut Vec<u8>, value: u64, dice: &mut Dice) {
    // Longer forms than needed are legal; an attacker tries them.
    let least = [0x40u64, 0x4000, 0x4000_0000].iter().filter(|limit| value >= **limit).count();
    let form = if dice.percent(10) { dice.step(least as i32..4) as usize } else { least };
    let bytes = (value | (form as u64) << (8 * (1 << form) - 2)).to_be_bytes();
    out.extend_from_slice(&bytes[8 - (1 << form)..]);
}

/// A number near one of the edges that code may trip over.
fn edge(dice: &mut Dice, near: u64) -> u64 {
    let base = dice.pick(&[0, 1, near, near, near + 63, near + 64, 1 << 16, 1 << 32, (1 << 62) - 1]);
    base.saturating_add_signed(dice.within(-3..4)).min((1 << 62) - 1)
}

/// What an attacker with a session of his own sends: well formed up to one or two fields.
fn hostile_packet(dice: &mut Dice, progress: &RenetProgress, length_max: usize) -> Vec<u8> {
    let mut out = Vec::new();
    let kind = dice.pick(&[0, 0, 0, 0, 4, 4, 4, 1, 2, 3, 7]);
    out.push(kind);
    let sequence = if dice.percent(90) {
        (progress.sequence_newest + 3).saturating_add_signed(dice.within(-300..300))
    } else {
        edge(dice, progress.sequence_newest)
    };
    put_varint(&mut out, sequence, dice);
    match kind {
        4 => put_ranges(&mut out, dice),
        2 | 3 => put_slice(&mut out, dice),
        _ => put_messages(&mut out, progress.messages_received, length_max, dice),
    }
    if dice.percent(3) {
        out.truncate(dice.below(out.len() + 1));
    }
    if dice.percent(2) {
        out.extend(dice.bytes(3));
    }
    out
}

fn put_messages(out: &mut Vec<u8>, next: u64, length_max: usize, dice: &mut Dice) {
    out.push(if dice.percent(95) { CONTROL_CHANNEL } else { dice.bits() as u8 });
    let count = dice.pick(&[0u16, 1, 1, 1, 2, 5, 64, 65]);
    out.extend_from_slice(&count.to_be_bytes());
    for _ in 0..count {
        // N6: the next id withheld, ids far ahead, empty messages.
        let id = if dice.percent(95) { next + dice.step(0..64) as u64 } else { edge(dice, next) };
        put_varint(out, id, dice);
        let length = if dice.percent(97) { 1 + dice.below(length_max) } else { dice.pick(&[0, length_max + 1]) };
        put_varint(out, length as u64, dice);
        out.extend(dice.bytes(length.min(1200)));
    }
}

/// N4 and N5: slices beyond their number, and numbers that change.
fn put_slice(out: &mut Vec<u8>, dice: &mut Dice) {
    out.push(CONTROL_CHANNEL);
    for _ in 0..3 {
        let number = edge(dice, 2);
        put_varint(out, number, dice);
    }
    put_varint(out, 1200, dice);
    out.extend(dice.bytes(1200));
}

fn put_ranges(out: &mut Vec<u8>, dice: &mut Dice) {
    let near = dice.below(3000) as u64;
    let end = edge(dice, near);
    put_varint(out, end, dice);
    let size = if dice.percent(70) { dice.below(40) as u64 } else { edge(dice, end) };
    put_varint(out, size, dice);
    let ranges = dice.pick(&[0u64, 0, 1, 3, 30, 64, 65]);
    put_varint(out, ranges, dice);
    for _ in 0..ranges {
        for _ in 0..2 {
            let number = if dice.percent(98) { dice.below(20) as u64 } else { edge(dice, 5) };
            put_varint(out, number, dice);
        }
    }
}

/// A connection that is attacked; made anew whenever renet has had enough.
struct Target {
    pair: Pair,
    /// Whether the application reads its messages; if not, they pile up as far as the filter allows.
    reads: bool,
}

impl Target {
    fn new(dice: &mut Dice) -> Target {
        Target { pair: Pair::new(), reads: dice.percent(70) }
    }

    /// One packet at the server's end; whether it passed.
    fn attack_server(&mut self, dice: &mut Dice) -> bool {
        let (server, progress) = (&mut self.pair.server, &mut self.pair.up.1);
        let packet = hostile_packet(dice, progress, CLIENT_MESSAGE_BYTES_MAX);
        if check_renet(&packet, progress, CLIENT_MESSAGE_BYTES_MAX).is_err() {
            return false;
        }
        server.process_packet_from(&packet, PEER).expect("a known client");
        while self.reads && server.receive_message(PEER, CONTROL_CHANNEL).is_some() {
            progress.messages_received += 1;
        }
        if dice.percent(10) {
            server.send_message(PEER, CONTROL_CHANNEL, dice.bytes(30));
            server.update(TICK);
            server.get_packets_to_send(PEER).expect("a known client");
        }
        true
    }

    /// One packet at the client's end; whether it passed.
    fn attack_client(&mut self, dice: &mut Dice) -> bool {
        let (client, progress) = (&mut self.pair.client, &mut self.pair.down.1);
        let packet = hostile_packet(dice, progress, MESSAGE_BYTES_MAX);
        if check_renet(&packet, progress, MESSAGE_BYTES_MAX).is_err() {
            return false;
        }
        client.process_packet(&packet);
        while self.reads && client.receive_message(CONTROL_CHANNEL).is_some() {
            progress.messages_received += 1;
        }
        if dice.percent(10) {
            client.update(TICK);
            client.get_packets_to_send();
        }
        true
    }

    /// The filter is at least as strict as the parser: what it lets through, renet can read.
    fn assert_understood(&self) {
        let reasons = [self.pair.server.disconnect_reason(PEER), self.pair.client.disconnect_reason()];
        for reason in reasons.into_iter().flatten() {
            assert!(!matches!(reason, DisconnectReason::PacketDeserialization(_)), "{reason}");
        }
    }

    fn is_gone(&self) -> bool {
        !self.pair.server.is_connected(PEER) || self.pair.client.is_disconnected()
    }
}

/// Broken by letting slices through, by an acknowledgement whose ranges run below zero, or by a missing bound.
#[test]
fn nothing_that_passes_makes_renet_panic() {
    let mut dice = Dice::new(4);
    let (mut target, mut passed, mut connections) = (Target::new(&mut dice), 0, 1);
    for case in 0..250_000 {
        passed += u32::from(target.attack_server(&mut dice)) + u32::from(target.attack_client(&mut dice));
        target.assert_understood();
        if target.is_gone() || case % 500 == 0 {
            target = Target::new(&mut dice);
            connections += 1;
        }
    }
    println!("500000 hostile packets, {passed} passed, {connections} connections");
    assert!(passed > 80_000, "an attacker who is always refused tests nothing: {passed} passed");
}

/// N6. Broken by letting empty messages or far ids through, whose bookkeeping renet does not count.
#[test]
fn what_passes_and_is_never_read_stays_within_the_channels_memory() {
    each_seed(5, |_, dice| {
        let mut target = Target { pair: Pair::new(), reads: false };
        let mut passed = 0;
        let memory = measure(|| {
            for _ in 0..20_000 {
                passed += u32::from(target.attack_server(dice));
            }
        });
        // The messages allowed, and as much again for what keeps them and for acknowledgements.
        assert!(memory.bytes_current < 4 * CONTROL_CHANNEL_BYTES_MAX as i64, "{} bytes kept", memory.bytes_current);
        assert!(passed > 5000, "{passed} passed");
    });
}

/// N6. Broken by a window for message ids that is missing or moves on without messages being read.
#[test]
fn small_messages_with_ever_higher_ids_and_the_first_withheld_are_soon_refused() {
    let (mut pair, mut passed) = (Pair::new(), 0);
    let memory = measure(|| {
        for id in 1..30_000u64 {
            let mut packet = vec![0];
            put_varint(&mut packet, id, &mut Dice::new(id));
            packet.extend([CONTROL_CHANNEL, 0, 1]);
            put_varint(&mut packet, id, &mut Dice::new(id));
            packet.extend([1, 7]);
            if check_renet(&packet, &mut pair.up.1, CLIENT_MESSAGE_BYTES_MAX).is_ok() {
                pair.server.process_packet_from(&packet, PEER).expect("a known client");
                passed += 1;
            }
        }
    });
    assert_eq!(passed, MESSAGES_AHEAD_MAX - 1);
    assert!(memory.bytes_current < CONTROL_CHANNEL_BYTES_MAX as i64, "{} bytes kept", memory.bytes_current);
}

// ---- netcode ----

const PROTOCOL: u64 = 7;
const KEY: [u8; 32] = [9; 32];

fn server_address() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 5000))
}

fn client_address(number: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 10_000 + number))
}

fn netcode_server(clients_max: usize) -> NetcodeServer {
    NetcodeServer::new(ServerConfig {
        current_time: Duration::from_secs(1_000_000),
        max_clients: clients_max,
        protocol_id: PROTOCOL,
        public_addresses: vec![server_address()],
        authentication: ServerAuthentication::Secure { private_key: KEY },
    })
}

fn netcode_client(id: u64) -> NetcodeClient {
    let now = Duration::from_secs(1_000_000);
    let token = ConnectToken::generate(now, PROTOCOL, 60, id, 5, vec![server_address()], None, &KEY);
    let connect_token = token.expect("a token");
    NetcodeClient::new(now, ClientAuthentication::Secure { connect_token }).expect("a client")
}

/// Handshakes and traffic of many clients; every datagram is shown to `seen` before it is delivered.
struct Netcode {
    server: NetcodeServer,
    clients: Vec<NetcodeClient>,
    /// How often someone has connected.
    connected: usize,
}

impl Netcode {
    fn new(clients: u64, clients_max: usize) -> Netcode {
        let clients = (1..=clients).map(netcode_client).collect();
        Netcode { server: netcode_server(clients_max), clients, connected: 0 }
    }

    /// One tick: what everyone sends, filtered by `lost`, reaches the other side.
    fn tick(&mut self, lost: &mut impl FnMut(&[u8], Side) -> bool, dice: &mut Dice) {
        self.server.update(TICK);
        let mut down: Vec<(SocketAddr, Vec<u8>)> = Vec::new();
        for number in 0..self.clients.len() {
            let mut up: Vec<Vec<u8>> = Vec::new();
            if let Some((bytes, _)) = self.clients[number].update(TICK) {
                up.push(bytes.to_vec());
            }
            if dice.percent(30) {
                let payload = dice.bytes(dice.clone().below(1301));
                up.extend(self.clients[number].generate_payload_packet(&payload).ok().map(|(_, b)| b.to_vec()));
            }
            if dice.percent(1) {
                up.extend(self.clients[number].disconnect().ok().map(|(_, bytes)| bytes.to_vec()));
            }
            for mut bytes in up {
                if !lost(&bytes, Side::Server) {
                    let result = self.server.process_packet(client_address(number as u16), &mut bytes);
                    let (connected, reply) = replies(result);
                    self.connected += usize::from(connected);
                    down.extend(reply);
                }
            }
        }
        for id in self.server.clients_id() {
            let result = self.server.update_client(id);
            down.extend(replies(result).1);
            if dice.percent(30) {
                let payload = dice.bytes(dice.clone().below(1301));
                let packet = self.server.generate_payload_packet(id, &payload).ok();
                down.extend(packet.map(|(address, bytes)| (address, bytes.to_vec())));
            }
            if dice.percent(1) {
                let result = self.server.disconnect(id);
                down.extend(replies(result).1);
            }
        }
        for (address, mut bytes) in down {
            if !lost(&bytes, Side::Client) {
                self.clients[usize::from(address.port() - 10_000)].process_packet(&mut bytes);
            }
        }
    }
}

/// Whether someone has connected, and what is to be sent.
fn replies(result: ServerResult<'_, '_>) -> (bool, Option<(SocketAddr, Vec<u8>)>) {
    match result {
        ServerResult::PacketToSend { addr, payload } => (false, Some((addr, payload.to_vec()))),
        ServerResult::ClientConnected { addr, payload, .. } => (true, Some((addr, payload.to_vec()))),
        ServerResult::ClientDisconnected { addr, payload, .. } => (false, payload.map(|bytes| (addr, bytes.to_vec()))),
        ServerResult::None | ServerResult::Payload { .. } => (false, None),
    }
}

/// Broken by a length, a type or a sequence that the filter refuses and a stock peer sends.
#[test]
fn every_honest_netcode_datagram_passes_in_both_directions() {
    let mut seen = std::collections::BTreeMap::new();
    let all = each_seed(12, |_, dice| {
        // More clients than slots: some are denied.
        let mut net = Netcode::new(24, 16);
        let loss = dice.pick(&[0, 10, 40]);
        let mut noise = dice.clone();
        let mut lost = |bytes: &[u8], side: Side| {
            // Below 18 bytes the stock parser refuses too: a farewell or denial with sequence 0 reaches nobody.
            if bytes.len() >= 18 {
                assert_eq!(check_netcode(bytes, side), Ok(()), "{} bytes to the {side:?}", bytes.len());
                *seen.entry((format!("{side:?}"), bytes[0] & 0x0f)).or_insert(0) += 1;
            }
            noise.percent(loss)
        };
        (0..400).for_each(|_| net.tick(&mut lost, dice));
        assert!(net.connected >= 16, "only {} got in", net.connected);
    });
    println!("datagrams by receiver and type: {seen:?}");
    // To the server: request, response, keep-alive, payload, disconnect; to the client: denied, challenge, and those.
    assert!(!all || seen.len() == 10, "not every type was sent: {seen:?}");
}

/// Datagrams as they were sent, by side, to be replayed with something wrong.
fn captured() -> Vec<(Side, Vec<u8>)> {
    let mut all = Vec::new();
    let mut dice = Dice::new(5);
    let mut net = Netcode::new(6, 4);
    for _ in 0..150 {
        net.tick(
            &mut |bytes, side| {
                all.push((side, bytes.to_vec()));
                false
            },
            &mut dice,
        );
    }
    all
}

/// A captured datagram with a header nobody sends, or another length; N1, N2 and N3 among them.
fn hostile_datagram(dice: &mut Dice, captured: &[(Side, Vec<u8>)]) -> Vec<u8> {
    if dice.percent(10) {
        let length = dice.below(NETCODE_BYTES_MAX + 20);
        return dice.bytes(length);
    }
    let mut bytes = captured[dice.below(captured.len())].1.clone();
    for _ in 0..dice.within(1..4) {
        if bytes.is_empty() {
            break;
        }
        let at = dice.below(bytes.len());
        match dice.below(8) {
            0 => bytes[0] = bytes[0] & 0x0f | (dice.below(16) as u8) << 4,
            1 => bytes[0] = bytes[0] & 0xf0 | dice.below(9) as u8,
            2 => bytes.truncate(dice.pick(&[17, 18, 19, 24, 25, 26, 33, 34, REQUEST_BYTES - 1, at])),
            3 => bytes.iter_mut().skip(1).take(8).for_each(|byte| *byte = dice.pick(&[0, 0x3f, 0x40, 0xff])),
            4 => bytes[at] ^= 1 << (at % 8),
            5 => bytes.extend(dice.bytes(9)),
            6 => bytes.resize(dice.pick(&[REQUEST_BYTES, NETCODE_BYTES_MAX, 326, 25]), 0x55),
            _ => {}
        }
    }
    bytes
}

/// Broken by a filter that lets through what N1, N2 or N3 describe.
#[test]
fn nothing_that_passes_makes_netcode_panic() {
    let captured = captured();
    let mut dice = Dice::new(6);
    let mut net = Netcode::new(6, 16);
    let mut held = Dice::new(7);
    // Half of the clients are still pending: they hear nothing from the server.
    (0..20).for_each(|_| net.tick(&mut |_, side| side == Side::Client && held.percent(50), &mut dice));
    let (mut passed_up, mut passed_down) = (0, 0);
    for case in 0..120_000 {
        let mut bytes = hostile_datagram(&mut dice, &captured);
        let number = dice.below(8);
        if check_netcode(&bytes, Side::Server).is_ok() {
            let result = net.server.process_packet(client_address(number as u16), &mut bytes);
            let _ = replies(result);
            passed_up += 1;
        }
        let mut bytes = hostile_datagram(&mut dice, &captured);
        if check_netcode(&bytes, Side::Client).is_ok() {
            let client = number % net.clients.len();
            net.clients[client].process_packet(&mut bytes);
            passed_down += 1;
        }
        if case % 100 == 0 {
            net.tick(&mut |_, _| false, &mut dice);
        }
    }
    println!("240000 hostile datagrams: {passed_up} passed to the server, {passed_down} to clients");
    assert!(passed_up > 20_000 && passed_down > 20_000, "{passed_up} and {passed_down} passed");
}

// ---- the cases by number ----

fn panics(run: impl FnOnce()) -> bool {
    catch_unwind(AssertUnwindSafe(run)).is_err()
}

/// A server with one connected client, at the client's address.
fn connected_server() -> (NetcodeServer, SocketAddr) {
    let (mut net, mut dice) = (Netcode::new(1, 4), Dice::new(8));
    while !net.clients[0].is_connected() {
        net.tick(&mut |bytes, _| bytes[0] & 0x0f == 6, &mut dice);
    }
    (net.server, client_address(0))
}

/// The filter is there because of these. Broken by an upgrade that mends the stock parts: then the filter may shrink.
#[test]
fn the_stock_parts_still_panic_on_what_the_filter_refuses() {
    let mut long_sequence = vec![0x11u8; 200];
    long_sequence[0] = 0x95;
    let mut short = vec![0x11u8; 24];
    short[0] = 0x85;
    for (case, bytes, refused) in [("N1", long_sequence, Refused::SequenceLength), ("N2", short, Refused::Length)] {
        assert_eq!(check_netcode(&bytes, Side::Server), Err(refused), "{case}");
        let (mut server, address) = connected_server();
        assert!(panics(|| _ = server.process_packet(address, &mut bytes.clone())), "{case} no longer panics");
    }
    let mut slice = vec![2, 0, CONTROL_CHANNEL, 0, 9, 1, 0x44, 0xb0];
    slice.extend([7; 1200]);
    assert_eq!(check_renet(&slice, &mut RenetProgress::default(), 64), Err(Refused::Slice), "N4");
    let mut pair = Pair::new();
    assert!(panics(|| _ = pair.server.process_packet_from(&slice, PEER)), "N4 no longer panics");
}

/// Broken by a filter without N3, N5 or N6.
#[test]
fn sequences_near_the_end_changing_slices_and_empty_messages_are_refused() {
    let mut near_the_end = vec![0x11u8; 60];
    near_the_end[0] = 0x85;
    near_the_end[1..9].copy_from_slice(&(u64::MAX - 200).to_le_bytes());
    assert_eq!(check_netcode(&near_the_end, Side::Server), Err(Refused::SequenceRange), "N3");
    for slices in [2, 9] {
        let slice = [2, 0, CONTROL_CHANNEL, 0, 0, slices, 1, 7];
        assert_eq!(check_renet(&slice, &mut RenetProgress::default(), 64), Err(Refused::Slice), "N5");
    }
    let empty = [0, 0, CONTROL_CHANNEL, 0, 1, 5, 0];
    assert_eq!(check_renet(&empty, &mut RenetProgress::default(), 64), Err(Refused::Message), "N6");
}
