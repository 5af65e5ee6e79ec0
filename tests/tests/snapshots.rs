//! Promise: what a client decodes is bit for bit what the server goes on from, whatever the network loses;
//! and where it is not, the view hash says so.

use std::collections::VecDeque;
use std::sync::Arc;

use astro_shared::sim::event::Event;
use astro_shared::sim::fields::{Audience, Fields};
use astro_shared::sim::input::Input;
use astro_shared::sim::items::Item;
use astro_shared::sim::rules::{BULLETS_MAX, Ruleset, RulesetText};
use astro_shared::sim::state::{
    Asteroid, Bomb, Bullet, Homing, Inputs, MINES_MAX, Mine, Pad, Round, Score, Ship, State,
};
use astro_shared::sim::tables::{MatchRef, View};
use astro_shared::sim::units::{SEATS_MAX, Seat, Tick};
use astro_shared::sim::{self, MatchKey, SimPlugin};
use astro_shared::wire::message::{ResultSeat, RosterSeat, ToClient};
use astro_shared::wire::snapshot::{self, BASELINE_AGE_MAX, Baseline, Decoded, EVENTS_MAX, Head, NotApplied};
use astro_shared::wire::{DATAGRAM_BYTES_MAX, MESSAGE_BYTES_MAX};
use astro_tests::dice::{Dice, each_seed};
use astro_tests::pilots::{Fleet, rules, rules_with};
use astro_tests::scene::Scene;
use bevy_ecs::prelude::World;

/// Whether a client's world shows what the server said it should.
fn agrees(world: &World, key: MatchKey, seat: Seat, head: &Head) -> bool {
    let own = sim::view_hash(world, key, Audience::Seat(seat)).expect("the client's match");
    if head.hash_long { own == head.view_hash } else { own as u16 == head.view_hash as u16 }
}

fn encode(state: &MatchRef<'_>, seat: Seat, baseline: Baseline, events: &[(Tick, Event)], hash_long: bool) -> Vec<u8> {
    let view_hash = state.view_hash(state.public_hash(), Audience::Seat(seat));
    let head = Head { input_newest: state.round.tick.plus(2), input_margin_ticks: -3, view_hash, hash_long };
    let mut bytes = Vec::new();
    snapshot::encode_head(&head, state, seat, &mut bytes);
    snapshot::encode_body(state, baseline, events.iter(), &mut bytes);
    bytes
}

/// One player behind a bad network: a world that knows only what arrives.
struct Player {
    seat: Seat,
    world: World,
    key: MatchKey,
    known: View,
    /// Snapshots on their way, with the tick of their arrival.
    incoming: Vec<(u32, Vec<u8>)>,
    /// Acknowledgements on their way back.
    outgoing: Vec<(u32, Tick)>,
    /// What the server knows to have arrived.
    acknowledged: Tick,
    applied: u32,
    absolute: u32,
    stale: u32,
}

impl Player {
    fn new(seat: Seat, seats: u8, rules: &Arc<Ruleset>) -> Player {
        let mut world = SimPlugin::world();
        // Another seed than the server's: nothing may depend on what is hidden.
        let key = sim::open(&mut world, 999, seats, rules.clone());
        let known = View::empty(Audience::Seat(seat), seats);
        let (incoming, outgoing) = (Vec::new(), Vec::new());
        Player { seat, world, key, known, incoming, outgoing, acknowledged: Tick(0), applied: 0, absolute: 0, stale: 0 }
    }

    /// The server's side: the best baseline, as the host chooses it.
    fn send(&mut self, state: &MatchRef<'_>, history: &VecDeque<(Tick, Event)>, dice: &mut Dice, loss: u64) {
        let now = state.round.tick;
        let since: Vec<_> = history.iter().filter(|(tick, _)| *tick > self.acknowledged).copied().collect();
        let usable = self.acknowledged != Tick(0)
            && now.since(self.acknowledged) <= BASELINE_AGE_MAX
            && since.len() <= EVENTS_MAX;
        let baseline = if usable { Baseline::After(self.acknowledged) } else { Baseline::Absolute };
        let bytes = encode(state, self.seat, baseline, &since, dice.percent(10));
        assert!(bytes.len() <= DATAGRAM_BYTES_MAX, "{} bytes", bytes.len());
        if !dice.percent(loss) {
            self.incoming.push((now.0 + dice.step(1..12) as u32, bytes));
        }
    }

