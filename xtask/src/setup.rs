//! `cargo xtask setup`: a database server for the tests.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

use crate::output_of;

/// The distribution's package with the server program and nothing that starts by itself.
const PACKAGE: &str = "mariadb-server-core";
/// Variables by which tests are told of a server; the same as in `tao_shard_store::fleet`.
const VARIABLES: [&str; 3] = ["TAO_MARIADBD", "TAO_MYSQL_MYSQLD", "TAO_MYSQLD"];
const NAMES: [&str; 2] = ["mariadbd", "mysqld"];
/// Not on everybody's PATH, but where distributions put servers.
const USUAL_FOLDERS: [&str; 4] = ["/usr/sbin", "/usr/local/sbin", "/usr/libexec", "/usr/local/bin"];

/// Says which server is there; installs one if there is none.
///
/// # Errors
/// There is none and none can be installed here: says what to do.
pub(crate) fn ensure_server() -> Result<String> {
    if let Some(server) = find_server() {
        return Ok(server);
    }
    let advice = format!(
        "no MariaDB or MySQL server found. Install one (Debian, Ubuntu: sudo apt-get install \
         --no-install-recommends {PACKAGE}), or set TAO_MARIADBD to the path of a mariadbd or TAO_MYSQL_MYSQLD to \
         the path of a mysqld"
    );
    let Some(prefix) = installer() else { bail!(advice) };
    println!("no MariaDB or MySQL server found: installing {PACKAGE}");
    let install = ["install", "-y", "-qq", "--no-install-recommends", PACKAGE];
    if apt_get(&prefix, &install).is_err() {
        // Fresh machines have no package lists.
        apt_get(&prefix, &["update", "-qq"]).context(advice.clone())?;
        apt_get(&prefix, &install).context(advice.clone())?;
    }
    find_server().with_context(|| format!("{PACKAGE} was installed, but: {advice}"))
}

/// What the first server found says about itself.
fn find_server() -> Option<String> {
    let named = VARIABLES.iter().filter_map(env::var_os).map(PathBuf::from);
    let path = env::var_os("PATH").unwrap_or_default();
    let folders: Vec<PathBuf> =
        env::split_paths(&path).chain(USUAL_FOLDERS.iter().map(PathBuf::from)).collect();
    let usual = NAMES.iter().flat_map(|name| folders.iter().map(move |folder| folder.join(name)));
    named.chain(usual).filter(|path| path.is_file()).find_map(|path| version_of(&path))
}

fn version_of(server: &Path) -> Option<String> {
    output_of(Command::new(server).arg("--version")).ok().map(|text| text.trim().to_owned())
}

/// What to put before `apt-get`, if this user may install packages without being asked for a password.
fn installer() -> Option<Vec<&'static str>> {
    let succeeds = |program: &str, arguments: &[&str]| {
        let mut command = Command::new(program);
        command.args(arguments).stdout(Stdio::null()).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    };
    if !succeeds("apt-get", &["--version"]) {
        return None;
    }
    let user = output_of(Command::new("id").arg("-u")).ok()?;
    if user.trim() == "0" {
        return Some(Vec::new());
    }
    succeeds("sudo", &["-n", "true"]).then(|| vec!["sudo", "-n"])
}

fn apt_get(prefix: &[&str], arguments: &[&str]) -> Result<()> {
    let words: Vec<&str> = prefix
        .iter()
        .chain(&["env", "DEBIAN_FRONTEND=noninteractive", "apt-get"])
        .chain(arguments)
        .copied()
        .collect();
    let (program, rest) = words.split_first().context("nothing to run")?;
    let status =
        Command::new(program).args(rest).status().with_context(|| format!("run {}", words.join(" ")))?;
    anyhow::ensure!(status.success(), "{} ended with {status}", words.join(" "));
    Ok(())
}
