//! Promise: the house stands as drawn: who knows whom, what may be used where, how long things get.
//!
//! Every check is a function from sources or manifests to complaints; beside it stands a sample that it must complain about.

use std::collections::BTreeSet;

use astro_tests::sources::{self, Source, workspace};

/// Files over 600 lines and functions over 70, each with its reason: `(path, name or "", reason)`.
const LONG_FOR_A_REASON: &[(&str, &str, &str)] = &[];
const FILE_LINES_MAX: usize = 600;
const FUNCTION_LINES_MAX: usize = 70;

fn read(path: &str) -> String {
    std::fs::read_to_string(workspace().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn assert_none(complaints: Vec<String>) {
    assert!(complaints.is_empty(), "\n{}", complaints.join("\n"));
}

/// Asserts that `check` finds nothing in the project and something in `sample`, a file at `path`.
fn holds(check: impl Fn(&[Source]) -> Vec<String>, path: &str, sample: &str) {
    assert!(!check(&[Source::new(path, sample)]).is_empty(), "the check sees nothing wrong in {sample:?}");
    let sources = sources::all(&workspace());
    assert!(sources.len() > 30, "only {} files were read", sources.len());
    assert_none(check(&sources));
}

// ---- arrows between crates ----

/// The names in a table of a manifest.
fn dependencies<'a>(manifest: &'a str, table: &str) -> Vec<&'a str> {
    let header = format!("[{table}]");
    let lines = manifest.lines().skip_while(|line| line.trim() != header).skip(1);
    let lines = lines.take_while(|line| !line.trim_start().starts_with('['));
    let names = lines.filter(|line| line.contains('=') && !line.trim_start().starts_with('#'));
    names.filter_map(|line| line.split(['.', '=', ' ']).next()).filter(|name| !name.is_empty()).collect()
}

/// The workspace's crates, by folder.
const MEMBERS: [&str; 6] = ["shared", "server", "client", "tests", "tests/balance", "tests/recorded"];

/// Crates of the house that a crate may know.
fn may_know(member: &str) -> &'static [&'static str] {
    match member {
        "server" | "client" => &["astro-shared"],
        "tests" => &["astro-shared", "astro-server", "astro-client", "astro-recorded"],
        "tests/balance" | "tests/recorded" => &["astro-shared"],
        _ => &[],
    }
}

fn wrong_dependencies(member: &str, manifest: &str) -> Vec<String> {
    let tables = ["dependencies", "dev-dependencies", "build-dependencies"];
    let names = tables.iter().flat_map(|table| dependencies(manifest, table));
    let wrong = names.filter(|name| name.starts_with("astro-") && !may_know(member).contains(name));
    wrong.map(|name| format!("{member}/Cargo.toml depends on {name}")).collect()
}

#[test]
fn manifests_point_only_toward_shared() {
    let turned = "[dependencies]\nastro-shared.workspace = true\nastro-server = { path = \"../server\" }\n";
    assert_eq!(wrong_dependencies("client", turned), ["client/Cargo.toml depends on astro-server"]);
    let hidden = "[dependencies]\n[dev-dependencies]\nastro-client.workspace = true\n";
    assert_eq!(wrong_dependencies("server", hidden).len(), 1);
    for member in MEMBERS {
        assert_none(wrong_dependencies(member, &read(&format!("{member}/Cargo.toml"))));
    }
}

/// The crate that a file belongs to: the deepest member above it.
fn member_of(path: &str) -> &'static str {
    let above =
        MEMBERS.into_iter().filter(|member| path.strip_prefix(member).is_some_and(|rest| rest.starts_with('/')));
    above.max_by_key(|member| member.len()).unwrap_or_default()
}

fn crates_that_should_not_meet(sources: &[Source]) -> Vec<String> {
    let mut complaints = Vec::new();
    for source in sources {
        let member = member_of(&source.path);
        for name in ["astro_shared", "astro_server", "astro_client", "astro_tests", "astro_balance", "astro_recorded"] {
            let own = name == format!("astro_{}", member.rsplit('/').next().unwrap_or_default());
            let known = may_know(member).contains(&name.replace('_', "-").as_str());
            if !own && !known && source.names_crate(name) {
                complaints.push(format!("{} names {name}", source.path));
            }
        }
    }
    complaints
}

#[test]
fn server_and_client_never_see_each_other_and_shared_sees_neither() {
    assert!(!crates_that_should_not_meet(&[Source::new("shared/src/x.rs", "use astro_server as s;")]).is_empty());
    holds(crates_that_should_not_meet, "client/src/x.rs", "fn f() { astro_server::host::start(); }");
    holds(crates_that_should_not_meet, "tests/recorded/src/x.rs", "use astro_tests::pilots::Fleet;");
}

