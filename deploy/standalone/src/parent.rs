//! The pipe between parent and child: the parent holds the other end of the child's standard input and never writes. However
//! the parent ends, kill -9 included, the kernel closes its end and the child reads the end of the file.

use std::{io::Read, thread, time::Duration};

use rustix::process::{Signal, getpid, kill_process};

/// In a child's environment: `1` if its standard input is that pipe.
pub(crate) const PARENT_PIPE: &str = "WEEVER_PARENT_PIPE";

/// How a control plane ends that a signal ended: its sessions live on, the next one is to be started. 0 is the end of a drain.
pub(crate) const HANDED_OVER: u8 = 75;

/// From the parent's death to the end of a child that can't end in order.
const GRACE: Duration = Duration::from_secs(10);

/// Whether this process is such a child.
pub(crate) fn there_is_one() -> bool {
    std::env::var(PARENT_PIPE).as_deref() == Ok("1")
}

/// In a child: ends this process, as SIGINT would, when its parent has.
pub(crate) fn follow() -> std::io::Result<()> {
    if !there_is_one() {
        return Ok(());
    }
    thread::Builder::new().name("parent".to_owned()).spawn(|| {
        let mut input = std::io::stdin();
        // Until the end, or an error, which is as good as the end.
        while matches!(input.read(&mut [0; 64]), Ok(1..)) {}
        let _ = kill_process(getpid(), Signal::INT);
        thread::sleep(GRACE);
        let _ = kill_process(getpid(), Signal::KILL);
    })?;
    Ok(())
}
