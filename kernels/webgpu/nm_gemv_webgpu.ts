/**
 * The GEMV: y = x · W for few rows, where reading W once is all the work there is.
 *
 * A workgroup computes some columns for up to 16 rows. Its 256 threads are vec4 columns × slices of the kept rows: a
 * slice takes four consecutive kept rows a turn, so that one word brings the offsets of all four, and neighbouring
 * slices read neighbouring rows of W. More columns are longer runs of memory, more slices more rows at once. The sums
 * of the slices meet in a tree in workgroup memory. x is read in place, row-major: at these sizes it lies in the cache.
 * Where the columns alone leave the device idle, kept rows are split over workgroups too, and a second pass adds the
 * parts (reduce_webgpu.ts).
 */
import type {WebGPUProgram} from '@tensorflow/tfjs-backend-webgpu';
import {indicesSnippet, valuesComponents, valuesSnippet, type CompressedConfig} from './compressed_wgsl.js';
import {
  epilogueComponents, epilogueInputs, epilogueSnippet, epilogueUniforms, type EpilogueConfig,
} from './epilogue.js';
import {range} from './range.js';

export interface GemvConfig extends CompressedConfig {
  /** Rows of y a workgroup computes; rows beyond the last are computed again and not stored. */
  rows: 1 | 2 | 4 | 8 | 16;
  /** vec4 columns a workgroup computes: how long the runs are that it reads of W's rows. */
  vecCols: 8 | 16 | 32 | 64;
  /** Writes partial sums [splits, rows, n] for a second pass, no epilogue. */
  partial: boolean;
  epilogue: EpilogueConfig;
}

const THREADS = 256;
/** Kept rows a slice takes in one turn. */
const TURN = 4;
/** Rows whose sums meet in workgroup memory at once: 4 × 256 × 16 bytes are the default limit of 16 KB. */
const ROWS_AT_ONCE = 4;

/** What a configuration implies. */
export function gemvGeometry({vecCols}: Pick<GemvConfig, 'vecCols'>) {
  const slices = THREADS / vecCols;
  return {
    slices,
    /** Columns of y a workgroup computes. */
    tileCols: 4 * vecCols,
    /** Kept rows all slices of a workgroup cover in one turn. */
    turnRows: slices * TURN,
  };
}

export interface GemvUniforms {
  rows: number;
  cols: number;
  depth: number;
  keptRows: number;
  wordsPerGroup: number;
  /** Kept rows a split covers: a multiple of 4. */
  keptPerSplit: number;
  colTiles: number;
}

export class NMGemvProgram implements WebGPUProgram {
  readonly outputShape: number[];
  readonly dispatchLayout: {x: number[]; y: number[]; z?: number[]};
  readonly dispatch: [number, number, number];
  readonly workgroupSize: [number, number, number] = [THREADS, 1, 1];
  readonly variableNames: string[];
  readonly variableComponents: number[];
  readonly outputComponent: 1 | 4;
  readonly uniforms: string;
  readonly shaderKey: string;

  constructor(private readonly config: GemvConfig, rows: number, cols: number, splits: number, maxDispatch: number) {
    const {partial, epilogue, alignedCols} = config;
    this.outputShape = partial ? [splits, rows, cols] : [rows, cols];
    this.dispatchLayout = partial ? {x: [2], y: [1], z: [0]} : {x: [1], y: [0]};
    const tiles = Math.ceil(rows / config.rows) * Math.ceil(cols / gemvGeometry(config).tileCols);
    const across = Math.min(tiles, maxDispatch);
    this.dispatch = [across, Math.ceil(tiles / across), splits];
    this.outputComponent = alignedCols ? 4 : 1;
    this.variableNames = ['x', 'values', 'indices', ...epilogueInputs(epilogue)];
    this.variableComponents =
        [1, valuesComponents(config), 1, ...epilogueComponents(epilogue, this.outputComponent)];
    this.uniforms = 'rows : i32, cols : i32, depth : i32, keptRows : i32, wordsPerGroup : i32, keptPerSplit : i32, ' +
        'colTiles : i32' + epilogueUniforms(epilogue);
    this.shaderKey = `nmGemv_${JSON.stringify(config)}`;
  }

  static uniformData(u: GemvUniforms) {
    return [u.rows, u.cols, u.depth, u.keptRows, u.wordsPerGroup, u.keptPerSplit, u.colTiles]
        .map(value => ({type: 'int32', data: [value]}));
  }

