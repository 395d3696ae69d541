/**
 * A model's weights as they are at one moment. A conversion takes seconds and lets other code run meanwhile; weights
 * read one by one would be a mixture if training went on.
 */
import {clone, type Tensor} from '@tensorflow/tfjs-core';
import type {layers, LayersModel, LayerVariable} from '@tensorflow/tfjs-layers';

export class WeightsSnapshot {
  private readonly copies: Map<Tensor, Tensor>;

  /** Copies nothing but references: tfjs gives a weight new data whenever it changes. */
  constructor(model: LayersModel) {
    this.copies = new Map(model.weights.map(weight => weight.read()).map(tensor => [tensor, clone(tensor)]));
  }

  /** What a weight was, given the tensor that it is. Not to be disposed by the caller. */
  of<T extends Tensor>(weight: T): T {
    return this.copies.get(weight) as T;
  }

  dispose(): void {
    this.copies.forEach(copy => copy.dispose());
  }
}

/** All dtypes of weights take four bytes an element. */
export function weightBytes(layer: layers.Layer): number {
  return 4 * weightCount(layer);
}

export function weightCount(layer: layers.Layer): number {
  const size = ({shape}: LayerVariable) => (shape as number[]).reduce((a, b) => a * b, 1);
  return layer.weights.reduce((sum, weight) => sum + size(weight), 0);
}
