//! The project's own text, for tests that hold the house in order.
//!
//! In: files below the workspace. Out: code without comments and strings, the paths it names, its functions' lengths.
//! *Invariant:* knows Rust's tokens only as far as these questions need; what is in a comment or string is no code.
//! Start reading at [`Source`].

use std::path::{Path, PathBuf};

/// One Rust file.
pub struct Source {
    /// From the workspace's root, with `/`.
    pub path: String,
    pub text: String,
    /// The text with comments and literals blanked out, line for line.
    pub code: String,
}

impl Source {
    pub fn new(path: &str, text: &str) -> Source {
        Source { path: path.into(), text: text.into(), code: code_only(text) }
    }

    /// Module path inside its crate: `["sim", "modes", "last_ship"]`; the root has none.
    pub fn module(&self) -> Vec<String> {
        let inside = self.path.split_once("/src/").map_or("", |(_, inside)| inside);
        let parts = inside.trim_end_matches(".rs").split('/');
        parts.filter(|part| !matches!(*part, "mod" | "lib" | "main" | "")).map(str::to_owned).collect()
    }

    /// Every path in the code that starts at `root` (`"crate"`, `"std"`, a crate's name), up to three names deep;
    /// groups are taken apart. With `"crate"`, paths that start with `super` are counted from the root too.
    pub fn paths_from(&self, root: &str) -> Vec<String> {
        let mut paths = Vec::new();
        let words: Vec<&str> = tokens(&self.code);
        let inline = inline_modules(&words);
        for (index, word) in words.iter().enumerate() {
            let begins = index == 0 || words[index - 1] != "::";
            if begins && *word == root && words.get(index + 1) == Some(&"::") {
                collect_paths(&words, index + 2, "", &mut paths);
            }
            if begins && *word == "super" && root == "crate" {
                let supers = words[index..].iter().step_by(2).take_while(|word| **word == "super").count();
                let module = self.module();
                let up = supers.saturating_sub(inline[index]);
                let base = module[..module.len().saturating_sub(up)].join("::");
                collect_paths(&words, index + 2 * supers, &base, &mut paths);
            }
        }
        paths
    }

    /// Whether the code names this crate anywhere: in a path, a `use` or an `extern crate`.
    pub fn names_crate(&self, name: &str) -> bool {
        let words = tokens(&self.code);
        words
            .windows(2)
            .any(|pair| (pair[0] == name && pair[1] == "::") || (matches!(pair[0], "use" | "crate") && pair[1] == name))
    }

    /// Every function with its first line and its length in lines.
    pub fn functions(&self) -> Vec<(String, usize, usize)> {
        let mut found = Vec::new();
        for (start, _) in self.code.match_indices("fn ") {
            let alone = !self.code[..start].ends_with(|c: char| c.is_alphanumeric() || c == '_');
            let name: String =
                self.code[start + 3..].chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            if alone
                && !name.is_empty()
                && let Some(end) = end_of_body(&self.code, start)
            {
                let line = self.code[..start].matches('\n').count() + 1;
                found.push((name, line, self.code[start..end].matches('\n').count() + 1));
            }
        }
        found
    }
}

/// Reads every Rust file of the workspace's crates.
pub fn all(root: &Path) -> Vec<Source> {
    let mut sources = Vec::new();
    for member in ["shared", "server", "client", "tests"] {
        walk(&root.join(member), &mut |path| {
            let inside = path.strip_prefix(root).unwrap_or(path).to_string_lossy().replace('\\', "/");
            let text = std::fs::read_to_string(path).expect("a source file is text");
            sources.push(Source::new(&inside, &text));
        });
    }
    sources
}

/// The workspace's root.
pub fn workspace() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn walk(folder: &Path, take: &mut impl FnMut(&Path)) {
    let entries = std::fs::read_dir(folder).expect("a folder of the workspace");
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    paths.sort();
    for path in paths {
        if path.is_dir() && !path.ends_with("target") {
            walk(&path, take);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            take(&path);
        }
    }
}

