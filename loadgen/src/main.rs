//! `weever-loadgen`: publishers and viewers for any WHIP/WHEP server, and what they saw.

use std::io::{self, Write};
use std::process::ExitCode;

use anyhow::Context;
use clap::ArgMatches;

use crate::load::Load;
use crate::report::Report;
use crate::scenario::{broadcast, capacity, churn, conference, soak};

mod arguments;
mod audience;
mod bounds;
mod client;
mod clock;
mod counts;
mod impair;
mod load;
mod measurement;
mod media;
mod peer;
mod process;
mod progress;
mod proof;
mod publisher;
mod publishers;
mod report;
mod run;
mod scenario;
mod sdp;
mod shard;
mod signal;
mod target;
mod viewer;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let matches = arguments::command().get_matches();
    let outcome = match matches.subcommand() {
        Some((name, matches)) => run(name, matches),
        None => Ok(ExitCode::FAILURE),
    };
    outcome.unwrap_or_else(|error| {
        let _ = writeln!(io::stderr(), "weever-loadgen: {error:#}");
        ExitCode::FAILURE
    })
}

fn run(name: &str, matches: &ArgMatches) -> anyhow::Result<ExitCode> {
    let scenario = arguments::SCENARIOS
        .into_iter()
        .find(|known| *known == name)
        .unwrap_or_default();
    let load = Load::from_matches(scenario, matches)?;
    // Threads inherit it; those of viewers choose one core each.
    if !load.cpus.is_empty() {
        shard::pin(&load.cpus);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("signalling")
        .enable_all()
        .build()?;
    let report = runtime.block_on(async {
        match name {
            "conference" => conference::run(&load).await,
            "churn" => churn::run(&load, arguments::churn(matches)).await,
            "capacity" => capacity::run(&load, arguments::ramp(matches)).await,
            "soak" => soak::run(&load, arguments::soak(matches)).await,
            _ => broadcast::run(&load).await,
        }
    })?;
    show(&load, &report)?;
    Ok(if report.holds() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn show(load: &Load, report: &Report) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    if load.json {
        serde_json::to_writer_pretty(&mut out, report)?;
        writeln!(out)?;
    } else {
        report::table::print(report, &mut out)?;
    }
    if let Some(path) = &load.html {
        let page = report::page::render(report);
        std::fs::write(path, page).with_context(|| format!("--html {path}"))?;
    }
    Ok(())
}