    /// The client's side: whatever arrives in this tick, in any order.
    fn receive(&mut self, now: Tick, rules: &Ruleset, dice: &mut Dice) {
        let arrived = self.incoming.extract_if(.., |(at, _)| *at <= now.0).collect::<Vec<_>>();
        for (_, bytes) in arrived {
            let decoded = snapshot::decode(&bytes, self.seat).expect("an honest snapshot decodes");
            match decoded.apply(&mut self.known, rules) {
                Ok(()) => self.check(&decoded),
                Err(NotApplied::Stale) => self.stale += 1,
                Err(NotApplied::NoBaseline) => panic!("the server used a baseline that was never acknowledged"),
            }
            self.outgoing.push((now.0 + dice.step(1..12) as u32, self.known.round.tick));
        }
        for (_, tick) in self.outgoing.extract_if(.., |(at, _)| *at <= now.0) {
            self.acknowledged = self.acknowledged.max(tick);
        }
    }

    fn check(&mut self, decoded: &Decoded) {
        sim::load_view(&mut self.world, self.key, &self.known).expect("an honest view loads");
        let tick = decoded.tick();
        assert!(agrees(&self.world, self.key, self.seat, &decoded.head), "seat {} at tick {tick}", self.seat);
        self.applied += 1;
        self.absolute += u32::from(decoded.baseline == Baseline::Absolute);
    }
}

/// Plays a match over a network that loses `loss` percent; how many snapshots each way of encoding was checked.
fn play_over_network(fleet: &mut Fleet, key: MatchKey, ticks: u32, loss: u64, dice: &mut Dice) -> (u32, u32, u32) {
    let setup = fleet.state(key).setup.clone();
    let mut players: Vec<Player> =
        Seat::first(setup.seats).map(|seat| Player::new(seat, setup.seats, &setup.ruleset)).collect();
    let mut history = VecDeque::new();
    for _ in 0..ticks {
        fleet.play(1);
        let state = fleet.state(key);
        let now = state.round.tick;
        history.extend(state.events.0.iter().map(|event| (now, *event)));
        history.retain(|(tick, _)| now.since(*tick) <= BASELINE_AGE_MAX);
        for player in &mut players {
            if (now.0 + u32::from(player.seat.0)).is_multiple_of(2) {
                player.send(&state, &history, dice, loss);
            }
            player.receive(now, &setup.ruleset, dice);
        }
    }
    let sum = |of: fn(&Player) -> u32| players.iter().map(of).sum();
    (sum(|p| p.applied), sum(|p| p.absolute), sum(|p| p.stale))
}

/// Broken by a field decoded with another width or sign, a bullet forgotten or kept too long, or a hash over
/// other fields than those sent.
#[test]
fn thousands_of_snapshots_over_a_bad_network_rebuild_the_servers_view_bit_for_bit() {
    let (mut applied, mut absolute, mut stale) = (0, 0, 0);
    let all = each_seed(60, |seed, dice| {
        let mut fleet = Fleet::new();
        let key = fleet.open(seed, dice.pick(&[2, 4, 8]), &rules(dice.pick(&["standard", "sprint", "classic"])));
        let loss = dice.pick(&[0, 5, 30, 70, 95]);
        let counts = play_over_network(&mut fleet, key, 1200, loss, dice);
        (applied, absolute, stale) = (applied + counts.0, absolute + counts.1, stale + counts.2);
    });
    println!("{applied} snapshots applied, {absolute} of them absolute, {stale} came too late");
    assert!(!all || applied > 2000 && absolute > 100 && stale > 100, "every way must have been gone");
}

/// Rules under which the sky holds as many bullets as it can.
fn crowded() -> Arc<Ruleset> {
    rules_with("classic", |text| {
        (text.rules.gun.magazine, text.rules.gun.reload_ms, text.rules.gun.cooldown_ms) = (7, 50, 333);
        (text.rules.gun.bullet_life_ms, text.rules.gun.bullet_speed) = (2100, 60.0);
        (text.rules.gun.damage, text.rules.ship.hull) = (1, 127);
    })
}

