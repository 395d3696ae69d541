/**
 * Which layer gets which pattern: the options a caller gives, checked once and asked for each layer. Knows names and
 * shapes only, no models and no tensors, so that every kind of model is planned alike.
 *
 * Globs follow picomatch with `*` matching '/' too: a layer's path is 'outer/inner' for nested models, and names from
 * other frameworks hold slashes of their own. A glob is tried on the name and on the path.
 */
import picomatch from 'picomatch/posix.js';
import type {StorageDtype} from '../format/nm_sparse_matrix.js';
import {parsePattern, type NMPattern, type PatternLike} from '../format/pattern.js';
import {checkDtype, describeValue} from '../util/options.js';

export interface PruneOptions {
  /** The pattern for every layer that no `perLayer` entry names. */
  pattern?: PatternLike;
  /** Globs of layers to convert. Default: all that can be. */
  include?: string | string[];
  /** Globs of layers to leave dense; wins over include and perLayer. */
  exclude?: string | string[];
  /** Glob → pattern, or 'dense' to leave those layers as they are. The first glob that matches counts. */
  perLayer?: Record<string, PatternLike | 'dense'>;
  /** How kept rows are chosen. 'magnitude': the largest L2 norm per window and group. */
  criterion?: 'magnitude';
  /**
   * How kept values are stored: 'float32' can be trained further, 'float16' is half the size. Default: 'float32', and
   * for a layer that is sparse already the storage that it has.
   */
  dtype?: StorageDtype;
}

/** The verdict on one layer: the pattern it gets, or why it stays dense. */
export type LayerPlan = {pattern: NMPattern} | {reason: string};

/** What globs are tried on. */
export interface LayerName {
  name: string;
  path: string;
}

/** The names of the options above, for callers that check for misspelt ones. */
export const PRUNE_OPTION_NAMES: readonly string[] =
    ['pattern', 'include', 'exclude', 'perLayer', 'criterion', 'dtype'];

/**
 * Checks the options and returns the function that judges a layer by name and path.
 * @param caller opens the error messages.
 * @param layers all the layers there are: a glob that matches none is a misspelt name.
 * @throws Error naming the option that is wrong.
 */
export function planLayers(
    caller: string, options: PruneOptions, layers: LayerName[]): (name: string, path: string) => LayerPlan {
  const fail = (why: string): never => {
    throw new Error(`${caller}: ${why}`);
  };
  const {pattern, include, exclude, perLayer = {}, criterion = 'magnitude', dtype} = options;
  if (criterion !== 'magnitude') {
    fail(`criterion is ${describeValue(criterion)}; give 'magnitude'.`);
  }
  if (dtype !== undefined) {
    checkDtype(caller, dtype);
  }
  if (typeof perLayer !== 'object' || perLayer === null || Array.isArray(perLayer)) {
    fail(`perLayer is ${JSON.stringify(perLayer)}; give an object {glob: pattern | 'dense'}.`);
  }
  if (pattern === undefined && Object.keys(perLayer).length === 0) {
    fail("pattern is missing; give one, e.g. '2:4' or '8:32v32', or perLayer.");
  }
  const parse = (given: PatternLike, option: string): NMPattern => {
    try {
      return parsePattern(given);
    } catch (error) {
      return fail(`${option}: ${(error as Error).message.replace(/^parsePattern: /, '')}`);
    }
  };
  const everywhere = pattern === undefined ? undefined : parse(pattern, 'option pattern');
  const rules = Object.entries(perLayer).map(([glob, given]) => ({
    glob,
    matches: matcher(glob, `perLayer has the glob`, fail),
    pattern: given === 'dense' ? given : parse(given, `perLayer['${glob}']`),
  }));
  const included = include === undefined ? () => true : matcher(include, 'include is', fail);
  const excluded = exclude === undefined ? () => false : matcher(exclude, 'exclude is', fail);
  const globsOf = (given: string | string[] | undefined) => given === undefined ? [] : [given].flat();
  for (const [option, globs] of Object.entries(
    {include: globsOf(include), exclude: globsOf(exclude), perLayer: Object.keys(perLayer)})) {
    for (const glob of globs) {
      const matches = matcher(glob, `${option} is`, fail);
      if (!layers.some(({name, path}) => matches(name) || matches(path))) {
        fail(`${option} has the glob '${glob}', which matches no layer; the layers are ` +
            `${layers.map(({path}) => path).join(', ')}.`);
      }
    }
  }
  return (name, path) => {
    const either = (matches: (text: string) => boolean) => matches(name) || matches(path);
    if (either(excluded)) {
      return {reason: 'excluded by the option exclude'};
    }
    const rule = rules.find(({matches}) => either(matches));
    if (rule?.pattern === 'dense') {
      return {reason: `perLayer['${rule.glob}'] says dense`};
    }
    if (rule) {
      return {pattern: rule.pattern as NMPattern};
    }
    if (!either(included)) {
      return {reason: 'not matched by the option include'};
    }
    return everywhere ? {pattern: everywhere} : {reason: 'no perLayer glob matches, and no pattern is given'};
  };
}

function matcher(globs: unknown, said: string, fail: (why: string) => never): (text: string) => boolean {
  const list = Array.isArray(globs) ? globs : [globs];
  if (list.length === 0 || !list.every(glob => typeof glob === 'string' && glob !== '')) {
    fail(`${said} ${JSON.stringify(globs)}; give a glob such as 'dense_*', or several.`);
  }
  return picomatch(list as string[], {bash: true, dot: true, nonegate: true});
}
