//! `tao-server`: one node of a cluster, a follower or a leader.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use tao_server::config::{Layers, NodeConfig};
use tao_server::{logging, node};

/// Replies and rows are many small allocations that change threads; glibc's allocator took a quarter of the time there.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// A node of a TAO cluster: a follower that answers from memory, or a leader that orders writes and talks to MySQL.
///
/// Settings come from flags, then variables TAO_<KEY> (TAO_CACHE_BYTES for cache.bytes), then the file, then defaults.
#[derive(Parser)]
#[command(name = "tao-server", version, arg_required_else_help = true)]
struct Command {
    #[command(flatten)]
    settings: Settings,
    #[command(subcommand)]
    verb: Option<Verb>,
}

#[derive(Args)]
struct Settings {
    /// The node's configuration file.
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Sets one key, over file and environment: `--set cache.bytes=1000000000`. May be repeated.
    #[arg(long, global = true, value_name = "KEY=VALUE", value_parser = key_value)]
    set: Vec<(String, String)>,
}

#[derive(Subcommand)]
enum Verb {
    /// Looks at the configuration without starting anything.
    Config {
        #[command(subcommand)]
        verb: ConfigVerb,
    },
}

#[derive(Subcommand)]
enum ConfigVerb {
    /// Checks configuration, topology and graph schema; exit 1 with what is wrong.
    Check,
    /// Prints the configuration that would run, with every default.
    Dump,
}

fn key_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) => Ok((key.trim().to_owned(), value.trim().to_owned())),
        None => Err("must be KEY=VALUE".to_owned()),
    }
}

fn main() -> ExitCode {
    let command = Command::parse();
    let layers = Layers {
        file: command.settings.config,
        environment: std::env::vars().collect(),
        set: command.settings.set,
    };
    let outcome = layers.load().map_err(anyhow::Error::from).and_then(|config| match command.verb {
        None => run(config),
        Some(Verb::Config { verb: ConfigVerb::Check }) => check(&config),
        Some(Verb::Config { verb: ConfigVerb::Dump }) => dump(&config),
    });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            use std::io::Write;
            let _nowhere_to_say = writeln!(std::io::stderr(), "tao-server: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(config: NodeConfig) -> anyhow::Result<()> {
    logging::install(&config.log)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(node::run_until_signal(config))
}

fn check(config: &NodeConfig) -> anyhow::Result<()> {
    use std::io::Write;
    let plan = node::Plan::read(config)?;
    writeln!(std::io::stderr(), "ok: {}", plan.summary())?;
    Ok(())
}

fn dump(config: &NodeConfig) -> anyhow::Result<()> {
    use std::io::Write;
    std::io::stdout().write_all(toml::to_string_pretty(config)?.as_bytes())?;
    Ok(())
}
