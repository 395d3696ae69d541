/** What tune() takes and gives, and the checks of what it takes: all of them before any GPU work. */
import {ACTIVATIONS, type FusedActivation} from '../../kernels/contract.js';
import type {MatMulProblem} from '../../kernels/webgpu/plan.js';
import {checkDtype, type StorageDtype} from '../format/storage.js';
import {parsePattern, type PatternLike} from '../format/pattern.js';
import {checkInputs, checkModel, type ModelInputs, type PredictModel} from '../tfjs/predict_model.js';
import {openStore} from './plan_store.js';

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
   * For a model: how many samples are predicted at once, as in predict(x, {batchSize}); a list is tuned one after the
   * other. Default 1. A layer over sequences multiplies samples × length rows.
   */
  rows?: number | number[];
  /** For a model, in place of `rows`: what to predict. Needed where the model does not say what it takes. */
  inputs?: ModelInputs;
  /** How many plans are measured for each product, at most. Default 8. */
  maxCandidates?: number;
  /** Milliseconds after which no measurement is begun; what was not reached is reported as skipped. Default 30000. */
  maxMs?: number;
  /**
   * Where results are kept. true, the default: in IndexedDB, in Node in a file in the user's cache folder. A path: in
   * that file (Node only; predict has them after warmUp(model, inputs, {cache: path})). false: in this page only.
   */
  cache?: boolean | string;
  /** Measure again what is known already. Default false. */
  again?: boolean;
  /** Called after each product. */
  onProgress?: (progress: TuneProgress) => void;
}

export interface TunedProduct {
  rows: number;
  k: number;
  n: number;
  pattern: string;
  dtype: StorageDtype;
  /** The fastest plan, in words. */
  plan: string;
  /** Milliseconds on the GPU, measured: of that plan, and of the one taken without tuning. */
  ms: number;
  defaultMs: number;
  /** Milliseconds that the model of the GPU predicts for the fastest plan. */
  predictedMs: number;
  /** defaultMs / ms. */
  speedup: number;
  /** Whether this was measured before. */
  cached: boolean;
}

export type SkippedProduct = Pick<TunedProduct, 'rows' | 'k' | 'n' | 'pattern' | 'dtype'> & {reason: string};

export interface TuneProgress {
  /** Products finished, of how many. */
  done: number;
  total: number;
  /** The one finished last; with plan and ms as in it, if it was not skipped. */
  problem: TunedProduct | SkippedProduct;
  plan?: string;
  ms?: number;
}

export interface TuneReport {
  tuned: TunedProduct[];
  skipped: SkippedProduct[];
  /** Milliseconds that all of it took. */
  ms: number;
  /** Where the results are kept; or why they are not, though they should be. Neither where nothing is new. */
  storedIn?: string;
  notStored?: string;
}

/** The options with their defaults. */
export interface CheckedOptions extends TuneOptions {
  rows: number[];
  maxCandidates: number;
  maxMs: number;
  cache: boolean | string;
  again: boolean;
}

const OPTION_NAMES = ['rows', 'inputs', 'maxCandidates', 'maxMs', 'cache', 'again', 'onProgress'];
const SHAPE_NAMES = ['rows', 'k', 'n', 'pattern', 'dtype', 'activation', 'bias'];

/** @throws Error naming what is wrong. */
export function checkTuneArguments(
    target: PredictModel | readonly ProductShape[], options: TuneOptions): CheckedOptions {
  if (options === null || typeof options !== 'object') {
    throw new Error(`tune: options is ${String(options)}; give an object such as {rows: 32}.`);
  }
  refuseUnknown('option', options, OPTION_NAMES);
  if (Array.isArray(target)) {
    const misplaced = ['rows', 'inputs'].find(name => name in options);
    if (misplaced !== undefined) {
      throw new Error(`tune: the option '${misplaced}' is for models; shapes have rows of their own.`);
    }
  } else {
    checkModel('tune', target);
  }
  const {rows, inputs, maxCandidates = 8, maxMs = 30_000, cache = true, again = false, onProgress} = options;
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
  rowList.forEach(each => checkCount('rows', each));
  checkCount('maxCandidates', maxCandidates);
  if (!(maxMs > 0)) {
    throw new Error(`tune: maxMs is ${String(maxMs)}; give milliseconds above 0.`);
  }
  checkCache('tune', cache);
  if (typeof again !== 'boolean') {
    throw new Error(`tune: again is ${String(again)}; give true or false.`);
  }
  if (onProgress !== undefined && typeof onProgress !== 'function') {
    throw new Error(`tune: onProgress is ${String(onProgress)}; give a function.`);
  }
  return {...options, rows: rowList, maxCandidates, maxMs, cache, again};
}

/** @throws Error if `cache` is neither true nor false nor a path, or a path where there are no files. */
export function checkCache(caller: string, cache: unknown): void {
  if (typeof cache !== 'boolean' && (typeof cache !== 'string' || cache === '')) {
    throw new Error(`${caller}: cache is ${cache === '' ? "''" : String(cache)}; give true, false or a path.`);
  }
  if (typeof cache === 'string') {
    try {
      openStore(cache);
    } catch (error) {
      throw new Error(`${caller}: ${(error as Error).message}`, {cause: error});
    }
  }
}

/** @throws Error naming what is wrong. */
export function toProblem(shape: ProductShape, at: number): MatMulProblem {
  if (shape === null || typeof shape !== 'object') {
    throw new Error(`tune: shapes[${at}] is ${String(shape)}; give {rows, k, n, pattern}.`);
  }
  refuseUnknown(`field of shapes[${at}]`, shape, SHAPE_NAMES);
  const {rows, k, n, pattern, dtype = 'float32', activation = 'linear', bias = false} = shape;
  Object.entries({rows, k, n}).forEach(([name, size]) => checkCount(`shapes[${at}].${name}`, size));
  checkDtype('tune', dtype, `shapes[${at}].dtype`);
  if (!ACTIVATIONS.includes(activation)) {
    throw new Error(
      `tune: shapes[${at}].activation is '${String(activation)}'; give one of ${ACTIVATIONS.join(', ')}.`);
  }
  return {
    rows, shape: [k, n], pattern: parsePattern(pattern), dtype,
    epilogue: {activation, hasBias: Boolean(bias), prelu: activation === 'prelu' ? 'column' : 'none'},
  };
}

function checkCount(name: string, count: unknown): void {
  if (!Number.isInteger(count) || count as number < 1) {
    throw new Error(`tune: ${name} is ${String(count)}; give a whole number of at least 1.`);
  }
}

function refuseUnknown(what: string, given: object, known: string[]): void {
  const unknown = Object.keys(given).find(name => !known.includes(name));
  if (unknown !== undefined) {
    throw new Error(`tune: there is no ${what} '${unknown}'; there are ${known.join(', ')}.`);
  }
}
