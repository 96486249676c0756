//! One plane alone, in this process.

use std::process::ExitCode;

use weever_controlplane::{Config, End};
use weever_dataplane::Invocation;
use weever_settings::{Program, log_to_stderr};

use crate::parent;

pub(crate) const CONTROLPLANE: Program<'_> = Program {
    name: "weever controlplane",
    ..weever_controlplane::PROGRAM
};

pub(crate) const DATAPLANE: Program<'_> = Program {
    name: "weever dataplane",
    ..weever_dataplane::PROGRAM
};

/// Runs the control plane until it is told to end. A parent has to know how it came to that.
pub(crate) fn controlplane(args: &[String]) -> anyhow::Result<ExitCode> {
    parent::follow()?;
    let resolved = CONTROLPLANE.from_process(args)?;
    let mut take = resolved.take();
    let config = Config::from(&mut take);
    take.finish()?;
    log_to_stderr(&config.log, config.log_format);
    Ok(match weever_controlplane::run(config)? {
        End::HandedOver if parent::there_is_one() => ExitCode::from(parent::HANDED_OVER),
        End::HandedOver | End::Drained => ExitCode::SUCCESS,
    })
}

/// Runs the data plane until it is told to end.
pub(crate) fn dataplane(args: &[String]) -> anyhow::Result<ExitCode> {
    parent::follow()?;
    let resolved = DATAPLANE.from_process(args)?;
    let mut take = resolved.take();
    let invocation = Invocation::take(&mut take);
    take.finish()?;
    log_to_stderr(&invocation.log, invocation.log_format);
    weever_dataplane::run(&invocation.settings)?;
    Ok(ExitCode::SUCCESS)
}
