/**
 * Every error message of src/format, word for word: a message is part of the interface, and one that names the wrong
 * argument or the wrong value sends its reader the wrong way.
 */
import {tensor1d, tensor2d, type Tensor2D} from '@tensorflow/tfjs-core';
import {expect} from 'chai';
import {compress, compressValues, type CompressOptions} from '../../src/format/compress.js';
import {checkPattern, detectPattern, type DetectOptions} from '../../src/format/detect.js';
import {NMSparseMatrix, type NMSparseMatrixParts} from '../../src/format/nm_sparse_matrix.js';
import type {StorageDtype} from '../../src/format/storage.js';
import {formatPattern, parsePattern, type PatternLike} from '../../src/format/pattern.js';
import {checkIndices, validateMatrix} from '../../src/format/validate.js';
import {UnsupportedWeightsError} from '../../src/util/options.js';

type Use<T> = (tensor: T) => unknown;

/** The message that the call fails with. */
async function messageOf(call: () => unknown): Promise<string> {
  try {
    await call();
  } catch (error) {
    expect(error).to.be.instanceOf(Error);
    return (error as Error).message;
  }
  return 'no error';
}

/** Makes the tensor, uses it, disposes it. */
async function using<T extends {dispose(): void}>(tensor: T, use: Use<T>): Promise<unknown> {
  try {
    return await use(tensor);
  } finally {
    tensor.dispose();
  }
}

/** A 2:4 matrix of shape [4, 1] with these words of offsets. */
function matrixOf(words: number[]): NMSparseMatrix {
  return new NMSparseMatrix({
    values: tensor2d([1, 2], [2, 1]), indices: tensor2d(words, [1, 1], 'int32'), pattern: '2:4', shape: [4, 1],
  });
}

function table(rows: Array<[name: string, call: () => unknown, message: string]>): void {
  for (const [name, call, message] of rows) {
    it(name, async () => expect(await messageOf(call)).to.equal(message));
  }
}

