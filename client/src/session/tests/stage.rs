//! The stage for session tests: a stand-in for the server, a path that may be bad, a session flown by a brain.
//!
//! Everything in virtual time; the sim, the wire and renet are the real ones.
//! Start reading at [`Stage::play`].

use std::collections::BTreeMap;

use astro_shared::sim::event::Event;
use astro_shared::sim::fields::Audience;
use astro_shared::sim::pilot::{self, Skill};
use astro_shared::sim::round::Phase;
use astro_shared::sim::state::Inputs;
use astro_shared::sim::units::MatchId;
use astro_shared::sim::{self, MatchKey, SimPlugin};
use astro_shared::wire::acknowledge::Acknowledge;
use astro_shared::wire::input::InputDatagram;
use astro_shared::wire::snapshot::{Baseline, Head, encode_body, encode_head, encode_public_head};
use astro_shared::wire::{CONTROL_CHANNEL, CONTROL_CHANNEL_BYTES_MAX};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use renet::{ChannelConfig, ConnectionConfig, RenetServer, SendType};

use super::super::*;

pub const SEAT: Seat = Seat(1);
pub const SEATS: u8 = 3;
pub const CLIENT: u64 = 1;

/// The other end: one match, our seat flown by what arrives, the others by pilots.
pub struct Server {
    pub world: World,
    pub key: MatchKey,
    pub renet: RenetServer,
    pub ready: bool,
    pub left: bool,
    /// By tick; repeats do no harm.
    pub inputs: BTreeMap<u32, Input>,
    pub newest: Tick,
    pub margin: i8,
    pub acknowledged: Tick,
    /// The client is a spectator: our seat flies by itself, and snapshots are for everyone.
    pub watched: bool,
    /// Acknowledgements from a spectator, with the tick in which they came.
    pub acknowledgements: Vec<(Tick, Tick)>,
    pub events: Vec<(Tick, Event)>,
    /// Ticks in which our seat had an input of its own.
    pub fed: u32,
}

impl Server {
    pub fn new() -> Server {
        let channel = ChannelConfig {
            channel_id: CONTROL_CHANNEL,
            max_memory_usage_bytes: CONTROL_CHANNEL_BYTES_MAX,
            send_type: SendType::ReliableOrdered { resend_time: Duration::from_millis(150) },
        };
        let mut renet = RenetServer::new(ConnectionConfig {
            server_channels_config: vec![channel.clone()],
            client_channels_config: vec![channel],
            ..ConnectionConfig::default()
        });
        renet.add_connection(CLIENT);
        let mut world = SimPlugin::world();
        let key = sim::open(&mut world, 9, SEATS, rules());
        Server {
            world,
            key,
            renet,
            ready: false,
            left: false,
            inputs: BTreeMap::new(),
            newest: Tick(0),
            margin: NO_MARGIN,
            acknowledged: Tick(0),
            watched: false,
            acknowledgements: Vec::new(),
            events: Vec::new(),
            fed: 0,
        }
    }

    pub fn reconnect(&mut self) {
        self.renet.remove_connection(CLIENT);
        self.renet.add_connection(CLIENT);
        (self.ready, self.acknowledged) = (false, Tick(0));
    }

    pub fn say(&mut self, message: &ToClient) {
        self.renet.send_message(CLIENT, CONTROL_CHANNEL, message.encode().unwrap());
    }

    pub fn tick_now(&self) -> Tick {
        sim::get(&self.world, self.key).unwrap().round.tick
    }

    pub fn handle(&mut self, payload: &[u8]) {
        if !wire::is_hot(payload) {
            self.renet.process_packet_from(payload, CLIENT).unwrap();
            while let Some(bytes) = self.renet.receive_message(CLIENT, CONTROL_CHANNEL) {
                match ToServer::decode(&bytes).unwrap() {
                    ToServer::Ready { fingerprint, snapshots_per_s } => {
                        assert_eq!((fingerprint, snapshots_per_s), (wire::fingerprint(), 30));
                        self.ready = true;
                    }
                    ToServer::Leave => self.left = true,
                }
            }
            return;
        }
        assert!(self.ready, "hot datagrams only after Ready");
        if self.watched {
            let Acknowledge(tick) = Acknowledge::decode(payload).expect("a spectator sends nothing else");
            self.acknowledged = self.acknowledged.max(tick);
            return self.acknowledgements.push((self.tick_now(), tick));
        }
        let datagram = InputDatagram::decode(payload).unwrap();
        self.acknowledged = self.acknowledged.max(datagram.acknowledged);
        self.newest = self.newest.max(datagram.newest);
        let early = datagram.newest.0 as i32 - self.tick_now().plus(1).0 as i32;
        let early = early.clamp(-127, 127) as i8;
        self.margin = if self.margin == NO_MARGIN { early } else { self.margin.min(early) };
        self.inputs.extend(datagram.inputs().map(|(tick, input)| (tick.0, input)));
    }

