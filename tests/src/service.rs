//! `Service`: the real server program in a folder of its own, on free ports; and players who reach it over real UDP.
//!
//! Needs the program's path in `ASTRO_SERVER`; `tests/run` sets it. Without it tests fail, they are never skipped.
//! Start reading at [`Service::start`].

use std::io::{BufRead, BufReader, Read};
use std::net::{SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use astro_client::brain::Brain;
use astro_client::session::{Link, Session};
use astro_shared::api::{MatchList, MatchSummary, QuickplayRequest, TicketAnswer, TicketRequest};
use astro_shared::sim::SimPlugin;
use astro_shared::sim::rules::Ruleset;
use astro_shared::sim::units::MatchId;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bevy_ecs::world::World;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// No stop takes longer, on any machine: what does has hung.
const EXIT_WITHIN: Duration = Duration::from_secs(60);
/// Between two looks whether the program has ended.
const POLL_EVERY: Duration = Duration::from_millis(5);

/// The server program in a folder, without the settings of the person at this machine: they are no part of a test.
pub fn program(folder: &Path) -> Command {
    let program = std::env::var("ASTRO_SERVER").expect("ASTRO_SERVER names the server program: use tests/run");
    let mut command = Command::new(program);
    let settings = std::env::vars_os().map(|(name, _)| name).filter(|name| {
        let name = name.to_string_lossy();
        name.starts_with("ASTRO_") || name.starts_with("OTEL_") || name == "RUST_LOG"
    });
    settings.for_each(|name| _ = command.env_remove(name));
    command.current_dir(folder);
    command
}

/// A running server.
pub struct Service {
    child: Child,
    pub http: String,
    /// The operations listener.
    pub ops: String,
    pub folder: PathBuf,
    arguments: Vec<String>,
    variables: Vec<(String, String)>,
    log: Arc<Mutex<Vec<String>>>,
    said: Vec<String>,
    log_reader: Option<JoinHandle<()>>,
    agent: ureq::Agent,
}

impl Service {
    /// Starts a server without demo matches in a fresh temporary folder.
    pub fn start(name: &str, arguments: &[&str]) -> Service {
        Service::start_with(name, arguments, &[])
    }

    /// The same with environment variables.
    pub fn start_with(name: &str, arguments: &[&str], variables: &[(&str, &str)]) -> Service {
        let folder = std::env::temp_dir().join(format!("astro-service-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).expect("a temporary folder");
        let arguments = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Service::start_in(folder, arguments, variables)
    }

    fn start_in(folder: PathBuf, arguments: Vec<String>, variables: Vec<(String, String)>) -> Service {
        let demo = arguments.iter().any(|argument| argument == "--demo");
        let mut child = program(&folder)
            .args(["--http", "127.0.0.1:0", "--udp", "127.0.0.1:0", "--ops", "127.0.0.1:0"])
            .args(if demo { &[][..] } else { &["--demo", "0"] })
            .args(&arguments)
            .envs(variables.iter().map(|(name, value)| (name, value)))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the server starts");
        let log = Arc::<Mutex<Vec<String>>>::default();
        let log_reader = Some(collect(child.stderr.take().expect("stderr"), log.clone()));
        let mut lines = BufReader::new(child.stdout.take().expect("stdout")).lines();
        let mut said = Vec::new();
        let mut find = |what: &str| {
            let found = lines.by_ref().map_while(Result::ok).find_map(|line| {
                let address = address_in(&line).filter(|_| line.trim_start().starts_with(what));
                said.push(line);
                address
            });
            found.unwrap_or_else(|| panic!("no {what} address printed; log: {:#?}", log.lock().unwrap()))
        };
        let (http, ops) = (find("HTTP"), find("ops"));
        std::thread::spawn(move || lines.for_each(drop));
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .proxy(None)
            .timeout_global(Some(Duration::from_secs(10)));
        let agent = config.build().into();
        Service { child, http, ops, folder, arguments, variables, log, log_reader, said, agent }
    }

    /// Ends the program without warning.
    pub fn kill_nine(&mut self) {
        self.child.kill().expect("kill");
        self.child.wait().expect("wait");
    }

    /// Starts it again on the same data.
    pub fn restart(self) -> Service {
        let (folder, arguments, variables) = (self.folder.clone(), self.arguments.clone(), self.variables.clone());
        std::mem::forget(self);
        Service::start_in(folder, arguments, variables)
    }

    /// Ctrl-C, and the exit it leads to.
    pub fn interrupt(&mut self) -> ExitStatus {
        self.signal(Signal::SIGINT);
        self.exit()
    }

    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id() as i32), signal).expect("signal");
    }

    /// Waits for the program's end, and until all it has said is in the log; panics when it does not end.
    pub fn exit(&mut self) -> ExitStatus {
        let status = self.exit_within(EXIT_WITHIN);
        if let Some(reader) = self.log_reader.take() {
            reader.join().expect("the log is read to its end");
        }
        status
    }

    fn exit_within(&mut self, limit: Duration) -> ExitStatus {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(status) = self.child.try_wait().expect("wait") {
                return status;
            }
            if Instant::now() >= deadline {
                let _ = self.child.kill();
                panic!("still running after {limit:?}: {:#?}", self.log());
            }
            std::thread::sleep(POLL_EVERY);
        }
    }

    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().is_ok_and(|status| status.is_none())
    }

    /// Lines of log so far.
    pub fn log(&self) -> Vec<String> {
        self.log.lock().unwrap().clone()
    }

    /// What it said on its standard output, up to its addresses.
    pub fn said(&self) -> &[String] {
        &self.said
    }

    /// `GET`: status and body.
    pub fn get(&self, path: &str) -> (u16, Vec<u8>) {
        self.get_from(&self.http, path)
    }

    fn get_from(&self, base: &str, path: &str) -> (u16, Vec<u8>) {
        let mut answer = self.agent.get(format!("{base}{path}")).call().expect("an answer");
        let body = answer.body_mut().with_config().limit(64 << 20).read_to_vec().expect("a body");
        (answer.status().as_u16(), body)
    }

    /// `POST` of JSON: status and body.
    pub fn post(&self, path: &str, body: &impl serde::Serialize) -> (u16, Vec<u8>) {
        self.post_to(&self.http, path, body)
    }

    fn post_to(&self, base: &str, path: &str, body: &impl serde::Serialize) -> (u16, Vec<u8>) {
        let mut answer = self.agent.post(format!("{base}{path}")).send_json(body).expect("an answer");
        let body = answer.body_mut().read_to_vec().expect("a body");
        (answer.status().as_u16(), body)
    }

    /// `GET` on the operations listener.
    pub fn ops_get(&self, path: &str) -> (u16, Vec<u8>) {
        self.get_from(&self.ops, path)
    }

    /// `POST` of JSON on the operations listener.
    pub fn ops_post(&self, path: &str, body: &impl serde::Serialize) -> (u16, Vec<u8>) {
        self.post_to(&self.ops, path, body)
    }

    pub fn quickplay(&self, name: &str, rules: &str, seats: u8, group: &str) -> TicketAnswer {
        let request = QuickplayRequest {
            name: name.into(),
            mode: "last_ship".into(),
            seats: Some(seats),
            rules: Some(rules.into()),
            group: Some(group.into()),
            ..QuickplayRequest::default()
        };
        let (status, body) = self.post("/v1/quickplay", &request);
        assert_eq!(status, 200, "{}", String::from_utf8_lossy(&body));
        serde_json::from_slice(&body).expect("a ticket")
    }

    pub fn matches(&self) -> Vec<MatchSummary> {
        let (status, body) = self.get("/v1/matches?limit=100");
        assert_eq!(status, 200);
        serde_json::from_slice::<MatchList>(&body).expect("a list").matches
    }

    /// The stored match, waiting for it if need be.
    pub fn stored(&self, match_id: MatchId) -> MatchSummary {
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            let (status, body) = self.get(&format!("/v1/matches/{match_id}"));
            if status == 200 {
                return serde_json::from_slice(&body).expect("a match");
            }
            assert!(Instant::now() < deadline, "match {match_id} is not stored: {}", String::from_utf8_lossy(&body));
        }
    }

    pub fn ruleset(&self, hash: &str) -> Arc<Ruleset> {
        let (status, body) = self.get(&format!("/v1/rules/{hash}"));
        assert_eq!(status, 200);
        Ruleset::from_text("server", std::str::from_utf8(&body).expect("text")).expect("rules")
    }

    /// Value of a metric, summed over its labels.
    pub fn metric(&self, name: &str) -> f64 {
        let (_, body) = self.ops_get("/metrics");
        let text = String::from_utf8(body).expect("text");
        let lines = text.lines().filter(|line| line.starts_with(name) && !line.starts_with('#'));
        lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    }

    /// A player takes a seat and gets ready to be driven.
    pub fn join(&self, name: &str, rules: &str, seats: u8, group: &str) -> UdpPlayer {
        let ticket = self.quickplay(name, rules, seats, group);
        UdpPlayer::with(&ticket, self.ruleset(&ticket.rules_hash))
    }

    /// A fresh ticket for a seat already held.
    pub fn ticket_again(&self, match_id: MatchId, seat_secret: &str) -> (u16, Vec<u8>) {
        let request = TicketRequest { seat_secret: seat_secret.into() };
        self.post(&format!("/v1/matches/{match_id}/tickets"), &request)
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn collect(stream: impl Read + Send + 'static, into: Arc<Mutex<Vec<String>>>) -> JoinHandle<()> {
    std::thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            into.lock().unwrap().push(line);
        }
    })
}

