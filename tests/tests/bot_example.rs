//! Promise: a bot can be written in an afternoon: the example, which uses nothing but the client's public API, plays a
//! match to its end against the real program, over either transport.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use astro_tests::service::Service;
use astro_tests::sources::workspace;

/// The example as `cargo test --workspace` builds it, beside this test.
fn example() -> PathBuf {
    let this = std::env::current_exe().expect("a path");
    let profile = this.parent().and_then(|deps| deps.parent()).expect("deps lie in the profile's folder");
    let path = profile.join("examples/bot");
    assert!(path.exists(), "{} is missing: cargo build --package astro-client --example bot", path.display());
    path
}

/// Two bots, one on each transport, meet in one match.
#[test]
fn the_example_plays_a_match_to_its_end_over_udp_and_websocket() {
    let service = Service::start("bot-example", &[]);
    let start = |transport: &str| {
        let mut command = Command::new(example());
        command.args([&service.http, transport, "example"]).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().expect("the example starts")
    };
    let bots = [start("udp"), start("ws")];
    let outputs = bots.map(|bot| bot.wait_with_output().expect("an exit"));
    for output in &outputs {
        let (out, error) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{}\n{out}{error}", output.status);
        assert!(out.contains("<- this bot") && out.contains("Example, Example"), "{out}");
    }
    let [stored] = &service.matches()[..] else { panic!("the two met in one match: {:#?}", service.matches()) };
    assert!(stored.seats.iter().all(|seat| !seat.pilot && !seat.left), "{stored:#?}");
}

#[test]
fn it_is_short_enough_to_be_read() {
    let text = std::fs::read_to_string(workspace().join("client/examples/bot.rs")).expect("the example");
    assert!(text.lines().count() < 120, "{} lines", text.lines().count());
}
