//! Players and sockets over `GET /v1/play` of the real program, without the client's own carrier: what it hides is
//! what is tested here.
//!
//! A [`Socket`] sends whatever a test wants and says how it ended; a [`WebSocketPlayer`] flies over one.
//! Start reading at [`Socket::open`] and [`fly_until`].

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use astro_client::brain::Brain;
use astro_client::session::{Link, Session};
use astro_shared::api::{Problem, TicketAnswer};
use astro_shared::sim::SimPlugin;
use astro_shared::sim::rules::Ruleset;
use astro_shared::wire;
use astro_shared::wire::websocket::{Hello, TICKET_BYTES, packets, put_packet};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bevy_ecs::world::World;
use socket2::{Domain, Type};
use tungstenite::client::IntoClientRequest;
use tungstenite::http::HeaderValue;
use tungstenite::{HandshakeError, Message, WebSocket};

use crate::service::{Service, UdpPlayer, unix_now};

/// How long one look for a frame may take.
const LOOK: Duration = Duration::from_millis(2);

/// A WebSocket in a test's hands.
pub struct Socket {
    inner: WebSocket<TcpStream>,
    /// The code it was closed with; 0 when it ended without one.
    pub ended: Option<u16>,
}

impl Socket {
    /// Upgrades, with an `Origin` if there is one to show and a small receive buffer if the reader is to be slow.
    ///
    /// # Errors
    /// Status and code of the refusal.
    pub fn open(service: &Service, origin: Option<&str>, buffer_bytes: Option<usize>) -> Result<Socket, (u16, String)> {
        let address: SocketAddr = service.http.trim_start_matches("http://").parse().expect("an address");
        let socket = socket2::Socket::new(Domain::for_address(address), Type::STREAM, None).expect("a socket");
        if let Some(bytes) = buffer_bytes {
            socket.set_recv_buffer_size(bytes).expect("a buffer");
        }
        socket.connect(&address.into()).expect("a connection");
        let stream: TcpStream = socket.into();
        stream.set_nodelay(true).expect("no delay");
        let url = format!("ws{}{}", service.http.trim_start_matches("http"), wire::websocket::PATH);
        let mut request = url.into_client_request().expect("a request");
        if let Some(origin) = origin {
            request.headers_mut().insert("origin", HeaderValue::from_str(origin).expect("a header"));
        }
        match tungstenite::client(request, stream) {
            Ok((inner, _)) => {
                inner.get_ref().set_read_timeout(Some(LOOK)).expect("a timeout");
                Ok(Socket { inner, ended: None })
            }
            Err(HandshakeError::Failure(tungstenite::Error::Http(answer))) => {
                let body = answer.body().clone().unwrap_or_default();
                let error: Problem = serde_json::from_slice(&body).expect("an error body");
                Err((answer.status().as_u16(), error.code))
            }
            Err(error) => panic!("neither let in nor refused: {error}"),
        }
    }

    /// A socket that has shown this ticket.
    pub fn with_ticket(service: &Service, ticket: &TicketAnswer) -> Socket {
        let mut socket = Socket::open(service, None, None).expect("let in");
        socket.hello(ticket);
        socket
    }

    pub fn hello(&mut self, ticket: &TicketAnswer) {
        self.send(&Hello { fingerprint: wire::fingerprint(), ticket: ticket_of(ticket) }.encode());
    }

    /// Sends a binary frame. A connection that is gone shows when it is read.
    pub fn send(&mut self, frame: &[u8]) {
        self.send_message(Message::Binary(frame.to_vec().into()));
    }

    pub fn send_message(&mut self, message: Message) {
        let _ = self.inner.send(message);
    }

    /// The next binary frame, if one is there within a moment. Notes the end when there is one.
    pub fn receive(&mut self) -> Option<Vec<u8>> {
        while self.ended.is_none() {
            match self.inner.read() {
                Ok(Message::Binary(frame)) => return Some(frame.into()),
                Ok(Message::Close(frame)) => self.ended = Some(frame.map_or(0, |frame| frame.code.into())),
                Ok(_) => {}
                Err(tungstenite::Error::Io(error))
                    if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) =>
                {
                    return None;
                }
                Err(_) => self.ended = Some(0),
            }
        }
        // The answer to a close frame leaves with the next reads.
        let _ = self.inner.read();
        None
    }

    /// Reads until the end; answers its code.
    pub fn code(&mut self) -> u16 {
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            while self.receive().is_some() {}
            if let Some(code) = self.ended {
                return code;
            }
            assert!(Instant::now() < deadline, "the socket is still open");
        }
    }
}

