//! The switch: which servers a run uses, as a word on the command line.

use std::path::Path;
use std::str::FromStr;

use anyhow::{Context as _, Result, bail, ensure};
use tao_schema::topology::Dsn;
use tao_shard_store::fleet::{Flavour, ServerBinary, test_servers};

/// Images that are tried; others of the same programs may work.
const IMAGES: [&str; 4] = ["mysql:8.4", "mysql:9", "mariadb:10.11", "mariadb:11"];
/// What a file of servers says, and nothing else.
const FILE_FORMAT: &str = r#"host_groups = [["mysql://…", "mysql://…"], …]"#;
/// Of a file that lists servers.
const FILE_BYTES: u64 = 1 << 20;

/// Where database servers come from.
#[derive(Clone, Debug)]
pub enum Source {
    /// Processes of this machine.
    Local(ServerBinary),
    /// Containers of an image, by the Docker engine that the environment names.
    Image(Image),
    /// Servers that are there already.
    Given(GivenServers),
}

/// Servers that somebody else runs, for the harness alone. They must be empty: no databases but the server's own, and nobody
/// is followed. An account must have all privileges (or the role `tao_admin` with those that the tier must not have), and
/// `REPLICATION SLAVE` without TLS on MySQL. Servers of other machines follow each other directly, past the links of
/// [`crate::faults`], which these can't reach.
#[derive(Clone, Debug)]
pub struct GivenServers {
    /// For each host group the DSNs of its places, first region first.
    pub groups: Vec<Vec<Dsn>>,
    /// Whether what an earlier run of the harness left there may be thrown away, log included; else it is refused like
    /// anything else.
    pub may_empty: bool,
}

/// An image of a database server.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Image {
    /// `mysql` or `mariadb`, perhaps with a registry in front.
    pub name: String,
    /// `8.4`, say.
    pub tag: String,
    /// What runs in it.
    pub flavour: Flavour,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct GivenFile {
    host_groups: Vec<Vec<Dsn>>,
}

impl Source {
    /// Of a word: `maria`, `mysql` or nothing for a program of this machine (a part of its name is enough, nothing is the
    /// first that is found); `docker:IMAGE:TAG`; `file:PATH` of a TOML file with
    /// `host_groups = [["mysql://…", "mysql://…"], …]`.
    ///
    /// # Errors
    /// There is no such program, the word is none of these, or the file can't be used.
    pub fn parse(word: &str) -> Result<Self> {
        if let Some(image) = word.strip_prefix("docker:") {
            return Ok(Self::Image(image.parse()?));
        }
        if let Some(path) = word.strip_prefix("file:") {
            return Self::file(Path::new(path));
        }
        let wanted = word.to_lowercase();
        let found = test_servers()?.into_iter();
        let mut of_name =
            found.filter(|server| server.flavour().to_string().to_lowercase().contains(&wanted));
        let Some(binary) = of_name.next() else {
            bail!("no database server {word:?} is installed: maria, mysql, docker:IMAGE:TAG, or file:PATH")
        };
        Ok(Self::Local(binary))
    }

    /// The word that [`Source::parse`] takes for it. Of given servers the file is not known.
    pub fn word(&self) -> String {
        match self {
            Self::Local(binary) => binary.flavour().to_string().to_lowercase(),
            Self::Image(image) => format!("docker:{}:{}", image.name, image.tag),
            Self::Given(_) => "file:PATH".to_owned(),
        }
    }

