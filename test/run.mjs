/**
 * `npm test`: checks the sources (typecheck, lint, build), then runs the same tests in four places: Node on the CPU,
 * Node on WebGPU, Chromium on WebGPU, Chromium on WebGL. The last line is `N passed, N failed`, with `, N skipped` if
 * there are any.
 *
 *   npm test                                        everything
 *   npm test -- --only node-cpu,karma-webgl         some of the steps, by name; also typecheck, lint, build
 *   npm test -- --grep 'short window'               tests whose title matches
 *   npm test -- test/format/pack.test.ts            test files
 *   SEED=7 npm test                                 the random numbers of an earlier run
 *
 * A green result has to mean that the tests ran. A page that loads nothing reports "0 of 0" and succeeds; Dawn can
 * crash at exit after all went well, and before that too. So no exit code is believed alone: the tests are counted
 * beforehand, with mocha's dry run on the same bundles, and every one of them must turn up in its runner's report. A
 * test that does not, and a check that fails, count as failed.
 */
import {spawn} from 'node:child_process';
import {existsSync, readFileSync, rmSync} from 'node:fs';
import {join, resolve} from 'node:path';
import {createInterface} from 'node:readline';
import {fileURLToPath} from 'node:url';
import {parseArgs} from 'node:util';
import {bundleTests, nodeBundle, testFiles} from './support/bundle.mjs';
import {findOrInstallChrome, swiftShaderEnv} from './support/find_chrome.mjs';
import {RUNNERS, runsIn} from './support/runners.mjs';

process.chdir(fileURLToPath(new URL('..', import.meta.url)));

const BUNDLES = `build/test-${process.pid}`;
const REPORTS = `${BUNDLES}/reports`;
const TEST_TIMEOUT_MS = 30_000; // a shader takes seconds to compile on a software GPU
const RUNNER_TIMEOUT_MS = 20 * 60_000;
const LISTED_FAILURES = 20; // when a page does not even load, every test of it is missing
const MOCHA = ['--enable-source-maps', 'node_modules/mocha/bin/mocha.js', '--exit',
  '--timeout', String(TEST_TIMEOUT_MS), '--reporter', 'test/support/mocha_reporter.mjs'];

const CHECKS = [
  {name: 'typecheck', command: ['node_modules/typescript/bin/tsc', '--noEmit']},
  {name: 'lint', command: ['node_modules/eslint/bin/eslint.js', '.']},
  {name: 'build', command: ['build.mjs']},
];

const grepArgs = grep => grep === undefined ? [] : ['--grep', grep];
const bundleOf = file => nodeBundle(BUNDLES, file);

const running = new Set();

/**
 * Runs a Node script. What it prints appears line by line behind its name; if `quiet`, only when it fails. Resolves to
 * its exit code, or the signal that ended it.
 */
function runNode(name, args, {env, quiet = false} = {}) {
  const child = spawn(process.execPath, args, {
    env: {...process.env, ...env},
    stdio: ['ignore', 'pipe', 'pipe'],
    timeout: RUNNER_TIMEOUT_MS,
  });
  running.add(child);
  const held = [];
  const print = line => console.log(`${name} | ${line}`);
  for (const stream of [child.stdout, child.stderr]) {
    createInterface({input: stream}).on('line', line => quiet ? held.push(line) : print(line));
  }
  return new Promise((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (code, signal) => {
      running.delete(child);
      if (code !== 0) {
        held.forEach(print);
      }
      resolve(signal ?? code);
    });
  });
}

/** Runs tasks two at a time: each keeps about one core busy, and the smallest CI machines have two. */
async function twoAtATime(tasks) {
  const results = [];
  let next = 0;
  const work = async () => {
    while (next < tasks.length) {
      const mine = next++;
      results[mine] = await tasks[mine]();
    }
  };
  await Promise.all([work(), work()]);
  return results;
}

