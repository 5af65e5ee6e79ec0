//! A session: the client's end of one connection, from the first datagram to the last.
//!
//! In: datagrams, inputs, time. Out: datagrams to send, events, the newest view of the match.
//! *Invariant:* a pure state machine: time is an argument; no socket, clock or thread.
//! *Invariant:* no bytes from the network, however made, panic it or grow it beyond its limits.
//! *Invariant:* hot datagrams leave only after `Ready`: a server could not tell them from damage before.
//! *Invariant:* a spectator's session has no clock and samples no inputs; it acknowledges each snapshot once.
//! What is drawn or flown by is the newest snapshot; nothing is predicted here.
//!
//! The owner's loop: [`Session::handle_datagram`] for what came; then, 60 times a second,
//! [`Session::handle_tick`], [`Session::poll_sample`] with [`Session::sample`] until it names no tick,
//! [`Session::poll_transmit`] and [`Session::poll_event`] until they are empty.
//! Start reading at [`Session`] and [`Session::handle_datagram`].

mod age;
mod clock;
mod control;
mod event;
mod inputs;
mod link;
mod replica;
mod statistics;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use astro_shared::sim::fields::Audience;
use astro_shared::sim::input::Input;
use astro_shared::sim::rules::Ruleset;
use astro_shared::sim::tables::View;
use astro_shared::sim::units::{SEATS_MAX, SEATS_MIN, Seat, TICKS_PER_SECOND, Tick};
use astro_shared::wire::acknowledge::Acknowledge;
use astro_shared::wire::message::{Place, RosterSeat, ToClient, ToServer};
use astro_shared::wire::snapshot::{self, Decoded, NO_MARGIN};
use astro_shared::wire::{self, WireError};
use bevy_ecs::world::World;

use age::ArrivalLine;
use clock::TickClock;
use control::Control;
pub use event::{Ended, MatchResult, MissedEvents, SessionEvent, Welcome};
use inputs::InputQueue;
pub use link::{Link, TokenError};
use replica::Replica;
pub use statistics::{Histogram, Statistics};

/// Without a genuine datagram for this long, the session ends.
const SILENCE_MAX: Duration = Duration::from_secs(5);
/// How long a leaving session waits for the server to hear of it.
const LEAVE_WITHIN: Duration = Duration::from_millis(500);
/// The last notice is not acknowledged, so it is sent more than once.
const FAREWELLS: u8 = 3;
/// How often a spectator says that it is there while it has nothing new to acknowledge.
const SIGN_OF_LIFE_EVERY: Duration = Duration::from_secs(1);

/// One connection to one match: to a seat of it, or to watch.
pub struct Session {
    link: Link,
    control: Control,
    state: State,
    snapshots_per_s: u8,
    welcome: Option<Welcome>,
    ruleset: Option<Arc<Ruleset>>,
    /// `Ready` is queued: snapshots may come, and be answered.
    ready: bool,
    /// Present from the first `Ready` on; over a new link it stays what it was until the first snapshot.
    replica: Option<Replica>,
    /// Where the session was before it rejoined.
    former: Option<Welcome>,
    missed: Option<MissedEvents>,
    roster: Vec<RosterSeat>,
    result: Option<MatchResult>,
    /// When the server will be gone, as it says.
    shutdown_at: Option<Duration>,
    /// Runs from the first snapshot on.
    clock: Option<TickClock>,
    inputs: InputQueue,
    /// A spectator's word on what it has, still to be sent; and when it sent the last one.
    acknowledge: bool,
    acknowledged_at: Duration,
    arrivals: ArrivalLine,
    /// At most one of each kind: all but `RosterChanged` happen once, and that one is not queued twice.
    events: VecDeque<SessionEvent>,
    statistics: Statistics,
    /// When the last payload came, for carriers that keep no such time.
    heard: Duration,
    /// Time that the link knows of.
    updated: Duration,
    /// Last notices still to be sent.
    farewells: u8,
    /// Reused buffers: a payload before, a datagram after sealing.
    payload: Vec<u8>,
    datagram: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Connecting,
    Open,
    Leaving { until: Duration },
    Closed,
}

