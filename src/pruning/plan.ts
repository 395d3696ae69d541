/**
 * Which layer gets which pattern. The options are checked once, then applied to each layer. This file sees only the
 * names of layers, so that it serves every kind of model. A glob may match a layer's name or its path.
 */
import {readPattern, type NMPattern, type PatternLike} from '../format/pattern.js';
import {checkDtype} from '../format/storage.js';
import {describeValue, isPlainObject} from '../util/options.js';
import {CRITERION_NAMES, globMatcher, type PruneOptions} from './options.js';

/** The verdict on one layer: the pattern it gets, or why it stays dense. */
export type LayerPlan = {pattern: NMPattern} | {reason: string};

/** What globs are tried on. */
export interface LayerName {
  name: string;
  path: string;
}

type Fail = (why: string) => never;
type Matches = (layer: LayerName) => boolean;

interface Rule {
  glob: string;
  matches: Matches;
  pattern: NMPattern | 'dense';
}

/**
 * Checks the options and returns the function that judges a layer by name and path.
 * @param caller opens the error messages.
 * @param layers all the layers there are: a glob that matches none is a misspelt name.
 * @throws Error naming the option that is wrong.
 */
export function planLayers(
    caller: string, options: PruneOptions, layers: readonly LayerName[]): (layer: LayerName) => LayerPlan {
  const fail: Fail = why => {
    throw new Error(`${caller}: ${why}`);
  };
  const {pattern, include, exclude, perLayer = {}, criterion = 'magnitude', dtype} = options;
  if (!CRITERION_NAMES.includes(criterion)) {
    fail(`criterion is ${describeValue(criterion)}; give ${CRITERION_NAMES.map(describeValue).join(' or ')}.`);
  }
  if (dtype !== undefined) {
    checkDtype(caller, dtype);
  }
  const rules = readRules(perLayer, layers, fail);
  if (pattern === undefined && rules.length === 0) {
    fail("pattern is missing; give one, e.g. '2:4' or '8:32v32', or perLayer.");
  }
  const everywhere = pattern === undefined ? undefined :
    readPattern(pattern, problem => fail(`option pattern: ${problem}`));
  const included = include === undefined ? () => true : matcher(include, 'include', layers, fail);
  const excluded = exclude === undefined ? () => false : matcher(exclude, 'exclude', layers, fail);
  return layer => {
    if (excluded(layer)) {
      return {reason: 'excluded by the option exclude'};
    }
    const rule = rules.find(({matches}) => matches(layer));
    if (rule) {
      return rule.pattern === 'dense' ? {reason: `perLayer['${rule.glob}'] says dense`} : {pattern: rule.pattern};
    }
    if (!included(layer)) {
      return {reason: 'not matched by the option include'};
    }
    return everywhere ? {pattern: everywhere} : {reason: 'no perLayer glob matches, and no pattern is given'};
  };
}

function readRules(perLayer: unknown, layers: readonly LayerName[], fail: Fail): Rule[] {
  const isPair = (each: unknown) => Array.isArray(each) && each.length === 2 && typeof each[0] === 'string';
  const pairs = isPlainObject(perLayer) ? Object.entries(perLayer) :
    Array.isArray(perLayer) && perLayer.every(isPair) ? perLayer : undefined;
  if (!pairs) {
    return fail(`perLayer is ${describeValue(perLayer)}; give an object {glob: pattern | 'dense'}.`);
  }
  return (pairs as [string, PatternLike | 'dense'][]).map(([glob, given]) => ({
    glob,
    pattern: given === 'dense' ? given : readPattern(given, problem => fail(`perLayer['${glob}']: ${problem}`)),
    matches: matcher(glob, 'perLayer', layers, fail),
  }));
}

/** @throws Error if these are no globs, or one of them matches no layer. */
function matcher(globs: unknown, option: string, layers: readonly LayerName[], fail: Fail): Matches {
  const list = Array.isArray(globs) ? globs : [globs];
  if (list.length === 0 || !list.every(glob => typeof glob === 'string' && glob !== '')) {
    fail(`${option} is ${describeValue(globs)}; give a glob such as 'dense_*', or several.`);
  }
  const either = (matches: (text: string) => boolean): Matches => ({name, path}) => matches(name) || matches(path);
  for (const glob of list as string[]) {
    if (!layers.some(either(globMatcher(glob)))) {
      fail(`${option} has the glob '${glob}', which matches no layer; the layers are ` +
          `${layers.map(({path}) => path).join(', ')}.`);
    }
  }
  return either(globMatcher(list as string[]));
}
