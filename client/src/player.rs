//! A player: one session with its carrier and its World, ready to be driven by a game or a bot.
//!
//! In: a seat won from the service, time, a way to fly. Out: a match played; views and events on the way.
//! *Invariant:* after [`Player::board`] nothing blocks.
//! *Invariant:* what the session knows is all that the flying sees.
//! Start reading at [`Player::board`] and [`Player::turn`]; `client/examples/bot.rs` is a whole bot made of them.

use std::io;
use std::time::Duration;

use astro_shared::sim::SimPlugin;
use astro_shared::sim::input::Input;
use astro_shared::sim::rules::Ruleset;
use astro_shared::sim::tables::View;
use astro_shared::sim::units::{Seat, Tick};
use bevy_ecs::world::World;

use crate::net::native::ClientSocket;
use crate::net::websocket::{ClientWebSocket, ConnectError};
use crate::net::{Carried, Transport};
use crate::service::Joined;
use crate::session::{Link, Session, SessionEvent, TokenError};

/// A player could not set out.
#[derive(Debug, thiserror::Error)]
pub enum BoardError {
    #[error("the connect token cannot be used: {0}")]
    Token(#[from] TokenError),
    #[error("no socket to play over: {0}")]
    Socket(#[from] io::Error),
    #[error(transparent)]
    WebSocket(#[from] ConnectError),
}

/// A player in a match, or on the way into one.
pub struct Player {
    session: Session,
    carrier: Carrier,
    world: World,
}

enum Carrier {
    Udp(Box<ClientSocket>, Carried),
    WebSocket(Box<ClientWebSocket>),
}

impl Player {
    /// Sets out to the seat. `snapshots_per_s` is 15, 30 or 60; `now` counts from any moment, the same for all calls.
    /// Over WebSocket this waits for the upgrade, for seconds when the server is slow.
    ///
    /// # Errors
    /// When the ticket or this machine's sockets do not allow it, or the server cannot be reached.
    pub fn board(
        joined: &Joined,
        transport: Transport,
        snapshots_per_s: u8,
        now: Duration,
    ) -> Result<Player, BoardError> {
        let (link, carrier) = match transport {
            Transport::Udp => {
                let link = Link::from_connect_token(&joined.connect_token, now)?;
                let server = link.server_address().ok_or(TokenError::NoAddress)?;
                (link, Carrier::Udp(Box::new(ClientSocket::bind(server)?), Carried::default()))
            }
            Transport::WebSocket => {
                (Link::Bare, Carrier::WebSocket(Box::new(ClientWebSocket::connect(&joined.websocket)?)))
            }
        };
        let mut session = Session::new(link, snapshots_per_s, now);
        session.start(joined.ruleset.clone());
        Ok(Player { session, carrier, world: SimPlugin::world() })
    }

    /// One turn: takes in what has come, asks `fly` for the inputs that are due, sends what there is to send.
    /// To be called 60 times a second or more; `fly` is asked once for each of the 60 ticks of a second.
    pub fn turn(&mut self, now: Duration, fly: impl FnMut(&View, &Ruleset, Seat, Tick) -> Input) {
        self.receive(now);
        self.fly(now, fly);
        self.send(now);
    }

    /// What happened since the last call; [`SessionEvent::Closed`] is the last there is.
    pub fn poll_event(&mut self) -> Option<SessionEvent> {
        self.session.poll_event()
    }

    pub fn session(&self) -> &Session {
        &self.session
    }

    /// Gives the seat up; the session ends within half a second.
    pub fn leave(&mut self, now: Duration) {
        self.session.leave(now);
    }

    /// What went over the network.
    pub fn carried(&self) -> Carried {
        match &self.carrier {
            Carrier::Udp(_, carried) => *carried,
            Carrier::WebSocket(websocket) => websocket.carried(),
        }
    }

    fn receive(&mut self, now: Duration) {
        let Player { session, carrier, world } = self;
        match carrier {
            Carrier::Udp(socket, carried) => socket.receive(|datagram| {
                carried.count_down(datagram.len());
                session.handle_datagram(world, datagram, now);
            }),
            Carrier::WebSocket(websocket) => {
                websocket.receive(|packet| session.handle_datagram(world, packet, now));
                if let Some(closed) = websocket.closed() {
                    session.handle_carrier_closed(closed.code);
                }
            }
        }
        session.handle_tick(now);
    }

    fn fly(&mut self, now: Duration, mut fly: impl FnMut(&View, &Ruleset, Seat, Tick) -> Input) {
        let session = &mut self.session;
        while let Some(tick) = session.poll_sample(now) {
            let (Some(view), Some(rules), Some(seat)) = (session.view(), session.ruleset(), session.seat()) else {
                return;
            };
            let input = fly(view, rules, seat, tick);
            session.sample(tick, input, now);
        }
    }

    fn send(&mut self, now: Duration) {
        while let Some(transmit) = self.session.poll_transmit(now) {
            match &mut self.carrier {
                Carrier::Udp(socket, carried) => {
                    carried.count_up(transmit.bytes.len());
                    socket.send(transmit.bytes);
                }
                Carrier::WebSocket(websocket) => websocket.queue(transmit.bytes),
            }
        }
        if let Carrier::WebSocket(websocket) = &mut self.carrier {
            websocket.flush();
        }
    }
}