    pub fn tick(&mut self) {
        let mut inputs = Inputs { start: true, ..Inputs::default() };
        let next = self.tick_now().plus(1);
        for seat in Seat::first(SEATS).filter(|seat| *seat != SEAT) {
            let view = sim::view(&self.world, self.key, Audience::Seat(seat)).unwrap();
            inputs.seats[seat.index()] = pilot::think(&view, &rules(), seat, Skill::Regular, next);
        }
        if let Some(input) = self.inputs.get(&next.0) {
            inputs.seats[SEAT.index()] = *input;
            self.fed += 1;
        }
        sim::set_inputs(&mut self.world, self.key, inputs);
        sim::tick(&mut self.world);
        let state = sim::get(&self.world, self.key).unwrap();
        self.events.extend(state.events.0.iter().map(|event| (state.round.tick, *event)));
    }

    pub fn baseline(&self) -> Baseline {
        let age = self.tick_now().since(self.acknowledged);
        if self.acknowledged == Tick(0) || age > 255 { Baseline::Absolute } else { Baseline::After(self.acknowledged) }
    }

    /// A snapshot of now; `keep` says which events get into it.
    pub fn snapshot(&mut self, baseline: Baseline, keep: impl Fn(&Event) -> bool) -> Vec<u8> {
        let state = sim::get(&self.world, self.key).unwrap();
        let head = Head {
            input_newest: self.newest,
            input_margin_ticks: std::mem::replace(&mut self.margin, NO_MARGIN),
            view_hash: state.view_hash(state.public_hash(), Audience::Seat(SEAT)),
            hash_long: state.round.tick.0.is_multiple_of(60),
        };
        let from = if let Baseline::After(tick) = baseline { tick } else { Tick(0) };
        let events = self.events.iter().filter(|(tick, event)| *tick > from && keep(event));
        let mut bytes = Vec::new();
        if self.watched {
            let hash = state.view_hash(state.public_hash(), Audience::Public);
            encode_public_head(hash, head.hash_long, &mut bytes);
        } else {
            encode_head(&head, &state, SEAT, &mut bytes);
        }
        encode_body(&state, baseline, events, &mut bytes);
        bytes
    }
}

pub fn rules() -> Arc<Ruleset> {
    astro_shared::assets::ruleset("standard").unwrap()
}

pub fn welcome(rules_hash: u64) -> ToClient {
    ToClient::Welcome { match_id: MatchId(5), place: Place::Seat(SEAT.0), seats: SEATS, rules_hash }
}

/// One direction of a path: delays, and when asked to, loses, doubles and reorders.
pub struct Path {
    pub delay: Duration,
    /// Out of 100 datagrams.
    pub lost: u32,
    pub doubled: u32,
    /// Drawn per datagram, so that later ones overtake earlier ones.
    pub jitter_ms: u32,
    pub random: StdRng,
    pub under_way: BTreeMap<(Duration, u64), Vec<u8>>,
    pub sent: u64,
}

impl Path {
    pub fn new(seed: u64) -> Path {
        Path {
            delay: Duration::from_millis(25),
            lost: 0,
            doubled: 0,
            jitter_ms: 0,
            random: StdRng::seed_from_u64(seed),
            under_way: BTreeMap::new(),
            sent: 0,
        }
    }

    pub fn make_bad(&mut self) {
        (self.lost, self.doubled, self.jitter_ms) = (10, 3, 60);
    }

    pub fn send(&mut self, now: Duration, bytes: &[u8]) {
        let fate = self.random.random_range(0..100);
        let copies = if fate < self.lost { 0 } else { 1 + u32::from(fate >= 100 - self.doubled) };
        for _ in 0..copies {
            let extra = Duration::from_millis(u64::from(self.random.random_range(0..=self.jitter_ms)));
            self.sent += 1;
            self.under_way.insert((now + self.delay + extra, self.sent), bytes.to_vec());
        }
    }

