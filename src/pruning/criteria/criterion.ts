/** A pruning criterion chooses the rows that each window keeps, and the values that they get. */
import type {ChooseValues} from '../../format/compress.js';

export interface Criterion {
  /**
   * Chooses rows and values for one kernel W [k, n], all finite. A criterion that only ranks rows calls keepBestRows;
   * one that also changes values returns its own.
   */
  prune: ChooseValues;
}
