/** A matrix made of tensors that came from elsewhere. */
import {memory, tensor2d} from '@tensorflow/tfjs-core';
import {expect} from 'chai';
import {NMSparseMatrix, partShapes} from '../../src/format/nm_sparse_matrix.js';
import {parsePattern} from '../../src/format/pattern.js';

describe('NMSparseMatrix', () => {
  it('takes parts of the shapes that partShapes names, in both storages', () => {
    const pattern = parsePattern('2:4v2');
    for (const dtype of ['float32', 'float16'] as const) {
      const shapes = partShapes([5, 3], pattern, dtype);
      expect(shapes).to.deep.equal({values: [3, dtype === 'float16' ? 2 : 3], indices: [2, 1]});
      const matrix = new NMSparseMatrix({
        values: tensor2d(new Array(shapes.values[0] * shapes.values[1]).fill(0), shapes.values,
                         dtype === 'float16' ? 'int32' : 'float32'),
        indices: tensor2d([0, 0], shapes.indices, 'int32'),
        pattern: '2:4v2',
        shape: [5, 3],
        dtype,
      });
      expect(matrix.keptRows).to.equal(3);
      expect(matrix.bytes).to.equal(4 * (3 * shapes.values[1] + 2));
      matrix.dispose();
    }
  });

  it('disposes both its tensors', () => {
    const before = memory().numTensors;
    const matrix = new NMSparseMatrix({
      values: tensor2d([[1]]), indices: tensor2d([[0]], [1, 1], 'int32'), pattern: '1:2', shape: [2, 1],
    });
    matrix.dispose();
    expect(memory().numTensors).to.equal(before);
  });
});