describe('the errors of parsePattern and formatPattern', () => {
  const parse = (pattern: unknown) => () => parsePattern(pattern as PatternLike);
  const notation = "Write it as 'N:M' or 'N:MvL', e.g. '2:4' or '8:32v32'.";
  const lengths = 'it must be one of 1, 2, 4, 8, 16, 32, 64, 128.';
  const rows = 'M must be a whole number from 1 to 256.';
  table([
    ['other notation', parse('2/4'), `parsePattern: pattern '2/4' is not an N:M pattern. ${notation}`],
    ['an empty string', parse(''), `parsePattern: pattern '' is not an N:M pattern. ${notation}`],
    ['nothing', parse(undefined), `parsePattern: pattern undefined is not an N:M pattern. ${notation}`],
    ['null', parse(null), `parsePattern: pattern null is not an N:M pattern. ${notation}`],
    ['an upper-case V', parse(' 2:4V8'),
      "parsePattern: pattern ' 2:4V8' is not an N:M pattern. Write it as '2:4v8'."],
    ['spaces', parse('2 : 4'), "parsePattern: pattern '2 : 4' is not an N:M pattern. Write it as '2:4'."],
    ['a long text', parse(`2:4${'x'.repeat(1e5)}\n`),
      `parsePattern: pattern '2:4${'x'.repeat(57)}…' is not an N:M pattern. ${notation}`],
    ['control characters', parse('2:4\u001b[2J'),
      `parsePattern: pattern '2:4\\u001b[2J' is not an N:M pattern. ${notation}`],
    ['a Promise', parse(Promise.resolve('2:4')),
      `parsePattern: pattern a Promise (forgotten await?) has M=undefined; ${rows}`],
    ['a misspelt field', parse({n: 2, m: 4, vectorlength: 8}),
      "parsePattern: pattern {n: 2, m: 4, vectorlength: 8} has an unknown field 'vectorlength'; the fields are n, m, " +
      'vectorLength.'],
    ['a number', parse(24), `parsePattern: pattern 24 is not an N:M pattern. ${notation}`],
    ['M too large', parse('2:257'), "parsePattern: pattern '2:257' has M=257; M must be a whole number from 1 to 256."],
    ['M = 0', parse('0:0'), "parsePattern: pattern '0:0' has M=0; M must be a whole number from 1 to 256."],
    ['M missing', parse({n: 2}),
      'parsePattern: pattern {n: 2} has M=undefined; M must be a whole number from 1 to 256.'],
    ['M broken', parse({n: 2, m: 4.5}),
      'parsePattern: pattern {n: 2, m: 4.5} has M=4.5; M must be a whole number from 1 to 256.'],
    ['N above M', parse('5:4'), "parsePattern: pattern '5:4' keeps N=5 of M=4; N must be a whole number from 1 to M."],
    ['N = 0', parse('0:4'), "parsePattern: pattern '0:4' keeps N=0 of M=4; N must be a whole number from 1 to M."],
    ['N a string', parse({n: '2', m: 4}),
      "parsePattern: pattern {n: '2', m: 4} keeps N='2' of M=4; N must be a whole number from 1 to M."],
    ['M a bigint', parse({n: 2, m: 4n}),
      'parsePattern: pattern {n: 2, m: 4n} has M=4n; M must be a whole number from 1 to 256.'],
    ['a text to write', () => formatPattern('2;4'), `parsePattern: pattern '2;4' is not an N:M pattern. ${notation}`],
    ['nothing to write', () => formatPattern({n: 0, m: 4, vectorLength: NaN}),
      'parsePattern: pattern {n: 0, m: 4, vectorLength: NaN} keeps N=0 of M=4; N must be a whole number from 1 to M.'],
    ['an odd vector length', parse('2:4v3'), `parsePattern: pattern '2:4v3' has vectorLength 3; ${lengths}`],
    ['a vector length too large', parse({n: 2, m: 4, vectorLength: 256}),
      `parsePattern: pattern {n: 2, m: 4, vectorLength: 256} has vectorLength 256; ${lengths}`],
  ]);
});

describe('the errors of NMSparseMatrix', () => {
  const make = (makeParts: () => Partial<NMSparseMatrixParts>) => () => {
    const parts = makeParts();
    const good = {values: tensor2d([1, 2, 3, 4], [2, 2]), indices: tensor2d([0, 0], [2, 1], 'int32')};
    try {
      new NMSparseMatrix({...good, pattern: '2:4', shape: [4, 2], ...parts});
    } finally {
      [good.values, good.indices, parts.values, parts.indices].forEach(tensor => tensor?.dispose?.());
    }
  };
  const matrix = 'a 2:4 matrix of shape [4,2]';
  const sizes = 'give [k, n], two whole numbers of at least 1.';
  table([
    ['no error where all is well', make(() => ({})), 'no error'],
    ['a shape of rank 1', make(() => ({shape: [4] as unknown as [number, number]})),
      `NMSparseMatrix: shape is [4]; ${sizes}`],
    ['a size of 0', make(() => ({shape: [0, 2]})), `NMSparseMatrix: shape is [0,2]; ${sizes}`],
    ['a broken size', make(() => ({shape: [4, 1.5]})), `NMSparseMatrix: shape is [4,1.5]; ${sizes}`],
    ['no shape', make(() => ({shape: undefined})), `NMSparseMatrix: shape is undefined; ${sizes}`],
    ['an unknown dtype', make(() => ({dtype: 'int8' as StorageDtype})),
      "NMSparseMatrix: dtype is 'int8'; give 'float32' or 'float16'."],
    ['values of another shape', make(() => ({values: tensor2d([1, 2], [1, 2])})),
      `NMSparseMatrix: values is float32 [1,2]; ${matrix} stored as float32 has values float32 [2,2].`],
    ['values of the other storage', make(() => ({dtype: 'float16'})),
      `NMSparseMatrix: values is float32 [2,2]; ${matrix} stored as float16 has values int32 [2,1].`],
    ['disposed values', make(() => {
      const values = tensor2d([1, 2, 3, 4], [2, 2]);
      values.dispose();
      return {values};
    }), `NMSparseMatrix: values is float32 [2,2], disposed; ${matrix} stored as float32 has values float32 [2,2].`],
    ['a Promise as values', make(() => ({values: Promise.resolve() as unknown as Tensor2D})),
      `NMSparseMatrix: values is a Promise (forgotten await?); ${matrix} stored as float32 has values float32 [2,2].`],
    ['nothing', () => new NMSparseMatrix(undefined as unknown as NMSparseMatrixParts),
      'NMSparseMatrix: parts is undefined; give {values, indices, pattern, shape, dtype?}.'],
    ['a Promise', () => new NMSparseMatrix(Promise.resolve() as unknown as NMSparseMatrixParts),
      'NMSparseMatrix: parts is a Promise (forgotten await?); give {values, indices, pattern, shape, dtype?}.'],
    ['no values', make(() => ({values: undefined})),
      `NMSparseMatrix: values is undefined; ${matrix} stored as float32 has values float32 [2,2].`],
    ['indices of another shape', make(() => ({indices: tensor2d([1], [1, 1], 'int32')})),
      `NMSparseMatrix: indices is int32 [1,1]; ${matrix} stored as float32 has indices int32 [2,1].`],
    ['indices as floats', make(() => ({pattern: {n: 2, m: 4, vectorLength: 2}, indices: tensor2d([1], [1, 1])})),
      'NMSparseMatrix: indices is float32 [1,1]; a 2:4v2 matrix of shape [4,2] stored as float32 has ' +
      'indices int32 [1,1].'],
  ]);
});

