/** The cache of tuned plans in a page: IndexedDB. */
import {createStore, del, get, set} from 'idb-keyval';
import {expect} from 'chai';
import {openStore} from '../../src/tuning/plan_store.js';
import {readTuned, storeTuned} from '../../src/tuning/tuned_plans.js';
import {RECORD, tunedPlan, warningsOf} from './stored.js';

describe('the cache of tuned plans in a page', () => {
  const stored = () => createStore('tfjs-nm-sparse', 'keyval');

  beforeEach(() => del('tuned-plans', stored()));
  after(() => del('tuned-plans', stored()));

  it('gives back what was stored, to the adapter it was measured on', async () => {
    expect(await readTuned(true, 'a GPU')).to.equal(undefined);
    expect(await storeTuned(true, 'a GPU', RECORD)).to.equal('IndexedDB tfjs-nm-sparse');
    expect(await readTuned(true, 'a GPU')).to.deep.equal(RECORD);
    expect(await readTuned(true, 'another GPU')).to.equal(undefined);
  });

  it('keeps what several calls store at once', async () => {
    await Promise.all([1, 2, 3].map(rows => storeTuned(true, 'a GPU', {plans: {key: [tunedPlan(rows)]}})));
    expect((await readTuned(true, 'a GPU'))?.plans.key.map(({rows}) => rows).sort()).to.deep.equal([1, 2, 3]);
  });

  for (const damaged of ['{"version": 1, "adapters": 5}', 'no JSON']) {
    it(`is warned of where it holds ${damaged}, and written anew`, async () => {
      await set('tuned-plans', damaged, stored());
      const warnings = await warningsOf(async () => expect(await readTuned(true, 'a GPU')).to.equal(undefined));
      expect(warnings).to.have.length(1);
      expect(warnings[0]).to.include('IndexedDB tfjs-nm-sparse, is damaged');
      await storeTuned(true, 'a GPU', RECORD);
      expect(await readTuned(true, 'a GPU')).to.deep.equal(RECORD);
      expect(await get('tuned-plans', stored())).to.be.a('string');
    });
  }

  it('has no files to be kept in', () => {
    expect(() => openStore('plans.json')).to.throw("cache is 'plans.json', a path, and there are no files here");
  });
});