/// A datagram to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transmit<'a> {
    /// `None`: the carrier knows.
    pub to: Option<SocketAddr>,
    pub bytes: &'a [u8],
}

impl Session {
    /// `snapshots_per_s` is 15, 30 or 60.
    pub fn new(link: Link, snapshots_per_s: u8, now: Duration) -> Session {
        Session {
            link,
            control: Control::new(now),
            state: State::Connecting,
            snapshots_per_s,
            welcome: None,
            ruleset: None,
            ready: false,
            replica: None,
            former: None,
            missed: None,
            roster: Vec::new(),
            result: None,
            shutdown_at: None,
            clock: None,
            inputs: InputQueue::new(now),
            acknowledge: false,
            acknowledged_at: now,
            arrivals: ArrivalLine::default(),
            events: VecDeque::new(),
            statistics: Statistics::default(),
            heard: now,
            updated: now,
            farewells: 0,
            payload: Vec::new(),
            datagram: Vec::new(),
        }
    }

    /// Begins again over a new link to the same seat, which the seat's secret has bought. What was known stays: rules, view,
    /// roster, result. The server ends the former link, sends a full snapshot first, and tells what was missed. Returns what
    /// was counted on the former link; counting begins anew.
    pub fn rejoin(&mut self, link: Link, now: Duration) -> Statistics {
        let fresh = Session::new(link, self.snapshots_per_s, now);
        let former = std::mem::replace(self, fresh);
        self.former = former.welcome.or(former.former);
        self.ruleset = former.ruleset;
        self.replica = former.replica;
        self.roster = former.roster;
        self.result = former.result;
        former.statistics
    }

    /// Gives the match's rules, before or after `Welcome`; snapshots are asked for when both are there.
    pub fn start(&mut self, ruleset: Arc<Ruleset>) {
        self.ruleset = Some(ruleset);
        self.become_ready();
    }

    /// Takes one datagram from the server's address. `world` is the owner's, the same at every call.
    pub fn handle_datagram(&mut self, world: &mut World, bytes: &mut [u8], now: Duration) {
        self.statistics.datagrams_down += 1;
        self.statistics.bytes_down += bytes.len() as u64;
        if self.state == State::Closed {
            return;
        }
        match self.link.open(bytes) {
            Ok(Some(payload)) => {
                self.heard = now;
                self.on_payload(world, payload, now);
            }
            Ok(None) => {}
            Err(_) => self.statistics.datagrams_refused += 1,
        }
        self.on_link_changed();
    }

    /// Takes the end of a carrier that is a connection of its own; `code` is its close code, if it gave one.
    pub fn handle_carrier_closed(&mut self, code: Option<u16>) {
        if self.state != State::Closed {
            self.close(code.map_or(Ended::Dropped, Ended::from_close_code));
        }
    }

    /// Lets time pass: notices silence, a connection that ended, a goodbye that took too long.
    pub fn handle_tick(&mut self, now: Duration) {
        self.on_link_changed();
        let silence = self.silence(now);
        match self.state {
            State::Closed => {}
            State::Leaving { until } if now >= until || !self.control.is_unacknowledged() => self.close(Ended::Left),
            State::Connecting if silence > SILENCE_MAX => self.close(Ended::NoAnswer),
            _ if silence > SILENCE_MAX => self.close(Ended::Silent),
            _ => {}
        }
    }

    /// The tick that the next input is for, if one is due; the owner answers with [`Session::sample`].
    pub fn poll_sample(&mut self, now: Duration) -> Option<Tick> {
        if self.state != State::Open {
            return None;
        }
        self.inputs.next(self.clock.as_ref()?.tick(now))
    }

