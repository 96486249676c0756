//! Weever whole, with one command: both planes, each a process of its own, from one executable.
//!
//! `weever controlplane` and `weever dataplane` are the planes; `weever` alone starts both and keeps them running.

mod parent;
mod planes;
mod readiness;
mod restarts;
mod settings;
mod socket_dir;
mod supervise;
mod welcome;

use std::{
    io::{Write, stderr},
    process::ExitCode,
};

use weever_settings::{Stop, flush_log};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args_os()
        .skip(1)
        .map(|argument| argument.to_string_lossy().into_owned())
        .collect();
    let (name, end) = match args.split_first() {
        Some((plane, args)) if plane == "controlplane" => ("weever controlplane", planes::controlplane(args)),
        Some((plane, args)) if plane == "dataplane" => ("weever dataplane", planes::dataplane(args)),
        Some((word, _)) if !word.starts_with('-') => (
            "weever",
            Err(anyhow::anyhow!(
                "{word:?} is no plane: controlplane, dataplane, or none to start both"
            )),
        ),
        _ => ("weever", supervise::run(&args).map(|()| ExitCode::SUCCESS)),
    };
    flush_log();
    match end {
        Ok(code) => code,
        Err(error) => match error.downcast_ref::<Stop>() {
            Some(stop) => stop.report(name),
            None => {
                // There is nobody left to tell when that fails too.
                let _ = writeln!(stderr(), "{name}: {error:#}");
                ExitCode::FAILURE
            }
        },
    }
}