// ---- arrows between modules ----

/// Which modules of its own crate each module may use, with all that is in them. A module that is not listed is free.
const MODULES: &[(&str, &str, &[&str])] = &[
    ("shared", "sim", &["sim"]),
    ("shared", "assets", &["assets", "sim"]),
    ("shared", "wire", &["assets", "sim", "wire"]),
    ("shared", "replay", &["replay", "sim"]),
    ("shared", "api", &["api", "sim"]),
    ("shared", "link", &["link"]),
    (
        "server",
        "api",
        &["api", "assets", "directory", "hosts", "records", "store", "telemetry", "transport::websocket"],
    ),
    ("server", "host", &["directory", "host", "hosts", "priority", "records", "telemetry", "threads", "transport"]),
    ("server", "transport", &["telemetry", "transport"]),
    ("server", "store", &["hosts", "records", "store"]),
    ("server", "directory", &["directory", "hosts"]),
    // It holds the limits of those who own them; nobody but the program itself knows it.
    ("server", "config", &["api", "config", "host", "top", "transport"]),
    ("client", "net", &["net"]),
    ("client", "session", &["session"]),
    ("client", "brain", &["brain", "session"]),
    ("client", "render", &["render", "session"]),
    ("client", "ui", &["session", "ui"]),
];

fn turned_module_arrows(sources: &[Source]) -> Vec<String> {
    let mut complaints = Vec::new();
    for source in sources {
        let module = source.module();
        let in_crate = |member: &str| source.path.starts_with(&format!("{member}/src/"));
        let rule =
            MODULES.iter().find(|(member, name, _)| in_crate(member) && module.first().is_some_and(|m| m == name));
        // A module's tests may know everything, like all tests.
        let is_test = module.iter().any(|part| part == "tests");
        let Some((_, _, allowed)) = rule.filter(|_| !is_test) else { continue };
        for path in source.paths_from("crate") {
            let top = path.split("::").next().unwrap_or_default();
            // A type or function of the crate's root is no module.
            let is_module = top.chars().next().is_some_and(|c| c.is_lowercase());
            let is_allowed =
                |may: &str| path == may || path.strip_prefix(may).is_some_and(|rest| rest.starts_with("::"));
            if is_module && !allowed.iter().any(|may| is_allowed(may)) {
                complaints.push(format!("{} uses crate::{path}", source.path));
            }
        }
    }
    complaints
}

#[test]
fn modules_use_only_those_they_may_know() {
    for (path, sample) in [
        ("shared/src/sim/combat.rs", "use crate::wire::bits::BitWriter;"),
        ("shared/src/sim/modes/mod.rs", "use super::super::replay::Replay;"),
        ("shared/src/sim/state.rs", "fn f() { crate::api::hex(1); }"),
        ("shared/src/wire/mod.rs", "use crate::{replay, sim};"),
        ("server/src/api/ops.rs", "use crate::host::shard::ShardStatus;"),
        ("server/src/api/mod.rs", "use super::transport::udp;"),
        ("server/src/host/record.rs", "use crate::store::Store;"),
        ("server/src/transport/udp.rs", "use crate::{host, transport};"),
        ("client/src/render/mod.rs", "use crate::net::Socket;"),
    ] {
        holds(turned_module_arrows, path, sample);
    }
}

// ---- what may be used where ----

/// Crates that only some places may name: `(crate, places)`.
const ONLY_IN: &[(&str, &[&str])] = &[
    ("bincode", &["shared/src/wire/codec.rs"]),
    ("sqlx", &["server/src/store/", "tests/"]),
    ("axum", &["server/src/api/", "tests/"]),
    ("hyper", &["server/src/api/", "tests/"]),
    ("renetcode", &["server/src/transport/", "server/src/host/mod.rs", "client/src/", "tests/"]),
    ("bevy_renet", &["server/src/host/", "tests/"]),
    ("toml", &["server/src/config/", "tests/"]),
    ("prometheus_client", &["server/src/telemetry", "tests/"]),
    ("opentelemetry", &["server/src/telemetry/"]),
    ("opentelemetry_sdk", &["server/src/telemetry/"]),
    ("opentelemetry_otlp", &["server/src/telemetry/"]),
    ("ureq", &["server/src/telemetry/", "server/src/top/", "client/src/", "tests/"]),
    ("quinn_udp", &["server/src/transport/", "client/src/net/", "tests/"]),
];

fn crates_out_of_place(sources: &[Source]) -> Vec<String> {
    let mut complaints = Vec::new();
    for source in sources {
        for (name, places) in ONLY_IN {
            if source.names_crate(name) && !places.iter().any(|place| source.path.starts_with(place)) {
                complaints.push(format!("{} names {name}, which belongs into {places:?}", source.path));
            }
        }
    }
    complaints
}

