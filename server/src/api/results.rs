//! Taking in results: the one way from a host's spool into the store.
//!
//! In: match records, called directly in role `all`, posted with the fleet key otherwise. Out: stored, or why not.
//! *Invariant:* "taken" means that no record of the delivery can be lost any more. A record that contradicts a
//! stored match is taken too: it lies set aside in the store, with an alarm here, so that nobody sends it for ever.
//! Start reading at [`StoreResults::take`].

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{FromRequestParts, State};
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use tracing::error;

use super::Api;
use super::error::{ApiError, CheckedBody};
use crate::hosts::{Answer, MatchRecord, Results, ResultsError};
use crate::records;
use crate::store::{Store, StoreError};
use crate::telemetry::Metrics;
use crate::telemetry::traces::match_stored;

/// The store as the end of every spool's way.
#[derive(Clone)]
pub struct StoreResults {
    store: Store,
    metrics: Arc<Metrics>,
}

impl StoreResults {
    pub fn new(store: Store, metrics: Arc<Metrics>) -> StoreResults {
        StoreResults { store, metrics }
    }

    /// Stores a delivery.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] after an alarm: taken, do not send again. Any other: not taken, send again.
    async fn take(&self, records: &[MatchRecord]) -> Result<(), StoreError> {
        let taken = self.store.store_results(records).await;
        let conflicts = match &taken {
            Ok(()) => 0,
            Err(StoreError::Conflict(matches)) => matches.len(),
            Err(_) => return taken,
        };
        self.metrics.results_stored(records.len() - conflicts);
        if conflicts == 0 {
            records.iter().for_each(match_stored);
        }
        if let Err(StoreError::Conflict(matches)) = &taken {
            let matches: Vec<String> = matches.iter().map(ToString::to_string).collect();
            error!(matches = matches.join(" "), "ALARM: results contradict what is stored; see table match_conflicts");
        }
        taken
    }
}

impl Results for StoreResults {
    fn deliver(&self, records: Vec<MatchRecord>) -> Answer<'_, (), ResultsError> {
        Box::pin(async move {
            match self.take(&records).await {
                Ok(()) | Err(StoreError::Conflict(_)) => Ok(()),
                Err(error) => Err(ResultsError(error.to_string())),
            }
        })
    }
}

/// Results of finished matches, from a host: a body made by `records::encode_batch`. 204 when stored; 409 when some
/// contradict what is stored (all others are stored; do not send again).
#[utoipa::path(post, path = "/internal/v1/results", tag = "internal",
    request_body(content = Vec<u8>, content_type = "application/octet-stream"), responses((status = 204)))]
pub(super) async fn post_results(
    State(api): State<Arc<Api>>,
    _: FromFleet,
    CheckedBody(body): CheckedBody<Bytes>,
) -> Result<StatusCode, ApiError> {
    api.results.take(&records::decode_batch(&body)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Proof that the request carries the fleet key. Checked before a byte of the body is read.
pub(super) struct FromFleet;

impl FromRequestParts<Arc<Api>> for FromFleet {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, api: &Arc<Api>) -> Result<Self, ApiError> {
        let header = parts.headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let key = header.and_then(|value| value.strip_prefix("Bearer "));
        if key.is_some_and(|key| api.parts.fleet_key.is(key)) { Ok(FromFleet) } else { Err(ApiError::Unauthorized) }
    }
}