    fn file(path: &Path) -> Result<Self> {
        let shown = path.display();
        let length = std::fs::metadata(path).with_context(|| format!("{shown}"))?.len();
        ensure!(length <= FILE_BYTES, "{shown}: {length} bytes, at most {FILE_BYTES}");
        let text = std::fs::read_to_string(path).with_context(|| format!("{shown}"))?;
        // The error's own text may quote a value, and with it a password.
        let file: GivenFile = toml::from_str(&text).map_err(|error| {
            let line = error.span().map_or(1, |span| 1 + text[..span.start].matches('\n').count());
            anyhow::anyhow!("{shown}, line {line}: not {FILE_FORMAT}")
        })?;
        ensure!(!file.host_groups.is_empty(), "{shown}: host_groups is empty");
        let places = file.host_groups[0].len();
        let even = places > 0 && file.host_groups.iter().all(|group| group.len() == places);
        ensure!(
            even,
            "{shown}: every host group needs a server in each region, so the same number of servers"
        );
        Ok(Self::Given(GivenServers { groups: file.host_groups, may_empty: false }))
    }

    /// The same, with leave to throw away what an earlier run of the harness left on given servers.
    ///
    /// # Errors
    /// The servers are not given: those of other sources begin empty.
    pub fn that_may_be_emptied(self) -> Result<Self> {
        match self {
            Self::Given(servers) => Ok(Self::Given(GivenServers { may_empty: true, ..servers })),
            other => bail!("only servers that are given (file:PATH) can be emptied; {other} begin empty"),
        }
    }
}

impl FromStr for Image {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let (name, tag) =
            text.rsplit_once(':').with_context(|| format!("{text:?} has no tag; {IMAGES:?}"))?;
        let program = name.rsplit('/').next().unwrap_or(name);
        let flavour = match program {
            "mysql" => Flavour::MySql,
            "mariadb" => Flavour::MariaDb,
            _ => bail!("image {text:?} is neither mysql nor mariadb; {IMAGES:?}"),
        };
        ensure!(!tag.is_empty() && !tag.contains('/'), "{text:?} has no tag; {IMAGES:?}");
        Ok(Self { name: name.to_owned(), tag: tag.to_owned(), flavour })
    }
}

impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Local(binary) => write!(f, "{} {}", binary.flavour(), binary.version()),
            Self::Image(_) => f.write_str(&self.word()),
            Self::Given(servers) => write!(f, "given servers of {} host groups", servers.groups.len()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_are_told_from_other_words() {
        for text in IMAGES {
            let Source::Image(image) = Source::parse(&format!("docker:{text}")).unwrap() else {
                panic!("{text}")
            };
            assert_eq!(format!("{}:{}", image.name, image.tag), text);
        }
        let image: Image = "registry.example:5000/library/mariadb:11".parse().unwrap();
        assert_eq!(
            (image.name.as_str(), image.flavour),
            ("registry.example:5000/library/mariadb", Flavour::MariaDb)
        );
        for bad in ["docker:mysql", "docker:postgres:17", "docker:registry.example:5000/mysql"] {
            assert!(Source::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_file_of_servers_is_checked_and_its_passwords_stay_out_of_errors() {
        let folder = tempfile::tempdir().unwrap();
        let read = |text: &str| {
            let path = folder.path().join("servers.toml");
            std::fs::write(&path, text).unwrap();
            Source::parse(&format!("file:{}", path.display()))
        };
        let two = r#"host_groups = [["mysql://a:secret@x:1", "mysql://a:secret@y:1"], ["mysql://b@x:2", "mysql://b@y:2"]]"#;
        let source = read(two).unwrap();
        assert!(!format!("{source:?}").contains("secret"));
        let Source::Given(servers) = source else { panic!("not given") };
        assert_eq!((servers.groups.len(), servers.groups[1].len(), servers.may_empty), (2, 2, false));
        for bad in [
            "host_groups = []",
            r#"host_groups = [["mysql://a:secret@x:1"], []]"#,
            r#"host_groups = ["mysql://a:secret@x:1"]"#,
            r#"hosts = [["mysql://a:secret@x:1"]]"#,
        ] {
            let error = format!("{:#}", read(bad).unwrap_err());
            assert!(error.contains("servers.toml") && !error.contains("secret"), "{error}");
        }
    }
}
