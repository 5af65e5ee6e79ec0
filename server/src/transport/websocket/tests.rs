//! Both halves without a socket: the shard half in virtual time, the gate with sockets played by the test.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::Instant;

use astro_shared::wire::websocket::{
    CLOSE_OUTDATED, CLOSE_SHUTTING_DOWN, CLOSE_TOO_SLOW, CLOSE_VOIDED, FRAMES_IN_FLIGHT_MAX, Hello, TICKET_TTL_S,
    put_packet,
};
use astro_shared::wire::{self, CLIENT_PACKETS_BURST};
use tokio::sync::mpsc;

use super::*;

const ADA: LinkId = LinkId(1);
const GRACE: LinkId = LinkId(2);
const INPUT: &[u8] = &[0x81, 1, 2, 3];
const CONTROL: &[u8] = &[4, 9];

fn snapshot(number: u8) -> [u8; 3] {
    [0x80, number, 0]
}

fn frame(packets: &[&[u8]]) -> Vec<u8> {
    let mut frame = Vec::new();
    packets.iter().for_each(|packet| put_packet(&mut frame, packet));
    frame
}

fn split(frame: &[u8]) -> Vec<Vec<u8>> {
    packets(frame).unwrap().map(<[u8]>::to_vec).collect()
}

/// What a transport handed in, as owned values.
#[derive(Debug, PartialEq, Eq)]
enum Came {
    Connected(LinkId),
    Payload(LinkId, Vec<u8>),
    Disconnected(LinkId),
    Slow(LinkId),
    Steady(LinkId),
    TooSlow(LinkId),
    Flooding(LinkId),
}

fn receive(transport: &mut WebSocketTransport, now: Duration) -> Vec<Came> {
    let mut came = Vec::new();
    transport.receive(now, &mut |incoming| {
        came.push(match incoming {
            Incoming::Connected(link) => Came::Connected(link),
            Incoming::Payload(link, payload) => Came::Payload(link, payload.to_vec()),
            Incoming::Disconnected(link) => Came::Disconnected(link),
            Incoming::Slow(link) => Came::Slow(link),
            Incoming::Steady(link) => Came::Steady(link),
            Incoming::TooSlow(link) => Came::TooSlow(link),
            Incoming::Flooding(link) => Came::Flooding(link),
        });
    });
    came
}

/// The shard half, with the other ends of its queues.
struct Shard {
    half: WebSocketTransport,
    up: SyncSender<Up>,
    down: mpsc::Receiver<Vec<Parcel>>,
    now: Duration,
}

impl Shard {
    fn new() -> Shard {
        let (up, up_queue) = sync_channel(FRAMES_WAITING_MAX);
        let (down, batches) = mpsc::channel(BATCHES_WAITING_MAX);
        let half = WebSocketTransport::new((up_queue, down), Arc::default(), SnapshotQueue::Latest, 4);
        Shard { half, up, down: batches, now: Duration::ZERO }
    }

    /// Reserves a place for a link and lets it connect.
    fn connect(&mut self, link: LinkId) -> Arc<AtomicU32> {
        self.half.reserve(Vacancy { lane: 0, address: None }, link);
        let in_flight = Arc::<AtomicU32>::default();
        self.up.send(Up::Connected(link, in_flight.clone())).unwrap();
        assert_eq!(receive(&mut self.half, self.now), [Came::Connected(link)]);
        in_flight
    }

    /// The frames and codes of one batch, by link.
    fn batch(&mut self) -> Vec<(LinkId, Vec<Vec<u8>>, Option<u16>)> {
        let Ok(batch) = self.down.try_recv() else { return Vec::new() };
        let parcel = |mut parcel: Parcel| {
            let frame = parcel.take_frame().map(|frame| split(&frame)).unwrap_or_default();
            (parcel.link, frame, parcel.close)
        };
        batch.into_iter().map(parcel).collect()
    }
}

