//! How datagrams get to a server and back; UDP in [`native`], WebSocket in [`websocket`].
//!
//! In: a session's datagrams. Out: datagrams for a session, each from the server's own address.
//! *Invariant:* carries bytes and never looks inside them; `render` and `ui` never see this module.
//! Start reading at [`native::ClientSocket`] and [`websocket::ClientWebSocket`] for a player, at the fleets in the same files
//! for bots.

pub mod native;
pub mod websocket;

/// What a session is carried by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Transport {
    Udp,
    WebSocket,
}

impl Transport {
    pub const ALL: [Transport; 2] = [Transport::Udp, Transport::WebSocket];

    /// For reports.
    pub fn name(self) -> &'static str {
        match self {
            Transport::Udp => "udp",
            Transport::WebSocket => "websocket",
        }
    }
}

/// What a carrier has carried, each way. Over UDP bytes are the payload of datagrams; over WebSocket the units are
/// frames, with their headers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Carried {
    pub datagrams_down: u64,
    pub bytes_down: u64,
    pub datagrams_up: u64,
    pub bytes_up: u64,
}

impl Carried {
    pub fn count_down(&mut self, bytes: usize) {
        self.datagrams_down += 1;
        self.bytes_down += bytes as u64;
    }

    pub fn count_up(&mut self, bytes: usize) {
        self.datagrams_up += 1;
        self.bytes_up += bytes as u64;
    }

    pub fn add(&mut self, other: &Carried) {
        self.datagrams_down += other.datagrams_down;
        self.bytes_down += other.bytes_down;
        self.datagrams_up += other.datagrams_up;
        self.bytes_up += other.bytes_up;
    }

    /// Leaves what was counted since `earlier`, a former state of this.
    pub fn subtract(&mut self, earlier: &Carried) {
        self.datagrams_down -= earlier.datagrams_down;
        self.bytes_down -= earlier.bytes_down;
        self.datagrams_up -= earlier.datagrams_up;
        self.bytes_up -= earlier.bytes_up;
    }
}