/// Blanks out comments, strings and characters, and keeps every line break.
pub fn code_only(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let (mut code, mut at) = (String::with_capacity(text.len()), 0);
    while at < chars.len() {
        let end = end_of_blank(&chars, at);
        if end == at {
            code.push(chars[at]);
            at += 1;
        } else {
            code.extend(chars[at..end].iter().map(|c| if *c == '\n' { '\n' } else { ' ' }));
            at = end;
        }
    }
    code
}

/// Where the comment or literal that begins at `at` ends; `at` itself when none begins there.
fn end_of_blank(chars: &[char], at: usize) -> usize {
    let rest = &chars[at..];
    let within_word = at > 0 && (chars[at - 1].is_alphanumeric() || chars[at - 1] == '_');
    match rest {
        ['/', '/', ..] => at + rest.iter().position(|c| *c == '\n').unwrap_or(rest.len()),
        ['/', '*', ..] => end_of_block_comment(chars, at),
        ['"', ..] => end_of_string(chars, at + 1),
        ['r' | 'b' | 'c', ..] if !within_word => end_of_prefixed_string(chars, at),
        // A lifetime has no closing quote where a character would have it.
        ['\'', '\\', ..] => at + 3 + rest[3..].iter().position(|c| *c == '\'').map_or(0, |quote| quote + 1),
        ['\'', _, '\'', ..] => at + 3,
        _ => at,
    }
}

fn end_of_block_comment(chars: &[char], at: usize) -> usize {
    let (mut depth, mut end) = (0, at);
    while end + 1 < chars.len() {
        match (chars[end], chars[end + 1]) {
            ('/', '*') => (depth, end) = (depth + 1, end + 2),
            ('*', '/') => (depth, end) = (depth - 1, end + 2),
            _ => end += 1,
        }
        if depth == 0 {
            return end;
        }
    }
    chars.len()
}

fn end_of_string(chars: &[char], mut at: usize) -> usize {
    while at < chars.len() {
        match chars[at] {
            '\\' => at += 2,
            '"' => return at + 1,
            _ => at += 1,
        }
    }
    chars.len()
}

/// `r"…"`, `r#"…"#`, `b"…"`, `br#"…"#` and the like; `at` itself when it is only a name.
fn end_of_prefixed_string(chars: &[char], at: usize) -> usize {
    let letters = chars[at..].iter().take_while(|c| matches!(c, 'r' | 'b' | 'c')).count();
    let raw = chars[at..at + letters].contains(&'r');
    let hashes = chars[at + letters..].iter().take_while(|c| **c == '#').count();
    let quote = at + letters + hashes;
    if chars.get(quote) != Some(&'"') || (hashes > 0 && !raw) {
        return at;
    }
    if !raw {
        return end_of_string(chars, quote + 1);
    }
    let closing: Vec<char> = std::iter::once('"').chain(std::iter::repeat_n('#', hashes)).collect();
    let body = &chars[quote + 1..];
    let length = body.windows(closing.len()).position(|window| window == closing).unwrap_or(body.len());
    (quote + 1 + length + closing.len()).min(chars.len())
}

/// Names, `::`, and single signs.
fn tokens(code: &str) -> Vec<&str> {
    let mut words = Vec::new();
    let mut rest = code;
    while let Some(first) = rest.chars().next() {
        let name = rest.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(rest.len());
        let length = match first {
            _ if name > 0 => name,
            ':' if rest.starts_with("::") => 2,
            _ => first.len_utf8(),
        };
        if !first.is_whitespace() {
            words.push(&rest[..length]);
        }
        rest = &rest[length..];
    }
    words
}

