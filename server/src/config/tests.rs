//! Settings from every side: which layer wins, what is refused and how it is said, what is never shown.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;

use clap::Parser;

use super::layers::{Source, Way, is_foreign};
use super::production::SAMPLE_SECRET;
use super::values::{Kind, STARS};
use super::*;
use crate::store::tests::Folder;
use crate::telemetry::{Traces, log_filter};

/// What somebody starts the server with. `{folder}` in a text is a folder that exists.
#[derive(Default)]
struct Start {
    file: String,
    variables: Vec<(String, String)>,
    words: Vec<String>,
}

impl Start {
    fn words(words: &[&str]) -> Start {
        Start { words: words.iter().map(|word| (*word).to_owned()).collect(), ..Start::default() }
    }

    fn variable(name: &str, text: &str) -> Start {
        Start { variables: vec![(name.into(), text.into())], ..Start::default() }
    }

    fn file(file: &str) -> Start {
        Start { file: file.into(), ..Start::default() }
    }

    fn load_in(&self, folder: &Folder) -> Result<Loaded, String> {
        let filled = |text: &str| text.replace("{folder}", &folder.0.display().to_string());
        let path = folder.0.join("astro.toml");
        fs::write(&path, filled(&self.file)).unwrap();
        let words = ["astro-server".to_owned()].into_iter().chain(self.words.iter().map(|word| filled(word)));
        let arguments = Arguments::try_parse_from(words).map_err(|error| error.to_string())?;
        let variables = self.variables.iter().map(|(name, text)| (name.clone(), filled(text)));
        load(Some(&path), variables, arguments.flags).map_err(|error| error.to_string())
    }

    fn load(&self) -> Result<Loaded, String> {
        self.load_in(&Folder::new())
    }

    fn checked(&self) -> Result<Config, String> {
        let config = self.load()?.config;
        config.check().map(|()| config).map_err(|error| error.to_string())
    }
}

/// Three different texts that a setting takes, none of them its default.
fn samples(setting: &Setting) -> [String; 3] {
    let three = |texts: [&str; 3]| texts.map(str::to_owned);
    match (setting.kind, setting.value_name) {
        (Kind::Switch, _) if (setting.default)() == "true" => three(["false", "true", "false"]),
        (Kind::Switch, _) => three(["true", "false", "true"]),
        (Kind::Number, _) => {
            let least = setting.range.as_ref().map_or(0, |range| *range.start());
            let numbers = (least..).filter(|number| number.to_string() != (setting.default)()).take(3);
            numbers.map(|number| number.to_string()).collect::<Vec<_>>().try_into().unwrap()
        }
        (_, "ADDR:PORT" | "ADDR:FIRST_PORT") => three(["127.0.0.1:1", "127.0.0.1:2", "[::1]:3"]),
        (_, "ADDR") => three(["203.0.113.1", "203.0.113.2", "203.0.113.3"]),
        (_, "URL") => three(["http://a.example", "http://b.example", "https://c.example"]),
        (Kind::List, "ADDR[/BITS],...") => three(["10.0.0.0/8", "192.0.2.1,2001:db8::/32", "203.0.113.3"]),
        (Kind::List, "ORIGIN,...") => three(["*", "https://a.example,http://b.example:81", "https://c.example"]),
        (_, "latest|all") => three(["all", "latest", "all"]),
        (_, "DIR" | "KEY") => three(["one", "two", "three"]),
        (kind, name) => panic!("{}: give samples of {kind:?} called {name}", setting.name),
    }
}

/// A line of the file.
fn line(key: &str, text: &str, kind: Kind) -> String {
    match kind {
        Kind::Text => format!("{key} = \"{text}\"\n"),
        Kind::Number | Kind::Switch => format!("{key} = {text}\n"),
        Kind::List => format!("{key} = [\"{}\"]\n", text.replace(',', "\", \"")),
    }
}

/// The text that won, secrets included.
fn winner(loaded: &Loaded, setting: &Setting) -> String {
    loaded.layers.read::<Secret>(setting.name).unwrap().reveal().to_owned()
}

