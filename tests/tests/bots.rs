//! Promise: the load generator keeps what it measured; when it could not, it does not begin.
//!
//! Needs the program's path in `ASTRO_BOTS`; `tests/run` sets it.

use std::process::{Command, Output};

/// Runs bots against an address where nobody listens.
fn bots(arguments: &[&str]) -> (Option<i32>, String) {
    let program = std::env::var("ASTRO_BOTS").expect("ASTRO_BOTS names the bots program: use tests/run");
    let output = Command::new(program).args(["--server", "http://127.0.0.1:1"]).args(arguments).output();
    let Output { status, stderr, .. } = output.expect("the bots run");
    (status.code(), String::from_utf8(stderr).expect("text"))
}

/// Broken by opening the file when all is over: then the run was for nothing.
#[test]
fn a_file_that_cannot_be_written_is_said_before_anything_is_played() {
    for flag in ["--json", "--told"] {
        let (code, said) = bots(&[flag, "/nowhere/at/all"]);
        assert_eq!(code, Some(2));
        assert!(said.contains("/nowhere/at/all: No such file") && !said.contains("127.0.0.1"), "{said}");
    }
    let (code, said) = bots(&[]);
    assert!(code == Some(2) && said.contains("127.0.0.1:1"), "otherwise the server is asked: {said}");
}
