/** What every pruning criterion is: a choice of the rows that each window keeps, and of the values they get. */
import type {ChooseValues} from '../../format/compress.js';

export interface Criterion {
  /**
   * Chooses rows and values for one kernel W [k, n], all finite. A criterion that only ranks rows calls keepBestRows;
   * one that also changes values returns its own.
   */
  prune: ChooseValues;
}
