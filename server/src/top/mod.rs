//! `astro-server top`: what a running server does, live in a terminal.
//!
//! In: the operations listener's `/metrics` and admin routes, keys. Out: a screen, redrawn each second; one plain page
//! with `--once` or when stdout is no terminal.
//! *Invariant:* the terminal is left as it was found, whatever ends the program but a kill -9.
//! *Invariant:* only reads: nothing here changes the server.
//! Start reading at [`run`]; [`view`] draws, [`terminal`] switches.

mod terminal;
mod view;

use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use astro_shared::openmetrics::Page;
use serde::de::DeserializeOwned;

use crate::api::admin::{RunningList, ShardList};
use terminal::{Ending, Key, Terminal};
use view::Reading;

/// Between two readings.
const EVERY: Duration = Duration::from_secs(1);
/// For each of a reading's requests.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);
/// Longest answer; metrics of many shards are the longest there are.
const ANSWER_BYTES_MAX: u64 = 8 << 20;
/// Matches asked for of each shard.
const MATCHES: usize = 20;
/// Lines of the plain page.
const PLAIN_LINES: usize = 60;

/// What the command line says.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// The server's operations listener.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:9090", value_parser = parse_base)]
    ops: String,
    /// File that holds the operations key, where the server has one. Or ASTRO_OPS_KEY_FILE.
    #[arg(long, value_name = "FILE")]
    ops_key_file: Option<PathBuf>,
    /// Print one page of the last second and end.
    #[arg(long)]
    once: bool,
}

/// Why there is nothing to show.
#[derive(Debug, thiserror::Error)]
enum TopError {
    #[error("{url}: {source}")]
    Unreachable { url: String, source: ureq::Error },
    #[error("{url}: {status}; {reason}")]
    Refused { url: String, status: u16, reason: &'static str },
    #[error("{0}: {1}")]
    File(PathBuf, io::Error),
    #[error("the terminal: {0}")]
    Terminal(#[from] io::Error),
}

/// Shows a server until told to stop; once, where nobody can tell it. To be called before any thread is made.
pub fn run(options: &Options) -> ExitCode {
    let plain = options.once || !io::stdout().is_terminal() || !io::stdin().is_terminal();
    match if plain { print_once(options) } else { show_live(options) } {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("astro-server top: {error}");
            ExitCode::FAILURE
        }
    }
}

fn print_once(options: &Options) -> Result<(), TopError> {
    let server = Server::new(options)?;
    let before = server.read()?;
    std::thread::sleep(EVERY);
    let after = server.read()?;
    let mut out = io::stdout().lock();
    let width = if io::stdout().is_terminal() { terminal::size().0 } else { usize::MAX };
    for line in view::draw(&server.base, &before, &after, width).into_iter().take(PLAIN_LINES) {
        // A closed pipe is no reason to complain.
        let _ = writeln!(out, "{line}");
    }
    Ok(())
}

fn show_live(options: &Options) -> Result<(), TopError> {
    // First of all: asking a server already makes threads.
    let ending = Ending::watch()?;
    let server = Server::new(options)?;
    let mut before = server.read()?;
    let mut terminal = Terminal::open(ending)?;
    loop {
        if matches!(terminal.wait(EVERY)?, Key::Quit) {
            return Ok(());
        }
        match server.read() {
            Ok(after) => {
                terminal.show(&view::draw(&server.base, &before, &after, terminal::size().0))?;
                before = after;
            }
            // A server that restarts comes back; whoever does not want to wait presses q.
            Err(error) => terminal.show(&[format!("{error}"), String::new(), "trying again; q ends".into()])?,
        }
    }
}

/// The server that is shown.
struct Server {
    agent: ureq::Agent,
    base: String,
    key: Option<String>,
}

impl Server {
    fn new(options: &Options) -> Result<Server, TopError> {
        let variable = std::env::var_os("ASTRO_OPS_KEY_FILE").filter(|path| !path.is_empty()).map(PathBuf::from);
        let key = options.ops_key_file.clone().or(variable).map(|path| key_in(&path)).transpose()?;
        let config = ureq::Agent::config_builder().http_status_as_error(false).proxy(None).max_redirects(0);
        let agent = config.timeout_global(Some(ANSWER_WITHIN)).build().into();
        Ok(Server { agent, base: options.ops.clone(), key })
    }

    fn read(&self) -> Result<Reading, TopError> {
        let page = Page::parse(&self.get("/metrics")?);
        let at = Instant::now();
        let shards: ShardList = self.json("/admin/v1/shards")?;
        let running: RunningList = self.json(&format!("/admin/v1/matches?limit={MATCHES}"))?;
        Ok(Reading { at, page, shards: shards.shards, matches: running.matches })
    }

    fn json<T: DeserializeOwned>(&self, path: &str) -> Result<T, TopError> {
        let text = self.get(path)?;
        let foreign = |_| self.refused(path, 200, "that is no operations listener of this version");
        serde_json::from_str(&text).map_err(foreign)
    }

    fn get(&self, path: &str) -> Result<String, TopError> {
        let url = format!("{}{path}", self.base);
        let lost = |source| TopError::Unreachable { url: url.clone(), source };
        let mut request = self.agent.get(&url);
        if let Some(key) = &self.key {
            request = request.header("authorization", format!("Bearer {key}"));
        }
        let mut answer = request.call().map_err(lost)?;
        match answer.status().as_u16() {
            200 => answer.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_string().map_err(lost),
            401 => Err(self.refused(path, 401, "it wants its key: --ops-key-file")),
            404 => Err(self.refused(path, 404, "is that the operations listener (--ops), not the public address?")),
            status => Err(self.refused(path, status, "it does not answer this")),
        }
    }

    fn refused(&self, path: &str, status: u16, reason: &'static str) -> TopError {
        TopError::Refused { url: format!("{}{path}", self.base), status, reason }
    }
}

/// An address without a scheme is taken for http.
fn parse_base(text: &str) -> Result<String, String> {
    let base = match text.split_once("://") {
        None => format!("http://{text}"),
        Some(("http", _)) => text.to_owned(),
        Some(_) => return Err("must begin with http://".into()),
    };
    let base = base.trim_end_matches('/').to_owned();
    if base == "http:" { Err("names no host".into()) } else { Ok(base) }
}

fn key_in(path: &Path) -> Result<String, TopError> {
    let text = std::fs::read_to_string(path).map_err(|error| TopError::File(path.to_owned(), error))?;
    Ok(text.trim_end().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_needs_no_scheme_and_takes_no_other() {
        assert_eq!(parse_base("127.0.0.1:9090").unwrap(), "http://127.0.0.1:9090");
        assert_eq!(parse_base("http://party:9090/").unwrap(), "http://party:9090");
        assert_eq!(parse_base("https://party:9090").unwrap_err(), "must begin with http://");
        assert_eq!(parse_base("").unwrap_err(), "names no host");
    }
}
