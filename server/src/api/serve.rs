//! Accepting connections: our own loop, because the stock one lets a slow client keep a connection for ever.
//!
//! In: a listener, the routes, a word to stop. Out: nothing; ends when stopped and the connections are closed.
//! *Invariant:* every connection ends: no head in [`HEAD_WITHIN`] closes it, a request has [`REQUEST_WITHIN`],
//! after [`CONNECTION_AGE_MAX`] it takes no further request.
//! *Invariant:* a client that finds all places taken waits in the kernel's queue; nobody is turned away.
//! Start reading at [`serve`].

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{sleep, timeout};
use tower::ServiceExt;
use tracing::warn;

use super::error::ApiError;

/// Connections at once; each has a buffer of up to [`BUFFER_BYTES_MAX`].
const CONNECTIONS_MAX: u32 = 1024;
/// From accepting, or from the last answer, to the end of the next request's head.
const HEAD_WITHIN: Duration = Duration::from_secs(5);
/// From the head of a request to its answer, reading the body included.
const REQUEST_WITHIN: Duration = Duration::from_secs(10);
/// Bounds clients that read an answer a byte at a time.
const CONNECTION_AGE_MAX: Duration = Duration::from_secs(60);
/// For the answer under way when a connection has reached its age.
const LAST_ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// For the answers under way when the server stops.
const STOP_WITHIN: Duration = Duration::from_millis(500);
const HEADERS_MAX: usize = 64;
const BUFFER_BYTES_MAX: usize = 16 * 1024;
/// Pause when the system refuses to accept, for instance for lack of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves until `stop` becomes true, then gives answers under way a moment to leave.
pub async fn serve(listener: TcpListener, routes: Router, mut stop: watch::Receiver<bool>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX as usize));
    loop {
        let accepted = tokio::select! {
            accepted = accept(&listener, &places) => accepted,
            _ = stop.wait_for(|stop| *stop) => break,
        };
        if let Some((stream, place)) = accepted {
            tokio::spawn(serve_connection(stream, routes.clone(), stop.clone(), place));
        }
    }
    drop(listener);
    // All places free means all connections closed.
    let _ = timeout(STOP_WITHIN, places.acquire_many(CONNECTIONS_MAX)).await;
}

/// The next connection and its place, the place first.
async fn accept(listener: &TcpListener, places: &Arc<Semaphore>) -> Option<(TcpStream, OwnedSemaphorePermit)> {
    let place = Arc::clone(places).acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, _)) => Some((stream, place)),
        Err(error) => {
            warn!(%error, "cannot accept a connection");
            sleep(ACCEPT_PAUSE).await;
            None
        }
    }
}

async fn serve_connection(
    stream: TcpStream,
    routes: Router,
    mut stop: watch::Receiver<bool>,
    _place: OwnedSemaphorePermit,
) {
    // Answers are small and written at once; waiting for more to send would only delay them.
    let _ = stream.set_nodelay(true);
    let answer = tower::service_fn(move |request| answer(routes.clone(), request));
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD_WITHIN);
    http.max_headers(HEADERS_MAX).max_buf_size(BUFFER_BYTES_MAX);
    let mut connection = pin!(http.serve_connection(TokioIo::new(stream), TowerToHyperService::new(answer)));
    let last_answer_within = tokio::select! {
        // An error here is the client's: gone, silent or not speaking HTTP.
        _ = connection.as_mut() => return,
        _ = stop.wait_for(|stop| *stop) => STOP_WITHIN,
        () = sleep(CONNECTION_AGE_MAX) => LAST_ANSWER_WITHIN,
    };
    connection.as_mut().graceful_shutdown();
    let _ = timeout(last_answer_within, connection).await;
}

async fn answer(routes: Router, request: hyper::Request<Incoming>) -> Result<Response, Infallible> {
    let request: Request = request.map(axum::body::Body::new);
    match timeout(REQUEST_WITHIN, routes.oneshot(request)).await {
        Ok(response) => response,
        Err(_) => Ok(ApiError::Timeout.into_response()),
    }
}
