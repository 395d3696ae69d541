/**
 * Checks packed offsets from outside: a file, another implementation. Kernels do not check offsets; a wrong one reads
 * outside its window, and a GPU reports no error. So data from outside is checked once, before it becomes a matrix, and
 * refused if any offset is wrong. All rules of docs/format.md for `indices` are checked. Padding bits have no meaning,
 * but if one is set, the words belong to another shape or pattern.
 */
import {describeValue} from '../util/options.js';
import {NMSparseMatrix} from './nm_sparse_matrix.js';
import {indexBits, indexWordsPerGroup, unpackIndices} from './pack.js';
import {formatPattern, groupCount, keptRowCount, type NMPattern} from './pattern.js';

/**
 * Refuses a matrix whose offsets no matrix of its shape and pattern can have. Use it once on a matrix that came from
 * elsewhere: kernels trust offsets, so a wrong one gives wrong values without an error. A model's NMDense layers are
 * checked as they are loaded; `await validateMatrix(layer.matrix())` checks one again.
 * @param matrix read with `await data()`, not disposed.
 * @throws Error (as a rejection) if it is not an NMSparseMatrix, is disposed, or has corrupt offsets.
 */
export async function validateMatrix(matrix: NMSparseMatrix): Promise<void> {
  if (!(matrix instanceof NMSparseMatrix) || matrix.indices.isDisposed) {
    throw new Error(`validateMatrix: matrix is ${describeValue(matrix)}` +
        `${matrix instanceof NMSparseMatrix ? ', disposed' : ''}; give an NMSparseMatrix that is not disposed.`);
  }
  const {indices, shape, pattern} = matrix;
  checkIndices(await indices.data() as Int32Array, shape, pattern, 'validateMatrix');
}

/**
 * Refuses offsets that no matrix of this shape and pattern can have.
 * @param words the packed offsets, [groups, words per group] row-major.
 * @param shape [k, n] of the dense matrix.
 * @param caller opens the error message.
 * @throws Error if there are too few or too many words, an offset lies outside its (maybe short) window, the offsets of
 *     a window do not strictly ascend, or a padding bit is set.
 */
export function checkIndices(
    words: Int32Array, [k, n]: [number, number], pattern: NMPattern, caller = 'checkIndices'): void {
  const keptRows = keptRowCount(k, pattern);
  const groups = groupCount(n, pattern);
  const wordsPerGroup = indexWordsPerGroup(keptRows, pattern);
  const refuse = (why: string): never => {
    throw new Error(`${caller}: indices of a ${formatPattern(pattern)} matrix of shape [${k},${n}] ${why}. ` +
        'The data is corrupt or belongs to another shape or pattern.');
  };
  if (words.length !== groups * wordsPerGroup) {
    refuse(`have ${words.length} words; there must be ${groups * wordsPerGroup}`);
  }
  const usedBits = (keptRows * indexBits(pattern)) % 32;  // of a group's last word; 0 means all
  for (let group = 0; group < groups; ++group) {
    const groupWords = words.subarray(group * wordsPerGroup, (group + 1) * wordsPerGroup);
    if (usedBits && groupWords[wordsPerGroup - 1] >>> usedBits) {
      refuse(`have non-zero padding bits at the end of group ${group}`);
    }
    const offsets = unpackIndices(groupWords, 1, keptRows, pattern);
    for (let j = 0; j < keptRows; ++j) {
      const window = Math.floor(j / pattern.n);
      const rows = Math.min(pattern.m, k - window * pattern.m);
      if (offsets[j] >= rows) {
        refuse(`have offset ${offsets[j]} in group ${group}, window ${window}, which has ${rows} rows`);
      }
      if (j % pattern.n && offsets[j] <= offsets[j - 1]) {
        refuse(`have offset ${offsets[j]} after ${offsets[j - 1]} in group ${group}, window ${window}; ` +
            'they must ascend');
      }
    }
  }
}
