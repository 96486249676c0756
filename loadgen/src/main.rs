//! `weever-loadgen`: publishers and viewers for any WHIP/WHEP server, and what they saw.

use std::io::{self, Write};
use std::process::ExitCode;

use clap::ArgMatches;

use crate::broadcast::Settings;

mod arguments;
mod broadcast;
mod client;
mod http;
mod media;
mod process;
mod publisher;
mod quantiles;
mod report;
mod viewer;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let matches = arguments::command().get_matches();
    let outcome = match matches.subcommand() {
        Some(("broadcast", matches)) => run_broadcast(matches),
        _ => Ok(ExitCode::FAILURE),
    };
    outcome.unwrap_or_else(|error| {
        let _ = writeln!(io::stderr(), "weever-loadgen: {error:#}");
        ExitCode::FAILURE
    })
}

fn run_broadcast(matches: &ArgMatches) -> anyhow::Result<ExitCode> {
    let settings = Settings::from_matches(matches)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(settings.threads)
        .enable_all()
        .build()?;
    let report = runtime.block_on(broadcast::run(&settings))?;
    let mut out = io::stdout().lock();
    if settings.json {
        serde_json::to_writer_pretty(&mut out, &report)?;
        writeln!(out)?;
    } else {
        report.print(&mut out)?;
    }
    Ok(if report.viewers.failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
