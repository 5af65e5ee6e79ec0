//! WebSockets: one for a player, hundreds on one thread for bots. Plain `ws://` only.
//!
//! In: packets to send, a ticket. Out: packets that came; when it is over, the close code.
//! Connecting blocks and belongs on a thread that may wait; everything after it never blocks.
//! A session treats it as a link that loses datagrams, so packets that the connection does not take at once are lost
//! rather than queued: inputs are repeated, control messages are resent.
//! *Invariant:* carries bytes and never looks inside packets.
//! *Invariant:* one call takes a bounded number of frames from a socket, and no frame above [`SERVER_FRAME_BYTES_MAX`].
//! *Invariant:* an idle socket costs nothing: [`FleetWebSockets::receive`] reads only what the system says is readable.
//! Start reading at [`ClientWebSocket::connect`] and [`FleetWebSockets`].

use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::os::fd::AsRawFd;
use std::time::Duration;

use astro_shared::wire;
use astro_shared::wire::websocket::{Hello, SERVER_FRAME_BYTES_MAX, TICKET_BYTES, packets, put_packet};
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use tungstenite::client::client_with_config;
use tungstenite::handshake::HandshakeError;
use tungstenite::http::Uri;
use tungstenite::protocol::frame::CloseFrame;
use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::protocol::{WebSocket, WebSocketConfig};
use tungstenite::{Error, Message};

use super::Carried;

const CONNECT_WITHIN: Duration = Duration::from_secs(2);
/// For each step of the upgrade that the server answers.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// A read buffer: some ten frames of a match.
const READ_BUFFER_BYTES: usize = 4 * 1024;
/// What may wait in us for the connection to take it: one frame, and answers to pings.
const WRITE_BUFFER_BYTES_MAX: usize = 16 * 1024;
/// Frames that one call takes from one socket at most.
const FRAMES_MAX: usize = 64;
/// Sockets that one question to the system names at most; it is asked again while there are more.
const EVENTS_MAX: usize = 512;
/// Answers to an upgrade longer than this are cut in messages.
const REFUSAL_BYTES_MAX: usize = 1024;

/// What opens a WebSocket to a seat; part of the service's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebSocketTicket {
    pub url: String,
    pub ticket: [u8; TICKET_BYTES],
}

/// A WebSocket could not be opened.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConnectError {
    #[error("{0} is no ws:// address (wss is not supported: go behind the proxy)")]
    Address(String),
    #[error("no WebSocket at {url}: {reason}")]
    Unreachable { url: String, reason: String },
    #[error("the WebSocket was refused with {status}: {body}")]
    Refused { status: u16, retry_after: Option<Duration>, body: String },
}

/// A connection that says when it has nothing more to read, without asking the system again.
struct Stream {
    tcp: TcpStream,
    /// The last read took less than there was room for, so nothing is left. Only for connections that do not block.
    drained: bool,
    blocks: bool,
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.drained {
            return Err(ErrorKind::WouldBlock.into());
        }
        let count = self.tcp.read(buffer)?;
        self.drained = !self.blocks && (1..buffer.len()).contains(&count);
        Ok(count)
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.tcp.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.tcp.flush()
    }
}

/// One connection.
pub struct ClientWebSocket {
    socket: WebSocket<Stream>,
    /// Packets of the next frame.
    frame: Vec<u8>,
    /// The connection did not take the last frame whole.
    stalled: bool,
    /// Writing has failed; what the server said before is still to be read, and may hold the reason.
    broken: bool,
    closed: Option<Closed>,
    carried: Carried,
    /// Packets that were lost because the connection did not take them.
    unsent: u64,
    scratch: Vec<u8>,
}

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Closed {
    /// What the server said; `None` when the connection broke without a word.
    pub code: Option<u16>,
}

impl ClientWebSocket {
    /// Connects, upgrades and shows the ticket. Blocks, for seconds when the server is slow.
    ///
    /// # Errors
    /// What was in the way. A ticket that is not accepted shows later, as a close code.
    pub fn connect(ticket: &WebSocketTicket) -> Result<ClientWebSocket, ConnectError> {
        let mut socket = ClientWebSocket::upgrade(reach(&ticket.url)?, &ticket.url)?;
        let hello = Hello { fingerprint: wire::fingerprint(), ticket: ticket.ticket };
        socket.send_message(Message::binary(hello.encode().to_vec()));
        Ok(socket)
    }

