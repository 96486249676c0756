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

/// A server that is watched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Node {
    /// What it is called in reports and errors: as it was given.
    pub(crate) name: String,
    pub(crate) whep: Template,
}

/// Where media goes in and out.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    pub(crate) whip: Template,
    /// One at least; viewers go to them in turn.
    pub(crate) nodes: Vec<Node>,
    /// Viewers open a control channel, and the server offers them every publisher's tracks.
    pub(crate) multistream: bool,
}

impl Target {
    /// Any servers' endpoints.
    pub(crate) fn endpoints(whip: &str, wheps: &[String]) -> anyhow::Result<Self> {
        let node = |whep: &String| {
            let name = whep.clone();
            let whep = Template::parse(whep).context("--whep")?;
            Ok(Node { name, whep })
        };
        Self::of(
            Template::parse(whip).context("--whip")?,
            wheps.iter().map(node).collect::<anyhow::Result<_>>()?,
            false,
        )
    }

    fn of(whip: Template, nodes: Vec<Node>, multistream: bool) -> anyhow::Result<Self> {
        ensure!(!nodes.is_empty(), "where to? No server is given");
        for (at, node) in nodes.iter().enumerate() {
            let again = nodes.iter().skip(at + 1).any(|other| other.name == node.name);
            ensure!(
                !again,
                "{} is given twice: each is one node of the report",
                node.name
            );
        }
        Ok(Self {
            whip,
            nodes,
            multistream,
        })
    }

    /// A room of Weevers, watched as their own clients do. In a conference everybody has one name for both: a server
    /// doesn't send back to a publisher what is its own.
    pub(crate) fn room(
        publish: &str,
        servers: &[String],
        room: &str,
        conference: bool,
    ) -> anyhow::Result<Self> {
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
        let below = |base: &str, way: &str, name: &str| {
            let base = base.trim_end_matches('/');
            Template::parse(&format!("{base}/{way}/{room}/{name}"))
        };
        let node = |server: &String| {
            let whep = below(server, "sub", &format!("{viewer}{VIEWER}")).context("--server")?;
            let name = server.trim_end_matches('/').to_owned();
            Ok(Node { name, whep })
        };
        let nodes = servers.iter().map(node).collect::<anyhow::Result<_>>()?;
        let whip = below(publish, "pub", &format!("{publisher}{PUBLISHER}")).context("--publish-server")?;
        Self::of(whip, nodes, true)
    }

    /// Where a viewer goes, by its number, from 1: its node's place.
    pub(crate) fn node_of(&self, viewer: u32) -> usize {
        let number = usize::try_from(viewer.saturating_sub(1)).unwrap_or(0);
        number % self.nodes.len().max(1)
    }

    /// Refuses names that would be given twice.
    pub(crate) fn check(&self, viewers: u32, publishers: u32) -> anyhow::Result<()> {
        for node in &self.nodes {
            ensure!(
                viewers <= 1 || node.whep.varies_by_viewer(),
                "--whep {} needs {VIEWER} in it, so that {viewers} viewers have names of their own \
                 (a server without names takes it as a query: ...?viewer={VIEWER})",
                node.name
            );
        }
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
        let endpoints = |whep: &str| Target::endpoints("http://a/in", &[whep.to_owned()]).unwrap();
        let target = endpoints("http://a/out/{n}");
        assert!(target.check(100, 1).is_ok());
        let error = target.check(100, 2).unwrap_err().to_string();
        assert!(error.contains("--whip") && error.contains("{p}"), "{error}");
        let fixed = endpoints("http://a/out");
        assert!(fixed.check(1, 1).is_ok());
        assert!(fixed.check(2, 1).unwrap_err().to_string().contains("{n}"));
    }

    #[test]
    fn a_room_has_both_ends() {
        let room = |room: &str, conference| {
            let server = "http://localhost:8443/".to_owned();
            Target::room(&server.clone(), &[server], room, conference)
        };
        let target = room("lobby", false).unwrap();
        assert_eq!(target.whip.url(1, 2).unwrap().path(), "/pub/lobby/publisher+2");
        assert_eq!(
            target.nodes[0].whep.url(9, 1).unwrap().as_str(),
            "http://localhost:8443/sub/lobby/viewer+9"
        );
        assert!(target.multistream && target.check(5, 5).is_ok());
        let conference = room("lobby", true).unwrap();
        assert_eq!(
            conference.whip.url(1, 2).unwrap().path(),
            "/pub/lobby/participant2"
        );
        assert_eq!(
            conference.nodes[0].whep.url(2, 1).unwrap().path(),
            "/sub/lobby/participant2"
        );
        assert!(room("a/b", false).is_err());
    }

    #[test]
    fn viewers_go_to_nodes_in_turn() {
        let servers = ["http://a", "http://b/", "http://c"].map(str::to_owned);
        let target = Target::room("http://d", &servers, "lobby", false).unwrap();
        let at = |viewer| target.nodes[target.node_of(viewer)].name.as_str();
        assert_eq!(
            [at(1), at(2), at(3), at(4)],
            ["http://a", "http://b", "http://c", "http://a"]
        );
        assert_eq!(target.whip.url(1, 1).unwrap().host_str(), Some("d"));
        let twice = ["http://a", "http://a/"].map(str::to_owned);
        let error = Target::room("http://a", &twice, "lobby", false)
            .unwrap_err()
            .to_string();
        assert!(error.contains("http://a is given twice"), "{error}");
    }
}