#[test]
fn a_ticket_whose_place_was_given_back_opens_nothing() {
    let mut shard = Shard::new();
    shard.half.reserve(Vacancy { lane: 0, address: None }, ADA);
    shard.half.release(ADA);
    for link in [ADA, GRACE] {
        shard.up.send(Up::Connected(link, Arc::default())).unwrap();
    }
    shard.up.send(Up::Frame(ADA, frame(&[INPUT]))).unwrap();
    assert_eq!(receive(&mut shard.half, shard.now), []);
    assert_eq!(shard.half.flush(shard.now).dropped, [("ticket", 2), ("no_link", 1)]);
    assert_eq!(shard.batch(), [(ADA, vec![], Some(CLOSE_TICKET)), (GRACE, vec![], Some(CLOSE_TICKET))]);
}

#[test]
fn a_link_that_the_host_has_no_seat_for_is_sent_away_with_the_same_code() {
    let mut shard = Shard::new();
    shard.connect(ADA);
    shard.half.release(ADA);
    shard.half.flush(shard.now);
    assert_eq!(shard.batch(), [(ADA, vec![], Some(CLOSE_TICKET))]);
    shard.up.send(Up::Closed(ADA)).unwrap();
    assert_eq!(receive(&mut shard.half, shard.now), [], "the host knows already");
}

#[test]
fn every_packet_of_a_frame_comes_up_in_order_and_gives_its_place_in_flight_back() {
    let mut shard = Shard::new();
    let in_flight = shard.connect(ADA);
    in_flight.store(1, Ordering::Relaxed);
    shard.up.send(Up::Frame(ADA, frame(&[CONTROL, INPUT]))).unwrap();
    let expected = [Came::Payload(ADA, CONTROL.to_vec()), Came::Payload(ADA, INPUT.to_vec())];
    assert_eq!(receive(&mut shard.half, shard.now), expected);
    assert_eq!(in_flight.load(Ordering::Relaxed), 0);
    let traffic = shard.half.flush(shard.now);
    assert_eq!((traffic.received_datagrams, traffic.received_bytes), (1, 10));
}

#[test]
fn a_flood_is_cut_to_the_allowance_and_ends_its_link_alone() {
    let mut shard = Shard::new();
    shard.connect(ADA);
    shard.connect(GRACE);
    for _ in 0..50 {
        shard.up.send(Up::Frame(ADA, frame(&[INPUT; 20]))).unwrap();
    }
    shard.up.send(Up::Frame(GRACE, frame(&[INPUT]))).unwrap();
    let came = receive(&mut shard.half, shard.now);
    let taken = came.iter().filter(|came| matches!(came, Came::Payload(ADA, _))).count();
    assert_eq!(taken, CLIENT_PACKETS_BURST as usize);
    assert_eq!(came[taken], Came::Flooding(ADA), "as soon as it is clear, and once");
    assert_eq!(came[taken + 1..], [Came::Payload(GRACE, INPUT.to_vec())]);
}

#[test]
fn what_was_held_back_for_three_seconds_is_no_flood() {
    let mut shard = Shard::new();
    shard.connect(ADA);
    for _ in 0..120 {
        shard.up.send(Up::Frame(ADA, frame(&[INPUT, CONTROL]))).unwrap();
    }
    assert_eq!(receive(&mut shard.half, shard.now).len(), 240);
    shard.now += Duration::from_secs(1);
    shard.up.send(Up::Frame(ADA, frame(&[INPUT; 90]))).unwrap();
    assert_eq!(receive(&mut shard.half, shard.now).len(), 90);
}

#[test]
fn one_call_takes_a_bounded_number_of_frames() {
    let mut shard = Shard::new();
    for round in 0..2 {
        for link in 0..FRAMES_WAITING_MAX as u64 {
            shard.up.try_send(Up::Closed(LinkId(link))).unwrap();
        }
        assert!(shard.up.try_send(Up::Closed(ADA)).is_err(), "round {round}: the queue has an end too");
        assert_eq!(receive(&mut shard.half, shard.now), []);
    }
}