#[test]
fn every_setting_is_taken_from_the_strongest_layer_that_gives_it() {
    for setting in SETTINGS {
        let [in_file, in_environment, in_flag] = samples(setting);
        let mut start = Start::default();
        let loaded = start.load().unwrap();
        assert_eq!(
            (winner(&loaded, setting), loaded.layers.source(setting.name)),
            ((setting.default)(), Source::Default)
        );

        start.file = line(setting.name, &in_file, setting.kind);
        let loaded = start.load().unwrap();
        assert_eq!(winner(&loaded, setting), in_file, "{}", setting.name);
        assert!(matches!(loaded.layers.source(setting.name), Source::File { line: 1, .. }));

        let variable = setting.variable(Way::Value);
        start.variables = vec![(variable.clone(), in_environment.clone())];
        let loaded = start.load().unwrap();
        assert_eq!(winner(&loaded, setting), in_environment);
        assert_eq!(loaded.layers.source(setting.name), Source::Environment(variable));

        let Some(flag) = setting.flag(Way::Value) else { continue };
        start.words = vec![format!("--{flag}={in_flag}")];
        let loaded = start.load().unwrap();
        assert_eq!(winner(&loaded, setting), in_flag);
        assert_eq!(loaded.layers.source(setting.name), Source::Flag(flag));
    }
}

#[test]
fn what_print_config_prints_gives_the_same_settings_when_read_back() {
    let folder = Folder::new();
    let secrets = || SETTINGS.iter().filter(|setting| setting.secret);
    fs::write(folder.0.join("secret"), "in a file\n").unwrap();
    let from_file: String = secrets().map(|s| line(&s.key(Way::SecretFile), "{folder}/secret", Kind::Text)).collect();
    for sample in 0..3 {
        let others = SETTINGS.iter().filter(|setting| !setting.secret);
        let lines = others.map(|setting| line(setting.name, &samples(setting)[sample], setting.kind));
        let before = Start::file(&(lines.collect::<String>() + &from_file)).load_in(&folder).unwrap();
        let page = before.print();
        let after = Start::file(&page).load_in(&folder).unwrap_or_else(|error| panic!("{error}\n{page}"));
        assert_eq!(before.config, after.config, "{page}");
        assert_ne!(before.config, Start::default().load().unwrap().config);
    }
    let defaults = Start::default().load().unwrap();
    assert_eq!(Start::file(&defaults.print()).load().unwrap().config, defaults.config);
}

#[test]
fn print_config_says_where_each_value_came_from() {
    let mut start = Start::file("# a comment\nshards = 3\n");
    start.variables = vec![("ASTRO_DEMO".into(), "7".into()), ("ASTRO_DATA".into(), String::new())];
    start.words = vec!["--http".into(), "127.0.0.1:81".into()];
    let page = start.load().unwrap().print();
    for expected in [
        "http = \"127.0.0.1:81\"  # flag --http\n",
        "demo = 7  # environment variable ASTRO_DEMO\n",
        "data = \"./data\"  # default\n",
        "astro.toml, line 2\n",
        "# Threads that run matches.",
    ] {
        assert!(page.contains(expected), "{expected:?} is missing in\n{page}");
    }
}

#[test]
fn names_that_no_setting_has_are_refused_with_the_nearest_that_one_has() {
    for (start, place, nearest) in [
        (
            Start::file("shards = 1\npublic_ulr = \"x\"\n"),
            "astro.toml, line 2: there is no setting public_ulr",
            "public_url",
        ),
        (Start::file("[network]\nhttp = \"x\"\n"), "line 1: there is no setting network", ""),
        (Start::variable("ASTRO_SHARD", "1"), "environment: there is no setting ASTRO_SHARD;", "ASTRO_SHARDS"),
        (Start::variable("ASTRO_", ""), "environment: there is no setting ASTRO_", ""),
        (Start::words(&["--shard", "1"]), "unexpected argument '--shard'", "--shards"),
        (Start::words(&["--fleet-key", "x"]), "unexpected argument '--fleet-key'", "--fleet-key-file"),
    ] {
        let error = start.load().err().expect(place);
        assert!(error.contains(place) && error.contains(nearest), "{place}: {error}");
        assert_eq!(error.contains("did you mean") || error.contains("tip:"), !nearest.is_empty(), "{error}");
    }
}