    /// Upgrades a connection and leaves it without a ticket. Blocks.
    ///
    /// # Errors
    /// What was in the way.
    pub fn upgrade(tcp: TcpStream, url: &str) -> Result<ClientWebSocket, ConnectError> {
        let unreachable = |reason: String| ConnectError::Unreachable { url: url.to_owned(), reason };
        let io = |error: io::Error| unreachable(error.to_string());
        tcp.set_nodelay(true).map_err(io)?;
        tcp.set_read_timeout(Some(ANSWER_WITHIN)).map_err(io)?;
        tcp.set_write_timeout(Some(ANSWER_WITHIN)).map_err(io)?;
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BUFFER_BYTES)
            .write_buffer_size(0)
            .max_write_buffer_size(WRITE_BUFFER_BYTES_MAX)
            .max_message_size(Some(SERVER_FRAME_BYTES_MAX))
            .max_frame_size(Some(SERVER_FRAME_BYTES_MAX));
        let stream = Stream { tcp, drained: false, blocks: true };
        let mut socket = match client_with_config(url, stream, Some(config)) {
            Ok((socket, _)) => socket,
            Err(HandshakeError::Failure(Error::Http(answer))) => return Err(refusal(&answer)),
            Err(HandshakeError::Failure(error)) => return Err(unreachable(error.to_string())),
            Err(HandshakeError::Interrupted(_)) => return Err(unreachable("no answer in time".into())),
        };
        socket.get_ref().tcp.set_nonblocking(true).map_err(io)?;
        socket.get_mut().blocks = false;
        Ok(ClientWebSocket {
            socket,
            frame: Vec::new(),
            stalled: false,
            broken: false,
            closed: None,
            carried: Carried::default(),
            unsent: 0,
            scratch: Vec::new(),
        })
    }

    /// Puts a packet into the next frame.
    pub fn queue(&mut self, packet: &[u8]) {
        put_packet(&mut self.frame, packet);
    }

    /// Sends what was queued as one frame, or loses it when the one before is still on its way.
    pub fn flush(&mut self) {
        if self.stalled && !self.is_over() {
            let flushed = self.socket.flush();
            self.on_written(flushed);
        }
        if self.frame.is_empty() {
            return;
        }
        if self.is_over() {
            return self.frame.clear();
        }
        if self.stalled {
            self.unsent += packets(&self.frame).map_or(0, |packets| packets.count() as u64);
            return self.frame.clear();
        }
        let frame = std::mem::take(&mut self.frame);
        self.carried.count_up(frame.len() + header_bytes(frame.len()) + MASK_BYTES);
        self.send_message(Message::binary(frame));
    }

    /// Sends any message: a hello, or what only an attacker sends.
    pub fn send_message(&mut self, message: Message) {
        let written = self.socket.write(message).and_then(|()| self.socket.flush());
        self.on_written(written);
    }

    /// Hands on every packet that waits; true when more frames may be there than one call takes.
    pub fn receive(&mut self, mut take: impl FnMut(&mut [u8])) -> bool {
        self.socket.get_mut().drained = false;
        for _ in 0..FRAMES_MAX {
            if self.closed.is_some() {
                return false;
            }
            match self.socket.read() {
                Ok(Message::Binary(frame)) => {
                    self.carried.count_down(frame.len() + header_bytes(frame.len()));
                    for packet in packets(&frame).into_iter().flatten() {
                        self.scratch.clear();
                        self.scratch.extend_from_slice(packet);
                        take(&mut self.scratch);
                    }
                }
                Ok(Message::Close(frame)) => {
                    self.closed = Some(Closed { code: frame.map(|frame| frame.code.into()) });
                    // The answer to the server's farewell; it matters to nobody whether it arrives.
                    let _ = self.socket.flush();
                }
                Ok(_) => {}
                Err(Error::Io(error)) if error.kind() == ErrorKind::WouldBlock => return false,
                Err(_) => self.closed = Some(Closed { code: None }),
            }
        }
        true
    }

    /// Says goodbye; the connection itself ends with this value.
    pub fn close(&mut self) {
        if self.closed.is_none() {
            let _ = self.socket.close(Some(CloseFrame { code: CloseCode::Normal, reason: "".into() }));
        }
    }

    /// How the connection ended, if it has.
    pub fn closed(&self) -> Option<Closed> {
        self.closed
    }

    pub fn carried(&self) -> Carried {
        self.carried
    }

    pub fn unsent(&self) -> u64 {
        self.unsent
    }

    /// The connection below, for who wants to treat it badly.
    pub fn tcp(&self) -> &TcpStream {
        &self.socket.get_ref().tcp
    }

    /// Whether nothing can be sent any more.
    pub fn is_over(&self) -> bool {
        self.broken || self.closed.is_some()
    }

    fn on_written(&mut self, written: Result<(), Error>) {
        self.stalled = match written {
            Ok(()) => false,
            Err(Error::Io(error)) if error.kind() == ErrorKind::WouldBlock => true,
            Err(Error::WriteBufferFull(_)) => true,
            Err(_) => {
                self.broken = true;
                false
            }
        };
    }
}

