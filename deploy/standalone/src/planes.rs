//! One plane alone, in this process.

use weever_controlplane::Config;
use weever_dataplane::Invocation;
use weever_settings::{Program, log_to_stderr};

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
    log_to_stderr(&config.log, config.log_format);
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
    log_to_stderr(&invocation.log, invocation.log_format);
    Ok(weever_dataplane::run(&invocation.settings)?)
}
