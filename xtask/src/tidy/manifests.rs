//! Every crate takes the lint table of the workspace, and that table forbids unsafe code.

use super::Findings;

pub(super) fn check(text: &str, findings: &mut Findings<'_>) {
    if is_set(text, "package", "name") && !is(text, "lints", "workspace", "true") {
        findings.add(1, "lints", "take the lint table of the workspace: [lints] workspace = true");
    }
    if text.lines().any(|line| line.trim() == "[workspace]")
        && !is(text, "workspace.lints.rust", "unsafe_code", "\"forbid\"")
    {
        findings.add(1, "lints", "[workspace.lints.rust] must say unsafe_code = \"forbid\"");
    }
}

fn is_set(text: &str, table: &str, key: &str) -> bool {
    value(text, table, key).is_some()
}

fn is(text: &str, table: &str, key: &str, wanted: &str) -> bool {
    value(text, table, key) == Some(wanted)
}

/// The value of a key in a table, as written. Enough of TOML for manifests as people write them.
fn value<'a>(text: &'a str, table: &str, key: &str) -> Option<&'a str> {
    let header = format!("[{table}]");
    text.lines()
        .map(str::trim)
        .skip_while(|line| *line != header)
        .skip(1)
        .take_while(|line| !line.starts_with('['))
        .filter_map(|line| line.split_once('='))
        .find(|(name, _)| name.trim() == key)
        .map(|(_, value)| value.split('#').next().unwrap_or_default().trim())
}

#[cfg(test)]
mod tests {
    use super::super::tests::broken;

    #[test]
    fn manifests_take_the_lint_table() {
        for (text, good) in [
            ("[package]\nname = \"a\"\n\n[lints]\nworkspace = true\n", true),
            ("[package]\nname = \"a\"\n", false),
            ("[package]\nname = \"a\"\n[lints]\n[dependencies]\nworkspace = true\n", false),
            ("[package]\nname = \"a\"\n[lints]\nworkspace = false\n", false),
            ("[workspace]\n[workspace.lints.rust]\nunsafe_code = \"forbid\" # always\n", true),
            ("[workspace]\n[workspace.lints.rust]\nunsafe_code = \"deny\"\n", false),
            ("[workspace]\n", false),
        ] {
            let expected: &[(usize, &str)] = if good { &[] } else { &[(1, "lints")] };
            assert_eq!(broken("a/Cargo.toml", text), expected, "{text}");
        }
    }
}
