//! All bots of the process: their sessions, brains and sockets, and the one World their views are checked in.
//!
//! In: seats won, time. Out: datagrams, and what happened to whom.
//! Sessions are driven 60 times a second, in [`PHASES`] groups one after the other within a tick, so that
//! neither the server nor this process meets a thousand datagrams in one instant.
//! *Invariant:* per UDP datagram nothing is allocated unless a bad network was asked for; nobody is ever searched for.
//! *Invariant:* time is an argument.
//! Start reading at [`Fleet::receive`] and [`Fleet::drive`].

use std::collections::BTreeMap;
use std::time::Duration;

use astro_shared::link::{Faults, Profile};
use astro_shared::sim::SimPlugin;
use astro_shared::sim::units::MatchId;
use bevy_ecs::world::World;

use super::bot::{Bot, Carrier, LEFT_BEHIND, REFUSED, Standing, TOO_LATE, was_lost};
use super::ledger::Reached;
use super::network::Wire;
use super::options::Options;
use super::outages::{Loss, Outage, Outages, Rejoins};
use super::window::{ByTransport, Counted};
use super::workers::Boarding;
use crate::brain::Brain;
use crate::net::native::FleetSockets;
use crate::net::websocket::{ClientWebSocket, FleetWebSockets};
use crate::net::{Carried, Transport};
use crate::player::BoardError;
use crate::service::Joined;
use crate::session::{Histogram, Link, MatchResult, Session, SessionEvent, TokenError};

/// Parts of a tick: each session is driven in one of them.
pub const PHASES: u32 = 4;

/// What happened to a bot of the match with that number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FleetEvent {
    Welcomed {
        number: usize,
    },
    Result {
        number: usize,
        result: MatchResult,
    },
    /// A bot without a connection wants its seat back.
    Lost(LostSeat),
    Closed {
        number: usize,
        reached: Reached,
    },
}

/// A seat that its bot asks for again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LostSeat {
    bot: u32,
    /// Tells this bot from those that have its number later.
    serial: u64,
    pub match_id: MatchId,
    pub seat_secret: String,
    /// What the bot was connected over.
    pub transport: Transport,
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
    network: Profile,
    rejoins_per_match: u32,
    /// Bots ever.
    serials: u64,
    tallies: ByTransport<Tally>,
    connected_max: u32,
    updated: Duration,
    disconnects: BTreeMap<&'static str, u64>,
    rejoins: Rejoins,
    /// Of connections that are gone.
    past_faults: Faults,
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

