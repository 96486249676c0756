//! Which URLs are published to and watched.

use std::net::SocketAddr;

use anyhow::{Context, ensure};
use reqwest::Url;

use crate::signal::SignalError;

const VIEWER: &str = "{n}";
const PUBLISHER: &str = "{p}";

/// A URL in which `{n}` becomes a viewer's number and `{p}` a publisher's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Template(String);

impl Template {
    pub(crate) fn parse(text: &str) -> Result<Self, SignalError> {
        let template = Self(text.to_owned());
        let wrong = || SignalError::Url(text.to_owned());
        let url = Url::parse(&template.filled(1, 1)).map_err(|_| wrong())?;
        let known = matches!(url.scheme(), "http" | "https") && url.has_host();
        known.then_some(template).ok_or_else(wrong)
    }

    fn filled(&self, viewer: u32, publisher: u32) -> String {
        self.0
            .replace(VIEWER, &viewer.to_string())
            .replace(PUBLISHER, &publisher.to_string())
    }

    pub(crate) fn url(&self, viewer: u32, publisher: u32) -> Result<Url, SignalError> {
        let text = self.filled(viewer, publisher);
        Url::parse(&text).map_err(|_| SignalError::Url(text))
    }

    pub(crate) fn varies_by_viewer(&self) -> bool {
        self.0.contains(VIEWER)
    }

    pub(crate) fn varies_by_publisher(&self) -> bool {
        self.0.contains(PUBLISHER)
    }
}

/// Where media goes in and out.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    pub(crate) whip: Template,
    pub(crate) whep: Template,
    /// Viewers open a control channel, and the server offers them every publisher's tracks.
    pub(crate) multistream: bool,
}

impl Target {
    /// Any server's endpoints.
    pub(crate) fn endpoints(whip: &str, whep: &str) -> anyhow::Result<Self> {
        Ok(Self {
            whip: Template::parse(whip).context("--whip")?,
            whep: Template::parse(whep).context("--whep")?,
            multistream: false,
        })
    }

    /// A room of a Weever, watched as its own clients do. In a conference everybody has one name for both: a server
    /// doesn't send back to a publisher what is its own.
    pub(crate) fn room(server: &str, room: &str, conference: bool) -> anyhow::Result<Self> {
        let base = server.trim_end_matches('/');
        let named = !room.is_empty() && !room.contains(['/', '?', '#', '{', '}']);
        ensure!(
            named,
            "--room `{room}`: a room's name has no / ? # {{ or }} in it"
        );
        let (publisher, viewer) = if conference {
            ("participant", "participant")
        } else {
            // A token belongs to what stands before the plus: one for all publishers, one for all viewers.
            ("publisher+", "viewer+")
        };
        Ok(Self {
            whip: Template::parse(&format!("{base}/pub/{room}/{publisher}{PUBLISHER}"))
                .context("--server")?,
            whep: Template::parse(&format!("{base}/sub/{room}/{viewer}{VIEWER}")).context("--server")?,
            multistream: true,
        })
    }

    /// Refuses names that would be given twice.
    pub(crate) fn check(&self, viewers: u32, publishers: u32) -> anyhow::Result<()> {
        ensure!(
            viewers <= 1 || self.whep.varies_by_viewer(),
            "--whep needs {VIEWER} in it, so that {viewers} viewers have names of their own \
             (a server without names takes it as a query: ...?viewer={VIEWER})"
        );
        ensure!(
            publishers <= 1 || self.whip.varies_by_publisher(),
            "--whip needs {PUBLISHER} in it, so that {publishers} publishers have names of their own"
        );
        Ok(())
    }
}

/// An address of a URL's server, IPv4 if it has one.
pub(crate) async fn address_of(url: &Url) -> anyhow::Result<SocketAddr> {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    let port = url.port_or_known_default().unwrap_or(80);
    let found = tokio::net::lookup_host((host, port))
        .await
        .with_context(|| format!("the name {host} can't be resolved"))?
        .min_by_key(SocketAddr::is_ipv6);
    found.with_context(|| format!("the name {host} has no address"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_filled_in() {
        let template = Template::parse("https://localhost:8443/sub/a/{n}?from={p}").unwrap();
        assert_eq!(
            template.url(7, 3).unwrap().as_str(),
            "https://localhost:8443/sub/a/7?from=3"
        );
        assert!(template.varies_by_viewer() && template.varies_by_publisher());
        for bad in ["", "localhost", "ftp://a/b", "http://", "not a url"] {
            assert!(Template::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn names_must_differ() {
        let target = Target::endpoints("http://a/in", "http://a/out/{n}").unwrap();
        assert!(target.check(100, 1).is_ok());
        let error = target.check(100, 2).unwrap_err().to_string();
        assert!(error.contains("--whip") && error.contains("{p}"), "{error}");
        let fixed = Target::endpoints("http://a/in", "http://a/out").unwrap();
        assert!(fixed.check(1, 1).is_ok());
        assert!(fixed.check(2, 1).unwrap_err().to_string().contains("{n}"));
    }

    #[test]
    fn a_room_has_both_ends() {
        let target = Target::room("http://localhost:8443/", "lobby", false).unwrap();
        assert_eq!(target.whip.url(1, 2).unwrap().path(), "/pub/lobby/publisher+2");
        assert_eq!(target.whep.url(9, 1).unwrap().path(), "/sub/lobby/viewer+9");
        assert!(target.multistream && target.check(5, 5).is_ok());
        let conference = Target::room("http://localhost:8443", "lobby", true).unwrap();
        assert_eq!(
            conference.whip.url(1, 2).unwrap().path(),
            "/pub/lobby/participant2"
        );
        assert_eq!(
            conference.whep.url(2, 1).unwrap().path(),
            "/sub/lobby/participant2"
        );
        assert!(Target::room("http://localhost:8443", "a/b", false).is_err());
    }
}