#[test]
fn crates_that_have_one_home_are_named_nowhere_else() {
    for (path, sample) in [
        ("shared/src/wire/message.rs", "use bincode::config;"),
        ("tests/tests/x.rs", "fn f() { bincode::serde::encode_to_vec(1, c); }"),
        ("server/src/host/spool.rs", "use sqlx::SqlitePool;"),
        ("server/src/host/mod.rs", "fn f(r: axum::Router) {}"),
        ("server/src/api/mod.rs", "use renetcode::NetcodeServer;"),
    ] {
        holds(crates_out_of_place, path, sample);
    }
    let manifests = MEMBERS.map(|member| (member, read(&format!("{member}/Cargo.toml"))));
    let with_codec: Vec<&str> = manifests
        .iter()
        .filter(|(_, manifest)| dependencies(manifest, "dependencies").contains(&"bincode"))
        .map(|(member, _)| *member)
        .collect();
    assert_eq!(with_codec, ["shared"]);
}

fn impurities_of_shared(sources: &[Source]) -> Vec<String> {
    let mut complaints = Vec::new();
    for source in sources.iter().filter(|source| source.path.starts_with("shared/src/")) {
        for path in source.paths_from("std") {
            let top = path.split("::").next().unwrap_or_default();
            if ["time", "net", "fs", "thread", "env", "process", "io"].contains(&top) {
                complaints.push(format!("{} uses std::{path}", source.path));
            }
        }
        for name in ["tokio", "rand", "mio", "socket2"] {
            if source.names_crate(name) {
                complaints.push(format!("{} names {name}", source.path));
            }
        }
        // Thread locals and statics that change are state that no save, hash or world knows.
        for word in ["thread_local", "static mut", "OnceLock", "LazyLock", "AtomicU", "Mutex"] {
            if source.code.contains(word) {
                complaints.push(format!("{} has a global: {word}", source.path));
            }
        }
    }
    complaints
}

#[test]
fn shared_has_no_clock_socket_file_thread_or_global() {
    for sample in [
        "use std::time::Duration;",
        "use std::{fmt, net};",
        "fn f() { std::fs::read(\"x\"); }",
        "fn f() { std::thread::spawn(g); }",
        "use tokio::time;",
        "static LAST: Mutex<u8> = Mutex::new(0);",
    ] {
        holds(impurities_of_shared, "shared/src/sim/x.rs", sample);
    }
}

// ---- lints ----

fn lints_missing(workspace_manifest: &str, members: &[(String, String)]) -> Vec<String> {
    let mut complaints = Vec::new();
    let rust_lints = dependencies(workspace_manifest, "workspace.lints.rust");
    if !rust_lints.contains(&"unsafe_code") || !workspace_manifest.contains("unsafe_code = \"forbid\"") {
        complaints.push("the workspace does not forbid unsafe code".into());
    }
    for (name, manifest) in members {
        let inherits =
            manifest.split("[lints]").nth(1).is_some_and(|rest| rest.trim_start().starts_with("workspace = true"));
        if !inherits {
            complaints.push(format!("{name} does not inherit the workspace's lints"));
        }
    }
    complaints
}

#[test]
fn unsafe_code_is_forbidden_and_every_member_inherits_that() {
    let good = "[workspace.lints.rust]\nunsafe_code = \"forbid\"\n";
    let deaf = vec![("deaf".to_owned(), "[package]\nname = \"deaf\"\n".to_owned())];
    assert_eq!(lints_missing(good, &deaf).len(), 1);
    assert_eq!(lints_missing("[workspace.lints.rust]\nunsafe_code = \"warn\"\n", &[]).len(), 1);
    let root = read("Cargo.toml");
    let line = root.lines().find(|line| line.starts_with("members")).expect("the workspace lists its members");
    let names: Vec<&str> = line.split('"').skip(1).step_by(2).collect();
    assert_eq!(names, MEMBERS);
    // One crate names exports of a wasm32 module; what is unsafe in it is seen below.
    let inherit = names.iter().filter(|name| **name != "tests/recorded");
    let members: Vec<_> = inherit.map(|name| (name.to_string(), read(&format!("{name}/Cargo.toml")))).collect();
    assert_none(lints_missing(&root, &members));
    assert!(read("tests/recorded/Cargo.toml").contains("unsafe_code = \"deny\""));
}

fn unsafe_words(sources: &[Source]) -> Vec<String> {
    let mut complaints = Vec::new();
    for source in sources {
        let excused = if source.path == "tests/recorded/src/exports.rs" { "unsafe(no_mangle)" } else { "no excuse" };
        let code = source.code.replace(excused, "");
        if ["unsafe {", "unsafe(", "unsafe fn ", "unsafe impl ", "unsafe extern "]
            .iter()
            .any(|word| code.contains(word))
        {
            complaints.push(format!("{} has unsafe code", source.path));
        }
    }
    complaints
}

