//! What lies under a session: an encrypted netcode connection, or bare payloads over something that is
//! already a connection (memory, later a WebSocket).
//!
//! In: datagrams as they came, payloads to send, time. Out: payloads as the server meant them, sealed datagrams.
//! *Invariant:* no byte reaches the netcode parser before the ingress filter has passed it.
//! *Invariant:* a malformed connect token is an error here, never a panic inside the parser.
//! Start reading at [`Link::open`] and [`Link::seal`].

use std::net::SocketAddr;
use std::time::Duration;

use astro_shared::wire::filter::{self, Refused, Side};
use renetcode::{ClientAuthentication, ConnectToken, DisconnectReason, NetcodeClient};

use super::Ended;

/// A connect token is at most this long: 32 IPv6 addresses.
const TOKEN_BYTES_MAX: usize = 2048;

/// The carrier of one session.
pub enum Link {
    /// Over UDP. Boxed: the connection's buffers and keys fill several kilobytes.
    Netcode(Box<NetcodeClient>),
    /// Payloads travel as they are; who carries them also says when the carrier is gone.
    Bare,
}

/// A connect token that cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    #[error("the connect token is not of netcode 1.02 or ends early")]
    Format,
    #[error("the connect token names no server address")]
    NoAddress,
    #[error("the connect token expires before it was made")]
    Expiry,
}

impl Link {
    /// A netcode connection that begins with its first [`Link::update`].
    ///
    /// # Errors
    /// What is wrong with the token's bytes.
    pub fn from_connect_token(bytes: &[u8], now: Duration) -> Result<Link, TokenError> {
        let mut rest = bytes.get(..bytes.len().min(TOKEN_BYTES_MAX)).unwrap_or_default();
        let connect_token = ConnectToken::read(&mut rest).map_err(|_| TokenError::Format)?;
        if connect_token.server_addresses[0].is_none() {
            return Err(TokenError::NoAddress);
        }
        if connect_token.expire_timestamp < connect_token.create_timestamp {
            return Err(TokenError::Expiry);
        }
        let client = NetcodeClient::new(now, ClientAuthentication::Secure { connect_token });
        client.map(|client| Link::Netcode(Box::new(client))).map_err(|_| TokenError::Format)
    }

    /// Where datagrams go to and must come from; `None` when the carrier knows.
    pub fn server_address(&self) -> Option<SocketAddr> {
        match self {
            Link::Netcode(client) => Some(client.server_addr()),
            Link::Bare => None,
        }
    }

    pub fn is_connected(&self) -> bool {
        match self {
            Link::Netcode(client) => client.is_connected(),
            Link::Bare => true,
        }
    }

    /// Takes a datagram; the payload inside, when it holds one and is genuine.
    ///
    /// # Errors
    /// When the filter refuses it.
    pub fn open<'b>(&mut self, datagram: &'b mut [u8]) -> Result<Option<&'b [u8]>, Refused> {
        match self {
            Link::Netcode(client) => {
                filter::check_netcode(datagram, Side::Client)?;
                Ok(client.process_packet(datagram))
            }
            Link::Bare => Ok(Some(datagram)),
        }
    }

    /// Writes the datagram that carries `payload`; false when there is no connection to carry it.
    pub fn seal(&mut self, payload: &[u8], datagram: &mut Vec<u8>) -> bool {
        datagram.clear();
        match self {
            Link::Netcode(client) => match client.generate_payload_packet(payload) {
                Ok((_, sealed)) => datagram.extend_from_slice(sealed),
                Err(_) => return false,
            },
            Link::Bare => datagram.extend_from_slice(payload),
        }
        true
    }

    /// Moves the connection's clock; true when `datagram` now holds a handshake step or keep-alive to send.
    pub fn update(&mut self, passed: Duration, datagram: &mut Vec<u8>) -> bool {
        let Link::Netcode(client) = self else { return false };
        let Some((bytes, _)) = client.update(passed) else { return false };
        datagram.clear();
        datagram.extend_from_slice(bytes);
        true
    }

    /// Ends the connection on this side; true when `datagram` now holds the notice for the server.
    pub fn disconnect(&mut self, datagram: &mut Vec<u8>) -> bool {
        let Link::Netcode(client) = self else { return false };
        let Ok((_, bytes)) = client.disconnect() else { return false };
        datagram.clear();
        datagram.extend_from_slice(bytes);
        true
    }

    /// How long nothing genuine has come; `None` when only the carrier could tell.
    pub fn silence(&self) -> Option<Duration> {
        match self {
            Link::Netcode(client) => Some(client.time_since_last_received_packet()),
            Link::Bare => None,
        }
    }

    /// Why the connection has ended, if it has.
    pub fn ended(&self) -> Option<Ended> {
        let Link::Netcode(client) = self else { return None };
        Some(match client.disconnect_reason()? {
            DisconnectReason::ConnectTokenExpired => Ended::TicketExpired,
            DisconnectReason::ConnectionTimedOut => Ended::Silent,
            DisconnectReason::ConnectionResponseTimedOut | DisconnectReason::ConnectionRequestTimedOut => {
                Ended::NoAnswer
            }
            DisconnectReason::ConnectionDenied => Ended::Denied,
            DisconnectReason::DisconnectedByClient => Ended::Left,
            DisconnectReason::DisconnectedByServer => Ended::Dropped,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(addresses: Vec<SocketAddr>) -> Vec<u8> {
        let token = ConnectToken::generate(Duration::from_secs(100), 7, 15, 1, 5, addresses, None, &[3; 32]).unwrap();
        let mut bytes = Vec::new();
        token.write(&mut bytes).unwrap();
        bytes
    }

    #[test]
    fn malformed_tokens_are_errors() {
        let good = token(vec!["127.0.0.1:4000".parse().unwrap()]);
        assert!(Link::from_connect_token(&good, Duration::ZERO).is_ok());
        for length in 0..good.len() {
            let cut = Link::from_connect_token(&good[..length], Duration::ZERO);
            assert!(matches!(cut, Err(TokenError::Format)), "cut at {length}");
        }
        // Layout: client id 8, version 13, protocol 8, created 8, expires 8, nonce 24, private 1024, timeout 4, count 4.
        let with = |range: std::ops::Range<usize>, value: u8| {
            let mut bad = good.clone();
            bad[range].fill(value);
            Link::from_connect_token(&bad, Duration::ZERO).err()
        };
        assert_eq!(with(8..9, 0), Some(TokenError::Format));
        assert_eq!(with(37..45, 0), Some(TokenError::Expiry));
        assert_eq!(with(1097..1101, 0), Some(TokenError::NoAddress));
    }
}
