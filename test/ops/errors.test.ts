/**
 * Every way to call nmSparseMatMul wrongly, and what it then says: the argument by name, what it got, what would do.
 * Nothing may have been done by then: no tensor made, nothing sent to the GPU.
 */
import * as tf from '@tensorflow/tfjs-core';
import {expect} from 'chai';
import {decompress, nmSparseMatMul, type NMSparseMatrix} from '../../src/index.js';
import {backendName} from '../support/backend.js';
import {mulberry32, seed} from '../support/random.js';
import {drawMatrix, toSparseMatrix} from '../support/reference.js';

type Options = Record<string, unknown>;
/** Makes the arguments of a wrong call; what is not given is right. */
type Call = (matrix: NMSparseMatrix) => {x?: unknown; matrix?: unknown; options?: Options};

const disposed = <T extends tf.Tensor>(tensor: T): T => {
  tensor.dispose();
  return tensor;
};

const WRONG: Array<[string, Call, string]> = [
  ['x is missing', () => ({x: undefined}), 'x is undefined; give a tensor of shape [.., k].'],
  ['x is null', () => ({x: null}), 'x is null; give a tensor of shape [.., k].'],
  ['x is a nested array', () => ({x: [[1, 2]]}), 'x is an array of 1; give a tensor of shape [.., k].'],
  ['x is a Promise', () => ({x: Promise.resolve()}), 'x is a Promise (forgotten await?); give a tensor'],
  ['x and the matrix are exchanged', matrix => ({x: matrix, matrix: tf.zeros([2, 12])}),
    'x is a compressed matrix float32 [12,8]; give a tensor of shape [.., k].'],
  ['x is a number', () => ({x: 7}), 'x is 7; give a tensor of shape [.., k].'],
  ['x is a scalar', () => ({x: tf.scalar(1)}),
    'x has shape []; give rank 2 or more, [.., 12] (tf.expandDims makes a row of a vector).'],
  ['x is a vector', () => ({x: tf.zeros([12])}),
    'x has shape [12]; give rank 2 or more, [.., 12] (tf.expandDims makes a row of a vector).'],
  ['x has another k', () => ({x: tf.zeros([2, 13])}), 'x has inner dimension 13, the matrix has k=12.'],
  ['x is transposed', () => ({x: tf.zeros([12, 2])}), 'x has inner dimension 2, the matrix has k=12.'],
  ['x holds strings', () => ({x: tf.fill([2, 12], 'a')}), 'x has dtype string; give float32, int32 or bool.'],
  ['x is complex', () => ({x: tf.complex(tf.zeros([2, 12]), tf.zeros([2, 12]))}),
    'x has dtype complex64; give float32, int32 or bool.'],
  ['x is disposed', () => ({x: disposed(tf.zeros([2, 12]))}), 'x is disposed.'],
  ['the matrix is missing', () => ({matrix: undefined}),
    'matrix is undefined; give an NMSparseMatrix, as compress() returns it.'],
  ['the matrix is a dense tensor', () => ({matrix: tf.zeros([12, 8])}),
    'matrix is float32 [12,8]; give an NMSparseMatrix, as compress() returns it.'],
  ['the matrix is an empty object', () => ({matrix: {}}), 'matrix is an object with no keys; give an NMSparseMatrix'],
  ['the matrix is a Promise', () => ({matrix: Promise.resolve()}),
    'matrix is a Promise (forgotten await?); give an NMSparseMatrix'],
  ['the matrix is a method of a layer', () => ({matrix: () => undefined}),
    'matrix is a function (forgotten parentheses?); give an NMSparseMatrix'],
  ["the matrix's values are disposed", matrix => ({
    matrix: {...matrix, values: disposed(tf.clone(matrix.values))},
  }), 'matrix.values is disposed.'],
  ["the matrix's indices are disposed", matrix => ({
    matrix: {...matrix, indices: disposed(tf.clone(matrix.indices))},
  }), 'matrix.indices is disposed.'],
  ['the bias is given by place, not by name', () => ({options: tf.zeros([8]) as unknown as Options}),
    "options is float32 [8]; give an object such as {bias, activation: 'relu'}."],
  ['the activation is given by place', () => ({options: 'relu' as unknown as Options}),
    "options is 'relu'; give an object such as {bias, activation: 'relu'}."],
  ['the options are null', () => ({options: null as unknown as Options}), 'options is null; give an object such as'],
  ['an option is misspelt', () => ({options: {activation: 'leakyrelu', alpha: 0.9}}),
    "there is no option 'alpha'; the options are bias, activation, preluActivationWeights, leakyreluAlpha."],
  ['the activation is unknown', () => ({options: {activation: 'softmax'}}),
    "activation is 'softmax'; give one of 'linear', 'relu', 'relu6', 'elu', 'sigmoid', 'tanh', 'gelu', 'gelu_new', " +
    "'leakyrelu', 'prelu'."],
  ['the activation is null', () => ({options: {activation: null}}), 'activation is null; give one of'],
  ['the bias is too long', () => ({options: {bias: tf.zeros([9])}}),
    'bias is float32 [9]; a matrix with n=8 takes float32 [8].'],
  ['the bias has rank 2', () => ({options: {bias: tf.zeros([1, 8])}}),
    'bias is float32 [1,8]; a matrix with n=8 takes float32 [8].'],
  ['the bias is int32', () => ({options: {bias: tf.zeros([8], 'int32')}}),
    'bias is int32 [8]; a matrix with n=8 takes float32 [8].'],
  ['the bias is null', () => ({options: {bias: null}}), 'bias is null; a matrix with n=8 takes float32 [8].'],
  ['the bias is an array', () => ({options: {bias: [1, 2]}}), 'bias is an array of 2; a matrix with n=8'],
  ['the bias is disposed', () => ({options: {bias: disposed(tf.zeros([8]))}}), 'bias is disposed.'],
  ['prelu has no slopes', () => ({options: {activation: 'prelu'}}),
    "activation 'prelu' needs preluActivationWeights, a tensor of slopes."],
  ['slopes do not broadcast', () => ({options: {activation: 'prelu', preluActivationWeights: tf.zeros([3])}}),
    'preluActivationWeights is float32 [3]; give float32 that broadcasts to y [2,8].'],
  ['slopes have more dims than y', () => ({
    options: {activation: 'prelu', preluActivationWeights: tf.zeros([1, 1, 8])},
  }), 'preluActivationWeights is float32 [1,1,8]; give float32 that broadcasts to y [2,8].'],
  ['slopes are int32', () => ({options: {activation: 'prelu', preluActivationWeights: tf.zeros([8], 'int32')}}),
    'preluActivationWeights is int32 [8]; give float32 that broadcasts to y [2,8].'],
  ['slopes are a number', () => ({options: {activation: 'prelu', preluActivationWeights: 0.1}}),
    'preluActivationWeights is 0.1; give float32 that broadcasts to y [2,8].'],
  ['slopes are disposed', () => ({
    options: {activation: 'prelu', preluActivationWeights: disposed(tf.zeros([8]))},
  }), 'preluActivationWeights is disposed.'],
  ['slopes come with another activation', () => ({
    options: {activation: 'relu', preluActivationWeights: tf.zeros([8])},
  }), "preluActivationWeights go with activation 'prelu', not with 'relu'."],
  ['the slope of leakyrelu is no number', () => ({options: {activation: 'leakyrelu', leakyreluAlpha: '0.2'}}),
    "leakyreluAlpha is '0.2'; give a finite number."],
  ['the slope of leakyrelu is infinite', () => ({options: {activation: 'leakyrelu', leakyreluAlpha: Infinity}}),
    'leakyreluAlpha is Infinity; give a finite number.'],
];

