/** The charts of the benchmark, from rows as runs give them: some ratios are missing, some kernels are many. */
import {expect} from 'chai';
import {plotBackends, plotReport} from '../../examples/benchmark/harness/plots.js';
import type {Report, Row} from '../../examples/benchmark/harness/run.js';
import {meansOf, slowerThanMatMul} from '../../examples/benchmark/harness/summary.js';

function row(suite: string, rows: number, kernel: string, ms: number, over: Partial<Row> = {}): Row {
  return {
    suite, rows, n: 64, k: 32, kernel, dtype: 'float32', ms, msMin: ms, msMax: ms, denseTflops: 1 / ms,
    usefulTflops: 1 / ms, gigabytesPerSecond: 100 / ms, overMatMul: 4 / ms, overDense: 2 / ms, attainable: 0.5,
    plan: null, bound: null, predictedMs: null, choiceOverBest: null, bestPlan: null, error: 0, ...over,
  };
}

const report = (rows: Row[]): Report => ({
  adapter: {vendor: 'a & b', architecture: '<c>', device: '', description: ''}, date: '', seconds: 1,
  device: {
    fmaTflops: 1, fmaScalarTflops: 1, fmaVec4Tflops: 1, copyGigabytesPerSecond: 60, dispatchMicroseconds: 5, copies: [],
  },
  total: rows.length, rows, failures: [], means: [],
});

describe('the charts of a run', () => {
  const points = [20, 30, 40].flatMap(rows => [
    row('some', rows, 'tf.matMul', 4, {overDense: null}), row('some', rows, 'dense', 2), row('some', rows, '2:4', 1),
  ]);
  const few = [row('decode', 1, '2:4', 1), row('decode', 1, '2:4', 0.5, {dtype: 'float16'})];
  const many = Array.from({length: 12}, (_, i) => row('patterns', 64, `${i + 1}:32`, i + 1));
  const charts = plotReport(report([...points, ...few, ...many]));

  it('are those that the rows have data for', () => {
    expect(Object.keys(charts)).to.have.members([
      'some-throughput.svg', 'some-over-dense.svg', 'some-over-matmul.svg', 'decode-bandwidth.svg',
      'patterns-throughput-64x64x32.svg',
    ]);
  });

  it('have all numbers and escaped text', () => {
    for (const svg of Object.values(charts)) {
      expect(svg).not.to.match(/NaN|undefined|Infinity|null|a & b|<c>/);
    }
  });

  it('have a dot for every value and one in the legend', () => {
    const dots = (name: string) => charts[name].match(/<circle/g)!.length;
    expect(dots('some-throughput.svg')).to.equal(9 + 3);
    expect(dots('some-over-dense.svg')).to.equal(3 + 1); // neither tf.matMul, which has no ratio, nor dense itself
    expect(dots('patterns-throughput-64x64x32.svg')).to.equal(12 + 1);
  });
});

describe('the summary of a run', () => {
  it('has the geometric mean of the ratios there are', () => {
    const rows = [row('some', 1, '2:4', 1), row('some', 2, '2:4', 4), row('some', 3, '2:4', 1, {overDense: null})];
    const [{points, overMatMul, overDense}] = meansOf(rows);
    expect(points).to.equal(3);
    expect(overMatMul).to.be.closeTo((4 * 1 * 4) ** (1 / 3), 1e-9);
    expect(overDense).to.be.closeTo(1, 1e-9);
  });

  it('names what is slower than tf.matMul', () => {
    const [slow, fast] = [row('some', 1, '2:4', 5), row('some', 1, '4:8', 3)];
    expect(slowerThanMatMul([slow, fast])).to.deep.equal([slow]);
  });
});

describe('the charts of the suite backends', () => {
  it('are one per backend, with a dot per pattern and size, and a line at tf.matMul', () => {
    const measured = (backend: string, pattern: string, rows: number) => ({
      backend, rows, n: 64, k: 32, pattern, dtype: 'float32' as const, denseMs: 2, sparseMs: 1, overMatMul: 2,
    });
    const charts = plotBackends({where: 'here; with notes', rows: [
      measured('wasm', '2:4', 1), measured('wasm', '2:4', 8), measured('wasm', '8:32v32', 1), measured('cpu', '2:4', 1),
    ]});
    expect(Object.keys(charts)).to.deep.equal(['backends-wasm.svg', 'backends-cpu.svg']);
    const wasm = charts['backends-wasm.svg'];
    ['wasm: here', 'tf.matMul', '1×64×32', '8×64×32'].forEach(text => expect(wasm).to.include(`>${text}<`));
    expect(wasm.match(/<circle/g)).to.have.length(3 + 2); // and the legend's two
  });
});
