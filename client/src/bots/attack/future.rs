//! Times that are not now: inputs for ticks far ahead and long gone, acknowledgements of snapshots never sent.

use std::time::{Duration, Instant};

use astro_shared::sim::input::Input;
use astro_shared::sim::units::Tick;
use astro_shared::wire::input::InputDatagram;

use super::report::Outcome;
use super::rogue::Rogue;
use super::{Assault, AttackError, Expected, Try};
use crate::net::Transport;

const GONE_WITHIN: Duration = Duration::from_secs(2);

pub static ASSAULTS: [Assault; 4] = [
    Assault {
        name: "acknowledgements from the future over UDP",
        expected: Expected::Gone(GONE_WITHIN),
        run: |attempt| acknowledgements(attempt, Transport::Udp),
    },
    Assault {
        name: "acknowledgements from the future over WebSocket",
        expected: Expected::Gone(GONE_WITHIN),
        run: |attempt| acknowledgements(attempt, Transport::WebSocket),
    },
    // A client whose clock is wrong looks the same, so it is ignored and not ended.
    Assault {
        name: "inputs from the future and the past over UDP",
        expected: Expected::Unharmed,
        run: |attempt| inputs(attempt, Transport::Udp),
    },
    Assault {
        name: "inputs from the future and the past over WebSocket",
        expected: Expected::Unharmed,
        run: |attempt| inputs(attempt, Transport::WebSocket),
    },
];

/// How long wrong inputs are sent.
const INPUTS_FOR: Duration = Duration::from_secs(3);

fn throw_input(rogue: &mut Rogue, acknowledged: Tick, newest: Tick) {
    let mut datagram = Vec::new();
    InputDatagram::new(acknowledged, newest, &[Input::new(15, true, true); 12]).encode(&mut datagram);
    rogue.throw(&datagram);
}

fn acknowledgements(attempt: &mut Try<'_>, transport: Transport) -> Result<Outcome, AttackError> {
    let mut rogue = Rogue::enter(attempt, transport)?;
    Ok(rogue.until_gone(attempt, |rogue| {
        rogue.turn();
        let now = rogue.tick();
        throw_input(rogue, now.plus(100_000), now.plus(4));
    }))
}

/// Ten wrong datagrams a second between honest turns: the honest ones must still count.
fn inputs(attempt: &mut Try<'_>, transport: Transport) -> Result<Outcome, AttackError> {
    let mut rogue = Rogue::enter(attempt, transport)?;
    let (began, mut thrown) = (Instant::now(), 0);
    while began.elapsed() < INPUTS_FOR && rogue.ended().is_none() {
        rogue.turn();
        if began.elapsed().as_millis() > thrown * 100 {
            let now = rogue.tick();
            // Old acknowledgements too: the baseline must not move back.
            let newest = [now.plus(10_000), Tick(12), Tick(u32::MAX)][thrown as usize % 3];
            throw_input(&mut rogue, Tick(now.0.saturating_sub(30)), newest);
            thrown += 1;
        }
    }
    let end = rogue.unharmed();
    rogue.session.leave(rogue.now());
    (0..20).for_each(|_| rogue.turn());
    Ok(Outcome { sent: rogue.thrown, end })
}
