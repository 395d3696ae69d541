/**
 * The cost model predicts for every row of the committed benchmarks what it predicted when the row was measured: the
 * figures of docs/performance-model.md and docs/benchmarks.md are then those of this code.
 */
import {readdirSync, readFileSync} from 'node:fs';
import {join} from 'node:path';
import {expect} from 'chai';
import type {Plan} from '../../kernels/webgpu/plan.js';
import {NO_EPILOGUE} from '../../kernels/webgpu/wgsl/epilogue.js';
import {parsePattern} from '../../src/format/pattern.js';
import type {StorageDtype} from '../../src/format/storage.js';
import {predict} from '../../src/tuning/cost_model.js';
import {profileOf} from '../../src/tuning/device_profile.js';

interface Row {
  rows: number;
  n: number;
  k: number;
  /** A pattern, or the name of a dense product. */
  kernel: string;
  dtype: StorageDtype;
  /** The plan's name; null for tf.matMul. */
  plan: string | null;
  bound: string;
  predictedMs: number;
}

const FOLDER = 'docs/benchmarks';
const HOPPER = profileOf({vendor: 'nvidia', architecture: 'hopper'});

function planOf({plan}: Row): Plan {
  const parsed = JSON.parse(plan!) as Plan;
  // Figures of before x could be read row-major name no layout.
  const xLayout = parsed.kind === 'gemv' && parsed.config.rows <= 2 ? 'row-major' : 'k-major';
  return {...parsed, config: {...{xLayout}, ...parsed.config, epilogue: NO_EPILOGUE}} as Plan;
}

describe('the cost model, on the committed benchmark rows,', () => {
  for (const file of readdirSync(FOLDER).filter(name => name.endsWith('.json'))) {
    it(`predicts the times of ${file}`, () => {
      const {rows} = JSON.parse(readFileSync(join(FOLDER, file), 'utf8')) as {rows: Row[]};
      const ours = rows.filter(({plan}) => plan !== null);
      expect(ours.length).to.be.above(50);
      for (const row of ours) {
        const [kernel] = row.kernel.split(' '); // a rung of the ladder has its name behind the pattern
        const pattern = parsePattern(/^\d/.test(kernel) ? kernel : '1:1');
        const problem = {
          rows: row.rows, shape: [row.k, row.n] as [number, number], pattern, dtype: row.dtype, epilogue: NO_EPILOGUE,
        };
        const {ms, bound} = predict(planOf(row), problem, HOPPER);
        const which = `${row.rows} × ${row.n} × ${row.k} ${row.kernel} ${row.dtype}`;
        expect(ms / row.predictedMs, which).to.be.closeTo(1, 1e-9);
        expect(bound, which).to.equal(row.bound);
      }
    });
  }
});