describe('nmSparseMatMul refuses a call, before it does anything, where', () => {
  for (const [name, call, message] of WRONG) {
    it(name, function() {
      if (backendName === 'wasm' && (name === 'x holds strings' || name === 'x is complex')) {
        this.skip(); // wasm cannot make such tensors
      }
      tf.tidy(() => {
        const matrix = toSparseMatrix(drawMatrix([12, 8], '2:4v4', 'float32', mulberry32(seed)));
        const arguments_ = {x: tf.zeros([2, 12]), matrix, options: undefined, ...call(matrix)};
        const before = tf.memory().numTensors;
        const wrong = () => nmSparseMatMul(
          arguments_.x as tf.Tensor, arguments_.matrix as NMSparseMatrix, arguments_.options);
        expect(wrong).to.throw(Error, `nmSparseMatMul: ${message}`);
        expect(tf.memory().numTensors).to.equal(before);
      });
    });
  }

  it('the matrix claims another shape or storage than its tensors have', () => tf.tidy(() => {
    const matrix = toSparseMatrix(drawMatrix([12, 8], '2:4v4', 'float16', mulberry32(seed)));
    const {values, indices, pattern} = matrix;
    const claims: Array<[object, RegExp]> = [
      [{values, indices, pattern, shape: [12, 8]}, /^NMSparseMatrix: values is int32 \[6,4\]; .* float32 \[6,8\]/],
      [{...matrix, shape: [12, 16]}, /^NMSparseMatrix: values is int32 \[6,4\]; .* values int32 \[6,8\]/],
      [{...matrix, pattern: '1:4v4'}, /^NMSparseMatrix: values is int32 \[6,4\]; .* values int32 \[3,4\]/],
    ];
    for (const [claim, message] of claims) {
      expect(() => nmSparseMatMul(tf.zeros([2, 12]), claim as NMSparseMatrix)).to.throw(message);
      expect(() => decompress(claim as NMSparseMatrix)).to.throw(message);
    }
  }));

  it('x is empty and something else is wrong', () => tf.tidy(() => {
    const matrix = toSparseMatrix(drawMatrix([12, 8], '2:4v4', 'float32', mulberry32(seed)));
    expect(() => nmSparseMatMul(tf.zeros([0, 12]), matrix, {bias: tf.zeros([3])})).to.throw('bias is float32 [3]');
  }));
});

describe('decompress refuses', () => {
  const refuses = (what: string, make: (matrix: NMSparseMatrix) => unknown, message: string) =>
    it(what, () => tf.tidy(() => {
      const matrix = toSparseMatrix(drawMatrix([12, 8], '2:4v4', 'float32', mulberry32(seed)));
      const wrong = make(matrix);
      const before = tf.memory().numTensors;
      expect(() => decompress(wrong as NMSparseMatrix)).to.throw(Error, `decompress: ${message}`);
      expect(tf.memory().numTensors).to.equal(before);
    }));
  refuses('nothing', () => undefined, 'matrix is undefined; give an NMSparseMatrix, as compress() returns it.');
  refuses('a dense tensor', () => tf.zeros([12, 8]), 'matrix is float32 [12,8]; give an NMSparseMatrix');
  refuses('a disposed matrix', matrix => {
    matrix.dispose();
    return matrix;
  }, 'matrix.values is disposed.');
});