describe('the errors of compress', () => {
  const squeeze = (W: unknown, options: Partial<CompressOptions> = {}) =>
    async () => (await compress(W as Tensor2D, {pattern: '2:4', ...options})).dispose();
  const wanted = 'give a float32 tensor [k, n] with k and n at least 1.';
  const withMask = (mask: () => {dispose(): void}) => () => using(tensor2d([1, 2, 3, 4], [2, 2]), W =>
    using(mask(), made => squeeze(W, {mask: made as Tensor2D})()));
  const maskWanted = "give a bool, int32 or float32 tensor of W's shape, [2,2], or leave it out to keep the largest " +
      'weights.';
  const unfit = (rows: number[][], pattern: PatternLike) => () => using(tensor2d(rows), W =>
    using(tensor2d(rows), mask => squeeze(W, {mask, pattern})()));
  const remedy = 'Make the mask for this pattern, or leave it out.';
  const large = ([row, col]: [number, number], value: number) => {
    const values = new Float32Array(300 * 301);
    values[row * 301 + col] = value;
    return tensor2d(values, [300, 301]);
  };
  const finite = 'every weight must be finite.';
  table([
    ['W of rank 1', () => using(tensor1d([1, 2]), W => squeeze(W)()),
      `compress: W is float32 [2]; ${wanted}`],
    ['W of int32', () => using(tensor2d([1, 2], [2, 1], 'int32'), W => squeeze(W)()),
      `compress: W is int32 [2,1]; ${wanted}`],
    ['W without rows', () => using(tensor2d([], [0, 3]), W => squeeze(W)()),
      `compress: W is float32 [0,3]; ${wanted}`],
    ['W an array', squeeze([[1]]), `compress: W is an array of 1; ${wanted}`],
    ['no W', squeeze(undefined), `compress: W is undefined; ${wanted}`],
    ['a Promise', squeeze(Promise.resolve()), `compress: W is a Promise (forgotten await?); ${wanted}`],
    ['a compressed matrix', () => using(matrixOf([0b0100]), matrix => squeeze(matrix)()),
      `compress: W is a compressed matrix float32 [4,1]; ${wanted}`],
    ['a disposed W', () => {
      const W = tensor2d([[1]]);
      W.dispose();
      return squeeze(W)();
    }, `compress: W is float32 [1,1], disposed; ${wanted}`],
    ['no W, but a mask', () => using(tensor2d([[1]]), mask => squeeze(undefined, {mask})()),
      `compress: W is undefined; ${wanted}`],
    ['an unknown dtype', () => using(tensor2d([[1]]), W => squeeze(W, {dtype: 'bfloat16' as StorageDtype})()),
      "compress: dtype is 'bfloat16'; give 'float32' or 'float16'."],
    ['a pattern that is none', () => using(tensor2d([[1]]), W => squeeze(W, {pattern: '4:2'})()),
      "parsePattern: pattern '4:2' keeps N=4 of M=2; N must be a whole number from 1 to M."],
    ['a mask of another shape', withMask(() => tensor2d([1, 1, 1, 1], [4, 1])),
      `compress: mask is float32 [4,1]; ${maskWanted}`],
    ['a mask of other columns', withMask(() => tensor2d([1, 1], [2, 1])),
      `compress: mask is float32 [2,1]; ${maskWanted}`],
    ['a mask of another rank', withMask(() => tensor1d([1, 1])),
      `compress: mask is float32 [2]; ${maskWanted}`],
    ['a mask of strings', withMask(() => tensor2d(['a', 'b', 'c', 'd'], [2, 2], 'string')),
      `compress: mask is string [2,2]; ${maskWanted}`],
    ['a mask that is null', () => using(tensor2d([1, 2, 3, 4], [2, 2]), W =>
      squeeze(W, {mask: null as unknown as Tensor2D})()), `compress: mask is null; ${maskWanted}`],
    ['NaN in W', () => using(tensor2d([1, 2, 3, 4, 5, NaN], [2, 3]), W => squeeze(W)()),
      `compress: W has NaN at [1, 2]; ${finite}`],
    ['NaN first of all', () => using(tensor2d([NaN, 2], [2, 1]), W => squeeze(W)()),
      `compress: W has NaN at [0, 0]; ${finite}`],
    ['NaN far down in W', () => using(large([299, 250], NaN), W => squeeze(W)()),
      `compress: W has NaN at [299, 250]; ${finite}`],
    ['an infinity in W', () => using(tensor2d([1, 2, -Infinity, 4, 5, 6], [3, 2]), W => squeeze(W)()),
      `compress: W has -Infinity at [1, 0]; ${finite}`],
    ['a mask with a NaN', unfit([[1, 0], [0, NaN]], '1:2'),
      'compress: mask is NaN in row 1, column 1; give 0 to drop a weight, 1 to keep it.'],
    ['a mask that keeps too many rows', unfit([[1], [1], [0], [0], [0], [1], [1], [1]], '2:4'),
      'compress: mask is not 2:4: in window 1 (rows 4 to 7), group 0 (columns 0 to 0) it keeps 3 rows; ' +
      `a window may keep at most 2. ${remedy}`],
    ['a mask whose columns disagree, the first keeping', unfit([[1, 1, 0], [0, 0, 1], [0, 1, 0]], '1:2v2'),
      'compress: mask is not 1:2v2: in window 1 (rows 2 to 2), group 0 (columns 0 to 1) it keeps row 2 in column 1 ' +
      `and not in column 0; a group's columns must keep the same rows. ${remedy}`],
    ['a mask whose columns disagree in a short group', unfit([[1, 1, 1, 1, 1, 0, 0], [0, 0, 0, 0, 0, 1, 1]], '1:2v4'),
      'compress: mask is not 1:2v4: in window 0 (rows 0 to 1), group 1 (columns 4 to 6) it keeps row 0 in column 4 ' +
      `and not in column 5; a group's columns must keep the same rows. ${remedy}`],
    ['a value that float16 cannot hold',
      () => using(tensor2d([0, 0, 1, 2, 3, 4, 0, 0, 5, -65520], [5, 2]), W => squeeze(W, {dtype: 'float16'})()),
      "compress: dtype 'float16' holds magnitudes up to 65504, but W has -65520 at [4, 1]; use dtype 'float32'."],
    ['a value that float16 cannot hold, far down in W',
      () => using(large([298, 250], -7e4), W => squeeze(W, {dtype: 'float16', pattern: '3:4v2'})()),
      "compress: dtype 'float16' holds magnitudes up to 65504, but W has -70000 at [298, 250]; use dtype 'float32'."],
    ['a value that float16 cannot hold, inside a window',
      () => using(tensor2d([0, 1, 0, 2, 0, 3, 7e4, 4], [4, 2]), W => squeeze(W, {dtype: 'float16', pattern: '1:4'})()),
      "compress: dtype 'float16' holds magnitudes up to 65504, but W has 70000 at [3, 0]; use dtype 'float32'."],
  ]);
});

