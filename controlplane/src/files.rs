//! Files that operators change under a running server: renewed certificates, rotated keys.

use std::fmt;
use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// How often files are looked at. What is different is read when it was the same for two looks: whoever writes has finished.
const LOOK: Duration = Duration::from_secs(1);
/// Longest file, bytes: certificate chains and key sets are some kilobytes.
const MAX_FILE: u64 = 1 << 20;

/// What a file is known by: device, inode, size, and both times to the nanosecond. Links are followed, so that another file
/// behind the same name is another.
type Mark = [i64; 7];

/// Something that was read from files, and can be again.
pub(crate) trait Reread: Send + Sync + 'static {
    /// What it is, for the log.
    const WHAT: &'static str;
    /// Where it comes from, for the log.
    type Error: fmt::Display;
    /// The files.
    fn paths(&self) -> Vec<PathBuf>;
    /// Reads them, and uses what is in them from now on; what is wrong leaves everything as it was.
    fn reread(&self) -> Result<(), Self::Error>;
}

/// The state of some files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Marks(Vec<Option<Mark>>);

impl Marks {
    /// Of files as they are now; of what isn't there too.
    pub(crate) fn of(paths: &[PathBuf]) -> Self {
        let mark = |path: &PathBuf| std::fs::metadata(path).ok().map(|meta| mark(&meta));
        Self(paths.iter().map(mark).collect())
    }
}

fn mark(meta: &Metadata) -> Mark {
    let unsigned = [meta.dev(), meta.ino(), meta.size()];
    let [dev, ino, size] = unsigned.map(u64::cast_signed);
    [
        dev,
        ino,
        size,
        meta.mtime(),
        meta.mtime_nsec(),
        meta.ctime(),
        meta.ctime_nsec(),
    ]
}

/// Reads files again whenever they have changed, for ever. `marks` are those from before the first reading. Of each change the
/// log has one line.
pub(crate) async fn follow<R: Reread>(what: Arc<R>, mut marks: Marks) {
    let mut seen = marks.clone();
    loop {
        tokio::time::sleep(LOOK).await;
        let (reread, known, last) = (what.clone(), marks.clone(), seen);
        // A file system that hangs shall keep nobody else waiting.
        let look = tokio::task::spawn_blocking(move || {
            let now = Marks::of(&reread.paths());
            if now != known && now == last {
                match reread.reread() {
                    Ok(()) => tracing::info!("{} changed, and was read again", R::WHAT),
                    Err(error) => {
                        tracing::warn!(%error, "{} changed, but is of no use; the old one stays", R::WHAT);
                    }
                }
                return (now.clone(), now);
            }
            (known, now)
        });
        let Ok(looked) = look.await else { return };
        (marks, seen) = looked;
    }
}

/// The whole of a regular file.
pub(crate) fn read(path: &Path) -> io::Result<Vec<u8>> {
    // Before it is opened: to open a pipe waits for whoever writes into it.
    if !std::fs::metadata(path)?.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    let mut bytes = Vec::new();
    File::open(path)?.take(MAX_FILE + 1).read_to_end(&mut bytes)?;
    match bytes.len() as u64 > MAX_FILE {
        true => Err(io::Error::other(format!("it is longer than {MAX_FILE} bytes"))),
        false => Ok(bytes),
    }
}
