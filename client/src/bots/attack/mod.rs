//! Attack profiles: what a hostile client can do, bounded in count and time, against a server on this machine only.
//!
//! In: options with a profile. Out: an [`AttackReport`]: what was sent, and what became of who sent it.
//! Order of things: [`Profile`] names its [`Assault`]s; each is tried by every attacker, again and again until the time
//! is up; [`target`] is what they attack, [`rogue`] a player without manners, [`report`] the judgement.
//! *Invariant:* no byte leaves for an address that is not loopback, whatever a ticket says.
//! *Invariant:* attackers, sockets, rates and time have limits: this is a test of our own server, not a weapon.
//! Start reading at [`run`] and [`Profile::assaults`].

mod flood;
mod future;
mod garbage;
mod idle_sockets;
mod junk;
mod replay;
pub mod report;
mod rogue;
mod slice;
mod slow;
mod target;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use clap::ValueEnum;

use super::options::Options;
use crate::player::BoardError;
use crate::service::ServiceError;
use report::{AttackReport, End, Outcome};
use target::Target;

/// Attackers at a time, each with a thread for every assault of the profile.
pub const ATTACKERS_MAX: u32 = 16;
/// Between two tries of one attacker: who is thrown out does not come back at once.
const PAUSE: Duration = Duration::from_secs(2);
/// A server that tolerates what it should end is watched for so long.
const WATCHED: Duration = Duration::from_secs(15);

/// What can be tried.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    /// A valid client sends 20,000 datagrams a second, an outsider 50,000
    Flood,
    /// Random and structured junk from unknown, pending and connected addresses, over UDP, WebSocket and HTTP
    Garbage,
    /// UDP that never acknowledges, a WebSocket that never reads, HTTP headers a byte at a time
    Slow,
    /// Datagrams and tickets once more, shuffled, from the same and from another address
    Replay,
    /// Inputs and acknowledgements from the future and the past
    Future,
    /// Slices, empty messages and gaps that stock code stumbles over
    Slice,
    /// HTTP and WebSocket connections that say nothing
    IdleSockets,
}

/// What the server should do about an assault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// End what the attacker holds, within this.
    Gone(Duration),
    /// Answer nothing.
    Silence,
    /// Take no harm and do none: the attacker's own honest session goes on.
    Unharmed,
}

/// One thing that a profile tries.
pub struct Assault {
    pub name: &'static str,
    pub expected: Expected,
    run: fn(&mut Try<'_>) -> Result<Outcome, AttackError>,
}

impl Profile {
    pub fn name(self) -> String {
        self.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
    }

    pub fn assaults(self) -> &'static [Assault] {
        match self {
            Profile::Flood => &flood::ASSAULTS,
            Profile::Garbage => &garbage::ASSAULTS,
            Profile::Slow => &slow::ASSAULTS,
            Profile::Replay => &replay::ASSAULTS,
            Profile::Future => &future::ASSAULTS,
            Profile::Slice => &slice::ASSAULTS,
            Profile::IdleSockets => &idle_sockets::ASSAULTS,
        }
    }
}

/// An attack that could not be carried out; says nothing about the server.
#[derive(Debug, thiserror::Error)]
pub enum AttackError {
    #[error("{0} is not on this machine: attack profiles are for loopback addresses only")]
    NotLoopback(String),
    #[error("{0} cannot be resolved: {1}")]
    Unresolved(String, String),
    #[error(transparent)]
    Service(#[from] ServiceError),
    #[error(transparent)]
    Board(#[from] BoardError),
    #[error("no socket to attack with: {0}")]
    Socket(#[from] std::io::Error),
    #[error("the server let nobody in")]
    NotAdmitted,
}

/// One try of one assault.
struct Try<'a> {
    target: &'a Target,
    /// Which attacker, from 0, and of how many.
    attacker: u32,
    attackers: u32,
    /// Which try of this attacker, from 0.
    round: u32,
    /// An assault that goes on for as long as it may, ends now.
    until: Instant,
    interrupted: &'a AtomicBool,
}

impl Try<'_> {
    /// Whether an assault that goes on for as long as it may, has to end.
    fn is_over(&self) -> bool {
        Instant::now() >= self.until || self.interrupted.load(Ordering::Relaxed)
    }

    /// Whether who should be gone since `began` and is not, has been watched for long enough.
    fn is_hopeless(&self, began: Instant) -> bool {
        began.elapsed() >= WATCHED || self.interrupted.load(Ordering::Relaxed)
    }

    /// A number that no other try has.
    fn seed(&self) -> u64 {
        u64::from(self.attacker) << 32 | u64::from(self.round)
    }
}

/// Carries out the profile's assaults for `options.seconds`.
///
/// # Errors
/// When the target is not on this machine, or cannot be reached.
pub fn run(options: &Options, profile: Profile, interrupted: &AtomicBool) -> Result<AttackReport, AttackError> {
    let target = Target::find(&options.server)?;
    let began = Instant::now();
    let until = began + Duration::from_secs(options.seconds);
    let outcomes = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for (index, assault) in profile.assaults().iter().enumerate() {
            for attacker in 0..options.attackers {
                let (target, outcomes) = (&target, &outcomes);
                scope.spawn(move || {
                    attack(
                        assault,
                        Try { target, attacker, attackers: options.attackers, round: 0, until, interrupted },
                        |outcome| {
                            outcomes.lock().unwrap_or_else(PoisonError::into_inner).push((index, outcome));
                        },
                    );
                });
            }
        }
    });
    let outcomes = outcomes.into_inner().unwrap_or_else(PoisonError::into_inner);
    Ok(AttackReport::of(profile, options, began.elapsed(), outcomes))
}

/// Tries until the time is up, at least once.
fn attack(assault: &Assault, mut attempt: Try<'_>, mut note: impl FnMut(Outcome)) {
    loop {
        note((assault.run)(&mut attempt).unwrap_or_else(|error| Outcome::of(End::Failed(error.to_string()))));
        attempt.round += 1;
        thread::sleep(PAUSE.min(attempt.until.saturating_duration_since(Instant::now())));
        if attempt.is_over() {
            return;
        }
    }
}