const MASK_BYTES: usize = 4;

/// Header of a frame with that payload, the mask not counted.
fn header_bytes(payload_bytes: usize) -> usize {
    match payload_bytes {
        0..126 => 2,
        126..65536 => 4,
        _ => 10,
    }
}

/// Connects to a WebSocket's host.
///
/// # Errors
/// When the address is none of ours or nobody answers there.
pub fn reach(url: &str) -> Result<TcpStream, ConnectError> {
    let unreachable = |reason: String| ConnectError::Unreachable { url: url.to_owned(), reason };
    let uri: Uri = url.parse().map_err(|_| ConnectError::Address(url.to_owned()))?;
    let host = uri.host().filter(|_| uri.scheme_str() == Some("ws"));
    let host = host.ok_or_else(|| ConnectError::Address(url.to_owned()))?;
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let addresses = (bare, uri.port_u16().unwrap_or(80)).to_socket_addrs();
    let mut reason = "the name has no address".to_owned();
    for address in addresses.map_err(|error| unreachable(error.to_string()))? {
        match TcpStream::connect_timeout(&address, CONNECT_WITHIN) {
            Ok(stream) => return Ok(stream),
            Err(error) => reason = error.to_string(),
        }
    }
    Err(unreachable(reason))
}

fn refusal(answer: &tungstenite::http::Response<Option<Vec<u8>>>) -> ConnectError {
    let retry_after = answer.headers().get("retry-after").and_then(|value| value.to_str().ok()?.parse().ok());
    let body = answer.body().as_deref().unwrap_or_default();
    ConnectError::Refused {
        status: answer.status().as_u16(),
        retry_after: retry_after.map(Duration::from_secs),
        body: String::from_utf8_lossy(&body[..body.len().min(REFUSAL_BYTES_MAX)]).into_owned(),
    }
}

/// The WebSockets of a fleet of bots.
#[derive(Default)]
pub struct FleetWebSockets {
    /// Made with the first socket.
    watch: Option<Watch>,
    sockets: Vec<Option<Held>>,
    free: Vec<usize>,
    /// Sockets that have more than one call took, or may have: looked at without being named by the system.
    unfinished: Vec<usize>,
    unsent: u64,
}

/// The system's answer to which sockets are readable.
struct Watch {
    poll: Poll,
    events: Events,
}

struct Held {
    socket: ClientWebSocket,
    bot: u32,
}

impl FleetWebSockets {
    /// Takes a connection in for the bot of that number; its place.
    ///
    /// # Errors
    /// When the system cannot watch another socket.
    pub fn add(&mut self, socket: ClientWebSocket, bot: u32) -> io::Result<usize> {
        let watch = match &mut self.watch {
            Some(watch) => watch,
            none => none.insert(Watch { poll: Poll::new()?, events: Events::with_capacity(EVENTS_MAX) }),
        };
        let place = self.free.last().copied().unwrap_or(self.sockets.len());
        let readable = Interest::READABLE;
        watch.poll.registry().register(&mut SourceFd(&socket.tcp().as_raw_fd()), Token(place), readable)?;
        if self.free.pop().is_none() {
            self.sockets.push(None);
        }
        self.sockets[place] = Some(Held { socket, bot });
        self.unfinished.push(place);
        Ok(place)
    }

