//! Writes the hand-made seeds of every corpus anew: `cargo run --example seeds`, after a format has changed. Files that
//! fuzzing added (`found-*`) are left alone.

mod seeds {
    pub(crate) mod http;
    pub(crate) mod ipc;
    pub(crate) mod media;
    pub(crate) mod relay;
    pub(crate) mod sdp;
    pub(crate) mod settings;
    pub(crate) mod transport;
    pub(crate) mod worker;
}

use std::path::PathBuf;

/// A file's name and its bytes.
pub(crate) type Seed = (&'static str, Vec<u8>);

/// Bytes from hexadecimal digits; everything else is there for the reader.
pub(crate) fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text
        .chars()
        .filter_map(|c| c.to_digit(16))
        .map(|d| d as u8)
        .collect();
    assert!(digits.len().is_multiple_of(2), "half a byte in {text}");
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

fn main() -> std::io::Result<()> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("corpus");
    for (target, seeds) in [
        ("rtp", seeds::transport::rtp()),
        ("rtcp", seeds::transport::rtcp()),
        ("stun", seeds::transport::stun()),
        ("payload", seeds::media::payload()),
        ("red", seeds::media::red()),
        ("to_shard", seeds::ipc::to_shard()),
        ("from_shard", seeds::ipc::from_shard()),
        ("relay", seeds::relay::relay()),
        ("worker", seeds::worker::worker()),
        ("sdp_offer", seeds::sdp::sdp_offer()),
        ("sdp_answer", seeds::sdp::sdp_answer()),
        ("sdp_fragment", seeds::sdp::sdp_fragment()),
        ("settings", seeds::settings::settings()),
        ("webhook_reply", seeds::http::webhook_reply()),
        ("event_topics", seeds::http::event_topics()),
    ] {
        let folder = root.join(target);
        std::fs::create_dir_all(&folder)?;
        for (name, data) in seeds {
            std::fs::write(folder.join(name), data)?;
        }
    }
    Ok(())
}
