//! Promise: PROTOCOL.md is what the code does; `UPDATE_GOLDEN=1 cargo test -p astro-tests --test protocol` writes it.

use std::collections::BTreeSet;

use astro_shared::wire::fingerprint;
use astro_tests::protocol::{BOT_LINES_MAX, page};
use astro_tests::sources::workspace;

/// Broken by any change of a field, message, close code, limit or preset that the page was not written anew for; and by a
/// message that the template says nothing about.
#[test]
fn protocol_md_is_what_the_code_says() {
    let (path, now) = (workspace().join("PROTOCOL.md"), page());
    if std::env::var_os("UPDATE_GOLDEN").is_some_and(|update| update == "1") {
        std::fs::write(&path, now).expect("PROTOCOL.md can be written");
        return;
    }
    let page = std::fs::read_to_string(&path).unwrap_or_default();
    for (number, (page, now)) in page.lines().zip(now.lines()).enumerate() {
        assert_eq!(page, now, "PROTOCOL.md is stale from line {} on; run with UPDATE_GOLDEN=1", number + 1);
    }
    assert_eq!(page.lines().count(), now.lines().count(), "PROTOCOL.md has another number of lines");
}

/// Broken by a code that was renamed or got another status: programs out there know it by what the page says.
#[test]
fn every_refusal_on_the_page_is_one_that_the_service_gives() {
    let service = std::fs::read_to_string(workspace().join("server/src/api/error.rs")).expect("error.rs");
    let statuses = [
        ("400", "BAD_REQUEST"),
        ("403", "FORBIDDEN"),
        ("404", "NOT_FOUND"),
        ("405", "METHOD_NOT_ALLOWED"),
        ("408", "REQUEST_TIMEOUT"),
        ("409", "CONFLICT"),
        ("410", "GONE"),
        ("413", "PAYLOAD_TOO_LARGE"),
        ("415", "UNSUPPORTED_MEDIA_TYPE"),
        ("429", "TOO_MANY_REQUESTS"),
        ("500", "INTERNAL_SERVER_ERROR"),
        ("503", "SERVICE_UNAVAILABLE"),
    ];
    let listed = codes_of(&page());
    assert!(listed.len() > 25, "{listed:?}");
    for (code, status) in listed {
        let (_, constant) = statuses.iter().find(|(number, _)| *number == status).expect("a status of the list");
        let given = service.lines().any(|line| line.contains(&format!("\"{code}\"")) && line.contains(constant))
            || (service.contains(&format!("rejection.status(), \"{code}\"")) && status == "400");
        assert!(given, "{code} with {status} is on the page, not in the service");
    }
}

/// Codes and statuses of the page's table of refusals.
fn codes_of(page: &str) -> Vec<(String, String)> {
    let rows = page.lines().skip_while(|line| *line != "| code | status | meaning |").skip(2);
    let mut listed = Vec::new();
    for row in rows.take_while(|line| line.starts_with('|')) {
        let [codes, status] = row.split('|').map(str::trim).skip(1).take(2).collect::<Vec<_>>()[..] else {
            panic!("{row}")
        };
        let codes = codes.split(", ").map(|code| code.trim_matches('`'));
        listed.extend(codes.map(|code| (code.to_owned(), status.to_owned())));
    }
    listed
}

/// Codes that only operators and other hosts can meet.
const NOT_FOR_PLAYERS: [&str; 9] = [
    "conflict",
    "from_browser",
    "invalid_body",
    "invalid_grace",
    "invalid_reason",
    "invalid_records",
    "not_ready",
    "stuck",
    "unauthorized",
];

/// Broken by a new refusal of a player's request that the page says nothing about.
#[test]
fn every_refusal_that_a_player_can_meet_is_on_the_page() {
    let service = std::fs::read_to_string(workspace().join("server/src/api/error.rs")).expect("error.rs");
    let part = |from: &str| service.split(from).nth(1).and_then(|rest| rest.split("\n    }\n").next()).expect("a part");
    let part = [part("fn status_and_code"), part("fn body_status_and_code").split("\n}\n").next().expect("its end")];
    let quoted = part.iter().flat_map(|part| part.split('"').skip(1).step_by(2));
    let given: BTreeSet<&str> = quoted.collect();
    assert!(given.len() > 35 && given.contains("full") && given.contains("not_json"), "{given:?}");
    let page = page();
    let listed = codes_of(&page);
    let is_listed = |code: &&str| listed.iter().any(|(listed, _)| listed == code);
    let missing: Vec<&str> = given.iter().filter(|code| !is_listed(code)).copied().collect();
    assert_eq!(missing, NOT_FOR_PLAYERS, "on the left: what the page does not say");
}

/// Broken by an answer that a reader of the page could not follow: the bot is the page's only worked program.
#[test]
fn the_python_bot_is_short_and_uses_nothing_but_python() {
    let bot = std::fs::read_to_string(workspace().join("tests/bot.py")).expect("tests/bot.py");
    assert!(bot.lines().count() <= BOT_LINES_MAX, "{} lines", bot.lines().count());
    assert!(bot.lines().all(|line| line.len() <= 120), "a long line");
    let own = ["base64", "http", "json", "math", "os", "re", "socket", "struct", "sys", "urllib"];
    let imports = bot.lines().filter_map(|line| line.strip_prefix("import "));
    for module in imports.flat_map(|names| names.split(", ")) {
        assert!(own.contains(&module.split('.').next().unwrap_or_default()), "{module}");
    }
    assert!(!bot.lines().any(|line| line.trim_start().starts_with("from ")), "imports are lists of modules");
    assert!(!bot.contains(&format!("{:x}", fingerprint())), "the fingerprint comes from the answer, not from the page");
}
