/** The cache of tuned plans in a page: IndexedDB. */
import {createStore, del, get, set} from 'idb-keyval';
import {expect} from 'chai';
import {PLANS_VERSION} from '../../kernels/webgpu/plan.js';
import {PlanChooser} from '../../src/tuning/choose.js';
import {BrowserStore} from '../../src/tuning/plan_store.js';
import {loadTuned, readTuned, storeTuned} from '../../src/tuning/plan_cache.js';
import {DEFAULT_LIMITS} from '../support/reference.js';
import {RECORD, tunedPlan, warningsOf} from './stored.js';
import {rejection} from './support.js';

describe('the cache of tuned plans in a page', () => {
  const stored = () => createStore('tfjs-nm-sparse', 'keyval');

  beforeEach(() => del('tuned-plans', stored()));
  after(() => del('tuned-plans', stored()));

  it('gives back what was stored, to the adapter it was measured on', async () => {
    expect(await readTuned('a GPU')).to.equal(undefined);
    expect(await storeTuned('a GPU', RECORD)).to.equal('IndexedDB tfjs-nm-sparse');
    expect(await readTuned('a GPU')).to.deep.equal(RECORD);
    expect(await readTuned('another GPU')).to.equal(undefined);
  });

  it('keeps what several calls store at once', async () => {
    await Promise.all([1, 2, 3].map(rows => storeTuned('a GPU', {plans: {key: [tunedPlan(rows)]}})));
    expect((await readTuned('a GPU'))?.plans.key.map(({rows}) => rows).sort()).to.deep.equal([1, 2, 3]);
  });

  for (const damaged of [`{"version": ${PLANS_VERSION}, "adapters": {"a GPU": 5}}`, 'no JSON']) {
    it(`is warned of where it holds ${damaged}, and replaced`, async () => {
      await set('tuned-plans', damaged, stored());
      const warnings = await warningsOf(async () => expect(await readTuned('a GPU')).to.equal(undefined));
      expect(warnings).to.have.length(1);
      expect(warnings[0]).to.include('IndexedDB tfjs-nm-sparse are damaged');
      await storeTuned('a GPU', RECORD);
      expect(await readTuned('a GPU')).to.deep.equal(RECORD);
      expect(await get('tuned-plans', stored())).to.be.a('string');
    });
  }

  it('exists only once something is stored', async () => {
    const name = 'tfjs-nm-sparse-test-new';
    const names = async () => (await indexedDB.databases()).map(database => database.name);
    const store = new BrowserStore(name);
    expect(await store.read()).to.equal(undefined);
    expect(await names()).to.not.include(name);
    await store.update(text => `${text} and more`);
    expect(await names()).to.include(name);
    expect(await store.read()).to.equal('undefined and more');
    // Waits until nobody has it open: for ever, if the store kept it so.
    await new Promise(resolve => indexedDB.deleteDatabase(name).onsuccess = resolve);
    expect(await store.read()).to.equal(undefined);
    expect(await names()).to.not.include(name);
  });

  /** IndexedDB whose `open` does this while `run` runs. */
  async function withOpen(open: () => unknown, run: () => Promise<void>): Promise<void> {
    const usual = IDBFactory.prototype.open;
    IDBFactory.prototype.open = open as typeof usual;
    try {
      await run();
    } finally {
      IDBFactory.prototype.open = usual;
    }
  }

  const broken: Array<[string, () => unknown, RegExp]> = [
    ['never answers', () => ({}), /IndexedDB has not answered within 2000 ms/],
    ['is denied', () => {
      throw new DOMException('access to the database is denied', 'SecurityError');
    }, /denied/],
  ];
  for (const [what, open, message] of broken) {
    it(`counts as empty where IndexedDB ${what}, and storing is refused`, () => withOpen(open, async () => {
      const chooser = new PlanChooser(DEFAULT_LIMITS, {vendor: '', architecture: '', device: '', description: ''});
      expect(await warningsOf(async () => {
        await loadTuned(chooser); // what warmUp and tune wait for
        expect(await readTuned('a GPU')).to.equal(undefined);
      })).to.deep.equal([]);
      expect(await rejection(storeTuned('a GPU', RECORD))).to.match(message);
    }));
  }
});
