//! Drills: the real server is told to stop, or killed, in the middle of hundreds of bot matches, again and again.
//!
//! In: `KIND COUNT MATCHES SEATS DRAIN_SECONDS SEED CSV` (`KIND` is `sigterm`, `kill` or `both`), the programs' paths in
//! `ASTRO_SERVER` and `ASTRO_BOTS`. Out: a line for each run, totals, a CSV file; exit code 1 when a promise was broken.
//! *Invariant:* what counts as finished is what bots were told, not what the server says about itself.
//! `tests/drills` builds what is needed and starts this. Start reading at [`Drill::run`].

use std::collections::HashSet;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use astro_server::api::admin::RunningList;
use astro_shared::sim::units::MatchId;
use astro_tests::service::Service;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection, Row};

/// Longer than a match of the `sprint` rules: with it the end falls anywhere in the life of matches.
const PAUSE_MAX: Duration = Duration::from_secs(15);
/// Nothing here takes that long unless it hangs.
const HANG: Duration = Duration::from_secs(120);
/// The promise of R19.
const NOT_READY_WITHIN: Duration = Duration::from_secs(1);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Sigterm,
    Kill,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Kind::Sigterm => "sigterm",
            Kind::Kill => "kill",
        }
    }
}

/// What the command line asks for.
struct Drill {
    kinds: Vec<Kind>,
    count: u32,
    matches: u32,
    seats: u32,
    drain_seconds: u32,
    seed: u64,
    csv: PathBuf,
}

impl Drill {
    fn from(words: &[String]) -> Option<Drill> {
        let [kind, count, matches, seats, drain_seconds, seed, csv] = words else { return None };
        let kinds = match kind.as_str() {
            "sigterm" => vec![Kind::Sigterm],
            "kill" => vec![Kind::Kill],
            "both" => vec![Kind::Sigterm, Kind::Kill],
            _ => return None,
        };
        Some(Drill {
            kinds,
            count: count.parse().ok()?,
            matches: matches.parse().ok()?,
            seats: seats.parse().ok()?,
            drain_seconds: drain_seconds.parse().ok()?,
            seed: seed.parse().ok()?,
            csv: csv.into(),
        })
    }

    /// One server, one fleet of bots, one end, and a look at what is left.
    fn run(&self, kind: Kind, number: u32, random: &mut StdRng) -> Run {
        let drain = self.drain_seconds.to_string();
        let name = format!("drill-{}-{number}", kind.name());
        let mut service = Service::start(&name, &["--load-test", "--shards", "1", "--drain-seconds", &drain]);
        let bots = Bots::start(self, &service);
        let seats = f64::from(self.matches * self.seats);
        let filled = wait_until(|| service.metric("astro_links{") >= seats);
        assert!(filled, "only {} of {seats} bots are in", service.metric("astro_links{"));
        let pause = random.random_range(Duration::ZERO..PAUSE_MAX);
        std::thread::sleep(pause);

        let playing = playing(&service);
        let end = end(&mut service, kind);
        let told = bots.stop();
        let service = service.restart();
        assert!(wait_until(|| service.metric("astro_spool_depth") == 0.0), "the spool is not emptied");
        let recovered = service.log().iter().find_map(|line| recovered(line)).unwrap_or(0);
        let stored = stored(service);
        let finished: HashSet<MatchId> = stored.iter().filter(|(_, void)| !void).map(|(id, _)| *id).collect();
        Run {
            kind,
            number,
            pause,
            began: told.began,
            told: told.results.len(),
            finished: finished.len(),
            void: stored.len() - finished.len(),
            lost: told.results.difference(&finished).count(),
            forgotten: playing.iter().filter(|id| !stored.iter().any(|(stored, _)| stored == *id)).count(),
            recovered,
            warned: told.warned,
            end,
        }
    }
}

/// Matches that are played now, or have just ended.
fn playing(service: &Service) -> HashSet<MatchId> {
    let (status, body) = service.ops_get("/admin/v1/matches?limit=1000");
    assert_eq!(status, 200, "{}", String::from_utf8_lossy(&body));
    let list: RunningList = serde_json::from_slice(&body).expect("a list");
    let begun = list.matches.iter().filter(|running| running.state == "playing" || running.state == "finishing");
    begun.map(|running| running.match_id).collect()
}

