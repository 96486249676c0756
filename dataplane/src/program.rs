//! The whole program, for its own binary and for one that hosts it.

use std::{
    io::{Write, stderr},
    process::ExitCode,
};

use weever_settings::{Resolved, Stop, log_to_stderr};

use crate::{Invocation, PROGRAM, run};

/// Everything that the binary does: settings, log, service. `args` are without the program's name. What goes wrong is told
/// on standard error; the exit code is 2 for bad settings, 1 for whatever else ended it, 0 for an end in order.
pub fn main(args: &[String]) -> ExitCode {
    let invocation = match PROGRAM.from_process(args).and_then(|resolved| take(&resolved)) {
        Ok(invocation) => invocation,
        Err(stop) => return stop.report(PROGRAM.name),
    };
    log_to_stderr(&invocation.log, invocation.log_format);
    let end = run(&invocation.settings);
    weever_settings::flush_log();
    match end {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Not through the log, whose filter may be `off`. There is nobody left to tell when it fails.
            let _ = writeln!(stderr(), "{}: {error}", PROGRAM.name);
            ExitCode::FAILURE
        }
    }
}

/// Whether the settings are in order. Nothing is started, no port is tried. The tables behind `resolved` include
/// [`SETTINGS`](crate::SETTINGS).
///
/// # Errors
/// Everything that is wrong with them.
pub fn check(resolved: &Resolved) -> Result<(), Stop> {
    take(resolved).map(drop)
}

fn take(resolved: &Resolved) -> Result<Invocation, Stop> {
    let mut take = resolved.take();
    let invocation = Invocation::take(&mut take);
    take.finish()?;
    Ok(invocation)
}
