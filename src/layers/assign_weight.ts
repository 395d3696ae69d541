/**
 * Writes a weight exactly as it is given. LayerVariable.write of tfjs-layers 4.22 (src/variables.ts) projects every
 * value it writes by the weight's constraint, so a trained kernel outside its constraint would change on the way.
 */
import type {Tensor, Variable} from '@tensorflow/tfjs-core';
import type {LayerVariable} from '@tensorflow/tfjs-layers';

/**
 * Sets a weight to a value without applying the weight's constraint. Copies nothing and disposes nothing: the caller
 * still owns `value`. The offsets of an NMDense layer are checked, as every write of them is.
 * @param value of the weight's shape and dtype.
 * @throws Error if the shape or the dtype differs, if the weight is disposed, or if offsets are corrupt.
 */
export function assignWeight(variable: LayerVariable, value: Tensor): void {
  // Private in tfjs-layers 4.22. read() returns the variable itself, as a Tensor.
  const {constraint} = variable as unknown as {constraint: unknown};
  const own = variable.read() as Variable;
  if (constraint === null || constraint === undefined) {
    variable.write(value); // NMDense checks its offsets there
  } else if (own.id !== value.id) {
    own.assign(value);
  }
}
