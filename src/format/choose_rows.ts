/**
 * Scores → kept rows. In every window and column group, the N rows of largest score are kept; of rows with equal
 * scores, the lowest. The pruning criterion sets a row's score (magnitude: its sum of squares). With a mask, the score
 * is 1 if the mask keeps the row, else 0.
 *
 * Quickselect finds the N-th largest score. It is linear in M, unlike sorting: at 128:256 this takes a fraction of a
 * second instead of several.
 */
import {UnfitMaskError} from '../util/options.js';
import {formatPattern, groupCount, keptRowCount, type NMPattern} from './pattern.js';

/** One window of rows and some groups of columns: what is scored, chosen from and stored in one step. */
export interface Block {
  topRow: number;
  rows: number;
  firstGroup: number;
  groups: number;
  /** [groups, rows] row-major. */
  scores: Float64Array;
}

/** A row's score is its sum of squares over the group: in float64 no square of a float32 over- or underflows. */
export function scoreByEnergy(block: Block, w: Float32Array, n: number, {vectorLength}: NMPattern): void {
  const {topRow, rows, firstGroup, groups, scores} = block;
  for (let r = 0; r < rows; ++r) {
    const at = (topRow + r) * n;
    for (let g = 0, col = firstGroup * vectorLength; g < groups; ++g) {
      let energy = 0;
      for (const end = Math.min(col + vectorLength, n); col < end; ++col) {
        energy += w[at + col] * w[at + col];
      }
      scores[g * rows + r] = energy;
    }
  }
}

/** A row's score is 1 if the mask keeps it, else 0. Refuses a mask that does not fit the pattern. */
export function scoreByMask(block: Block, mask: Uint8Array, n: number, pattern: NMPattern): void {
  const {topRow, rows, firstGroup, groups, scores} = block;
  const {vectorLength, m} = pattern;
  for (let g = 0; g < groups; ++g) {
    const firstCol = (firstGroup + g) * vectorLength;
    const endCol = Math.min(firstCol + vectorLength, n);
    let kept = 0;
    for (let r = 0; r < rows; ++r) {
      const at = (topRow + r) * n;
      const keeps = mask[at + firstCol] !== 0;
      for (let col = firstCol + 1; col < endCol; ++col) {
        if ((mask[at + col] !== 0) !== keeps) {
          refuse(g, `keeps row ${topRow + r} in column ${keeps ? firstCol : col} and not in column ` +
              `${keeps ? col : firstCol}; a group's columns must keep the same rows`);
        }
      }
      scores[g * rows + r] = keeps ? 1 : 0;
      kept += scores[g * rows + r];
    }
    if (kept > pattern.n) {
      refuse(g, `keeps ${kept} rows; a window may keep at most ${pattern.n}`);
    }
  }

  function refuse(g: number, why: string): never {
    const group = firstGroup + g;
    throw new UnfitMaskError(`mask is not ${formatPattern(pattern)}: in window ${topRow / m} ` +
        `(rows ${topRow} to ${topRow + rows - 1}), group ${group} (columns ${group * vectorLength} to ` +
        `${Math.min((group + 1) * vectorLength, n) - 1}) it ${why}. Make the mask for this pattern, or leave it out.`);
  }
}

/** Writes the offsets of each group's N best rows, ascending; of equal rows the lowest goes first. */
export function chooseRows(
    block: Block, offsets: Uint8Array, firstKept: number, keptRows: number, pattern: NMPattern): void {
  const {rows, firstGroup, groups, scores} = block;
  const keep = Math.min(pattern.n, rows);
  const scratch = new Float64Array(rows);
  for (let g = 0; g < groups; ++g) {
    for (let r = 0; r < rows; ++r) {
      scratch[r] = scores[g * rows + r];
    }
    const least = nthLargest(scratch, keep);
    let ties = keep;  // how many rows with exactly the least score are kept
    for (let i = 0; i < keep; ++i) {
      ties -= scratch[i] > least ? 1 : 0;
    }
    let to = (firstGroup + g) * keptRows + firstKept;
    for (let r = 0; r < rows; ++r) {
      const score = scores[g * rows + r];
      if (score > least || (score === least && ties-- > 0)) {
        offsets[to++] = r;
      }
    }
  }
}

/** The nth largest value, counted from 1, by Hoare's quickselect. Reorders the values: the n largest lead. */
function nthLargest(values: Float64Array, nth: number): number {
  const wanted = nth - 1;
  let low = 0;
  let high = values.length - 1;
  while (low < high) {
    const pivot = values[(low + high) >> 1];
    let i = low;
    let j = high;
    while (i <= j) {
      while (values[i] > pivot) {
        ++i;
      }
      while (values[j] < pivot) {
        --j;
      }
      if (i <= j) {
        const value = values[i];
        values[i++] = values[j];
        values[j--] = value;
      }
    }
    if (wanted <= j) {
      high = j;
    } else if (wanted >= i) {
      low = i;
    } else {
      break;
    }
  }
  return values[wanted];
}

/**
 * Kept rows that are chosen before there are weights: evenly spaced, and shifted by one from group to group, so that
 * every input feeds about N/M of the outputs.
 * @returns [groups, kept rows] row-major, each 0 … M-1, ascending within a window.
 */
export function spacedOffsets([k, n]: [number, number], pattern: NMPattern): Uint8Array {
  const keptRows = keptRowCount(k, pattern);
  const groups = groupCount(n, pattern);
  const offsets = new Uint8Array(groups * keptRows);
  for (let group = 0; group < groups; ++group) {
    for (let first = 0; first < keptRows; first += pattern.n) {
      const rows = Math.min(pattern.m, k - (first / pattern.n) * pattern.m);
      const kept = Math.min(pattern.n, rows);
      const chosen = Array.from({length: kept}, (_, i) => (Math.floor((i * rows) / kept) + group) % rows);
      offsets.set(chosen.sort((a, b) => a - b), group * keptRows + first);
    }
  }
  return offsets;
}
