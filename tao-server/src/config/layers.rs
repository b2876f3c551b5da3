//! The layers of a configuration and how they cover each other.

use std::path::{Path, PathBuf};

use toml::{Table, Value};

use super::NodeConfig;

/// Why a configuration is refused.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file can't be read.
    #[error("{path}: {source}")]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is no TOML, or has a key or a type that is not known; the message has line and key.
    #[error("{path}: {message}")]
    File {
        /// Which file.
        path: PathBuf,
        /// What the parser says.
        message: String,
    },
    /// A setting of the environment or a flag does not fit its key.
    #[error("{origin}: {message}")]
    Setting {
        /// The variable or flag.
        origin: String,
        /// What is wrong.
        message: String,
    },
    /// A value outside of what the key takes.
    #[error("{key} = {value}: must be {wanted}")]
    Value {
        /// The key, dotted.
        key: String,
        /// What it was set to.
        value: String,
        /// What it takes.
        wanted: String,
    },
}

/// Where a configuration comes from, nearest first: `set`, `environment`, `file`, defaults.
#[derive(Clone, Debug, Default)]
pub struct Layers {
    /// The configuration file, if any.
    pub file: Option<PathBuf>,
    /// Variables; those named `TAO_<KEY>` with dots as underscores (`TAO_CACHE_BYTES`) count.
    pub environment: Vec<(String, String)>,
    /// `(key, value)` from flags, keys dotted (`cache.bytes`).
    pub set: Vec<(String, String)>,
}

impl Layers {
    /// Lays the layers over each other and validates the result.
    ///
    /// # Errors
    /// Names file and line, variable or flag, and the key.
    pub fn load(&self) -> Result<NodeConfig, ConfigError> {
        let mut table = match &self.file {
            Some(path) => read(path)?,
            None => Table::new(),
        };
        let known = leaves();
        for (name, value) in &self.environment {
            if let Some(key) = known.iter().find(|key| variable(key) == *name) {
                insert(&mut table, key, value, name)?;
            }
        }
        for (key, value) in &self.set {
            let origin = format!("--set {key}");
            if !known.contains(key) {
                let message = format!("no such key; keys are {}", known.join(", "));
                return Err(ConfigError::Setting { origin, message });
            }
            insert(&mut table, key, value, &origin)?;
        }
        let config: NodeConfig = Value::Table(table).try_into().map_err(|error: toml::de::Error| {
            ConfigError::Setting { origin: "configuration".to_owned(), message: error.message().to_owned() }
        })?;
        config.validate()?;
        Ok(config)
    }
}

fn read(path: &Path) -> Result<Table, ConfigError> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
    // Parsed as the real type first: only that knows line and key of what does not fit.
    toml::from_str::<NodeConfig>(&text)
        .and_then(|_| toml::from_str::<Table>(&text))
        .map_err(|error| ConfigError::File { path: path.to_owned(), message: error.to_string() })
}

/// The environment variable of a key.
fn variable(key: &str) -> String {
    format!("TAO_{}", key.replace('.', "_").to_uppercase())
}

/// All keys, dotted, from the defaults.
fn leaves() -> Vec<String> {
    fn walk(prefix: &str, table: &Table, into: &mut Vec<String>) {
        for (key, value) in table {
            let path = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
            match value {
                Value::Table(inner) => walk(&path, inner, into),
                _ => into.push(path),
            }
        }
    }
    let mut keys = Vec::new();
    if let Ok(defaults) = Table::try_from(NodeConfig::default()) {
        walk("", &defaults, &mut keys);
    }
    keys
}

/// Sets `key` to `text`, read as the type that the key has by default.
fn insert(table: &mut Table, key: &str, text: &str, origin: &str) -> Result<(), ConfigError> {
    let defaults = Table::try_from(NodeConfig::default()).unwrap_or_default();
    let mut model = &Value::Table(defaults);
    let mut target = table;
    let mut parts = key.split('.').peekable();
    while let Some(part) = parts.next() {
        let Some(next) = model.get(part) else { break };
        model = next;
        if parts.peek().is_some() {
            let inner = target.entry(part).or_insert_with(|| Value::Table(Table::new()));
            let Value::Table(inner) = inner else { break };
            target = inner;
            continue;
        }
        let value = match model {
            Value::Integer(_) => text.parse().map(Value::Integer).map_err(|_| "a whole number"),
            Value::Boolean(_) => text.parse().map(Value::Boolean).map_err(|_| "true or false"),
            _ => Ok(Value::String(text.to_owned())),
        };
        let value = value.map_err(|wanted| ConfigError::Setting {
            origin: origin.to_owned(),
            message: format!("'{text}' must be {wanted}"),
        })?;
        target.insert(part.to_owned(), value);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layers(file: &str) -> (tempfile::TempDir, Layers) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("node.toml");
        std::fs::write(&path, file).unwrap();
        (folder, Layers { file: Some(path), ..Layers::default() })
    }

    #[test]
    fn flags_cover_environment_covers_file_covers_defaults() {
        let (_folder, mut layers) = layers("name = \"a\"\n[cache]\nbytes = 2000000\nring_changes = 7\n");
        assert_eq!(layers.load().unwrap().cache.bytes, 2_000_000);
        layers.environment =
            vec![("TAO_CACHE_BYTES".into(), "3000000".into()), ("TAO_NAME".into(), "b".into())];
        layers.set = vec![("cache.bytes".into(), "4000000".into())];
        let config = layers.load().unwrap();
        assert_eq!(
            (config.cache.bytes, config.cache.ring_changes, config.name.as_str()),
            (4_000_000, 7, "b")
        );
        assert_eq!(config.limits, crate::config::LimitsConfig::default());
    }

    #[test]
    fn what_is_wrong_is_named_with_its_place() {
        for (file, wanted) in [
            ("name = \"a\"\ncolour = 1\n", &["line 2", "colour"] as &[&str]),
            ("name = \"a\"\n[cache]\nbytes = \"much\"\n", &["line 3", "bytes"]),
            ("name = \"\"\n", &["name", "topology"]),
            (
                "name = \"a\"\n[storage]\nstatement_ms = 9000\n",
                &["storage.statement_ms", "9000", "default_deadline_ms"],
            ),
        ] {
            let (_folder, layers) = layers(file);
            let message = layers.load().unwrap_err().to_string();
            for part in wanted {
                assert!(message.contains(part), "{message}");
            }
        }
    }

    #[test]
    fn a_flag_of_no_key_or_type_is_refused() {
        let (_folder, mut layers) = layers("name = \"a\"\n");
        layers.set = vec![("cache.byts".into(), "1".into())];
        assert!(layers.load().unwrap_err().to_string().contains("cache.bytes"));
        layers.set = vec![("cache.bytes".into(), "lots".into())];
        assert!(layers.load().unwrap_err().to_string().contains("whole number"));
    }
}
