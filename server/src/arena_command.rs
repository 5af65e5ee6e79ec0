//! `astro-server arena`: what whoever makes arenas does with their files.
//!
//! In: file names. Out: lines for a person, a drawing, and an exit code for a script: 0 usable, 1 not.
//! Start reading at [`check`].

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;

use astro_shared::sim::arena::check::check_arena;
use astro_shared::sim::arena::{ArenaText, Edge, LayoutText, Size, survey, svg};
use astro_shared::sim::rules::parse;

use crate::assets::Rulebook;

/// Says whether an arena can be played in, what it holds and what is odd about it; draws it when asked to.
pub fn check(file: &Path, drawing: Option<&Path>) -> ExitCode {
    let arena = match read(file) {
        Ok(arena) => arena,
        Err(error) => return failed(&error),
    };
    print(&format!("{}: usable\n\n{}", file.display(), summary(&arena)));
    let odd = oddities(&arena, file);
    if !odd.is_empty() {
        print(&format!("\nLegal, but odd:\n{}", odd.iter().map(|odd| format!("  {odd}\n")).collect::<String>()));
    }
    let Some(drawing) = drawing else { return ExitCode::SUCCESS };
    if let Err(error) = std::fs::write(drawing, svg::draw_both(&arena)) {
        return failed(&format!("{}: {error}", drawing.display()));
    }
    print(&format!("\ndrawn to {}\n", drawing.display()));
    ExitCode::SUCCESS
}

/// Prints every arena that a server with this asset folder offers, and the presets that are played in it.
pub fn list(assets: Option<&Path>) -> ExitCode {
    let book = match Rulebook::load(assets) {
        Ok(book) => book,
        Err(error) => return failed(&error.to_string()),
    };
    print(&format!(
        "{:<12} {:<6} {:>7}  {:>11}  {:>11}  presets\n",
        "arena", "edge", "bounces", "2-4 seats", "5-8 seats"
    ));
    for arena in book.arena_names().filter_map(|name| book.arena(name)) {
        let presets = book.names().filter(|name| book.named(name).is_some_and(|r| r.arena_name() == arena.name));
        print(&format!(
            "{:<12} {:<6} {:>7}  {:>11}  {:>11}  {}\n",
            arena.name,
            edge(arena.edge),
            arena.ricochets,
            extent(&arena.small),
            extent(&arena.large),
            presets.collect::<Vec<_>>().join(", ")
        ));
    }
    ExitCode::SUCCESS
}

/// # Errors
/// One line that names the file, and the field and the reason where there are any.
fn read(file: &Path) -> Result<ArenaText, String> {
    let name = file.display().to_string();
    let text = std::fs::read_to_string(file).map_err(|error| format!("{name}: {error}"))?;
    let arena: ArenaText = parse(&name, &text).map_err(|error| error.to_string())?;
    check_arena(&arena, &name).map_err(|error| error.to_string())?;
    Ok(arena)
}

/// What is odd in the document, and about the file.
fn oddities(arena: &ArenaText, file: &Path) -> Vec<String> {
    let mut odd = survey::oddities(arena);
    if file.file_stem().is_none_or(|stem| *stem != *arena.name) {
        odd.push(format!("name is {:?}: in a folder of assets the file must be called {0}.ron", arena.name));
    }
    odd
}

/// Sizes and counts of both layouts beside each other.
fn summary(arena: &ArenaText) -> String {
    let mut out = String::new();
    // Writing to a string cannot fail.
    let mut line = |what: &str, small: String, large: String| _ = writeln!(out, "{what:<10} {small:>12} {large:>12}");
    let seats = |size: Size| format!("{}-{} seats", size.seats().start(), size.seats().end());
    line(&arena.name, seats(Size::Small), seats(Size::Large));
    line("size", extent(&arena.small), extent(&arena.large));
    type Count = fn(&LayoutText) -> usize;
    let counts: [(&str, Count); 8] = [
        ("spawns", |layout| layout.spawns.len()),
        ("walls", |layout| layout.walls.len()),
        ("gates", |layout| layout.gates.len()),
        ("pillars", |layout| layout.pillars.len()),
        ("wells", |layout| layout.wells.len()),
        ("asteroids", |layout| layout.asteroids.into()),
        ("pads", |layout| layout.pads.len()),
        ("zone", |layout| layout.zone.iter().count()),
    ];
    for (what, count) in counts {
        line(what, count(&arena.small).to_string(), count(&arena.large).to_string());
    }
    line("edge", edge(arena.edge).into(), edge(arena.edge).into());
    line("bounces", arena.ricochets.to_string(), arena.ricochets.to_string());
    out
}

fn edge(edge: Edge) -> &'static str {
    match edge {
        Edge::Wrap => "wraps",
        Edge::Wall => "wall",
    }
}

fn extent(layout: &LayoutText) -> String {
    format!("{} x {}", layout.width, layout.height)
}

fn failed(error: &str) -> ExitCode {
    eprintln!("{error}");
    ExitCode::FAILURE
}

/// Writes to stdout; a reader that has gone away (`| head`) is no reason to complain.
fn print(text: &str) {
    let _ = std::io::stdout().write_all(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tests::Folder;

    fn written(folder: &Folder, name: &str, text: &str) -> std::path::PathBuf {
        let file = folder.0.join(name);
        std::fs::write(&file, text).unwrap();
        file
    }

    /// Broken by an error that leaves out file, field or reason.
    #[test]
    fn an_arena_that_cannot_be_used_is_refused_by_file_field_and_reason() {
        let folder = Folder::new();
        let cage = astro_shared::assets::arena("cage").unwrap();
        for (from, to, field, reason) in [
            ("width: 1600", "width: 160", "small.width", "is 160, must be between 400 and 2047"),
            ("edge: wall", "edge: fence", "edge", "line 5"),
            ("ricochets: 3", "ricochets: 3, lava: 2", "lava", "line 6"),
        ] {
            let file = written(&folder, "cage.ron", &cage.replace(from, to));
            let error = read(&file).expect_err(to);
            assert!(error.starts_with(&format!("{}: field `{field}`: ", file.display())), "{error}");
            assert!(error.contains(reason), "{error}");
        }
        assert!(read(&folder.0.join("none.ron")).unwrap_err().contains("none.ron: "));
    }

    /// Broken by counts of one layout that are shown for the other.
    #[test]
    fn the_summary_counts_both_layouts() {
        let folder = Folder::new();
        let file = written(&folder, "other.ron", astro_shared::assets::arena("gates").unwrap());
        let arena = read(&file).unwrap();
        let summary = summary(&arena);
        let row = |what: &str| {
            let line =
                summary.lines().find(|line| line.starts_with(what)).unwrap_or_else(|| panic!("{what}: {summary}"));
            line[what.len()..].split_whitespace().map(str::to_owned).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(row("gates      "), "2-4 seats 5-8 seats");
        assert_eq!((row("spawns"), row("walls"), row("zone")), ("4 8".into(), "6 8".into(), "1 1".into()));
        assert_eq!(row("size"), "1600 x 900 1600 x 1600");
        assert!(oddities(&arena, &file)[0].contains("must be called gates.ron"));
        assert_eq!(oddities(&arena, Path::new("x/gates.ron")), Vec::<String>::new());
    }
}
