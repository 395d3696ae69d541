/**
 * nm-prune on WebGPU in Node, in this process: where Dawn and tfjs-backend-webgpu are set up already, it takes them.
 */
import {join} from 'node:path';
import {layers, sequential} from '@tensorflow/tfjs-layers';
import {expect} from 'chai';
import {run} from '../../src/cli/prune_model_folder.js';
import {inFolder, save, storedWeights} from './support.js';

describe('nm-prune --backend webgpu', () => {
  it('writes what it writes on the cpu, and verifies it on the GPU', () => inFolder(async folder => {
    const model = sequential({layers: [
      layers.dense({name: 'one', units: 64, inputShape: [96], activation: 'relu'}),
      layers.batchNormalization({name: 'norm'}),
      layers.dense({name: 'two', units: 33, activation: 'softmax'}),
    ]});
    const modelJson = await save(model, join(folder, 'in'));
    const options = {modelJson, pattern: '8:32v32', quantizeFloat16: ['*']};
    await run({...options, outDir: join(folder, 'cpu'), backend: 'cpu'});
    const onGpu = await run({...options, outDir: join(folder, 'gpu'), backend: 'webgpu'});
    expect(onGpu.backend).to.match(/^webgpu \(.+\)$/);
    expect(onGpu.verification).to.include({verified: true, bound: 1e-2});
    expect(storedWeights(join(folder, 'gpu', 'model.json')))
      .to.deep.equal(storedWeights(join(folder, 'cpu', 'model.json')));
  }));
});