function readReport(name) {
  const file = join(REPORTS, `${name}.jsonl`);
  const lines = existsSync(file) ? readFileSync(file, 'utf8').split('\n').filter(Boolean) : [];
  const entries = lines.map(line => JSON.parse(line));
  return {
    results: entries.filter(({end}) => !end).map(result => ({...result, title: result.titles.join(' › ')})),
    complete: entries.some(({end}) => end),
  };
}

/** Does Dawn find a GPU here? Asked in a process of its own, for Dawn does not let go of the one it is in. */
async function hasGpu() {
  const probe = `
    import {create} from 'webgpu';
    const adapter = await create([]).requestAdapter();
    process.exit(adapter && !adapter.info.isFallbackAdapter ? 0 : 1);`;
  const child = spawn(process.execPath, ['--input-type=module', '-e', probe], {stdio: 'ignore'});
  return new Promise(resolve => child.on('close', code => resolve(code === 0)));
}

/** What the chosen runners need of the machine: the browser, and Dawn's environment where there is no GPU. */
async function prepareMachine(runners) {
  const dawnNeedsBrowser = runners.some(({name}) => name === 'node-webgpu') && !(await hasGpu());
  if (!dawnNeedsBrowser && runners.every(({place}) => place === 'node')) {
    return {};
  }
  const chrome = await findOrInstallChrome();
  if (chrome === undefined) {
    throw new Error('No Chrome or Chromium here, and none could be installed: install one, or set CHROME_BIN.');
  }
  console.log(`browser ${chrome}`);
  return {chrome, dawnEnv: dawnNeedsBrowser ? swiftShaderEnv(chrome) : {}};
}

/** The tests that the files declare, found without running them: declarations never depend on the backend. */
async function declaredTests(files, {grep, seed}) {
  const args = [...MOCHA, '--dry-run', ...grepArgs(grep), ...nodeFiles('cpu', files)];
  const env = {SEED: seed, REPORT_FILE: join(REPORTS, 'count.jsonl')};
  const code = await runNode('count', args, {env, quiet: true});
  const {results, complete} = readReport('count');
  if (code !== 0 || !complete) {
    throw new Error('the test files do not load');
  }
  const sources = new Map(files.map(file => [resolve(bundleOf(file)), file]));
  return results.map(({title, file}) => ({title, source: sources.get(file)}));
}

/** Mocha's arguments for these files; --file is loaded first, and in this order. */
function nodeFiles(backend, files) {
  const first = [...(backend === 'webgpu' ? ['dawn'] : []), 'backend'].map(name => `test/support/${name}.ts`);
  return [...first.flatMap(file => ['--file', bundleOf(file)]), ...files.map(bundleOf)];
}

async function runTests({name, place, backend}, files, {grep, seed, machine}) {
  const env = {SEED: seed, REPORT_FILE: join(REPORTS, `${name}.jsonl`)};
  if (place === 'browser') {
    const karma = ['node_modules/karma/bin/karma', 'start'];
    return runNode(name, karma, {
      env: {...env, BUNDLES, BACKEND: backend, GREP: grep ?? '', CHROME_BIN: machine.chrome},
    });
  }
  const dawnEnv = backend === 'webgpu' ? machine.dawnEnv : {};
  const args = [...MOCHA, ...grepArgs(grep), ...nodeFiles(backend, files)];
  return runNode(name, args, {env: {...env, TEST_BACKEND: backend, ...dawnEnv}});
}

/** What became of a runner's tests; `failures` is in words. */
function judge({name}, exit, declared) {
  const {results, complete} = readReport(name);
  const are = wanted => results.filter(({state}) => state === wanted);
  const failures = are('failed').map(({title, error}) => `${title}: ${error.trim().split('\n')[0]}`);
  const passed = are('passed').length;
  const skipped = are('skipped').map(({title}) => title);

  const missing = declared.map(({title}) => title);
  for (const {title} of results) {
    const at = missing.indexOf(title);
    if (at >= 0) {
      missing.splice(at, 1);
    }
  }
  failures.push(...missing.map(title => `${title}: declared, but it did not run`));
  if (declared.length === 0) {
    failures.push('there is no test to run');
  }
  if (!complete) {
    failures.push(`the run broke off (${exit}) after: ${results.at(-1)?.title ?? 'nothing'}`);
  } else if (exit !== 0 && failures.length === 0) {
    if (name === 'node-webgpu') {
      console.log(`${name} | all tests ran; Dawn then ended the process with ${exit}, as it sometimes does`);
    } else {
      failures.push(`all tests ran, but the process ended with ${exit}`);
    }
  }
  return {name, passed, skipped, failures};
}