/// For each token, in how many `mod name { … }` of its own file it stands.
fn inline_modules(words: &[&str]) -> Vec<usize> {
    let (mut open, mut depth, mut inside) = (Vec::new(), 0, Vec::new());
    for (index, word) in words.iter().enumerate() {
        match *word {
            "{" => {
                depth += 1;
                if index >= 2 && words[index - 2] == "mod" {
                    open.push(depth);
                }
            }
            "}" => {
                open.retain(|opened| *opened != depth);
                depth -= 1;
            }
            _ => {}
        }
        inside.push(open.len());
    }
    inside
}

/// Collects the paths that begin at `at`, below `base`; returns where the next token is.
fn collect_paths(words: &[&str], mut at: usize, base: &str, paths: &mut Vec<String>) -> usize {
    if words.get(at) == Some(&"{") {
        at += 1;
        while at < words.len() && words[at] != "}" {
            at = collect_paths(words, at, base, paths);
            while words.get(at).is_some_and(|word| !matches!(*word, "," | "}")) {
                at += 1;
            }
            at += usize::from(words.get(at) == Some(&","));
        }
        return at + 1;
    }
    let Some(name) = words.get(at) else { return at };
    let path = if base.is_empty() || *name == "self" { base.to_owned() } else { format!("{base}::") };
    let path = if *name == "self" { path } else { format!("{path}{name}") };
    let deep = path.matches("::").count() >= 2;
    if words.get(at + 1) == Some(&"::") && !deep {
        return collect_paths(words, at + 2, &path, paths);
    }
    paths.push(path);
    at + 1
}

/// Where the body of the function that starts at `start` ends; `None` when it has none.
fn end_of_body(code: &str, start: usize) -> Option<usize> {
    let (mut depth, mut brackets) = (0, 0);
    for (offset, c) in code[start..].char_indices() {
        match c {
            '(' | '[' => brackets += 1,
            ')' | ']' => brackets -= 1,
            ';' if depth == 0 && brackets == 0 => return None,
            '{' => depth += 1,
            '}' => {
                depth -= 1;
                if depth == 0 {
                    return Some(start + offset + 1);
                }
            }
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_literals_are_no_code() {
        let text = "use a::b; // use c::d;\n/* e::f /* g */ h::i */ let s = \"j::k \\\" l\"; let r = r#\"m \" n\"#;\n\
                    let c = ':'; let q = '\\''; fn life<'a>(x: &'a str) -> &'a str { x } b\"o::p\"";
        let code = code_only(text);
        assert_eq!(code.matches('\n').count(), text.matches('\n').count());
        for gone in ["c::d", "e::f", "h::i", "j::k", "m \"", "o::p", "':'"] {
            assert!(!code.contains(gone), "{gone} is still there: {code}");
        }
        for kept in ["a::b", "let q", "fn life<'a>(x: &'a str)"] {
            assert!(code.contains(kept), "{kept} is gone: {code}");
        }
    }

    #[test]
    fn paths_are_found_in_groups_and_through_super() {
        let text =
            "use crate::{wire::{self, bits}, sim}; use super::super::replay::Header; fn f() { crate::api::hex(1) }";
        let source = Source::new("shared/src/sim/modes/last_ship.rs", text);
        assert_eq!(source.module(), ["sim", "modes", "last_ship"]);
        let paths = source.paths_from("crate");
        assert_eq!(paths, ["wire", "wire::bits", "sim", "sim::replay::Header", "api::hex"]);
        assert!(
            Source::new("x", "use std::{fmt, time::Duration};").paths_from("std").contains(&"time::Duration".into())
        );
    }

    #[test]
    fn functions_are_measured_from_their_name_to_their_closing_brace() {
        let text =
            "fn one() { 1 }\ntrait T { fn bodiless(&self) -> [u8; 4]; }\nfn three(f: fn(u8))\nwhere u8: Sized {\n}\n";
        let functions = Source::new("x", text).functions();
        assert_eq!(functions, [("one".into(), 1, 1), ("three".into(), 3, 3)]);
    }
}