#[test]
fn a_tick_wakes_the_other_side_once_with_a_parcel_for_each_link() {
    let mut shard = Shard::new();
    shard.connect(ADA);
    shard.connect(GRACE);
    shard.half.send(ADA, &snapshot(1));
    shard.half.send(GRACE, CONTROL);
    shard.half.send(ADA, CONTROL);
    assert!(shard.batch().is_empty(), "nothing leaves before the tick's end");
    shard.half.flush(shard.now);
    let ada = vec![CONTROL.to_vec(), snapshot(1).to_vec()];
    assert_eq!(shard.batch(), [(ADA, ada, None), (GRACE, vec![CONTROL.to_vec()], None)]);
    shard.half.flush(shard.now);
    assert!(shard.down.try_recv().is_err(), "nothing to say, nobody woken");
}

#[test]
fn while_the_other_side_is_behind_batches_merge_and_newer_snapshots_win() {
    let mut shard = Shard::new();
    shard.connect(ADA);
    let mut superseded = 0;
    for number in 0..10 {
        shard.half.send(ADA, &snapshot(number));
        shard.half.send(ADA, &[4, number]);
        superseded += shard.half.flush(shard.now).superseded;
    }
    assert_eq!(shard.batch(), [(ADA, vec![vec![4, 0], snapshot(0).to_vec()], None)]);
    superseded += shard.half.flush(shard.now).superseded;
    let mut rest: Vec<Vec<u8>> = (1..10).map(|number| vec![4, number]).collect();
    rest.push(snapshot(9).to_vec());
    assert_eq!(shard.batch(), [(ADA, rest, None)]);
    assert_eq!(superseded, 8);
}

#[test]
fn control_that_piles_up_here_makes_the_link_too_slow() {
    let mut shard = Shard::new();
    shard.connect(ADA);
    (0..65).for_each(|_| shard.half.send(ADA, CONTROL));
    assert_eq!(receive(&mut shard.half, shard.now), [Came::TooSlow(ADA)]);
    assert_eq!(receive(&mut shard.half, shard.now), []);
}

#[test]
fn the_reason_for_an_end_travels_behind_the_last_message() {
    let mut shard = Shard::new();
    shard.connect(ADA);
    shard.half.send(ADA, CONTROL);
    shard.half.disconnect(ADA, CloseReason::Replaced);
    shard.half.send(ADA, CONTROL);
    assert_eq!(shard.half.flush(shard.now).dropped, [("not_connected", 1)]);
    assert_eq!(shard.batch(), [(ADA, vec![CONTROL.to_vec()], Some(4004))]);
}

#[test]
fn the_last_words_of_a_shard_leave_even_when_the_other_side_is_behind() {
    let mut shard = Shard::new();
    shard.connect(ADA);
    for _ in 0..2 {
        shard.half.send(ADA, CONTROL);
        shard.half.flush(shard.now);
    }
    shard.half.disconnect(ADA, CloseReason::ServerFault);
    shard.half.flush(shard.now);
    let Shard { half, down, .. } = shard;
    drop(half);
    let mut left = Shard { down, ..Shard::new() };
    assert_eq!(left.batch(), [(ADA, vec![CONTROL.to_vec()], None)]);
    assert_eq!(left.batch(), [(ADA, vec![CONTROL.to_vec()], Some(CLOSE_VOIDED))]);
}

#[test]
fn places_are_reserved_links_and_links_together() {
    let mut shard = Shard::new();
    shard.connect(ADA);
    for link in 10..13 {
        let vacancy = shard.half.vacancy().expect("a place");
        shard.half.reserve(vacancy, LinkId(link));
    }
    assert_eq!(shard.half.vacancy(), None);
    shard.half.release(LinkId(10));
    assert!(shard.half.vacancy().is_some());
}

