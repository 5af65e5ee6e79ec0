//! Rules presets by name and by hash: those built in, and those in a folder that replace or add to them.
//!
//! In: `rules/*.ron` and `arenas/*.ron`. Out: a [`Rulebook`].
//! *Invariant:* a rulebook that exists is usable throughout: every preset names an arena that is there.
//! *Invariant:* a file's name is the name in it, so what an operator sees in the folder is what players ask for.
//! Start reading at [`Rulebook::load`]; what single matches change is in [`variants`].

mod variants;

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use astro_shared::assets::{ARENAS, RULES};
use astro_shared::sim::arena::ArenaText;
use astro_shared::sim::arena::check::check_arena;
use astro_shared::sim::rules::{AssetError, Overrides, RulesText, Ruleset, RulesetText, parse};

use variants::Variants;

/// The preset when a player names none, and the demo matches'.
pub const DEFAULT_RULES: &str = "standard";

/// The asset folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RulebookError {
    #[error("{path}: {source}")]
    Read { path: PathBuf, source: std::io::Error },
    #[error(transparent)]
    Asset(#[from] AssetError),
}

/// Every rules preset that a match can be played by, the arenas, and what is made of both for single matches.
#[derive(Debug)]
pub struct Rulebook {
    by_name: BTreeMap<String, Arc<Ruleset>>,
    by_hash: HashMap<u64, Arc<Ruleset>>,
    arenas: BTreeMap<String, ArenaText>,
    variants: Variants,
}

/// Files of one kind: name to (file, text).
type Documents = BTreeMap<String, (String, String)>;

impl Rulebook {
    /// The built-in presets, and over them what lies in `folder`.
    ///
    /// # Errors
    /// A folder that cannot be read, or the first file with a fault: which field, and why.
    pub fn load(folder: Option<&Path>) -> Result<Rulebook, RulebookError> {
        let (mut rules, mut arenas) = (built_in(RULES), built_in(ARENAS));
        if let Some(folder) = folder {
            // A folder that is not there is a misspelt option; one without rules or arenas is merely short.
            std::fs::read_dir(folder).map_err(|source| RulebookError::Read { path: folder.to_owned(), source })?;
            rules.append(&mut read_folder(&folder.join("rules"))?);
            arenas.append(&mut read_folder(&folder.join("arenas"))?);
        }
        let mut book = Rulebook {
            by_name: BTreeMap::new(),
            by_hash: HashMap::new(),
            arenas: BTreeMap::new(),
            variants: Variants::default(),
        };
        for (name, (file, text)) in &arenas {
            book.arenas.insert(name.clone(), arena(name, file, text)?);
        }
        for (name, (file, text)) in &rules {
            let ruleset = Arc::new(ruleset(name, file, text, &arenas, &book.arenas)?);
            book.by_hash.insert(ruleset.hash(), Arc::clone(&ruleset));
            book.by_name.insert(name.clone(), ruleset);
        }
        Ok(book)
    }

    /// The preset of that name.
    pub fn named(&self, name: &str) -> Option<&Arc<Ruleset>> {
        self.by_name.get(name)
    }

    /// The preset with that hash, or what was made of one and is still remembered.
    pub fn hashed(&self, hash: u64) -> Option<Arc<Ruleset>> {
        self.by_hash.get(&hash).cloned().or_else(|| self.variants.find(hash))
    }

    /// All names, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.by_name.keys().map(String::as_str)
    }

    /// The arena of that name.
    pub fn arena(&self, name: &str) -> Option<&ArenaText> {
        self.arenas.get(name)
    }

    /// Names of all arenas, sorted.
    pub fn arena_names(&self) -> impl Iterator<Item = &str> {
        self.arenas.keys().map(String::as_str)
    }

    /// A preset in another arena, or with overrides, or both. It can be found by its hash as long as a match uses it,
    /// and a while longer.
    ///
    /// # Errors
    /// See [`Ruleset::with`].
    pub fn variant(
        &self,
        preset: &Arc<Ruleset>,
        overrides: &Overrides,
        arena: Option<&ArenaText>,
    ) -> Result<Arc<Ruleset>, AssetError> {
        let made = preset.with(overrides, arena)?;
        // Nothing changed, or as another preset has it.
        match self.by_hash.get(&made.hash()) {
            Some(known) => Ok(Arc::clone(known)),
            None => Ok(self.variants.remember(made)),
        }
    }
}

/// The documents in the binary, by the name between folder and extension.
fn built_in(documents: &[(&str, &str)]) -> Documents {
    let name = |file: &str| Path::new(file).file_stem().map(|name| name.to_string_lossy().into_owned());
    documents.iter().filter_map(|(file, text)| Some((name(file)?, ((*file).into(), (*text).into())))).collect()
}

