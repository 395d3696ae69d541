/**
 * README, followed literally: each command and each block of code runs as it stands, in a new folder with the built
 * package. `npm test` builds first.
 *
 * A block whose first line is a comment with a file name is that file. Blocks of JavaScript without one continue
 * main.js. The commands `npm ci && …` are for a clone: CI runs one, and quickstart.node.test.ts the other.
 */
import {execFileSync, spawnSync} from 'node:child_process';
import {existsSync, readFileSync, rmSync, writeFileSync} from 'node:fs';
import {join} from 'node:path';
import {expect} from 'chai';
import esbuild from 'esbuild';
import {findChrome} from '../support/find_chrome.mjs';
import {openPage} from '../support/page.js';
import {ENV_OF_A_USER, installInNewFolder} from './install.js';

const PAGE_TIMEOUT_MS = 120_000; // tune() measures for up to 30 s
const THE_END = 'the end of main.js';

interface Block {
  language: string;
  code: string;
  file?: string;
}

const blocks: Block[] = [...readFileSync('README.md', 'utf8').matchAll(/^```(\w+)\n([^]*?)^```$/gm)]
  .map(([, language, code]) => ({language, code, file: /^(?:\/\/|<!--) ([\w.]+)(?: -->)?\n/.exec(code)?.[1]}));
const commands = blocks.filter(({language}) => language === 'sh').flatMap(({code}) => code.trim().split('\n'));
const install = commands.find(command => command.startsWith('npm install'))!;
const scripts = blocks.filter(({language}) => language === 'js');
const mainJs = scripts.filter(({file}) => file === 'main.js' || file === undefined).map(({code}) => code).join('\n');

describe("README's", () => {
  let folder: string;

  const node = (script: string) => execFileSync(process.execPath, [script], {cwd: folder, encoding: 'utf8'});

  /** The lines that a page logs, without the browser's own. */
  async function logOf(page: string, isLast: (line: string) => boolean): Promise<string[]> {
    const lines = await openPage((await findChrome())!, folder, page, isLast, PAGE_TIMEOUT_MS - 10_000);
    return lines.filter(line => !line.startsWith('Failed to load resource'));
  }

  before('install the package, write the files, run the commands', async function() {
    this.timeout(PAGE_TIMEOUT_MS);
    folder = installInNewFolder();
    for (const {file, code} of blocks) {
      if (file !== undefined) {
        writeFileSync(join(folder, file), code);
      }
    }
    const own = commands.filter(command => !/^npm (ci|install)\b/.test(command));
    const {status, stderr} = spawnSync('sh', ['-e', '-c', own.join('\n')],
      {cwd: folder, encoding: 'utf8', env: ENV_OF_A_USER});
    expect(stderr.replace(/^=+\n.*\n=+\n/m, '').trim()).to.equal('');
    expect(status).to.equal(0);
  });

  after('remove the folder', () => rmSync(folder, {recursive: true, force: true}));

  it('npm install names every package that its code imports', () => {
    const packages = new Set(scripts.flatMap(({code}) => [...code.matchAll(/(?:from |import |require\()'([^'.]+)'/g)])
      .map(([, name]) => name).filter(name => !name.startsWith('node:')));
    expect(packages).to.include('tfjs-nm-sparse');
    expect(install.split(' ').slice(2)).to.have.members([...packages]);
  });

  it('commands convert the model', () => {
    const {modelTopology} = JSON.parse(readFileSync(join(folder, 'model-sparse/model.json'), 'utf8'));
    expect(JSON.stringify(modelTopology)).to.include('"class_name":"NMDense"').and.include('8:32v32');
    expect(existsSync(join(folder, 'model-sparse/group1-shard1of1.bin'))).to.equal(true);
  });

  for (const script of ['predict.mjs', 'predict.cjs']) {
    it(`${script} loads the model from disk in Node, and predicts`, () => {
      expect(node(script).trim().split('\n').pop()).to.equal('10');
    });
  }

  it('page with script tags loads the model, and predicts on WebGPU', async function() {
    this.timeout(PAGE_TIMEOUT_MS);
    if (await findChrome() === undefined) {
      this.skip();
    }
    const [line, ...others] = await logOf('index.html', () => true);
    expect(line).to.match(/^webgpu 32,10 0\.\d+,/);
    expect(others).to.deep.equal([]);
  });

  it('bundled page loads, predicts, converts, trains, saves, tunes, warms up and captures', async function() {
    this.timeout(PAGE_TIMEOUT_MS);
    if (await findChrome() === undefined) {
      this.skip();
    }
    writeFileSync(join(folder, 'main.js'), `${mainJs}\nconsole.log('${THE_END}');`);
    await esbuild.build({absWorkingDir: folder, entryPoints: ['main.js'], bundle: true, format: 'esm',
      outfile: join(folder, 'bundle.js'), logLevel: 'warning'});
    writeFileSync(join(folder, 'bundled.html'), '<!doctype html><script type="module" src="bundle.js"></script>');
    const lines = await logOf('bundled.html', line => line === THE_END);
    expect(lines[0]).to.match(/^webgpu 32,10 0\.\d+,/);
    expect(lines[1]).to.equal('dense_Dense1: 2:4,head: undefined');
    expect(lines.at(-3)).to.equal('4 of 4');
    expect(lines.at(-2)).to.match(/^32,10 \d+ bytes$/);
    expect(lines.at(-1)).to.equal(THE_END);
  });
});
