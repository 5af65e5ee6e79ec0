//! One bot: its session, its mind, its place on the network, and whether it has one.
//!
//! In: what its socket received, time. Out: what its session sends.
//! *Invariant:* a bot whose connection is lost neither hears nor says anything over it.
//! Start reading at [`Bot`] and [`Bot::fly`].

use std::time::Duration;

use astro_shared::sim::units::MatchId;
use astro_shared::wire::message::CloseReason;
use bevy_ecs::world::World;

use super::ledger::Reached;
use super::network::Wire;
use super::outages::{Loss, Outage, Outages};
use crate::brain::Brain;
use crate::net::native::{FleetSockets, Port};
use crate::net::websocket::{ClientWebSocket, FleetWebSockets};
use crate::net::{Carried, Transport};
use crate::session::{Ended, Session};

/// Why a bot goes home that did not get its seat back: it was refused, its match was over, or the run was.
pub const REFUSED: &str = "rejoin_refused";
pub const TOO_LATE: &str = "rejoin_too_late";
pub const LEFT_BEHIND: &str = "left_while_away";

/// A bot with a seat.
pub struct Bot {
    pub session: Session,
    pub brain: Brain,
    pub carrier: Carrier,
    pub carried: Carried,
    /// The bad network, if there is one; of the present connection.
    pub wire: Option<Box<Wire>>,
    pub number: usize,
    pub serial: u64,
    pub seed: u64,
    pub match_id: MatchId,
    pub seat_secret: String,
    /// When its seat was asked for.
    pub asked: Duration,
    pub reached: Reached,
    /// Counted as connected.
    pub counted: bool,
    pub outages: Option<Outages>,
    pub standing: Standing,
}

/// Whether a bot has its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    Flying,
    /// It was lost.
    Away(Outage),
    /// The seat has been asked for again.
    Asking(Loss),
    /// There is a new one, on which the server is still to say welcome; asked for at this time.
    Returning {
        asked: Duration,
    },
    /// The seat is gone; why.
    Refused(&'static str),
}

/// A bot's place on the network.
pub enum Carrier {
    Udp(Port),
    /// Its place among the WebSockets.
    WebSocket(usize),
    /// None any more; what it was.
    Cut(Transport),
}

impl Carrier {
    pub fn transport(&self) -> Transport {
        match self {
            Carrier::Udp(_) => Transport::Udp,
            Carrier::WebSocket(_) => Transport::WebSocket,
            Carrier::Cut(transport) => *transport,
        }
    }

    fn websocket<'s>(&self, websockets: &'s mut FleetWebSockets) -> Option<&'s mut ClientWebSocket> {
        if let Carrier::WebSocket(place) = self { websockets.get_mut(*place) } else { None }
    }

    fn carry(&self, carried: &mut Carried, sockets: &mut FleetSockets, websockets: &mut FleetWebSockets, bytes: &[u8]) {
        if let Carrier::Udp(port) = self {
            carried.count_up(bytes.len());
            sockets.send(port, bytes);
        } else if let Some(websocket) = self.websocket(websockets) {
            websocket.queue(bytes);
        }
    }

    /// Lets out what a WebSocket has collected into a frame.
    fn flush(&self, carried: &mut Carried, websockets: &mut FleetWebSockets) {
        if let Some(websocket) = self.websocket(websockets) {
            websocket.flush();
            *carried = websocket.carried();
        }
    }
}

impl Bot {
    /// Whether it neither hears nor says anything.
    pub fn is_silent(&self) -> bool {
        match self.standing {
            Standing::Away(Outage { loss, .. }) | Standing::Asking(loss) => loss != Loss::NewPort,
            Standing::Refused(_) => true,
            Standing::Flying | Standing::Returning { .. } => false,
        }
    }

    /// Takes what its socket has received.
    pub fn receive(&mut self, world: &mut World, bytes: &mut [u8], now: Duration) {
        if self.is_silent() {
            return;
        }
        match &mut self.wire {
            Some(wire) => _ = wire.down.send(now, bytes),
            None => self.session.handle_datagram(world, bytes, now),
        }
    }

    /// Takes and sends what has come through the bad network.
    pub fn pass_wire(
        &mut self,
        world: &mut World,
        sockets: &mut FleetSockets,
        websockets: &mut FleetWebSockets,
        now: Duration,
    ) {
        let silent = self.is_silent();
        let Some(wire) = &mut self.wire else { return };
        while let Some(mut bytes) = wire.down.receive(now) {
            if !silent {
                self.session.handle_datagram(world, &mut bytes, now);
            }
        }
        while let Some(bytes) = wire.up.receive(now) {
            self.carrier.carry(&mut self.carried, sockets, websockets, &bytes);
        }
        self.carrier.flush(&mut self.carried, websockets);
    }

    /// One tick of one session.
    pub fn fly(&mut self, sockets: &mut FleetSockets, websockets: &mut FleetWebSockets, now: Duration) {
        let Bot { session, brain, carrier, carried, wire, .. } = self;
        // What came before the end is heard first.
        let heard = wire.as_ref().is_none_or(|wire| wire.down.under_way() == 0);
        if let Some(closed) = carrier.websocket(websockets).and_then(|websocket| websocket.closed().filter(|_| heard)) {
            session.handle_carrier_closed(closed.code);
        }
        session.handle_tick(now);
        while let Some(tick) = session.poll_sample(now) {
            let (Some(view), Some(rules), Some(seat)) = (session.view(), session.ruleset(), session.seat()) else {
                break;
            };
            let input = brain.input(view, rules, seat, tick);
            session.sample(tick, input, now);
        }
        while let Some(transmit) = session.poll_transmit(now) {
            match wire {
                Some(wire) => _ = wire.up.send(now, transmit.bytes),
                None => carrier.carry(carried, sockets, websockets, transmit.bytes),
            }
        }
        carrier.flush(carried, websockets);
    }
}

/// Whether a session ended by the network, so that its player would come back.
pub fn was_lost(reason: Ended) -> bool {
    matches!(
        reason,
        Ended::Silent | Ended::NoAnswer | Ended::Dropped | Ended::Server(CloseReason::Silent | CloseReason::TooSlow)
    )
}
