/** The cache of tuned plans as a file: kept, added to, and refused when damaged. */
import {mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {dirname, join} from 'node:path';
import {expect} from 'chai';
import {build} from 'esbuild';
import {wasmKernels} from '../../kernels/wasm/plugin.mjs';
import fc from 'fast-check';
import {adapterKey, mergeRecords, readTuned, storeTuned} from '../../src/tuning/plan_cache.js';
import {PLANS_VERSION} from '../../kernels/webgpu/plan.js';
import {seed} from '../support/random.js';
import {cacheFolder, RECORD, tunedPlan, warningsOf} from './stored.js';

const ADAPTER = adapterKey({vendor: 'apple', architecture: 'metal-3', device: '', description: ''});

let folder: string;
let path: string;
let restore: () => void;

describe('the cache of tuned plans in a file', () => {
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'nm-sparse-plans-'));
    restore = cacheFolder(folder);
    path = join(folder, 'tfjs-nm-sparse', 'tuned-plans.json');
  });

  afterEach(() => {
    restore();
    rmSync(folder, {recursive: true, force: true});
  });

  it('gives back what was stored, to the adapter it was measured on', async () => {
    expect(await readTuned(ADAPTER)).to.equal(undefined);
    expect(await storeTuned(ADAPTER, RECORD)).to.equal(path);
    expect(await readTuned(ADAPTER)).to.deep.equal(RECORD);
    expect(await readTuned(`${ADAPTER}, another`)).to.equal(undefined);
  });

  it('adds to what is there: other adapters, other products, other rows', async () => {
    await storeTuned(ADAPTER, RECORD);
    await storeTuned('another GPU', {plans: {}});
    await storeTuned(ADAPTER, {plans: {
      'n 8 k 8 2:4 float32': [tunedPlan(64, 'a better one')], 'n 9 k 8 2:4 float32': [tunedPlan(5)],
    }});
    expect(await readTuned(ADAPTER)).to.deep.equal({
      profile: RECORD.profile,
      plans: {
        'n 8 k 8 2:4 float32': [tunedPlan(1), tunedPlan(64, 'a better one')],
        'n 9 k 8 2:4 float32': [tunedPlan(5)],
      },
    });
    expect(await readTuned('another GPU')).to.deep.equal({plans: {}});
  });

  it('leaves nothing but the file behind, even where it cannot be written', async () => {
    await storeTuned(ADAPTER, RECORD);
    expect(readdirSync(dirname(path))).to.deep.equal(['tuned-plans.json']);
    let thrown: unknown;
    try {
      rmSync(path);
      mkdirSync(path); // a folder is in the way
      await storeTuned(ADAPTER, RECORD);
    } catch (error) {
      thrown = error;
    }
    expect(thrown).to.be.an('error');
    expect(readdirSync(dirname(path))).to.deep.equal(['tuned-plans.json']);
  });

  const record = (change: object) =>
    JSON.stringify({version: PLANS_VERSION, adapters: {[ADAPTER]: {...RECORD, ...change}}});
  const key = 'n 8 k 8 2:4 float32';
  const damaged: Array<[string, string]> = [
    ['nothing', ''],
    ['half a file', record({}).slice(0, 200)],
    ['another file', '{"name": "package.json"}'],
    ['null', 'null'],
    ['a list', '[1, 2]'],
    ['a record that is none', JSON.stringify({version: PLANS_VERSION, adapters: {[ADAPTER]: 7}})],
    ['a plan without a time', record({plans: {[key]: [{rows: 1, plan: 'a plan'}]}})],
    ['plans that are no list', record({plans: {[key]: tunedPlan(1)}})],
    ['a time of 0 ms', record({plans: {[key]: [tunedPlan(1), tunedPlan(2, 'a plan', 0)]}})],
    ['a time that is no number', record({plans: {[key]: [{...tunedPlan(1), ms: 'long'}]}})],
    ['no plans', record({plans: null})],
    ['a profile with a hole', record({profile: {name: 'GPU', tflops: 1}})],
    ['a profile that is none', record({profile: 'fast'})],
  ];
  for (const [what, text] of damaged) {
    it(`that holds ${what} counts as empty with a warning, and is replaced`, async () => {
      await storeTuned(ADAPTER, RECORD);
      writeFileSync(path, text);
      const warnings = await warningsOf(async () => expect(await readTuned(ADAPTER)).to.equal(undefined));
      expect(warnings).to.have.length(1);
      expect(warnings[0]).to.include(path).and.match(/are damaged and ignored; the next tune\(\) measures/);
      await storeTuned(ADAPTER, RECORD);
      expect(await warningsOf(() => readTuned(ADAPTER))).to.deep.equal([]);
      expect(await readTuned(ADAPTER)).to.deep.equal(RECORD);
    });
  }

  it('is written through no link and over no file that lies in its folder', async () => {
    const victim = join(folder, 'victim.txt');
    writeFileSync(victim, 'precious');
    const links = ['tuned-plans.json', `tuned-plans.json.${process.pid}.tmp`];
    mkdirSync(dirname(path));
    links.forEach(link => symlinkSync(victim, join(dirname(path), link)));
    await storeTuned(ADAPTER, RECORD);
    expect(readFileSync(victim, 'utf8')).to.equal('precious');
    expect(await readTuned(ADAPTER)).to.deep.equal(RECORD);
    expect(readdirSync(dirname(path)).sort()).to.deep.equal(links);
  });

  it('reads any text without throwing', async () => {
    await storeTuned(ADAPTER, RECORD);
    const sound = readFileSync(path, 'utf8');
    await warningsOf(() => fc.assert(fc.asyncProperty(
      fc.oneof(fc.string(), fc.json(), fc.nat(sound.length - 1).map(at => sound.slice(0, at) + sound.slice(at + 1))),
      async text => {
        writeFileSync(path, text);
        await readTuned(ADAPTER);
      }), {seed, numRuns: 100}));
  });

  it('of another version counts as empty, without a warning', async () => {
    await storeTuned(ADAPTER, RECORD);
    writeFileSync(path, readFileSync(path, 'utf8').replace(`"version": ${PLANS_VERSION}`, '"version": 0'));
    expect(await warningsOf(async () => expect(await readTuned(ADAPTER)).to.equal(undefined))).to.deep.equal([]);
    await storeTuned(ADAPTER, {plans: {}});
    expect(await readTuned(ADAPTER)).to.deep.equal({plans: {}});
  });

  it('that cannot be read counts as empty', async () => {
    mkdirSync(path, {recursive: true});
    const warnings = await warningsOf(async () => expect(await readTuned(ADAPTER)).to.equal(undefined));
    expect(warnings).to.deep.equal([]);
  });
});

describe('the package for browsers', () => {
  it('imports nothing of Node, so that any bundler takes it', async () => {
    const {metafile, warnings} = await build({
      plugins: [wasmKernels],
      entryPoints: ['src/index.ts'], bundle: true, platform: 'browser', format: 'esm', write: false, metafile: true,
      external: ['@tensorflow/*'],
    });
    expect(warnings).to.deep.equal([]);
    const imports = Object.values(metafile.outputs).flatMap(output => output.imports.map(each => each.path));
    expect(imports).to.not.be.empty;
    expect(imports.filter(each => !each.startsWith('@tensorflow/'))).to.deep.equal([]);
  });
});

describe('two records of one GPU', () => {
  it('merge into one, and stay as they were', () => {
    const [old, added] = [structuredClone(RECORD), {plans: {'n 8 k 8 2:4 float32': [tunedPlan(1, 'new')]}}];
    expect(mergeRecords(old, added).plans['n 8 k 8 2:4 float32']).to.deep.equal([tunedPlan(64), tunedPlan(1, 'new')]);
    expect(old).to.deep.equal(RECORD);
    expect(mergeRecords(undefined, added)).to.deep.equal(added);
  });
});