    /// Gives the input for the tick that [`Session::poll_sample`] named.
    pub fn sample(&mut self, tick: Tick, input: Input, now: Duration) {
        self.inputs.sample(tick, input, now);
    }

    /// The next datagram to send. After [`SessionEvent::Closed`] a few may follow.
    pub fn poll_transmit(&mut self, now: Duration) -> Option<Transmit<'_>> {
        if !(self.put_handshake(now) || self.put_control(now) || self.put_hot(now) || self.put_farewell()) {
            return None;
        }
        self.statistics.datagrams_up += 1;
        self.statistics.bytes_up += self.datagram.len() as u64;
        Some(Transmit { to: self.link.server_address(), bytes: &self.datagram })
    }

    /// Any payload, as the link would carry it: what tests and attack profiles send. `None` without a connection.
    pub fn carry(&mut self, payload: &[u8]) -> Option<Transmit<'_>> {
        if !self.link.is_connected() || !self.link.seal(payload, &mut self.datagram) {
            return None;
        }
        Some(Transmit { to: self.link.server_address(), bytes: &self.datagram })
    }

    pub fn poll_event(&mut self) -> Option<SessionEvent> {
        self.events.pop_front()
    }

    /// Gives the seat up and ends the session, as soon as the server has heard of it.
    pub fn leave(&mut self, now: Duration) {
        match self.state {
            State::Connecting => self.close(Ended::Left),
            State::Open => {
                self.control.queue(&ToServer::Leave);
                self.state = State::Leaving { until: now + LEAVE_WITHIN };
            }
            State::Leaving { .. } | State::Closed => {}
        }
    }

    /// Gives back what the session holds in `world`. To be called before a session is dropped.
    pub fn release(&mut self, world: &mut World) {
        if let Some(replica) = &mut self.replica {
            replica.release(world);
        }
    }

    /// The newest view; `None` before the first snapshot.
    pub fn view(&self) -> Option<&View> {
        self.replica.as_ref().map(Replica::view).filter(|view| view.round.tick != Tick(0))
    }

    /// A seat or a spectator's place, once the server has said which.
    pub fn place(&self) -> Option<Place> {
        self.welcome.map(|welcome| welcome.place)
    }

    /// The own seat, once the server has said it; a spectator never has one.
    pub fn seat(&self) -> Option<Seat> {
        match self.place()? {
            Place::Seat(seat) => Some(Seat(seat)),
            Place::Spectator { .. } => None,
        }
    }

    pub fn welcome(&self) -> Option<Welcome> {
        self.welcome
    }

    pub fn ruleset(&self) -> Option<&Arc<Ruleset>> {
        self.replica.as_ref().map(Replica::ruleset)
    }

    pub fn roster(&self) -> &[RosterSeat] {
        &self.roster
    }

    /// What the server has told about the time away, on the present link.
    pub fn missed(&self) -> Option<&MissedEvents> {
        self.missed.as_ref()
    }

    pub fn result(&self) -> Option<&MatchResult> {
        self.result.as_ref()
    }

    /// When the server will be gone, as it said last.
    pub fn shutdown_at(&self) -> Option<Duration> {
        self.shutdown_at
    }

    pub fn statistics(&self) -> &Statistics {
        &self.statistics
    }

    pub fn is_closed(&self) -> bool {
        self.state == State::Closed
    }

    /// How long nothing has come that should have. A spectator's first picture is sent when the delay is over, and
    /// until then a carrier without signs of life of its own may well be silent.
    fn silence(&self, now: Duration) -> Duration {
        if let Some(silence) = self.link.silence() {
            return silence;
        }
        let patience = match self.place() {
            Some(Place::Spectator { delay_ticks }) if self.view().is_none() => {
                Duration::from_secs(u64::from(delay_ticks.div_ceil(TICKS_PER_SECOND)))
            }
            _ => Duration::ZERO,
        };
        now.saturating_sub(self.heard).saturating_sub(patience)
    }

    fn on_link_changed(&mut self) {
        if self.state == State::Closed {
            return;
        }
        if let Some(reason) = self.link.ended() {
            self.close(reason);
        } else if self.state == State::Connecting && self.link.is_connected() {
            self.state = State::Open;
            self.events.push_back(SessionEvent::Connected);
        }
    }

    fn on_payload(&mut self, world: &mut World, payload: &[u8], now: Duration) {
        let taken =
            if wire::is_hot(payload) { self.on_snapshot(world, payload, now) } else { self.on_control(payload, now) };
        self.statistics.datagrams_refused += u64::from(!taken);
    }

    /// Takes a control packet and reacts to the messages it completes; false when it is refused.
    fn on_control(&mut self, packet: &[u8], now: Duration) -> bool {
        if self.control.handle_packet(packet, now).is_err() {
            return false;
        }
        while self.state != State::Closed
            && let Some(message) = self.control.poll_message()
        {
            self.on_message(message, now);
        }
        if self.state != State::Closed && self.control.is_broken() {
            self.close(Ended::Misbehaved);
        }
        true
    }

    fn on_message(&mut self, message: Result<ToClient, WireError>, now: Duration) {
        match message {
            Ok(ToClient::Welcome { match_id, place, seats, rules_hash }) => {
                self.on_welcome(Welcome { match_id, place, seats, rules_hash });
            }
            Ok(ToClient::Roster { seats }) if seats.len() <= SEATS_MAX => {
                self.roster = seats;
                if !self.events.contains(&SessionEvent::RosterChanged) {
                    self.events.push_back(SessionEvent::RosterChanged);
                }
            }
            Ok(ToClient::Result { winner, seats }) if seats.len() <= SEATS_MAX => {
                if self.result.replace(MatchResult { winner, seats }).is_none() {
                    self.events.push_back(SessionEvent::Result);
                }
            }
            Ok(ToClient::Missed { since_tick, through_tick, events, complete })
                if self.missed.is_none() && events.iter().all(|event| event.what.is_possible()) =>
            {
                self.missed = Some(MissedEvents { since: since_tick, through: through_tick, events, complete });
                self.events.push_back(SessionEvent::Missed);
            }
            Ok(ToClient::ShuttingDown { seconds_left }) => {
                let at = now + Duration::from_secs(u64::from(seconds_left));
                if self.shutdown_at.replace(at).is_none() {
                    self.statistics.shutdown_notices += 1;
                    self.events.push_back(SessionEvent::ShuttingDown);
                }
            }
            Ok(ToClient::Closing { reason }) => self.close(Ended::Server(reason)),
            // Reliable messages depend on each other: after one that makes no sense nothing else can.
            Ok(_) | Err(_) => self.close(Ended::Misbehaved),
        }
    }

    fn on_welcome(&mut self, welcome: Welcome) {
        let seat_exists = match welcome.place {
            Place::Seat(seat) => seat < welcome.seats,
            Place::Spectator { .. } => true,
        };
        let possible = (SEATS_MIN..=SEATS_MAX).contains(&usize::from(welcome.seats)) && seat_exists;
        let moved = self.former.is_some_and(|former| former != welcome);
        if !possible || moved || self.welcome.is_some() {
            return self.close(Ended::Misbehaved);
        }
        self.welcome = Some(welcome);
        self.events.push_back(SessionEvent::Welcomed(welcome));
        self.become_ready();
    }

    /// Asks for snapshots when both the seat and the rules are known.
    fn become_ready(&mut self) {
        let (Some(welcome), Some(ruleset), false) = (self.welcome, &self.ruleset, self.ready) else { return };
        if ruleset.hash() != welcome.rules_hash {
            return self.close(Ended::WrongRules);
        }
        let audience = self.seat().map_or(Audience::Public, Audience::Seat);
        match &mut self.replica {
            Some(replica) => replica.begin_again(),
            None => self.replica = Some(Replica::new(audience, welcome.seats, ruleset.clone())),
        }
        self.ready = true;
        let ready = ToServer::Ready { fingerprint: wire::fingerprint(), snapshots_per_s: self.snapshots_per_s };
        self.control.queue(&ready);
    }

    /// Applies a snapshot; false when it does not decode or none was asked for.
    fn on_snapshot(&mut self, world: &mut World, payload: &[u8], now: Duration) -> bool {
        let Some(replica) = self.replica.as_mut().filter(|_| self.ready) else { return false };
        let Ok(snapshot) = snapshot::decode(payload, replica.audience()) else { return false };
        match replica.apply(world, &snapshot) {
            Ok(matches) => {
                self.statistics.snapshots += 1;
                self.statistics.state_mismatches += u64::from(!matches);
                self.on_applied(&snapshot, now);
            }
            Err(_) => self.statistics.snapshots_unusable += 1,
        }
        true
    }

    fn on_applied(&mut self, snapshot: &Decoded, now: Duration) {
        self.statistics.snapshot_age.record(self.arrivals.age(snapshot.tick(), now));
        if self.seat().is_none() {
            self.acknowledge = true;
            return;
        }
        let head = &snapshot.head;
        let took = &mut self.statistics.input_to_ack;
        self.inputs.on_confirmed(head.input_newest, now, |time| took.record(time));
        let Some(clock) = &mut self.clock else {
            self.clock = Some(TickClock::start(snapshot.tick(), now));
            return;
        };
        if head.input_margin_ticks == NO_MARGIN {
            clock.on_no_margin(snapshot.tick(), now);
        } else {
            let late = head.input_margin_ticks < 0;
            self.statistics.margins_late += u64::from(late);
            self.statistics.margins_in_time += u64::from(!late);
            clock.on_margin(head.input_margin_ticks, head.input_newest, self.inputs.newest(), now);
        }
        self.inputs.rewind(clock.tick(now));
    }

    fn close(&mut self, reason: Ended) {
        self.state = State::Closed;
        self.farewells = FAREWELLS;
        self.events.push_back(SessionEvent::Closed { reason });
    }

    fn put_handshake(&mut self, now: Duration) -> bool {
        let passed = now.saturating_sub(self.updated);
        self.updated = self.updated.max(now);
        self.state != State::Closed && self.link.update(passed, &mut self.datagram)
    }

    fn put_control(&mut self, now: Duration) -> bool {
        if !self.link.is_connected() {
            return false;
        }
        let Some(packet) = self.control.poll_packet(now) else { return false };
        self.link.seal(&packet, &mut self.datagram)
    }

    /// A player's inputs, or a spectator's acknowledgement.
    fn put_hot(&mut self, now: Duration) -> bool {
        let (State::Open, true, Some(replica)) = (self.state, self.ready, &self.replica) else { return false };
        let acknowledged = replica.acknowledged();
        self.payload.clear();
        if replica.audience() == Audience::Public {
            if !self.acknowledge && now.saturating_sub(self.acknowledged_at) < SIGN_OF_LIFE_EVERY {
                return false;
            }
            (self.acknowledge, self.acknowledged_at) = (false, now);
            Acknowledge(acknowledged).encode(&mut self.payload);
        } else {
            let Some(datagram) = self.inputs.poll_datagram(acknowledged, now) else { return false };
            datagram.encode(&mut self.payload);
        }
        self.link.seal(&self.payload, &mut self.datagram)
    }

    /// The last notices; only from a session that had a connection to end.
    fn put_farewell(&mut self) -> bool {
        if self.state != State::Closed || self.farewells == 0 {
            return false;
        }
        let first = self.farewells == FAREWELLS;
        self.farewells -= 1;
        if first && !self.link.is_connected() {
            self.farewells = 0;
            return false;
        }
        self.link.disconnect(&mut self.datagram)
    }
}
