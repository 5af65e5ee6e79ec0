//! Connections that say nothing: HTTP without a request, WebSockets without a hello.
//!
//! *Invariant:* [`SOCKETS`] at a time and attacker, from as many addresses, so that limits per address do not hide those in all.

use std::io::Read as _;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use super::garbage::status_of;
use super::report::{End, Outcome};
use super::{Assault, AttackError, Expected, Try};
use crate::net::websocket::ClientWebSocket;

/// A request's head and a hello both have five seconds.
const GONE_WITHIN: Duration = Duration::from_secs(7);

pub static ASSAULTS: [Assault; 2] = [
    Assault { name: "HTTP connections without a request", expected: Expected::Gone(GONE_WITHIN), run: http },
    Assault { name: "WebSockets without a hello", expected: Expected::Gone(GONE_WITHIN), run: websocket },
];

/// Sockets of one attacker.
pub const SOCKETS: u32 = 100;

/// Anything that can be looked at without waiting.
trait Idle {
    /// Why it has ended, if it has.
    fn ended(&mut self) -> Option<String>;
}

impl Idle for TcpStream {
    fn ended(&mut self) -> Option<String> {
        let mut answer = [0; 64];
        match self.read(&mut answer) {
            Ok(length) => Some(status_of(&answer[..length])),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => None,
            Err(_) => Some("closed".into()),
        }
    }
}

impl Idle for ClientWebSocket {
    fn ended(&mut self) -> Option<String> {
        self.receive(|_| ());
        let closed = self.closed()?;
        Some(closed.code.map_or_else(|| "broken".into(), |code| code.to_string()))
    }
}

fn http(attempt: &mut Try<'_>) -> Result<Outcome, AttackError> {
    let mut sockets = Vec::new();
    for number in 0..SOCKETS {
        let stream = attempt.target.connect(source(attempt, number), None)?;
        stream.set_nonblocking(true)?;
        sockets.push((Instant::now(), stream));
    }
    Ok(Outcome::of(watch(attempt, sockets)))
}

/// Not all are let in: what counts is that each is refused at once or ended in time.
fn websocket(attempt: &mut Try<'_>) -> Result<Outcome, AttackError> {
    let url = attempt.target.websocket_url();
    let (mut sockets, mut refusal) = (Vec::new(), None);
    for number in 0..SOCKETS {
        let stream = attempt.target.connect(source(attempt, number), None)?;
        match ClientWebSocket::upgrade(stream, &url) {
            Ok(websocket) => sockets.push((Instant::now(), websocket)),
            Err(error) => refusal = Some(error.to_string()),
        }
    }
    match (sockets.is_empty(), refusal) {
        (true, Some(reason)) => Ok(Outcome::of(End::Refused { reason })),
        _ => Ok(Outcome::of(watch(attempt, sockets))),
    }
}

fn source(attempt: &Try<'_>, number: u32) -> u32 {
    4000 + attempt.attacker * SOCKETS + number
}

/// Until the last one is ended: that one's time, and its reason.
fn watch(attempt: &Try<'_>, mut sockets: Vec<(Instant, impl Idle)>) -> End {
    let began = Instant::now();
    let (mut slowest, mut last_reason) = (Duration::ZERO, String::new());
    while !sockets.is_empty() {
        if attempt.is_hopeless(began) {
            return End::Stayed;
        }
        sockets.retain_mut(|(opened, socket)| {
            let Some(reason) = socket.ended() else { return true };
            slowest = slowest.max(opened.elapsed());
            last_reason = reason;
            false
        });
        std::thread::sleep(Duration::from_millis(10));
    }
    End::Gone { after: slowest, reason: last_reason }
}
