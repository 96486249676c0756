//! The data plane's program.

use std::{
    io::{Write, stderr},
    process::ExitCode,
};

use tracing_subscriber::EnvFilter;
use weever_dataplane::{Invocation, PROGRAM};
use weever_settings::Stop;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match start() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => match error.downcast_ref::<Stop>() {
            Some(stop) => stop.report(PROGRAM.name),
            None => {
                // There is nobody left to tell when that fails too.
                let _ = writeln!(stderr(), "{}: {error:#}", PROGRAM.name);
                ExitCode::FAILURE
            }
        },
    }
}

fn start() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args_os()
        .skip(1)
        .map(|argument| argument.to_string_lossy().into_owned())
        .collect();
    let resolved = PROGRAM.from_process(&arguments)?;
    let mut take = resolved.take();
    let invocation = Invocation::take(&mut take);
    take.finish()?;
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::try_new(&invocation.log)?)
        .with_writer(stderr)
        .init();
    Ok(weever_dataplane::run(&invocation.settings)?)
}
