//! The table of metrics that operators read: `server/deploy/METRICS.md` is written by this module.
//!
//! In: the declarations. Out: Markdown.
//! *Invariant:* nothing in the table is written by hand, so it cannot be out of date for longer than its test.
//! Start reading at [`markdown`].

use std::fmt::Write;

use super::Metrics;

/// The whole page.
pub fn markdown() -> String {
    let mut page = String::from(
        "# Metrics\n\n\
         What `GET /metrics` on the operations listener (setting `ops`) answers, as OpenMetrics text. Written from the \
         declarations in `server/src/telemetry*` by `astro-server metrics`; do not edit.\n\n\
         A histogram has `_bucket`, `_sum` and `_count` behind its name. Times are in seconds. A `shard` is a thread that \
         runs matches, numbered from 0; a `transport` is `udp`, `websocket` or, in tests, `memory`. A `route` is a \
         template such as `/v1/matches/{id}`; requests that match none are `unmatched`.\n\n\
         | name | kind | labels | meaning |\n|---|---|---|---|\n",
    );
    for row in Metrics::rows() {
        // Writing to a string never fails.
        let _ = writeln!(page, "| `{}` | {} | {} | {}. |", row.name, row.kind, row.labels.join(", "), row.help);
    }
    page
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_table_in_deploy_is_the_one_of_this_program() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/METRICS.md");
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::create_dir_all(concat!(env!("CARGO_MANIFEST_DIR"), "/deploy")).unwrap();
            std::fs::write(path, super::markdown()).unwrap();
        }
        let kept = std::fs::read_to_string(path).unwrap_or_default();
        assert!(kept == super::markdown(), "{path} is stale: UPDATE_GOLDEN=1 cargo test -p astro-server --lib table");
    }
}
