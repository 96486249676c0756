//! Where every program's log goes: standard error, through a thread of its own. Who logs never waits and never fails, be it
//! that the disk is full or that nobody reads the pipe any more; what is lost then is counted, and said when there is room.

use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

/// Lines that wait to be written. When full, new ones are lost.
const LINES: usize = 4096;
/// How long the end of a program waits for its last lines.
const LAST_LINES: Duration = Duration::from_secs(1);
/// How often it looks for room behind them.
const LOOK_AGAIN: Duration = Duration::from_millis(1);

enum Letter {
    Line(Vec<u8>),
    /// To be answered when everything before is written.
    Flush(SyncSender<()>),
}

/// A log as a writer: each write is one line and is taken whole, or lost whole.
#[derive(Debug, Clone)]
pub(crate) struct Log {
    letters: SyncSender<Letter>,
    lost: Arc<AtomicU64>,
}

static STDERR: OnceLock<Log> = OnceLock::new();

/// The log of this process.
pub(crate) fn stderr() -> Log {
    STDERR.get_or_init(|| Log::to(io::stderr())).clone()
}

/// Waits until what was logged is written, at most a second. To be called where `main` ends.
pub fn flush_log() {
    if let Some(log) = STDERR.get() {
        log.flush_within(LAST_LINES);
    }
}

impl Log {
    fn to(mut sink: impl Write + Send + 'static) -> Self {
        let (letters, waiting) = sync_channel(LINES);
        let log = Self {
            letters,
            lost: Arc::default(),
        };
        let lost = log.lost.clone();
        // Without a thread nothing takes the lines: they are lost, and the program goes on.
        let _ = std::thread::Builder::new()
            .name("log".into())
            .spawn(move || write_all(&waiting, &lost, &mut sink));
        log
    }

    fn flush_within(&self, patience: Duration) {
        let end = Instant::now() + patience;
        let (done, written) = sync_channel(1);
        let mut flush = Letter::Flush(done);
        while let Err(TrySendError::Full(back)) = self.letters.try_send(flush) {
            if Instant::now() >= end {
                return;
            }
            std::thread::sleep(LOOK_AGAIN);
            flush = back;
        }
        // Late or not: the program ends.
        let _ = written.recv_timeout(end.saturating_duration_since(Instant::now()));
    }
}

fn write_all(waiting: &Receiver<Letter>, lost: &AtomicU64, sink: &mut impl Write) {
    for letter in waiting {
        let done = match letter {
            Letter::Line(line) if sink.write_all(&line).is_err() => {
                lost.fetch_add(1, Ordering::Relaxed);
                continue;
            }
            Letter::Line(_) => None,
            Letter::Flush(done) => Some(done),
        };
        let count = lost.swap(0, Ordering::Relaxed);
        if count > 0 && writeln!(sink, "{count} lines of the log were lost: nobody took them").is_err() {
            lost.fetch_add(count, Ordering::Relaxed);
        }
        if let Some(done) = done {
            let _ = sink.flush();
            let _ = done.try_send(());
        }
    }
}

impl Write for Log {
    /// Never fails: who logs has other things to do than to worry about the log.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if let Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) =
            self.letters.try_send(Letter::Line(line.to_vec()))
        {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(30);

    /// A sink that can be made to fail, or to take nothing.
    #[derive(Clone, Default)]
    struct Sink {
        written: Arc<Mutex<String>>,
        is_full: Arc<Mutex<bool>>,
    }

    impl Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if *self.is_full.lock().unwrap() {
                return Err(io::ErrorKind::StorageFull.into());
            }
            let text = String::from_utf8(bytes.to_vec()).unwrap();
            self.written.lock().unwrap().push_str(&text);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lines_come_in_order_and_the_end_waits_for_them() {
        let sink = Sink::default();
        let mut log = Log::to(sink.clone());
        for n in 0..100 {
            writeln!(log, "{n}").unwrap();
        }
        log.flush_within(PATIENCE);
        let wanted: String = (0..100).map(|n| format!("{n}\n")).collect();
        assert_eq!(*sink.written.lock().unwrap(), wanted);
    }

    #[test]
    fn a_full_disk_loses_lines_and_says_so_later() {
        let sink = Sink::default();
        let mut log = Log::to(sink.clone());
        *sink.is_full.lock().unwrap() = true;
        for _ in 0..3 {
            log.write_all(b"lost\n").unwrap();
        }
        log.flush_within(PATIENCE);
        *sink.is_full.lock().unwrap() = false;
        log.write_all(b"again\n").unwrap();
        log.flush_within(PATIENCE);
        let said = sink.written.lock().unwrap().clone();
        assert_eq!(said, "again\n3 lines of the log were lost: nobody took them\n");
    }

    #[test]
    fn a_sink_that_hangs_keeps_nobody_waiting() {
        let sink = Sink::default();
        let hanging = sink.is_full.clone();
        let hangs = hanging.lock().unwrap();
        let mut log = Log::to(sink.clone());
        for _ in 0..2 * LINES {
            log.write_all(b"x\n").unwrap();
        }
        let lost = log.lost.load(Ordering::Relaxed);
        assert!(
            (LINES as u64 - 1..=LINES as u64).contains(&lost),
            "{lost} were lost"
        );
        drop(hangs);
        log.flush_within(PATIENCE);
        log.write_all(b"y\n").unwrap();
        log.flush_within(PATIENCE);
        assert!(sink.written.lock().unwrap().ends_with("y\n"));
    }
}
