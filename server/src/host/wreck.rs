//! After a panic in a shard: players are told, a capsule is kept, demo matches come back.
//!
//! In: the `App` that panicked, read for the last time. Out: closed links, a capsule, the orders to open again.
//! *Invariant:* nothing of the dead `App` is updated; each step reads what it needs behind a fence of its own,
//! so that one that finds ruins does not keep the next from trying.
//! Start reading at [`abandon`].

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::Duration;

use astro_shared::sim::units::MatchId;
use astro_shared::wire::message::CloseReason;
use bevy_app::App;
use bevy_ecs::prelude::*;

use super::capsule::Capsule;
use super::link::{self, Links};
use super::matches::{Hosted, note_void};
use super::panics;
use super::record::hand_over_void;
use super::shard::{Now, Transports};
use crate::hosts::{MatchOrder, VOID_FAULT};

/// Ends everything that a panicked shard had, as well as that can still be done; its demo matches are returned.
pub(super) fn abandon(app: &mut App, shard: usize, now: Duration, message: String, capsules: &Path) -> Vec<MatchOrder> {
    let world = app.world_mut();
    let fenced = |what: &str, step: &mut dyn FnMut()| {
        if catch_unwind(AssertUnwindSafe(step)).is_err() {
            tracing::error!(shard, said = panics::take(), "after a panic, {what} failed too");
        }
    };
    fenced("telling the players", &mut || tell_players(world, now));
    fenced("keeping a capsule", &mut || {
        Capsule::collect(world, shard, now, message.clone()).write_later(capsules.to_owned());
    });
    fenced("noting what is lost", &mut || note_voids(world, &message));
    let mut demos = Vec::new();
    fenced("counting demo matches", &mut || demos = demo_orders(world));
    demos
}

/// Closes every link with the reason, by the same steps as any other closing.
fn tell_players(world: &mut World, now: Duration) {
    if let Some(mut links) = world.get_resource_mut::<Links>() {
        links.close_all(CloseReason::ServerFault);
    }
    if let Some(mut time) = world.get_resource_mut::<Now>() {
        time.0 = now;
    }
    let closed = world.run_system_cached(link::close_links);
    if let Err(error) = closed {
        tracing::error!(%error, "the links could not be closed");
    }
    if let Some(mut transports) = world.get_resource_mut::<Transports>() {
        transports.0.iter_mut().for_each(|transport| _ = transport.flush(now));
    }
}

fn note_voids(world: &mut World, message: &str) {
    let lost: Vec<Entity> = world.query_filtered::<Entity, With<Hosted>>().iter(world).collect();
    for entity in lost {
        hand_over_void(world, entity, VOID_FAULT);
        note_void(world, entity, CloseReason::ServerFault, message);
    }
}

fn demo_orders(world: &mut World) -> Vec<MatchOrder> {
    let mut query = world.query::<&Hosted>();
    let demos = query.iter(world).filter(|hosted| hosted.order.demo);
    demos
        .map(|hosted| MatchOrder { match_id: MatchId(uuid::Uuid::now_v7().as_u128()), ..hosted.order.clone() })
        .collect()
}
