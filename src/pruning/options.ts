/**
 * What a caller says about pruning, and the one kind of glob in which layers and weights are named.
 *
 * Globs follow picomatch with `*` matching '/' too: a layer's path is 'outer/inner' for nested models, and names from
 * other frameworks hold slashes of their own. A leading `!` is a character like any other.
 */
import picomatch from 'picomatch/posix.js';
import type {StorageDtype} from '../format/storage.js';
import type {PatternLike} from '../format/pattern.js';
import type {Criterion} from './criteria/criterion.js';
import {magnitude} from './criteria/magnitude.js';

/** The pruning criteria by name. */
export const CRITERIA = {magnitude} satisfies Record<string, Criterion>;

export type CriterionName = keyof typeof CRITERIA;

export const CRITERION_NAMES = Object.keys(CRITERIA) as CriterionName[];

export interface PruneOptions {
  /** The pattern for every layer that no `perLayer` entry names. */
  pattern?: PatternLike;
  /** Globs of layers to convert. Default: all that can be. */
  include?: string | string[];
  /** Globs of layers to leave dense; wins over include and perLayer. */
  exclude?: string | string[];
  /**
   * Glob → pattern, or 'dense' to leave those layers as they are. The first glob that matches counts. As a list of
   * pairs if a glob is a whole number: objects move such keys to the front.
   */
  perLayer?: Record<string, PatternLike | 'dense'> | ReadonlyArray<[glob: string, pattern: PatternLike | 'dense']>;
  /**
   * How kept rows and their values are chosen, where no mask decides. 'magnitude', the default: the rows of largest L2
   * norm per window and group.
   */
  criterion?: CriterionName;
  /**
   * How kept values are stored: 'float32' can be trained further, 'float16' is half the size. Default: 'float32', and
   * for a layer that is sparse already the storage that it has.
   */
  dtype?: StorageDtype;
}

/** The names of the options above, for callers that check for misspelt ones. */
export const PRUNE_OPTION_NAMES: readonly string[] =
    ['pattern', 'include', 'exclude', 'perLayer', 'criterion', 'dtype'];

/** Whether a name matches one of some globs. */
export function globMatcher(globs: string | readonly string[]): (name: string) => boolean {
  return picomatch(globs as string | string[], {bash: true, dot: true, nonegate: true});
}
