/**
 * All weights of a model as they are at one moment. A conversion takes a while and lets other code run; training in
 * between would otherwise give a model of which some layers are older than others.
 */
import {clone, dispose, type Tensor, type Tensor2D} from '@tensorflow/tfjs-core';
import type {LayerVariable} from '@tensorflow/tfjs-layers';
import {NMSparseMatrix} from '../../format/nm_sparse_matrix.js';
import {NMDense} from '../../layers/nm_dense.js';
import type {Layer} from './find.js';

export class WeightSnapshot {
  private readonly values = new Map<LayerVariable, Tensor>();

  /**
   * Copies no data: tfjs gives a variable that is written new data, and a clone keeps the old.
   * @throws Error if a layer is disposed.
   */
  constructor(caller: string, layers: Layer[]) {
    for (const layer of layers) {
      for (const variable of layer.weights) {
        try {
          this.values.set(variable, this.values.get(variable) ?? clone(variable.read()));
        } catch (error) {
          this.dispose();
          throw new Error(
            `${caller}: model is disposed: layer '${layer.name}' has no weights any more; load the model again.`,
            {cause: error});
        }
      }
    }
  }

  /** The weight's value at that moment. It belongs to the snapshot. */
  of(variable: LayerVariable): Tensor {
    return this.values.get(variable) as Tensor;
  }

  /** The kernel of a Dense or NMDense layer at that moment. It belongs to the snapshot. */
  kernelOf(dense: Layer): Tensor2D | NMSparseMatrix {
    if (!(dense instanceof NMDense)) {
      return this.of(dense.weights[0]) as Tensor2D;
    }
    const matrix = dense.matrix();
    const of = (tensor: Tensor2D) =>
      this.of(dense.weights.find(variable => variable.read() === tensor) as LayerVariable) as Tensor2D;
    return new NMSparseMatrix({...matrix, values: of(matrix.values), indices: of(matrix.indices)});
  }

  dispose(): void {
    dispose([...this.values.values()]);
  }
}
