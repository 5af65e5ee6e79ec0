//! A whole bot: joins a match over HTTP, plays it over UDP or WebSocket by a few rules of its own, prints the result.
//!
//!     cargo run --example bot -p astro-client -- [http://127.0.0.1:8080] [udp|ws] [GROUP]
//!
//! It plays `sprint` against whoever else wants to; after five seconds alone, against a pilot of the server's. Exit
//! code 0 when the match was played to its end.

use std::error::Error;
use std::thread;
use std::time::{Duration, Instant};

use astro_client::net::Transport;
use astro_client::player::Player;
use astro_client::service::Service;
use astro_client::session::{MatchResult, SessionEvent};
use astro_shared::api::QuickplayRequest;
use astro_shared::sim::input::Input;
use astro_shared::sim::round::Phase;
use astro_shared::sim::rules::Ruleset;
use astro_shared::sim::state::Ship;
use astro_shared::sim::tables::View;
use astro_shared::sim::units::{Seat, Tick};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let server = arguments.next().unwrap_or_else(|| "http://127.0.0.1:8080".into());
    let transport = match arguments.next().as_deref() {
        None | Some("udp") => Transport::Udp,
        Some("ws") => Transport::WebSocket,
        Some(other) => return Err(format!("{other} is neither udp nor ws").into()),
    };

    // The way in: the service gives a seat, and a ticket that is good for one connection.
    let service = Service::new(&server, 1);
    service.check_version()?;
    let joined = service.join(&QuickplayRequest {
        name: "Example".into(),
        mode: "last_ship".into(),
        seats: Some(2),
        rules: Some("sprint".into()),
        group: arguments.next(),
        ..QuickplayRequest::default()
    })?;
    println!("match {}, seat {}, over {}", joined.match_id, joined.seat.0 + 1, transport.name());

    // The match: a turn every few milliseconds until the session ends.
    let began = Instant::now();
    let mut player = Player::board(&joined, transport, 30, began.elapsed())?;
    loop {
        player.turn(began.elapsed(), fly);
        while let Some(event) = player.poll_event() {
            match event {
                SessionEvent::Connected => println!("connected"),
                SessionEvent::RosterChanged => {
                    let names = player.session().roster().iter().map(|seat| seat.name.as_str());
                    println!("in the match: {}", names.collect::<Vec<_>>().join(", "));
                }
                SessionEvent::Result => print_result(player.session().result(), joined.seat),
                SessionEvent::Closed { reason } if player.session().result().is_none() => {
                    return Err(format!("the match ended early: {}", reason.name()).into());
                }
                SessionEvent::Closed { .. } => return Ok(()),
                _ => {}
            }
        }
        thread::sleep(Duration::from_millis(4));
    }
}

/// What to do in one tick, by what this seat may see: turn to where the nearest ship will be, keep some way on, shoot
/// when the nose points there. Positions are in 1/256 unit, velocities in 1/65536 unit per tick.
fn fly(view: &View, rules: &Ruleset, seat: Seat, _: Tick) -> Input {
    let own = view.ships[seat.index()];
    if view.round.phase != Phase::Live || !own.alive {
        return Input::NEUTRAL;
    }
    // Where the arena wraps around, the shortest way may lead over its edge.
    let way = |ship: &Ship| {
        let (dx, dy) = rules.arena(view.seats).way(own.at(), ship.at());
        (f64::from(dx), f64::from(dy))
    };
    let others = view.ships[..usize::from(view.seats)].iter().enumerate();
    let enemies = others.filter(|(index, ship)| *index != seat.index() && ship.alive).map(|(_, ship)| ship);
    let Some(target) = enemies.min_by_key(|ship| way(ship).0.hypot(way(ship).1) as i64) else {
        return Input::NEUTRAL;
    };
    let (dx, dy) = way(target);
    let flight_ticks = dx.hypot(dy) * 256.0 / f64::from(rules.bullet_speed.max(1));
    let (aim_x, aim_y) =
        (dx + f64::from(target.vx) / 256.0 * flight_ticks, dy + f64::from(target.vy) / 256.0 * flight_ticks);
    // Both components along and across the own heading; sine and cosine come in 1/32768.
    let (cos, sin) = (f64::from(own.angle.cos()), f64::from(own.angle.sin()));
    let off_radians = (cos * aim_y - sin * aim_x).atan2(cos * aim_x + sin * aim_y);
    let turn = (off_radians * 12.0).clamp(-15.0, 15.0) as i8;
    Input::new(turn, flight_ticks > 20.0, off_radians.abs() < 0.15 && own.ammunition > 0)
}

fn print_result(result: Option<&MatchResult>, own: Seat) {
    let Some(result) = result else { return };
    for (index, seat) in result.seats.iter().enumerate() {
        let mark = if index == own.index() { "  <- this bot" } else { "" };
        println!("{}. seat {}: {} rounds, {} kills{mark}", seat.placement, index + 1, seat.rounds_won, seat.kills);
    }
    println!("{}", if result.winner == Some(own.0) { "won" } else { "not won" });
}
