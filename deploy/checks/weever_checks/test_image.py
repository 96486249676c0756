"""The image's recipe, and what the build sees."""

import fnmatch
import re
import shutil
import tempfile
import tomllib
import unittest
from pathlib import Path

from .tools import DEPLOY, ROOT, program, run

DOCKERFILE = DEPLOY / "docker" / "Dockerfile"
# Beside the venv's Python.
HADOLINT = ROOT / "target" / "e2e" / "venv" / "bin" / "hadolint"


def rules():
    lines = (DEPLOY / "docker" / "Dockerfile.dockerignore").read_text().splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def is_sent(path):
    """The last rule that matches decides (Docker's rules for these few forms: `*`, `!a/b`, `**/c`)."""
    sent = True
    for rule in rules():
        keep, pattern = rule.startswith("!"), rule.lstrip("!")
        parts = path.split("/")
        if pattern.startswith("**/"):
            matches = any(fnmatch.fnmatch(part, pattern[3:]) for part in parts)
        else:
            depth = pattern.count("/") + 1
            matches = fnmatch.fnmatch("/".join(parts[:depth]), pattern)
        if matches:
            sent = keep
    return sent


class Image(unittest.TestCase):
    def test_the_recipe_is_sound(self):
        run(HADOLINT, "--failure-threshold", "info", DOCKERFILE)

    def test_the_lint_can_fail(self):
        with tempfile.TemporaryDirectory() as folder:
            bad = Path(folder) / "Dockerfile"
            bad.write_text("FROM debian\nRUN cd /x && sudo apt-get install y\n")
            self.assertIn("DL3004", run(HADOLINT, bad, status=1))

    def test_it_has_no_shell_and_no_root(self):
        text = DOCKERFILE.read_text()
        last = text[text.rindex("\nFROM ") :]
        self.assertRegex(last, r"FROM gcr\.io/distroless/\S+:nonroot AS weever")
        for form in ("ENTRYPOINT", "CMD"):
            self.assertRegex(last, rf'{form} \["/usr/local/bin/weever"', f"{form} needs no shell")
        self.assertNotIn("USER root", text)

    def test_its_compiler_is_new_enough(self):
        wanted = tomllib.loads((ROOT / "Cargo.toml").read_text())["workspace"]["package"]["rust-version"]
        there = re.search(r"^FROM rust:([\d.]+)", DOCKERFILE.read_text(), re.M)[1]
        self.assertGreaterEqual([int(part) for part in there.split(".")], [int(part) for part in wanted.split(".")])

    def test_the_build_sees_all_it_needs_and_nothing_else(self):
        files = run("git", "-C", ROOT, "ls-files").splitlines()
        sent = [path for path in files if is_sent(path)]
        self.assertIn("Cargo.lock", sent)
        for path in ("README.md", "deploy/e2e/run", "deploy/compose/secrets/make", "target/debug/weever", "deploy/fuzz/Cargo.toml"):
            self.assertFalse(is_sent(path), path)
        with tempfile.TemporaryDirectory() as folder:
            for path in sent:
                target = Path(folder) / path
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(ROOT / path, target)
            # Every member is there, and the lock file is the one that belongs to them.
            told = run(program("cargo"), "metadata", "--locked", "--offline", "--format-version", "1", "--no-deps", directory=folder)
            self.assertIn('"weever-standalone"', told)
            # What programs take into themselves when they are compiled; tests' own files don't matter here.
            for source in Path(folder).rglob("src/**/*.rs"):
                code = source.read_text().split("#[cfg(test)]")[0]
                for included in re.findall(r'include_(?:str|bytes)!\("([^"]+)"\)', code):
                    self.assertTrue((source.parent / included).exists(), f"{source} includes {included}")
