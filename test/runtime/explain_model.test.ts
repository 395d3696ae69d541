/** explainModel on every backend, and the flags that show and force a plan on WebGPU. */
import {layers as tfLayers, sequential} from '@tensorflow/tfjs-layers';
import {expect} from 'chai';
import {explainModel, layers} from '../../src/index.js';
import {backendName} from '../support/backend.js';
import {messageOf} from '../support/errors.js';
import {disposeModel} from '../support/models.js';

const model = () => sequential({layers: [
  layers.nmDense({units: 64, pattern: '8:32v32', activation: 'relu', inputShape: [3, 64], name: 'wide'}),
  tfLayers.flatten(),
  sequential({name: 'inner', layers: [
    layers.nmDense({units: 10, pattern: '2:4', activation: 'softmax', inputShape: [192], name: 'head'}),
  ]}),
]});

/** What a function prints. */
async function printed(run: () => unknown): Promise<string[]> {
  const {log} = console;
  const lines: string[] = [];
  console.log = (text: string) => lines.push(text);
  try {
    await run();
  } finally {
    console.log = log;
  }
  return lines;
}

describe('explainModel', () => {
  it('says of each layer what runs, and prints it', async () => {
    const made = model();
    let report: Awaited<ReturnType<typeof explainModel>> | undefined;
    const lines = await printed(async () => report = await explainModel(made, {rows: 8}));
    const {backend, layers: [wide, head]} = report!;
    expect(backend).to.equal(backendName);
    expect(wide).to.deep.include({name: 'wide', pattern: '8:32v32', dtype: 'float32', shape: [64, 64], rows: 24});
    expect(wide.bytes).to.equal(4 * (16 * 64 + 2 * 4));
    expect(head).to.deep.include({name: 'inner/head', pattern: '2:4', rows: 8});
    expect(lines).to.have.length(2);
    expect(lines[0]).to.match(/^wide {2}8:32v32 float32, 64×64, 4128 bytes, 24 rows: .+ \(.+\)$/);
    if (backendName === 'webgpu') {
      expect(wide.plan).to.match(/^gem[mv], .*splits \d/);
      expect(wide.why).to.match(/^predicted fastest of \d+, bound by /);
      expect(wide.predictedMs).to.be.above(0);
    } else {
      expect(wide.denseFallback).to.equal(backendName === 'tensorflow');
      expect(wide.why).to.equal(`the kernel of backend '${backendName}'`);
    }
    disposeModel(made);
  });

  it('refuses what it cannot explain', async () => {
    expect(await messageOf(() => explainModel({} as never)))
      .to.equal('explainModel: model is an object with no keys; give a tf.LayersModel.');
    const made = model();
    expect(await messageOf(() => explainModel(made, {rows: 0}))).to.match(/^explainModel: rows is 0; give a whole/);
    expect(await messageOf(() => explainModel(made, {row: 1} as never))).to.match(/there is no option 'row'/);
    disposeModel(made);
  });
});
