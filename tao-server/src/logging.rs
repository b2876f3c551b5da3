//! Log lines: text on a terminal, JSON elsewhere, always to stderr.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

use crate::config::{LogConfig, LogFormat};

/// The MySQL driver, as its log lines name it.
const DRIVER: &str = "mysql_async";

/// Installs the process's log subscriber. The environment's `RUST_LOG` covers the configured level. A second call
/// changes nothing.
///
/// # Errors
/// The level is no filter.
pub fn install(config: &LogConfig) -> anyhow::Result<()> {
    let asked = std::env::var("RUST_LOG").ok().filter(|filter| !filter.is_empty());
    let asked = asked.as_ref().unwrap_or(&config.level);
    let mut filter = EnvFilter::try_new(asked)?;
    // The driver logs every error that it also returns; whoever gets it knows whether a person has to look.
    if !asked.contains(DRIVER) {
        filter = filter.add_directive(format!("{DRIVER}=off").parse()?);
    }
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let json = match config.format {
        LogFormat::Json => true,
        LogFormat::Text => false,
        LogFormat::Auto => !std::io::stderr().is_terminal(),
    };
    // Fails only if a subscriber is there already, which then is the one to keep.
    let _already_there = if json {
        builder.json().flatten_event(true).try_init()
    } else {
        builder.with_ansi(std::io::stderr().is_terminal()).try_init()
    };
    Ok(())
}