  getUserCode(): string {
    const {rows, vecCols, pattern: {vectorLength}, alignedCols, partial, epilogue} = this.config;
    const {slices, turnRows} = gemvGeometry(this.config);
    const rowIds = range(rows);
    // A vec4 of columns meets 4, 2 or 1 groups, so each kept row stands for as many rows of x.
    const distinct = Math.max(1, 4 / vectorLength);
    const groupWord = (d: number) => `offsetWord((col * 4u + ${(d * 4) / distinct}u) / ${vectorLength}u, j)`;
    const product = `
            let value = value4(j + u, col);${range(distinct).map(d => `
            let k${d} = min(rowOf(j + u, (word${d} >> (u * OFFSET_BITS)) & OFFSET_MASK), lastRow);`).join('')}${
      rowIds.map(r => `
            sum${r} += ${xVector(r, distinct)} * value;`).join('')}`;
    const upTo = (end: string) => `for (var u = 0u; u < ${end}; u++) {${product}
          }`;
    // Unrolled by hand where the loads of one kept row are too few to hide their own latency; the rest is compile time.
    const multiply = rows * distinct > 4 ? upTo(`min(${TURN}u, end - j)`) : `if (j + ${TURN}u <= end) {${
      range(TURN).map(u => `
            {
            const u = ${u}u;${product}
            }`).join('')}
          } else {
            ${upTo('end - j')}
          }`;
    const batches = range(Math.ceil(rows / ROWS_AT_ONCE))
      .map(b => rowIds.slice(b * ROWS_AT_ONCE, (b + 1) * ROWS_AT_ONCE));
    const atOnce = Math.min(rows, ROWS_AT_ONCE);
    const finish = (sum: string, col: string) => partial ? sum : `epilogue(${sum}, ${col})`;
    const base = partial ? 'workgroupId.z * u32(uniforms.rows) + row' : 'row';
    const store = alignedCols ? `
            if (col < u32(uniforms.cols) / 4u) {
              result[(${base}) * (u32(uniforms.cols) / 4u) + col] = ${finish('sum', 'col')};
            }` : `
            for (var c = col * 4u; c < min(col * 4u + 4u, u32(uniforms.cols)); c++) {
              result[(${base}) * u32(uniforms.cols) + c] = ${finish('sum[c % 4u]', 'c')};
            }`;
    return `
      ${indicesSnippet(this.config)}
      ${valuesSnippet(this.config)}
      ${epilogueSnippet(epilogue, this.outputComponent)}
      var<workgroup> sums: array<vec4<f32>, ${atOnce * THREADS}>;

      fn main() {
        let tile = workgroupId.x + workgroupId.y * numWorkgroups.x;
        let col = (tile % u32(uniforms.colTiles)) * ${vecCols}u + localIndex % ${vecCols}u;
        let rowStart = (tile / u32(uniforms.colTiles)) * ${rows}u;
        let slice = localIndex / ${vecCols}u;
        let lastRow = u32(uniforms.depth) - 1u;
        let start = workgroupId.z * u32(uniforms.keptPerSplit);
        let end = min(start + u32(uniforms.keptPerSplit), u32(uniforms.keptRows));
        ${rowIds.map(r => `
        let x${r} = min(rowStart + ${r}u, u32(uniforms.rows) - 1u) * u32(uniforms.depth);
        var sum${r} = vec4<f32>(0.0);`).join('')}
        for (var j = start + slice * ${TURN}u; j < end; j += ${turnRows}u) {${range(distinct).map(d => `
          let word${d} = ${groupWord(d)};`).join('')}
          ${multiply}
        }${batches.map(batch => `
        ${batch.map((r, i) => `sums[${i * THREADS}u + localIndex] = sum${r};`).join('\n        ')}
        for (var half = ${slices / 2}u; half > 0u; half /= 2u) {
          workgroupBarrier();
          if (slice < half) {
            for (var r = 0u; r < ${batch.length}u; r++) {
              sums[r * ${THREADS}u + localIndex] += sums[r * ${THREADS}u + localIndex + half * ${vecCols}u];
            }
          }
        }
        workgroupBarrier();
        if (slice < ${batch.length}u) {
          let row = rowStart + ${batch[0]}u + slice;
          if (row < u32(uniforms.rows)) {
            let sum = sums[slice * ${THREADS}u + localIndex % ${vecCols}u];${store}
          }
        }${batch !== batches[batches.length - 1] ? `
        workgroupBarrier();` : ''}`).join('')}
      }
    `;
  }
}

/** The x of a row that the four columns of a vec4 meet: one number, two or four. */
function xVector(row: number, distinct: number): string {
  const at = (d: number) => `f32(x[x${row} + k${d}])`;
  return distinct === 1 ? at(0) : distinct === 2 ? `vec4<f32>(vec2<f32>(${at(0)}), vec2<f32>(${at(1)}))` :
      `vec4<f32>(${range(4).map(at).join(', ')})`;
}
