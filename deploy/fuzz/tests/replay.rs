//! Every corpus file, and every cut of it, through its target, then seeded mutations: what fuzzing once found stays
//! found, on a stable compiler and within seconds.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use weever_fuzz::{TARGETS, Target};

/// Mutations of all files of one target together.
const MUTATIONS: usize = 10_000;
/// A target on a slow machine does fewer of them.
const BUDGET: Duration = Duration::from_secs(3);
const SEED: u64 = 0x5EED;
/// Seeds are small, so that a diff of them can be read.
const MAX_FILE: usize = 4096;

fn corpus(target: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("corpus")
        .join(target);
    let mut files: Vec<_> = std::fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| entry.expect("an entry").path())
        .map(|path| (path.clone(), std::fs::read(&path).expect("a readable file")))
        .collect();
    files.sort();
    files
}

/// One to four edits of the kinds that parsers trip over.
fn mutate(random: &mut fastrand::Rng, seed: &[u8], other: &[u8]) -> Vec<u8> {
    const EDGES: [u8; 8] = [0x00, 0x01, 0x7F, 0x80, 0xFE, 0xFF, 0x10, 0xBE];
    let mut data = seed.to_vec();
    for _ in 0..random.usize(1..=4) {
        let at = random.usize(0..=data.len());
        match random.u8(0..7) {
            0 if at < data.len() => data[at] ^= 1 << random.u8(0..8),
            1 if at < data.len() => data[at] = EDGES[random.usize(0..EDGES.len())],
            2 if at < data.len() => data[at] = random.u8(..),
            3 => data.truncate(at),
            4 => data.insert(at, random.u8(..)),
            5 => {
                let end = (at + random.usize(0..32)).min(data.len());
                let piece = data[at..end].to_vec();
                data.splice(at..at, piece);
            }
            _ => {
                data.truncate(at);
                data.extend_from_slice(&other[random.usize(0..=other.len())..]);
            }
        }
    }
    data
}

fn replay((name, target): Target) {
    let files = corpus(name);
    assert!(files.len() >= 10, "corpus/{name} has {} files", files.len());
    for (path, data) in &files {
        assert!(
            data.len() <= MAX_FILE,
            "{} has {} bytes",
            path.display(),
            data.len()
        );
        (0..=data.len()).for_each(|len| target(&data[..len]));
    }
    let start = Instant::now();
    let mut random = fastrand::Rng::with_seed(SEED);
    for round in 0..MUTATIONS {
        if start.elapsed() > BUDGET {
            eprintln!("{name}: stopped after {round} mutations");
            break;
        }
        let (path, seed) = &files[round % files.len()];
        let (_, other) = &files[random.usize(0..files.len())];
        let data = mutate(&mut random, seed, other);
        let outcome = std::panic::catch_unwind(|| target(&data));
        assert!(
            outcome.is_ok(),
            "{name}, mutation {round} of {}: {data:02x?}",
            path.display()
        );
    }
}

#[test]
fn every_corpus_and_its_mutations() {
    TARGETS.iter().copied().for_each(replay);
}

/// A target that nobody runs, or a corpus without a target, is a mistake.
#[test]
fn targets_binaries_and_corpora_match() {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let mut names: Vec<_> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    names.sort();
    for folder in ["corpus", "fuzz_targets"] {
        let mut found: Vec<_> = std::fs::read_dir(root.join(folder))
            .expect(folder)
            .map(|entry| {
                entry
                    .expect("an entry")
                    .path()
                    .file_stem()
                    .expect("a name")
                    .to_string_lossy()
                    .into_owned()
            })
            .collect();
        found.sort();
        assert_eq!(found, names, "{folder}/");
    }
}

/// The harness notices a target that fails.
#[test]
#[should_panic(expected = "corpus/nowhere")]
fn a_missing_corpus_is_an_error() {
    replay(("nowhere", |_| {}));
}

#[test]
#[should_panic(expected = "mutation")]
fn a_failing_target_is_reported_with_its_input() {
    // Seeds of RED are all shorter; mutations grow.
    let longest = corpus("red")
        .iter()
        .map(|(_, data)| data.len())
        .max()
        .expect("files");
    LONGEST.store(longest, std::sync::atomic::Ordering::Relaxed);
    replay(("red", |data| {
        assert!(data.len() <= LONGEST.load(std::sync::atomic::Ordering::Relaxed))
    }));
}

static LONGEST: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
