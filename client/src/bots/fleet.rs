//! All bots of the process: their sessions, brains and sockets, and the one World their views are checked in.
//!
//! In: seats won, time. Out: datagrams, and what happened to whom.
//! Sessions are driven 60 times a second, in [`PHASES`] groups one after the other within a tick, so that
//! neither the server nor this process meets a thousand datagrams in one instant.
//! *Invariant:* per UDP datagram nothing is allocated; nobody is ever searched for.
//! *Invariant:* time is an argument.
//! Start reading at [`Fleet::receive`] and [`Fleet::drive`].

use std::collections::BTreeMap;
use std::time::Duration;

use astro_shared::sim::SimPlugin;
use bevy_ecs::world::World;

use super::ledger::Reached;
use super::window::{ByTransport, Counted};
use super::workers::Boarding;
use crate::brain::Brain;
use crate::net::native::{FleetSockets, Port};
use crate::net::websocket::{ClientWebSocket, FleetWebSockets};
use crate::net::{Carried, Transport};
use crate::player::BoardError;
use crate::service::Joined;
use crate::session::{Ended, Histogram, Link, MatchResult, Session, SessionEvent, TokenError};

/// Parts of a tick: each session is driven in one of them.
pub const PHASES: u32 = 4;

/// What happened to a bot of the match with that number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FleetEvent {
    Welcomed { number: usize },
    Result { number: usize, result: MatchResult },
    Closed { number: usize, reached: Reached },
}

/// The bots.
pub struct Fleet {
    world: World,
    sockets: FleetSockets,
    websockets: FleetWebSockets,
    /// By bot number; numbers are used again.
    bots: Vec<Option<Box<Bot>>>,
    free: Vec<u32>,
    snapshots_per_s: u8,
    tallies: ByTransport<Tally>,
    connected_max: u32,
    updated: Duration,
    disconnects: BTreeMap<&'static str, u64>,
    leaving: bool,
}

/// What was counted for the bots of one transport.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Sessions that were begun.
    pub sessions: u64,
    /// Bots that are welcomed and not gone.
    pub connected: u32,
    pub connected_max: u32,
    /// From asking for a seat to the server's welcome.
    pub join_times: Histogram,
    /// Without the statistics of sessions that still live.
    past: Counted,
}

struct Bot {
    session: Session,
    brain: Brain,
    carrier: Carrier,
    carried: Carried,
    number: usize,
    /// When its seat was asked for.
    asked: Duration,
    reached: Reached,
}

/// A bot's place on the network.
enum Carrier {
    Udp(Port),
    /// Its place among the WebSockets.
    WebSocket(usize),
}

impl Carrier {
    fn transport(&self) -> Transport {
        match self {
            Carrier::Udp(_) => Transport::Udp,
            Carrier::WebSocket(_) => Transport::WebSocket,
        }
    }
}

impl Fleet {
    pub fn new(snapshots_per_s: u8) -> Fleet {
        Fleet {
            world: SimPlugin::world(),
            sockets: FleetSockets::new(),
            websockets: FleetWebSockets::default(),
            bots: Vec::new(),
            free: Vec::new(),
            snapshots_per_s,
            tallies: ByTransport::default(),
            connected_max: 0,
            updated: Duration::ZERO,
            disconnects: BTreeMap::new(),
            leaving: false,
        }
    }

    /// Sends a bot to the seat it won in the match with that number. `asked` is when the seat was asked for.
    ///
    /// # Errors
    /// When its ticket or this machine's sockets do not allow it.
    pub fn board(
        &mut self,
        boarding: Boarding,
        number: usize,
        seed: u64,
        asked: Duration,
        now: Duration,
    ) -> Result<(), BoardError> {
        let Boarding { joined, websocket } = boarding;
        let bot = self.free.pop().unwrap_or_else(|| {
            self.bots.push(None);
            self.bots.len() as u32 - 1
        });
        let (link, carrier) = match self.open(bot, &joined, websocket, now) {
            Ok(opened) => opened,
            Err(error) => {
                self.free.push(bot);
                return Err(error);
            }
        };
        let transport = carrier.transport();
        let mut session = Session::new(link, self.snapshots_per_s, now);
        session.start(joined.ruleset.clone());
        let (brain, carried, reached) = (Brain::new(seed), Carried::default(), Reached::default());
        self.bots[bot as usize] = Some(Box::new(Bot { session, brain, carrier, carried, number, asked, reached }));
        self.tallies[transport as usize].sessions += 1;
        Ok(())
    }

