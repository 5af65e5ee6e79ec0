//! A player without manners: an honest session that can also be made to send what no client sends.
//!
//! In: a seat, payloads and raw bytes to throw. Out: what the server did about it.
//! *Invariant:* sends to loopback only (the target has checked the address).
//! Start reading at [`Rogue::enter`], then [`Rogue::throw`] and [`Rogue::ended`].

use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use astro_shared::sim::SimPlugin;
use astro_shared::sim::units::Tick;
use bevy_ecs::world::World;

use super::report::{End, Outcome};
use super::target::udp_socket;
use super::{AttackError, Try};
use crate::brain::Brain;
use crate::net::websocket::ClientWebSocket;
use crate::net::{Carried, Transport};
use crate::player::BoardError;
use crate::service::Joined;
use crate::session::{Ended, Link, Session, SessionEvent};

/// Within this an honest client is flying.
const ADMITTED_WITHIN: Duration = Duration::from_secs(10);
const TURN: Duration = Duration::from_millis(2);

/// See the module.
pub struct Rogue {
    pub session: Session,
    pub carrier: Carrier,
    world: World,
    brain: Brain,
    began: Instant,
    ended: Option<Ended>,
    /// What was sent beyond good manners.
    pub thrown: Carried,
    /// Every datagram that honest turns sent, when asked to keep them.
    pub kept: Option<Vec<Vec<u8>>>,
}

/// How it reaches the server.
pub enum Carrier {
    Udp { socket: UdpSocket, server: SocketAddr },
    WebSocket(Box<ClientWebSocket>),
}

impl Rogue {
    /// Takes a seat and sets out to it.
    pub fn board(attempt: &Try<'_>, transport: Transport) -> Result<Rogue, AttackError> {
        let joined = attempt.target.join(&format!("{}-{}", attempt.attacker, transport.name()))?;
        Rogue::with(attempt, &joined, transport)
    }

    /// Sets out to a seat that was won.
    pub fn with(attempt: &Try<'_>, joined: &Joined, transport: Transport) -> Result<Rogue, AttackError> {
        let (link, carrier) = match transport {
            Transport::Udp => {
                let link = Link::from_connect_token(&joined.connect_token, Duration::ZERO).map_err(BoardError::from)?;
                let server = attempt.target.udp_address(joined)?;
                (link, Carrier::Udp { socket: udp_socket(attempt.attacker, server)?, server })
            }
            Transport::WebSocket => {
                let websocket = ClientWebSocket::connect(&joined.websocket).map_err(BoardError::from)?;
                (Link::Bare, Carrier::WebSocket(Box::new(websocket)))
            }
        };
        let mut session = Session::new(link, 30, Duration::ZERO);
        session.start(joined.ruleset.clone());
        Ok(Rogue {
            session,
            carrier,
            world: SimPlugin::world(),
            brain: Brain::new(attempt.seed()),
            began: Instant::now(),
            ended: None,
            thrown: Carried::default(),
            kept: None,
        })
    }

    /// Takes a seat and plays until the server sends snapshots: an honest client so far.
    pub fn enter(attempt: &Try<'_>, transport: Transport) -> Result<Rogue, AttackError> {
        let mut rogue = Rogue::board(attempt, transport)?;
        while rogue.session.view().is_none() {
            rogue.turn();
            if rogue.ended.is_some() || rogue.began.elapsed() > ADMITTED_WITHIN {
                return Err(AttackError::NotAdmitted);
            }
        }
        Ok(rogue)
    }

    pub fn now(&self) -> Duration {
        self.began.elapsed()
    }

    /// One honest turn of about two milliseconds.
    pub fn turn(&mut self) {
        self.listen();
        self.fly();
        let now = self.now();
        while let Some(transmit) = self.session.poll_transmit(now) {
            if let Some(kept) = &mut self.kept {
                kept.push(transmit.bytes.to_vec());
            }
            self.carrier.send(transmit.bytes);
        }
        self.carrier.flush();
    }

    /// Takes in what has come, waiting a moment for it; sends nothing.
    pub fn listen(&mut self) {
        let now = self.now();
        let Rogue { session, carrier, world, .. } = self;
        match carrier {
            Carrier::Udp { socket, server } => {
                let mut buffer = [0; 2048];
                while let Ok((length, from)) = socket.recv_from(&mut buffer) {
                    if from == *server {
                        session.handle_datagram(world, &mut buffer[..length], now);
                    }
                }
            }
            Carrier::WebSocket(websocket) => {
                std::thread::sleep(TURN);
                websocket.receive(|packet| session.handle_datagram(world, packet, now));
                if let Some(closed) = websocket.closed() {
                    session.handle_carrier_closed(closed.code);
                }
            }
        }
        session.handle_tick(now);
        while let Some(event) = session.poll_event() {
            if let SessionEvent::Closed { reason } = event {
                self.ended = Some(reason);
            }
        }
    }

    /// Samples the inputs that are due.
    pub fn fly(&mut self) {
        let now = self.now();
        while let Some(tick) = self.session.poll_sample(now) {
            let session = &self.session;
            let (Some(view), Some(rules), Some(seat)) = (session.view(), session.ruleset(), session.seat()) else {
                return;
            };
            let input = self.brain.input(view, rules, seat, tick);
            self.session.sample(tick, input, now);
        }
    }

    /// Sends a payload as the carrier carries it: sealed, or in a frame of its own.
    pub fn throw(&mut self, payload: &[u8]) {
        self.thrown.count_up(payload.len());
        if let Some(transmit) = self.session.carry(payload) {
            self.carrier.send(transmit.bytes);
            self.carrier.flush();
        }
    }

    /// Sends bytes as they are, from the rogue's own address. UDP only.
    pub fn throw_raw(&mut self, bytes: &[u8]) {
        if let Carrier::Udp { socket, server } = &self.carrier {
            self.thrown.count_up(bytes.len());
            let _ = socket.send_to(bytes, *server);
        }
    }

    /// Tick of the newest snapshot.
    pub fn tick(&self) -> Tick {
        self.session.view().map_or(Tick(0), |view| view.round.tick)
    }

    /// Why the session is over, if it is.
    pub fn ended(&self) -> Option<Ended> {
        self.ended
    }

    /// Keeps on with `act` until the server ends the session, or is seen to tolerate it. Time counts from now.
    pub fn until_gone(&mut self, attempt: &Try<'_>, mut act: impl FnMut(&mut Rogue)) -> Outcome {
        let began = Instant::now();
        while self.ended.is_none() && !attempt.is_hopeless(began) {
            act(self);
        }
        let end = match self.ended {
            Some(reason) => End::Gone { after: began.elapsed(), reason: reason.name().to_owned() },
            None => End::Stayed,
        };
        Outcome { sent: self.thrown, end }
    }

    /// What an honest session of the rogue's own has to say after an assault that should do nothing.
    pub fn unharmed(&self) -> End {
        let statistics = self.session.statistics();
        match self.ended {
            Some(reason) if self.session.result().is_none() => End::Harmed(format!("ended: {}", reason.name())),
            _ if statistics.state_mismatches > 0 => End::Harmed(format!("{} mismatches", statistics.state_mismatches)),
            _ => End::Unharmed,
        }
    }
}

impl Carrier {
    pub fn send(&mut self, bytes: &[u8]) {
        match self {
            Carrier::Udp { socket, server } => _ = socket.send_to(bytes, *server),
            Carrier::WebSocket(websocket) => websocket.queue(bytes),
        }
    }

    pub fn flush(&mut self) {
        if let Carrier::WebSocket(websocket) = self {
            websocket.flush();
        }
    }
}