describe('compress throws an UnsupportedWeightsError', () => {
  for (const [what, values] of [['NaN', [NaN, 1]], ['values too large for float16', [1e5, 1]]] as const) {
    it(`for ${what}`, async () => {
      const W = tensor2d([...values], [2, 1]);
      let thrown: unknown;
      await compress(W, {pattern: '1:2', dtype: 'float16'}).catch((error: unknown) => thrown = error);
      W.dispose();
      expect(thrown).to.be.instanceOf(UnsupportedWeightsError).and.have.property('name', 'UnsupportedWeightsError');
    });
  }
});

describe('compress refuses options that', () => {
  table([
    ['are missing', () => using(tensor2d([[1]]), W => compress(W, undefined as unknown as CompressOptions)),
      "compress: options is undefined; give an object such as {pattern: '2:4'}."],
    ['are misspelt',
      () => using(tensor2d([[1]]), W => compress(W, {pattern: '1:2', dtpye: 'float16'} as CompressOptions)),
      "compress: there is no option 'dtpye'; the options are pattern, mask, dtype, onProgress."],
  ]);
});

describe('the errors of compressValues', () => {
  table([
    ['a mask that does not fit',
      () => compressValues(new Float32Array(2), [2, 1], parsePattern('1:2'), Uint8Array.of(1, 1)),
      'compress: mask is not 1:2: in window 0 (rows 0 to 1), group 0 (columns 0 to 0) it keeps 2 rows; ' +
      'a window may keep at most 1. Make the mask for this pattern, or leave it out.'],
  ]);
});