/// How the server ended.
struct End {
    /// `None`: by a signal.
    exit_code: Option<i32>,
    not_ready_after: Duration,
    gone_after: Duration,
}

/// Ends the server and watches it go.
fn end(service: &mut Service, kind: Kind) -> End {
    let agent: ureq::Agent = ureq::Agent::config_builder().proxy(None).timeout_global(Some(HANG)).build().into();
    let url = format!("{}/readyz", service.ops);
    let asked = Instant::now();
    match kind {
        Kind::Sigterm => service.signal(Signal::SIGTERM),
        Kind::Kill => service.signal(Signal::SIGKILL),
    }
    // A refusal is an error, and so is a connection that nobody takes.
    while agent.get(&url).call().is_ok() {
        assert!(asked.elapsed() < HANG, "still ready");
        std::thread::sleep(Duration::from_millis(2));
    }
    let not_ready_after = asked.elapsed();
    let exit_code = service.exit().code();
    End { exit_code, not_ready_after, gone_after: asked.elapsed() }
}

/// The load generator, in a process of its own.
struct Bots {
    child: Child,
    report: PathBuf,
    told: PathBuf,
}

/// What bots say they saw.
struct Told {
    /// Matches that welcomed a bot.
    began: u64,
    results: HashSet<MatchId>,
    /// Sessions that were told that the server goes down.
    warned: u64,
}

impl Bots {
    fn start(drill: &Drill, service: &Service) -> Bots {
        let program = std::env::var("ASTRO_BOTS").expect("ASTRO_BOTS names the bots program: use tests/drills");
        let (report, told) = (service.folder.join("bots.json"), service.folder.join("told.txt"));
        let child = Command::new(program)
            .args(["--server", &service.http, "--ops", &service.ops, "--rules", "sprint", "--seconds", "3600"])
            .args(["--matches", &drill.matches.to_string(), "--seats", &drill.seats.to_string()])
            .arg("--json")
            .arg(&report)
            .arg("--told")
            .arg(&told)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the bots start");
        Bots { child, report, told }
    }

    fn stop(mut self) -> Told {
        kill(Pid::from_raw(self.child.id() as i32), Signal::SIGINT).expect("signal");
        self.child.wait().expect("wait");
        let read = |path: &Path| std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{path:?}: {error}"));
        let report: serde_json::Value = serde_json::from_str(&read(&self.report)).expect("a report");
        let number = |field: &str| report[field].as_u64().unwrap_or_else(|| panic!("no {field} in {report}"));
        Told {
            began: number("matches_started"),
            results: read(&self.told).lines().map(|line| line.parse().expect("a match id")).collect(),
            warned: number("shutdown_notices"),
        }
    }
}

