//! HTTP bodies that a client also needs, and the rule for names.
//!
//! In and out: JSON through serde. Binary values are base64 (standard alphabet, padded), hashes 16 hex digits.
//! *Invariant:* request bodies refuse unknown fields, so a misspelt option is an error and not a default.
//! Start reading at [`QuickplayRequest`].

mod ids;

pub use ids::{AccountId, LobbyId, NotAnId, SessionId};

use serde::{Deserialize, Serialize};

use crate::sim::rules::Overrides;
use crate::sim::units::MatchId;

/// Most characters in a name.
pub const NAME_CHARS_MAX: usize = 16;
/// Most characters in a quickplay group.
pub const GROUP_CHARS_MAX: usize = 32;

/// `POST /v1/quickplay`: joins the oldest open match with the same mode, rules, seats and group, or opens one.
///
/// Rules are the preset with arena and overrides put in; who spells them otherwise and means the same meets.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct QuickplayRequest {
    pub name: String,
    pub mode: String,
    /// 2 to 8, as far as the mode allows; when absent 4, or 2 in `duel`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seats: Option<u8>,
    /// Name of a rules preset; `standard` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rules: Option<String>,
    /// Name of an arena; the preset's own when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arena: Option<String>,
    /// What this match changes about its rules. Only with a `group`: strangers meet by presets alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overrides: Option<Overrides>,
    /// Only players with the same group meet; absent is a group of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
}

/// Answer to quickplay and to a ticket request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TicketAnswer {
    pub match_id: MatchId,
    pub seat: u8,
    /// Seats of the match in all.
    pub seats: u8,
    /// Fetch the text from `/v1/rules/{hash}`.
    pub rules_hash: String,
    /// Of wire and grid; a client with another one must update.
    pub fingerprint: String,
    /// base64 of a netcode 1.02 connect token. This or the WebSocket ticket is good for one connection within 15 s.
    pub connect_token: String,
    /// base64 of 32 bytes: buys a fresh ticket for this seat while the match lasts.
    pub seat_secret: String,
    /// Where the connect token leads.
    pub udp: String,
    /// base64 of 16 bytes, for the first frame of a WebSocket; spent together with the connect token.
    pub websocket_ticket: String,
    /// Where the WebSocket ticket leads.
    pub websocket_url: String,
}

/// `POST /v1/matches/{id}/tickets`: a fresh ticket for a seat already held.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TicketRequest {
    pub seat_secret: String,
}

/// `POST /v1/matches/{id}/watch`: a place among the spectators of a running match. The body may be left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct WatchRequest {}

/// Answer to a request to watch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct WatchAnswer {
    pub match_id: MatchId,
    /// Seats of the match in all.
    pub seats: u8,
    /// Fetch the text from `/v1/rules/{hash}`.
    pub rules_hash: String,
    /// Of wire and grid; a client with another one must update.
    pub fingerprint: String,
    /// base64 of a netcode 1.02 connect token. This or the WebSocket ticket is good for one connection within 15 s.
    pub connect_token: String,
    /// Where the connect token leads.
    pub udp: String,
    /// base64 of 16 bytes, for the first frame of a WebSocket; spent together with the connect token.
    pub websocket_ticket: String,
    /// Where the WebSocket ticket leads.
    pub websocket_url: String,
    /// Everything is shown this long after it was; so the first picture may take as long, when nobody watched before.
    pub delay_seconds: u64,
}

/// A match that may be watched, as `GET /v1/matches/running` lists it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RunningMatch {
    pub match_id: MatchId,
    pub mode: String,
    pub rules: String,
    pub seats: u8,
    /// Seats held by people.
    pub players: u8,
    pub spectators: u8,
    /// Flown by pilots alone, for looking at.
    pub demo: bool,
    /// Unix time in milliseconds of the first countdown.
    pub started_ms: u64,
}

/// `GET /v1/matches/running?limit=`: newest first. Private matches are not in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RunningList {
    pub matches: Vec<RunningMatch>,
}

/// A finished match, as `GET /v1/matches/{id}` answers it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct MatchSummary {
    pub match_id: MatchId,
    pub mode: String,
    pub rules: String,
    pub rules_hash: String,
    pub arena: String,
    /// Unix time in milliseconds.
    pub started_ms: u64,
    pub ended_ms: u64,
    pub ticks: u32,
    pub rounds: u8,
    /// Seat of the winner; null when the top places are equal, or there is no result.
    pub winner: Option<u8>,
    /// Why the match ended without a result; null when it has one.
    pub void: Option<String>,
    pub seats: Vec<SeatSummary>,
    /// Where the replay can be downloaded; null without a result.
    pub replay: Option<String>,
}

/// One seat of a finished match.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SeatSummary {
    pub seat: u8,
    pub name: String,
    pub pilot: bool,
    pub left: bool,
    /// Null without a result.
    pub placement: Option<u8>,
    pub rounds_won: u8,
    pub kills: u16,
    pub deaths: u16,
    pub assists: u8,
    pub shots: u16,
    pub hits: u16,
    pub survival_ticks: u32,
    pub streak_longest: u8,
}

/// `GET /v1/matches?limit=`: newest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct MatchList {
    pub matches: Vec<MatchSummary>,
}

/// Media type of a [`Problem`].
pub const PROBLEM_TYPE: &str = "application/problem+json";

/// Any refusal, as RFC 9457 has it: `code` is stable for programs, `detail` is for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Problem {
    /// Always `about:blank`: `code` says which problem it is.
    #[serde(rename = "type")]
    pub kind: String,
    /// The status in words.
    pub title: String,
    pub status: u16,
    pub detail: String,
    pub code: String,
    /// What to look for in the server's log; also in the header `x-request-id`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}

/// `GET /version`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Version {
    pub version: String,
    pub commit: String,
    pub sim_version: u32,
    pub fingerprint: String,
}

/// Why a name is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    #[error("a name has 1 to 16 characters")]
    Length,
    #[error("a name has no control, direction or invisible characters, and no space at either end")]
    Characters,
}

/// Checks a player's name: 1 to 16 characters, none of them control, direction-changing or invisible.
///
/// # Errors
/// What is wrong with it.
pub fn check_name(name: &str) -> Result<(), NameError> {
    let count = name.chars().count();
    if count == 0 || count > NAME_CHARS_MAX {
        return Err(NameError::Length);
    }
    let trimmed = name.trim().len() == name.len();
    if trimmed && name.chars().all(is_plain) { Ok(()) } else { Err(NameError::Characters) }
}

/// Whether a character may stand in a name: visible, and without power over the text around it.
fn is_plain(c: char) -> bool {
    !c.is_control()
        && !matches!(c,
            '\u{00ad}' | '\u{034f}' | '\u{061c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
            | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}'
            | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}')
}

/// A 64-bit hash or fingerprint as 16 hex digits.
pub fn hex(value: u64) -> String {
    format!("{value:016x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_short_visible_and_harmless() {
        for good in ["a", "Ada Lovelace", "żółw", "玩家一号", "x_X_sniper_X_x_1"] {
            assert_eq!(check_name(good), Ok(()), "{good}");
        }
        for (bad, why) in [
            ("", NameError::Length),
            ("seventeen letters", NameError::Length),
            ("tab\tbed", NameError::Characters),
            ("\u{202e}live", NameError::Characters),
            ("a\u{2066}b", NameError::Characters),
            ("a\u{200b}b", NameError::Characters),
            (" a", NameError::Characters),
            ("a ", NameError::Characters),
            ("\u{0}", NameError::Characters),
        ] {
            assert_eq!(check_name(bad), Err(why), "{bad:?}");
        }
    }
}