    /// Ends a connection and gives its place back.
    pub fn remove(&mut self, place: usize) {
        let Some(mut held) = self.sockets.get_mut(place).and_then(Option::take) else { return };
        held.socket.close();
        self.unsent += held.socket.unsent();
        if let Some(watch) = &self.watch {
            // Closing the descriptor would do as well.
            let _ = watch.poll.registry().deregister(&mut SourceFd(&held.socket.tcp().as_raw_fd()));
        }
        self.free.push(place);
    }

    pub fn get(&self, place: usize) -> Option<&ClientWebSocket> {
        self.sockets.get(place)?.as_ref().map(|held| &held.socket)
    }

    pub fn get_mut(&mut self, place: usize) -> Option<&mut ClientWebSocket> {
        self.sockets.get_mut(place)?.as_mut().map(|held| &mut held.socket)
    }

    /// Hands on every packet that waits, with the number of the bot it is for.
    pub fn receive(&mut self, mut take: impl FnMut(u32, &mut [u8])) {
        let FleetWebSockets { watch: Some(Watch { poll, events }), sockets, unfinished, .. } = self else { return };
        let mut ready = std::mem::take(unfinished);
        // As often as it takes to have every socket named once.
        for _ in 0..=sockets.len() / EVENTS_MAX {
            // Interrupted, or worse: what was not named now is named the next time.
            if poll.poll(events, Some(Duration::ZERO)).is_err() {
                break;
            }
            ready.extend(events.iter().map(|event| event.token().0));
            if events.iter().count() < EVENTS_MAX {
                break;
            }
        }
        for place in ready {
            let Some(held) = sockets.get_mut(place).and_then(Option::as_mut) else { continue };
            let bot = held.bot;
            if held.socket.receive(|packet| take(bot, packet)) {
                unfinished.push(place);
            }
        }
    }

    /// Packets that were lost because a connection did not take them.
    pub fn unsent(&self) -> u64 {
        self.unsent + self.sockets.iter().flatten().map(|held| held.socket.unsent()).sum::<u64>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use astro_shared::wire::websocket::CLOSE_MISBEHAVED;
    use std::net::TcpListener;
    use std::thread::{self, JoinHandle};
    use tungstenite::accept;

    type Far = WebSocket<TcpStream>;

    /// A server on a thread that upgrades `count` connections, reads their hellos and hands them all to `serve`.
    fn server<T: Send + 'static>(
        count: usize,
        serve: impl FnOnce(Vec<(Far, Hello)>) -> T + Send + 'static,
    ) -> (String, JoinHandle<T>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("ws://{}/v1/play", listener.local_addr().unwrap());
        let thread = thread::spawn(move || {
            let connections = (0..count).map(|_| {
                let mut far = accept(listener.accept().unwrap().0).unwrap();
                let hello = Hello::decode(&far.read().unwrap().into_data()).unwrap();
                (far, hello)
            });
            serve(connections.collect())
        });
        (url, thread)
    }

    fn connect(url: &str, number: u8) -> ClientWebSocket {
        let ticket = WebSocketTicket { url: url.to_owned(), ticket: [number; TICKET_BYTES] };
        ClientWebSocket::connect(&ticket).unwrap()
    }

    fn frame(list: &[&[u8]]) -> Message {
        let mut frame = Vec::new();
        list.iter().for_each(|packet| put_packet(&mut frame, packet));
        Message::binary(frame)
    }

    /// Everything that comes until the connection ends.
    fn drain(socket: &mut ClientWebSocket) -> Vec<Vec<u8>> {
        let mut all = Vec::new();
        while socket.closed().is_none() {
            socket.receive(|packet| all.push(packet.to_vec()));
        }
        all
    }

