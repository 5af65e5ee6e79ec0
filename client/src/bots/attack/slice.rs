//! Control packets that stock code panics or bloats on: N4, N5 and N6, properly sealed, over either transport.

use std::time::Duration;

use super::report::Outcome;
use super::rogue::Rogue;
use super::{Assault, AttackError, Expected, Try, junk};
use crate::net::Transport;

const GONE_WITHIN: Duration = Duration::from_secs(2);

pub static ASSAULTS: [Assault; 2] = [
    Assault {
        name: "slices, empty messages and gaps over UDP",
        expected: Expected::Gone(GONE_WITHIN),
        run: |attempt| packets(attempt, Transport::Udp),
    },
    Assault {
        name: "slices, empty messages and gaps over WebSocket",
        expected: Expected::Gone(GONE_WITHIN),
        run: |attempt| packets(attempt, Transport::WebSocket),
    },
];

/// A case each round, all of them in turn.
fn packets(attempt: &mut Try<'_>, transport: Transport) -> Result<Outcome, AttackError> {
    let case = match attempt.round % 5 {
        0 => junk::slice_beyond_count(2),
        1 => junk::slice_beyond_count(3),
        2 => junk::slices_that_disagree(),
        3 => junk::empty_messages(),
        _ => junk::messages_with_a_gap(),
    };
    let mut rogue = Rogue::enter(attempt, transport)?;
    case.iter().for_each(|packet| rogue.throw(packet));
    Ok(rogue.until_gone(attempt, Rogue::listen))
}
