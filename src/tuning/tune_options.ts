/** What tune() takes and returns, and the checks of its arguments: all of them before any GPU work. */
import {ACTIVATIONS, type FusedActivation} from '../../kernels/contract.js';
import type {MatMulProblem} from '../../kernels/webgpu/plan.js';
import {parsePattern, type PatternLike} from '../format/pattern.js';
import {checkDtype, type StorageDtype} from '../format/storage.js';
import {checkInputs, checkModel, type ModelInputs, type PredictModel} from '../tfjs/predict_model.js';
import {checkBoolean, checkCallback, checkCount, checkOptionNames, describeValue} from '../util/options.js';

/** A product to tune: y [rows, n] = activation(x [rows, k] · W [k, n] + bias). */
export interface ProductShape {
  rows: number;
  k: number;
  n: number;
  /** '8:32v32', '2:4' or `{n, m, vectorLength?}`. */
  pattern: PatternLike;
  /** How W's values are stored. Default 'float32'. */
  dtype?: StorageDtype;
  /** Default 'linear'. */
  activation?: FusedActivation;
  /** Default false. */
  bias?: boolean;
}

export interface TuneOptions {
  /**
   * For a model: number of samples predicted at once, as in predict(x, {batchSize}), or a list of them. Default 1. A
   * layer over sequences multiplies samples × length rows.
   */
  rows?: number | number[];
  /** For a model, instead of `rows`: what to predict. Required if the model does not declare its inputs. */
  inputs?: ModelInputs;
  /** Time after which no measurement begins, in ms. Products not reached are reported as skipped. Default 30000. */
  maxMs?: number;
  /** Whether results are stored for later visits: in IndexedDB, in Node in the user's cache folder. Default true. */
  cache?: boolean;
  /** Called after each product. */
  onProgress?: (progress: TuneProgress) => void;
}

export interface TunedProduct {
  rows: number;
  k: number;
  n: number;
  pattern: string;
  dtype: StorageDtype;
  /** The plan for which the user waits least (user_time.ts), as describePlan() puts it. */
  plan: string;
  /** Measured ms on the GPU: of that plan, and of the plan that runs without tuning. */
  ms: number;
  defaultMs: number;
  /** Predicted ms of that plan on the GPU. */
  predictedMs: number;
  /** defaultMs / ms: on the GPU. Below 1 if the plan takes longer there, but runs fewer programs. */
  speedup: number;
  /** Whether an earlier call measured this. */
  cached: boolean;
}

export type SkippedProduct = Pick<TunedProduct, 'rows' | 'k' | 'n' | 'pattern' | 'dtype'> & {reason: string};

export interface TuneProgress {
  /** Products finished, and all products. */
  done: number;
  total: number;
  /** The product finished last. */
  problem: TunedProduct | SkippedProduct;
  /** Its plan and ms, unless it was skipped. */
  plan?: string;
  ms?: number;
}

export interface TuneReport {
  tuned: TunedProduct[];
  skipped: SkippedProduct[];
  /** Duration of the call, in ms. */
  ms: number;
  /** Where new results were stored, or why they could not be. Neither if nothing is new. */
  storedIn?: string;
  notStored?: string;
}

/** The options with their defaults. */
export interface CheckedOptions extends TuneOptions {
  rows: number[];
  maxMs: number;
  cache: boolean;
}

/** @throws Error naming the argument that is wrong. */
export function checkTuneArguments(
    target: PredictModel | readonly ProductShape[], options: TuneOptions): CheckedOptions {
  checkOptionNames('tune', options, ['rows', 'inputs', 'maxMs', 'cache', 'onProgress'], '{rows: 32}');
  if (Array.isArray(target)) {
    const misplaced = ['rows', 'inputs'].find(name => name in options);
    if (misplaced !== undefined) {
      throw new Error(`tune: the option '${misplaced}' is for models; shapes have rows of their own.`);
    }
  } else {
    checkModel('tune', target);
  }
  const {rows, inputs, maxMs = 30_000, cache = true, onProgress} = options;
  if (rows !== undefined && inputs !== undefined) {
    throw new Error('tune: rows and inputs both say how much to predict; give one of them.');
  }
  if (inputs !== undefined) {
    checkInputs('tune', inputs);
  }
  const rowList = Array.isArray(rows) ? rows : [rows ?? 1];
  if (rowList.length === 0) {
    throw new Error('tune: rows is an empty list; give at least one number, as in {rows: [1, 32]}.');
  }
  rowList.forEach(each => checkCount('tune', 'rows', each));
  if (typeof maxMs !== 'number' || !(maxMs > 0)) {
    throw new Error(`tune: maxMs is ${describeValue(maxMs)}; give milliseconds above 0.`);
  }
  checkBoolean('tune', 'cache', cache);
  checkCallback('tune', 'onProgress', onProgress);
  return {...options, rows: rowList, maxMs, cache};
}

/** @throws Error naming the field that is wrong. */
export function toProblem(shape: ProductShape, at: number): MatMulProblem {
  checkOptionNames('tune', shape, ['rows', 'k', 'n', 'pattern', 'dtype', 'activation', 'bias'],
    "{rows: 1, k: 64, n: 64, pattern: '2:4'}", `shapes[${at}]`);
  const {rows, k, n, pattern, dtype = 'float32', activation = 'linear', bias = false} = shape;
  Object.entries({rows, k, n}).forEach(([name, size]) => checkCount('tune', `shapes[${at}].${name}`, size));
  checkDtype('tune', dtype, `shapes[${at}].dtype`);
  if (!ACTIVATIONS.includes(activation)) {
    throw new Error(
      `tune: shapes[${at}].activation is ${describeValue(activation)}; give one of ${ACTIVATIONS.join(', ')}.`);
  }
  return {
    rows, shape: [k, n], pattern: parsePattern(pattern), dtype,
    epilogue: {activation, hasBias: Boolean(bias), prelu: activation === 'prelu' ? 'column' : 'none'},
  };
}
