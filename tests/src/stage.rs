//! `Stage`: one shard and its players in one process and in virtual time.
//!
//! The shard's real `App` over the in-memory transport, real client sessions, a spool in a temporary folder.
//! Nothing sleeps: `play` moves the clock by whole ticks. The one thing waited for is the disk's answer about a finished
//! match, and virtual time stands still meanwhile: the answer is told in the tick after the match's last, always. So a
//! stage with the same seed and the same calls goes the same way.
//! Start reading at [`Stage::new`]; tests read like dialogue.

use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use astro_client::brain::Brain;
use astro_client::session::{Ended, Link, Session, SessionEvent, Statistics};
use astro_server::directory::Directory;
use astro_server::host::crew::{Crew, Occupant};
use astro_server::host::link::Links;
use astro_server::host::matches::{Command, Hosted, Matches, Reservation, Stage as MatchStage};
use astro_server::host::placement::{MatchPlace, ShardLimits, ShardStatus};
use astro_server::host::shard::{self, PERIOD, ShardParts, Transports};
use astro_server::host::spool::Spool;
use astro_server::host::watch::{WatchLimits, WatchReservation, Watchers};
use astro_server::hosts::{Answer, Claim, Hold, HostError, MatchOrder, MatchRecord, Results, ResultsError, SeatSecret};
use astro_server::telemetry::Metrics;
use astro_server::transport::LinkId;
use astro_server::transport::memory::{Carrier, MemoryNetwork, MemoryTransport};
use astro_shared::link::{Faults, Profile};
use astro_shared::replay::Replay;
use astro_shared::sim::fields::Audience;
use astro_shared::sim::input::Input;
use astro_shared::sim::round::Phase;
use astro_shared::sim::state::Round;
use astro_shared::sim::tables::{MatchParts, MatchRef, View};
use astro_shared::sim::units::{MatchId, Seat, Tick};
use astro_shared::sim::{SimPlugin, rules::Ruleset};
use astro_shared::wire::message::{Missed, MissedEvent, RosterSeat, ToClient};
use bevy_app::App;
use bevy_ecs::prelude::*;
use rand::SeedableRng;
use rand::rngs::StdRng;
use tokio::sync::oneshot;

/// Names a player on the stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlayerId(usize);

/// A client: its session, its mind, its end of the wire.
pub struct Player {
    pub session: Session,
    pub secret: SeatSecret,
    pub match_id: MatchId,
    /// Everything the session has said so far.
    pub events: Vec<SessionEvent>,
    brain: Brain,
    pub link: LinkId,
    wire: MemoryNetwork,
    network: Option<(Carrier, Profile)>,
    /// Neither sends nor receives, like a pulled cable.
    cut: bool,
    /// Stands still altogether, like a laptop that sleeps.
    frozen: bool,
    /// Every payload that came, once [`Stage::tap`] asked for it.
    pub arrived: Option<Vec<Vec<u8>>>,
}

/// See the module.
pub struct Stage {
    pub app: App,
    pub now: Duration,
    pub players: Vec<Player>,
    /// The clients' side of the sim.
    pub world: World,
    /// Where datagrams go, as over UDP; everybody's network who has no other.
    pub network: MemoryNetwork,
    /// Where streams go, as over WebSockets.
    pub streams: MemoryNetwork,
    pub directory: Arc<Directory>,
    status: Arc<ShardStatus>,
    /// What players counted before they came back.
    past: Statistics,
    recorded: mpsc::Receiver<Command>,
    spool: Spool,
    folder: PathBuf,
    matches: u128,
    /// What links made from now on have to go through.
    condition: Option<(Carrier, Profile)>,
    seed: u64,
    links: u64,
}

impl Stage {
    pub fn new(name: &str) -> Stage {
        Stage::with_seed(name, 1)
    }

