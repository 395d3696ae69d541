/**
 * The built package is imported before, during and after a backend's asynchronous set-up. The backend is called
 * 'webgpu' and computes on the CPU, so that a machine without a GPU will do. Each case is a process of its own.
 */
import {execFileSync} from 'node:child_process';
import {expect} from 'chai';

/** Sets up the slow backend, loads the package `when`, then predicts on cpu: prints 1x8. */
const USE = `
  async function use(tf, tfl, MathBackendCPU, when, load) {
    tf.registerBackend('webgpu', () => new Promise(resolve => setTimeout(() => resolve(new MathBackendCPU()), 50)));
    let nmSparse = when === 'before' ? await load() : undefined;
    const pending = tf.setBackend('webgpu');
    nmSparse ??= when === 'during' ? await load() : undefined;
    if (!(await pending)) {
      throw new Error('the backend does not start');
    }
    nmSparse ??= await load();
    await tf.setBackend('cpu');
    const y = nmSparse.layers.nmDense({units: 8, pattern: '2:4', inputShape: [8]}).apply(tf.ones([1, 8]));
    console.log(y.shape.join('x'));
  }`;

const FORMS: Array<[string, string, string]> = [
  ['an ES module', 'module', `
    const tf = await import('@tensorflow/tfjs-core');
    const {MathBackendCPU} = await import('@tensorflow/tfjs-backend-cpu');
    const tfl = await import('@tensorflow/tfjs-layers');
    await use(tf, tfl, MathBackendCPU, WHEN, () => import('tfjs-nm-sparse'));`],
  ['CommonJS', 'commonjs', `
    const tf = require('@tensorflow/tfjs-core');
    const {MathBackendCPU} = require('@tensorflow/tfjs-backend-cpu');
    use(tf, require('@tensorflow/tfjs-layers'), MathBackendCPU, WHEN, () => require('tfjs-nm-sparse'));`],
  ['a script tag', 'commonjs', `
    const tf = globalThis.tf = require('@tensorflow/tfjs');
    const {MathBackendCPU} = require('@tensorflow/tfjs-backend-cpu');
    use(tf, tf, MathBackendCPU, WHEN, () => {
      require('vm').runInThisContext(require('fs').readFileSync('dist/nm-sparse.min.js', 'utf8'));
      return globalThis.nmSparse;
    });`],
];

describe('the built package, loaded as', function() {
  this.timeout(60_000);
  for (const [form, type, code] of FORMS) {
    for (const when of ['before', 'during', 'after']) {
      it(`${form} ${when} a backend's set-up, works`, () => {
        const script = `${USE}\n${code.replace('WHEN', `'${when}'`)}`;
        const output = execFileSync(process.execPath, [`--input-type=${type}`, '-e', script],
          {encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe']});
        expect(output.trim().split('\n').pop()).to.equal('1x8');
      });
    }
  }
});
