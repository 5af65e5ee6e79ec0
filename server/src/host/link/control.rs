//! Control messages on their way out: when a renet connection is polled, and how often its packets are sent.
//!
//! In: messages queued by [`Links::tell`], packets that want an acknowledgement. Out: renet packets.
//! *Invariant:* a renet connection is polled only when a message was queued, a reliable one is unacknowledged
//! (every 100 ms), or a packet with messages came; never because of an acknowledgement alone.
//! Start reading at [`poll_control`].

use std::time::Duration;

use astro_shared::wire::message::CloseReason;
use astro_shared::wire::{CONTROL_CHANNEL, CONTROL_CHANNEL_BYTES_MAX};
use bevy_ecs::prelude::*;
use bevy_renet::RenetServer;
use bevy_renet::renet::{ChannelConfig, ConnectionConfig, SendType};

use super::super::shard::{Now, Transports};
use super::Links;
use crate::transport::{LinkId, Network};

/// Resend of an unacknowledged control message, and the poll that lets it happen.
pub const RESEND_AFTER: Duration = Duration::from_millis(150);
const POLL_EVERY: Duration = Duration::from_millis(100);
/// Between two clock updates of the control connections; each costs 0.3 to 0.5 µs a link.
const CONTROL_CLOCK_EVERY: Duration = Duration::from_millis(100);
/// Copies of the last packets: one in a thousand clients misses all three at 10 % loss, outside bursts, and notices the
/// end by its silence.
pub(super) const GOODBYES: usize = 3;

/// One reliable, ordered channel each way.
pub fn control_config() -> ConnectionConfig {
    let channel = || ChannelConfig {
        channel_id: CONTROL_CHANNEL,
        max_memory_usage_bytes: CONTROL_CHANNEL_BYTES_MAX,
        send_type: SendType::ReliableOrdered { resend_time: RESEND_AFTER },
    };
    ConnectionConfig {
        available_bytes_per_tick: CONTROL_CHANNEL_BYTES_MAX as u64,
        server_channels_config: vec![channel()],
        client_channels_config: vec![channel()],
    }
}

/// Lets control messages out where the invariant above allows it.
pub(in super::super) fn poll_control(
    now: Res<Now>,
    mut links: ResMut<Links>,
    mut renet: ResMut<RenetServer>,
    mut transports: ResMut<Transports>,
) {
    let elapsed = now.0.saturating_sub(links.clock);
    if elapsed >= CONTROL_CLOCK_EVERY {
        // The first call sets the clock: there is nothing to be elapsed yet.
        let elapsed = if links.clock.is_zero() { Duration::ZERO } else { elapsed };
        links.clock = now.0;
        renet.update(elapsed);
        for id in renet.disconnections_id() {
            links.close(LinkId(id), CloseReason::Misbehaved);
        }
        while renet.get_event().is_some() {}
    }
    for (link, route) in &mut links.routes {
        let due = route.poll_at.is_some_and(|at| now.0 >= at);
        if !route.poll_now && !due {
            continue;
        }
        route.poll_now = false;
        send_control(&mut renet, &mut transports, *link, route.transport, 1);
        let unacknowledged = renet.channel_available_memory(link.0, CONTROL_CHANNEL) < CONTROL_CHANNEL_BYTES_MAX;
        route.poll_at = unacknowledged.then_some(now.0 + POLL_EVERY);
    }
}

/// Sends what renet has to send; `copies` of it where copies can be lost.
pub(super) fn send_control(
    renet: &mut RenetServer,
    transports: &mut Transports,
    link: LinkId,
    transport: usize,
    copies: usize,
) {
    let packets = renet.get_packets_to_send(link.0).unwrap_or_default();
    let Some(transport) = transports.0.get_mut(transport) else { return };
    let copies = if transport.network() == Network::WebSocket { 1 } else { copies };
    (0..copies).for_each(|_| packets.iter().for_each(|packet| transport.send(link, packet)));
}
