//! Accepting connections: our own loop, because the stock one lets a slow client keep a connection for ever.
//!
//! In: a listener, the routes, a word to stop. Out: nothing; ends when stopped and the connections are closed.
//! *Invariant:* every connection ends: no head in [`HEAD_WITHIN`] closes it, a request has its time ([`super::request`]),
//! after [`CONNECTION_AGE_MAX`] it takes no further request.
//! *Invariant:* whoever connects is accepted at once; when places are short, [`connections`] says whose is taken
//! back. So clients that are slow or idle delay nobody, `/healthz` included.
//! *Invariant:* an upgraded connection leaves both its place and these times; `transport::websocket` bounds it.
//! *Invariant:* every request carries the [`Peer`] that it came from.
//! Start reading at [`serve`].

use std::convert::Infallible;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::response::Response;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use socket2::SockRef;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::time::{sleep, timeout};
use tower::ServiceExt;

use super::connections::{Activity, Connections, NoPlace, Place, Turn, Watched};
use super::error::ApiError;
use super::limits::{Limits, Refusal};
pub use super::peer::Peer;
use super::peer::{TrustedProxy, client_address};
use super::request::FromProxy;
use crate::telemetry::{Metrics, stranger_line};

/// From accepting, or from the last answer, to the end of the next request's head: slow heads and idle connections alike.
const HEAD_WITHIN: Duration = Duration::from_secs(5);
/// Bounds clients that read an answer a byte at a time.
const CONNECTION_AGE_MAX: Duration = Duration::from_secs(60);
/// For the answer under way when a connection has reached its age.
const LAST_ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// For the answers under way when the server stops.
const STOP_WITHIN: Duration = Duration::from_millis(500);
/// What was sent and is not acknowledged for so long ends a connection, whatever waits for it. The kernel's own
/// patience is a quarter of an hour.
const UNHEARD_MAX: Duration = Duration::from_secs(8);
/// A socket takes no more while so much waits unsent in the kernel: less than two snapshots. Behind that they wait in our
/// hands, where a newer one can overtake them. Answers lose nothing by it: each write may still be as long as it likes.
const UNSENT_BYTES_MAX: u32 = 128;
const HEADERS_MAX: usize = 64;
const BUFFER_BYTES_MAX: usize = 16 * 1024;
/// Pause when the system refuses to accept, for instance for lack of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves until `stop` becomes true, then gives answers under way a moment to leave.
pub async fn serve(
    listener: TcpListener,
    routes: Router,
    limits: &Limits,
    metrics: Arc<Metrics>,
    mut stop: watch::Receiver<bool>,
) {
    let connections = Connections::new(limits);
    let trusted: Arc<[TrustedProxy]> = limits.trusted_proxies.clone().into();
    // Every connection has a sender; the receiver ends when all have ended.
    let (alive, mut all_ended) = mpsc::channel::<()>(1);
    loop {
        let accepted = tokio::select! {
            accepted = accept(&listener) => accepted,
            _ = stop.wait_for(|stop| *stop) => break,
        };
        let Some((stream, peer)) = accepted else { continue };
        let peer = peer.to_canonical();
        let is_proxy = trusted.iter().any(|proxy| proxy.contains(peer));
        match connections.admit((!is_proxy).then_some(peer)) {
            Ok(admitted) => {
                if admitted.evicted {
                    metrics.http_refused("evicted");
                }
                let caller = Caller { routes: routes.clone(), peer, trusted: Arc::clone(&trusted) };
                let alive = alive.clone();
                let (place, stop, metrics) = (admitted.place, stop.clone(), Arc::clone(&metrics));
                metrics.http_connection_opened();
                tokio::spawn(async move {
                    serve_connection(stream, caller, place, stop).await;
                    metrics.http_connection_closed();
                    drop(alive);
                });
            }
            Err(no_place) => turn_away(&stream, no_place, &metrics),
        }
    }
    drop((listener, alive));
    let _ = timeout(STOP_WITHIN, all_ended.recv()).await;
}

/// The next connection, and whose it is.
async fn accept(listener: &TcpListener) -> Option<(TcpStream, IpAddr)> {
    match listener.accept().await {
        Ok((stream, peer)) => Some((stream, peer.ip())),
        Err(error) => {
            stranger_line!(warn, %error, "cannot accept a connection");
            sleep(ACCEPT_PAUSE).await;
            None
        }
    }
}

/// Says why, as far as that goes without waiting: a client that has much to send may see only a closed connection.
fn turn_away(stream: &TcpStream, no_place: NoPlace, metrics: &Metrics) {
    let refusal = match no_place {
        NoPlace::OfAddress => Refusal::ConnectionsOfAddress,
        NoPlace::OfAll => Refusal::Connections,
    };
    metrics.http_refused(refusal.name());
    let answer = ApiError::from(refusal).to_http1();
    let _ = stream.try_write(answer.as_bytes());
}

/// Who is on a connection, and what for.
#[derive(Clone)]
struct Caller {
    routes: Router,
    /// The socket's other end.
    peer: IpAddr,
    trusted: Arc<[TrustedProxy]>,
}

async fn serve_connection(stream: TcpStream, caller: Caller, place: Place, mut stop: watch::Receiver<bool>) {
    // Answers are small and written at once; waiting for more to send would only delay them.
    let _ = stream.set_nodelay(true);
    let options = SockRef::from(&stream);
    let _ = options.set_tcp_user_timeout(Some(UNHEARD_MAX));
    let _ = options.set_tcp_notsent_lowat(UNSENT_BYTES_MAX);
    let activity = Arc::clone(&place.activity);
    let answer = tower::service_fn(move |request| answer(caller.clone(), Arc::clone(&activity), request));
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD_WITHIN);
    http.max_headers(HEADERS_MAX).max_buf_size(BUFFER_BYTES_MAX);
    let mut connection =
        pin!(http.serve_connection(TokioIo::new(stream), TowerToHyperService::new(answer)).with_upgrades());
    let last_answer_within = tokio::select! {
        // An error here is the client's: gone, silent or not speaking HTTP.
        _ = connection.as_mut() => return,
        () = place.activity.evicted() => return,
        _ = stop.wait_for(|stop| *stop) => STOP_WITHIN,
        () = sleep(CONNECTION_AGE_MAX) => LAST_ANSWER_WITHIN,
    };
    connection.as_mut().graceful_shutdown();
    tokio::select! {
        _ = timeout(last_answer_within, connection) => {}
        () = place.activity.evicted() => {}
    }
}

async fn answer(
    caller: Caller,
    activity: Arc<Activity>,
    request: hyper::Request<Incoming>,
) -> Result<Response, Infallible> {
    let _turn = Turn(Arc::clone(&activity));
    let peer = Peer(client_address(caller.peer, request.headers(), &caller.trusted));
    let mut request: Request = request.map(|body| axum::body::Body::new(Watched::new(body, activity)));
    request.extensions_mut().insert(peer);
    if caller.trusted.iter().any(|proxy| proxy.contains(caller.peer)) {
        request.extensions_mut().insert(FromProxy);
    }
    caller.routes.oneshot(request).await
}