/// Broken by a client's list that fills up with bullets which were spent on the server in between.
#[test]
fn a_sky_as_full_as_the_rules_allow_arrives_whole() {
    each_seed(6, |seed, dice| {
        let rules = crowded();
        let mut scene = Scene::live(8, &rules);
        let mut players: Vec<Player> = Seat::first(8).map(|seat| Player::new(seat, 8, &rules)).collect();
        let (mut history, mut fullest) = (VecDeque::new(), 0);
        let loss = [0, 80][seed as usize % 2];
        (0..8).for_each(|seat| scene.hold(seat, Input::new(dice.step(-2..3) as i8, false, true)));
        for _ in 0..900 {
            scene.tick();
            let state = scene.state();
            let now = state.round.tick;
            history.extend(state.events.0.iter().map(|event| (now, *event)));
            history.retain(|(tick, _)| now.since(*tick) <= BASELINE_AGE_MAX);
            for player in &mut players {
                player.send(&state, &history, dice, loss);
                player.receive(now, &rules, dice);
            }
            fullest = fullest.max(state.bullets.len());
        }
        assert!(fullest >= BULLETS_MAX - 4, "the sky held {fullest} bullets");
    });
}

// ---- what is wrong is seen ----

/// A live match at a moment with bullets about: the state before, and a snapshot of events since then.
struct Moment {
    fleet: Fleet,
    key: MatchKey,
    seat: Seat,
    known: View,
    decoded: Decoded,
}

impl Moment {
    /// `None` when this seed leads to a dull moment.
    fn find(seed: u64, dice: &mut Dice) -> Option<Moment> {
        let mut fleet = Fleet::new();
        let seats = dice.within(2..9) as u8;
        let key = fleet.open(seed, seats, &rules("standard"));
        fleet.play(200 + dice.below(900) as u32);
        let seat = Seat(dice.below(usize::from(seats)) as u8);
        let known = fleet.state(key).view(Audience::Seat(seat));
        let mut history = Vec::new();
        for _ in 0..dice.within(5..40) {
            fleet.play(1);
            let state = fleet.state(key);
            history.extend(state.events.0.iter().map(|event| (state.round.tick, *event)));
        }
        let state = fleet.state(key);
        let baseline = Baseline::After(known.round.tick);
        let bytes = encode(&state, seat, baseline, &history, true);
        let decoded = snapshot::decode(&bytes, seat).expect("an honest snapshot decodes");
        let fired = history.iter().any(|(_, event)| matches!(event, Event::ShotFired { .. }));
        (fired && !state.bullets.is_empty()).then_some(Moment { fleet, key, seat, known, decoded })
    }

    /// Whether a client that decoded this would believe it: it applies, loads, and the hash agrees.
    fn believed(&self, decoded: &Decoded) -> bool {
        let setup = self.fleet.state(self.key).setup;
        let mut player = Player::new(self.seat, setup.seats, &setup.ruleset);
        let mut known = self.known;
        decoded.apply(&mut known, &setup.ruleset).is_ok()
            && sim::load_view(&mut player.world, player.key, &known).is_ok()
            && agrees(&player.world, player.key, self.seat, &decoded.head)
    }

    /// The bullets in flight at the end: those whose events matter.
    fn alive(&self, id: u16) -> bool {
        self.fleet.state(self.key).bullets.iter().any(|bullet| bullet.id == id)
    }
}

/// A copy of `row` with one random bit of the field at `index` flipped.
fn with_flipped_bit<T: Fields>(row: &T, index: usize, dice: &mut Dice) -> T {
    let mut values = Vec::new();
    row.each(|field, value| values.push(if values.len() == index { flip(field.bits, value, dice) } else { value }));
    let (mut flipped, mut values) = (T::default(), values.into_iter());
    let filled: Result<(), ()> = flipped.fill(|_| values.next().ok_or(()));
    filled.expect("as many values as fields");
    flipped
}

fn flip(bits: u8, value: u32, dice: &mut Dice) -> u32 {
    value ^ 1 << dice.below(usize::from(bits))
}

/// Corrupts, one after the other, every field of `T` that `audience` sees in a row of `owner`.
fn each_corruption<T: Fields>(
    row: &T,
    audience: Audience,
    owner: Option<Seat>,
    dice: &mut Dice,
    mut check: impl FnMut(T, &str),
) {
    for (index, field) in T::TABLE.iter().enumerate() {
        if audience.sees(field.visible, owner) {
            let flipped = with_flipped_bit(row, index, dice);
            // A phase without a name becomes another one; what counts is that the row is not what was sent.
            let mut differs = false;
            let mut before = Vec::new();
            row.each(|_, value| before.push(value));
            let mut column = 0;
            flipped.each(|_, value| {
                differs |= before[column] != value;
                column += 1;
            });
            if differs {
                check(flipped, &format!("{}.{}", T::NAME, field.name));
            }
        }
    }
}