/// Every `.ron` file of a folder; none when the folder is missing.
fn read_folder(folder: &Path) -> Result<Documents, RulebookError> {
    let broken = |path: &Path| {
        let path = path.to_owned();
        move |source| RulebookError::Read { path, source }
    };
    if !folder.exists() {
        return Ok(Documents::new());
    }
    let mut documents = Documents::new();
    for file in std::fs::read_dir(folder).map_err(broken(folder))? {
        let path = file.map_err(broken(folder))?.path();
        let name = path.file_stem().and_then(|name| name.to_str()).map(str::to_owned);
        if let (Some(name), true) = (name, path.extension().is_some_and(|extension| extension == "ron")) {
            let text = std::fs::read_to_string(&path).map_err(broken(&path))?;
            documents.insert(name, (path.display().to_string(), text));
        }
    }
    Ok(documents)
}

/// An arena that passes its own checks, whether a preset uses it or not.
fn arena(name: &str, file: &str, text: &str) -> Result<ArenaText, AssetError> {
    let arena: ArenaText = parse(file, text)?;
    same_name(file, name, &arena.name)?;
    check_arena(&arena, file)?;
    Ok(arena)
}

fn ruleset(
    name: &str,
    file: &str,
    text: &str,
    files: &Documents,
    arenas: &BTreeMap<String, ArenaText>,
) -> Result<Ruleset, AssetError> {
    let rules: RulesText = parse(file, text)?;
    let known = || arenas.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
    let refused = |field: &str, reason| AssetError { file: file.into(), field: field.into(), reason };
    let arena = arenas
        .get(&rules.arena)
        .ok_or_else(|| refused("arena", format!("there is no arena {:?}, only {}", rules.arena, known())))?
        .clone();
    let arena_file = files.get(&rules.arena).map_or(file, |(file, _)| file);
    same_name(file, name, &rules.name)?;
    Ruleset::new(RulesetText { rules, arena }, file, arena_file)
}

fn same_name(file: &str, expected: &str, found: &str) -> Result<(), AssetError> {
    if found == expected {
        return Ok(());
    }
    let reason = format!("is {found:?}, must be {expected:?} like the file");
    Err(AssetError { file: file.into(), field: "name".into(), reason })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tests::Folder;

    fn write(folder: &Folder, file: &str, text: &str) {
        let path = folder.0.join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    #[test]
    fn the_binary_carries_usable_presets() {
        let book = Rulebook::load(None).unwrap();
        assert_eq!(
            book.names().collect::<Vec<_>>(),
            ["brawl", "classic", "deathmatch", "duel", "king", "pinball", "rocks", "sprint", "standard", "teams"]
        );
        let standard = book.named(DEFAULT_RULES).unwrap();
        assert_eq!(book.hashed(standard.hash()).as_ref(), Some(standard));
    }

    #[test]
    fn a_folder_replaces_and_adds_by_name() {
        let folder = Folder::new();
        write(&folder, "rules/sprint.ron", &RULES[1].1.replace("rounds_to_win: 1", "rounds_to_win: 2"));
        write(
            &folder,
            "rules/tiny.ron",
            &RULES[1].1.replace("\"sprint\"", "\"tiny\"").replace("\"open\"", "\"tight\""),
        );
        let tight = ARENAS[0].1.replace("\"open\"", "\"tight\"").replace("width: 1600", "width: 1601");
        write(&folder, "arenas/tight.ron", &tight);
        write(&folder, "rules/notes.txt", "not an asset");
        let (ours, book) = (Rulebook::load(None).unwrap(), Rulebook::load(Some(&folder.0)).unwrap());
        assert_eq!(book.names().count(), ours.names().count() + 1);
        assert_eq!(book.named("sprint").unwrap().rounds_to_win, 2);
        assert_eq!(book.named("tiny").unwrap().arena_name(), "tight");
        assert_eq!(book.named("standard"), ours.named("standard"));
    }

    #[test]
    fn a_faulty_file_is_refused_with_file_field_and_reason() {
        let refused = |file: &str, text: &str| {
            let folder = Folder::new();
            write(&folder, file, text);
            let error = Rulebook::load(Some(&folder.0)).unwrap_err().to_string();
            error.replace(&format!("{}/", folder.0.display()), "")
        };
        let other = RULES[1].1.replace("\"open\"", "\"moon\"");
        assert_eq!(
            refused("rules/sprint.ron", &other),
            "rules/sprint.ron: field `arena`: there is no arena \"moon\", only belt, cage, foundry, gates, open, pillars, well"
        );
        assert_eq!(
            refused("rules/dash.ron", RULES[1].1),
            "rules/dash.ron: field `name`: is \"sprint\", must be \"dash\" like the file"
        );
        assert!(Rulebook::load(Some(Path::new("/no/such/folder"))).is_err());
    }
}
