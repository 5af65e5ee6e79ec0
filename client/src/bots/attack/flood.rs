//! Too much of what is otherwise right, and of what is not.
//!
//! A client with a seat sends 20,000 inputs a second, outsiders 50,000 datagrams a second to the same port: of a player's
//! kind, and connection requests that differ from a genuine one only in what nobody can know.
//! *Invariant:* the rate is kept by the clock: a machine that cannot do it sends less, never a backlog at once.

use std::time::{Duration, Instant};

use astro_shared::sim::input::Input;
use astro_shared::wire::input::InputDatagram;

use super::junk::Junk;
use super::report::{End, Outcome};
use super::rogue::Rogue;
use super::target::udp_socket;
use super::{Assault, AttackError, Expected, Try};
use crate::net::{Carried, Transport};

const GONE_WITHIN: Duration = Duration::from_secs(2);

pub static ASSAULTS: [Assault; 4] = [
    Assault {
        name: "20,000 datagrams/s from a seat over UDP",
        expected: Expected::Gone(GONE_WITHIN),
        run: |attempt| from_a_seat(attempt, Transport::Udp),
    },
    Assault {
        name: "20,000 frames/s from a seat over WebSocket",
        expected: Expected::Gone(GONE_WITHIN),
        run: |attempt| from_a_seat(attempt, Transport::WebSocket),
    },
    Assault {
        name: "50,000 datagrams/s from outside",
        expected: Expected::Silence,
        run: |attempt| from_outside(attempt, |junk, _| junk.like_a_player()),
    },
    Assault {
        name: "50,000 fake connection requests/s from outside",
        expected: Expected::Silence,
        run: |attempt| from_outside(attempt, Junk::like_a_request),
    },
];

const SEAT_PER_S: u64 = 20_000;
const OUTSIDE_PER_S: u64 = 50_000;
/// Datagrams in one go at most, some milliseconds' worth.
const BURST_MAX: u64 = 500;

/// How many datagrams the clock allows now.
struct Rate {
    per_s: u64,
    began: Instant,
    sent: u64,
}

impl Rate {
    fn new(per_s: u64) -> Rate {
        Rate { per_s, began: Instant::now(), sent: 0 }
    }

    fn due(&mut self) -> u64 {
        let due = (self.began.elapsed().as_secs_f64() * self.per_s as f64) as u64;
        let now = due.saturating_sub(self.sent).min(BURST_MAX);
        self.sent = due;
        now
    }
}

fn from_a_seat(attempt: &mut Try<'_>, transport: Transport) -> Result<Outcome, AttackError> {
    let mut rogue = Rogue::enter(attempt, transport)?;
    let mut rate = Rate::new(SEAT_PER_S);
    let mut datagram = Vec::new();
    Ok(rogue.until_gone(attempt, |rogue| {
        rogue.turn();
        datagram.clear();
        let newest = rogue.tick().plus(4);
        InputDatagram::new(rogue.tick(), newest, &[Input::new(3, true, true); 4]).encode(&mut datagram);
        (0..rate.due()).for_each(|_| rogue.throw(&datagram));
    }))
}

/// `make` is given a genuine connect token, which is never used.
fn from_outside(attempt: &mut Try<'_>, make: impl Fn(&mut Junk, &[u8]) -> Vec<u8>) -> Result<Outcome, AttackError> {
    let ticket = attempt.target.join(&format!("{}-outside", attempt.attacker))?;
    let server = attempt.target.udp_address(&ticket)?;
    let socket = udp_socket(1000 + attempt.attacker, server)?;
    let mut junk = Junk::new(attempt.seed());
    let datagrams: Vec<Vec<u8>> = (0..64).map(|_| make(&mut junk, &ticket.connect_token)).collect();
    // All attackers together.
    let mut rate = Rate::new(OUTSIDE_PER_S / u64::from(attempt.attackers));
    let (mut sent, mut answers) = (Carried::default(), 0);
    while !attempt.is_over() {
        for number in 0..rate.due() {
            let datagram = &datagrams[number as usize % datagrams.len()];
            sent.count_up(datagram.len());
            let _ = socket.send_to(datagram, server);
        }
        // Waits for a millisecond, which is the pause between two goes.
        answers += u64::from(socket.recv(&mut [0; 2048]).is_ok());
    }
    let end = if answers == 0 { End::Unanswered } else { End::Answered { datagrams: answers } };
    Ok(Outcome { sent, end })
}
