/** The published types in a strict TypeScript project, in both module systems. skipLibCheck is for tfjs's own types. */
import {spawnSync} from 'node:child_process';
import {rmSync, writeFileSync} from 'node:fs';
import {join, resolve} from 'node:path';
import {expect} from 'chai';
import {installInNewFolder} from './install.js';

const USE = `
  import * as tf from '@tensorflow/tfjs';
  import {compress, layers, nmSparseMatMul, pruneLayersModel, tune, warmUp} from 'tfjs-nm-sparse';
  import {NMDense, type NMSparseMatrixParts} from 'tfjs-nm-sparse/runtime';

  export async function use(model: tf.LayersModel, W: tf.Tensor2D): Promise<tf.Tensor> {
    const {model: sparse, report} = await pruneLayersModel(model, {pattern: '2:4', exclude: 'head'});
    await tune(sparse, {rows: [1, 32]});
    await warmUp(sparse);
    const patterns: Array<string | undefined> = report.layers.map(({pattern}) => pattern);
    const chain = tf.sequential({layers: [layers.nmDense({units: 8, pattern: '8:32v32', inputShape: [8]})]});
    console.log(patterns, chain.layers.length);
    return nmSparseMatMul(tf.ones([1, 8]), await compress(W, {pattern: '2:4'}), {activation: 'relu'});
  }
  void ((parts: NMSparseMatrixParts) => [NMDense.className, parts.values]);
  // @ts-expect-error: the types are there, and refuse what is wrong
  void pruneLayersModel(5);`;
const MODULES = {
  'an ES module': ['use.mts', 'nodenext', 'nodenext'],
  'a CommonJS module': ['use.cts', 'nodenext', 'nodenext'],
  'a bundled module': ['use.ts', 'esnext', 'bundler'],
};

describe('the published types', () => {
  let folder: string;
  before('install the package', () => {
    folder = installInNewFolder();
  });
  after('remove the folder', () => rmSync(folder, {recursive: true, force: true}));

  function errors(file: string, module: string, moduleResolution: string): string {
    writeFileSync(join(folder, file), USE);
    writeFileSync(join(folder, 'tsconfig.json'), JSON.stringify({
      compilerOptions: {strict: true, skipLibCheck: true, noEmit: true, target: 'es2022', types: [], module,
        moduleResolution},
      files: [file],
    }));
    return spawnSync(process.execPath, [resolve('node_modules/typescript/bin/tsc')], {cwd: folder, encoding: 'utf8'})
      .stdout;
  }

  for (const [what, [file, module, moduleResolution]] of Object.entries(MODULES)) {
    it(`serve ${what} under tsc --strict`, () => {
      expect(errors(file, module, moduleResolution)).to.equal('');
    }).timeout(120_000);
  }
});
