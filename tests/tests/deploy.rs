//! Promise: what `server/deploy` shows and alarms about exists: every metric in its queries is one that the server declares.
//!
//! Syntax is checked by `tests/deploy` with Prometheus' and systemd's own tools.

use std::collections::BTreeSet;

use astro_tests::sources::workspace;

fn read(path: &str) -> String {
    std::fs::read_to_string(workspace().join("server/deploy").join(path))
        .unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Words that begin with `astro_`, without the suffixes that a histogram's series have.
fn metrics_in(text: &str) -> BTreeSet<&str> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let names = words.filter(|word| word.starts_with("astro_"));
    names
        .map(|name| ["_bucket", "_count"].iter().find_map(|suffix| name.strip_suffix(suffix)).unwrap_or(name))
        .collect()
}

/// Names in the first column of the table.
fn declared(table: &str) -> BTreeSet<&str> {
    table.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()).collect()
}

/// Broken by renaming a metric, or by a query for one that was planned.
#[test]
fn dashboard_and_alerts_ask_for_metrics_that_exist() {
    let table = read("METRICS.md");
    let declared = declared(&table);
    assert!(declared.len() > 30, "only {} metrics are declared", declared.len());
    for path in ["alerts.yml", "alerts.test.yml", "grafana/astro.json"] {
        let text = read(path);
        let asked = metrics_in(&text);
        assert!(asked.len() >= 5, "{path} asks for {asked:?} only");
        let unknown: Vec<&&str> = asked.difference(&declared).collect();
        assert!(unknown.is_empty(), "{path} asks for {unknown:?}");
    }
}

/// The unit tries again what passes by itself, without end, and nothing else.
#[test]
fn systemd_tries_again_for_as_long_as_it_takes() {
    let unit = read("astro-server.service");
    for line in ["StartLimitIntervalSec=0", "Restart=on-failure", "RestartSec=5", "RestartPreventExitStatus=2"] {
        assert!(unit.lines().any(|own| own == line), "{line}");
    }
}

#[test]
fn a_stop_by_systemd_or_compose_may_take_longer_than_matches_may() {
    let seconds = |text: &str, key: &str| {
        let line = text.lines().find_map(|line| line.trim().strip_prefix(key)).expect("the key");
        line.trim().trim_end_matches('s').parse::<u64>().expect("seconds")
    };
    const DRAIN_SECONDS: u64 = 300;
    assert!(seconds(&read("astro-server.service"), "TimeoutStopSec=") > DRAIN_SECONDS);
    assert!(seconds(&read("compose.yml"), "stop_grace_period:") > DRAIN_SECONDS);
}
