//! The bugs that can be planted, as `schema/src/planted.rs` names them, and where each stands.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};

/// Where they are named.
pub(crate) const FILE: &str = "schema/src/planted.rs";
/// The line that the list begins behind.
const BEGIN: &str = "bugs! {";

/// A bug that can be planted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Planted {
    /// As the sources have it.
    pub(crate) variant: String,
    /// As the command line has it.
    pub(crate) name: String,
    /// What is done wrong.
    pub(crate) does: String,
    /// What a user would see.
    pub(crate) shows: String,
    /// Files that it stands in, relative to the repository.
    pub(crate) places: BTreeSet<String>,
}

impl Planted {
    /// Folders of the crates that it stands in.
    pub(crate) fn crates(&self) -> BTreeSet<&str> {
        self.places.iter().filter_map(|place| place.split('/').next()).collect()
    }

    /// Folders of modules that it stands in, as their tests' names begin, by the folder of their crate.
    pub(crate) fn modules(&self) -> BTreeMap<&str, BTreeSet<String>> {
        let mut modules: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
        for place in &self.places {
            if let [folder, "src", module, _, ..] = Vec::from_iter(place.split('/'))[..] {
                modules.entry(folder).or_default().insert(format!("{module}::"));
            }
        }
        modules
    }
}

/// All bugs, each with its places.
pub(crate) fn read(root: &Path) -> Result<Vec<Planted>> {
    let text = fs::read_to_string(root.join(FILE)).with_context(|| format!("read {FILE}"))?;
    let mut bugs = parse(&text)?;
    for place in sources(root)? {
        let text = fs::read_to_string(root.join(&place)).with_context(|| format!("read {place}"))?;
        for bug in bugs.iter_mut().filter(|bug| uses(&text, &bug.variant)) {
            bug.places.insert(place.clone());
        }
    }
    Ok(bugs)
}

fn parse(text: &str) -> Result<Vec<Planted>> {
    let (mut bugs, mut doc) = (Vec::new(), String::new());
    let lines = text.lines().skip_while(|line| *line != BEGIN).skip(1);
    for line in lines.take_while(|line| *line != "}").map(str::trim) {
        if let Some(said) = line.strip_prefix("///") {
            doc.push_str(said);
        } else if let Some((variant, name)) = line.split_once(" = ") {
            let doc = std::mem::take(&mut doc);
            let (does, shows) = doc.trim().split_once(". ").unwrap_or((doc.trim(), ""));
            bugs.push(Planted {
                variant: variant.to_owned(),
                name: name.trim_matches(['"', ',']).to_owned(),
                does: does.to_owned(),
                shows: shows.trim().to_owned(),
                places: BTreeSet::new(),
            });
        }
    }
    ensure!(!bugs.is_empty(), "{FILE} has no list behind `{BEGIN}`");
    Ok(bugs)
}

/// Source files of all crates, but the list itself.
fn sources(root: &Path) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(root).context("list the repository")? {
        let folder = entry.context("list the repository")?.path();
        if folder.join("Cargo.toml").is_file() && folder.join("src").is_dir() {
            walk(root, &folder.join("src"), &mut found)?;
        }
    }
    found.retain(|place| place != FILE && !place.starts_with("xtask/"));
    found.sort();
    Ok(found)
}

fn walk(root: &Path, folder: &Path, found: &mut Vec<String>) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("list {}", folder.display()))? {
        let path = entry.with_context(|| format!("list {}", folder.display()))?.path();
        if path.is_dir() {
            walk(root, &path, found)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path.strip_prefix(root).unwrap_or(&path).to_string_lossy().replace('\\', "/"));
        }
    }
    Ok(())
}

/// Whether a source names the bug, and not only one whose name begins like it.
fn uses(text: &str, variant: &str) -> bool {
    let pattern = format!("Bug::{variant}");
    let ends = |rest: &str| !rest.starts_with(|c: char| c.is_alphanumeric() || c == '_');
    text.match_indices(&pattern).any(|(at, found)| ends(&text[at + found.len()..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_read_as_it_is_written() {
        let text = "bugs! {\n    // A room.\n\n    /// Does wrong (R1, H2\n    /// in two lines). Old data.\n    DoesWrong = \"does-wrong\",\n}\n";
        let bugs = parse(text).unwrap();
        assert_eq!((bugs[0].variant.as_str(), bugs[0].name.as_str()), ("DoesWrong", "does-wrong"));
        let (does, shows) = (bugs[0].does.as_str(), bugs[0].shows.as_str());
        assert_eq!((does, shows), ("Does wrong (R1, H2 in two lines)", "Old data."));
        assert!(uses("planted(Bug::DoesWrong)", "DoesWrong"));
        assert!(!uses("planted(Bug::DoesWrongly)", "DoesWrong"));
    }

    #[test]
    fn every_bug_is_planted_somewhere_and_says_what_it_does() {
        let bugs = read(&crate::repository()).unwrap();
        for bug in &bugs {
            assert!(!bug.places.is_empty(), "{} stands nowhere", bug.variant);
            assert!(!bug.does.is_empty() && !bug.shows.is_empty(), "{} lacks a comment", bug.variant);
        }
    }
}
