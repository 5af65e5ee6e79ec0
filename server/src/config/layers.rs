//! Where settings come from: defaults < file < environment < flags, and which of them won.
//!
//! In: the table of settings, the text of a TOML file, environment variables, flags. Out: one text per setting, with its source.
//! *Invariant:* a name that no setting has is refused, with the nearest name that one has.
//! *Invariant:* no message shows the value of a secret, nor a line of the file, which might hold one.
//! Start reading at [`Layers`]; the names of a setting are made in [`Setting`].

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs;
use std::io;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::values::{Kind, Misfit, STARS};
use super::{SETTINGS, Value};

/// What environment variables of ours begin with.
const PREFIX: &str = "ASTRO_";
/// Names the file; not a setting, since it cannot stand in the file.
pub const FILE_VARIABLE: &str = "ASTRO_CONFIG";
/// Variables of the build and the tests. Tests start servers, which must not mind them.
const NOT_OURS: [&str; 6] =
    ["ASTRO_BOTS", "ASTRO_COMMIT", "ASTRO_SEED", "ASTRO_SERVER", "ASTRO_TARGET_DIR", "ASTRO_TEST_"];
/// How like a known name an unknown one must be to be taken for a slip: at most 4 letters of 10 are wrong.
const LIKENESS_MIN: f64 = 0.6;

/// One setting, as declared in the table.
pub struct Setting {
    pub section: &'static str,
    /// The key in the file.
    pub name: &'static str,
    pub help: &'static str,
    /// What stands for the value in the help.
    pub value_name: &'static str,
    pub kind: Kind,
    pub secret: bool,
    /// May depend on the machine.
    pub default: fn() -> String,
    pub range: Option<RangeInclusive<u64>>,
}

/// One of the names of a setting: a secret has a second one, for a file that holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    Value,
    SecretFile,
}

impl Setting {
    /// The ways to give it.
    pub fn ways(&self) -> &'static [Way] {
        if self.secret { &[Way::Value, Way::SecretFile] } else { &[Way::Value] }
    }

    /// In the file.
    pub fn key(&self, way: Way) -> String {
        format!("{}{}", self.name, if way == Way::SecretFile { "_file" } else { "" })
    }

    /// In the environment.
    pub fn variable(&self, way: Way) -> String {
        format!("{PREFIX}{}", self.key(way).to_uppercase())
    }

    /// On the command line, without the dashes before it. A secret has none: everybody on a machine can read command lines.
    pub fn flag(&self, way: Way) -> Option<String> {
        (!self.secret || way == Way::SecretFile).then(|| self.key(way).replace('_', "-"))
    }

    /// Every name it has, for a message.
    pub fn names(&self) -> String {
        let names = |&way: &Way| {
            let flag = self.flag(way).map(|flag| format!("--{flag}, ")).unwrap_or_default();
            format!("{flag}{}, {} in the file", self.variable(way), self.key(way))
        };
        self.ways().iter().map(names).collect::<Vec<_>>().join("; ")
    }
}

/// The setting that has this name, and which of its names it is.
fn named(name: &str, name_of: impl Fn(&Setting, Way) -> String) -> Option<(&'static Setting, Way)> {
    let mut ways = SETTINGS.iter().flat_map(|setting| setting.ways().iter().map(move |way| (setting, *way)));
    ways.find(|(setting, way)| name_of(setting, *way) == name)
}

/// Where a value was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    Default,
    File { path: PathBuf, line: usize },
    Environment(String),
    Flag(String),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Default => f.write_str("default"),
            Source::File { path, line } => write!(f, "{}, line {line}", path.display()),
            Source::Environment(name) => write!(f, "environment variable {name}"),
            Source::Flag(name) => write!(f, "flag --{name}"),
        }
    }
}

