//! Promise: PROTOCOL.md is enough. A bot that was written from it in Python plays whole matches against the real service.

use std::process::{Child, Command, Output, Stdio};

use astro_tests::service::Service;
use astro_tests::sources::workspace;

fn start_bot(service: &Service, name: &str) -> Child {
    let wish =
        format!(r#"{{"name": "{name}", "mode": "last_ship", "rules": "sprint", "seats": 4, "group": "snakes"}}"#);
    let bot = workspace().join("tests/bot.py");
    let mut command = Command::new("python3");
    command.arg(bot).args([&service.http, &wish]).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().expect("python3 runs")
}

/// The numbers of the line that starts with `place`.
fn told(output: &Output) -> Vec<u32> {
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text.lines().find(|line| line.starts_with("place")).unwrap_or_default();
    line.split(|c: char| !c.is_ascii_digit()).filter_map(|word| word.parse().ok()).collect()
}

/// Broken by any change of what lies on the wire that neither page nor bot followed: then a hash is wrong, a message is
/// misread, or the connection ends in another way than with the result.
#[test]
fn two_python_bots_and_two_pilots_play_a_match_to_its_result() {
    let service = Service::start("python", &[]);
    let bots = ["Monty", "Brian"].map(|name| (name, start_bot(&service, name)));
    for (name, bot) in bots {
        let output = bot.wait_with_output().expect("the bot ends");
        let said = format!("{output:?}; log: {:#?}", service.log());
        assert!(output.status.success(), "{said}");
        let [match_played] = &service.matches()[..] else { panic!("one match is stored: {said}") };
        let seat = match_played.seats.iter().find(|seat| seat.name == name).expect("the bot's seat");
        let small = [seat.placement.unwrap_or(0), seat.rounds_won].map(u32::from);
        let large = [seat.kills, seat.deaths, u16::from(seat.assists), seat.shots, seat.hits].map(u32::from);
        let stored = [&small[..], &large].concat();
        assert_eq!(told(&output), stored, "{said}");
        // Nobody else pulled the trigger: a pilot flies only for a player who is silent.
        assert!(!seat.pilot && !seat.left, "{said}");
        assert!(seat.shots > 0, "its inputs arrive in time: {said}");
        assert_eq!(match_played.seats.iter().filter(|seat| seat.pilot).count(), 2);
    }
}