fn address_in(line: &str) -> Option<String> {
    let start = line.find("http://")?;
    let rest = &line[start..];
    let end = rest.find(|c: char| c.is_whitespace()).unwrap_or(rest.len());
    Some(rest[..end].trim_end_matches('/').to_owned())
}

/// Unix time, as netcode wants it.
pub fn unix_now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// A player on a UDP socket of its own.
pub struct UdpPlayer {
    pub session: Session,
    pub socket: UdpSocket,
    pub server: SocketAddr,
    pub match_id: MatchId,
    pub seat_secret: String,
    world: World,
    brain: Brain,
}

impl UdpPlayer {
    pub fn with(ticket: &TicketAnswer, ruleset: Arc<Ruleset>) -> UdpPlayer {
        let token = STANDARD.decode(&ticket.connect_token).expect("base64");
        let mut player = UdpPlayer::from_token(ticket.match_id, &token, ruleset);
        player.seat_secret = ticket.seat_secret.clone();
        player
    }

    /// A player who has a connect token and nothing else.
    pub fn from_token(match_id: MatchId, token: &[u8], ruleset: Arc<Ruleset>) -> UdpPlayer {
        let link = Link::from_connect_token(token, unix_now()).expect("a connect token");
        let server = link.server_address().expect("an address");
        let mut session = Session::new(link, 30, unix_now());
        session.start(ruleset);
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
        socket.set_read_timeout(Some(Duration::from_millis(2))).expect("a timeout");
        UdpPlayer {
            session,
            socket,
            server,
            match_id,
            seat_secret: String::new(),
            world: SimPlugin::world(),
            brain: Brain::new(match_id.0 as u64),
        }
    }

