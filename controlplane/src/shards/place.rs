//! Where the control socket is, and whose.

use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt};
use std::path::Path;

use tokio::net::{UnixListener, UnixStream};

use crate::config::user_id;

/// Write permission for others (chmod(2)).
const EVERYBODY: u32 = 0o002;
/// Only its owner removes a file, as in `/tmp`.
const STICKY: u32 = 0o1000;

/// Why the control socket can't be used.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// Somebody listens there.
    #[error("{0} is in use by another control plane: stop it, or name another socket with --control-socket")]
    InUse(String),
    /// Something else has the path.
    #[error("{0} exists and is no socket: remove it, or name another place with --control-socket")]
    NoSocket(String),
    /// Somebody else could put a socket of their own in its place.
    #[error("the directory {0} belongs to another user: name another place with --control-socket")]
    Foreign(String),
    /// Anybody could.
    #[error(
        "everybody may write to the directory {0}: take that away (chmod o-w), or name another place with --control-socket"
    )]
    Open(String),
    /// The file system refused.
    #[error("control socket {path}: {source}; name another place with --control-socket")]
    Io {
        /// Which.
        path: String,
        /// Why.
        source: io::Error,
    },
}

/// Listens, for this user alone: directory 0700, socket 0600. What a dead control plane left behind is replaced.
///
/// # Errors
/// The place is taken, not a socket's, or open to others.
pub fn listen(path: &Path) -> Result<UnixListener, SocketError> {
    let io = |source| SocketError::Io {
        path: path.display().to_string(),
        source,
    };
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty());
    let named = || dir.map(|dir| dir.display().to_string()).unwrap_or_default();
    match dir.map(std::fs::metadata) {
        Some(Ok(meta)) if ![0, user_id()].contains(&meta.uid()) => return Err(SocketError::Foreign(named())),
        Some(Ok(meta)) if meta.mode() & EVERYBODY != 0 && meta.mode() & STICKY == 0 => {
            return Err(SocketError::Open(named()));
        }
        Some(Err(error)) if error.kind() == io::ErrorKind::NotFound => {
            let mut builder = std::fs::DirBuilder::new();
            let dir = dir.unwrap_or(Path::new("."));
            builder.recursive(true).mode(0o700).create(dir).map_err(io)?;
        }
        _ => {}
    }
    if let Ok(meta) = std::fs::symlink_metadata(path) {
        if !meta.file_type().is_socket() {
            return Err(SocketError::NoSocket(path.display().to_string()));
        }
        match std::os::unix::net::UnixStream::connect(path) {
            Ok(_) => return Err(SocketError::InUse(path.display().to_string())),
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                std::fs::remove_file(path).map_err(io)?;
            }
            Err(error) => return Err(io(error)),
        }
    }
    let listener = UnixListener::bind(path).map_err(io)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).map_err(io)?;
    Ok(listener)
}

/// Whether who dialled may: the permissions say so too, but not from the first moment on, nor where an operator changed them.
pub(super) fn is_ours(stream: &UnixStream) -> bool {
    stream
        .peer_cred()
        .is_ok_and(|peer| [0, user_id()].contains(&peer.uid()))
}
