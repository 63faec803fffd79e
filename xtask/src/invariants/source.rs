//! Source files as lines of code.

use anyhow::{Context, Result};
use std::{
    fs,
    path::{Path, PathBuf},
};

/// A source file outside of `tests`.
pub struct Source {
    pub path: PathBuf,
    pub lines: Vec<String>,
}

/// The sources of a crate: `src` and the build script, not its integration tests.
pub fn all(directory: &Path) -> Result<Vec<Source>> {
    let mut sources = Vec::new();
    let mut pending = vec![directory.join("src"), directory.join("build.rs")];
    while let Some(path) = pending.pop() {
        if path.is_dir() {
            for entry in fs::read_dir(&path).with_context(|| format!("cannot read {}", path.display()))? {
                pending.push(entry?.path());
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") && path.is_file() {
            let text =
                fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
            sources.push(Source { path, lines: text.lines().map(str::to_owned).collect() });
        }
    }
    sources.sort_by(|one, other| one.path.cmp(&other.path));
    Ok(sources)
}

impl Source {
    pub fn is_build_script(&self) -> bool {
        self.path.file_name().is_some_and(|name| name == "build.rs")
    }

    /// Whether this is a crate's one place for system calls: `sys.rs`, or a file below `sys/`.
    pub fn is_sys(&self) -> bool {
        self.path.file_stem().is_some_and(|name| name == "sys")
            || self.path.parent().and_then(Path::file_name).is_some_and(|name| name == "sys")
    }

    /// Numbered lines without comments and string literals, up to the unit tests at the file's end.
    pub fn code(&self) -> impl Iterator<Item = (usize, String)> {
        let is_tests = self.path.file_stem().is_some_and(|name| name == "tests");
        self.lines
            .iter()
            .enumerate()
            .map(|(index, line)| (index + 1, line.trim_start()))
            .take_while(move |(_, line)| !is_tests && !line.starts_with("#[cfg(test)]"))
            .map(|(number, line)| (number, bare(line)))
    }
}

/// A line without what stands between quotation marks and after `//`.
fn bare(line: &str) -> String {
    let mut kept = String::new();
    let mut quoted = false;
    let mut previous = ' ';
    for char in line.chars() {
        match char {
            '"' if previous != '\\' && (quoted || previous != '\'') => quoted = !quoted,
            _ if quoted => {}
            '/' if previous == '/' => {
                kept.pop();
                break;
            }
            _ => kept.push(char),
        }
        previous = char;
    }
    kept
}

/// Whether a line of code has the keyword (not the attribute `unsafe_code`).
pub fn has_unsafe(line: &str) -> bool {
    let word = |char: char| char.is_ascii_alphanumeric() || char == '_';
    line.split(|char| !word(char)).any(|token| token == "unsafe")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_tests_are_no_code() {
        let lines = "//! println!\nlet a = 1; // unsafe\n#[cfg(test)]\nmod tests {\n    unsafe {}\n}";
        let source = Source { path: "x.rs".into(), lines: lines.lines().map(str::to_owned).collect() };
        let code: Vec<_> = source.code().collect();
        assert_eq!(code, [(1, String::new()), (2, "let a = 1; ".to_owned())]);
    }

    #[test]
    fn literals_are_no_code() {
        assert_eq!(bare(r#"f("http://x unsafe", "a \" b", 1) // c"#), "f(, , 1) ");
        assert_eq!(bare(r#"'"' => 1"#), "'\"' => 1");
    }

    #[test]
    fn finds_the_keyword_only() {
        assert!(has_unsafe("let a = unsafe { b() };"));
        assert!(!has_unsafe("#![forbid(unsafe_code)]"));
    }
}
