//! What is attacked: a server on this machine.
//!
//! In: an HTTP address. Out: seats for attackers, sockets to the server from chosen addresses.
//! *Invariant:* every address that is ever sent to has been checked to be loopback.
//! Start reading at [`Target::find`].

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream, ToSocketAddrs, UdpSocket};
use std::time::Duration;

use astro_shared::api::QuickplayRequest;
use astro_shared::wire::websocket;
use socket2::{Domain, Socket, Type};
use tungstenite::http::Uri;

use super::AttackError;
use crate::service::{Joined, Service};
use crate::session::{Link, TokenError};

/// Attackers' own source addresses: 127.96.0.0 and up, where no honest bot is (`net/native.rs`).
const FIRST_SOURCE: u32 = u32::from_be_bytes([127, 96, 0, 1]);
const CONNECT_WITHIN: Duration = Duration::from_secs(2);

/// A server on this machine.
pub struct Target {
    pub service: Service,
    pub http: SocketAddr,
    /// Differs from run to run, so that attackers never meet honest players.
    run_id: u64,
}

impl Target {
    /// # Errors
    /// When the address is not on this machine, or no server of our wire answers there.
    pub fn find(server: &str) -> Result<Target, AttackError> {
        let http = loopback(server, 80)?;
        let service = Service::new(server, 4);
        service.check_version()?;
        Ok(Target { service, http, run_id: rand::random() })
    }

    /// Where a WebSocket is asked for.
    pub fn websocket_url(&self) -> String {
        format!("ws://{}{}", self.http, websocket::PATH)
    }

    /// A seat in a match of attackers. `crowd` tells matches apart.
    ///
    /// # Errors
    /// When the service gives none, or one that is not on this machine.
    pub fn join(&self, crowd: &str) -> Result<Joined, AttackError> {
        let request = QuickplayRequest {
            name: "Mallory".into(),
            mode: "last_ship".into(),
            seats: Some(2),
            rules: Some("sprint".into()),
            group: Some(format!("{:08x}-{crowd}", self.run_id as u32)),
            ..QuickplayRequest::default()
        };
        let joined = self.service.join(&request)?;
        self.udp_address(&joined)?;
        loopback(&joined.websocket.url, 80)?;
        Ok(joined)
    }

    /// Where the seat's connect token leads.
    ///
    /// # Errors
    /// When that is not on this machine.
    pub fn udp_address(&self, joined: &Joined) -> Result<SocketAddr, AttackError> {
        let link = Link::from_connect_token(&joined.connect_token, Duration::ZERO);
        let address = link.ok().and_then(|link| link.server_address()).ok_or(TokenError::NoAddress);
        let address = address.map_err(crate::player::BoardError::from)?;
        if address.ip().is_loopback() { Ok(address) } else { Err(AttackError::NotLoopback(address.to_string())) }
    }

    /// A connection to the HTTP port from the source address of that number. `receive_bytes` shrinks its receive buffer.
    ///
    /// # Errors
    /// When the server does not take it.
    pub fn connect(&self, source: u32, receive_bytes: Option<usize>) -> io::Result<TcpStream> {
        let socket = Socket::new(Domain::for_address(self.http), Type::STREAM, None)?;
        if let Some(bytes) = receive_bytes {
            socket.set_recv_buffer_size(bytes)?;
        }
        if self.http.is_ipv4() {
            socket.bind(&SocketAddr::new(source_address(source), 0).into())?;
        }
        socket.connect_timeout(&self.http.into(), CONNECT_WITHIN)?;
        Ok(socket.into())
    }
}

/// A UDP socket with the source address of that number that waits a millisecond at most.
///
/// # Errors
/// When the system has none to give.
pub fn udp_socket(source: u32, server: SocketAddr) -> io::Result<UdpSocket> {
    let any = if server.is_ipv4() { source_address(source) } else { IpAddr::V6(std::net::Ipv6Addr::LOCALHOST) };
    let socket = UdpSocket::bind((any, 0))?;
    socket.set_read_timeout(Some(Duration::from_millis(1)))?;
    Ok(socket)
}

fn source_address(number: u32) -> IpAddr {
    // All of 127.0.0.0/8 is ours on Linux only.
    let number = if cfg!(target_os = "linux") { FIRST_SOURCE + number } else { u32::from_be_bytes([127, 0, 0, 1]) };
    IpAddr::V4(Ipv4Addr::from_bits(number))
}

/// The address behind a URL, when it and every other one behind the same name is on this machine.
fn loopback(url: &str, port: u16) -> Result<SocketAddr, AttackError> {
    let unresolved = |reason: String| AttackError::Unresolved(url.to_owned(), reason);
    let uri: Uri = url.parse().map_err(|_| unresolved("no URL".into()))?;
    let host = uri.host().ok_or_else(|| unresolved("no host".into()))?;
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let addresses = (bare, uri.port_u16().unwrap_or(port)).to_socket_addrs();
    let addresses: Vec<SocketAddr> = addresses.map_err(|error| unresolved(error.to_string()))?.collect();
    if let Some(elsewhere) = addresses.iter().find(|address| !address.ip().is_loopback()) {
        return Err(AttackError::NotLoopback(elsewhere.ip().to_string()));
    }
    addresses.first().copied().ok_or_else(|| unresolved("no address".into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_addresses_are_targets() {
        for ours in ["http://127.0.0.1:8080", "http://127.200.1.1:1", "http://[::1]:80"] {
            assert!(loopback(ours, 80).is_ok(), "{ours}");
        }
        for other in ["http://192.0.2.1:8080", "http://0.0.0.0:8080", "http://[2001:db8::1]", "ws://10.0.0.1/v1/play"] {
            let error = loopback(other, 80).unwrap_err();
            assert!(matches!(error, AttackError::NotLoopback(_)), "{other}: {error}");
            let Err(error) = Target::find(other) else { panic!("{other} was accepted") };
            assert!(error.to_string().contains("loopback addresses only"), "{error}");
        }
    }
}