// ---- the gate ----

const HOME: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const TICKET: [u8; 16] = [7; 16];

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

fn hello(ticket: [u8; 16]) -> Hello {
    Hello { fingerprint: wire::fingerprint(), ticket }
}

fn later(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// A gate with one shard that expects `ADA` by [`TICKET`].
fn gate(runtime: &tokio::runtime::Runtime, now: Instant) -> (Arc<Gate>, WebSocketTransport) {
    let gate = Gate::new(SocketLimits::default(), runtime.handle().clone());
    let mut shard = gate.open_shard(0, 4);
    shard.reserve(Vacancy { lane: 0, address: None }, ADA);
    assert!(gate.register(TICKET, 0, ADA, now));
    (gate, shard)
}

fn admitted(gate: &Arc<Gate>, shard: &mut WebSocketTransport, now: Instant) -> Connection {
    let mut visitor = gate.enter(HOME, Instant::now()).unwrap();
    let connection = gate.admit(&mut visitor, &hello(TICKET), now).expect("a good ticket");
    assert_eq!(receive(shard, Duration::ZERO), [Came::Connected(ADA)]);
    connection
}

/// Lets the tasks of the gate run until they have nothing more to do.
fn settle(runtime: &tokio::runtime::Runtime) {
    runtime.block_on(async {
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
    });
}

#[test]
fn a_ticket_is_good_once_for_fifteen_seconds_and_for_this_wire() {
    let (runtime, now) = (runtime(), Instant::now());
    let (gate, _shard) = gate(&runtime, now);
    let mut visitor = gate.enter(HOME, Instant::now()).unwrap();
    let mut show = |hello: Hello, now| gate.admit(&mut visitor, &hello, now).err();
    assert_eq!(show(hello([8; 16]), now), Some(CLOSE_TICKET), "unknown");
    assert_eq!(show(Hello { fingerprint: 1, ticket: TICKET }, now), Some(CLOSE_OUTDATED));
    assert_eq!(show(hello(TICKET), now), None, "not spent by an outdated client");
    assert_eq!(show(hello(TICKET), now), Some(CLOSE_TICKET), "used");
    assert!(gate.register(TICKET, 0, GRACE, now));
    assert_eq!(show(hello(TICKET), now + later(TICKET_TTL_S)), Some(CLOSE_TICKET), "expired");
    assert!(gate.register(TICKET, 9, GRACE, now));
    assert_eq!(show(hello(TICKET), now), Some(CLOSE_VOIDED), "its shard is gone");
}

#[test]
fn tickets_are_bounded_and_expired_ones_make_room() {
    let runtime = runtime();
    let gate = Gate::new(SocketLimits::default(), runtime.handle().clone());
    let now = Instant::now();
    let ticket = |number: u32| std::array::from_fn(|byte| number.to_le_bytes().get(byte).copied().unwrap_or(0));
    let registered = (0..100_000).take_while(|number| gate.register(ticket(*number), 0, ADA, now)).count();
    assert_eq!(registered, 64 * 1024);
    assert!(gate.register(ticket(100_000), 0, ADA, now + later(TICKET_TTL_S)));
}

#[test]
fn sockets_without_a_ticket_are_few_from_one_address_and_in_all() {
    let runtime = runtime();
    let gate = Gate::new(SocketLimits::default(), runtime.handle().clone());
    let (now, address) = (Instant::now(), |last: u8| IpAddr::V4(Ipv4Addr::new(10, 0, 0, last)));
    let from = |last: u8| gate.enter(address(last), now);
    let mut waiting: Vec<Visitor> = (0..8).map(|_| from(1).expect("room")).collect();
    assert_eq!(from(1).err(), Some(Refused::Waiting));
    waiting.pop();
    waiting.push(from(1).expect("room again"));
    for last in 2..9 {
        waiting.extend((0..8).map(|_| from(last).expect("room")));
    }
    assert_eq!(from(99).err(), Some(Refused::Waiting), "all may still say hello");
    assert_eq!(gate.waiting(), 64);
    drop(waiting);
    assert_eq!(gate.waiting(), 0);
    gate.stop();
    assert_eq!(from(1).err(), Some(Refused::Stopping));
}

/// Whether the socket was told to make room.
fn is_out(visitor: &Visitor) -> bool {
    futures_util::FutureExt::now_or_never(visitor.dismissed()) == Some(Dismissed::Evicted)
}

/// Broken by refusing although somebody idles, and by taking the place of one who has just come.
#[test]
fn whoever_has_waited_for_more_than_a_second_makes_room_the_oldest_first() {
    let runtime = runtime();
    let gate = Gate::new(SocketLimits::default(), runtime.handle().clone());
    let (start, address) = (Instant::now(), |n: u8| IpAddr::V4(Ipv4Addr::new(10, 0, 0, n)));
    let idle: Vec<Visitor> =
        (0..60).map(|n| gate.enter(address(n), start + Duration::from_millis(n.into())).expect("room")).collect();
    let late = start + Duration::from_millis(1010);
    let honest: Vec<Visitor> = (0..4).map(|_| gate.enter(HOME, late).expect("room")).collect();
    let guests: Vec<_> = (100..120).map(|n| gate.enter(address(n), late)).collect();
    // Eleven have waited for a second by now; the others are given their time.
    assert_eq!(guests.iter().filter(|guest| guest.is_ok()).count(), 11);
    assert_eq!(idle.iter().take_while(|visitor| is_out(visitor)).count(), 11);
    assert!(!idle.iter().skip(11).any(is_out) && !honest.iter().any(is_out));
    assert_eq!(gate.waiting(), 64);
}

/// Broken by handing packets in without a fence.
#[test]
fn a_packet_that_makes_the_host_panic_costs_itself_and_nothing_else() {
    let mut shard = Shard::new();
    shard.connect(ADA);
    shard.up.send(Up::Frame(ADA, frame(&[CONTROL, INPUT, CONTROL]))).unwrap();
    shard.up.send(Up::Frame(ADA, frame(&[INPUT]))).unwrap();
    let mut came = 0;
    shard.half.receive(shard.now, &mut |incoming| {
        assert_ne!(incoming, Incoming::Payload(ADA, CONTROL), "injected");
        came += 1;
    });
    assert_eq!(came, 2, "what was in and behind the same frame");
    assert_eq!(shard.half.flush(shard.now).dropped, [("panic", 2)]);
    shard.up.send(Up::Frame(ADA, frame(&[CONTROL]))).unwrap();
    assert_eq!(receive(&mut shard.half, shard.now).len(), 1, "the link lives");
}

#[test]
fn an_admitted_socket_waits_no_longer_and_holds_its_place_until_it_is_gone() {
    let (runtime, now) = (runtime(), Instant::now());
    let (gate, mut shard) = gate(&runtime, now);
    let connection = admitted(&gate, &mut shard, now);
    assert_eq!((gate.waiting(), gate.sockets()), (0, 1));
    drop(connection);
    assert_eq!(gate.sockets(), 0);
    assert_eq!(receive(&mut shard, Duration::ZERO), [Came::Disconnected(ADA)]);
}

#[test]
fn no_more_than_64_frames_of_a_link_wait_for_the_shard() {
    let (runtime, now) = (runtime(), Instant::now());
    let (gate, mut shard) = gate(&runtime, now);
    let connection = admitted(&gate, &mut shard, now);
    for _ in 0..FRAMES_IN_FLIGHT_MAX {
        assert_eq!(connection.offer(&mut Some(frame(&[INPUT]))), Offered::Taken);
    }
    let mut held = Some(frame(&[CONTROL]));
    assert_eq!((connection.offer(&mut held), held.is_some()), (Offered::Later, true));
    assert_eq!(receive(&mut shard, Duration::ZERO).len(), 64);
    assert_eq!((connection.offer(&mut held), held), (Offered::Taken, None));
    assert_eq!(receive(&mut shard, Duration::ZERO), [Came::Payload(ADA, CONTROL.to_vec())], "nothing was lost");
    drop(shard);
    assert_eq!(connection.offer(&mut Some(frame(&[INPUT]))), Offered::Gone);
}

#[test]
fn parcels_that_wait_for_a_socket_become_one_frame_with_the_newest_snapshot() {
    let (runtime, now) = (runtime(), Instant::now());
    let (gate, mut shard) = gate(&runtime, now);
    let connection = admitted(&gate, &mut shard, now);
    let mut superseded = 0;
    for number in 1..4 {
        shard.send(ADA, &snapshot(number));
        superseded += shard.flush(Duration::ZERO).superseded;
        settle(&runtime);
    }
    assert_eq!(connection.take(now).map(|frame| split(&frame)), Some(vec![snapshot(3).to_vec()]));
    assert_eq!(connection.take(now), None);
    let traffic = shard.flush(Duration::ZERO);
    assert_eq!((superseded + traffic.superseded, traffic.sent_datagrams, traffic.sent_bytes), (2, 1, 5));
}

#[test]
fn a_socket_whose_task_had_no_turn_is_not_called_slow() {
    let (runtime, now) = (runtime(), Instant::now());
    let (gate, mut shard) = gate(&runtime, now);
    let connection = admitted(&gate, &mut shard, now);
    for number in 0..100 {
        shard.send(ADA, &snapshot(number));
        shard.flush(Duration::ZERO);
        settle(&runtime);
    }
    assert_eq!(receive(&mut shard, Duration::ZERO), [], "it would have taken them all");
    assert!(connection.take(now).is_some());
}

#[test]
fn a_socket_that_takes_nothing_is_reported_slow_and_holds_one_snapshot() {
    let (runtime, now) = (runtime(), Instant::now());
    let (gate, mut shard) = gate(&runtime, now);
    let connection = admitted(&gate, &mut shard, now);
    for number in 0..10 {
        shard.send(ADA, &snapshot(number));
        shard.flush(Duration::ZERO);
        settle(&runtime);
        // The first frame is handed to a connection that never takes it.
        if number == 0 {
            assert!(connection.take(now).is_some());
        }
    }
    assert_eq!(receive(&mut shard, Duration::ZERO), [Came::Slow(ADA)], "once");
    shard.send(ADA, CONTROL);
    shard.disconnect(ADA, CloseReason::TooSlow);
    shard.flush(Duration::ZERO);
    settle(&runtime);
    assert_eq!(connection.code(), Some(CLOSE_TOO_SLOW));
    let last = connection.take(now).map(|frame| split(&frame));
    assert_eq!(last, Some(vec![CONTROL.to_vec(), snapshot(9).to_vec()]), "the reason, and one snapshot");
}

#[test]
fn the_end_of_a_shard_closes_its_sockets_and_a_new_one_takes_new_tickets() {
    let (runtime, now) = (runtime(), Instant::now());
    let (gate, mut shard) = gate(&runtime, now);
    let connection = admitted(&gate, &mut shard, now);
    drop(shard);
    settle(&runtime);
    runtime.block_on(connection.changed());
    assert_eq!(connection.code(), Some(CLOSE_VOIDED));
    let mut again = gate.open_shard(0, 4);
    again.reserve(Vacancy { lane: 0, address: None }, ADA);
    assert!(gate.register(TICKET, 0, ADA, now));
    let connection = admitted(&gate, &mut again, now);
    gate.stop();
    drop(again);
    settle(&runtime);
    assert_eq!(connection.code(), Some(CLOSE_SHUTTING_DOWN));
}