impl Drop for Bots {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn wait_until(mut done: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + HANG;
    while !done() {
        if Instant::now() > deadline {
            return false;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    true
}

/// How many results the last run had left on disk, when this line of the log says it.
fn recovered(line: &str) -> Option<u64> {
    let line: serde_json::Value = serde_json::from_str(line).ok()?;
    let fields = &line["fields"];
    fields["message"].as_str().filter(|message| message.starts_with("results of the last run"))?;
    fields["results"].as_u64()
}

/// Every stored match, and whether it is void; ends the server, which must go without complaint.
fn stored(mut service: Service) -> Vec<(MatchId, bool)> {
    assert!(service.interrupt().success(), "the restarted server ends well");
    let path = service.folder.join("data/astro.db");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let mut connection = SqliteConnectOptions::new().filename(path).connect().await.expect("the database");
        let rows = sqlx::query("SELECT match_id, void_reason IS NOT NULL AS void FROM matches");
        let rows = rows.fetch_all(&mut connection).await.expect("rows");
        connection.close().await.expect("closed");
        let of_row = |row: &sqlx::sqlite::SqliteRow| {
            let id: &[u8] = row.get("match_id");
            (MatchId(u128::from_be_bytes(id.try_into().expect("16 bytes"))), row.get::<i64, _>("void") != 0)
        };
        rows.iter().map(of_row).collect()
    })
}

/// What one run came to.
struct Run {
    kind: Kind,
    number: u32,
    /// Between the last bot's arrival and the end.
    pause: Duration,
    began: u64,
    told: usize,
    finished: usize,
    void: usize,
    /// Told to bots and not stored as they were told.
    lost: usize,
    /// Being played before the end, and stored neither as finished nor as void.
    forgotten: usize,
    recovered: u64,
    warned: u64,
    end: End,
}

const COLUMNS: &str =
    "kind,run,pause_s,began,told,finished,void,lost,forgotten,recovered,warned,exit,not_ready_s,gone_s";

impl Run {
    /// What was promised and not held.
    fn broken(&self) -> Vec<String> {
        let mut broken = Vec::new();
        if self.lost > 0 {
            broken.push(format!("{} results were told and are not stored", self.lost));
        }
        if self.kind == Kind::Sigterm && self.forgotten > 0 {
            broken.push(format!("{} matches were dropped without a word in the store", self.forgotten));
        }
        if self.kind == Kind::Sigterm && self.end.exit_code != Some(0) {
            broken.push(format!("exit code {:?}", self.end.exit_code));
        }
        if self.end.not_ready_after > NOT_READY_WITHIN {
            broken.push(format!("ready for {:?}", self.end.not_ready_after));
        }
        if self.kind == Kind::Sigterm && self.warned == 0 {
            broken.push("no player was told".into());
        }
        broken
    }

    fn values(&self) -> [String; 14] {
        let seconds = |time: Duration| format!("{:.3}", time.as_secs_f64());
        [
            self.kind.name().into(),
            self.number.to_string(),
            seconds(self.pause),
            self.began.to_string(),
            self.told.to_string(),
            self.finished.to_string(),
            self.void.to_string(),
            self.lost.to_string(),
            self.forgotten.to_string(),
            self.recovered.to_string(),
            self.warned.to_string(),
            self.end.exit_code.map_or("killed".into(), |code| code.to_string()),
            seconds(self.end.not_ready_after),
            seconds(self.end.gone_after),
        ]
    }
}

impl fmt::Display for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.values().iter().try_for_each(|value| write!(f, "{value:>11} "))
    }
}

fn summary(kind: Kind, runs: &[Run]) -> String {
    let runs: Vec<&Run> = runs.iter().filter(|run| run.kind == kind).collect();
    let sum = |count: fn(&Run) -> usize| runs.iter().map(|run| count(run)).sum::<usize>();
    let most = |time: fn(&Run) -> Duration| runs.iter().map(|run| time(run)).max().unwrap_or_default().as_secs_f64();
    format!(
        "{}: {} runs, {} finished, {} void, {} lost; not ready after at most {:.3} s, gone after at most {:.3} s",
        kind.name(),
        runs.len(),
        sum(|run| run.finished),
        sum(|run| run.void),
        sum(|run| run.lost),
        most(|run| run.end.not_ready_after),
        most(|run| run.end.gone_after),
    )
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let Some(drill) = Drill::from(&words) else {
        eprintln!("usage: drills sigterm|kill|both COUNT MATCHES SEATS DRAIN_SECONDS SEED CSV");
        return ExitCode::from(2);
    };
    let mut random = StdRng::seed_from_u64(drill.seed);
    let (mut runs, mut broken) = (Vec::new(), 0);
    println!("{}", COLUMNS.split(',').map(|column| format!("{column:>11} ")).collect::<String>());
    for kind in &drill.kinds {
        for number in 1..=drill.count {
            let run = drill.run(*kind, number, &mut random);
            println!("{run}");
            for complaint in run.broken() {
                println!("  BROKEN: {complaint} (seed {})", drill.seed);
                broken += 1;
            }
            runs.push(run);
        }
    }
    drill.kinds.iter().for_each(|kind| println!("{}", summary(*kind, &runs)));
    let rows = runs.iter().map(|run| run.values().join(",") + "\n");
    if let Err(error) = std::fs::write(&drill.csv, format!("{COLUMNS}\n{}", rows.collect::<String>())) {
        eprintln!("drills: {}: {error}", drill.csv.display());
        return ExitCode::FAILURE;
    }
    if broken == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
