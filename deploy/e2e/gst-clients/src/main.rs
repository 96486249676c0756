//! gst-launch with `whipclientsink` and `whepclientsrc` built in, for the end-to-end tests: Debian has no package of them.
//!
//!     weever-gst-clients PIPELINE
//!
//! Runs a pipeline described as for gst-launch-1.0. Whenever a line comes in, a line goes out for each sink that got
//! something: its name, the buffers it got, and how many of them differed from the one before. It ends in order with its
//! input: WHIP and WHEP sessions are left by DELETE. An error of the pipeline is told on standard error; exit code 1.

use std::{
    collections::{BTreeMap, hash_map::DefaultHasher},
    error::Error,
    hash::{Hash, Hasher},
    io::BufRead,
    process::ExitCode,
    sync::{Arc, Mutex},
};

use gstreamer::{self as gst, glib, prelude::*};

/// What one sink got.
#[derive(Default)]
struct Got {
    buffers: u64,
    changed: u64,
    last: u64,
}

type Counts = Arc<Mutex<BTreeMap<String, Got>>>;

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let (Some(description), None) = (arguments.next(), arguments.next()) else {
        eprintln!("usage: weever-gst-clients PIPELINE");
        return ExitCode::from(2);
    };
    match run(&description) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("weever-gst-clients: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(description: &str) -> Result<(), Box<dyn Error>> {
    gst::init()?;
    gstrswebrtc::plugin_register_static()?;
    let pipeline = gst::parse::launch(description)?
        .downcast::<gst::Pipeline>()
        .map_err(|_| "one element is no pipeline")?;
    stay_local(&pipeline)?;
    let counts = Counts::default();
    count(&pipeline, &counts)?;
    let bus = pipeline.bus().ok_or("a pipeline without a bus")?;
    pipeline.set_state(gst::State::Playing)?;
    answer_input(&pipeline, counts);
    let outcome = until_end(&bus);
    // Leaving takes a DELETE, so it can fail as well, and nobody would know.
    pipeline.set_state(gst::State::Null)?;
    outcome
}

/// The elements' default is a STUN server on the Internet.
fn stay_local(pipeline: &gst::Pipeline) -> Result<(), glib::BoolError> {
    for element in pipeline.iterate_recurse().into_iter().flatten() {
        if element.has_property("stun-server") {
            element.set_property("stun-server", None::<&str>);
        }
    }
    Ok(())
}

fn count(pipeline: &gst::Pipeline, counts: &Counts) -> Result<(), Box<dyn Error>> {
    for sink in pipeline.iterate_sinks() {
        let sink = sink?;
        for pad in sink.sink_pads() {
            let (name, counts) = (sink.name().to_string(), Arc::clone(counts));
            pad.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
                if let Some(buffer) = info.buffer() {
                    take(&name, buffer, &counts);
                }
                gst::PadProbeReturn::Ok
            });
        }
    }
    Ok(())
}

fn take(name: &str, buffer: &gst::BufferRef, counts: &Counts) {
    let mut hasher = DefaultHasher::new();
    if let Ok(map) = buffer.map_readable() {
        map.as_slice().hash(&mut hasher);
    }
    let content = hasher.finish();
    let mut counts = counts.lock().expect("nobody panics with it");
    let got = counts.entry(name.to_owned()).or_default();
    got.buffers += 1;
    got.changed += u64::from(got.last != content);
    got.last = content;
}

/// On a thread of its own; the end of the input becomes a message on the pipeline's bus.
fn answer_input(pipeline: &gst::Pipeline, counts: Counts) {
    let pipeline = pipeline.downgrade();
    std::thread::spawn(move || {
        for _line in std::io::stdin().lock().lines().map_while(Result::ok) {
            for (name, got) in &*counts.lock().expect("nobody panics with it") {
                println!("{name} {} {}", got.buffers, got.changed);
            }
            println!();
        }
        if let Some(pipeline) = pipeline.upgrade() {
            let end = gst::message::Application::new(gst::Structure::new_empty("input-ended"));
            // A bus that takes nothing any more belongs to a pipeline that has ended.
            let _ = pipeline.post_message(end);
        }
    });
}

fn until_end(bus: &gst::Bus) -> Result<(), Box<dyn Error>> {
    for message in bus.iter_timed(gst::ClockTime::NONE) {
        match message.view() {
            gst::MessageView::Application(_) | gst::MessageView::Eos(_) => return Ok(()),
            gst::MessageView::Error(error) => {
                let whom = error
                    .src()
                    .map(|source| source.path_string().to_string())
                    .unwrap_or_default();
                let details = error.debug().unwrap_or_default();
                return Err(format!("{whom}: {} ({details})", error.error()).into());
            }
            _ => {}
        }
    }
    Err("the pipeline's bus was closed".into())
}