#[test]
fn variables_of_others_that_look_like_ours_are_passed_over() {
    for (name, text) in [
        ("ASTRO_SERVER", "/bin/astro-server"),
        ("ASTRO_TEST_POSTGRES", "postgres://"),
        ("ASTRO_SERVICE_HOST", "10.0.0.1"),
        ("ASTRO_PORT", "tcp://10.0.0.1:80"),
        ("ASTRO_PARTY_PORT", "udp://10.0.0.1:80"),
        ("ASTRO_PARTY_PORT_80_TCP_PORT", "80"),
        ("ASTRO_PARTY_PORT_80_UDP_ADDR", "10.0.0.1"),
        ("OTHER", "x"),
    ] {
        assert!(Start::variable(name, text).load().is_ok(), "{name}");
    }
    for setting in SETTINGS {
        assert!(setting.ways().iter().all(|way| !is_foreign(&setting.variable(*way), "tcp://x")), "{}", setting.name);
    }
}

/// Broken by taking for somebody else's what an operator meant as a setting: he would never learn why it has no effect.
#[test]
fn a_port_alone_is_a_slip_and_not_somebody_elses_variable() {
    for name in ["ASTRO_HTTP_PORT", "ASTRO_UDP_PORT", "ASTRO_OPS_PORT"] {
        let error = Start::variable(name, "8080").load().err().expect(name);
        assert!(error.contains(&format!("there is no setting {name}")), "{error}");
    }
}

#[test]
fn variables_of_ours_must_be_text_and_others_need_not() {
    let odd = || OsStr::from_bytes(b"\xff").to_owned();
    let pair = |name: &str| (OsString::from(name), odd());
    let kept = as_text([pair("OTHER"), ("ASTRO_DEMO".into(), "1".into())]).unwrap();
    assert_eq!(kept, [("ASTRO_DEMO".to_owned(), "1".to_owned())]);
    let error = as_text([pair("ASTRO_FLEET_KEY")]).unwrap_err().to_string();
    assert_eq!(error, "environment: ASTRO_FLEET_KEY is not UTF-8");
    let name = OsStr::from_bytes(b"ASTRO_\xff").to_owned();
    assert!(as_text([(name, "x".into())]).unwrap_err().to_string().contains("ASTRO_\u{fffd}"));
}

/// Broken by giving up for good because a name service was not up yet.
#[test]
fn a_name_that_nobody_knows_is_no_wrong_setting() {
    // With an empty part in it no name service is asked.
    for words in [["--public-udp", "no..host"], ["--udp", "no..host:9000"], ["--ops", "no..host:9090"]] {
        let arguments = Arguments::try_parse_from(["astro-server"].into_iter().chain(words)).unwrap();
        let error = load(None, [], arguments.flags).err().expect(words[1]);
        assert!(matches!(&error, LayerError::Lookup { host, .. } if host == "no..host"), "{words:?}: {error}");
    }
    for words in [["--public-udp", "1.2.3.4:9000"], ["--udp", "9000"], ["--udp", "host:many"], ["--http", "a b:80"]] {
        let arguments = Arguments::try_parse_from(["astro-server"].into_iter().chain(words)).unwrap();
        let error = load(None, [], arguments.flags).err().expect(words[1]);
        assert!(matches!(&error, LayerError::Wrong { .. }), "{words:?}: {error}");
    }
}

