//! The `tao` command.

mod check;
mod cluster;
mod commands;
mod doctor;
mod load;
mod observe;
mod output;
mod progress;
mod servers;
mod topology_diff;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use output::Output;
use tao_admin::region;

/// Replies and rows are many small allocations that change threads; glibc's allocator took a quarter of the time there.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// A graph-aware caching tier over sharded MySQL: start a cluster, ask it, fill it, check it.
///
/// Data goes to stdout, talk to stderr.
///
/// Exit codes: 0 done; 1 the answer is no (a check found differences, an object is absent); 2 wrong usage or input; 3 the
/// cluster can't be reached or refused; 4 a write's outcome is unknown.
#[derive(Parser)]
#[command(name = "tao", version, arg_required_else_help = true, after_help = EXAMPLES)]
struct Command {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    verb: Verb,
}

const EXAMPLES: &str = "\
Examples:
  tao dev                                          a whole region, here and now
  tao object add user name=Ann                     prints the new object with its id
  tao assoc add ID1 friend ID2                     a friendship, both ways
  tao assoc range ID1 friend --limit 10 --explain  the newest ten, and who had them
  tao load --format snap --assoc friend FILE       a real graph
  tao check --deep                                 every cache and every row, compared";

/// Options of every verb.
#[derive(Args, Clone)]
struct Common {
    /// The cluster: a ready file of `tao dev`, or a topology. Default: the local dev cluster.
    #[arg(long, global = true, env = "TAO_CLUSTER", value_name = "FILE")]
    cluster: Option<PathBuf>,
    /// Form of the data on stdout. Default: a table on a terminal, else JSON.
    #[arg(long, short, global = true, value_enum)]
    output: Option<Output>,
    /// The region to read in, and to look at. Default: for requests that of the first node that answers, for `check`, `lag`,
    /// `observe` and `status` all.
    #[arg(long, global = true, value_name = "REGION")]
    region: Option<String>,
    /// Seconds that one request may take.
    #[arg(long, global = true, default_value_t = 5.0, value_name = "SECONDS")]
    timeout: f64,
}

#[derive(Subcommand)]
enum Verb {
    /// Starts a whole cluster in this process: databases, leaders, followers, in one region or several. Ctrl-C ends it.
    Dev(commands::dev::Dev),
    /// Reads and writes objects.
    #[command(subcommand)]
    Object(commands::object::Object),
    /// Reads and writes associations.
    #[command(subcommand)]
    Assoc(commands::assoc::Assoc),
    /// Loads an edge list through the SDK. Run again, it goes on where it was: every step has the same effect twice.
    Load(commands::load::Load),
    /// Prints the id of an object that was loaded under a number.
    Id(commands::id::Id),
    /// Compares every cached entry with the database; exit 1 on any difference.
    Check(commands::check::Check),
    /// Shows nodes, watermarks and memory.
    Status,
    Lag(commands::lag::Lag),
    Observe(commands::observe::Observe),
    #[command(subcommand)]
    Topology(commands::topology::TopologyVerb),
    Doctor(commands::doctor::Doctor),
    /// Lets a region take over, or come back.
    #[command(subcommand)]
    Region(commands::region::Region),
    #[command(subcommand)]
    Shard(commands::shard::Shard),
    /// Shows the types of the cluster's graph schema.
    Schema,
    /// Prints completions for a shell.
    Completions {
        /// Which shell.
        shell: clap_complete::Shell,
    },
}

fn main() -> ExitCode {
    let command = Command::parse();
    let outcome = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(anyhow::Error::from)
        .and_then(|runtime| {
            let outcome = runtime.block_on(run(command));
            // Only an interrupted `tao dev` leaves something behind; its servers notice the end of this process.
            runtime.shutdown_timeout(std::time::Duration::from_secs(1));
            outcome
        });
    match outcome {
        Ok(code) => code,
        Err(error) => {
            output::say(&format!("tao: {error:#}"));
            ExitCode::from(commands::exit_code(&error))
        }
    }
}

async fn run(command: Command) -> anyhow::Result<ExitCode> {
    let common = command.common;
    match command.verb {
        Verb::Dev(dev) => dev.run(&common).await,
        Verb::Object(object) => object.run(&common).await,
        Verb::Assoc(assoc) => assoc.run(&common).await,
        Verb::Load(load) => load.run(&common).await,
        Verb::Id(id) => id.run(&common).await,
        Verb::Check(check) => check.run(&common).await,
        Verb::Status => commands::status::run(&common).await,
        Verb::Lag(lag) => lag.run(&common).await,
        Verb::Observe(observe) => observe.run(&common).await,
        Verb::Topology(topology) => topology.run(&common).await,
        Verb::Doctor(doctor) => doctor.run(&common).await,
        Verb::Region(region) => region.run(&common).await,
        Verb::Shard(shard) => Box::pin(shard.run(&common)).await,
        Verb::Schema => commands::schema::run(&common).await,
        Verb::Completions { shell } => {
            use clap::CommandFactory;
            clap_complete::generate(shell, &mut Command::command(), "tao", &mut std::io::stdout());
            Ok(ExitCode::SUCCESS)
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_well_formed() {
        super::Command::command().debug_assert();
    }
}