/// Broken by a `view_hash` that leaves out any field, row or bullet that is sent.
#[test]
fn one_wrong_bit_in_any_field_that_is_seen_is_a_mismatch() {
    let mut corruptions = 0;
    let all = each_seed(120, |seed, dice| {
        let Some(moment) = Moment::find(seed, dice) else { return };
        assert!(moment.believed(&moment.decoded), "the true snapshot is believed");
        let audience = Audience::Seat(moment.seat);
        let mut disbelieved = |decoded: Decoded, what: &str| {
            assert!(!moment.believed(&decoded), "a wrong {what} is believed");
            corruptions += 1;
        };
        each_corruption(&moment.decoded.state.round, audience, None, dice, |round: Round, what| {
            let mut wrong = moment.decoded.clone();
            wrong.state.round = round;
            disbelieved(wrong, what);
        });
        for seat in Seat::first(moment.decoded.seats) {
            each_corruption(
                &moment.decoded.state.ships[seat.index()],
                audience,
                Some(seat),
                dice,
                |ship: Ship, what| {
                    let mut wrong = moment.decoded.clone();
                    wrong.state.ships[seat.index()] = ship;
                    disbelieved(wrong, what);
                },
            );
            each_corruption(
                &moment.decoded.state.scores[seat.index()],
                audience,
                Some(seat),
                dice,
                |score: Score, what| {
                    let mut wrong = moment.decoded.clone();
                    wrong.state.scores[seat.index()] = score;
                    disbelieved(wrong, what);
                },
            );
        }
        let fired = moment.decoded.events.iter().enumerate().filter_map(|(index, (_, event))| match event {
            Event::ShotFired { bullet } if moment.alive(bullet.id) => Some((index, *bullet)),
            _ => None,
        });
        for (index, bullet) in fired {
            each_corruption(&bullet, audience, None, dice, |bullet: Bullet, what| {
                let mut wrong = moment.decoded.clone();
                wrong.events[index].1 = Event::ShotFired { bullet };
                disbelieved(wrong, what);
            });
        }
    });
    println!("{corruptions} corruptions, none believed");
    assert!(!all || corruptions > 2000, "only {corruptions} corruptions");
}

/// Broken by a hash that does not cover bullets, or not their number.
#[test]
fn a_dropped_or_doubled_bullet_event_is_a_mismatch() {
    let (mut shots, mut hits) = (0, 0);
    let all = each_seed(200, |seed, dice| {
        let Some(moment) = Moment::find(seed, dice) else { return };
        let setup = moment.fleet.state(moment.key).setup;
        let life = setup.ruleset.bullet_life_ticks;
        for index in 0..moment.decoded.events.len() {
            let (_, event) = moment.decoded.events[index];
            let matters = match event {
                Event::ShotFired { bullet } => moment.alive(bullet.id),
                // Without this event the bullet would fly on, unless it is spent by now anyway.
                Event::ShipHit { bullet: id, .. } => {
                    bullets_told(&moment).any(|bullet| bullet.id == id && bullet.age(moment.decoded.tick()) < life)
                }
                _ => false,
            };
            if !matters {
                continue;
            }
            let is_shot = matches!(event, Event::ShotFired { .. });
            (shots, hits) = (shots + u32::from(is_shot), hits + u32::from(!is_shot));
            let mut dropped = moment.decoded.clone();
            dropped.events = without(&moment.decoded, index);
            assert!(!moment.believed(&dropped), "{event:?} is not missed");
            if is_shot {
                let mut doubled = moment.decoded.clone();
                assert!(doubled.events.push(moment.decoded.events[index]));
                assert!(!moment.believed(&doubled), "{event:?} counts twice unseen");
            }
        }
    });
    println!("{shots} shots and {hits} hits dropped, all missed");
    assert!(!all || shots > 100 && hits > 10, "{shots} shots, {hits} hits");
}

fn bullets_told(moment: &Moment) -> impl Iterator<Item = Bullet> + '_ {
    let fired = moment.decoded.events.iter().filter_map(|(_, event)| match event {
        Event::ShotFired { bullet } => Some(*bullet),
        _ => None,
    });
    fired.chain(moment.known.bullets.iter().copied())
}

fn without(decoded: &Decoded, index: usize) -> astro_shared::sim::list::FixedList<(Tick, Event), EVENTS_MAX> {
    let mut rest = astro_shared::sim::list::FixedList::default();
    let mut others = decoded.events.iter().enumerate().filter(|(other, _)| *other != index);
    assert!(others.all(|(_, event)| rest.push(*event)), "fewer fit where more did");
    rest
}