    pub fn receive(&mut self, now: Duration) -> Option<Vec<u8>> {
        let first = self.under_way.first_entry().filter(|first| first.key().0 <= now)?;
        Some(first.remove())
    }
}

/// Both ends and the path between them.
pub struct Stage {
    pub now: Duration,
    pub step: u32,
    pub server: Server,
    pub session: Session,
    pub world: World,
    pub brain: crate::brain::Brain,
    pub up: Path,
    pub down: Path,
    pub events: Vec<SessionEvent>,
    /// Which events the server forgets to send.
    pub drop_event: fn(&Event) -> bool,
    pub server_speaks: bool,
    pub sent_up: Vec<(Duration, u8)>,
}

impl Stage {
    pub fn new() -> Stage {
        Stage {
            now: Duration::ZERO,
            step: 0,
            server: Server::new(),
            session: Session::new(Link::Bare, 30, Duration::ZERO),
            world: SimPlugin::world(),
            brain: crate::brain::Brain::new(1),
            up: Path::new(1),
            down: Path::new(2),
            events: Vec::new(),
            drop_event: |_| false,
            server_speaks: true,
            sent_up: Vec::new(),
        }
    }

    /// A stage on which the session has come to watch, behind by `delay_ticks`.
    pub fn watching(delay_ticks: u32) -> Stage {
        let mut stage = Stage::new();
        stage.server.watched = true;
        stage.session.start(rules());
        let place = Place::Spectator { delay_ticks };
        let rules_hash = rules().hash();
        stage.server.say(&ToClient::Welcome { match_id: MatchId(5), place, seats: SEATS, rules_hash });
        stage
    }

    /// A stage on which the session has joined and flies.
    pub fn flying() -> Stage {
        let mut stage = Stage::new();
        stage.session.start(rules());
        stage.server.say(&welcome(rules().hash()));
        stage.play(300);
        assert_eq!(stage.session.view().unwrap().round.phase, Phase::Live);
        stage
    }

    /// Both ends begin a new connection; what is under way on the old one is gone.
    pub fn rejoin(&mut self) -> Statistics {
        let former = self.session.rejoin(Link::Bare, self.now);
        self.server.reconnect();
        (self.up.under_way, self.down.under_way) = Default::default();
        self.server_speaks = true;
        self.events.clear();
        former
    }

    pub fn play(&mut self, ticks: u32) {
        for _ in 0..ticks {
            self.step += 1;
            self.now = Duration::from_nanos(u64::from(self.step) * 1_000_000_000 / 60);
            while let Some(bytes) = self.up.receive(self.now) {
                self.server.handle(&bytes);
            }
            self.server.tick();
            self.server.renet.update(Duration::from_nanos(1_000_000_000 / 60));
            if self.server_speaks && self.server.ready && self.step.is_multiple_of(2) {
                let drop_event = self.drop_event;
                let snapshot = self.server.snapshot(self.server.baseline(), |event| !drop_event(event));
                self.down.send(self.now, &snapshot);
            }
            if self.server_speaks && self.step.is_multiple_of(6) {
                let packets = self.server.renet.get_packets_to_send(CLIENT).unwrap();
                packets.iter().for_each(|packet| self.down.send(self.now, packet));
            }
            while let Some(bytes) = self.down.receive(self.now) {
                self.deliver(bytes);
            }
            self.drive();
        }
    }

    pub fn deliver(&mut self, mut bytes: Vec<u8>) {
        self.session.handle_datagram(&mut self.world, &mut bytes, self.now);
    }

    pub fn drive(&mut self) {
        let (session, now) = (&mut self.session, self.now);
        session.handle_tick(now);
        while let Some(tick) = session.poll_sample(now) {
            let input = self.brain.input(session.view().unwrap(), session.ruleset().unwrap(), SEAT, tick);
            session.sample(tick, input, now);
        }
        while let Some(transmit) = session.poll_transmit(now) {
            assert_eq!(transmit.to, None);
            self.sent_up.push((now, transmit.bytes[0]));
            self.up.send(now, transmit.bytes);
        }
        while let Some(event) = session.poll_event() {
            self.events.push(event);
        }
    }

    pub fn sent_since(&self, since: Duration, kind: impl Fn(u8) -> bool) -> usize {
        self.sent_up.iter().filter(|(at, first)| *at > since && kind(*first)).count()
    }
}
