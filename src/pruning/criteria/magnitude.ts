/** Magnitude pruning: in every window and column group the N rows of largest L2 norm are kept, values unchanged. */
import {scoreByEnergy} from '../../format/choose_rows.js';
import {keepBestRows} from '../../format/compress.js';
import type {Criterion} from './criterion.js';

export const magnitude: Criterion = {
  prune: (w, shape, pattern) => keepBestRows(w, shape, pattern, block => scoreByEnergy(block, w, shape[1], pattern)),
};