#[test]
fn the_only_unsafe_words_are_the_names_of_three_exports() {
    holds(unsafe_words, "shared/src/x.rs", "#[unsafe(no_mangle)] fn f() {}");
    holds(unsafe_words, "tests/recorded/src/exports.rs", "#[unsafe(no_mangle)] fn f() { unsafe { g() } }");
}

// ---- lengths ----

fn too_long(sources: &[Source]) -> Vec<String> {
    let mut complaints = Vec::new();
    let excused = |path: &str, name: &str| LONG_FOR_A_REASON.iter().any(|(p, n, _)| *p == path && *n == name);
    for source in sources {
        let lines = source.text.lines().count();
        if lines > FILE_LINES_MAX && !excused(&source.path, "") {
            complaints.push(format!("{} has {lines} lines, over {FILE_LINES_MAX} wants a reason", source.path));
        }
        for (name, line, length) in source.functions() {
            if length > FUNCTION_LINES_MAX && !excused(&source.path, &name) {
                complaints.push(format!(
                    "{}:{line}: `{name}` has {length} lines, over {FUNCTION_LINES_MAX} wants a reason",
                    source.path
                ));
            }
        }
    }
    complaints
}

#[test]
fn long_files_and_functions_have_a_reason() {
    let long_function = format!("fn long() {{\n{}}}\n", "    step();\n".repeat(70));
    holds(too_long, "shared/src/x.rs", &long_function);
    holds(too_long, "shared/src/x.rs", &"// line\n".repeat(601));
    let sources = sources::all(&workspace());
    for (path, name, reason) in LONG_FOR_A_REASON {
        assert!(reason.len() > 20, "{path} {name}: a reason is a sentence");
        let source = sources.iter().find(|source| source.path == *path);
        assert!(
            source.is_some_and(|s| name.is_empty() || s.functions().iter().any(|f| f.0 == *name)),
            "{path} {name} is gone"
        );
    }
}

fn without_short_answers(sources: &[Source]) -> Vec<String> {
    let ours = sources.iter().filter(|source| !source.path.ends_with("main.rs"));
    let silent = ours.filter(|source| !source.text.starts_with("//! "));
    silent.map(|source| format!("{} does not say what it is", source.path)).collect()
}

#[test]
fn every_module_opens_by_saying_what_it_is() {
    holds(without_short_answers, "shared/src/x.rs", "use std::fmt;\n");
}

// ---- top level ----

const TOP_LEVEL: [&str; 8] = ["Cargo.toml", "server", "client", "shared", "assets", "migrations", "tests", "README.md"];
/// Plain files that projects have. PROTOCOL.md is for people who write clients and read no Rust: they look here.
const PLAIN_FILES: [&str; 9] = [
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    "PROTOCOL.md",
    "LICENSE-MIT",
    "LICENSE-APACHE",
    "deny.toml",
    "rust-toolchain.toml",
    "rustfmt.toml",
    "Cargo.lock",
];

fn wrong_at_top_level(names: &BTreeSet<String>, ignored: &str) -> Vec<String> {
    let mut complaints: Vec<String> =
        TOP_LEVEL.iter().filter(|name| !names.contains(**name)).map(|name| format!("{name} is missing")).collect();
    let is_ignored = |name: &str| {
        ignored.lines().any(|line| {
            line.trim_start_matches('/') == name || line.strip_prefix('*').is_some_and(|end| name.ends_with(end))
        })
    };
    for name in names {
        let known = TOP_LEVEL.contains(&name.as_str()) || PLAIN_FILES.contains(&name.as_str()) || name.starts_with('.');
        if !known && !is_ignored(name) {
            complaints.push(format!("{name} does not belong to the top level"));
        }
    }
    complaints
}

#[test]
fn the_top_level_holds_what_the_house_lists_and_nothing_else() {
    let whole: BTreeSet<String> = TOP_LEVEL.iter().map(|name| name.to_string()).collect();
    assert!(wrong_at_top_level(&whole, "").is_empty());
    let mut more = whole.clone();
    more.insert("scripts".into());
    assert_eq!(wrong_at_top_level(&more, "/target\n").len(), 1);
    let mut fewer = whole.clone();
    fewer.remove("assets");
    assert_eq!(wrong_at_top_level(&fewer, "").len(), 1);
    let entries = std::fs::read_dir(workspace()).expect("the workspace");
    let names = entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect();
    assert_none(wrong_at_top_level(&names, &read(".gitignore")));
}
