//! Traces for OpenTelemetry: requests, and lives of matches from opening to stored result.
//!
//! In: the standard variables `OTEL_EXPORTER_OTLP_ENDPOINT` or `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT`, spans of requests,
//! stored results. Out: OTLP (protobuf over HTTP) to that endpoint, from a thread of its own.
//! *Invariant:* without one of these variables nothing is made, kept or sent.
//! *Invariant:* no span is made on a shard's thread; a match's is made when its result is stored, from what the record says.
//! Endpoints are `http://` only: TLS would double what the program is made of, and a collector stands beside it.
//! Start reading at [`Traces::from_environment`].

use std::future::Future;
use std::pin::Pin;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use opentelemetry::trace::{Span as _, SpanKind, Tracer, TracerProvider};
use opentelemetry::{KeyValue, global};
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{ExporterBuildError, SpanExporter, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider};
use tracing::warn;
use uuid::Uuid;

use crate::hosts::MatchRecord;
use crate::priority::yield_to_shards;

/// What the service is called where `OTEL_SERVICE_NAME` does not say.
const SERVICE_NAME: &str = "astro-server";
/// For one delivery to the collector; what takes longer is lost.
const SEND_WITHIN: Duration = Duration::from_secs(5);
/// For the last delivery when the server stops.
const FINISH_WITHIN: Duration = Duration::from_secs(2);

/// The way out for traces.
pub struct Traces {
    provider: SdkTracerProvider,
}

/// Traces were asked for and cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum TracesError {
    #[error("{0}: only http:// endpoints are supported; put a collector beside the server")]
    Scheme(String),
    #[error("traces cannot be exported: {0}")]
    Exporter(#[from] ExporterBuildError),
}

impl Traces {
    /// What the standard variables ask for; `None` when they ask for nothing.
    ///
    /// # Errors
    /// When they ask for what this program cannot do.
    pub fn from_environment(variable: impl Fn(&str) -> Option<String>) -> Result<Option<Traces>, TracesError> {
        let value = |name: &str| variable(name).filter(|value| !value.trim().is_empty());
        let is = |name: &str, word: &str| value(name).is_some_and(|value| value.eq_ignore_ascii_case(word));
        let endpoint = value("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT").or_else(|| value("OTEL_EXPORTER_OTLP_ENDPOINT"));
        let Some(endpoint) = endpoint else { return Ok(None) };
        if is("OTEL_SDK_DISABLED", "true") || is("OTEL_TRACES_EXPORTER", "none") {
            return Ok(None);
        }
        if !endpoint.starts_with("http://") {
            return Err(TracesError::Scheme(endpoint));
        }
        let mut resource =
            Resource::builder().with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")));
        if value("OTEL_SERVICE_NAME").is_none() {
            resource = resource.with_service_name(SERVICE_NAME);
        }
        // On a thread that yields to shards, so that the exporter's own does too.
        let made = std::thread::scope(|scope| scope.spawn(|| provider(resource.build())).join());
        let provider = made.unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        Ok(Some(Traces { provider }))
    }

    /// Makes spans of requests.
    pub(super) fn tracer(&self) -> SdkTracer {
        self.provider.tracer(SERVICE_NAME)
    }

    /// From now on stored matches have spans too.
    pub(super) fn make_global(&self) {
        global::set_tracer_provider(self.provider.clone());
    }

    /// Sends what is left. Blocks for a moment at most.
    pub fn finish(self) {
        if let Err(error) = self.provider.shutdown_with_timeout(FINISH_WITHIN) {
            warn!(%error, "the last traces were not delivered");
        }
    }
}

/// The exporter reads the variables itself: endpoint, headers, and the rest of the standard.
fn provider(resource: Resource) -> Result<SdkTracerProvider, ExporterBuildError> {
    yield_to_shards();
    let exporter = SpanExporter::builder().with_http().with_http_client(Client::new()).build()?;
    Ok(SdkTracerProvider::builder().with_resource(resource).with_batch_exporter(exporter).build())
}

