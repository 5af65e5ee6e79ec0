//! `GET /v1/play`: a WebSocket, from the upgrade to its last frame.
//!
//! In: an upgrade request, a hello, frames. Out: frames from the match, and a close code that says why it ended.
//! What lies behind it is `transport::websocket`; framing, codes and limits are in `wire::websocket`.
//! *Invariant:* whatever one connection does costs that connection: it has a task, a mailbox and limits of its own.
//! *Invariant:* one frame is on its way out at a time; the next one is made when the connection has taken it.
//! *Invariant:* no frame is longer than the limit, and no more are read than the shard has room for.
//! Start reading at [`get_play`], then [`play`].

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use astro_shared::wire::websocket::{
    CLIENT_FRAME_BYTES_MAX, CLOSE_MISBEHAVED, CLOSE_NO_HELLO, CLOSE_VOIDED, HELLO_WITHIN_S, Hello,
    SERVER_FRAME_BYTES_MAX, close_name, packets,
};
use axum::Extension;
use axum::extract::State;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade};
use axum::http::{HeaderMap, header};
use axum::response::Response;
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use tokio::time::{sleep, timeout};

use super::Api;
use super::error::{ApiError, Checked};
use super::peer::{Network, Peer};
use crate::transport::websocket::{Connection, Dismissed, Offered, Visitor};

/// Buffer that a socket is read into; a frame of inputs has some sixty bytes.
const READ_BUFFER_BYTES: usize = 2 * 1024;
/// What may wait in a socket's own buffer: a frame, and answers to pings.
const WRITE_BUFFER_BYTES_MAX: usize = SERVER_FRAME_BYTES_MAX + 16 * 1024;
const HELLO_WITHIN: Duration = Duration::from_secs(HELLO_WITHIN_S);
/// Frames before the hello that are none: pings of an impatient client.
const IDLE_BEFORE_HELLO_MAX: usize = 8;
/// Between two tries to hand a frame to a shard without room. Less than a tick.
const RETRY_AFTER: Duration = Duration::from_millis(5);
/// For the last frame and the farewell; then the socket is dropped whether its peer reads or not.
const CLOSE_WITHIN: Duration = Duration::from_secs(2);

/// A page that may open a WebSocket here, besides those from the host of the public URL on any port. A browser says
/// which page asks; other programs say nothing and may always.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// `*`
    Any,
    /// Scheme, host, and port when it is not the scheme's own: `https://play.example`.
    Page(String),
}

/// Text that is not an [`Origin`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not an origin such as https://play.example, nor *")]
pub struct OriginError(String);

impl FromStr for Origin {
    type Err = OriginError;

    fn from_str(text: &str) -> Result<Origin, OriginError> {
        let page = text.trim_end_matches('/').to_ascii_lowercase();
        match page.split_once("://") {
            _ if page == "*" => Ok(Origin::Any),
            Some(("http" | "https", host)) if !host.is_empty() && !host.contains(['/', '*', '@', ' ']) => {
                Ok(Origin::Page(page))
            }
            _ => Err(OriginError(text.into())),
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Any => f.write_str("*"),
            Origin::Page(page) => f.write_str(page),
        }
    }
}

pub(super) fn may_connect(asking: &str, public_url: &str, others: &[Origin]) -> bool {
    let same_host = host(asking).zip(host(public_url)).is_some_and(|(asking, own)| asking.eq_ignore_ascii_case(own));
    let is_listed = |other: &Origin| match other {
        Origin::Any => true,
        Origin::Page(page) => page.eq_ignore_ascii_case(asking),
    };
    same_host || others.iter().any(is_listed)
}

/// The host in an origin or URL, without port; `None` when there is none, as in `null`.
fn host(url: &str) -> Option<&str> {
    let (_, rest) = url.split_once("://")?;
    let authority = rest.split('/').next()?;
    let end = authority.rfind(':').filter(|colon| !authority[*colon..].contains(']')).unwrap_or(authority.len());
    Some(&authority[..end]).filter(|host| !host.is_empty())
}

