/** The cache of tuned plans as a file: kept, added to, and refused when damaged. */
import {mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {dirname, join} from 'node:path';
import {expect} from 'chai';
import {build} from 'esbuild';
import fc from 'fast-check';
import {openStore} from '../../src/tuning/plan_store.js';
import {adapterKey, mergeRecords, readTuned, storeTuned} from '../../src/tuning/plan_cache.js';
import {PLANS_VERSION} from '../../kernels/webgpu/plan.js';
import {seed} from '../support/random.js';
import {RECORD, tunedPlan, warningsOf} from './stored.js';

const ADAPTER = adapterKey({vendor: 'apple', architecture: 'metal-3', device: '', description: ''});

let folder: string;
let path: string;

describe('the cache of tuned plans in a file', () => {
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'nm-sparse-plans-'));
    path = join(folder, 'deep', 'plans.json');
  });

  afterEach(() => rmSync(folder, {recursive: true, force: true}));

  it('gives back what was stored, to the adapter it was measured on', async () => {
    expect(await readTuned(path, ADAPTER)).to.equal(undefined);
    expect(await storeTuned(path, ADAPTER, RECORD)).to.equal(path);
    expect(await readTuned(path, ADAPTER)).to.deep.equal(RECORD);
    expect(await readTuned(path, `${ADAPTER}, another`)).to.equal(undefined);
  });

  it('adds to what is there: other adapters, other products, other rows', async () => {
    await storeTuned(path, ADAPTER, RECORD);
    await storeTuned(path, 'another GPU', {plans: {}});
    await storeTuned(path, ADAPTER, {plans: {
      'n 8 k 8 2:4 float32': [tunedPlan(64, 'a better one')], 'n 9 k 8 2:4 float32': [tunedPlan(5)],
    }});
    expect(await readTuned(path, ADAPTER)).to.deep.equal({
      profile: RECORD.profile,
      plans: {
        'n 8 k 8 2:4 float32': [tunedPlan(1), tunedPlan(64, 'a better one')],
        'n 9 k 8 2:4 float32': [tunedPlan(5)],
      },
    });
    expect(await readTuned(path, 'another GPU')).to.deep.equal({plans: {}});
  });

  it('leaves nothing but the file behind, even where it cannot be written', async () => {
    await storeTuned(path, ADAPTER, RECORD);
    expect(readdirSync(dirname(path))).to.deep.equal(['plans.json']);
    let thrown: unknown;
    try {
      await storeTuned(dirname(path), ADAPTER, RECORD); // a folder is in the way
    } catch (error) {
      thrown = error;
    }
    expect(thrown).to.be.an('error');
    expect(readdirSync(folder)).to.deep.equal(['deep']);
  });

  const record = (change: object) =>
    JSON.stringify({version: PLANS_VERSION, adapters: {[ADAPTER]: {...RECORD, ...change}}});
  const key = 'n 8 k 8 2:4 float32';
  const sound = {profile: RECORD.profile, plans: {}};
  const kept = {profile: RECORD.profile, plans: {[key]: [tunedPlan(1)]}};
  /** What is stored, and the entries that are read from it. */
  const damaged: Array<[string, string, object | undefined]> = [
    ['nothing', '', undefined],
    ['half a file', record({}).slice(0, 200), undefined],
    ['another file', '{"name": "package.json"}', undefined],
    ['null', 'null', undefined],
    ['a list', '[1, 2]', undefined],
    ['a record that is none', JSON.stringify({version: PLANS_VERSION, adapters: {[ADAPTER]: 7}}), {plans: {}}],
    ['plans that are none', record({plans: {[key]: [{rows: 1}]}}), sound],
    ['a sound plan beside one that is none', record({plans: {[key]: [{rows: 1}, tunedPlan(1)]}}), kept],
    ['plans that are no list', record({plans: {[key]: tunedPlan(1)}}), sound],
    ['a time of 0 ms', record({plans: {[key]: [tunedPlan(1), tunedPlan(2, 'a plan', 0)]}}), kept],
    ['a time below zero', record({plans: {[key]: [tunedPlan(2, 'a plan', -1)]}}), sound],
    ['no plans', record({plans: null}), sound],
    ['a profile with a hole', record({profile: {name: 'GPU', tflops: 1}}), {plans: RECORD.plans}],
    ['a profile that is none', record({profile: 'fast'}), {plans: RECORD.plans}],
  ];
  for (const [what, text, usable] of damaged) {
    it(`that holds ${what} gives the rest with a warning, and is written without it`, async () => {
      await storeTuned(path, ADAPTER, RECORD);
      writeFileSync(path, text);
      const warnings = await warningsOf(
        async () => expect(await readTuned(path, ADAPTER)).to.deep.equal(usable));
      expect(warnings).to.have.length(1);
      expect(warnings[0]).to.include(path).and.match(/is damaged: .*tune\(\) measures and stores/);
      await storeTuned(path, ADAPTER, RECORD);
      expect(await warningsOf(() => readTuned(path, ADAPTER))).to.deep.equal([]);
      expect(await readTuned(path, ADAPTER)).to.deep.equal(RECORD);
    });
  }

  it('keeps the plans of all adapters where those of one are damaged', async () => {
    await storeTuned(path, 'another GPU', RECORD);
    await storeTuned(path, ADAPTER, {plans: {}});
    writeFileSync(path, readFileSync(path, 'utf8').replace('"plans": {}', '"plans": 5'));
    await warningsOf(async () => expect(await readTuned(path, 'another GPU')).to.deep.equal(RECORD));
    await warningsOf(() => storeTuned(path, ADAPTER, {plans: {}}));
    expect(await readTuned(path, 'another GPU')).to.deep.equal(RECORD);
  });

  it('is never given what the next read would refuse', async () => {
    await storeTuned(path, ADAPTER, {plans: {[key]: [
      tunedPlan(1), tunedPlan(2, 'a plan', 0), tunedPlan(3, 'a plan', NaN), tunedPlan(4, 'a plan', Infinity),
    ]}});
    expect(await warningsOf(async () =>
      expect(await readTuned(path, ADAPTER)).to.deep.equal({plans: {[key]: [tunedPlan(1)]}}))).to.deep.equal([]);
  });

  it('is written through no link and over no file that lies in its folder', async () => {
    const victim = join(folder, 'victim.txt');
    writeFileSync(victim, 'precious');
    const links = ['plans.json', `plans.json.${process.pid}.tmp`];
    mkdirSync(dirname(path));
    links.forEach(link => symlinkSync(victim, join(dirname(path), link)));
    await storeTuned(path, ADAPTER, RECORD);
    expect(readFileSync(victim, 'utf8')).to.equal('precious');
    expect(await readTuned(path, ADAPTER)).to.deep.equal(RECORD);
    expect(readdirSync(dirname(path)).sort()).to.deep.equal(links);
  });

  it('takes any text for what it is, and never throws', async () => {
    await storeTuned(path, ADAPTER, RECORD);
    const sound = readFileSync(path, 'utf8');
    await warningsOf(() => fc.assert(fc.asyncProperty(
      fc.oneof(fc.string(), fc.json(), fc.nat(sound.length - 1).map(at => sound.slice(0, at) + sound.slice(at + 1))),
      async text => {
        writeFileSync(path, text);
        await readTuned(path, ADAPTER);
      }), {seed, numRuns: 100}));
  });

  it('of older kernels counts as empty, and is no cause for alarm', async () => {
    await storeTuned(path, ADAPTER, RECORD);
    writeFileSync(path, readFileSync(path, 'utf8').replace(`"version": ${PLANS_VERSION}`, '"version": 0'));
    expect(await warningsOf(async () => expect(await readTuned(path, ADAPTER)).to.equal(undefined))).to.deep.equal([]);
    await storeTuned(path, ADAPTER, {plans: {}});
    expect(await readTuned(path, ADAPTER)).to.deep.equal({plans: {}});
  });

  it('that cannot be read is as good as none', async () => {
    const warnings = await warningsOf(async () => expect(await readTuned(folder, ADAPTER)).to.equal(undefined));
    expect(warnings).to.deep.equal([]);
  });

  it('lies in the user’s cache folder by default', () => {
    const before = process.env.XDG_CACHE_HOME;
    process.env.XDG_CACHE_HOME = folder;
    try {
      expect(openStore(true)?.name).to.equal(join(folder, 'tfjs-nm-sparse', 'tuned-plans.json'));
    } finally {
      if (before === undefined) {
        delete process.env.XDG_CACHE_HOME;
      } else {
        process.env.XDG_CACHE_HOME = before;
      }
    }
  });
});

describe('the package for browsers', () => {
  it('imports nothing of Node, so that any bundler takes it', async () => {
    const {metafile, warnings} = await build({
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
