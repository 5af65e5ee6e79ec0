//! Junk from everywhere: addresses nobody knows, addresses on the way in, and seats; over UDP, WebSocket and HTTP.

use std::io::{Read as _, Write as _};
use std::time::{Duration, Instant};

use tungstenite::Message;

use super::junk::Junk;
use super::report::{End, Outcome};
use super::rogue::{Carrier, Rogue};
use super::target::udp_socket;
use super::{Assault, AttackError, Expected, Try};
use crate::net::websocket::ClientWebSocket;
use crate::net::{Carried, Transport};

const GONE_WITHIN: Duration = Duration::from_secs(2);
/// Junk datagrams in a go, and goes in a second about 500.
const BURST: usize = 10;

pub static ASSAULTS: [Assault; 6] = [
    Assault { name: "junk from unknown addresses", expected: Expected::Silence, run: unknown },
    Assault { name: "junk from an address on its way in", expected: Expected::Unharmed, run: pending },
    Assault {
        name: "sealed junk from a seat over UDP",
        expected: Expected::Gone(GONE_WITHIN),
        run: |attempt| connected(attempt, Transport::Udp),
    },
    Assault {
        name: "junk from a seat over WebSocket",
        expected: Expected::Gone(GONE_WITHIN),
        run: |attempt| connected(attempt, Transport::WebSocket),
    },
    Assault { name: "junk instead of a hello", expected: Expected::Gone(GONE_WITHIN), run: no_hello },
    Assault { name: "junk instead of HTTP", expected: Expected::Gone(GONE_WITHIN), run: no_http },
];

fn unknown(attempt: &mut Try<'_>) -> Result<Outcome, AttackError> {
    let server = attempt.target.udp_address(&attempt.target.join(&format!("{}-unknown", attempt.attacker))?)?;
    let mut junk = Junk::new(attempt.seed());
    let (mut sent, mut answers) = (Carried::default(), 0);
    while !attempt.is_over() {
        // A few hundred addresses in turn.
        let socket = udp_socket(2000 + junk.below(256) as u32, server)?;
        for _ in 0..BURST {
            let datagram = junk.datagram();
            sent.count_up(datagram.len());
            let _ = socket.send_to(&datagram, server);
        }
        answers += u64::from(socket.recv(&mut [0; 2048]).is_ok());
    }
    let end = if answers == 0 { End::Unanswered } else { End::Answered { datagrams: answers } };
    Ok(Outcome { sent, end })
}

/// Asks for a connection, throws junk instead of answering the challenge, and then goes in after all: nothing of it
/// may have spoilt the address.
fn pending(attempt: &mut Try<'_>) -> Result<Outcome, AttackError> {
    let mut rogue = Rogue::board(attempt, Transport::Udp)?;
    let mut junk = Junk::new(attempt.seed());
    // The request alone: `turn` answers no challenge before it has listened.
    rogue.turn();
    for _ in 0..200 {
        let datagram = junk.datagram();
        rogue.throw_raw(&datagram);
    }
    let began = Instant::now();
    while rogue.session.view().is_none() && rogue.ended().is_none() && !attempt.is_hopeless(began) {
        rogue.turn();
    }
    let end = if rogue.session.view().is_none() { End::Harmed("not let in".into()) } else { rogue.unharmed() };
    rogue.session.leave(rogue.now());
    (0..20).for_each(|_| rogue.turn());
    Ok(Outcome { sent: rogue.thrown, end })
}

fn connected(attempt: &mut Try<'_>, transport: Transport) -> Result<Outcome, AttackError> {
    let mut rogue = Rogue::enter(attempt, transport)?;
    let mut junk = Junk::new(attempt.seed());
    let round = attempt.round;
    Ok(rogue.until_gone(attempt, |rogue| {
        rogue.turn();
        match &mut rogue.carrier {
            // What only a WebSocket can get wrong, in turn with what both can.
            Carrier::WebSocket(websocket) if round % 4 == 1 => websocket.send_message(Message::text("join please")),
            Carrier::WebSocket(websocket) if round % 4 == 2 => {
                websocket.send_message(Message::binary(junk.bytes(4000)))
            }
            Carrier::WebSocket(websocket) if round % 4 == 3 => websocket.send_message(Message::binary(vec![1; 8000])),
            _ => (0..BURST).for_each(|_| rogue.throw(&junk.payload())),
        }
    }))
}

fn no_hello(attempt: &mut Try<'_>) -> Result<Outcome, AttackError> {
    let url = attempt.target.websocket_url();
    let mut junk = Junk::new(attempt.seed());
    let stream = attempt.target.connect(attempt.attacker, None)?;
    let mut websocket = match ClientWebSocket::upgrade(stream, &url) {
        Ok(websocket) => websocket,
        Err(error) => return Ok(Outcome::of(End::Refused { reason: error.to_string() })),
    };
    let began = Instant::now();
    let message = match attempt.round % 3 {
        0 => Message::binary(junk.bytes(100)),
        1 => Message::text("hello"),
        // A hello of the right shape whose ticket nobody has made.
        _ => Message::binary([&[1][..], &astro_shared::wire::fingerprint().to_le_bytes(), &[7; 16]].concat()),
    };
    websocket.send_message(message);
    Ok(Outcome { sent: websocket.carried(), end: closing(attempt, &mut websocket, began) })
}

/// Waits until the server has closed a WebSocket.
pub(super) fn closing(attempt: &Try<'_>, websocket: &mut ClientWebSocket, began: Instant) -> End {
    while !attempt.is_hopeless(began) {
        websocket.receive(|_| ());
        if let Some(closed) = websocket.closed() {
            let reason = closed.code.map_or_else(|| "broken".to_owned(), |code| code.to_string());
            return End::Gone { after: began.elapsed(), reason };
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    End::Stayed
}

fn no_http(attempt: &mut Try<'_>) -> Result<Outcome, AttackError> {
    let mut stream = attempt.target.connect(attempt.attacker, None)?;
    stream.set_read_timeout(Some(Duration::from_secs(15)))?;
    let mut sent = Carried::default();
    let bytes = Junk::new(attempt.seed()).bytes(2000);
    sent.count_up(bytes.len());
    let began = Instant::now();
    // A line's end, so that there is something to be misunderstood.
    let written = stream.write_all(&bytes).and_then(|()| stream.write_all(b"\r\n\r\n"));
    let mut answer = Vec::new();
    let read = written.and_then(|()| stream.read_to_end(&mut answer).map(|_| ()));
    let end = match read {
        Err(error) if matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => {
            End::Stayed
        }
        _ => End::Gone { after: began.elapsed(), reason: status_of(&answer) },
    };
    Ok(Outcome { sent, end })
}

/// The status in an HTTP answer.
pub(super) fn status_of(answer: &[u8]) -> String {
    let line = String::from_utf8_lossy(&answer[..answer.len().min(16)]);
    line.split(' ').nth(1).map_or_else(|| "closed".to_owned(), |status| format!("HTTP {status}"))
}
