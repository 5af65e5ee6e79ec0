//! Peers that take their time: what waits for them must not pile up, and not for ever.
//!
//! The limits are those that an honest peer on a bad network needs too, so the ends come after seconds.

use std::io::{Read as _, Write as _};
use std::time::{Duration, Instant};

use astro_shared::wire;
use astro_shared::wire::message::ToServer;
use astro_shared::wire::websocket::Hello;
use tungstenite::Message;

use super::garbage::status_of;
use super::report::{End, Outcome};
use super::rogue::Rogue;
use super::{Assault, AttackError, Expected, Try};
use crate::net::websocket::ClientWebSocket;
use crate::net::{Carried, Transport};

pub static ASSAULTS: [Assault; 3] = [
    // Five seconds without a sign of life, and a sweep.
    Assault {
        name: "UDP that never acknowledges",
        expected: Expected::Gone(Duration::from_secs(7)),
        run: never_acknowledges,
    },
    // The connection's own buffers fill first, then five seconds.
    Assault { name: "WebSocket that never reads", expected: Expected::Gone(Duration::from_secs(12)), run: never_reads },
    // A request's head has five seconds.
    Assault {
        name: "HTTP headers a byte at a time",
        expected: Expected::Gone(Duration::from_secs(6)),
        run: slow_headers,
    },
];

/// Smallest receive buffer that a system gives.
const RECEIVE_BYTES_MIN: usize = 1024;
/// Low four bits of a netcode datagram that carries a payload.
const NETCODE_PAYLOAD: u8 = 5;

/// Connects, says `Ready` once, and after that sends nothing but netcode's own signs of life: no input, and no
/// acknowledgement of anything.
fn never_acknowledges(attempt: &mut Try<'_>) -> Result<Outcome, AttackError> {
    let mut rogue = Rogue::enter(attempt, Transport::Udp)?;
    Ok(rogue.until_gone(attempt, |rogue| {
        rogue.listen();
        let now = rogue.now();
        while let Some(transmit) = rogue.session.poll_transmit(now) {
            if transmit.bytes.first().is_some_and(|prefix| prefix & 0x0f != NETCODE_PAYLOAD) {
                rogue.carrier.send(transmit.bytes);
            }
        }
    }))
}

/// Joins over a connection with next to no room, plays on, and never reads: the server's frames have nowhere to go.
fn never_reads(attempt: &mut Try<'_>) -> Result<Outcome, AttackError> {
    let joined = attempt.target.join(&format!("{}-deaf", attempt.attacker))?;
    let stream = attempt.target.connect(attempt.attacker, Some(RECEIVE_BYTES_MIN))?;
    let mut websocket = match ClientWebSocket::upgrade(stream, &joined.websocket.url) {
        Ok(websocket) => websocket,
        Err(error) => return Ok(Outcome::of(End::Refused { reason: error.to_string() })),
    };
    let hello = Hello { fingerprint: wire::fingerprint(), ticket: joined.websocket.ticket };
    websocket.send_message(Message::binary(hello.encode().to_vec()));
    let ready = ToServer::Ready { fingerprint: wire::fingerprint(), snapshots_per_s: 60 };
    let ready = ready.encode().map_err(|_| AttackError::NotAdmitted)?;
    // A renet packet: reliable, sequence 0, channel 0, one message, id 0, its length.
    websocket.queue(&[&[0, 0, 0, 0, 1, 0, ready.len() as u8][..], &ready].concat());
    websocket.flush();
    let began = Instant::now();
    let mut tick = 1u32;
    while !websocket.is_over() && !attempt.is_hopeless(began) {
        // Inputs, so that it is not silence that ends it.
        tick += 2;
        let header = [&[wire::KIND_INPUT][..], &0u32.to_le_bytes(), &tick.to_le_bytes(), &[1, 0]].concat();
        websocket.queue(&header);
        websocket.flush();
        std::thread::sleep(Duration::from_millis(33));
    }
    let after = began.elapsed();
    if !websocket.is_over() {
        return Ok(Outcome { sent: websocket.carried(), end: End::Stayed });
    }
    // What the server said last is still in our buffer or was cut off with the rest.
    while websocket.closed().is_none() {
        websocket.receive(|_| ());
    }
    let code = websocket.closed().and_then(|closed| closed.code);
    let reason = code.map_or_else(|| "connection cut".to_owned(), |code| code.to_string());
    Ok(Outcome { sent: websocket.carried(), end: End::Gone { after, reason } })
}

fn slow_headers(attempt: &mut Try<'_>) -> Result<Outcome, AttackError> {
    let mut stream = attempt.target.connect(attempt.attacker, None)?;
    stream.set_read_timeout(Some(Duration::from_millis(200)))?;
    let mut sent = Carried::default();
    let head = b"GET /healthz HTTP/1.1\r\nhost: x\r\nx-patience: ".iter().copied();
    let began = Instant::now();
    for byte in head.chain(std::iter::repeat(b'a')) {
        let written = stream.write_all(&[byte]);
        sent.count_up(1);
        let mut answer = [0; 64];
        let read = written.and_then(|()| stream.read(&mut answer));
        let end = match read {
            Err(error) if matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => None,
            Err(_) => Some("closed".to_owned()),
            Ok(length) => Some(status_of(&answer[..length])),
        };
        if let Some(reason) = end {
            return Ok(Outcome { sent, end: End::Gone { after: began.elapsed(), reason } });
        }
        if attempt.is_hopeless(began) {
            break;
        }
    }
    Ok(Outcome { sent, end: End::Stayed })
}
