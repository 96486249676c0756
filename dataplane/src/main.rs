//! The data plane's program.

use std::{
    io::{Write, stderr},
    process::ExitCode,
};

use tracing_subscriber::EnvFilter;
use weever_dataplane::{Invocation, SettingsError};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match start() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // There is nobody left to tell when that fails too.
            let _ = writeln!(stderr(), "weever-dataplane: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn start() -> anyhow::Result<()> {
    let invocation = match Invocation::read(std::env::args_os(), |name| std::env::var(name).ok()) {
        Err(SettingsError::Usage(usage)) => usage.exit(),
        invocation => invocation?,
    };
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::try_new(&invocation.log)?)
        .with_writer(stderr)
        .init();
    Ok(weever_dataplane::run(&invocation.settings)?)
}
