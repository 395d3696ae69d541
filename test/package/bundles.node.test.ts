/**
 * The built package, in each form a user loads it: import, require, a script tag. Each in a process of its own, so that
 * nothing registered by the sources can help. npm test builds first.
 */
import {execFileSync} from 'node:child_process';
import {existsSync, readFileSync} from 'node:fs';
import {gzipSync} from 'node:zlib';
import {expect} from 'chai';
import {build} from 'esbuild';

/** Converts a small layer and predicts; prints what a user would look at. */
const USE = `
  async function use(tf, tfl, nmSparse) {
    await tf.setBackend('cpu');
    const model = tfl.sequential({layers: [tfl.layers.dense({units: 8, inputShape: [8], activation: 'relu'})]});
    const {model: sparse, report} = await nmSparse.pruneLayersModel(model, {pattern: '2:4'});
    const y = sparse.predict(tf.ones([1, 8]));
    const name = sparse.layers[0].getClassName();
    console.log(report.layers[0].pattern, name, y.shape.join('x'), typeof nmSparse.layers.nmDense);
  }`;
const EXPECTED = '2:4 NMDense 1x8 function';

/** Node's output, less tfjs's greeting. */
function run(args: string[]): string {
  return execFileSync(process.execPath, args, {encoding: 'utf8'}).trim().split('\n').pop() as string;
}

describe('the built package', () => {
  it('is imported as an ES module', () => {
    expect(run(['--input-type=module', '-e', `${USE}
      const tf = await import('@tensorflow/tfjs-core');
      await import('@tensorflow/tfjs-backend-cpu');
      await use(tf, await import('@tensorflow/tfjs-layers'), await import('tfjs-nm-sparse'));`])).to.equal(EXPECTED);
  });

  it('is required as CommonJS', () => {
    expect(run(['--input-type=commonjs', '-e', `${USE}
      const tf = require('@tensorflow/tfjs-core');
      require('@tensorflow/tfjs-backend-cpu');
      use(tf, require('@tensorflow/tfjs-layers'), require('tfjs-nm-sparse'));`])).to.equal(EXPECTED);
  });

  it('has a runtime entry without pruning and tuning, of at most 40 KB', async () => {
    const {outputFiles: [{contents}]} = await build({
      entryPoints: ['dist/esm/runtime.js'], bundle: true, minify: true, format: 'esm', write: false,
      external: ['@tensorflow/*'],
    });
    expect(gzipSync(contents, {level: 9}).length).to.be.below(40_000);
    const names = run(['--input-type=module', '-e', `
      const runtime = await import('tfjs-nm-sparse/runtime');
      console.log(Object.keys(runtime).sort().join(' '));`]);
    expect(names).to.equal('NMDense NMSparseMatrix decompress layers nmSparseConv2D nmSparseMatMul');
    expect(run(['--input-type=commonjs', '-e', "console.log(typeof require('tfjs-nm-sparse/runtime').NMDense)"]))
      .to.equal('function');
  });

  it('is a script tag beside the global tf', () => {
    expect(run(['--input-type=commonjs', '-e', `${USE}
      globalThis.tf = require('@tensorflow/tfjs');
      const script = require('fs').readFileSync('dist/nm-sparse.min.js', 'utf8');
      require('vm').runInThisContext(script);
      use(tf, tf, globalThis.nmSparse);`])).to.equal(EXPECTED);
  });

  it('says what is missing where the script tag comes before tf', () => {
    expect(() => execFileSync(process.execPath, ['dist/nm-sparse.min.js'], {stdio: 'pipe'}))
      .to.throw(/tf\.min\.js/);
  });

  it('has types for both module systems, and every file that package.json names', () => {
    const manifest = JSON.parse(readFileSync('package.json', 'utf8')) as {
      exports: Record<'.' | './runtime', Record<string, Record<string, string>>>;
      bin: Record<string, string>; sideEffects: string[];
    };
    const named = [
      ...[manifest.exports['.'], manifest.exports['./runtime']]
        .flatMap(entry => Object.values(entry)).flatMap(each => Object.values(each)),
      ...Object.values(manifest.bin), ...manifest.sideEffects,
    ];
    expect(named.filter(file => !existsSync(file))).to.deep.equal([]);
  });
});
