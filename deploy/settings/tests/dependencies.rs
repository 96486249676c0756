//! Who may know whom: `proto ← core ← dataplane → uring`, `proto ← controlplane`; only `weever` knows both planes.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use cargo_metadata::{DependencyKind, MetadataCommand, Package};

/// Every crate of the workspace and those of ours that it may depend on.
const ALLOWED: &[(&str, &[&str])] = &[
    ("weever-proto", &[]),
    ("weever-settings", &[]),
    ("weever-uring", &[]),
    ("weever-core", &["weever-proto"]),
    (
        "weever-dataplane",
        &["weever-core", "weever-proto", "weever-settings", "weever-uring"],
    ),
    ("weever-controlplane", &["weever-proto", "weever-settings"]),
    (
        "weever-standalone",
        &["weever-controlplane", "weever-dataplane", "weever-settings"],
    ),
    ("weever-loadgen", &[]),
    ("weever-benches", &["weever-core", "weever-proto", "weever-uring"]),
];

/// Beside `ALLOWED`, in tests only.
const ALLOWED_IN_TESTS: &[(&str, &[&str])] = &[
    ("weever-controlplane", &["weever-proto"]),
    ("weever-dataplane", &["weever-proto"]),
];

/// The only crate whose sources may say `unsafe`.
const UNSAFE: &str = "weever-uring";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn packages() -> Vec<Package> {
    MetadataCommand::new()
        .manifest_path(root().join("Cargo.toml"))
        .no_deps()
        .exec()
        .expect("cargo metadata reads the workspace")
        .packages
}

/// The edges that the rules forbid, as `from -> to`.
fn forbidden(edges: &BTreeSet<(String, String, bool)>) -> Vec<String> {
    let allowed: BTreeMap<_, _> = ALLOWED.iter().copied().collect();
    let in_tests: BTreeMap<_, _> = ALLOWED_IN_TESTS.iter().copied().collect();
    edges
        .iter()
        .filter(|(from, to, test)| {
            let usual = allowed
                .get(from.as_str())
                .is_some_and(|to_all| to_all.contains(&to.as_str()));
            let for_tests = in_tests
                .get(from.as_str())
                .is_some_and(|to_all| to_all.contains(&to.as_str()));
            !(usual || *test && for_tests)
        })
        .map(|(from, to, _)| format!("{from} -> {to}"))
        .collect()
}

fn edges(packages: &[Package]) -> BTreeSet<(String, String, bool)> {
    packages
        .iter()
        .flat_map(|package| {
            package
                .dependencies
                .iter()
                .filter(|dependency| dependency.path.is_some())
                .map(|dependency| {
                    let test = dependency.kind == DependencyKind::Development;
                    (package.name.to_string(), dependency.name.clone(), test)
                })
        })
        .collect()
}

#[test]
fn crates_know_only_those_they_may() {
    let packages = packages();
    let edges = edges(&packages);
    assert!(
        edges.contains(&("weever-core".into(), "weever-proto".into(), false)),
        "the edges were not read: {edges:?}"
    );
    assert_eq!(
        forbidden(&edges),
        Vec::<String>::new(),
        "see ALLOWED in {}",
        file!()
    );
}

#[test]
fn every_crate_has_a_rule() {
    let there: BTreeSet<String> = packages()
        .iter()
        .map(|package| package.name.to_string())
        .collect();
    let ruled: BTreeSet<String> = ALLOWED.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(there, ruled);
}

#[test]
fn a_forbidden_edge_is_found() {
    let wrong = BTreeSet::from([
        ("weever-core".to_owned(), "weever-uring".to_owned(), false),
        (
            "weever-controlplane".to_owned(),
            "weever-dataplane".to_owned(),
            true,
        ),
        ("weever-core".to_owned(), "weever-proto".to_owned(), false),
    ]);
    assert_eq!(
        forbidden(&wrong),
        [
            "weever-controlplane -> weever-dataplane",
            "weever-core -> weever-uring"
        ]
    );
}

/// Rust files below a crate's folder, without those of crates nested in it.
fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a crate's folder is readable") {
        let path = entry.expect("a folder's entry is readable").path();
        if path.is_dir() {
            let foreign = path.join("Cargo.toml").exists() || path.ends_with("target");
            if !foreign {
                sources(&path, found);
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// Whether a line of code, not of comment, uses the keyword or lifts the lint.
fn says_unsafe(line: &str) -> bool {
    let code = line.split("//").next().unwrap_or_default();
    let lifted = ["allow(unsafe_code", "expect(unsafe_code", "warn(unsafe_code"];
    let used = [
        "unsafe {",
        "unsafe fn",
        "unsafe impl",
        "unsafe trait",
        "unsafe extern",
    ];
    lifted.iter().chain(&used).any(|words| code.contains(words))
}

#[test]
fn unsafe_stays_in_its_crate() {
    let me = Path::new(file!()).file_name().expect("this file has a name");
    let mut seen_where_allowed = false;
    for package in packages() {
        let folder = package
            .manifest_path
            .parent()
            .expect("a manifest lies in a folder");
        let manifest = fs::read_to_string(&package.manifest_path).expect("a manifest is readable");
        assert!(
            manifest.contains("[lints]\nworkspace = true"),
            "{} leaves the lints out",
            package.name
        );
        let mut files = Vec::new();
        sources(folder.as_std_path(), &mut files);
        for file in files.iter().filter(|file| file.file_name() != Some(me)) {
            let text = fs::read_to_string(file).expect("a source is readable");
            let guilty = text.lines().position(says_unsafe);
            if package.name.as_str() == UNSAFE {
                seen_where_allowed |= guilty.is_some();
            } else if let Some(line) = guilty {
                panic!("unsafe outside {UNSAFE}: {}:{}", file.display(), line + 1);
            }
        }
    }
    assert!(seen_where_allowed, "the search finds nothing even in {UNSAFE}");
}