    fn open(
        &mut self,
        bot: u32,
        joined: &Joined,
        websocket: Option<Box<ClientWebSocket>>,
        now: Duration,
    ) -> Result<(Link, Carrier), BoardError> {
        if let Some(websocket) = websocket {
            return Ok((Link::Bare, Carrier::WebSocket(self.websockets.add(*websocket, bot)?)));
        }
        let link = Link::from_connect_token(&joined.connect_token, now)?;
        let server = link.server_address().ok_or(TokenError::NoAddress)?;
        Ok((link, Carrier::Udp(self.sockets.open(bot, server)?)))
    }

    /// Takes in everything that has arrived.
    pub fn receive(&mut self, now: Duration) {
        let passed = now.saturating_sub(self.updated).as_secs_f64();
        self.updated = now;
        for tally in &mut self.tallies {
            tally.past.client_seconds += f64::from(tally.connected) * passed;
        }
        let Fleet { world, sockets, websockets, bots, .. } = self;
        sockets.receive(|bot, bytes| {
            if let Some(bot) = bots.get_mut(bot as usize).and_then(Option::as_deref_mut) {
                bot.carried.count_down(bytes.len());
                bot.session.handle_datagram(world, bytes, now);
            }
        });
        websockets.receive(|bot, packet| {
            if let Some(bot) = bots.get_mut(bot as usize).and_then(Option::as_deref_mut) {
                bot.session.handle_datagram(world, packet, now);
            }
        });
    }

    /// Drives the sessions of one phase: lets them think, sends what they have to send.
    pub fn drive(&mut self, phase: u32, now: Duration, mut tell: impl FnMut(FleetEvent)) {
        for index in (phase as usize % PHASES as usize..self.bots.len()).step_by(PHASES as usize) {
            let Some(mut bot) = self.bots[index].take() else { continue };
            bot.fly(&mut self.sockets, &mut self.websockets, now);
            let mut closed = None;
            while let Some(event) = bot.session.poll_event() {
                if let SessionEvent::Closed { reason } = event {
                    closed = Some(reason);
                }
                self.on_event(&mut bot, event, now, &mut tell);
            }
            match closed {
                Some(reason) => self.disembark(*bot, index as u32, reason, &mut tell),
                None => self.bots[index] = Some(bot),
            }
        }
    }

    fn on_event(&mut self, bot: &mut Bot, event: SessionEvent, now: Duration, tell: &mut impl FnMut(FleetEvent)) {
        let number = bot.number;
        match event {
            SessionEvent::Welcomed(_) => {
                bot.reached.welcomed = true;
                let tally = &mut self.tallies[bot.carrier.transport() as usize];
                tally.join_times.record(now.saturating_sub(bot.asked));
                tally.connected += 1;
                tally.connected_max = tally.connected_max.max(tally.connected);
                self.connected_max = self.connected_max.max(self.connected());
                tell(FleetEvent::Welcomed { number });
            }
            SessionEvent::Result => {
                bot.reached.told = true;
                if let Some(result) = bot.session.result() {
                    tell(FleetEvent::Result { number, result: result.clone() });
                }
            }
            SessionEvent::Connected
            | SessionEvent::RosterChanged
            | SessionEvent::Missed
            | SessionEvent::ShuttingDown
            | SessionEvent::Closed { .. } => {}
        }
    }

