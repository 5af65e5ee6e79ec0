//! What an attack did, and whether the server dealt with it.
//!
//! In: outcomes of tries. Out: an aligned text, and a JSON object with the same figures.
//! *Invariant:* a try that could not be carried out is no success: it counts as failed and shows why.
//! Start reading at [`AttackReport`].

use std::collections::BTreeMap;
use std::fmt::{self, Display, Formatter};
use std::time::Duration;

use serde::Serialize;

use super::{Expected, Profile};
use crate::bots::options::Options;
use crate::bots::report::rounded;
use crate::net::Carried;

/// What became of one try.
#[derive(Clone, Debug)]
pub struct Outcome {
    pub sent: Carried,
    pub end: End,
}

impl Outcome {
    pub fn of(end: End) -> Outcome {
        Outcome { sent: Carried::default(), end }
    }
}

/// How a try ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// The server ended what the attacker held.
    Gone {
        after: Duration,
        reason: String,
    },
    /// The server let nothing be held.
    Refused {
        reason: String,
    },
    /// It was still there when nobody wanted to wait any longer.
    Stayed,
    Unanswered,
    Answered {
        datagrams: u64,
    },
    Unharmed,
    Harmed(String),
    /// Could not be carried out.
    Failed(String),
}

/// Everything that an attack did.
#[derive(Clone, Debug, Serialize)]
pub struct AttackReport {
    pub profile: String,
    pub target: String,
    pub attackers: u32,
    pub seconds: f64,
    pub assaults: Vec<AssaultReport>,
    /// Slowest end of anything that should end, and the slowest of those that should end within two seconds.
    pub gone_after_ms_max: Option<f64>,
    /// The server dealt with every try as it should, whatever the time it took.
    pub dealt_with: bool,
    /// And in time.
    pub in_time: bool,
}

/// All tries of one assault.
#[derive(Clone, Debug, Serialize)]
pub struct AssaultReport {
    pub name: &'static str,
    /// `gone`, `silence` or `unharmed`.
    pub expected: &'static str,
    pub within_ms: Option<f64>,
    pub tries: u64,
    pub sent_datagrams: u64,
    pub sent_bytes: u64,
    pub gone_after_ms_p50: Option<f64>,
    pub gone_after_ms_max: Option<f64>,
    /// What happened, by name.
    pub ends: BTreeMap<String, u64>,
    pub dealt_with: bool,
    pub in_time: bool,
}

impl AttackReport {
    pub fn of(profile: Profile, options: &Options, took: Duration, outcomes: Vec<(usize, Outcome)>) -> AttackReport {
        let mut tries: Vec<Vec<Outcome>> = profile.assaults().iter().map(|_| Vec::new()).collect();
        outcomes.into_iter().for_each(|(index, outcome)| tries[index].push(outcome));
        let reports = profile.assaults().iter().zip(&tries);
        let assaults: Vec<AssaultReport> =
            reports.map(|(assault, tries)| AssaultReport::of(assault.name, assault.expected, tries)).collect();
        AttackReport {
            profile: profile.name(),
            target: options.server.clone(),
            attackers: options.attackers,
            seconds: rounded(took.as_secs_f64(), 1),
            gone_after_ms_max: assaults.iter().filter_map(|assault| assault.gone_after_ms_max).reduce(f64::max),
            dealt_with: assaults.iter().all(|assault| assault.dealt_with),
            in_time: assaults.iter().all(|assault| assault.in_time),
            assaults,
        }
    }
}

impl AssaultReport {
    fn of(name: &'static str, expected: Expected, tries: &[Outcome]) -> AssaultReport {
        let mut ends = BTreeMap::new();
        let mut times = Vec::new();
        for Outcome { end, .. } in tries {
            *ends.entry(end.to_string()).or_default() += 1;
            if let End::Gone { after, .. } = end {
                times.push(*after);
            }
        }
        times.sort();
        let ms = |time: &Duration| rounded(time.as_secs_f64() * 1e3, 1);
        let (expected_name, within) = match expected {
            Expected::Gone(within) => ("gone", Some(within)),
            Expected::Silence => ("silence", None),
            Expected::Unharmed => ("unharmed", None),
        };
        let dealt_with = !tries.is_empty() && tries.iter().all(|outcome| is_as_expected(expected, &outcome.end));
        AssaultReport {
            name,
            expected: expected_name,
            within_ms: within.as_ref().map(ms),
            tries: tries.len() as u64,
            sent_datagrams: tries.iter().map(|outcome| outcome.sent.datagrams_up).sum(),
            sent_bytes: tries.iter().map(|outcome| outcome.sent.bytes_up).sum(),
            gone_after_ms_p50: times.get(times.len() / 2).map(ms),
            gone_after_ms_max: times.last().map(ms),
            ends,
            dealt_with,
            in_time: dealt_with && times.last().zip(within).is_none_or(|(slowest, within)| *slowest <= within),
        }
    }
}

