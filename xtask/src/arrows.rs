//! Which crate may know which: the table of rooms in ARCHITECTURE.md. Arrows run down it only.

use anyhow::{Context as _, Result};
use serde_json::Value;

/// Each crate with the crates of this repository that it may depend on.
const ALLOWED: &[(&str, &[&str])] = &[
    ("tao-schema", &[]),
    ("tao-shard-store", &["tao-schema"]),
    ("tao-leader-follower", &["tao-schema", "tao-shard-store"]),
    ("tao-client", &["tao-schema"]),
    ("tao-server", &["tao-schema", "tao-shard-store", "tao-leader-follower", "tao-client"]),
    ("tao-admin", &["tao-schema", "tao-shard-store", "tao-leader-follower", "tao-client", "tao-server"]),
    ("tao-bench", &["tao-schema", "tao-shard-store", "tao-client"]),
    (
        "integration-tests",
        &["tao-schema", "tao-shard-store", "tao-leader-follower", "tao-client", "tao-server", "tao-admin"],
    ),
    ("xtask", &[]),
];

/// What in the output of `cargo metadata --no-deps` breaks the table, a line each. Dependencies of tests are free.
pub(crate) fn violations(metadata: &str) -> Result<Vec<String>> {
    let metadata: Value = serde_json::from_str(metadata).context("output of cargo metadata")?;
    let packages = metadata["packages"].as_array().context("cargo metadata lists no packages")?;
    let names: Vec<&str> = packages.iter().filter_map(|package| package["name"].as_str()).collect();
    let mut found = Vec::new();
    for package in packages {
        let name = package["name"].as_str().context("a package without a name")?;
        let Some((_, allowed)) = ALLOWED.iter().find(|(crate_name, _)| *crate_name == name) else {
            found.push(format!(
                "{name}: [arrows] this crate has no place in the table; add it to ARCHITECTURE.md and xtask/src/arrows.rs"
            ));
            continue;
        };
        let dependencies = package["dependencies"].as_array().context("a package without dependencies")?;
        for dependency in dependencies.iter().filter(|dependency| dependency["kind"] != "dev") {
            let target = dependency["name"].as_str().context("a dependency without a name")?;
            if names.contains(&target) && !allowed.contains(&target) {
                found.push(format!(
                    "{name} -> {target}: [arrows] {name} must not know {target}; move what it needs down the table"
                ));
            }
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// A crate and its dependencies, each with its kind as cargo writes it.
    type Package<'a> = (&'a str, &'a [(&'a str, Option<&'a str>)]);

    fn check(packages: &[Package<'_>]) -> Vec<String> {
        let packages: Vec<Value> = packages
            .iter()
            .map(|(name, dependencies)| {
                let dependencies: Vec<Value> =
                    dependencies.iter().map(|(name, kind)| json!({"name": name, "kind": kind})).collect();
                json!({"name": name, "dependencies": dependencies})
            })
            .collect();
        violations(&json!({ "packages": packages }).to_string()).unwrap()
    }

    #[test]
    fn arrows_down_the_table_and_to_other_peoples_crates_pass() {
        let found = check(&[
            ("tao-schema", &[("bytes", None), ("tonic-prost-build", Some("build"))]),
            ("tao-shard-store", &[("tao-schema", None)]),
            ("tao-client", &[("tao-schema", None), ("tao-shard-store", Some("dev"))]),
        ]);
        assert_eq!(found, Vec::<String>::new());
    }

    #[test]
    fn arrows_up_the_table_are_found() {
        for (from, to, kind) in [
            ("tao-schema", "tao-client", None),
            ("tao-client", "tao-shard-store", None),
            ("tao-shard-store", "tao-leader-follower", Some("build")),
            ("tao-server", "tao-admin", None),
        ] {
            let found = check(&[(from, &[(to, kind)]), (to, &[])]);
            assert!(
                matches!(found.as_slice(), [line] if line.starts_with(&format!("{from} -> {to}:"))),
                "{found:?}"
            );
        }
    }

    #[test]
    fn a_crate_without_a_place_is_found() {
        let found = check(&[("tao-attic", &[])]);
        assert!(matches!(found.as_slice(), [line] if line.starts_with("tao-attic:")), "{found:?}");
    }

    #[test]
    fn the_table_itself_has_no_cycle() {
        // Each crate may know only crates that stand before it; the client and the bench stand beside, not below.
        let place = |name: &str| ALLOWED.iter().position(|(known, _)| *known == name);
        for (name, allowed) in ALLOWED {
            for target in *allowed {
                assert!(place(target).is_some() && place(target) < place(name), "{name} -> {target}");
            }
        }
    }

    #[test]
    fn what_is_not_metadata_is_an_error() {
        assert!(violations("{}").is_err());
        assert!(violations("cargo: error").is_err());
    }
}