/// Broken by a receiver that applies what it lacks the baseline for, or goes back in time.
#[test]
fn a_snapshot_without_its_baseline_or_from_the_past_changes_nothing() {
    each_seed(60, |seed, dice| {
        let Some(moment) = Moment::find(seed, dice) else { return };
        let rules = moment.fleet.state(moment.key).setup.ruleset.clone();
        let mut older = moment.known;
        older.round.tick = Tick(older.round.tick.0 - 1);
        let before = older;
        assert_eq!(moment.decoded.apply(&mut older, &rules), Err(NotApplied::NoBaseline));
        assert_eq!(older, before);
        let mut nothing = View::empty(Audience::Seat(moment.seat), moment.known.seats);
        assert_eq!(moment.decoded.apply(&mut nothing, &rules), Err(NotApplied::NoBaseline));
        let mut newest = moment.known;
        moment.decoded.apply(&mut newest, &rules).expect("applies once");
        let before = newest;
        assert_eq!(moment.decoded.apply(&mut newest, &rules), Err(NotApplied::Stale));
        assert_eq!(newest, before);
    });
}

// ---- sizes ----

/// Fills every list, and a rare field of every row that has any.
fn crowd(state: &mut State, bullet: Bullet) {
    while state.bullets.push(bullet) {}
    while state.asteroids.push(Asteroid::default()) {}
    while state.pads.push(Pad::default()) {}
    while state.homing.push(Homing::default()) {}
    while state.bombs.push(Bomb::default()) {}
    while state.mines.push(Mine { owner: Seat(7), ..Mine::default() }) {}
    state.ships.iter_mut().for_each(|ship| ship.lives = 2);
    state.scores.iter_mut().for_each(|score| score.points = 1);
}

/// Broken by a wider field or a larger list: the static assertion in `snapshot` and this real one must both hold.
#[test]
fn the_largest_snapshot_and_messages_fit_their_limits_and_come_back() {
    let mut fleet = Fleet::new();
    let key = fleet.open(1, SEATS_MAX as u8, &rules("standard"));
    fleet.play(300);
    let bullet = Bullet { id: u16::MAX, born: u16::MAX, x: 16_000, y: 8000, ..Bullet::default() };
    crowd(&mut fleet.world.get_mut::<State>(key.entity()).expect("the match"), bullet);
    let state = fleet.state(key);
    let shots = [(state.round.tick, Event::ShotFired { bullet }); EVENTS_MAX];
    for baseline in [Baseline::Absolute, Baseline::After(Tick(state.round.tick.0 - BASELINE_AGE_MAX))] {
        let bytes = encode(&state, Seat(7), baseline, &shots, true);
        println!("largest snapshot {baseline:?}: {} bytes", bytes.len());
        assert!(bytes.len() <= DATAGRAM_BYTES_MAX);
        let decoded = snapshot::decode(&bytes, Seat(7)).expect("decodes");
        assert_eq!(decoded.state.mines.len(), MINES_MAX);
        let counts = (decoded.state.bullets.len(), decoded.events.len());
        assert_eq!(counts, if baseline == Baseline::Absolute { (BULLETS_MAX, 0) } else { (0, EVENTS_MAX) });
    }

    let name = "\u{1f680}".repeat(astro_shared::api::NAME_CHARS_MAX);
    let roster = ToClient::Roster { seats: vec![RosterSeat { name, pilot: true }; SEATS_MAX] };
    let seat = ResultSeat {
        placement: 8,
        rounds_won: 15,
        kills: u16::MAX,
        deaths: u16::MAX,
        assists: 255,
        shots: u16::MAX,
        hits: u16::MAX,
        survival_ticks: u32::MAX,
        streak_longest: 255,
    };
    let result = ToClient::Result { winner: Some(7), seats: vec![seat; SEATS_MAX] };
    for message in [roster, result] {
        let bytes = message.encode().expect("the largest message encodes");
        println!("largest message: {} bytes", bytes.len());
        assert!(bytes.len() <= MESSAGE_BYTES_MAX);
        assert_eq!(ToClient::decode(&bytes), Ok(message));
    }
}

