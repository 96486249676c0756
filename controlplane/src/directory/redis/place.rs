//! Where Redis is: `--redis` and `--redis-ca-file`.

use std::time::Duration;

use redis::aio::{MultiplexedConnection, PubSub};
use redis::cluster::{ClusterClient, ClusterClientBuilder};
use redis::cluster_async::ClusterConnection;
use redis::sentinel::{SentinelClient, SentinelClientBuilder, SentinelServerType};
use redis::{
    AsyncConnectionConfig, Client, ConnectionAddr, ConnectionInfo, ErrorKind, IntoConnectionInfo, RedisError,
    RedisResult, ServerErrorKind, TlsCertificates, TlsMode,
};

use super::PATIENCE;

/// Until a connection is given up.
pub(super) const CONNECT: Duration = Duration::from_secs(2);

/// Where it is, read from `--redis`.
#[derive(Clone)]
pub struct Place {
    kind: Kind,
    certificates: Option<Vec<u8>>,
}

#[derive(Clone)]
enum Kind {
    One(ConnectionInfo),
    /// Some nodes of a cluster; it tells the others.
    Cluster(Vec<ConnectionInfo>),
    Sentinel {
        sentinels: Vec<ConnectionAddr>,
        tls: bool,
        master: String,
        user: Option<String>,
        password: Option<String>,
        database: i64,
    },
}

/// Why a control plane can't start with this Redis.
#[derive(Debug, Clone, thiserror::Error)]
pub enum PlaceError {
    /// It is there, and has refused.
    #[error("--redis: {0}")]
    Refused(String),
    /// Another lives under this name.
    #[error(
        "--pod-name: another node is called {0:?} in this directory, and is alive; each node needs a name of its own"
    )]
    Name(String),
}

/// A connection for commands.
#[derive(Clone)]
pub(super) enum Connection {
    One(MultiplexedConnection),
    Cluster(ClusterConnection),
}

impl Place {
    /// Reads `--redis`.
    ///
    /// # Errors
    /// What is wrong with it. No part of it is quoted: it may hold a password.
    pub fn parse(text: &str) -> Result<Self, String> {
        let kind = match text.split_once("+sentinel://") {
            Some((scheme @ ("redis" | "rediss"), rest)) => sentinel(scheme == "rediss", rest)?,
            _ => {
                let nodes: Vec<&str> = text.split(',').map(str::trim).collect();
                let nodes = nodes.into_iter().map(node).collect::<Result<Vec<_>, _>>()?;
                match <[ConnectionInfo; 1]>::try_from(nodes) {
                    Ok([one]) => Kind::One(one),
                    Err(nodes) if nodes.iter().any(|node| node.redis_settings().db() != 0) => {
                        return Err("a Redis Cluster has no numbered databases".into());
                    }
                    Err(nodes) => Kind::Cluster(nodes),
                }
            }
        };
        Ok(Self {
            kind,
            certificates: None,
        })
    }

    /// Trusts these certificates (PEM) instead of the system's.
    ///
    /// # Errors
    /// The place is not reached by TLS, or that are none.
    pub fn trusting(mut self, pem: Vec<u8>) -> Result<Self, &'static str> {
        if !self.is_encrypted() {
            return Err("only for rediss:// URLs");
        }
        self.certificates = Some(pem);
        if let Kind::One(info) = &self.kind {
            self.client(info).map_err(|_| "PEM certificates wanted")?;
        }
        Ok(self)
    }

    /// Whether it is reached by TLS.
    pub fn is_encrypted(&self) -> bool {
        let encrypted = |info: &ConnectionInfo| matches!(info.addr(), ConnectionAddr::TcpTls { .. });
        match &self.kind {
            Kind::One(info) => encrypted(info),
            Kind::Cluster(nodes) => nodes.iter().all(encrypted),
            Kind::Sentinel { tls, .. } => *tls,
        }
    }

    fn trust(&self) -> Option<TlsCertificates> {
        let root_cert = self.certificates.clone()?;
        Some(TlsCertificates {
            client_tls: None,
            root_cert: Some(root_cert),
        })
    }

    fn client(&self, info: &ConnectionInfo) -> RedisResult<Client> {
        match self.trust() {
            Some(trust) => Client::build_with_tls(info.clone(), trust),
            None => Client::open(info.clone()),
        }
    }

    fn cluster(&self, nodes: &[ConnectionInfo]) -> RedisResult<ClusterClient> {
        let mut builder = ClusterClientBuilder::new(nodes.to_vec())
            .retries(2)
            .connection_timeout(CONNECT)
            .response_timeout(PATIENCE);
        if let Some(trust) = self.trust() {
            builder = builder.certs(trust);
        }
        builder.build()
    }

    fn sentinel(&self) -> RedisResult<Option<SentinelClient>> {
        let Kind::Sentinel {
            sentinels,
            tls,
            master,
            user,
            password,
            database,
        } = &self.kind
        else {
            return Ok(None);
        };
        let kind = SentinelServerType::Master;
        let mut builder = SentinelClientBuilder::new(sentinels.clone(), master.clone(), kind)?
            .set_client_to_redis_db(*database);
        if let Some(user) = user {
            builder = builder.set_client_to_redis_username(user);
        }
        if let Some(password) = password {
            builder = builder.set_client_to_redis_password(password);
        }
        if *tls {
            builder = builder
                .set_client_to_redis_tls_mode(TlsMode::Secure)
                .set_client_to_sentinel_tls_mode(TlsMode::Secure);
        }
        if let Some(trust) = self.trust() {
            builder = builder
                .set_client_to_redis_certificates(trust.clone())
                .set_client_to_sentinel_certificates(trust);
        }
        builder.build().map(Some)
    }

    /// Connects for commands.
    pub(super) async fn connect(&self) -> RedisResult<Connection> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT))
            .set_response_timeout(Some(PATIENCE));
        let mut connection = match &self.kind {
            Kind::One(info) => {
                let client = self.client(info)?;
                Connection::One(
                    client
                        .get_multiplexed_async_connection_with_config(&config)
                        .await?,
                )
            }
            Kind::Cluster(nodes) => Connection::Cluster(self.cluster(nodes)?.get_async_connection().await?),
            Kind::Sentinel { .. } => match self.sentinel()? {
                Some(mut sentinel) => {
                    Connection::One(sentinel.get_async_connection_with_config(&config).await?)
                }
                None => return Err(no_place()),
            },
        };
        // A server that wants a password says so only when it is asked something.
        let ping = redis::cmd("PING");
        match &mut connection {
            Connection::One(one) => ping.query_async::<()>(one).await?,
            Connection::Cluster(cluster) => ping.query_async::<()>(cluster).await?,
        }
        Ok(connection)
    }

    /// Connects for messages. In a cluster any node tells what was told to another.
    pub(super) async fn listen(&self) -> RedisResult<PubSub> {
        match &self.kind {
            Kind::One(info) => self.client(info)?.get_async_pubsub().await,
            Kind::Cluster(nodes) => {
                let mut last = no_place();
                for node in nodes {
                    match self.client(node)?.get_async_pubsub().await {
                        Ok(connected) => return Ok(connected),
                        Err(error) => last = error,
                    }
                }
                Err(last)
            }
            Kind::Sentinel { .. } => match self.sentinel()? {
                Some(mut sentinel) => sentinel.async_get_client().await?.get_async_pubsub().await,
                None => Err(no_place()),
            },
        }
    }
}

