/**
 * `npm test`: checks the sources (typecheck, lint, build), then runs the same tests in four places: Node on the CPU,
 * Node on WebGPU, Chromium on WebGPU, Chromium on WebGL. The last line is `N tests passed in M runs, F failed`, with
 * `, S skipped` if there are any (support/verdict.mjs).
 *
 *   npm test                                        everything
 *   npm test -- --only node-cpu,karma-webgl         some of the steps, by name; also typecheck, lint, build
 *   npm test -- --grep 'short window'               tests whose title matches
 *   npm test -- test/ops/gradient.test.ts           test files
 *   SEED=7 npm test                                 the random numbers of an earlier run
 *
 * A green result has to mean that the tests ran. A page that loads nothing reports "0 of 0" and succeeds; Dawn can
 * crash at exit after all went well, and before that too. So no exit code is believed alone: the tests are counted
 * beforehand, with mocha's dry run on the same bundles, and every one of them must turn up in its runner's report. A
 * test that does not, and a check that fails, count as failed. A forgotten it.only or describe.only stops the run.
 */
import {spawn, spawnSync} from 'node:child_process';
import {mkdirSync, rmSync} from 'node:fs';
import {join, resolve} from 'node:path';
import {createInterface} from 'node:readline';
import {fileURLToPath} from 'node:url';
import {parseArgs} from 'node:util';
import {bundleTests, nodeBundle, testFiles} from './support/bundle.mjs';
import {findOrInstallChrome, swiftShaderEnv} from './support/find_chrome.mjs';
import {RUNNERS, runsIn} from './support/runners.mjs';
import {judge, readReport, repeatedTitles, sumUp} from './support/verdict.mjs';

process.chdir(fileURLToPath(new URL('..', import.meta.url)));

const BUNDLES = `build/test-${process.pid}`;
const REPORTS = `${BUNDLES}/reports`;
const RUNNER_TIMEOUT_MS = 20 * 60_000;
const MOCHA = ['--enable-source-maps', 'node_modules/mocha/bin/mocha.js', '--config', 'test/support/mocharc.jsonc'];

const CHECKS = [
  {name: 'typecheck', command: ['node_modules/typescript/bin/tsc', '--noEmit']},
  {name: 'lint', command: ['node_modules/eslint/bin/eslint.js', '.']},
  {name: 'build', command: ['build.mjs']},
];

const grepArgs = grep => grep === undefined ? [] : ['--grep', grep];
const bundleOf = file => nodeBundle(BUNDLES, file);
const reportOf = name => join(REPORTS, `${name}.jsonl`);

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

/** Does Dawn find a GPU here? Asked in a process of its own, for Dawn does not let go of the one it is in. */
async function hasGpu() {
  const probe = `
    import {create} from 'webgpu';
    const adapter = await create([]).requestAdapter();
    process.exit(adapter && !adapter.info.isFallbackAdapter ? 0 : 1);`;
  const child = spawn(process.execPath, ['--input-type=module', '-e', probe], {stdio: 'ignore'});
  return new Promise(resolve => child.on('close', code => resolve(code === 0)));
}

/**
 * Builds tfjs-node for the runner node-tensorflow, in about a minute the first time.
 * @returns its folder; undefined, with a line that says why, where it cannot be built.
 */
async function prepareTfjsNode() {
  if (process.env.TFJS_NODE) {
    return resolve(process.env.TFJS_NODE);
  }
  const folder = resolve('build/tfjs-node/app');
  mkdirSync(folder, {recursive: true});
  // npm's settings of an outer npm, such as the folder of its package.json, are not for this one.
  const env = Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith('npm_')));
  const {status, stderr, error} = spawnSync(
    'bash', ['test/interop/build_tfjs_node.sh', folder], {env, encoding: 'utf8'});
  if (status === 0) {
    return folder;
  }
  const why = error?.message ?? stderr.trim().split('\n').pop();
  console.log(`node-tensorflow | skipped: tfjs-node's addon cannot be built here (${why})`);
  return undefined;
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
  const env = {SEED: seed, REPORT_FILE: reportOf('count')};
  const code = await runNode('count', args, {env, quiet: true});
  const {results, complete} = readReport(reportOf('count'));
  if (code !== 0 || !complete) {
    throw new Error('The test files do not load: see the error above. To run single tests, use --grep, not .only.');
  }
  const repeated = repeatedTitles(results.map(({title}) => title));
  if (repeated.length > 0) {
    throw new Error(`Several tests have the title '${repeated[0]}'; give each its own.`);
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
  const env = {SEED: seed, REPORT_FILE: reportOf(name)};
  if (place === 'browser') {
    const karma = ['node_modules/karma/bin/karma', 'start'];
    return runNode(name, karma, {
      env: {...env, BUNDLES, BACKEND: backend, GREP: grep ?? '', CHROME_BIN: machine.chrome},
    });
  }
  const dawnEnv = backend === 'webgpu' ? machine.dawnEnv : {};
  const args = [...MOCHA, ...grepArgs(grep), ...nodeFiles(backend, files)];
  const tensorflowEnv = backend === 'tensorflow' ? {TFJS_NODE: machine.tfjsNode, TF_CPP_MIN_LOG_LEVEL: '2'} : {};
  // Plans that the user has tuned stay out of the tests, and the tests' plans out of the user's cache.
  const caches = resolve(BUNDLES, 'caches', name);
  return runNode(name, args, {
    env: {...env, TEST_BACKEND: backend, XDG_CACHE_HOME: caches, ...dawnEnv, ...tensorflowEnv},
  });
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
  let runners = RUNNERS.filter(({name}) => only.includes(name));
  const files = testFiles().filter(file => positionals.length === 0 || positionals.some(part => file.includes(part)));
  const filtered = options.grep !== undefined || positionals.length > 0;

  const seed = process.env.SEED ?? String(Math.floor(Math.random() * 2 ** 31));
  console.log(`seed ${seed}`);
  const tfjsNode = runners.some(({backend}) => backend === 'tensorflow') ? await prepareTfjsNode() : undefined;
  runners = runners.filter(({backend}) => backend !== 'tensorflow' || tfjsNode);
  const machine = {...await prepareMachine(runners), tfjsNode};

  const verdicts = await twoAtATime(checks.map(({name, command}) => async () => {
    const exit = await runNode(name, command);
    console.log(`${name} | ${exit === 0 ? 'ok' : `failed (${exit})`}`);
    return {name, passed: [], skipped: [], failures: exit === 0 ? [] : [`ended with ${exit}`]};
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
        const exit = await runTests(runner, ownFiles, {grep: options.grep, seed, machine});
        const declaredTitles = own.map(({title}) => title);
        return judge({name: runner.name, exit, declared: declaredTitles, ...readReport(reportOf(runner.name))});
      })));
  }
  const {lines, failed} = sumUp(verdicts);
  if (failed > 0) {
    lines.splice(-1, 0, `The random numbers of this run again: SEED=${seed} npm test`);
  }
  console.log(['', ...lines].join('\n'));
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
  console.log('0 tests passed in 0 runs, 1 failed');
  process.exitCode = 1;
} finally {
  cleanUp();
}
