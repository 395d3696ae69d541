/**
 * The runtime entry on WebGPU. The build removes comments and indentation from its WGSL; every program must still
 * compute what the cpu does. In a process of its own: a second copy of the package would register its layer here.
 */
import {execFileSync} from 'node:child_process';
import {expect} from 'chai';

/** The program of each kind that NM_SPARSE_PLAN forces, by pattern; '' is the usual choice. */
const PLANS = [
  ['8:32v32', 'gemv'], ['8:32v32', 'gemm, packed'], ['8:32v32', 'gemm, window'], ['2:4', 'gemm, spread'],
  ['2:4', 'dense fallback'], ['4:4v4', 'gemm, dense'], ['1:4v2', ''],
];

const SCRIPT = `
  import {create, globals} from 'webgpu';
  Object.assign(globalThis, globals);
  const gpu = create(['enable-dawn-features=allow_unsafe_apis',
    'disable-dawn-features=use_vulkan_zero_initialize_workgroup_memory_extension']);
  if (!('navigator' in globalThis)) {
    Object.defineProperty(globalThis, 'navigator', {value: {}});
  }
  Object.defineProperty(navigator, 'gpu', {value: gpu});
  const tf = await import('@tensorflow/tfjs-core');
  await import('@tensorflow/tfjs-backend-webgpu');
  await import('@tensorflow/tfjs-backend-cpu');
  const {NMSparseMatrix, nmSparseMatMul} = await import('tfjs-nm-sparse/runtime');
  const {compress} = await import('tfjs-nm-sparse');

  async function product(backend, pattern, rows) {
    await tf.setBackend(backend);
    const x = tf.randomUniform([rows, 96], -1, 1, 'float32', 3);
    const made = await compress(tf.randomUniform([96, 68], -1, 1, 'float32', 4), {pattern, dtype: 'float16'});
    const W = new NMSparseMatrix(made);
    const bias = tf.linspace(-1, 1, 68);
    return nmSparseMatMul(x, W, {bias, activation: 'gelu_new'}).data();
  }

  const errors = [];
  for (const [pattern, plan] of ${JSON.stringify(PLANS)}) {
    const rows = plan === 'gemv' ? 2 : 20;
    const expected = await product('cpu', pattern, rows);
    tf.env().set('NM_SPARSE_PLAN', plan);
    const got = await product('webgpu', pattern, rows);
    errors.push(expected.reduce((most, value, i) => Math.max(most, Math.abs(value - got[i])), 0));
  }
  console.log(JSON.stringify(errors));
  process.exit(0);`;

describe('the runtime entry on WebGPU', () => {
  it('computes by every kind of program what the cpu computes', function() {
    this.timeout(120_000);
    const output = execFileSync(process.execPath, ['--input-type=module', '-e', SCRIPT], {encoding: 'utf8'});
    const errors = JSON.parse(output.trim().split('\n').pop()!) as number[];
    expect(errors).to.have.length(PLANS.length);
    errors.forEach((error, i) => expect(error, PLANS[i].join(' ')).to.be.below(1e-5));
  });
});