    /// `seed` decides everything that chance decides: matches, link ids, faults of networks.
    pub fn with_seed(name: &str, seed: u64) -> Stage {
        let folder = std::env::temp_dir().join(format!("astro-stage-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        let (spool, _) = Spool::open(&folder).expect("a spool in a temporary folder");
        let ((datagrams, network), (ordered, streams)) = (MemoryTransport::new(), MemoryTransport::new());
        let (recorded_sender, recorded) = mpsc::channel();
        let (directory, status) = (Arc::new(Directory::in_memory()), Arc::<ShardStatus>::default());
        let parts = ShardParts {
            index: 0,
            directory: directory.clone(),
            status: status.clone(),
            metrics: Metrics::new().shard(0),
            spool: spool.clone(),
            recorded: recorded_sender,
            transports: vec![Box::new(datagrams), Box::new(ordered)],
            chance: StdRng::seed_from_u64(seed),
            watch: WatchLimits::new(&ShardLimits::default(), 2048),
        };
        let now = Duration::from_secs(1_800_000_000);
        let app = shard::build(parts, now);
        let (players, world) = (Vec::new(), SimPlugin::world());
        let (matches, links, condition) = (0, 0, None);
        let past = Statistics::default();
        Stage {
            app,
            now,
            players,
            world,
            network,
            streams,
            directory,
            status,
            past,
            recorded,
            spool,
            folder,
            matches,
            condition,
            seed,
            links,
        }
    }

    /// Everybody who connects from now on has this network.
    pub fn condition_everyone(&mut self, carrier: Carrier, profile: Profile) {
        self.condition = Some((carrier, profile));
    }

    /// This player has this network from now on, after a return too.
    pub fn condition(&mut self, player: PlayerId, carrier: Carrier, profile: Profile) {
        self.players[player.0].network = Some((carrier, profile));
        let link = self.players[player.0].link;
        self.condition_link(link, carrier, profile);
    }

    fn condition_link(&mut self, link: LinkId, carrier: Carrier, profile: Profile) {
        self.links += 1;
        self.wire(Some((carrier, profile))).condition(link, carrier, profile, self.seed << 32 ^ self.links);
    }

    /// The network that carries such links.
    fn wire(&self, network: Option<(Carrier, Profile)>) -> MemoryNetwork {
        match network {
            None | Some((Carrier::Datagrams, _)) => self.network.clone(),
            Some((Carrier::Stream { .. }, _)) => self.streams.clone(),
        }
    }

    /// How the player's link is carried; `None` when nothing stands in its way.
    pub fn carrier(&self, player: PlayerId) -> Option<Carrier> {
        self.player(player).network.map(|(carrier, _)| carrier)
    }

    /// Every fault that any network has caused so far.
    pub fn faults(&self) -> Faults {
        let mut all = self.network.faults();
        all.add(&self.streams.faults());
        all
    }

    /// Opens a match whose free seats are taken by pilots five seconds after the first claim, and which spectators
    /// are shown ten seconds late.
    pub fn open(&mut self, ruleset: Arc<Ruleset>, seats: u8) -> MatchId {
        self.open_with(ruleset, seats, |_| {})
    }

    /// The same, with `change` made to the order.
    pub fn open_with(&mut self, ruleset: Arc<Ruleset>, seats: u8, change: impl FnOnce(&mut MatchOrder)) -> MatchId {
        self.matches += 1;
        let match_id = MatchId(self.matches);
        let mut order = MatchOrder {
            match_id,
            seats,
            ruleset,
            fill_after: Duration::from_secs(5),
            demo: false,
            spectate_delay: Duration::from_secs(10),
            listed: true,
            unclaimed: Hold::default(),
        };
        change(&mut order);
        // As the host does before the shard hears of it.
        let place = MatchPlace::reserve(&self.status, seats);
        let (reply, answer) = oneshot::channel();
        self.tell(Command::Open { order, place, reply });
        answer.blocking_recv().expect("an answer").expect("room for a match");
        match_id
    }

    /// Asks for a seat or its return, as the HTTP side would.
    pub fn claim(&mut self, match_id: MatchId, claim: Claim) -> Result<Reservation, HostError> {
        self.claim_with(match_id, claim, Hold::default())
    }

    /// The same, with something that lives as long as the ticket is unused.
    pub fn claim_with(&mut self, match_id: MatchId, claim: Claim, hold: Hold) -> Result<Reservation, HostError> {
        let (reply, answer) = oneshot::channel();
        self.tell(Command::Claim { match_id, claim, hold, reply });
        answer.blocking_recv().expect("an answer")
    }

    /// A new player takes a free seat and connects.
    pub fn join(&mut self, match_id: MatchId, name: &str) -> PlayerId {
        let reservation = self.claim(match_id, Claim::Join { name: name.into() }).expect("a free seat");
        self.connect(match_id, reservation, self.condition)
    }

    /// Asks for a spectator's ticket, as the HTTP side would.
    pub fn claim_to_watch(&mut self, match_id: MatchId) -> Result<WatchReservation, HostError> {
        let (reply, answer) = oneshot::channel();
        self.tell(Command::Watch { match_id, hold: Hold::default(), reply });
        answer.blocking_recv().expect("an answer")
    }

    /// A spectator comes to watch, with as many snapshots a second as he may have.
    ///
    /// # Errors
    /// When he gets no ticket.
    pub fn watch(&mut self, match_id: MatchId) -> Result<PlayerId, HostError> {
        let link = self.claim_to_watch(match_id)?.link;
        Ok(self.connect_link(match_id, SeatSecret([0; 32]), link, self.condition))
    }

    /// A player comes back with the seat secret, over a new link.
    pub fn rejoin(&mut self, player: PlayerId) -> PlayerId {
        let (match_id, secret) = (self.player(player).match_id, self.player(player).secret.clone());
        let reservation = self.claim(match_id, Claim::Return { secret }).expect("the seat is still mine");
        let network = self.player(player).network;
        self.connect(match_id, reservation, network)
    }

    /// The same with the same session: it goes on over a new link of another kind.
    pub fn come_back_over(&mut self, player: PlayerId, carrier: Carrier) -> Result<(), HostError> {
        let network = &mut self.players[player.0].network;
        *network = Some((carrier, network.map_or(Profile::PERFECT, |(_, profile)| profile)));
        self.come_back(player)
    }

    /// The same with the same session: it goes on over a new link. Whatever had befallen the player is over.
    pub fn come_back(&mut self, player: PlayerId) -> Result<(), HostError> {
        let Player { match_id, secret, network, .. } = &self.players[player.0];
        let (match_id, secret, network) = (*match_id, secret.clone(), *network);
        let link = self.claim(match_id, Claim::Return { secret })?.link;
        if let Some((carrier, profile)) = network {
            self.condition_link(link, carrier, profile);
        }
        let wire = self.wire(network);
        wire.connect(link);
        let player = &mut self.players[player.0];
        self.past.add(&player.session.rejoin(Link::Bare, self.now));
        (player.link, player.wire, player.cut, player.frozen) = (link, wire, false, false);
        player.events.clear();
        Ok(())
    }

    fn connect(
        &mut self,
        match_id: MatchId,
        reservation: Reservation,
        network: Option<(Carrier, Profile)>,
    ) -> PlayerId {
        self.connect_link(match_id, reservation.secret, reservation.link, network)
    }

    fn connect_link(
        &mut self,
        match_id: MatchId,
        secret: SeatSecret,
        link: LinkId,
        network: Option<(Carrier, Profile)>,
    ) -> PlayerId {
        if let Some((carrier, profile)) = network {
            self.condition_link(link, carrier, profile);
        }
        let wire = self.wire(network);
        wire.connect(link);
        let mut session = Session::new(Link::Bare, 30, self.now);
        session.start(self.ruleset_of(match_id));
        let brain = Brain::new(self.players.len() as u64);
        self.players.push(Player {
            session,
            secret,
            match_id,
            events: Vec::new(),
            brain,
            link,
            wire,
            network,
            cut: false,
            frozen: false,
            arrived: None,
        });
        PlayerId(self.players.len() - 1)
    }

    pub fn player(&self, player: PlayerId) -> &Player {
        &self.players[player.0]
    }

    /// Why the player's session ended, if it has.
    pub fn ended(&self, player: PlayerId) -> Option<Ended> {
        self.player(player).events.iter().find_map(|event| match event {
            SessionEvent::Closed { reason } => Some(*reason),
            _ => None,
        })
    }

    /// Nothing gets through to or from this player any more.
    pub fn cut(&mut self, player: PlayerId) {
        self.players[player.0].cut = true;
    }

    /// This player's machine stands still from now on.
    pub fn freeze(&mut self, player: PlayerId) {
        self.players[player.0].frozen = true;
    }

    /// From now on keeps what comes to this player.
    pub fn tap(&mut self, player: PlayerId) {
        self.players[player.0].arrived.get_or_insert_default();
    }

    /// Takes what has come to a tapped player since the last call.
    pub fn take_arrived(&mut self, player: PlayerId) -> Vec<Vec<u8>> {
        self.players[player.0].arrived.as_mut().map(std::mem::take).unwrap_or_default()
    }

    pub fn leave(&mut self, player: PlayerId) {
        let now = self.now;
        self.players[player.0].session.leave(now);
    }

    /// Sends a raw payload over a player's link.
    pub fn send_raw(&mut self, player: PlayerId, payload: &[u8]) {
        let Player { wire, link, .. } = &self.players[player.0];
        wire.send(*link, self.now, payload);
    }

    /// Lets `ticks` ticks pass for everyone.
    pub fn play(&mut self, ticks: u32) {
        for _ in 0..ticks {
            self.now += PERIOD;
            self.drive_players();
            let recorded = self.records_safe();
            shard::update(&mut self.app, self.now, recorded);
        }
    }

    /// The disk's answers about all matches that have ended.
    fn records_safe(&mut self) -> Vec<Command> {
        let mut hosted = self.app.world_mut().query::<&Hosted>();
        let ended = hosted.iter(self.app.world()).filter(|hosted| hosted.stage == MatchStage::Recording).count();
        let answer = |_| self.recorded.recv_timeout(Duration::from_secs(30)).expect("the disk answers");
        (0..ended).map(answer).collect()
    }

    /// The server stands still for `ticks` ticks of everybody's time, as if the machine had been paused.
    pub fn stall(&mut self, ticks: u32) {
        for _ in 0..ticks {
            self.now += PERIOD;
            self.drive_players();
        }
    }

    /// Plays until `done`, at most `ticks` ticks; says whether it came to that.
    pub fn play_until(&mut self, ticks: u32, mut done: impl FnMut(&mut Stage) -> bool) -> bool {
        for _ in 0..ticks {
            if done(self) {
                return true;
            }
            self.play(1);
        }
        done(self)
    }

    /// Plays until the match is over and its record is on disk and told.
    pub fn play_out(&mut self, match_id: MatchId) {
        let over = self.play_until(60 * 600, |stage| stage.phase(match_id) == Some(Phase::MatchOver));
        assert!(over, "the match never ended");
        self.play(11);
    }

    fn drive_players(&mut self) {
        for player in self.players.iter_mut().filter(|player| !player.frozen) {
            if player.cut {
                while player.wire.receive(player.link, self.now).is_some() {}
                continue;
            }
            while let Some(mut payload) = player.wire.receive(player.link, self.now) {
                player.arrived.as_mut().into_iter().for_each(|arrived| arrived.push(payload.clone()));
                player.session.handle_datagram(&mut self.world, &mut payload, self.now);
            }
            player.session.handle_tick(self.now);
            while let Some(tick) = player.session.poll_sample(self.now) {
                let (Some(view), Some(rules), Some(seat)) =
                    (player.session.view(), player.session.ruleset(), player.session.seat())
                else {
                    break;
                };
                let input = player.brain.input(view, rules, seat, tick);
                player.session.sample(tick, input, self.now);
            }
            while let Some(transmit) = player.session.poll_transmit(self.now) {
                player.wire.send(player.link, self.now, transmit.bytes);
            }
            player.events.extend(std::iter::from_fn(|| player.session.poll_event()));
        }
    }

    /// Carries out a command at once, between two ticks.
    pub fn tell(&mut self, command: Command) {
        shard::command(&mut self.app, self.now, command);
    }

    fn with<T>(&mut self, match_id: MatchId, look: impl FnOnce(&Hosted, &Crew, MatchRef<'_>) -> T) -> Option<T> {
        let mut query = self.app.world_mut().query::<(&Hosted, &Crew, MatchParts)>();
        let mut found = query.iter(self.app.world()).filter(|(hosted, ..)| hosted.order.match_id == match_id);
        found.next().map(|(hosted, crew, parts)| look(hosted, crew, MatchRef::from(parts)))
    }

    fn ruleset_of(&mut self, match_id: MatchId) -> Arc<Ruleset> {
        self.with(match_id, |hosted, _, _| hosted.order.ruleset.clone()).expect("a running match")
    }

    /// Seats of matches as placement counts them; nothing may be left of a match that is gone.
    pub fn seats_counted(&self) -> u64 {
        self.status.load(self.now).seats
    }

    /// People who play, as a server that stops waits for.
    pub fn players_counted(&self) -> usize {
        self.status.players.load(Ordering::Relaxed)
    }

    /// Who flies which seat, as everyone may know.
    pub fn roster(&mut self, match_id: MatchId) -> Option<Vec<RosterSeat>> {
        self.with(match_id, |_, crew, _| match crew.roster() {
            ToClient::Roster { seats } => seats,
            other => panic!("{other:?} is no roster"),
        })
    }

    /// What everyone may see of the newest tick.
    pub fn public_view(&mut self, match_id: MatchId) -> Option<View> {
        self.with(match_id, |_, _, state| state.view(Audience::Public))
    }

    /// Per watched match: spectators' links, and bytes of memory for what they will be shown.
    pub fn watched(&mut self) -> Vec<(usize, usize)> {
        let mut query = self.app.world_mut().query::<&Watchers>();
        query.iter(self.app.world()).map(|watchers| (watchers.links.len(), watchers.memory_bytes())).collect()
    }

    pub fn phase(&mut self, match_id: MatchId) -> Option<Phase> {
        self.with(match_id, |_, _, state| state.round.phase)
    }

    pub fn round(&mut self, match_id: MatchId) -> Option<Round> {
        self.with(match_id, |_, _, state| state.round)
    }

    pub fn hash(&mut self, match_id: MatchId) -> Option<u64> {
        self.with(match_id, |_, _, state| state.hash())
    }

    /// Who has the seat, and whether a pilot flew its newest tick.
    pub fn seat(&mut self, match_id: MatchId, seat: Seat) -> Option<(Occupant, bool)> {
        self.with(match_id, |_, crew, _| (crew.seats[seat.index()].occupant, crew.seats[seat.index()].piloted))
    }

    /// Newest tick for which an input of this seat arrived in time.
    pub fn input_newest(&mut self, match_id: MatchId, seat: Seat) -> Option<Tick> {
        self.with(match_id, |_, crew, _| crew.seats[seat.index()].queue.newest())
    }

    /// What the seat's ship applied in the newest tick.
    pub fn applied(&mut self, match_id: MatchId, seat: Seat) -> Option<Input> {
        self.with(match_id, |_, _, state| state.ships[seat.index()].input)
    }

    /// The live link of a seat.
    pub fn link(&mut self, match_id: MatchId, seat: Seat) -> Option<LinkId> {
        self.with(match_id, |_, crew, _| crew.seats[seat.index()].link.as_ref().map(|link| link.id)).flatten()
    }

    /// Links that the host and its transport know, and seats that have one: all the same when there are no ghosts.
    pub fn links(&mut self) -> [usize; 3] {
        let mut crews = self.app.world_mut().query::<&Crew>();
        let seats = crews.iter(self.app.world()).flat_map(|crew| &crew.seats);
        let held = seats.filter(|seat| seat.link.is_some()).count();
        [self.app.world().resource::<Links>().count(), self.network.connected() + self.streams.connected(), held]
    }

    /// Places that the two networks keep, for links and for tickets that nobody has used.
    pub fn places(&self) -> [usize; 2] {
        let transports = &self.app.world().resource::<Transports>().0;
        [transports[0].taken(), transports[1].taken()]
    }

    /// What happened in the newest tick, as far as it is told to those who come back.
    pub fn lasting_events(&mut self, match_id: MatchId) -> Vec<MissedEvent> {
        let of = |state: MatchRef<'_>| {
            let (tick, events) = (state.round.tick, state.events.0.iter());
            events.filter_map(Missed::of).map(|what| MissedEvent { tick, what }).collect()
        };
        self.with(match_id, |_, _, state| of(state)).unwrap_or_default()
    }

    pub fn matches(&self) -> usize {
        self.app.world().resource::<Matches>().count()
    }

    /// Records that are not delivered yet, those still being made included.
    pub fn records_waiting(&self) -> usize {
        self.spool.depth()
    }

    /// The replay of a match that is over, as it would reach the store.
    pub fn replay_of(&mut self, match_id: MatchId) -> Replay {
        Replay::read(&self.record_of(match_id).replay).expect("a replay")
    }

    /// The record of a match that is over, as it would reach the store.
    pub fn record_of(&mut self, match_id: MatchId) -> MatchRecord {
        let (sender, mut records) = tokio::sync::mpsc::unbounded_channel();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let delivery = self.spool.deliver_to(Arc::new(Capture(sender)));
            tokio::pin!(delivery);
            loop {
                tokio::select! {
                    () = &mut delivery => panic!("the delivery ended"),
                    Some(record) = records.recv() => if record.match_id == match_id { break record },
                }
            }
        })
    }

    /// State hashes that did not agree, over all players.
    pub fn mismatches(&self) -> u64 {
        let present = self.players.iter().map(|player| player.session.statistics().state_mismatches);
        present.sum::<u64>() + self.past.state_mismatches
    }
}

/// Takes delivered records instead of a store.
struct Capture(tokio::sync::mpsc::UnboundedSender<MatchRecord>);

impl Results for Capture {
    fn deliver(&self, records: Vec<MatchRecord>) -> Answer<'_, (), ResultsError> {
        records.into_iter().for_each(|record| _ = self.0.send(record));
        Box::pin(async { Ok(()) })
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.spool.close();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}