/// A match over a WebSocket: PROTOCOL.md.
#[utoipa::path(get, path = "/v1/play", tag = "play", responses((status = 101, description = "A WebSocket")))]
pub(super) async fn get_play(
    State(api): State<Arc<Api>>,
    peer: Option<Extension<Peer>>,
    headers: HeaderMap,
    Checked(upgrade): Checked<WebSocketUpgrade>,
) -> Result<Response, ApiError> {
    if let Some(origin) = headers.get(header::ORIGIN) {
        let asking = origin.to_str().unwrap_or_default();
        if !may_connect(asking, &api.parts.public_url, &api.parts.origins) {
            return Err(ApiError::Origin);
        }
    }
    // Without an address, as in a test without a network, all share one.
    let network = peer.map_or(Network::CROWD, |Extension(Peer(address))| Network::of(address));
    let visitor = api.parts.gate.enter(network.address(), Instant::now())?;
    let upgrade = upgrade
        .read_buffer_size(READ_BUFFER_BYTES)
        .max_frame_size(CLIENT_FRAME_BYTES_MAX)
        .max_message_size(CLIENT_FRAME_BYTES_MAX)
        .write_buffer_size(0)
        .max_write_buffer_size(WRITE_BUFFER_BYTES_MAX);
    Ok(upgrade.on_upgrade(|socket| play(socket, visitor)))
}

/// One socket's life.
async fn play(socket: WebSocket, mut visitor: Visitor) {
    let (sink, stream) = socket.split();
    let mut socket = Socket { sink, stream };
    let hello = tokio::select! {
        hello = timeout(HELLO_WITHIN, socket.hello()) => hello.unwrap_or(Err(CLOSE_NO_HELLO)),
        dismissed = visitor.dismissed() => {
            // It counts no more, so it must not linger.
            let within = if dismissed == Dismissed::Evicted { Duration::ZERO } else { CLOSE_WITHIN };
            return socket.close(dismissed.code(), None, within).await;
        }
    };
    let gate = visitor.gate().clone();
    let admitted = hello.and_then(|hello| gate.admit(&mut visitor, &hello, Instant::now()));
    match admitted {
        // Until it is gone, it counts as one that waits.
        Err(code) => socket.close(code, None, CLOSE_WITHIN).await,
        Ok(mut connection) => {
            drop(visitor);
            if let Some(code) = socket.carry(&mut connection).await {
                socket.close(code, connection.take(Instant::now()), CLOSE_WITHIN).await;
            }
        }
    }
}

struct Socket {
    sink: SplitSink<WebSocket, Message>,
    stream: SplitStream<WebSocket>,
}

impl Socket {
    /// The first frame.
    async fn hello(&mut self) -> Result<Hello, u16> {
        for _ in 0..IDLE_BEFORE_HELLO_MAX {
            match self.stream.next().await {
                Some(Ok(Message::Binary(frame))) => return Hello::decode(&frame).map_err(|_| CLOSE_NO_HELLO),
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                Some(Ok(Message::Text(_)) | Err(_)) => return Err(CLOSE_MISBEHAVED),
                Some(Ok(Message::Close(_))) | None => return Err(CLOSE_NO_HELLO),
            }
        }
        Err(CLOSE_NO_HELLO)
    }

