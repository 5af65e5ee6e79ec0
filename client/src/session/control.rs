//! The reliable half of a session: control messages over one renet channel.
//!
//! In: payloads that are not hot, messages to queue, time. Out: messages in order, packets to send.
//! *Invariant:* no byte reaches renet before the ingress filter has passed it.
//! *Invariant:* renet is polled only when a message was queued, while one is unacknowledged, or after a packet
//! with messages. An acknowledgement alone never causes a poll, or acknowledgements would be acknowledged for ever.
//! Start reading at [`Control::poll_packet`].

use std::collections::VecDeque;
use std::time::Duration;

use astro_shared::wire::filter::{self, Refused, RenetProgress};
use astro_shared::wire::message::{ToClient, ToServer};
use astro_shared::wire::{CONTROL_CHANNEL, CONTROL_CHANNEL_BYTES_MAX, MESSAGE_BYTES_MAX, WireError};
use renet::{ChannelConfig, ConnectionConfig, RenetClient, SendType};

/// After this long without acknowledgement, a message is sent again.
const RESEND_AFTER: Duration = Duration::from_millis(150);
/// How often renet is asked while something is unacknowledged; bounds how late a resend can be.
const POLL_EVERY: Duration = Duration::from_millis(100);
/// First byte of a renet packet that carries reliable messages.
const PACKET_WITH_MESSAGES: u8 = 0;

/// The control channel of one connection.
pub struct Control {
    renet: RenetClient,
    progress: RenetProgress,
    /// Time that renet knows of.
    updated: Duration,
    polled: Duration,
    /// A message was queued, or a packet with messages came, since the last poll.
    due: bool,
    /// The server may not have some queued message yet. Kept here because it is asked for in every tick.
    unacknowledged: bool,
    /// Packets of the last poll still to be sent. Holds at most what one poll gives.
    outgoing: VecDeque<Vec<u8>>,
}

impl Control {
    pub fn new(now: Duration) -> Control {
        let channel = ChannelConfig {
            channel_id: CONTROL_CHANNEL,
            max_memory_usage_bytes: CONTROL_CHANNEL_BYTES_MAX,
            send_type: SendType::ReliableOrdered { resend_time: RESEND_AFTER },
        };
        let mut renet = RenetClient::new(ConnectionConfig {
            server_channels_config: vec![channel.clone()],
            client_channels_config: vec![channel],
            ..ConnectionConfig::default()
        });
        renet.set_connected();
        Control {
            renet,
            progress: RenetProgress::default(),
            updated: now,
            polled: now,
            due: false,
            unacknowledged: false,
            outgoing: VecDeque::new(),
        }
    }

    /// Queues a message; it leaves with the next poll.
    pub fn queue(&mut self, message: &ToServer) {
        let encoded = message.encode();
        debug_assert!(encoded.is_ok(), "our own messages fit their limit");
        let Ok(bytes) = encoded else { return };
        if self.renet.can_send_message(CONTROL_CHANNEL, bytes.len()) {
            self.renet.send_message(CONTROL_CHANNEL, bytes);
            (self.due, self.unacknowledged) = (true, true);
        }
    }

    /// Takes a payload that is not hot.
    ///
    /// # Errors
    /// When the filter refuses it; renet has not seen it then.
    pub fn handle_packet(&mut self, payload: &[u8], now: Duration) -> Result<(), Refused> {
        filter::check_renet(payload, &mut self.progress, MESSAGE_BYTES_MAX)?;
        self.update(now);
        self.renet.process_packet(payload);
        self.due |= payload.first() == Some(&PACKET_WITH_MESSAGES);
        self.unacknowledged = self.renet.channel_available_memory(CONTROL_CHANNEL) < CONTROL_CHANNEL_BYTES_MAX;
        Ok(())
    }

    /// The next message in order.
    pub fn poll_message(&mut self) -> Option<Result<ToClient, WireError>> {
        let bytes = self.renet.receive_message(CONTROL_CHANNEL)?;
        self.progress.messages_received += 1;
        Some(ToClient::decode(&bytes))
    }

    /// The next packet to send.
    pub fn poll_packet(&mut self, now: Duration) -> Option<Vec<u8>> {
        let ask = self.due || (self.unacknowledged && now.saturating_sub(self.polled) >= POLL_EVERY);
        if self.outgoing.is_empty() && ask {
            self.update(now);
            self.polled = now;
            self.due = false;
            self.outgoing.extend(self.renet.get_packets_to_send());
        }
        self.outgoing.pop_front()
    }

    /// Whether the server may not have some queued message yet.
    pub fn is_unacknowledged(&self) -> bool {
        self.unacknowledged
    }

    /// Whether renet itself has given up on what the server sent.
    pub fn is_broken(&self) -> bool {
        self.renet.is_disconnected()
    }

    fn update(&mut self, now: Duration) {
        self.renet.update(now.saturating_sub(self.updated));
        self.updated = self.updated.max(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEP: Duration = Duration::from_millis(10);

    /// Carries packets both ways for a while; how many there were. `lose` drops those with these numbers.
    fn exchange(near: &mut Control, far: &mut Control, from: Duration, steps: u32, lose: &[usize]) -> usize {
        let mut packets = 0;
        for step in 0..steps {
            let now = from + STEP * step;
            for forth in [true, false] {
                let (sender, receiver) = if forth { (&mut *near, &mut *far) } else { (&mut *far, &mut *near) };
                while let Some(packet) = sender.poll_packet(now) {
                    if !lose.contains(&packets) {
                        receiver.handle_packet(&packet, now).unwrap();
                    }
                    packets += 1;
                }
            }
        }
        packets
    }

    #[test]
    fn one_message_costs_two_exchanges_and_then_there_is_silence() {
        let (mut near, mut far) = (Control::new(Duration::ZERO), Control::new(Duration::ZERO));
        near.queue(&ToServer::Leave);
        assert!(exchange(&mut near, &mut far, Duration::ZERO, 100, &[]) <= 3);
        assert!(!near.is_unacknowledged());
        assert_eq!(exchange(&mut near, &mut far, STEP * 100, 1000, &[]), 0, "acknowledgements are not acknowledged");
    }

    #[test]
    fn a_lost_message_is_sent_again_until_it_is_acknowledged() {
        let (mut near, mut far) = (Control::new(Duration::ZERO), Control::new(Duration::ZERO));
        near.queue(&ToServer::Leave);
        let packets = exchange(&mut near, &mut far, Duration::ZERO, 200, &[0, 1, 2, 3]);
        assert!((5..40).contains(&packets), "{packets} packets");
        assert!(!near.is_unacknowledged());
        assert!(far.renet.receive_message(CONTROL_CHANNEL).is_some());
    }

    #[test]
    fn slices_and_empty_messages_never_reach_renet() {
        let mut control = Control::new(Duration::ZERO);
        let mut slice = vec![2, 0, 0, 0, 9, 1, 0x44, 0xb0];
        slice.resize(8 + 1200, 0);
        assert_eq!(control.handle_packet(&slice, STEP), Err(Refused::Slice), "N4");
        assert_eq!(control.handle_packet(&[0, 0, 0, 0, 1, 5, 0], STEP), Err(Refused::Message), "N6");
        assert!(!control.is_broken());
        assert!(control.poll_packet(STEP * 100).is_none());
    }
}