    /// Takes leave of a bot whose session is over.
    fn disembark(&mut self, mut bot: Bot, index: u32, reason: Ended, tell: &mut impl FnMut(FleetEvent)) {
        let tally = &mut self.tallies[bot.carrier.transport() as usize];
        tally.connected -= u32::from(bot.reached.welcomed);
        tally.past.statistics.add(bot.session.statistics());
        tally.past.carried.add(&bot.carried);
        // After the result every way to end is normal, and so is leaving when we were told to.
        if !bot.reached.told && !self.leaving {
            *self.disconnects.entry(reason.name()).or_default() += 1;
        }
        bot.session.release(&mut self.world);
        match bot.carrier {
            Carrier::Udp(port) => self.sockets.close(port),
            Carrier::WebSocket(place) => self.websockets.remove(place),
        }
        self.free.push(index);
        tell(FleetEvent::Closed { number: bot.number, reached: bot.reached });
    }

    /// Makes every bot say goodbye.
    pub fn leave_all(&mut self, now: Duration) {
        self.leaving = true;
        self.bots.iter_mut().flatten().for_each(|bot| bot.session.leave(now));
    }

    pub fn is_empty(&self) -> bool {
        self.free.len() == self.bots.len()
    }

    /// Bots that are welcomed and not gone.
    pub fn connected(&self) -> u32 {
        self.tallies.iter().map(|tally| tally.connected).sum()
    }

    pub fn connected_max(&self) -> u32 {
        self.connected_max
    }

    /// Sessions that were begun.
    pub fn sessions(&self) -> u64 {
        self.tallies.iter().map(|tally| tally.sessions).sum()
    }

    /// Datagrams that the system would not take.
    pub fn unsent(&self) -> u64 {
        self.sockets.unsent + self.websockets.unsent()
    }

    pub fn join_times(&self) -> Histogram {
        let mut all = Histogram::default();
        self.tallies.iter().for_each(|tally| all.add(&tally.join_times));
        all
    }

    pub fn tally(&self, transport: Transport) -> &Tally {
        &self.tallies[transport as usize]
    }

    /// Sessions that ended otherwise than with their match, by reason.
    pub fn disconnects(&self) -> &BTreeMap<&'static str, u64> {
        &self.disconnects
    }

    /// Snapshots and mismatches so far; cheaper than [`Fleet::counted`].
    pub fn snapshots(&self) -> (u64, u64) {
        let past = self.tallies.iter().map(|tally| &tally.past.statistics);
        let living = self.bots.iter().flatten().map(|bot| bot.session.statistics());
        past.chain(living).fold((0, 0), |(snapshots, mismatches), counted| {
            (snapshots + counted.snapshots, mismatches + counted.state_mismatches)
        })
    }

    /// What all bots ever have counted.
    pub fn counted(&self) -> ByTransport<Counted> {
        let mut all = self.tallies.each_ref().map(|tally| tally.past.clone());
        for bot in self.bots.iter().flatten() {
            let counted = &mut all[bot.carrier.transport() as usize];
            counted.statistics.add(bot.session.statistics());
            counted.carried.add(&bot.carried);
        }
        all
    }
}

impl Bot {
    /// One tick of one session.
    fn fly(&mut self, sockets: &mut FleetSockets, websockets: &mut FleetWebSockets, now: Duration) {
        let session = &mut self.session;
        let mut websocket = match self.carrier {
            Carrier::Udp(_) => None,
            Carrier::WebSocket(place) => websockets.get_mut(place),
        };
        if let Some(closed) = websocket.as_ref().and_then(|websocket| websocket.closed()) {
            session.handle_carrier_closed(closed.code);
        }
        session.handle_tick(now);
        while let Some(tick) = session.poll_sample(now) {
            let (Some(view), Some(rules), Some(seat)) = (session.view(), session.ruleset(), session.seat()) else {
                break;
            };
            let input = self.brain.input(view, rules, seat, tick);
            session.sample(tick, input, now);
        }
        while let Some(transmit) = session.poll_transmit(now) {
            match (&self.carrier, &mut websocket) {
                (Carrier::Udp(port), _) => {
                    self.carried.count_up(transmit.bytes.len());
                    sockets.send(port, transmit.bytes);
                }
                (Carrier::WebSocket(_), Some(websocket)) => websocket.queue(transmit.bytes),
                (Carrier::WebSocket(_), None) => {}
            }
        }
        if let Some(websocket) = websocket {
            websocket.flush();
            self.carried = websocket.carried();
        }
    }
}