/// What spectators are sent is kept as bytes and encoded again from them: nothing may be lost or added on the way.
/// Broken by a body that holds what only some may see, or by rows that are not all of it.
#[test]
fn a_picture_for_everyone_comes_back_the_same_to_the_byte_from_what_was_decoded() {
    let mut bullets = 0;
    each_seed(60, |seed, dice| {
        let mut fleet = Fleet::new();
        let seats = dice.within(2..9) as u8;
        let key = fleet.open(seed, seats, &rules("standard"));
        fleet.play(200 + dice.below(900) as u32);
        let state = fleet.state(key);
        let hash = state.view_hash(state.public_hash(), Audience::Public);
        let mut first = Vec::new();
        snapshot::encode_public_head(hash, true, &mut first);
        snapshot::encode_body(&state, Baseline::Absolute, std::iter::empty(), &mut first);
        let decoded = snapshot::decode(&first, Audience::Public).expect("decodes");
        let mut again = Vec::new();
        snapshot::encode_public_head(decoded.head.view_hash, true, &mut again);
        snapshot::encode_body(&decoded, Baseline::Absolute, std::iter::empty(), &mut again);
        assert_eq!(first, again);
        let mut view = View::empty(Audience::Public, seats);
        decoded.apply(&mut view, &state.setup.ruleset).expect("applies");
        assert_eq!(view, state.view(Audience::Public));
        bullets += view.bullets.len();
    });
    assert!(bullets > 0, "nobody fired");
}

/// Broken by any reader that stops before the end or pads it.
#[test]
fn bytes_missing_or_left_over_are_refused_everywhere() {
    use astro_shared::wire::acknowledge::Acknowledge;
    use astro_shared::wire::input::InputDatagram;
    use astro_shared::wire::message::ToServer;
    use astro_shared::wire::websocket::Hello;
    let decodes = |name: &str, bytes: &[u8]| match name {
        name if name.starts_with("ToServer") => ToServer::decode(bytes).is_ok(),
        name if name.starts_with("ToClient") => ToClient::decode(bytes).is_ok(),
        name if name.starts_with("Snapshot") => snapshot::decode(bytes, Seat(1)).is_ok(),
        name if name.starts_with("Spectator") => snapshot::decode(bytes, Audience::Public).is_ok(),
        "Acknowledge" => Acknowledge::decode(bytes).is_ok(),
        "websocket::Hello" => Hello::decode(bytes).is_ok(),
        _ => InputDatagram::decode(bytes).is_ok(),
    };
    // A frame of a WebSocket is several packets, and how many is for its own tests.
    for (name, bytes) in astro_shared::wire::samples().filter(|(name, _)| *name != "websocket::Frame") {
        assert!(decodes(name, &bytes), "{name}");
        for length in 0..bytes.len() {
            assert!(!decodes(name, &bytes[..length]), "{name} cut to {length} bytes");
        }
        for extra in [0, 1, 0x80, 0xff] {
            assert!(!decodes(name, &[bytes.as_slice(), &[extra]].concat()), "{name} and a byte {extra}");
        }
    }
}

/// A client's world goes on from what it decoded as the server does, given the same inputs, until the phase changes:
/// who starts where in the next round is hidden. So are mines out of sight; they are left out of the rules.
/// Broken by a tick that reads, for flying and bumping, what a seat is not told.
#[test]
fn a_decoded_view_plays_on_like_the_server_until_the_phase_changes() {
    let mut compared = 0;
    let all = each_seed(60, |seed, dice| {
        let mut fleet = Fleet::new();
        let in_sight = |text: &mut RulesetText| text.rules.items.allowed.retain(|item| *item != Item::Mine);
        let rules = rules_with(dice.pick(&["standard", "classic"]), in_sight);
        let key = fleet.open(seed, 8, &rules);
        fleet.play(190 + dice.below(400) as u32);
        let view = fleet.state(key).view(Audience::Seat(Seat(2)));
        let mut player = Player::new(Seat(2), 8, &rules);
        sim::load_view(&mut player.world, player.key, &view).expect("loads");
        let mut inputs = Inputs::default();
        inputs.seats.fill_with(|| Input::new(dice.step(-15..16) as i8, dice.percent(70), false));
        for tick in 0..30 {
            for (world, key) in [(&mut fleet.world, key), (&mut player.world, player.key)] {
                sim::set_inputs(world, key, inputs);
                sim::tick(world);
            }
            if fleet.state(key).round.phase != view.round.phase {
                break;
            }
            let own = sim::view(&player.world, player.key, Audience::Seat(Seat(2))).expect("the client's match");
            assert_eq!(own.ships, fleet.state(key).view(own.audience).ships, "{tick} ticks on");
            compared += 1;
        }
    });
    assert!(!all || compared > 500, "{compared} ticks compared");
}