#[test]
fn values_that_do_not_fit_name_the_setting_and_where_they_stand() {
    for (start, parts) in [
        (
            Start::file("\nshards = \"4\"\n"),
            &["astro.toml, line 2: shards takes a whole number, without quotes, not this string"][..],
        ),
        (Start::file("http = 8080"), &["line 1: http takes text in quotes, not this integer"]),
        (Start::file("production = 1"), &["production takes true or false, without quotes"]),
        (Start::file("shards = -1"), &["shards takes a whole number"]),
        (
            Start::file("shards = 0"),
            &["line 1: shards takes a whole number from 1 to 256, not \"0\"", "--shards, ASTRO_SHARDS"],
        ),
        (Start::file("shards = 1\nshards = 2"), &["line 2: duplicate key"]),
        (Start::file("http = \"x"), &["line 1: "]),
        (
            Start::variable("ASTRO_DEMO", "many"),
            &["variable ASTRO_DEMO: demo takes a whole number from 0 to 1000, not \"many\""],
        ),
        (Start::variable("ASTRO_PRODUCTION", "maybe"), &["production takes true or false, not \"maybe\""]),
        (
            Start::words(&["--http", "8080"]),
            &["flag --http: http takes ADDR:PORT, such as 127.0.0.1:8080, not \"8080\""],
        ),
        (Start::words(&["--public-url", "party.example"]), &["that begins with http://"]),
        (Start::words(&["--public-udp", "203.0.113.7:9000"]), &["without a port"]),
        (Start::file("origins = \"*\""), &["origins takes a list of texts in quotes"]),
        (Start::words(&["--origins", "https://a.example,b.example"]), &["origins takes an origin such as"]),
        (Start::words(&["--origins", "https://*.example"]), &["origins takes an origin such as"]),
        (Start::words(&["--snapshot-queue", "some"]), &["snapshot_queue takes latest or all"]),
        (Start::words(&["--data", ""]), &["data takes a path"]),
        (Start::words(&["--demo", "1", "--demo", "2"]), &["cannot be used multiple times"]),
        (Start::words(&["--demo", "1", "migrate"]), &["cannot be used with"]),
        (Start::words(&["replay", "verify"]), &["required arguments"]),
        (
            Start::words(&["--fleet-key-file", "{folder}/none"]),
            &["flag --fleet-key-file: cannot read the secret in", "No such file"],
        ),
        (Start::words(&["--fleet-key-file", "{folder}/astro.toml"]), &["it is empty"]),
        (
            Start::file("fleet_key = \"a\"\nfleet_key_file = \"b\""),
            &["line 2: fleet_key is given a second time", "ASTRO_FLEET_KEY_FILE"],
        ),
    ] {
        let error = start.load().err().unwrap_or_else(|| panic!("accepted: {parts:?}"));
        for part in parts {
            assert!(error.contains(part), "{part:?} is missing in: {error}");
        }
    }
}

#[test]
fn a_file_that_is_named_must_be_there() {
    let error = load(Some(Path::new("/nowhere/astro.toml")), [], Flags::default()).err().unwrap();
    assert!(error.to_string().starts_with("/nowhere/astro.toml: No such file"), "{error}");
    let named = [("ASTRO_CONFIG".to_owned(), "/nowhere/too.toml".to_owned())];
    let error = load(None, named, Flags::default()).err().unwrap();
    assert!(error.to_string().starts_with("/nowhere/too.toml"), "{error}");
}

#[test]
fn a_wildcard_needs_a_public_name() {
    let checked = |words: &[&str]| Start::words(words).checked();
    assert!(
        checked(&["--udp", "0.0.0.0:9000"]).unwrap_err().contains("set public_udp (--public-udp, ASTRO_PUBLIC_UDP")
    );
    assert!(checked(&["--http", "[::]:80"]).unwrap_err().contains("set public_url (--public-url"));
    let config = checked(&["--udp", "0.0.0.0:9000", "--public-udp", "203.0.113.7"]).unwrap();
    assert_eq!(config.public_ip(), Some("203.0.113.7".parse().unwrap()));
    let config = checked(&["--udp", "[::]:9000", "--public-udp", "[2001:db8::1]"]).unwrap();
    assert_eq!(config.public_ip(), Some("2001:db8::1".parse().unwrap()));
    let config = checked(&["--http", "0.0.0.0:80", "--public-url", "https://party.example/"]).unwrap();
    assert_eq!(config.public_url, Some(PublicUrl("https://party.example".into())));
    let error = checked(&["--udp", "0.0.0.0:9000", "--public-udp", "2001:db8::1"]).unwrap_err();
    assert!(error.contains("no address of the same kind"), "{error}");
}

#[test]
fn operators_are_answered_elsewhere_only_with_a_key() {
    let config = Start::default().checked().unwrap();
    assert_eq!(config.ops, Listen(Some(([127, 0, 0, 1], 9090).into())));
    assert_eq!(Start::words(&["--ops", "off"]).checked().unwrap().ops, Listen(None));
    assert!(Start::words(&["--ops", "[::1]:9090"]).checked().is_ok());
    for open in ["0.0.0.0:9090", "[::]:9090", "10.0.0.1:9090"] {
        let error = Start::words(&["--ops", open]).checked().unwrap_err();
        assert!(error.contains("can be reached from other machines") && error.contains("--ops-key-file"), "{error}");
        assert!(Start::file(&format!("ops = \"{open}\"\nops_key = \"anything\"")).checked().is_ok());
    }
    let dull = format!("production = true\nfleet_key = \"{GOOD_KEY}\"\nops_key = \"short\"");
    assert!(Start::file(&dull).checked().unwrap_err().contains("ops_key has less than 32 characters"));
}