fn no_place() -> RedisError {
    RedisError::from((ErrorKind::InvalidClientConfig, "no server"))
}

/// Whether it makes no sense to try again: the password, or what its user may do, is wrong.
pub(super) fn is_refusal(error: &RedisError) -> bool {
    matches!(
        error.kind(),
        ErrorKind::AuthenticationFailed
            | ErrorKind::InvalidClientConfig
            | ErrorKind::Server(ServerErrorKind::NoPerm)
    ) || matches!(error.code(), Some("NOAUTH" | "WRONGPASS" | "NOPERM"))
        // What Redis 7.0, and later ones, say of a command within a script.
        || ["user executing the script can't", "ACL failure"].iter().any(|words| error.to_string().contains(words))
}

fn node(text: &str) -> Result<ConnectionInfo, String> {
    const WANTED: &str = "redis://[user:password@]host:port[/db] or rediss://, several nodes of a cluster separated by \
                          commas, or redis+sentinel://host:port,host:port/master-name";
    let is_url = text.starts_with("redis://") || text.starts_with("rediss://");
    let info = is_url.then(|| text.into_connection_info().ok()).flatten();
    // What fragments say is for tests of the client library.
    info.filter(|_| !text.contains('#')).ok_or_else(|| WANTED.into())
}

/// `[user:password@]host:port,host:port/master-name[/db]`
fn sentinel(tls: bool, text: &str) -> Result<Kind, String> {
    const WANTED: &str = "redis+sentinel://[user:password@]host:port,host:port/master-name[/db]";
    let (login, rest) = match text.rsplit_once('@') {
        Some((login, rest)) => (Some(login), rest),
        None => (None, text),
    };
    let (hosts, master) = rest.split_once('/').ok_or(WANTED)?;
    let (master, database) = master.split_once('/').unwrap_or((master, "0"));
    let scheme = if tls { "rediss" } else { "redis" };
    // The client library knows how to take a URL apart.
    let read = |host: &str, login: Option<&str>| {
        let login = login.map_or_else(String::new, |login| format!("{login}@"));
        node(&format!("{scheme}://{login}{host}")).map_err(|_| WANTED.to_owned())
    };
    let sentinels = hosts.split(',').map(|host| Ok(read(host, None)?.addr().clone()));
    let sentinels = sentinels.collect::<Result<Vec<_>, String>>()?;
    let first = read(hosts.split(',').next().unwrap_or_default(), login)?;
    if master.is_empty() {
        return Err(WANTED.into());
    }
    Ok(Kind::Sentinel {
        sentinels,
        tls,
        master: master.to_owned(),
        user: first.redis_settings().username().map(str::to_owned),
        password: first.redis_settings().password().map(str::to_owned),
        database: database.parse().map_err(|_| WANTED)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_read() {
        for good in [
            "redis://localhost",
            "redis://:secret@localhost:6379/3",
            "rediss://user:secret@[::1]:6380",
            "redis://a:1,redis://b:2",
            "redis+sentinel://a:26379,b:26379/main",
            "rediss+sentinel://user:secret@a:26379/main/2",
        ] {
            assert!(Place::parse(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "localhost",
            "localhost:6379",
            "http://:hunter2@localhost",
            "redis://localhost:port",
            "redis://a:1,",
            "redis://:hunter2@a:1/2,redis://b:2/2",
            "redis+sentinel://:hunter2@a:1",
            "redis+sentinel://:hunter2@a:1/",
            "redis+sentinel:///main",
            "unix:///tmp/redis.sock",
            "rediss://localhost#insecure",
        ] {
            let error = Place::parse(bad)
                .err()
                .unwrap_or_else(|| panic!("{bad} accepted"));
            assert!(!error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn trust_is_for_tls() {
        let place = |text| Place::parse(text).unwrap();
        assert!(place("redis://a").trusting(Vec::new()).is_err());
        assert!(place("rediss://a").is_encrypted() && !place("redis://a,rediss://b").is_encrypted());
    }
}
