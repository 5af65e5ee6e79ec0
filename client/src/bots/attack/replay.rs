//! The same once more: datagrams, connect tokens and tickets that were good the first time.

use std::time::{Duration, Instant};

use super::garbage::closing;
use super::junk::Junk;
use super::report::{End, Outcome};
use super::rogue::{Carrier, Rogue};
use super::target::udp_socket;
use super::{Assault, AttackError, Expected, Try};
use crate::net::Transport;
use crate::net::websocket::ClientWebSocket;

const GONE_WITHIN: Duration = Duration::from_secs(2);

pub static ASSAULTS: [Assault; 4] = [
    Assault {
        name: "own datagrams again, shuffled, from the same address",
        expected: Expected::Unharmed,
        run: same_address,
    },
    Assault { name: "the same from another address", expected: Expected::Silence, run: other_address },
    Assault { name: "a spent connect token", expected: Expected::Silence, run: spent_token },
    Assault { name: "a spent WebSocket ticket", expected: Expected::Gone(GONE_WITHIN), run: spent_ticket },
];

/// Honest play that is kept, to be sent again.
const KEPT_FOR: Duration = Duration::from_secs(2);
/// How often all of it is sent again.
const TIMES: usize = 3;

/// Plays and keeps what it sends.
fn kept(attempt: &Try<'_>) -> Result<(Rogue, Vec<Vec<u8>>), AttackError> {
    let mut rogue = Rogue::board(attempt, Transport::Udp)?;
    rogue.kept = Some(Vec::new());
    let mut since = None;
    while since.is_none_or(|since: Instant| since.elapsed() < KEPT_FOR) {
        rogue.turn();
        if rogue.session.view().is_some() {
            since.get_or_insert_with(Instant::now);
        }
        if rogue.ended().is_some() || rogue.now() > Duration::from_secs(15) {
            return Err(AttackError::NotAdmitted);
        }
    }
    let mut datagrams = rogue.kept.take().unwrap_or_default();
    let mut junk = Junk::new(attempt.seed());
    for last in (1..datagrams.len()).rev() {
        datagrams.swap(last, junk.below(last + 1));
    }
    Ok((rogue, datagrams))
}

fn same_address(attempt: &mut Try<'_>) -> Result<Outcome, AttackError> {
    let (mut rogue, datagrams) = kept(attempt)?;
    for datagram in std::iter::repeat_n(&datagrams, TIMES).flatten() {
        rogue.throw_raw(datagram);
        // Inputs of its own in between, or the server would hear nothing new.
        rogue.turn();
    }
    let end = rogue.unharmed();
    leave(&mut rogue);
    Ok(Outcome { sent: rogue.thrown, end })
}

fn other_address(attempt: &mut Try<'_>) -> Result<Outcome, AttackError> {
    let (mut rogue, datagrams) = kept(attempt)?;
    let Carrier::Udp { server, .. } = rogue.carrier else { return Err(AttackError::NotAdmitted) };
    let other = udp_socket(3000 + attempt.attacker, server)?;
    let mut answers = 0;
    for datagram in std::iter::repeat_n(&datagrams, TIMES).flatten() {
        rogue.thrown.count_up(datagram.len());
        let _ = other.send_to(datagram, server);
        answers += u64::from(other.recv(&mut [0; 2048]).is_ok());
        rogue.turn();
    }
    let end = match rogue.unharmed() {
        End::Unharmed if answers == 0 => End::Unanswered,
        End::Unharmed => End::Answered { datagrams: answers },
        harmed => harmed,
    };
    leave(&mut rogue);
    Ok(Outcome { sent: rogue.thrown, end })
}

/// A second client with the token of a first one that is playing.
fn spent_token(attempt: &mut Try<'_>) -> Result<Outcome, AttackError> {
    let joined = attempt.target.join(&format!("{}-token", attempt.attacker))?;
    let mut owner = Rogue::with(attempt, &joined, Transport::Udp)?;
    let began = Instant::now();
    while owner.session.view().is_none() && !attempt.is_hopeless(began) {
        owner.turn();
    }
    let mut thief = Rogue::with(attempt, &joined, Transport::Udp)?;
    while thief.ended().is_none() && thief.session.welcome().is_none() && !attempt.is_hopeless(began) {
        thief.turn();
        owner.turn();
    }
    let end = match (thief.session.welcome(), owner.unharmed()) {
        (None, End::Unharmed) => End::Unanswered,
        (None, harmed) => harmed,
        (Some(_), _) => End::Harmed("the thief was let in".into()),
    };
    leave(&mut owner);
    Ok(Outcome { sent: thief.thrown, end })
}

fn spent_ticket(attempt: &mut Try<'_>) -> Result<Outcome, AttackError> {
    let joined = attempt.target.join(&format!("{}-ticket", attempt.attacker))?;
    let mut owner = Rogue::with(attempt, &joined, Transport::WebSocket)?;
    let began = Instant::now();
    while owner.session.view().is_none() && !attempt.is_hopeless(began) {
        owner.turn();
    }
    let mut thief = ClientWebSocket::connect(&joined.websocket).map_err(crate::player::BoardError::from)?;
    let end = match closing(attempt, &mut thief, Instant::now()) {
        End::Gone { .. } if owner.unharmed() != End::Unharmed => owner.unharmed(),
        end => end,
    };
    leave(&mut owner);
    Ok(Outcome { sent: thief.carried(), end })
}

/// Gives the seat back, so that the match ends.
fn leave(rogue: &mut Rogue) {
    rogue.session.leave(rogue.now());
    for _ in 0..100 {
        if rogue.ended().is_some() {
            return;
        }
        rogue.turn();
    }
}
