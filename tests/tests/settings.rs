//! Promise: the program says which settings are in force and why, refuses what it does not know, and never shows a secret.
//!
//! Each layer by itself is tested with the code; here is the program as a person or a supervisor meets it.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::process::{Command, Output};

use astro_tests::service::{Service, program};

const CANARY: &str = "canary-7d1f0c55aa-0123456789abcdef";

/// A folder of one test, gone when it ends.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("astro-settings-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).expect("a folder");
        Folder(path)
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.0.join(name), text).expect("a file");
    }

    fn run(&self, change: impl FnOnce(&mut Command) -> &mut Command) -> Output {
        change(&mut program(&self.0)).output().expect("the program runs")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr[..]].concat()).into_owned()
}

#[test]
fn the_file_in_the_folder_is_read_and_each_value_says_where_it_came_from() {
    let folder = Folder::new("layers");
    folder.write("astro.toml", "demo = 1\nshards = 3\ndrain_seconds = 7\n");
    let output = folder
        .run(|command| command.env("ASTRO_SHARDS", "2").env("ASTRO_DEMO", "5").args(["--demo", "0", "--print-config"]));
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    for expected in [
        "demo = 0  # flag --demo\n",
        "shards = 2  # environment variable ASTRO_SHARDS\n",
        "drain_seconds = 7  # ./astro.toml, line 3\n",
        "data = \"./data\"  # default\n",
    ] {
        assert!(said(&output).contains(expected), "{expected:?} is missing in {}", said(&output));
    }
    // Its output is a file that says the same.
    folder.write("printed.toml", &String::from_utf8_lossy(&output.stdout));
    let again = folder.run(|command| command.args(["--config", "printed.toml", "--print-config"]));
    let values = |output: &Output| -> Vec<String> {
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.lines().filter_map(|line| Some(line.split_once("  #")?.0.to_owned())).collect()
    };
    assert_eq!(values(&output), values(&again));
    assert!(!folder.0.join("data").exists(), "printing touches nothing");
}

#[test]
fn what_cannot_be_used_is_refused_before_anything_is_touched() {
    let folder = Folder::new("refused");
    folder.write("slip.toml", "http = \"127.0.0.1:0\"\ndrain_secnods = 3\n");
    for (arguments, expected) in [
        (
            &["--config", "slip.toml"][..],
            "slip.toml, line 2: there is no setting drain_secnods; did you mean drain_seconds?",
        ),
        (&["--config", "none.toml"], "none.toml: No such file"),
        (&["--drain-seconds", "soon"], "flag --drain-seconds: drain_seconds takes a whole number"),
        (&["--production"], "production mode refuses to start:\n  - fleet_key is not set"),
        (&["--udp", "0.0.0.0:0"], "set public_udp (--public-udp, ASTRO_PUBLIC_UDP, public_udp in the file)"),
    ] {
        let output = folder.run(|command| command.args(arguments));
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(said(&output).contains(expected), "{arguments:?}: {}", said(&output));
        assert_eq!(output.stdout, b"", "nothing but the mistake");
    }
    for (name, text, expected) in [
        ("ASTRO_HTTP_PORT", OsStr::from_bytes(b"8080"), "there is no setting ASTRO_HTTP_PORT"),
        ("ASTRO_DATA", OsStr::from_bytes(b"\xff"), "ASTRO_DATA is not UTF-8"),
    ] {
        let output = folder.run(|command| command.env(name, text));
        assert_eq!(output.status.code(), Some(2), "{name}");
        assert!(said(&output).contains(expected), "{}", said(&output));
    }
    let output = folder.run(|command| command.args(["--udp", "0.0.0.0:0", "--public-udp", "no..host"]));
    assert_eq!(output.status.code(), Some(1), "a name that is not known yet may be known later: {}", said(&output));
    let output = folder.run(|command| command.env("ASTRO_DRAIN", "3"));
    assert_eq!(output.status.code(), Some(2));
    assert!(said(&output).contains("there is no setting ASTRO_DRAIN"), "{}", said(&output));
    assert!(!folder.0.join("data").exists());
}

#[test]
fn a_secret_is_in_no_log_page_error_or_printout() {
    let folder = Folder::new("canary");
    folder.write("key", &format!("{CANARY}\n"));
    folder.write("broken.toml", &format!("fleet_key = \"{CANARY}\nhttp = 1"));
    folder.write("open.toml", &format!("fleet_key = \"{CANARY}\"\nshards = 0\n"));
    let mut seen = vec![
        said(&folder.run(|command| command.env("ASTRO_FLEET_KEY", CANARY).arg("--print-config"))),
        said(&folder.run(|command| command.args(["--fleet-key-file", "key", "--print-config", "--production"]))),
        said(&folder.run(|command| command.args(["--config", "broken.toml"]))),
        said(&folder.run(|command| command.args(["--config", "open.toml"]))),
        said(&folder.run(|command| command.env("ASTRO_FLEET_KEY", CANARY).args(["--fleet-key", "x"]))),
    ];
    assert!(seen[0].contains("***") && seen[1].contains("***"), "{seen:?}");

    let everything = [("ASTRO_FLEET_KEY", CANARY), ("RUST_LOG", "trace,sqlx=debug")];
    let mut service = Service::start_with("canary", &["--production"], &everything);
    // It is the key that counts, so it has arrived; and programs that get it wrong are told so without it.
    assert_eq!(deliver(&service, &format!("Bearer {CANARY}")), 204);
    assert_eq!(deliver(&service, &format!("Bearer {CANARY}0")), 401);
    for path in ["/", "/version", "/readyz", "/metrics", "/internal/v1/results"] {
        seen.push(String::from_utf8_lossy(&service.get(path).1).into_owned());
        seen.push(String::from_utf8_lossy(&service.ops_get(path).1).into_owned());
    }
    assert!(seen.iter().any(|page| page.contains("astro_ticks_total")), "the metrics are among them");
    assert_eq!(service.interrupt().code(), Some(0));
    let log = service.log();
    assert!(log.iter().any(|line| line.contains("DEBUG")), "much is logged: {log:?}");
    assert!(!service.folder.join("data/keys/fleet.key").exists(), "no key is made when one is given");
    seen.extend(log);
    for text in seen {
        assert!(!text.contains("canary-7d1f"), "{text}");
    }
}

/// Delivers no results with that authorization; the status.
fn deliver(service: &Service, authorization: &str) -> u16 {
    let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).proxy(None).build().into();
    let request = agent.post(format!("{}/internal/v1/results", service.http)).header("authorization", authorization);
    request.send(&[][..]).expect("an answer").status().as_u16()
}
