/** A forgotten `.only` fails the run, in mocha and in karma. It would leave out every other test. */
import {spawnSync} from 'node:child_process';
import {mkdirSync, mkdtempSync, rmSync, writeFileSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {expect} from 'chai';
import {findChrome} from './find_chrome.mjs';
import {browserBundle, RUNNERS} from './runners.mjs';

const MESSAGE = '`.only` forbidden by --forbid-only';
const STRAY = {
  'it.only': "describe('a suite', () => { it.only('runs alone', () => {}); });",
  'describe.only': "describe.only('a suite', () => { it('runs alone', () => {}); });",
};

let folder: string;

/** Runs a Node script; resolves to its exit code and all that it printed. */
function run(args: string[], env: Record<string, string> = {}) {
  const {status, stdout, stderr} = spawnSync(process.execPath, args, {
    encoding: 'utf8', env: {...process.env, REPORT_FILE: join(folder, 'report.jsonl'), ...env},
  });
  return {status, output: stdout + stderr};
}

describe('a forgotten .only', () => {
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'stray-only-'));
  });
  afterEach(() => rmSync(folder, {recursive: true, force: true}));

  for (const [what, source] of Object.entries(STRAY)) {
    it(`as ${what} fails the run in mocha`, () => {
      const file = join(folder, 'stray.js');
      writeFileSync(file, source);
      const {status, output} =
        run(['node_modules/mocha/bin/mocha.js', '--config', 'test/support/mocharc.jsonc', file]);
      expect(output).to.include(MESSAGE);
      expect(status).to.equal(1);
    });

    for (const runner of RUNNERS.filter(({place}) => place === 'browser')) {
      it(`as ${what} fails the run in ${runner.name}`, async function() {
        this.timeout(120_000); // a cold start of Chromium on a busy machine
        if (await findChrome() === undefined) {
          this.skip();
        }
        const bundle = browserBundle(folder, runner);
        mkdirSync(join(bundle, '..'));
        writeFileSync(bundle, source);
        writeFileSync(`${bundle}.map`, JSON.stringify({version: 3, sources: [], names: [], mappings: ''}));
        const {status, output} =
          run(['node_modules/karma/bin/karma', 'start'], {BUNDLES: folder, BACKEND: runner.backend});
        expect(output).to.include(MESSAGE);
        expect(status).to.equal(1);
      });
    }
  }
});
