//! `tao-bench`: what the tier does, measured beside what people use in its place, in one run on one machine.
//!
//! `compare` starts everything itself and measures all rows of the goals; `run` measures one workload on a running cluster.

mod cluster;
mod compare;
mod machine;
mod measure;
mod peers;
mod report;
mod run;
mod workloads;

use anyhow::Result;
use clap::{Parser, Subcommand};

use machine::Cores;

/// Replies and rows are many small allocations that change threads; glibc's allocator took a quarter of the time there.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Measures the tier. Random keys, seeds printed; talk goes to stderr, figures to stdout.
#[derive(Parser)]
#[command(name = "tao-bench", version, arg_required_else_help = true)]
struct Command {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Starts a cluster and its peers (plain MySQL, memcached, Redis), and measures all of them in alternating rounds.
    Compare(compare::Compare),
    /// Measures one workload on a running cluster.
    Run(run::Run),
}

fn main() -> Result<()> {
    let command = Command::parse();
    let cores = match &command.verb {
        Verb::Compare(compare) => Cores::split(compare.free)?,
        Verb::Run(run) => Cores::split(run.free)?,
    };
    // Before any other thread exists: they all inherit it.
    cores.enter_client()?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(cores.client_threads())
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let work = async {
            match command.verb {
                Verb::Compare(compare) => compare.run(cores).await,
                Verb::Run(run) => run.run().await,
            }
        };
        // What was started goes with the dropped work.
        tokio::select! {
            outcome = Box::pin(work) => outcome,
            signal = interrupted() => Err(anyhow::anyhow!("interrupted ({})", signal?)),
        }
    })
}

async fn interrupted() -> std::io::Result<&'static str> {
    use tokio::signal::unix::{SignalKind, signal};
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    tokio::select! {
        _ = interrupt.recv() => Ok("SIGINT"),
        _ = terminate.recv() => Ok("SIGTERM"),
    }
}

/// A line of figures, to stdout.
fn print(line: &str) -> Result<()> {
    use std::io::Write;
    Ok(writeln!(std::io::stdout(), "{line}")?)
}

/// A line of talk, to stderr.
fn say(line: &str) {
    use std::io::Write;
    let _nobody_listens = writeln!(std::io::stderr(), "{line}");
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_well_formed() {
        super::Command::command().debug_assert();
    }
}
