//! The command line: the program's roles, and a flag for every setting.
//!
//! In: arguments. Out: [`Arguments`]; flags stay text until the layers are put together.
//! *Invariant:* flags are made from the table of settings, so none can be forgotten.
//! Start reading at [`Arguments`].

use std::path::PathBuf;

use clap::builder::PossibleValuesParser;
use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches, Parser, Subcommand};

use super::SETTINGS;
use super::layers::{Setting, Way};
use super::values::Kind;
use crate::top;

/// Said below the flags.
const AFTER_HELP: &str = "\
Every setting can also stand in the file, as `public_url = \"https://...\"`, or in the environment, as
ASTRO_PUBLIC_URL. Flags beat the environment, the environment beats the file, the file beats the defaults.
Unknown names are refused. `astro-server --print-config` shows every value and where it came from; its
output is a valid file.";

/// Astro Party server. Without a subcommand it runs everything in one process.
#[derive(Debug, Parser)]
#[command(name = "astro-server", version, args_conflicts_with_subcommands = true, after_help = AFTER_HELP)]
pub struct Arguments {
    /// TOML file with settings, or ASTRO_CONFIG. Unless given, ./astro.toml is read when it is there.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Print every setting with its value and where it came from, and end.
    #[arg(long)]
    pub print_config: bool,
    #[command(flatten)]
    pub flags: Flags,
    #[command(subcommand)]
    pub command: Option<Subcommands>,
}

#[derive(Debug, Subcommand)]
pub enum Subcommands {
    /// Bring the database up to date and end.
    Migrate {
        /// TOML file with settings, or ASTRO_CONFIG.
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
        /// Folder of the database. Unless given, what the other settings say.
        #[arg(long, value_name = "DIR")]
        data: Option<String>,
    },
    /// Show a running server live: shards, links, tick times, matches. q ends.
    Top(top::Options),
    /// Print the table of metrics that the operations listener answers with, as Markdown.
    Metrics,
    /// Check, draw and list arenas.
    Arena {
        #[command(subcommand)]
        command: ArenaCommand,
    },
    /// Look at replay files.
    Replay {
        #[command(subcommand)]
        command: ReplayCommand,
    },
}

#[derive(Debug, Subcommand)]
pub enum ArenaCommand {
    /// Say whether an arena's file can be used, what is in it and what is odd about it.
    #[command(after_help = "Ends with 0 when the arena can be used, odd or not, and with 1 when it cannot.")]
    Check {
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// Draw both layouts into this file.
        #[arg(long, value_name = "OUT")]
        svg: Option<PathBuf>,
    },
    /// Print the arenas that a server offers, and the presets that are played in them.
    List {
        /// Folder with rules and arenas of your own, as in the settings.
        #[arg(long, value_name = "DIR")]
        assets: Option<PathBuf>,
    },
}

#[derive(Debug, Subcommand)]
pub enum ReplayCommand {
    /// Play replays again and compare every recorded hash: says equal, or where they differ.
    Verify {
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
    },
    /// Print the summary and the kill list of a replay.
    Show {
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
    /// Play the last ticks of the matches in a capsule again, and say which of them panics.
    Capsule {
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
}

/// Settings given as flags: name without dashes before it, and text.
#[derive(Clone, Debug, Default)]
pub struct Flags(pub Vec<(String, String)>);

impl Args for Flags {
    fn augment_args(command: Command) -> Command {
        let arguments = SETTINGS.iter().flat_map(|setting| setting.ways().iter().filter_map(|way| flag(setting, *way)));
        command.args(arguments)
    }

    fn augment_args_for_update(command: Command) -> Command {
        Flags::augment_args(command)
    }
}

impl FromArgMatches for Flags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Flags, clap::Error> {
        let names = SETTINGS.iter().flat_map(|setting| setting.ways().iter().filter_map(|way| setting.flag(*way)));
        let given = |name: String| {
            let texts: Vec<&str> = matches.get_many::<String>(&name)?.map(String::as_str).collect();
            let text = texts.join(",");
            Some((name, text))
        };
        Ok(Flags(names.filter_map(given).collect()))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        self.0.extend(Flags::from_arg_matches(matches)?.0);
        Ok(())
    }
}

fn flag(setting: &'static Setting, way: Way) -> Option<Arg> {
    let name = setting.flag(way)?;
    let argument = Arg::new(name.clone()).long(name).help_heading(setting.section);
    if way == Way::SecretFile {
        let help = format!("File that holds {}. {}", setting.name, setting.help.trim());
        return Some(argument.value_name("FILE").help(help));
    }
    let default = match (setting.default)() {
        default if default.is_empty() || setting.kind == Kind::Switch => String::new(),
        default => format!(" [default: {default}]"),
    };
    let argument = argument.value_name(setting.value_name).help(format!("{}{default}", setting.help.trim()));
    Some(match setting.kind {
        Kind::Switch => argument
            .num_args(0..=1)
            .require_equals(true)
            .default_missing_value("true")
            .hide_possible_values(true)
            .value_parser(PossibleValuesParser::new(["true", "false"])),
        Kind::List => argument.action(ArgAction::Append),
        Kind::Text | Kind::Number => argument,
    })
}