describe('the errors of detectPattern and checkPattern', () => {
  const detect = (options: unknown) => () => using(tensor2d([[1]]), W => detectPattern(W, options as DetectOptions));
  const wanted = 'give a float32 tensor [k, n] with k and n at least 1.';
  const windows = 'give one or more whole numbers from 1 to 256.';
  const lengths = 'give one or more of 1, 2, 4, 8, 16, 32, 64, 128.';
  table([
    ['detectPattern without W', () => detectPattern(undefined as unknown as Tensor2D),
      `detectPattern: W is undefined; ${wanted}`],
    ['detectPattern of int32', () => using(tensor2d([[1]], [1, 1], 'int32'), W => detectPattern(W)),
      `detectPattern: W is int32 [1,1]; ${wanted}`],
    ['checkPattern without columns', () => using(tensor2d([], [3, 0]), W => checkPattern(W, '2:4')),
      `checkPattern: W is float32 [3,0]; ${wanted}`],
    ['checkPattern of a pattern that is none', () => using(tensor2d([[1]]), W => checkPattern(W, '2:0')),
      "parsePattern: pattern '2:0' has M=0; M must be a whole number from 1 to 256."],
    ['no windows', detect({windows: []}), `detectPattern: windows is []; ${windows}`],
    ['a window too long', detect({windows: [4, 512]}), `detectPattern: windows is [4,512]; ${windows}`],
    ['options that are null', detect(null),
      'detectPattern: options is null; give an object such as {windows: [4], vectorLengths: [1, 32]}.'],
    ['a misspelt option', detect({window: [4]}),
      "detectPattern: there is no option 'window'; the options are windows, vectorLengths."],
    ['windows as one number', detect({windows: 4}), `detectPattern: windows is 4; ${windows}`],
    ['a vector length that is none', detect({vectorLengths: [1, 3]}),
      `detectPattern: vectorLengths is [1,3]; ${lengths}`],
  ]);
});