    /// One round of receiving (up to 2 ms), flying and sending.
    pub fn drive(&mut self) {
        let mut buffer = [0u8; 2048];
        while let Ok((length, from)) = self.socket.recv_from(&mut buffer) {
            if from == self.server {
                self.session.handle_datagram(&mut self.world, &mut buffer[..length], unix_now());
            }
        }
        let now = unix_now();
        self.session.handle_tick(now);
        while let Some(tick) = self.session.poll_sample(now) {
            let (Some(view), Some(rules), Some(seat)) =
                (self.session.view(), self.session.ruleset(), self.session.seat())
            else {
                break;
            };
            let input = self.brain.input(view, rules, seat, tick);
            self.session.sample(tick, input, now);
        }
        while let Some(transmit) = self.session.poll_transmit(now) {
            let _ = self.socket.send_to(transmit.bytes, self.server);
        }
    }

    /// Gives bytes to the session as if they had come from the network.
    pub fn receive(&mut self, bytes: &mut [u8]) {
        self.session.handle_datagram(&mut self.world, bytes, unix_now());
    }

    pub fn snapshots(&self) -> u64 {
        self.session.statistics().snapshots
    }
}

/// Drives players together until `done`; panics after `limit` with what everybody knows.
pub fn drive_until(players: &mut [&mut UdpPlayer], limit: Duration, mut done: impl FnMut(&[&mut UdpPlayer]) -> bool) {
    let deadline = Instant::now() + limit;
    while !done(players) {
        players.iter_mut().for_each(|player| player.drive());
        assert!(
            Instant::now() < deadline,
            "not done after {limit:?}: {:?}",
            players.iter().map(|player| player.session.statistics()).collect::<Vec<_>>()
        );
    }
}

/// A folder with an extra rules preset `blitz`: matches of about a second.
pub fn blitz_assets(at: &Path) -> PathBuf {
    let folder = at.join("assets");
    std::fs::create_dir_all(folder.join("rules")).expect("a folder");
    let blitz = astro_shared::assets::RULES[1].1;
    let blitz = blitz.replace("\"sprint\"", "\"blitz\"").replace("countdown_ms: 1000", "countdown_ms: 100");
    let blitz =
        blitz.replace("play_ms_max: 15000", "play_ms_max: 700").replace("round_over_ms: 500", "round_over_ms: 50");
    std::fs::write(folder.join("rules/blitz.ron"), blitz).expect("a file");
    folder
}