/// Settings that cannot be read; one line for whoever started the program.
#[derive(Debug, thiserror::Error)]
pub enum LayerError {
    #[error("{place}: there is no setting {name}{}", did_you_mean(nearest))]
    Unknown { place: String, name: String, nearest: Option<String> },
    #[error("{place}: {name} takes {expected}, not {found} ({names})")]
    Wrong { place: Source, name: &'static str, expected: String, found: String, names: String },
    #[error("{place}: {name} is given a second time ({names})")]
    Twice { place: Source, name: &'static str, names: String },
    #[error("{path}: {source}")]
    File { path: PathBuf, source: io::Error },
    #[error("{path}, line {line}: {message}")]
    Toml { path: PathBuf, line: usize, message: String },
    #[error("{place}: cannot read the secret in {path}: {source}")]
    SecretFile { place: Source, path: PathBuf, source: io::Error },
    #[error("environment: {0} is not UTF-8")]
    NotText(String),
    /// Nothing that the settings could mend: another try may well succeed.
    #[error("{place}: {name}: cannot look up {host:?}: {source}")]
    Lookup { place: Source, name: &'static str, host: String, source: io::Error },
}

/// The variables of this process as text.
///
/// # Errors
/// When one of ours is none; others do not matter.
pub fn as_text(variables: impl IntoIterator<Item = (OsString, OsString)>) -> Result<Vec<(String, String)>, LayerError> {
    let ours = |name: &OsStr| name.as_encoded_bytes().starts_with(PREFIX.as_bytes());
    let text = |(name, value): (OsString, OsString)| match (name.to_str(), value.to_str()) {
        (Some(name), Some(value)) => Some(Ok((name.to_owned(), value.to_owned()))),
        _ if ours(&name) => Some(Err(LayerError::NotText(name.to_string_lossy().into_owned()))),
        _ => None,
    };
    variables.into_iter().filter_map(text).collect()
}

fn did_you_mean(nearest: &Option<String>) -> String {
    nearest.as_ref().map(|name| format!("; did you mean {name}?")).unwrap_or_default()
}

/// What one layer says about a setting.
struct Given {
    way: Way,
    text: String,
    source: Source,
}

/// What was given for every setting, the strongest layer only.
pub struct Layers {
    given: BTreeMap<&'static str, Given>,
}

impl Layers {
    /// Every setting as it is when nobody says anything.
    pub fn defaults() -> Layers {
        let default = |setting: &Setting| Given { way: Way::Value, text: (setting.default)(), source: Source::Default };
        Layers { given: SETTINGS.iter().map(|setting| (setting.name, default(setting))).collect() }
    }

    /// Puts a value over what weaker layers say.
    fn put(&mut self, setting: &'static Setting, way: Way, text: String, source: Source) -> Result<(), LayerError> {
        let before = self.given.insert(setting.name, Given { way, text, source: source.clone() });
        let same_layer = |before: &Given| std::mem::discriminant(&before.source) == std::mem::discriminant(&source);
        if before.is_some_and(|before| same_layer(&before)) {
            return Err(LayerError::Twice { place: source, name: setting.name, names: setting.names() });
        }
        Ok(())
    }

    /// Lays a TOML file over the defaults.
    ///
    /// # Errors
    /// When it cannot be read, is not TOML, or has a key that no setting has.
    pub fn file(&mut self, path: &Path) -> Result<(), LayerError> {
        let text = fs::read_to_string(path).map_err(|source| LayerError::File { path: path.into(), source })?;
        let line = |at: usize| text.bytes().take(at).filter(|byte| *byte == b'\n').count() + 1;
        let table = DeTable::parse(&text).map_err(|error| LayerError::Toml {
            path: path.into(),
            line: line(error.span().map_or(0, |span| span.start)),
            message: error.message().to_owned(),
        })?;
        for (key, value) in table.get_ref() {
            let source = Source::File { path: path.into(), line: line(key.span().start) };
            let Some((setting, way)) = named(key.get_ref(), Setting::key) else {
                return Err(unknown(source.to_string(), key.get_ref(), Setting::key));
            };
            let text = text_of(value, if way == Way::SecretFile { Kind::Text } else { setting.kind });
            match text {
                Some(text) => self.put(setting, way, text, source)?,
                None => return Err(wrong_kind(setting, value.get_ref(), source)),
            }
        }
        Ok(())
    }

    /// Lays environment variables over the file. Empty ones count as absent: that is how env files and compose files
    /// say "not set".
    ///
    /// # Errors
    /// When one that begins with `ASTRO_` belongs to no setting.
    pub fn environment(&mut self, variables: impl IntoIterator<Item = (String, String)>) -> Result<(), LayerError> {
        for (name, text) in variables {
            if !name.starts_with(PREFIX) || name == FILE_VARIABLE || is_foreign(&name, &text) {
                continue;
            }
            let Some((setting, way)) = named(&name, Setting::variable) else {
                return Err(unknown("environment".into(), &name, Setting::variable));
            };
            if !text.is_empty() {
                self.put(setting, way, text, Source::Environment(name))?;
            }
        }
        Ok(())
    }

    /// Lays a flag over everything.
    ///
    /// # Errors
    /// When no setting has this flag.
    pub fn flag(&mut self, flag: String, text: String) -> Result<(), LayerError> {
        let name_of = |setting: &Setting, way| setting.flag(way).unwrap_or_default();
        let Some((setting, way)) = named(&flag, name_of) else {
            return Err(unknown("command line".into(), &flag, name_of));
        };
        self.put(setting, way, text, Source::Flag(flag))
    }

    /// The value of a setting in its own type.
    ///
    /// # Errors
    /// What was expected where, and every name of the setting.
    pub fn read<T: Value>(&self, name: &str) -> Result<T, LayerError> {
        let (Some((setting, _)), Some(given)) = (named(name, Setting::key), self.given.get(name)) else {
            return Err(unknown("program".into(), name, Setting::key));
        };
        let text = given.resolve()?;
        let parsed = match &setting.range {
            Some(range) if !text.is_empty() && !text.parse().is_ok_and(|number| range.contains(&number)) => {
                Err(format!("a whole number from {} to {}", range.start(), range.end()).into())
            }
            _ => T::parse(&text),
        };
        parsed.map_err(|misfit| given.wrong(setting, misfit))
    }

    /// Where the value of a setting comes from.
    pub fn source(&self, name: &str) -> Source {
        self.given.get(name).map_or(Source::Default, |given| given.source.clone())
    }

    /// The file that holds the secret, when it comes from one.
    pub fn secret_file(&self, name: &str) -> Option<&str> {
        self.given.get(name).filter(|given| given.way == Way::SecretFile).map(|given| given.text.as_str())
    }
}

impl Given {
    fn wrong(&self, setting: &Setting, misfit: Misfit) -> LayerError {
        let (place, name) = (self.source.clone(), setting.name);
        match misfit {
            Misfit::Unknown { host, source } => LayerError::Lookup { place, name, host, source },
            Misfit::Expected(expected) => {
                let found = if setting.secret { STARS.into() } else { format!("{:?}", self.text) };
                LayerError::Wrong { place, name, expected, found, names: setting.names() }
            }
        }
    }

    /// The text of the value, read from its file when it is a secret that has one.
    fn resolve(&self) -> Result<String, LayerError> {
        if self.way == Way::Value {
            return Ok(self.text.clone());
        }
        let failed =
            |source| LayerError::SecretFile { place: self.source.clone(), path: self.text.clone().into(), source };
        let secret = fs::read_to_string(&self.text).map_err(failed)?;
        let secret = secret.trim_end();
        if secret.is_empty() { Err(failed(io::Error::other("it is empty"))) } else { Ok(secret.to_owned()) }
    }
}

/// A value of the file as text, when it is of the right kind.
fn text_of(value: &Spanned<DeValue<'_>>, kind: Kind) -> Option<String> {
    match (kind, value.get_ref()) {
        (Kind::Text, DeValue::String(text)) => Some(text.to_string()),
        (Kind::Number, DeValue::Integer(number)) => {
            Some(u64::from_str_radix(number.as_str(), number.radix()).ok()?.to_string())
        }
        (Kind::Switch, DeValue::Boolean(switch)) => Some(switch.to_string()),
        (Kind::List, DeValue::Array(list)) => {
            let texts: Option<Vec<String>> = list.iter().map(|item| text_of(item, Kind::Text)).collect();
            texts.map(|texts| texts.join(","))
        }
        _ => None,
    }
}

fn wrong_kind(setting: &Setting, value: &DeValue<'_>, place: Source) -> LayerError {
    let expected = match setting.kind {
        Kind::Text => "text in quotes",
        Kind::Number => "a whole number, without quotes",
        Kind::Switch => "true or false, without quotes",
        Kind::List => "a list of texts in quotes",
    };
    let (expected, found) = (expected.to_owned(), format!("this {}", value.type_str()));
    LayerError::Wrong { place, name: setting.name, expected, found, names: setting.names() }
}

fn unknown(place: String, name: &str, name_of: impl Fn(&Setting, Way) -> String) -> LayerError {
    // What all names have in common says nothing about which of them was meant.
    let own = |name: &str| name.trim_start_matches(PREFIX).to_lowercase();
    let ways = SETTINGS.iter().flat_map(|setting| setting.ways().iter().map(move |way| (setting, *way)));
    let scored = ways.map(|(setting, way)| name_of(setting, way)).map(|known| {
        let likeness = strsim::normalized_damerau_levenshtein(&own(name), &own(&known));
        (likeness, known)
    });
    let nearest = scored.max_by(|(one, _), (other, _)| one.total_cmp(other));
    let nearest = nearest.filter(|(likeness, _)| *likeness >= LIKENESS_MIN).map(|(_, known)| known);
    LayerError::Unknown { place, name: name.into(), nearest }
}

/// Whether a variable that begins like ours is somebody else's: the build's and the tests', or what Kubernetes gives
/// every container for a service called `astro` or `astro-something`. `ASTRO_HTTP_PORT=80` is neither, but a slip.
pub(super) fn is_foreign(name: &str, text: &str) -> bool {
    let of_service = name.ends_with("_SERVICE_HOST")
        || (name.ends_with("_PORT") && text.contains("://"))
        || name.contains("_SERVICE_PORT")
        || (name.contains("_PORT_") && (name.contains("_TCP") || name.contains("_UDP")));
    of_service || NOT_OURS.iter().any(|other| name == *other || (other.ends_with('_') && name.starts_with(other)))
}
