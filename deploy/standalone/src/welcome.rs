//! What is said once everything runs.

use std::net::IpAddr;

use crate::settings::{Settings, local};

/// Where to open, and commands to copy.
pub(crate) fn text(settings: &Settings) -> String {
    let scheme = if settings.tls { "https" } else { "http" };
    let address = local(settings.public);
    // Browsers give camera and microphone to `localhost`; which of its addresses is bound they find out.
    let host = match address.ip() {
        IpAddr::V4(ip) if ip.is_loopback() => "localhost".to_owned(),
        IpAddr::V6(ip) if ip.is_loopback() => "localhost".to_owned(),
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => format!("[{ip}]"),
    };
    let base = format!("{scheme}://{host}:{}", address.port());
    let private = local(settings.private);
    let mut notes = String::new();
    if !settings.tls {
        notes.push_str(
            "\n  Browsers give camera and microphone only to localhost and to https:// pages. For other machines add\n  \
             --cert-file cert.pem --key-file key.pem\n",
        );
    }
    if settings.auth {
        notes.push_str(&format!(
            "\n  Tokens are asked for. Set one, and give it to the client as its bearer token:\n  \
             curl -d '{{\"room\":\"demo\",\"id\":\"cam\",\"token\":\"SECRET\"}}' http://{private}/create/pub\n",
        ));
    }
    format!(
        "
  Weever is up.

  Open         {base}/
  Private API  http://{private}/ (for you alone: tokens, lists, metrics)

  Publish to the room \"demo\", with ffmpeg 8 or newer:
    ffmpeg -re -f lavfi -i testsrc2=s=1280x720:r=30 -f lavfi -i sine=r=48000 -pix_fmt yuv420p \\
      -c:v libx264 -profile:v baseline -tune zerolatency -bf 0 -g 60 -c:a libopus -ac 2 \\
      -f whip {base}/pub/demo/ffmpeg
  OBS:
    Settings > Stream > Service WHIP, Server {base}/pub/demo/obs
  GStreamer:
    gst-launch-1.0 whipclientsink name=whip \\
      signaller::whip-endpoint={base}/pub/demo/gstreamer \\
      videotestsrc is-live=true pattern=ball ! whip. audiotestsrc is-live=true ! whip.

  Watch in the browser, or with any WHEP player at {base}/sub/demo/viewer:
    gst-launch-1.0 whepclientsrc name=whep \\
      signaller::whep-endpoint={base}/sub/demo/viewer \\
      whep. ! videoconvert ! autovideosink whep. ! audioconvert ! autoaudiosink
{notes}
  Ctrl-C ends it.

"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text_for(args: &[&str]) -> String {
        text(&crate::settings::tests::read(args).unwrap())
    }

    #[test]
    fn says_where_and_how() {
        let plain = text_for(&[
            "--host=0.0.0.0",
            "--port=8000",
            "--private-host=127.0.0.1",
            "--private-port=9000",
        ]);
        assert!(plain.contains("Open         http://localhost:8000/"), "{plain}");
        assert!(plain.contains("http://127.0.0.1:9000/"), "{plain}");
        assert!(
            plain.contains("-f whip http://localhost:8000/pub/demo/"),
            "{plain}"
        );
        assert!(
            plain.contains("--cert-file") && !plain.contains("/create/pub"),
            "{plain}"
        );
        assert!(plain.lines().all(|line| line.len() < 110), "{plain}");
    }

    /// The end-to-end tests run the README's.
    #[test]
    fn gstreamer_is_told_what_the_readme_tells_it() {
        let commands = |text: &str| -> Vec<String> {
            let one_line = text.replace("\\\n", " ").replace("/demo/", "/testroom/");
            let lines = one_line.lines().filter(|line| line.contains("gst-launch-1.0"));
            lines
                .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
                .collect()
        };
        let told = commands(&text_for(&["--port=8443"]));
        assert_eq!(told.len(), 2);
        assert_eq!(told, commands(include_str!("../../../README.md")));
    }

    #[test]
    fn says_what_tls_and_tokens_change() {
        let mut settings = crate::settings::tests::read(&["--host=::", "--auth", "--port=8000"]).unwrap();
        settings.tls = true;
        let text = text(&settings);
        assert!(text.contains("https://localhost:8000/"), "{text}");
        assert!(
            !text.contains("--cert-file") && text.contains("/create/pub"),
            "{text}"
        );
        assert!(text_for(&["--host=192.0.2.1", "--port=8000"]).contains("http://192.0.2.1:8000/"));
    }
}