    #[test]
    fn hello_comes_first_then_packets_both_ways_then_the_reason_of_the_end() {
        let (url, thread) = server(1, |mut all| {
            let (mut far, hello) = all.pop().unwrap();
            far.send(frame(&[&[0x80, 1], &[0, 9, 9]])).unwrap();
            let up = far.read().unwrap().into_data().to_vec();
            let reason = CloseFrame { code: CLOSE_MISBEHAVED.into(), reason: "misbehaved".into() };
            far.close(Some(reason)).unwrap();
            (hello, up)
        });
        let mut near = connect(&url, 7);
        near.queue(&[0x81, 5]);
        near.queue(&[4, 4, 4]);
        near.flush();
        assert_eq!(drain(&mut near), [vec![0x80, 1], vec![0, 9, 9]]);
        assert_eq!(near.closed(), Some(Closed { code: Some(CLOSE_MISBEHAVED) }));
        let (hello, up) = thread.join().unwrap();
        assert_eq!(hello, Hello { fingerprint: wire::fingerprint(), ticket: [7; TICKET_BYTES] });
        assert_eq!(up, [2, 0, 0x81, 5, 3, 0, 4, 4, 4]);
        let Carried { datagrams_down, bytes_down, datagrams_up, bytes_up } = near.carried();
        assert_eq!((datagrams_down, bytes_down, datagrams_up, bytes_up), (1, 2 + 9, 1, 2 + 4 + 9));
    }

    #[test]
    fn each_of_a_fleet_gets_its_own_frames_and_the_idle_are_not_read() {
        const FLEET: usize = 100;
        let (url, thread) = server(FLEET, |all| {
            for (mut far, hello) in all {
                let number = hello.ticket[0];
                // More frames than one call takes.
                (0..FRAMES_MAX + 6).for_each(|_| far.send(frame(&[&[0x80, number]])).unwrap());
                far.close(None).unwrap();
            }
        });
        let mut fleet = FleetWebSockets::default();
        let places: Vec<usize> =
            (0..FLEET).map(|number| fleet.add(connect(&url, number as u8), number as u32).unwrap()).collect();
        let mut counts = vec![0; FLEET];
        let is_open = |fleet: &FleetWebSockets, place: &usize| fleet.get(*place).unwrap().closed().is_none();
        while places.iter().any(|place| is_open(&fleet, place)) {
            fleet.receive(|bot, packet| {
                assert_eq!(packet, [0x80, bot as u8]);
                counts[bot as usize] += 1;
            });
        }
        assert_eq!(counts, vec![FRAMES_MAX + 6; FLEET]);
        thread.join().unwrap();
        places.into_iter().for_each(|place| fleet.remove(place));
        assert!(fleet.unfinished.is_empty() || fleet.sockets.iter().all(Option::is_none));
    }

    #[test]
    fn a_server_that_reads_nothing_costs_packets_and_no_waiting() {
        let (release, held) = std::sync::mpsc::channel::<()>();
        let (url, thread) = server(1, move |all| {
            let _ = held.recv();
            drop(all);
        });
        let mut near = connect(&url, 1);
        // Some megabytes fill every buffer between the two.
        for _ in 0..40_000 {
            near.queue(&[0x81; 1000]);
            near.flush();
        }
        assert!(near.unsent() > 1000, "{} lost", near.unsent());
        assert!(!near.is_over() && near.frame.is_empty());
        release.send(()).unwrap();
        thread.join().unwrap();
        drain(&mut near);
        assert_eq!(near.closed(), Some(Closed { code: None }), "it broke without a word");
    }

    #[test]
    fn refusals_and_addresses_are_said_in_words() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("ws://{}/v1/play", listener.local_addr().unwrap());
        let thread = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let _ = stream.read(&mut [0; 2048]).unwrap();
            let body = r#"{"code":"busy","detail":"too many sockets","type":"about:blank","title":"Too Many Requests","status":429}"#;
            let answer = format!(
                "HTTP/1.1 503 X\r\nretry-after: 3\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
                body.len()
            );
            stream.write_all(answer.as_bytes()).unwrap();
        });
        let ticket = |url: &str| WebSocketTicket { url: url.to_owned(), ticket: [0; TICKET_BYTES] };
        let refused = ClientWebSocket::connect(&ticket(&url)).err().unwrap();
        let ConnectError::Refused { status: 503, retry_after, body } = refused else { panic!("{refused}") };
        assert_eq!(retry_after, Some(Duration::from_secs(3)));
        assert!(body.contains("too many sockets"), "{body}");
        thread.join().unwrap();
        let gone = ClientWebSocket::connect(&ticket(&url)).err().unwrap();
        assert!(matches!(gone, ConnectError::Unreachable { .. }), "{gone}");
        let secure = ClientWebSocket::connect(&ticket("wss://example.org/v1/play")).err().unwrap();
        assert!(secure.to_string().contains("wss is not supported"), "{secure}");
    }
}