/// The ticket as bytes.
pub fn ticket_of(ticket: &TicketAnswer) -> [u8; TICKET_BYTES] {
    STANDARD.decode(&ticket.websocket_ticket).ok().and_then(|bytes| bytes.try_into().ok()).expect("a ticket")
}

/// A player over a WebSocket.
pub struct WebSocketPlayer {
    pub session: Session,
    pub socket: Socket,
    pub ticket: TicketAnswer,
    /// Flies on but reads nothing.
    pub deaf: bool,
    world: World,
    brain: Brain,
}

impl WebSocketPlayer {
    pub fn join(service: &Service, name: &str, rules: &str, seats: u8, group: &str) -> WebSocketPlayer {
        let ticket = service.quickplay(name, rules, seats, group);
        let socket = Socket::with_ticket(service, &ticket);
        WebSocketPlayer::over(socket, ticket.clone(), service.ruleset(&ticket.rules_hash))
    }

    /// A player over a socket that has shown its ticket.
    pub fn over(socket: Socket, ticket: TicketAnswer, ruleset: Arc<Ruleset>) -> WebSocketPlayer {
        let mut session = Session::new(Link::Bare, 30, unix_now());
        session.start(ruleset);
        let brain = Brain::new(u64::from(ticket.seat));
        WebSocketPlayer { session, socket, ticket, deaf: false, world: SimPlugin::world(), brain }
    }

    /// The code that the server closed with, once it has and all was read.
    pub fn code(&mut self) -> u16 {
        self.deaf = false;
        let deadline = Instant::now() + Duration::from_secs(30);
        while self.socket.ended.is_none() {
            self.read();
            assert!(Instant::now() < deadline, "the socket is still open");
        }
        self.socket.ended.unwrap_or_default()
    }

    fn read(&mut self) {
        while let Some(frame) = self.socket.receive() {
            for packet in packets(&frame).expect("a server's frame") {
                self.session.handle_datagram(&mut self.world, &mut packet.to_vec(), unix_now());
            }
        }
    }
}

/// A player over any transport.
pub trait Flies {
    /// One round of receiving, flying and sending.
    fn drive(&mut self);
    fn session(&self) -> &Session;
}

impl Flies for UdpPlayer {
    fn drive(&mut self) {
        UdpPlayer::drive(self);
    }

    fn session(&self) -> &Session {
        &self.session
    }
}

impl Flies for WebSocketPlayer {
    fn drive(&mut self) {
        if !self.deaf {
            self.read();
        }
        let now = unix_now();
        self.session.handle_tick(now);
        while let Some(tick) = self.session.poll_sample(now) {
            let (Some(view), Some(rules), Some(seat)) =
                (self.session.view(), self.session.ruleset(), self.session.seat())
            else {
                break;
            };
            let input = self.brain.input(view, rules, seat, tick);
            self.session.sample(tick, input, now);
        }
        let mut frame = Vec::new();
        while let Some(transmit) = self.session.poll_transmit(now) {
            put_packet(&mut frame, transmit.bytes);
        }
        if !frame.is_empty() {
            self.socket.send(&frame);
        }
    }

    fn session(&self) -> &Session {
        &self.session
    }
}

/// Drives players of any kind together until `done`; panics after half a minute with what everybody knows.
pub fn fly_until(players: &mut [&mut dyn Flies], mut done: impl FnMut(&[&mut dyn Flies]) -> bool) {
    let deadline = Instant::now() + Duration::from_secs(45);
    while !done(players) {
        players.iter_mut().for_each(|player| player.drive());
        assert!(
            Instant::now() < deadline,
            "not done: {:?}",
            players.iter().map(|player| player.session().statistics()).collect::<Vec<_>>()
        );
    }
}

/// Whether every player has been told the result.
pub fn all_know_the_result(players: &[&mut dyn Flies]) -> bool {
    players.iter().all(|player| player.session().result().is_some())
}