const GOOD_KEY: &str = "0f1e2d3c4b5a69788796a5b4c3d2e1f0";

#[test]
fn production_mode_says_what_it_refuses() {
    let with_key = |key: &str| Start::file(&format!("production = true\nfleet_key = \"{key}\"")).checked();
    assert!(with_key(GOOD_KEY).is_ok());
    for (key, reason) in [
        ("", "fleet_key is not set: make one with"),
        (SAMPLE_SECRET, "fleet_key is the sample from .env.example"),
        (&GOOD_KEY[1..], "fleet_key has less than 32 characters"),
        ("abababababababababababababababababab", "fleet_key repeats a few characters"),
    ] {
        let error = with_key(key).unwrap_err();
        assert!(error.contains(reason) && error.contains("ASTRO_FLEET_KEY_FILE"), "{error}");
        assert!(key.is_empty() || !error.contains(key), "{error}");
        assert!(Start::file(&format!("fleet_key = \"{key}\"")).checked().is_ok(), "a desk may use any key");
    }
    let queueing = Start::file(&format!("production = true\nsnapshot_queue = \"all\"\nfleet_key = \"{GOOD_KEY}\""));
    assert!(queueing.checked().unwrap_err().contains("snapshot_queue = all lets players see what is old"));
    let with_load_test = Start::file(&format!("production = true\nload_test = true\nfleet_key = \"{GOOD_KEY}\""));
    let error = with_load_test.checked().unwrap_err();
    assert!(error.contains("load_test lifts the limits on single addresses"), "{error}");
    assert!(!error.contains("fleet_key"), "{error}");
    assert!(Start::words(&["--load-test"]).checked().unwrap().limits().load_test);
}

#[test]
fn production_mode_wants_pages_named() {
    let checked = |origins: &str| {
        Start::file(&format!("production = true\nfleet_key = \"{GOOD_KEY}\"\norigins = [\"{origins}\"]")).checked()
    };
    assert!(checked("*").unwrap_err().contains("origins = * lets any page play here"));
    assert!(checked("https://play.example/").is_ok());
}

#[test]
fn limits_are_those_of_the_settings() {
    let words = ["--trusted-proxies", "10.0.0.0/8,192.0.2.1", "--trusted-proxies", "::1", "--joins-per-second=7"];
    let limits = Start::words(&words).checked().unwrap().limits();
    let trusted: Vec<String> = limits.trusted_proxies.iter().map(ToString::to_string).collect();
    assert_eq!((trusted.join(" "), limits.joins_per_second), ("10.0.0.0/8 192.0.2.1 ::1".into(), 7));
    let config = Start::default().checked().unwrap();
    assert_eq!((config.limits(), config.shard_limits()), (Limits::default(), ShardLimits::default()));
    assert_eq!(config.socket_limits(), SocketLimits::default());
    let sockets = Start::words(&["--sockets-waiting-max=9", "--sockets-waiting-per-address=2"]);
    let per_address = |start: &Start| start.checked().unwrap().socket_limits().waiting_per_address_max;
    assert_eq!(per_address(&sockets), 2);
    assert_eq!(
        per_address(&Start::words(&["--sockets-waiting-max=9", "--load-test"])),
        9,
        "a load test comes from one"
    );
}

#[test]
fn a_secret_is_shown_nowhere() {
    const CANARY: &str = "canary-5f3a91c7e2";
    let folder = Folder::new();
    fs::write(folder.0.join("secret"), CANARY).unwrap();
    for secret in SETTINGS.iter().filter(|setting| setting.secret) {
        let ways = [
            Start::variable(&secret.variable(Way::Value), CANARY),
            Start::variable(&secret.variable(Way::SecretFile), "{folder}/secret"),
            Start::file(&line(secret.name, CANARY, Kind::Text)),
        ];
        for start in ways {
            let loaded = start.load_in(&folder).unwrap();
            assert_eq!(winner(&loaded, secret), CANARY);
            let page = loaded.print();
            assert!(page.contains(STARS) && !page.contains(CANARY), "{page}");
            assert!(!format!("{:?}", loaded.config).contains(CANARY));
        }
        // Broken files: the message may quote no line that could hold one.
        for broken in [format!("{} = \"{CANARY}", secret.name), format!("{} = {CANARY}", secret.name)] {
            let error = Start::file(&broken).load().err().unwrap();
            assert!(!error.contains(CANARY), "{error}");
        }
    }
}

