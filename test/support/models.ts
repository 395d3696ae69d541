/**
 * What tests of conversion share: saving to memory, and the dense twin of a sparse model, which has the same weights
 * with the zeros written out and so must predict the same.
 */
import * as tf from '@tensorflow/tfjs-core';
import {loadLayersModel, type layers, type LayersModel} from '@tensorflow/tfjs-layers';
import {decompress, NMDense} from '../../src/index.js';

/** The artifacts a save handler gets. */
export async function artifactsOf(model: LayersModel): Promise<tf.io.ModelArtifacts> {
  let saved: tf.io.ModelArtifacts | undefined;
  await model.save(tf.io.withSaveHandler(artifacts => {
    saved = artifacts;
    return Promise.resolve({modelArtifactsInfo: {dateSaved: new Date(0), modelTopologyType: 'JSON' as const}});
  }));
  return saved as tf.io.ModelArtifacts;
}

/** The model as a user gets it back from storage. */
export async function reloaded(model: LayersModel): Promise<LayersModel> {
  return loadLayersModel(tf.io.fromMemory(await artifactsOf(model)));
}

/** Bytes of all weights in a saved model. */
export async function weightBytes(model: LayersModel): Promise<number> {
  return ((await artifactsOf(model)).weightData as ArrayBuffer).byteLength;
}

type Tree = {layers: layers.Layer[]};

function inner(layer: layers.Layer): Partial<Tree> & layers.Layer {
  return (layer as {layer?: layers.Layer}).layer ?? layer;
}

/** `original`'s topology with the weights of `sparse`, kernels decompressed. */
export async function denseTwin(original: LayersModel, sparse: LayersModel): Promise<LayersModel> {
  const twin = await reloaded(original);
  const copy = (from: Tree, to: Tree): void => {
    from.layers.forEach((source, i) => {
      const target = inner(to.layers[i]);
      if (source instanceof NMDense) {
        const kernel = decompress(source.matrix());
        target.setWeights([kernel, ...(source.bias ? [source.bias.read()] : [])]);
        kernel.dispose();
      } else if (inner(source).layers) {
        copy(inner(source) as Tree, target as Tree);
      } else if (source.weights.length > 0) {
        to.layers[i].setWeights(source.getWeights());
      }
    });
  };
  copy(sparse, twin);
  return twin;
}

/** max |a - b| / max |b| */
export function relativeDifference(a: ArrayLike<number>, b: ArrayLike<number>): number {
  let difference = 0;
  let largest = 0;
  for (let i = 0; i < b.length; ++i) {
    const delta = Math.abs(a[i] - b[i]);
    difference = Number.isNaN(delta) ? Infinity : Math.max(difference, delta);
    largest = Math.max(largest, Math.abs(b[i]));
  }
  return difference / largest;
}

/** One output's values. */
export async function predicted(model: LayersModel, x: tf.Tensor | tf.Tensor[]): Promise<Float32Array[]> {
  const outputs = model.predict(x);
  const list = Array.isArray(outputs) ? outputs : [outputs];
  const values = await Promise.all(list.map(output => output.data() as Promise<Float32Array>));
  list.forEach(output => output.dispose());
  return values;
}

/** Disposes a model whole: tfjs counts every use of a shared layer, but gives back only one of them. */
export function disposeModel(model: LayersModel): void {
  model.dispose();
  for (const layer of model.layers) {
    let uses = 1;
    while (uses > 0) {
      try {
        uses = layer.dispose().refCountAfterDispose;
      } catch {
        uses = 0; // tfjs throws where nothing is left to dispose
      }
    }
  }
}
