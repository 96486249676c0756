// Runs the browser tests against a running Weever. See --help.

import { mkdir } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { launch, Stage } from "./chromium.mjs";
import { tests as chat } from "./tests/chat.mjs";
import { tests as codecs } from "./tests/codecs.mjs";
import { tests as minimal } from "./tests/minimal.mjs";
import { tests as multistream } from "./tests/multistream.mjs";
import { tests as pages } from "./tests/pages.mjs";
import { tests as players } from "./tests/players.mjs";

const HELP = `Chromium against the demo site of a running Weever.

Usage: node run.mjs [--list] [WORDS...]

  WORDS    run only the tests whose name contains one of them
  --list   print the tests' names

Environment:
  WEEVER_PUBLIC    the public address (default http://127.0.0.1:8443)
  WEEVER_PRIVATE   the operator's address (default http://127.0.0.1:9443)
  CHROMIUM         the browser (default /usr/bin/chromium)

Start the server with --udp-host 127.0.0.1, without --auth. Exits with 0 when all passed, 1 when one failed.
Screenshots of a failed test's pages are in target/e2e.
`;

const TEST_SECONDS = 90;
const OUTPUT = fileURLToPath(new URL("../../../target/e2e", import.meta.url));
const ALL = { ...multistream, ...players, ...codecs, ...minimal, ...pages, ...chat };

const words = process.argv.slice(2).filter((word) => !word.startsWith("-"));
const flags = process.argv.slice(2).filter((word) => word.startsWith("-"));
const chosen = Object.entries(ALL).filter(([name]) => words.length === 0 || words.some((word) => name.includes(word)));

if (flags.includes("--help") || flags.includes("-h")) {
  process.stdout.write(HELP);
} else if (flags.includes("--list")) {
  for (const [name] of chosen) console.log(name);
} else if (flags.length || chosen.length === 0) {
  console.error(flags.length ? `unknown option ${flags[0]}; see --help` : `no test is named like: ${words.join(" ")}`);
  process.exitCode = 2;
} else {
  process.exitCode = await runAll();
}

async function runAll() {
  const urls = {
    publicUrl: process.env.WEEVER_PUBLIC ?? "http://127.0.0.1:8443",
    privateUrl: process.env.WEEVER_PRIVATE ?? "http://127.0.0.1:9443",
  };
  await mkdir(OUTPUT, { recursive: true });
  const browser = await launch();
  let failed = 0;
  for (const [name, test] of chosen) failed += (await runOne(browser, urls, name, test)) ? 0 : 1;
  await browser.close();
  console.log(`${chosen.length - failed} passed, ${failed} failed`);
  return failed ? 1 : 0;
}

async function runOne(browser, urls, name, test) {
  const started = Date.now();
  const stage = new Stage(browser, urls);
  let timer;
  const limit = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`took longer than ${TEST_SECONDS} s`)), TEST_SECONDS * 1000);
  });
  let problem = "";
  try {
    await Promise.race([test(stage), limit]);
  } catch (error) {
    problem = error.message;
    await stage.screenshots(`${OUTPUT}/${name.replace(/\W+/g, "-")}`);
  }
  clearTimeout(timer);
  // Whatever a page complained about fails the test, even when all else went well.
  if (stage.troubles.length) problem = [problem, ...stage.troubles].filter(Boolean).join("\n       ");
  await stage.close();
  const seconds = ((Date.now() - started) / 1000).toFixed(1);
  console.log(problem ? `FAIL ${name} (${seconds} s)\n       ${problem}` : `ok   ${name} (${seconds} s)`);
  return problem === "";
}
