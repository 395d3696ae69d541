/**
 * Gradients of the three kernels. With W rebuilt densely (training is not where sparsity saves time here):
 *
 *     y = x·W + b       dx = dy·Wᵀ     dvalues = the kept entries of xᵀ·dy     db = dy summed over rows
 *
 * So zeros stay zeros: entries that are not kept have no value to update. The gradient of an input is computed only if
 * it is needed. nmDecompress and nmGatherKept are each other's transpose, so second derivatives work too; those of the
 * activations are in kernels/composite/activation.ts.
 */
import {
  engine, matMul, reshape, sum, tidy, type GradConfig, type NamedTensorMap, type Tensor, type Tensor2D,
} from '@tensorflow/tfjs-core';
import {
  fromAttrs, NM_DECOMPRESS, NM_GATHER_KEPT, NM_SPARSE_MAT_MUL, toAttrs, type MatMulAttrs, type MatrixAttrs,
} from '../../kernels/contract.js';
import {STORAGE} from '../format/storage.js';

/** W [k, n], dense, on the active backend; on the tape if one is recorded. */
export function runDecompress(values: Tensor, indices: Tensor, matrix: MatrixAttrs): Tensor2D {
  const {pattern, shape, dtype} = matrix;
  return engine().runKernel(NM_DECOMPRESS, {values, indices} as NamedTensorMap, toAttrs({pattern, shape, dtype}));
}

function runGatherKept(dense: Tensor, indices: Tensor, {pattern, shape, dtype}: MatrixAttrs): Tensor2D {
  return engine().runKernel(NM_GATHER_KEPT, {dense, indices} as NamedTensorMap, toAttrs({pattern, shape, dtype}));
}

function refuseHalves({dtype}: MatrixAttrs): void {
  if (!STORAGE[dtype].trainable) {
    throw new Error(`nmSparseMatMul: no gradient with respect to values stored as '${dtype}'. ` +
        `Train with dtype 'float32' and store as '${dtype}' afterwards.`);
  }
}

export const gradients: GradConfig[] = [
  {
    kernelName: NM_SPARSE_MAT_MUL,
    inputsToSave: ['x', 'values', 'indices'],
    gradFunc: (dy, saved, namedAttrs) => {
      const attrs = fromAttrs<MatMulAttrs>(namedAttrs);
      const [x, values, indices] = saved;
      if (attrs.activation !== 'linear') {
        throw new Error(`nmSparseMatMul: the kernel has no gradient with activation '${attrs.activation}' fused. ` +
            'Call the op nmSparseMatMul, which applies activations apart while a gradient is recorded.');
      }
      return {
        x: () => tidy(() => matMul(dy as Tensor2D, runDecompress(values, indices, attrs), false, true)),
        values: () => {
          refuseHalves(attrs);
          return tidy(() => runGatherKept(matMul(x as Tensor2D, dy as Tensor2D, true, false), indices, attrs));
        },
        bias: () => tidy(() => reshape(sum(dy as Tensor2D, 0), [attrs.shape[1]])),
      };
    },
  },
  {
    kernelName: NM_DECOMPRESS,
    inputsToSave: ['indices'],
    gradFunc: (dy, [indices], namedAttrs) => ({
      values: () => {
        const attrs = fromAttrs<MatrixAttrs>(namedAttrs);
        refuseHalves(attrs);
        return runGatherKept(dy as Tensor, indices, attrs);
      },
    }),
  },
  {
    kernelName: NM_GATHER_KEPT,
    inputsToSave: ['indices'],
    gradFunc: (dy, [indices], namedAttrs) => ({
      dense: () => runDecompress(dy as Tensor, indices, {...fromAttrs<MatrixAttrs>(namedAttrs), dtype: 'float32'}),
    }),
  },
];