async function main() {
  const {values: options, positionals} = parseArgs({
    options: {only: {type: 'string'}, grep: {type: 'string'}},
    allowPositionals: true,
  });
  const steps = [...CHECKS, ...RUNNERS].map(({name}) => name);
  const only = options.only?.split(',') ?? steps;
  const unknown = only.find(name => !steps.includes(name));
  if (unknown !== undefined) {
    throw new Error(`--only: '${unknown}' is none of ${steps.join(', ')}`);
  }
  const checks = CHECKS.filter(({name}) => only.includes(name));
  const runners = RUNNERS.filter(({name}) => only.includes(name));
  const files = testFiles().filter(file => positionals.length === 0 || positionals.some(part => file.includes(part)));
  const filtered = options.grep !== undefined || positionals.length > 0;

  const seed = process.env.SEED ?? String(Math.floor(Math.random() * 2 ** 31));
  console.log(`seed ${seed}`);
  const machine = await prepareMachine(runners);

  const verdicts = await twoAtATime(checks.map(({name, command}) => async () => {
    const exit = await runNode(name, command);
    console.log(`${name} | ${exit === 0 ? 'ok' : `failed (${exit})`}`);
    return {name, passed: 0, skipped: [], failures: exit === 0 ? [] : [`ended with ${exit}`]};
  }));

  if (runners.length > 0) {
    await bundleTests(BUNDLES, runners, files);
    const declared = await declaredTests(files, {grep: options.grep, seed});
    if (filtered && declared.length === 0) {
      throw new Error('no test matches');
    }
    verdicts.push(...await twoAtATime(runners
      .map(runner => ({runner, own: declared.filter(({source}) => runsIn(runner, source))}))
      .filter(({own}) => own.length > 0 || !filtered)
      .map(({runner, own}) => async () => {
        const ownFiles = files.filter(file => runsIn(runner, file));
        return judge(runner, await runTests(runner, ownFiles, {grep: options.grep, seed, machine}), own);
      })));
  }
  return sumUp(verdicts, seed);
}

/** Prints the end of the run; true if nothing failed. */
function sumUp(verdicts, seed) {
  console.log('');
  for (const {name, skipped} of verdicts) {
    skipped.forEach(title => console.log(`skipped on ${name}: ${title}`));
  }
  for (const {name, failures} of verdicts) {
    failures.slice(0, LISTED_FAILURES).forEach(failure => console.log(`FAILED ${name}: ${failure}`));
    if (failures.length > LISTED_FAILURES) {
      console.log(`FAILED ${name}: … and ${failures.length - LISTED_FAILURES} more`);
    }
  }
  const total = count => verdicts.reduce((sum, verdict) => sum + count(verdict), 0);
  const passed = total(verdict => verdict.passed);
  const failed = total(verdict => verdict.failures.length);
  const skipped = total(verdict => verdict.skipped.length);
  if (failed > 0) {
    console.log(`The random numbers of this run again: SEED=${seed} npm test`);
  }
  console.log(`${passed} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ''}`);
  return failed === 0;
}

function cleanUp() {
  running.forEach(child => child.kill());
  rmSync(BUNDLES, {recursive: true, force: true});
}

for (const signal of ['SIGINT', 'SIGTERM']) {
  process.once(signal, () => {
    cleanUp();
    process.exit(1);
  });
}

try {
  process.exitCode = await main() ? 0 : 1;
} catch (error) {
  console.log(error.message);
  console.log('0 passed, 1 failed');
  process.exitCode = 1;
} finally {
  cleanUp();
}
