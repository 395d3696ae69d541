/**
 * Karma: the tests in headless Chromium. `npm test` starts it once per backend. By hand, after
 * `node test/support/bundle.mjs`:
 *
 *   npx karma start                      # webgpu
 *   BACKEND=webgl npx karma start        # webgl, or wasm;  SEED=N and GREP=words as in npm test
 *   npx karma start --no-single-run      # stays: open http://localhost:9876/debug.html in a browser of your own
 *
 * WebGPU and WebGL run on SwiftShader, Chromium's software GPU, also where there is a real one: the same result on
 * every machine.
 */
import {existsSync, readFileSync} from 'node:fs';
import {SourceMap} from 'node:module';
import {basename} from 'node:path';
import karmaChromeLauncher from 'karma-chrome-launcher';
import karmaMocha from 'karma-mocha';
import {CHROMIUM_FLAGS, findChrome} from './test/support/find_chrome.mjs';
import {difference, Report} from './test/support/report.mjs';
import {browserBundle, BUNDLES, RUNNERS} from './test/support/runners.mjs';

/** Rewrites the places in a page's stack trace, which are in the bundle, to those in the sources. */
function sourceMapper(bundle) {
  const map = new SourceMap(JSON.parse(readFileSync(`${bundle}.map`, 'utf8')));
  const places = new RegExp(`[^\\s(]*${basename(bundle)}(?:\\?\\w*)?:(\\d+):(\\d+)`, 'g');
  return text => text.replace(places, (place, line, column) => {
    const {originalSource, originalLine, originalColumn} = map.findEntry(line - 1, column - 1);
    const source = originalSource?.replace(/^(\.\.\/)+/, '');
    return source ? `${source}:${originalLine + 1}:${originalColumn + 1}` : place;
  });
}

function KarmaReporter(bundle) {
  const report = new Report();
  const toSource = sourceMapper(bundle);
  let crash = false;
  this.onSpecComplete = (_browser, {suite, description, skipped, success, time, log, assertionErrors}) => {
    const state = skipped ? 'skipped' : success ? 'passed' : 'failed';
    const error = toSource(log.join('\n')) + difference(assertionErrors[0]);
    report.add({titles: [...suite, description], state, ms: time, error});
  };
  this.onBrowserLog = (_browser, log, type) => console.log(`console.${type}: ${log}`);
  this.onBrowserError = (_browser, error) => {
    crash = true;
    console.log(`the page failed: ${toSource(String(error.message ?? error))}`);
  };
  this.onRunComplete = (_browsers, {disconnected, error}) => {
    if (!crash && !disconnected && !error) {
      report.end();
    }
  };
}

export default async function(config) {
  const backend = process.env.BACKEND ?? 'webgpu';
  const runner = RUNNERS.find(runner => runner.place === 'browser' && runner.backend === backend);
  if (!runner) {
    throw new Error(`BACKEND is '${backend}'; karma runs wasm, webgpu and webgl`);
  }
  const bundle = browserBundle(process.env.BUNDLES ?? BUNDLES, runner);
  if (!existsSync(bundle)) {
    throw new Error(`${bundle} is missing; make it with: node test/support/bundle.mjs`);
  }
  process.env.CHROME_BIN = await findChrome();
  config.set({
    frameworks: ['mocha'],
    plugins: [
      karmaMocha,
      karmaChromeLauncher,
      {'reporter:lines': ['factory', function() { // karma's injector cannot read an arrow function
        return new KarmaReporter(bundle);
      }]},
    ],
    reporters: ['lines'],
    files: [
      bundle, {pattern: `${bundle}.map`, included: false},
      {pattern: 'node_modules/@tensorflow/tfjs-backend-wasm/dist/*.wasm', included: false},
    ],
    client: {
      backend,
      seed: process.env.SEED,
      mocha: {timeout: 30_000, forbidOnly: true, grep: process.env.GREP || undefined},
    },
    browsers: ['Chromium'],
    customLaunchers: {Chromium: {base: 'Chrome', flags: CHROMIUM_FLAGS}},
    listenAddress: 'localhost',
    hostname: 'localhost',
    singleRun: true,
    autoWatch: false,
    failOnEmptyTestSuite: true,
    logLevel: config.LOG_WARN,
    // A shader compiles for seconds in software, a reference result keeps the page's one thread busy: no sign of life
    // reaches karma meanwhile.
    browserNoActivityTimeout: 120_000,
    captureTimeout: 120_000,
    pingTimeout: 60_000,
  });
}
