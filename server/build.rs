//! Tells the program which commit it was built from, for `/version`. Without git it says "unknown".

use std::process::Command;

fn main() {
    println!("cargo:rerun-if-env-changed=ASTRO_COMMIT");
    println!("cargo:rerun-if-changed=../.git/HEAD");
    println!("cargo:rerun-if-changed=../.git/logs/HEAD");
    if std::env::var_os("ASTRO_COMMIT").is_some() {
        return;
    }
    let asked = Command::new("git").args(["rev-parse", "--short=12", "HEAD"]).output();
    let commit = asked.ok().filter(|answer| answer.status.success()).map(|answer| answer.stdout);
    if let Some(commit) = commit.and_then(|bytes| String::from_utf8(bytes).ok()) {
        println!("cargo:rustc-env=ASTRO_COMMIT={}", commit.trim());
    }
}
