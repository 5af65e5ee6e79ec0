//! `--print-config`: every setting with its value and where it came from.
//!
//! In: settings and their layers. Out: TOML that gives the same settings when read back (secrets excepted: they come back
//! when they come from a file).
//! *Invariant:* a secret is stars.
//! Start reading at [`print`].

use toml::Value as Toml;

use super::layers::{Layers, Setting, Way};
use super::values::{Kind, STARS};
use super::{Config, SETTINGS};

pub fn print(config: &Config, layers: &Layers) -> String {
    let mut page = format!("# Settings of Astro Party {}: ", env!("CARGO_PKG_VERSION"));
    page += "default < file < environment < flag, and behind each value where it came from.\n";
    let mut section = "";
    for (setting, (_, text)) in SETTINGS.iter().zip(config.texts()) {
        if section != setting.section {
            section = setting.section;
            page += &format!("\n# ---- {section} ----\n");
        }
        let line = match layers.secret_file(setting.name) {
            Some(path) => {
                let key = setting.key(Way::SecretFile);
                format!("{key} = {}  # holds {STARS}, ", literal(path, Kind::Text))
            }
            // Stars as a value would be taken for the secret when the page is read back.
            None if setting.secret && !text.is_empty() => format!("# {} = \"{STARS}\"  # ", setting.name),
            None => line(setting, &text),
        };
        page += &format!("\n# {}\n{line}{}\n", setting.help.trim(), layers.source(setting.name));
    }
    page
}

fn line(setting: &Setting, text: &str) -> String {
    let unset = text.is_empty() && matches!(setting.kind, Kind::Number | Kind::Switch);
    format!("{}{} = {}  # ", if unset { "# " } else { "" }, setting.name, literal(text, setting.kind))
}

/// A value as TOML writes it.
fn literal(text: &str, kind: Kind) -> String {
    match kind {
        Kind::Text => Toml::String(text.to_owned()).to_string(),
        Kind::Number | Kind::Switch => text.to_owned(),
        Kind::List => {
            let items = text.split(',').filter(|item| !item.is_empty());
            Toml::Array(items.map(|item| Toml::String(item.to_owned())).collect()).to_string()
        }
    }
}
