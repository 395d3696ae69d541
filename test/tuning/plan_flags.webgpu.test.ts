/** The flags of tf.env() that show and force the plan of a product. */
import * as tf from '@tensorflow/tfjs-core';
import {expect} from 'chai';
import {compress, nmSparseMatMul} from '../../src/index.js';
import {mulberry32, seed} from '../support/random.js';

const env = () => tf.env();

describe('the flags NM_SPARSE_PLAN and NM_SPARSE_PRINT_PLAN', () => {
  afterEach(() => {
    env().set('NM_SPARSE_PLAN', '');
    env().set('NM_SPARSE_PRINT_PLAN', false);
  });

  it('force a plan by its description, print it once, and change no result', async () => {
    const random = mulberry32(seed);
    const [rows, k, n] = [40, 64, 96];
    const values = (count: number) => Float32Array.from({length: count}, () => 2 * random() - 1);
    const [x, W] = [tf.tensor2d(values(rows * k), [rows, k]), tf.tensor2d(values(k * n), [k, n])];
    const matrix = await compress(W, {pattern: '8:32v32'});
    const {log} = console;
    const lines: string[] = [];
    console.log = (text: string) => lines.push(text);
    const results: Float32Array[] = [];
    try {
      env().set('NM_SPARSE_PRINT_PLAN', true);
      for (const plan of ['gemm, packed', 'gemm, window', 'gemv', 'no such plan', 'gemm, packed']) {
        env().set('NM_SPARSE_PLAN', plan);
        const y = nmSparseMatMul(x, matrix);
        results.push(await y.data() as Float32Array);
        y.dispose();
      }
    } finally {
      console.log = log;
    }
    expect(lines).to.have.length(4);
    expect(lines[0]).to.match(/^nmSparseMatMul \[40,64\] · \[64,96\] 8:32v32 float32: gemm, packed, /);
    expect(lines[0]).to.contain("(NM_SPARSE_PLAN is 'gemm, packed')");
    expect(lines[1]).to.contain(': gemm, window, ');
    expect(lines[2]).to.contain(': gemv, ');
    expect(lines[3]).to.contain('(predicted fastest of ').and.to.contain(
      "; no program fits NM_SPARSE_PLAN 'no such plan')");
    results.forEach(result => result.forEach((value, i) => expect(value).to.be.closeTo(results[0][i], 1e-4)));
    tf.dispose([x, W]);
    matrix.dispose();
  });
});