describe('the errors of checkIndices', () => {
  const check = (words: number[], shape: [number, number], pattern: PatternLike) =>
    () => checkIndices(Int32Array.from(words), shape, parsePattern(pattern));
  const remedy = 'The data is corrupt or belongs to another shape or pattern.';
  table([
    ['no error where all is well', check([0b01_00_01_00, 0b11_10_11_10], [8, 2], '2:4'), 'no error'],
    ['too few words', check([0b01_00_01_00], [8, 2], '2:4'),
      `checkIndices: indices of a 2:4 matrix of shape [8,2] have 1 words; there must be 2. ${remedy}`],
    ['too many words', check([0, 0, 0], [8, 2], '2:4v2'),
      `checkIndices: indices of a 2:4v2 matrix of shape [8,2] have 3 words; there must be 1. ${remedy}`],
    ['a set padding bit', check([0b01_00_01_00, 0b01_00_01_00 | 1 << 31], [8, 2], '2:4'),
      'checkIndices: indices of a 2:4 matrix of shape [8,2] have non-zero padding bits at the end of group 1. ' +
      remedy],
    ['an offset beyond M', check([0b01_00_11_00], [6, 1], '2:3'),
      'checkIndices: indices of a 2:3 matrix of shape [6,1] have offset 3 in group 0, window 0, which has 3 rows. ' +
      remedy],
    ['an offset beyond a short window', check([0b10_00_01_00], [6, 1], '2:4'),
      'checkIndices: indices of a 2:4 matrix of shape [6,1] have offset 2 in group 0, window 1, which has 2 rows. ' +
      remedy],
    ['an offset twice', check([0b01_00_01_00, 0b10_10_01_00], [8, 2], '2:4'),
      'checkIndices: indices of a 2:4 matrix of shape [8,2] have offset 2 after 2 in group 1, window 1; they must ' +
      `ascend. ${remedy}`],
    ['offsets that descend', check([0b01_00_01_10], [8, 1], '2:4'),
      'checkIndices: indices of a 2:4 matrix of shape [8,1] have offset 1 after 2 in group 0, window 0; they must ' +
      `ascend. ${remedy}`],
  ]);
});

describe('the errors of validateMatrix', () => {
  const validate = (words: number[]) => () => using(matrixOf(words), matrix => validateMatrix(matrix));
  const wanted = 'give an NMSparseMatrix that is not disposed.';
  table([
    ['no error where all is well', validate([0b0100]), 'no error'],
    ['offsets that do not ascend', validate([0b0101]),
      'validateMatrix: indices of a 2:4 matrix of shape [4,1] have offset 1 after 1 in group 0, window 0; they must ' +
      'ascend. The data is corrupt or belongs to another shape or pattern.'],
    ['a set padding bit', validate([-1]), 'validateMatrix: indices of a 2:4 matrix of shape [4,1] have non-zero ' +
      'padding bits at the end of group 0. The data is corrupt or belongs to another shape or pattern.'],
    ['a forgotten await', () => validateMatrix(Promise.resolve() as unknown as NMSparseMatrix),
      `validateMatrix: matrix is a Promise (forgotten await?); ${wanted}`],
    ['forgotten parentheses', () => validateMatrix(matrixOf as unknown as NMSparseMatrix),
      `validateMatrix: matrix is a function (forgotten parentheses?); ${wanted}`],
    ['a disposed matrix', () => {
      const matrix = matrixOf([0b0100]);
      matrix.dispose();
      return validateMatrix(matrix);
    }, `validateMatrix: matrix is a compressed matrix float32 [4,1], disposed; ${wanted}`],
  ]);
});