    /// Carries frames both ways until the connection ends; answers the code to close with, or `None` when the other
    /// end has closed.
    async fn carry(&mut self, connection: &mut Connection) -> Option<u16> {
        // A frame that the shard had no room for yet: nothing more is read before it.
        let mut held = None;
        let mut unflushed = false;
        loop {
            tokio::select! {
                biased;
                flushed = self.sink.flush(), if unflushed => {
                    flushed.ok()?;
                    connection.on_flushed();
                    unflushed = false;
                }
                () = connection.changed() => {
                    if let Some(code) = connection.code() {
                        return Some(code);
                    }
                }
                message = self.stream.next(), if held.is_none() => match read(message?, connection) {
                    Ok(frame) => held = frame,
                    Err(code) => return code,
                },
                // Inside a block, so that no timer is made as long as none is needed.
                () = async { sleep(RETRY_AFTER).await }, if held.is_some() => {}
            }
            if !unflushed && let Some(frame) = connection.take(Instant::now()) {
                // Everything before it is flushed, so this takes it at once.
                self.sink.feed(Message::Binary(frame.into())).await.ok()?;
                unflushed = true;
            }
            if held.is_some() && connection.offer(&mut held) == Offered::Gone {
                return Some(connection.code().unwrap_or(CLOSE_VOIDED));
            }
        }
    }

    /// Says why, as far as the other end will listen for so long.
    async fn close(mut self, code: u16, last: Option<Vec<u8>>, within: Duration) {
        let farewell = async {
            if let Some(frame) = last {
                self.sink.send(Message::Binary(frame.into())).await?;
            }
            let frame = CloseFrame { code, reason: close_name(code).into() };
            self.sink.send(Message::Close(Some(frame))).await?;
            // What was sent may be lost when a socket is dropped before its peer has answered.
            while let Some(Ok(_)) = self.stream.next().await {}
            Ok::<(), axum::Error>(())
        };
        // Whether it failed or took too long: the other end is gone.
        let _ = timeout(within, farewell).await;
    }
}

/// What a message asks for: a frame to hand up, nothing, or an end (with a code to tell, unless the peer ended it).
fn read(message: Result<Message, axum::Error>, connection: &mut Connection) -> Result<Option<Vec<u8>>, Option<u16>> {
    match message {
        Ok(Message::Binary(frame)) if packets(&frame).is_ok() => Ok(Some(frame.into())),
        Ok(Message::Ping(_) | Message::Pong(_)) if connection.may_idle(Instant::now()) => Ok(None),
        Ok(Message::Close(_)) => Err(None),
        // An error is a frame that is too long or none at all, or a connection that is gone; the latter cannot hear.
        Ok(_) | Err(_) => Err(Some(CLOSE_MISBEHAVED)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_of_the_same_host_and_those_listed_may_connect() {
        let own = "https://party.example:8443";
        let listed = ["https://Play.example/".parse().unwrap(), "http://a.example:81".parse().unwrap()];
        for asking in
            ["https://party.example", "http://PARTY.example:3000", "https://play.example", "http://a.example:81"]
        {
            assert!(may_connect(asking, own, &listed), "{asking}");
        }
        for asking in ["https://evil.example", "http://play.example", "https://party.example.evil", "null", "", "://"] {
            assert!(!may_connect(asking, own, &listed), "{asking:?}");
            assert!(may_connect(asking, own, &[Origin::Any]), "{asking:?}");
        }
        assert!(!may_connect("https://play.example", own, &[]));
    }

    #[test]
    fn an_origin_has_a_scheme_and_a_host_and_nothing_more() {
        for good in ["*", "https://play.example", "http://127.0.0.1:3000"] {
            assert_eq!(good.parse::<Origin>().map(|origin| origin.to_string()), Ok(good.to_owned()));
        }
        for bad in ["", "play.example", "ftp://play.example", "https://", "https://play.example/game", "null"] {
            assert!(bad.parse::<Origin>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_host_is_found_without_its_port() {
        for (url, expected) in [
            ("http://127.0.0.1:8080", Some("127.0.0.1")),
            ("http://[::1]:8080/x", Some("[::1]")),
            ("http://[::1]", Some("[::1]")),
            ("https://a.b", Some("a.b")),
            ("null", None),
        ] {
            assert_eq!(host(url), expected, "{url}");
        }
    }
}