/// What `.env.example` has to be.
fn env_example() -> String {
    let mut page = String::from(
        "# Environment variables that astro-server reads. All are optional; an empty one counts as not set.\n\
         # `astro-server --print-config` shows what is in force and where it came from.\n\
         # The same settings can stand in a TOML file (lower case, without ASTRO_) or be given as flags.\n\n\
         # TOML file with settings. Unless given, ./astro.toml is read when it is there.\nASTRO_CONFIG=\n\n\
         # Log filter, for instance: info,astro_server=debug\nRUST_LOG=\n\n\
         # Where traces go, for instance: http://127.0.0.1:4318. Without it there are none.\nOTEL_EXPORTER_OTLP_ENDPOINT=\n\n\
         # What the server is called there. Unless given, astro-server.\nOTEL_SERVICE_NAME=\n\n\
         # none, or true: no traces although there is an endpoint.\nOTEL_TRACES_EXPORTER=\nOTEL_SDK_DISABLED=\n",
    );
    for setting in SETTINGS {
        page += &format!("\n# {}\n", setting.help.trim());
        if setting.secret {
            page += &format!(
                "# {}={SAMPLE_SECRET}\n{}=\n",
                setting.variable(Way::Value),
                setting.variable(Way::SecretFile)
            );
        } else {
            page += &format!("{}=\n", setting.variable(Way::Value));
        }
    }
    page
}

#[test]
fn the_example_of_an_env_file_lists_every_setting() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.env.example");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&path, env_example()).unwrap();
    }
    assert_eq!(fs::read_to_string(path).unwrap(), env_example(), "UPDATE_GOLDEN=1 rewrites it");
    // It can be used as it stands.
    let lines = env_example().lines().filter(|line| !line.starts_with('#')).collect::<Vec<_>>().join("\n");
    let variables = lines.lines().filter_map(|line| line.split_once('=')).map(|(n, v)| (n.to_owned(), v.to_owned()));
    let variables: Vec<(String, String)> = variables.collect();
    let text = |name: &str| variables.iter().find(|(known, _)| known == name).map(|(_, text)| text.clone());
    assert_eq!(log_filter(text("RUST_LOG").as_deref()).0.to_string(), log_filter(None).0.to_string());
    assert!(text("OTEL_SERVICE_NAME").is_some() && Traces::from_environment(text).unwrap().is_none());
    let others = variables.iter().filter(|(name, _)| !name.starts_with("ASTRO_") && !name.starts_with("OTEL_"));
    assert_eq!(others.count(), 1, "whoever reads a further one must be asked here, too");
    let loaded = Start { variables: variables.clone(), ..Start::default() }.load().unwrap();
    assert_eq!(loaded.config, Start::default().load().unwrap().config);
}

#[test]
fn a_data_folder_has_one_server_at_a_time() {
    let folder = Folder::new();
    let first = DataFolder::open(&folder.0.join("new/data")).unwrap();
    let second = DataFolder::open(&folder.0.join("new/data"));
    assert!(matches!(second, Err(FolderError::InUse(_))));
    drop(first);
    assert!(DataFolder::open(&folder.0.join("new/data")).is_ok());
}

#[test]
fn the_fleet_key_is_made_once_and_must_stay_private() {
    let folder = Folder::new();
    let data = DataFolder::open(&folder.0).unwrap();
    let path = folder.0.join("keys/fleet.key");
    let key = data.fleet_key().unwrap();
    let text = fs::read_to_string(&path).unwrap();
    assert!(key.is(text.trim_end()) && !key.is(&text[1..]));
    assert_eq!(data.fleet_key().unwrap(), key);
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    assert!(matches!(data.fleet_key(), Err(FolderError::KeyOpen { mode: 0o640, .. })));
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(&path, "abc\n").unwrap();
    assert!(matches!(data.fleet_key(), Err(FolderError::KeyFormat { .. })));
}