fn is_as_expected(expected: Expected, end: &End) -> bool {
    match expected {
        Expected::Gone(_) => matches!(end, End::Gone { .. } | End::Refused { .. }),
        Expected::Silence => *end == End::Unanswered,
        Expected::Unharmed => *end == End::Unharmed,
    }
}

impl Display for End {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            End::Gone { reason, .. } => write!(f, "gone: {reason}"),
            End::Refused { reason } => write!(f, "refused: {reason}"),
            End::Stayed => write!(f, "stayed"),
            End::Unanswered => write!(f, "unanswered"),
            End::Answered { datagrams } => write!(f, "answered with {datagrams} datagrams"),
            End::Unharmed => write!(f, "unharmed"),
            End::Harmed(how) => write!(f, "harmed: {how}"),
            End::Failed(why) => write!(f, "failed: {why}"),
        }
    }
}

impl Display for AttackReport {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let AttackReport { profile, target, attackers, seconds, .. } = self;
        writeln!(f, "attack      {profile} on {target}, {attackers} attackers, {seconds:.0} s")?;
        for assault in &self.assaults {
            let AssaultReport { name, tries, sent_datagrams, sent_bytes, .. } = assault;
            writeln!(
                f,
                "{name}\n  sent      {sent_datagrams} datagrams or frames, {sent_bytes} bytes in {tries} tries"
            )?;
            let ends: Vec<String> = assault.ends.iter().map(|(end, count)| format!("{end} ×{count}")).collect();
            writeln!(f, "  ends      {}", ends.join("   "))?;
            if let (Some(p50), Some(max)) = (assault.gone_after_ms_p50, assault.gone_after_ms_max) {
                let within = assault.within_ms.unwrap_or_default();
                writeln!(f, "  gone      p50 {p50:.0} ms   max {max:.0} ms   (should be within {within:.0} ms)")?;
            }
            let verdict = match (assault.dealt_with, assault.in_time) {
                (true, true) => "as it should be",
                (true, false) => "dealt with, but late",
                (false, _) => "NOT dealt with",
            };
            writeln!(f, "  verdict   {verdict}")?;
        }
        let verdict =
            if self.dealt_with { "the server dealt with it" } else { "the server did NOT deal with all of it" };
        writeln!(f, "verdict     {verdict}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gone(ms: u64) -> Outcome {
        Outcome::of(End::Gone { after: Duration::from_millis(ms), reason: "misbehaved".into() })
    }

    #[test]
    fn late_is_told_from_never_and_a_failed_try_is_no_success() {
        let judge = |expected, tries: &[Outcome]| {
            let report = AssaultReport::of("x", expected, tries);
            (report.dealt_with, report.in_time)
        };
        let soon = Expected::Gone(Duration::from_secs(2));
        assert_eq!(judge(soon, &[gone(10), gone(1999)]), (true, true));
        assert_eq!(judge(soon, &[gone(10), gone(2001)]), (true, false));
        assert_eq!(judge(soon, &[gone(10), Outcome::of(End::Stayed)]), (false, false));
        assert_eq!(judge(soon, &[gone(10), Outcome::of(End::Failed("no seat".into()))]), (false, false));
        assert_eq!(judge(soon, &[]), (false, false), "nothing tried is nothing shown");
        assert_eq!(judge(Expected::Silence, &[Outcome::of(End::Answered { datagrams: 1 })]), (false, false));
        assert_eq!(judge(Expected::Silence, &[Outcome::of(End::Unanswered)]), (true, true));
        assert_eq!(judge(Expected::Unharmed, &[Outcome::of(End::Harmed("x".into()))]), (false, false));
    }
}