impl Fleet {
    pub fn new(options: &Options) -> Fleet {
        Fleet {
            world: SimPlugin::world(),
            sockets: FleetSockets::new(),
            websockets: FleetWebSockets::default(),
            bots: Vec::new(),
            free: Vec::new(),
            snapshots_per_s: options.snapshots,
            network: options.network.profile(),
            rejoins_per_match: options.rejoin,
            serials: 0,
            tallies: ByTransport::default(),
            connected_max: 0,
            updated: Duration::ZERO,
            disconnects: BTreeMap::new(),
            rejoins: Rejoins::default(),
            past_faults: Faults::default(),
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
        self.serials += 1;
        self.bots[bot as usize] = Some(Box::new(Bot {
            session,
            brain: Brain::new(seed),
            carrier,
            carried: Carried::default(),
            wire: Wire::new(self.network, transport, seed),
            number,
            serial: self.serials,
            seed,
            match_id: joined.match_id,
            seat_secret: joined.seat_secret,
            asked,
            reached: Reached::default(),
            counted: false,
            outages: Outages::new(self.rejoins_per_match, seed, now),
            standing: Standing::Flying,
        }));
        self.tallies[transport as usize].sessions += 1;
        Ok(())
    }

    /// Puts a bot back into the seat it asked for; one that is gone meanwhile stays so. `asked` is when it was asked for.
    ///
    /// # Errors
    /// When its ticket or this machine's sockets do not allow it.
    pub fn come_back(
        &mut self,
        lost: &LostSeat,
        boarding: Boarding,
        asked: Duration,
        now: Duration,
    ) -> Result<(), BoardError> {
        let Some(mut bot) = self.take(lost) else { return Ok(()) };
        let opened = self.open(lost.bot, &boarding.joined, boarding.websocket, now);
        if let Ok((link, carrier)) = opened {
            let transport = carrier.transport();
            self.set_connected(&mut bot, false);
            self.close(&mut bot);
            bot.carrier = carrier;
            let former = bot.session.rejoin(link, now);
            self.tallies[lost.transport as usize].past.statistics.add(&former);
            self.tallies[transport as usize].sessions += 1;
            bot.seed = bot.seed.rotate_left(17).wrapping_add(1);
            bot.wire = Wire::new(self.network, transport, bot.seed);
            bot.standing = Standing::Returning { asked };
            self.bots[lost.bot as usize] = Some(bot);
            return Ok(());
        }
        self.bots[lost.bot as usize] = Some(bot);
        opened.map(|_| ())
    }

    /// The seat was refused, or is no more because its match is over: the bot goes home.
    pub fn give_up(&mut self, lost: &LostSeat, over: bool) {
        if let Some(mut bot) = self.take(lost) {
            self.rejoins.too_late += u64::from(over);
            self.rejoins.refused += u64::from(!over);
            bot.standing = Standing::Refused(if over { TOO_LATE } else { REFUSED });
            self.bots[lost.bot as usize] = Some(bot);
        }
    }

    /// The bot that lost this seat, if it is still there.
    fn take(&mut self, lost: &LostSeat) -> Option<Box<Bot>> {
        self.bots.get_mut(lost.bot as usize)?.take_if(|bot| bot.serial == lost.serial)
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
                bot.receive(world, bytes, now);
            }
        });
        websockets.receive(|bot, packet| {
            if let Some(bot) = bots.get_mut(bot as usize).and_then(Option::as_deref_mut) {
                bot.receive(world, packet, now);
            }
        });
        if !self.network.is_perfect() {
            bots.iter_mut().flatten().for_each(|bot| bot.pass_wire(world, sockets, websockets, now));
        }
    }

    /// Drives the sessions of one phase: lets them think, sends what they have to send.
    pub fn drive(&mut self, phase: u32, now: Duration, mut tell: impl FnMut(FleetEvent)) {
        for index in (phase as usize % PHASES as usize..self.bots.len()).step_by(PHASES as usize) {
            let Some(mut bot) = self.bots[index].take() else { continue };
            match self.drive_bot(&mut bot, index as u32, now, &mut tell) {
                Some(reason) => self.disembark(*bot, index as u32, reason, &mut tell),
                None => self.bots[index] = Some(bot),
            }
        }
    }

    /// One tick of one bot; why it goes home, if it does.
    fn drive_bot(
        &mut self,
        bot: &mut Bot,
        index: u32,
        now: Duration,
        tell: &mut impl FnMut(FleetEvent),
    ) -> Option<&'static str> {
        if let Standing::Refused(reason) = bot.standing {
            return Some(reason);
        }
        self.follow_outage(bot, index, now, tell);
        if bot.is_silent() {
            return self.leaving.then_some(LEFT_BEHIND);
        }
        bot.fly(&mut self.sockets, &mut self.websockets, now);
        let mut closed = None;
        while let Some(event) = bot.session.poll_event() {
            if let SessionEvent::Closed { reason } = event {
                closed = Some(reason);
            }
            self.on_event(bot, event, now, tell);
        }
        let reason = closed?;
        if matches!(bot.standing, Standing::Away(_) | Standing::Asking(_)) {
            // The new connection has taken the seat before we knew of it.
            return None;
        }
        if bot.outages.is_some() && !bot.reached.told && !self.leaving && was_lost(reason) {
            self.set_connected(bot, false);
            bot.standing = Standing::Away(Outage { loss: Loss::Cut, back_at: now });
            return None;
        }
        Some(reason.name())
    }

    /// Lets a bot lose its connection when that is due, and ask for its seat when it is back.
    fn follow_outage(&mut self, bot: &mut Bot, index: u32, now: Duration, tell: &mut impl FnMut(FleetEvent)) {
        match bot.standing {
            Standing::Flying if bot.reached.welcomed && !bot.reached.told && !self.leaving => {
                let Some(outage) = bot.outages.as_mut().and_then(|outages| outages.poll(now)) else { return };
                if outage.loss == Loss::Cut {
                    self.close(bot);
                }
                if outage.loss != Loss::NewPort {
                    self.set_connected(bot, false);
                }
                bot.standing = Standing::Away(outage);
            }
            Standing::Away(outage) if now >= outage.back_at => {
                self.rejoins.asked += 1;
                bot.standing = Standing::Asking(outage.loss);
                let (match_id, seat_secret) = (bot.match_id, bot.seat_secret.clone());
                let (serial, transport) = (bot.serial, bot.carrier.transport());
                tell(FleetEvent::Lost(LostSeat { bot: index, serial, match_id, seat_secret, transport }));
            }
            _ => {}
        }
    }

    /// Counts a bot as connected, or no longer.
    fn set_connected(&mut self, bot: &mut Bot, connected: bool) {
        let tally = &mut self.tallies[bot.carrier.transport() as usize];
        if bot.counted != connected {
            bot.counted = connected;
            tally.connected = if connected { tally.connected + 1 } else { tally.connected - 1 };
            tally.connected_max = tally.connected_max.max(tally.connected);
            self.connected_max = self.connected_max.max(self.connected());
        }
    }

    /// Gives the bot's place on the network back, and counts what it carried.
    fn close(&mut self, bot: &mut Bot) {
        let transport = bot.carrier.transport();
        self.tallies[transport as usize].past.carried.add(&std::mem::take(&mut bot.carried));
        if let Some(wire) = bot.wire.take() {
            self.past_faults.add(&wire.faults());
        }
        match std::mem::replace(&mut bot.carrier, Carrier::Cut(transport)) {
            Carrier::Udp(port) => self.sockets.close(port),
            Carrier::WebSocket(place) => self.websockets.remove(place),
            Carrier::Cut(_) => {}
        }
    }

    fn on_event(&mut self, bot: &mut Bot, event: SessionEvent, now: Duration, tell: &mut impl FnMut(FleetEvent)) {
        let number = bot.number;
        match event {
            SessionEvent::Welcomed(_) => {
                self.set_connected(bot, true);
                if let Standing::Returning { asked } = bot.standing {
                    self.rejoins.won += 1;
                    self.rejoins.times.record(now.saturating_sub(asked));
                    bot.standing = Standing::Flying;
                }
                // One that had never got through before may come back.
                if !std::mem::replace(&mut bot.reached.welcomed, true) {
                    let tally = &mut self.tallies[bot.carrier.transport() as usize];
                    tally.join_times.record(now.saturating_sub(bot.asked));
                    tell(FleetEvent::Welcomed { number });
                }
            }
            SessionEvent::Missed => self.rejoins.told += 1,
            SessionEvent::Result => {
                bot.reached.told = true;
                if let Some(result) = bot.session.result() {
                    tell(FleetEvent::Result { number, result: result.clone() });
                }
            }
            SessionEvent::Connected
            | SessionEvent::RosterChanged
            | SessionEvent::ShuttingDown
            | SessionEvent::Closed { .. } => {}
        }
    }

    /// Takes leave of a bot whose session is over.
    fn disembark(&mut self, mut bot: Bot, index: u32, reason: &'static str, tell: &mut impl FnMut(FleetEvent)) {
        self.set_connected(&mut bot, false);
        self.tallies[bot.carrier.transport() as usize].past.statistics.add(bot.session.statistics());
        // After the result every way to end is normal, and so is leaving when we were told to.
        if !bot.reached.told && !self.leaving {
            *self.disconnects.entry(reason).or_default() += 1;
        }
        bot.session.release(&mut self.world);
        self.close(&mut bot);
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

    pub fn rejoins(&self) -> &Rejoins {
        &self.rejoins
    }

    /// What the bad network has done; `None` when there is none.
    pub fn faults(&self) -> Option<Faults> {
        let mut all = self.past_faults;
        self.bots.iter().flatten().filter_map(|bot| bot.wire.as_ref()).for_each(|wire| all.add(&wire.faults()));
        (!self.network.is_perfect()).then_some(all)
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
