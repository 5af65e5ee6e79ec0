//! Finished matches, their replays, and the rules they were played by.
//!
//! In: ids, hashes, a limit. Out: summaries, files, RON.
//! *Invariant:* only what is stored is shown; a match that has just ended appears when its result is durable.
//! Start reading at [`get_match`].

use std::sync::Arc;

use astro_shared::api::{MatchList, MatchSummary, SeatSummary};
use astro_shared::sim::units::MatchId;
use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::header;
use axum::response::IntoResponse;
use serde::Deserialize;
use utoipa::IntoParams;

use super::Api;
use super::error::{ApiError, Checked};
use crate::hosts::SeatRecord;
use crate::store::matches::{FinishedMatch, RECENT_MATCHES_MAX};

/// Matches in a list when the request does not say.
pub(super) const LIMIT_DEFAULT: u32 = 20;

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ListQuery {
    /// How many at most, 1 to 100; 20 unless given.
    #[param(minimum = 1, maximum = 100)]
    pub limit: Option<u32>,
}

/// Finished matches, newest first.
#[utoipa::path(get, path = "/v1/matches", tag = "matches", params(ListQuery), responses((status = 200, body = MatchList)))]
pub(super) async fn list_matches(
    State(api): State<Arc<Api>>,
    Checked(Query(query)): Checked<Query<ListQuery>>,
) -> Result<Json<MatchList>, ApiError> {
    let limit = query.limit.unwrap_or(LIMIT_DEFAULT);
    if !(1..=RECENT_MATCHES_MAX).contains(&limit) {
        return Err(ApiError::Limit(RECENT_MATCHES_MAX));
    }
    let matches = api.parts.store.recent_matches(limit).await?;
    Ok(Json(MatchList { matches: matches.into_iter().map(|finished| api.summary(finished)).collect() }))
}

/// A finished match.
#[utoipa::path(get, path = "/v1/matches/{id}", tag = "matches", params(("id" = MatchId, Path, description = "The match")), responses((status = 200, body = MatchSummary)))]
pub(super) async fn get_match(
    State(api): State<Arc<Api>>,
    Checked(Path(match_id)): Checked<Path<MatchId>>,
) -> Result<Json<MatchSummary>, ApiError> {
    let finished = api.parts.store.match_by_id(match_id).await?;
    finished.map(|finished| Json(api.summary(finished))).ok_or_else(|| api.not_stored(match_id))
}

/// The replay file of a finished match, for `astro-server replay show FILE`.
#[utoipa::path(get, path = "/v1/matches/{id}/replay", tag = "matches", params(("id" = MatchId, Path, description = "The match")),
    responses((status = 200, body = Vec<u8>, content_type = "application/octet-stream")))]
pub(super) async fn get_replay(
    State(api): State<Arc<Api>>,
    Checked(Path(match_id)): Checked<Path<MatchId>>,
) -> Result<impl IntoResponse, ApiError> {
    let Some(replay) = api.parts.store.replay(match_id).await? else {
        let stored = api.parts.store.match_by_id(match_id).await?;
        return Err(if stored.is_some() { ApiError::NoReplay } else { api.not_stored(match_id) });
    };
    let file_name = format!("attachment; filename=\"{match_id}.replay\"");
    let headers =
        [(header::CONTENT_TYPE, "application/octet-stream".to_owned()), (header::CONTENT_DISPOSITION, file_name)];
    Ok((headers, replay))
}

/// Rules and arena of a match as RON.
#[utoipa::path(get, path = "/v1/rules/{hash}", tag = "matches", params(("hash" = String, Path, description = "16 hex digits")),
    responses((status = 200, body = String, content_type = "text/plain")))]
pub(super) async fn get_rules(
    State(api): State<Arc<Api>>,
    Checked(Path(hash)): Checked<Path<String>>,
) -> Result<String, ApiError> {
    // Only the one spelling that answers use.
    let hash = u64::from_str_radix(&hash, 16).ok().filter(|number| astro_shared::api::hex(*number) == hash);
    let ruleset = hash.and_then(|hash| api.parts.rulebook.hashed(hash)).ok_or(ApiError::UnknownHash)?;
    Ok(ruleset.to_text())
}

impl Api {
    /// Why a match is not in the store.
    fn not_stored(&self, match_id: MatchId) -> ApiError {
        match self.parts.directory.shard_of(match_id) {
            Some(_) => ApiError::NotFinished,
            None => ApiError::UnknownMatch,
        }
    }

    fn summary(&self, finished: FinishedMatch) -> MatchSummary {
        let FinishedMatch { match_id, mode, rules, rules_hash, arena, .. } = finished;
        let FinishedMatch { started_ms, ended_ms, ticks, rounds, winner, void, .. } = finished;
        let seats = finished.seats.into_iter().enumerate().map(seat_summary).collect();
        let replay = void.is_none().then(|| format!("{}/v1/matches/{match_id}/replay", self.parts.public_url));
        MatchSummary {
            match_id,
            mode,
            rules,
            rules_hash,
            arena,
            started_ms,
            ended_ms,
            ticks,
            rounds,
            winner,
            void,
            seats,
            replay,
        }
    }
}

fn seat_summary((number, seat): (usize, SeatRecord)) -> SeatSummary {
    SeatSummary {
        seat: number as u8,
        name: seat.name,
        pilot: seat.pilot,
        left: seat.left,
        placement: seat.placement,
        rounds_won: seat.rounds_won,
        kills: seat.kills,
        deaths: seat.deaths,
        assists: seat.assists,
        shots: seat.shots,
        hits: seat.hits,
        survival_ticks: seat.survival_ticks,
        streak_longest: seat.streak_longest,
    }
}
