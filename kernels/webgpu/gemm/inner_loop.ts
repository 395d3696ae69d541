/**
 * WGSL of the inner loop: multiplies one K-tile from workgroup memory. For each kept row, a thread multiplies
 * threadRows of x by threadCols of W into its register tile.
 */
import {range} from '../program_util.js';
import type {GemmConfig, GemmGeometry} from './config.js';
import {STRATEGIES} from './strategies.js';

/** @param unroll kept rows per loop iteration; divides those of a K-tile. */
export function multiply(config: GemmConfig, geometry: GemmGeometry, unroll: number): string {
  const {threadRows, threadCols, pattern} = config;
  const {xRow, stagesRowNumbers} = STRATEGIES[config.strategy];
  const {wRows, groupsInTile, span} = geometry;
  const chunks = range(threadCols / 4);
  const turns = range(unroll);
  // A thread's vec4 columns lie in one group unless groups are narrower than the thread tile.
  const picks = groupsInTile > 1;
  const oneGroup = !picks || pattern.vectorLength >= threadCols;
  const reads = oneGroup ? [0] : chunks;
  const group = (c: number) => !picks ? '0u' : oneGroup ? `spanId * ${span}u / ${pattern.vectorLength}u` :
      `spanId * ${span / pattern.vectorLength}u + ${Math.floor((c * 4) / pattern.vectorLength)}u`;
  // All row numbers of the iteration are read first: the reads of x that follow then wait once.
  const rowAt = (c: number, u: number) =>
    `rowInTile[slice][buffer][(${group(c)}) * ${wRows}u + kk + ${u}u]`;
  const rows = !stagesRowNumbers ? '' : turns.map(u => reads.map(c => `
            let row${c}_${u} = ${rowAt(c, u)};`).join('')).join('');
  const body = (u: number) => `
            {${reads.map(c => range(threadRows / 4).map(r => `
            let x${c}_${r} = ${xRow(group(c), c, u)}.at[${r}][threadY];`).join('')).join('')}${chunks.map(c => `
            let w${c} = wTile[slice][buffer][kk + ${u}u][spanId][${c}][spanLane];`).join('')}${
    range(threadRows).map(r => chunks.map(c => `
            sum${r}_${c} += x${oneGroup ? 0 : c}_${r >> 2}[${r & 3}] * w${c};`).join('')).join('')}
            }`;
  const turn = `${rows}${turns.map(body).join('')}`;
  return unroll === wRows ? `{
            const kk = 0u;${turn}
          }` : `
          for (var kk = 0u; kk < ${wRows}u; kk += ${unroll}u) {${turn}
          }`;
}
