//! What processes of this machine cost, from `/proc`.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

/// One process at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sample {
    pub(crate) pid: u32,
    /// `weever dataplane`
    pub(crate) name: String,
    /// On a CPU so far, each thread by its id.
    pub(crate) cpu: BTreeMap<u32, Duration>,
    /// Names of threads.
    pub(crate) names: BTreeMap<u32, String>,
    /// Resident memory, bytes.
    pub(crate) rss: u64,
}

impl Sample {
    /// On a CPU since an earlier sample of the same process. What threads did that ended meanwhile is not in it.
    pub(crate) fn spent_since(&self, earlier: Option<&Self>) -> Duration {
        let before = |thread| {
            earlier
                .and_then(|sample| sample.cpu.get(thread))
                .copied()
                .unwrap_or_default()
        };
        self.cpu
            .iter()
            .map(|(thread, cpu)| cpu.saturating_sub(before(thread)))
            .sum()
    }

    /// The same for each thread, those of one name together.
    pub(crate) fn threads_since(&self, earlier: &Self) -> BTreeMap<String, Duration> {
        let mut threads = BTreeMap::new();
        for (thread, cpu) in &self.cpu {
            let before = earlier.cpu.get(thread).copied().unwrap_or_default();
            let name = self.names.get(thread).cloned().unwrap_or_default();
            *threads.entry(name).or_default() += cpu.saturating_sub(before);
        }
        threads
    }
}

/// A process and all that descend from it. Empty when it is gone.
pub(crate) fn tree(root: u32) -> Vec<Sample> {
    let parents = parents();
    let mut members = vec![root];
    let mut at = 0;
    while let Some(parent) = members.get(at).copied() {
        members.extend(
            parents
                .iter()
                .filter(|(_, above)| **above == parent)
                .map(|(pid, _)| *pid),
        );
        at += 1;
    }
    members.into_iter().filter_map(sample).collect()
}

/// This process.
pub(crate) fn own() -> Option<Sample> {
    sample(std::process::id())
}

fn parents() -> BTreeMap<u32, u32> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return BTreeMap::new();
    };
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok())
        .filter_map(|pid| {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
            // The name in parentheses may hold anything.
            let parent = stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()?;
            Some((pid, parent))
        })
        .collect()
}

fn sample(pid: u32) -> Option<Sample> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let kilobytes: u64 = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .and_then(|rest| rest.split_whitespace().next()?.parse().ok())
        .unwrap_or(0);
    Some(Sample {
        pid,
        name: name(pid),
        cpu: cpu(pid),
        names: names(pid),
        rss: kilobytes * 1024,
    })
}

fn cpu(pid: u32) -> BTreeMap<u32, Duration> {
    let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else {
        return BTreeMap::new();
    };
    tasks
        .flatten()
        .filter_map(|task| {
            let schedstat = fs::read_to_string(task.path().join("schedstat")).ok()?;
            let ns = schedstat.split_whitespace().next()?.parse().ok()?;
            Some((task.file_name().to_str()?.parse().ok()?, Duration::from_nanos(ns)))
        })
        .collect()
}

fn names(pid: u32) -> BTreeMap<u32, String> {
    let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else {
        return BTreeMap::new();
    };
    tasks
        .flatten()
        .filter_map(|task| {
            let name = fs::read_to_string(task.path().join("comm")).ok()?;
            Some((task.file_name().to_str()?.parse().ok()?, name.trim().to_owned()))
        })
        .collect()
}

/// The program and its first word, if that is not a flag.
fn name(pid: u32) -> String {
    let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let mut words = line
        .split(|byte| *byte == 0)
        .map(String::from_utf8_lossy)
        .filter(|word| !word.is_empty());
    let program = words.next().unwrap_or_default();
    let program = program.rsplit('/').next().unwrap_or_default().to_owned();
    match words.next() {
        Some(word) if !word.starts_with('-') => format!("{program} {word}"),
        _ => program,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_costs_something() {
        let before = own().unwrap();
        assert_eq!(before.pid, std::process::id());
        assert!(before.rss > 100 * 1024);
        let mut sum = 0u64;
        while own().unwrap().spent_since(Some(&before)) < Duration::from_millis(20) {
            sum = (0..10_000).fold(sum, |sum, n| sum.wrapping_mul(31).wrapping_add(n));
        }
        assert!(
            own().unwrap().spent_since(None) >= Duration::from_millis(20),
            "{sum}"
        );
    }

    #[test]
    fn a_thread_that_ended_takes_nothing_away() {
        let sample = |threads: &[(u32, u64)]| Sample {
            pid: 1,
            name: String::new(),
            cpu: threads
                .iter()
                .map(|(id, ms)| (*id, Duration::from_millis(*ms)))
                .collect(),
            names: BTreeMap::new(),
            rss: 0,
        };
        let later = sample(&[(1, 30), (3, 5)]);
        assert_eq!(
            later.spent_since(Some(&sample(&[(1, 10), (2, 500)]))),
            Duration::from_millis(25)
        );
        assert_eq!(later.spent_since(None), Duration::from_millis(35));
    }

    #[test]
    fn a_tree_holds_children() {
        let mut child = std::process::Command::new("sleep").arg("30").spawn().unwrap();
        let found = tree(std::process::id());
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(found[0].pid, std::process::id());
        assert!(found.iter().any(|sample| sample.pid == child.id()));
        assert!(tree(u32::MAX).is_empty());
    }
}
