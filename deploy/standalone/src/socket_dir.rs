//! A directory for the control socket that only this user can enter.

use std::{
    fs::DirBuilder,
    hash::{BuildHasher, RandomState},
    io,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
};

/// Names tried before something else must be wrong.
const ATTEMPTS: usize = 16;

/// Removed, with the socket in it, when dropped.
#[derive(Debug)]
pub(crate) struct SocketDir(PathBuf);

impl SocketDir {
    /// Makes a fresh one below `parent`, mode 0700.
    pub(crate) fn create(parent: &Path) -> io::Result<Self> {
        let mut attempt = 0;
        loop {
            // Creation is exclusive: a name that somebody guessed costs an attempt and nothing more.
            let path = parent.join(format!("weever-{:016x}", RandomState::new().hash_one(attempt)));
            match DirBuilder::new().mode(0o700).create(&path) {
                Ok(()) => return Ok(Self(path)),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists && attempt < ATTEMPTS => {
                    attempt += 1;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Where the control plane shall listen.
    pub(crate) fn socket(&self) -> PathBuf {
        self.0.join("control.sock")
    }
}

impl Drop for SocketDir {
    fn drop(&mut self) {
        // The control plane may have removed the socket itself; what is left then is tidied up with /tmp.
        let _ = std::fs::remove_file(self.socket());
        let _ = std::fs::remove_dir(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn is_private_fresh_and_gone_afterwards() {
        let parent = std::env::temp_dir();
        let (one, other) = (
            SocketDir::create(&parent).unwrap(),
            SocketDir::create(&parent).unwrap(),
        );
        assert_ne!(one.socket(), other.socket());
        let mode = std::fs::metadata(&one.0).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
        std::fs::write(one.socket(), "").unwrap();
        let path = one.0.clone();
        drop(one);
        assert!(!path.exists() && other.0.exists());
        assert!(SocketDir::create(Path::new("/nonexistent")).is_err());
    }
}
