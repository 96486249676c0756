//! One plane alone, in this process.

use std::io::{IsTerminal, stderr};

use anyhow::Context;
use tracing_subscriber::EnvFilter;
use weever_controlplane::Config;
use weever_dataplane::Invocation;
use weever_settings::Program;

use crate::parent;

/// Runs the control plane until it is told to end.
pub(crate) fn controlplane(args: &[String]) -> anyhow::Result<()> {
    parent::follow()?;
    let program = Program {
        name: "weever controlplane",
        ..weever_controlplane::PROGRAM
    };
    let resolved = program.from_process(args)?;
    let mut take = resolved.take();
    let config = Config::from(&mut take);
    take.finish()?;
    log(&config.log)?;
    Ok(weever_controlplane::run(config)?)
}

/// Runs the data plane until it is told to end.
pub(crate) fn dataplane(args: &[String]) -> anyhow::Result<()> {
    parent::follow()?;
    let program = Program {
        name: "weever dataplane",
        ..weever_dataplane::PROGRAM
    };
    let resolved = program.from_process(args)?;
    let mut take = resolved.take();
    let invocation = Invocation::take(&mut take);
    take.finish()?;
    log(&invocation.log)?;
    Ok(weever_dataplane::run(&invocation.settings)?)
}

/// Sends the log to standard error; colours are for terminals.
pub(crate) fn log(filter: &str) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(filter).context("--log")?;
    let colours = stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(colours)
        .with_writer(stderr)
        .init();
    Ok(())
}
