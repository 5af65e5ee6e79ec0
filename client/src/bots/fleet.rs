//! All bots of the process: their sessions, brains and sockets, and the one World their views are checked in.
//!
//! In: seats won, time. Out: datagrams, and what happened to whom.
//! Sessions are driven 60 times a second, in [`PHASES`] groups one after the other within a tick, so that
//! neither the server nor this process meets a thousand datagrams in one instant.
//! *Invariant:* per datagram nothing is allocated and nobody is searched for.
//! *Invariant:* time is an argument.
//! Start reading at [`Fleet::receive`] and [`Fleet::drive`].

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use astro_shared::sim::SimPlugin;
use bevy_ecs::world::World;

use super::ledger::Reached;
use super::service::Joined;
use crate::brain::Brain;
use crate::net::native::{FleetSockets, Port};
use crate::session::{Ended, Histogram, Link, MatchResult, Session, SessionEvent, Statistics, TokenError};

/// Parts of a tick: each session is driven in one of them.
pub const PHASES: u32 = 4;

/// A bot could not set out.
#[derive(Debug, thiserror::Error)]
pub enum BoardError {
    #[error("the connect token cannot be used: {0}")]
    Token(#[from] TokenError),
    #[error("no socket for a bot: {0}")]
    Socket(#[from] io::Error),
}

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
    /// By bot number; numbers are used again.
    bots: Vec<Option<Box<Bot>>>,
    free: Vec<u32>,
    snapshots_per_s: u8,
    /// Bots that are welcomed and not gone.
    connected: u32,
    connected_max: u32,
    sessions: u64,
    /// What bots that are gone have counted.
    past: Statistics,
    /// From asking for a seat to the server's welcome.
    join_times: Histogram,
    disconnects: BTreeMap<&'static str, u64>,
    leaving: bool,
}

struct Bot {
    session: Session,
    brain: Brain,
    port: Port,
    number: usize,
    /// When its seat was asked for.
    asked: Duration,
    reached: Reached,
}

impl Fleet {
    pub fn new(snapshots_per_s: u8) -> Fleet {
        Fleet {
            world: SimPlugin::world(),
            sockets: FleetSockets::new(),
            bots: Vec::new(),
            free: Vec::new(),
            snapshots_per_s,
            connected: 0,
            connected_max: 0,
            sessions: 0,
            past: Statistics::default(),
            join_times: Histogram::default(),
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
        joined: &Joined,
        number: usize,
        seed: u64,
        asked: Duration,
        now: Duration,
    ) -> Result<(), BoardError> {
        let link = Link::from_connect_token(&joined.connect_token, now)?;
        let server = link.server_address().ok_or(TokenError::NoAddress)?;
        let bot = self.free.pop().unwrap_or_else(|| {
            self.bots.push(None);
            self.bots.len() as u32 - 1
        });
        let port = match self.sockets.open(bot, server) {
            Ok(port) => port,
            Err(error) => {
                self.free.push(bot);
                return Err(error.into());
            }
        };
        let mut session = Session::new(link, self.snapshots_per_s, now);
        session.start(joined.ruleset.clone());
        let (brain, reached) = (Brain::new(seed), Reached::default());
        self.bots[bot as usize] = Some(Box::new(Bot { session, brain, port, number, asked, reached }));
        self.sessions += 1;
        Ok(())
    }

    /// Takes in everything that has arrived.
    pub fn receive(&mut self, now: Duration) {
        let Fleet { world, sockets, bots, .. } = self;
        sockets.receive(|bot, bytes| {
            if let Some(bot) = bots.get_mut(bot as usize).and_then(Option::as_deref_mut) {
                bot.session.handle_datagram(world, bytes, now);
            }
        });
    }

    /// Drives the sessions of one phase: lets them think, sends what they have to send.
    pub fn drive(&mut self, phase: u32, now: Duration, mut tell: impl FnMut(FleetEvent)) {
        for index in (phase as usize % PHASES as usize..self.bots.len()).step_by(PHASES as usize) {
            let Some(mut bot) = self.bots[index].take() else { continue };
            bot.fly(&mut self.sockets, now);
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
                self.join_times.record(now.saturating_sub(bot.asked));
                self.connected += 1;
                self.connected_max = self.connected_max.max(self.connected);
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
        self.connected -= u32::from(bot.reached.welcomed);
        // After the result every way to end is normal, and so is leaving when we were told to.
        if !bot.reached.told && !self.leaving {
            *self.disconnects.entry(reason.name()).or_default() += 1;
        }
        self.past.add(bot.session.statistics());
        bot.session.release(&mut self.world);
        self.sockets.close(bot.port);
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
        self.connected
    }

    pub fn connected_max(&self) -> u32 {
        self.connected_max
    }

    /// Sessions that were begun.
    pub fn sessions(&self) -> u64 {
        self.sessions
    }

    /// Datagrams that the system would not take.
    pub fn unsent(&self) -> u64 {
        self.sockets.unsent
    }

    pub fn join_times(&self) -> &Histogram {
        &self.join_times
    }

    /// Sessions that ended otherwise than with their match, by reason.
    pub fn disconnects(&self) -> &BTreeMap<&'static str, u64> {
        &self.disconnects
    }

    /// Snapshots and mismatches so far; cheaper than [`Fleet::statistics`].
    pub fn snapshots(&self) -> (u64, u64) {
        let living = self.bots.iter().flatten().map(|bot| bot.session.statistics());
        living.fold((self.past.snapshots, self.past.state_mismatches), |(snapshots, mismatches), counted| {
            (snapshots + counted.snapshots, mismatches + counted.state_mismatches)
        })
    }

    /// What all bots ever have counted.
    pub fn statistics(&self) -> Statistics {
        let mut all = self.past.clone();
        self.bots.iter().flatten().for_each(|bot| all.add(bot.session.statistics()));
        all
    }
}

impl Bot {
    /// One tick of one session.
    fn fly(&mut self, sockets: &mut FleetSockets, now: Duration) {
        let session = &mut self.session;
        session.handle_tick(now);
        while let Some(tick) = session.poll_sample(now) {
            let (Some(view), Some(rules), Some(seat)) = (session.view(), session.ruleset(), session.seat()) else {
                break;
            };
            let input = self.brain.input(view, rules, seat, tick);
            session.sample(tick, input, now);
        }
        while let Some(transmit) = session.poll_transmit(now) {
            sockets.send(&self.port, transmit.bytes);
        }
    }
}