/// The span of a match whose result has just been stored: from its opening, which its id tells, until now.
pub fn match_stored(record: &MatchRecord) {
    let (started, ended) = (unix_ms(record.started_ms), unix_ms(record.ended_ms));
    let tracer = global::tracer(SERVICE_NAME);
    let builder = tracer.span_builder("match").with_kind(SpanKind::Internal).with_start_time(opened(record));
    let mut span = builder.start(&tracer);
    if !span.is_recording() {
        return;
    }
    span.set_attributes([
        KeyValue::new("match_id", record.match_id.to_string()),
        KeyValue::new("mode", record.mode.clone()),
        KeyValue::new("rules", record.rules.clone()),
        KeyValue::new("arena", record.arena.clone()),
        KeyValue::new("seats", record.seats.len() as i64),
        KeyValue::new("players", record.seats.iter().filter(|seat| !seat.pilot).count() as i64),
        KeyValue::new("rounds", i64::from(record.rounds)),
        KeyValue::new("ticks", i64::from(record.ticks)),
    ]);
    span.add_event_with_timestamp("started", started, Vec::new());
    span.add_event_with_timestamp("ended", ended, Vec::new());
    span.end();
}

/// Ids of matches begin with the time of their making; others count from their first countdown.
fn opened(record: &MatchRecord) -> SystemTime {
    let id = Uuid::from_u128(record.match_id.0).get_timestamp();
    id.map_or_else(
        || unix_ms(record.started_ms),
        |made| {
            let (seconds, nanoseconds) = made.to_unix();
            UNIX_EPOCH + Duration::new(seconds, nanoseconds)
        },
    )
}

fn unix_ms(ms: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(ms)
}

/// The exporter's HTTP client. It blocks, on the exporter's own thread.
#[derive(Debug)]
struct Client {
    agent: ureq::Agent,
}

impl Client {
    fn new() -> Client {
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            // A collector stands beside the server, never behind a proxy meant for the world.
            .proxy(None)
            .max_redirects(0)
            .timeout_global(Some(SEND_WITHIN));
        Client { agent: config.build().into() }
    }

    fn send(&self, request: Request<Bytes>) -> Result<Response<Bytes>, ureq::Error> {
        let (parts, body) = request.into_parts();
        let mut response = self.agent.run(Request::from_parts(parts, body.to_vec()))?;
        let body = response.body_mut().read_to_vec()?;
        let status = response.status();
        if !status.is_success() {
            warn!(%status, "the collector refuses traces");
        }
        Ok(response.map(|_| Bytes::from(body)))
    }
}

impl HttpClient for Client {
    // Written out what the `async_trait` macro would write.
    fn send_bytes<'c, 'f>(
        &'c self,
        request: Request<Bytes>,
    ) -> Pin<Box<dyn Future<Output = Result<Response<Bytes>, HttpError>> + Send + 'f>>
    where
        'c: 'f,
        Self: 'f,
    {
        Box::pin(async move {
            let sent = self.send(request);
            sent.inspect_err(|error| warn!(%error, "traces are lost: the collector does not answer"))
                .map_err(Into::into)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::records::tests::record;

    fn asked(variables: &[(&str, &str)]) -> Result<bool, String> {
        let find =
            |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
        Traces::from_environment(find).map(|traces| traces.is_some()).map_err(|error| error.to_string())
    }

    #[test]
    fn traces_are_made_only_when_a_standard_variable_asks_for_them() {
        let endpoint = "http://127.0.0.1:1";
        assert_eq!(asked(&[]), Ok(false));
        assert_eq!(asked(&[("OTEL_SERVICE_NAME", "party"), ("OTEL_EXPORTER_OTLP_ENDPOINT", "")]), Ok(false));
        assert_eq!(asked(&[("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)]), Ok(true));
        assert_eq!(asked(&[("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", endpoint)]), Ok(true));
        for (name, value) in [("OTEL_SDK_DISABLED", "true"), ("OTEL_TRACES_EXPORTER", "none")] {
            assert_eq!(asked(&[("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint), (name, value)]), Ok(false), "{name}");
        }
        let refused = asked(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "https://collector.example")]).unwrap_err();
        assert!(refused.contains("only http://"), "{refused}");
    }

    #[test]
    fn the_life_of_a_match_begins_when_its_id_was_made() {
        let mut record = record(7);
        assert_eq!(opened(&record), unix_ms(record.started_ms), "an id that tells nothing");
        let made = Uuid::parse_str("01890a5d-ac96-774b-bcce-b302099a8057").unwrap();
        record.match_id.0 = made.as_u128();
        assert_eq!(opened(&record), unix_ms(0x0189_0a5d_ac96));
    }
}
