/**
 * nmDecompress on WebGPU: the dense W [k, n], which the dense fallback multiplies.
 *
 * A workgroup writes a tile of W that consists of whole windows. It clears the tile in workgroup memory, scatters the
 * kept values to their rows there, and writes the tile out. Each element of W is thus written once, in contiguous
 * vec4s, whatever the pattern.
 *
 * A thread handles four kept rows at a time. Every word of packed offsets holds at least four, and the words of
 * neighbouring groups are far apart in memory, so each should be loaded only once.
 */
import type {WebGPUProgram} from '@tensorflow/tfjs-backend-webgpu';
import type {NMPattern} from '../../../src/format/pattern.js';
import {indicesSnippet, valuesComponents, valuesSnippet, type CompressedConfig} from '../wgsl/compressed.js';
import {foldDispatch, guardedStore, int32Uniforms, range, type ProductSize} from '../program_util.js';

const THREADS = 128;
/** Elements of a tile: the default limit of 16 KB of workgroup memory. */
const TILE_SIZE = 4096;
const MAX_TILE_COLS = 64;
/** Kept rows that a thread takes at a time. */
const TOGETHER = 4;

/** Rows, in whole windows, and vec4 columns of a tile. */
function tileOf({m}: NMPattern): {windows: number; tileRows: number; vecCols: 4 | 8 | 16} {
  const tileCols = m <= TILE_SIZE / MAX_TILE_COLS ? 64 : m <= TILE_SIZE / 32 ? 32 : 16;
  const windows = Math.floor(TILE_SIZE / tileCols / m);
  return {windows, tileRows: windows * m, vecCols: tileCols / 4 as 4 | 8 | 16};
}

export class NMDecompressProgram implements WebGPUProgram {
  readonly outputShape: number[];
  readonly dispatchLayout = {x: [1], y: [0]};
  readonly dispatch: [number, number, number];
  readonly workgroupSize: [number, number, number] = [THREADS, 1, 1];
  readonly variableNames = ['values', 'indices'];
  readonly variableComponents: number[];
  readonly outputComponent: 1 | 4;
  readonly uniforms = 'cols : i32, depth : i32, keptRows : i32, wordsPerGroup : i32, colTiles : i32';
  readonly shaderKey: string;
  private readonly uniformValues: number[];

  /** @param size of W, as nmSparseMatMul's programs take it; its rows don't matter. */
  constructor(
      private readonly config: CompressedConfig,
      {depth, cols, keptRows, wordsPerGroup}: Omit<ProductSize, 'rows'>,
      maxDispatch: number) {
    const {tileRows, vecCols} = tileOf(config.pattern);
    this.outputShape = [depth, cols];
    const colTiles = Math.ceil(cols / (4 * vecCols));
    const workgroups = Math.ceil(depth / tileRows) * colTiles;
    this.dispatch = foldDispatch(workgroups, maxDispatch);
    this.variableComponents = [valuesComponents(config), 1];
    this.outputComponent = config.alignedCols ? 4 : 1;
    this.uniformValues = [cols, depth, keptRows, wordsPerGroup, colTiles];
    this.shaderKey = `nmDecompress_${JSON.stringify(config)}`;
  }

  uniformData() {
    return int32Uniforms(this.uniformValues);
  }

  getUserCode(): string {
    const {pattern: {n}, alignedCols} = this.config;
    const {windows, tileRows, vecCols} = tileOf(this.config.pattern);
    const slices = THREADS / vecCols;
    // The columns of a vec4 lie apart, so that neighbouring threads read and write neighbouring words of the tile.
    const place: Place = (row, vec, column) =>
      `tile[(${row}) * ${4 * vecCols}u + ${typeof column === 'number' ? `${column * vecCols}u` :
        `${column} * ${vecCols}u`} + ${vec}]`;
    const store = guardedStore({
      aligned: alignedCols,
      row: 'rowStart + row',
      vec: '(vecStart + vec)',
      value: (_column, component) => component ? place('row', 'vec', component) :
        `vec4<f32>(${range(4).map(c => place('row', 'vec', c)).join(', ')})`,
    });
    return `
      ${indicesSnippet(this.config)}
      ${valuesSnippet(this.config)}
      var<workgroup> tile: array<f32, ${tileRows * 4 * vecCols}>;

      fn main() {
        let id = workgroupId.x + workgroupId.y * numWorkgroups.x;
        let vecStart = (id % u32(uniforms.colTiles)) * ${vecCols}u;
        let rowTile = id / u32(uniforms.colTiles);
        let rowStart = rowTile * ${tileRows}u;
        // Clear the tile.
        for (var at = localIndex; at < ${tileRows * 4 * vecCols}u; at += ${THREADS}u) {
          tile[at] = 0.0;
        }
        workgroupBarrier();
        let vecInTile = localIndex % ${vecCols}u;
        let col = (vecStart + vecInTile) * 4u;
        let first = rowTile * ${windows * n}u;
        let end = min(first + ${windows * n}u, u32(uniforms.keptRows));
        // Scatter the kept values to their rows. Columns past the last have no offsets.
        if (col < u32(uniforms.cols)) {
          for (var start = (first / ${TOGETHER}u + localIndex / ${vecCols}u) * ${TOGETHER}u; start < end;
               start += ${slices * TOGETHER}u) {${this.scatter(place)}
          }
        }
        workgroupBarrier();
        // Write the tile.
        for (var at = localIndex; at < ${tileRows * vecCols}u; at += ${THREADS}u) {
          let row = at / ${vecCols}u;
          let vec = at % ${vecCols}u;
          if (rowStart + row < u32(uniforms.depth)) {${store}
          }
        }
      }
    `;
  }

  /** WGSL: four kept rows from `start` on, each value to its row of the tile. */
  private scatter(place: Place): string {
    const {pattern: {n, m, vectorLength}, alignedCols} = this.config;
    // A vec4 of columns spans 4, 2 or 1 groups.
    const groups = range(Math.max(1, 4 / vectorLength));
    const groupOf = (column: number) => Math.floor(column * groups.length / 4);
    return `${groups.map(d => `
            let word${d} = offsetWord((col + ${(d * 4) / groups.length}u) / ${vectorLength}u, start);`).join('')}${
  range(TOGETHER).map(u => `
            let value${u} = stored4(start + ${u}u, col / 4u);`).join('')}${range(TOGETHER).map(u => `
            if (start + ${u}u >= first && start + ${u}u < end) {
              let value = unpack4(value${u});
              let window = (start + ${u}u - first) / ${n}u * ${m}u;${range(4).map(c => `
              ${alignedCols ? '' : `if (col + ${c}u < u32(uniforms.cols)) `}{ ${place(
  `window + ((word${groupOf(c)} >> (${u}u * OFFSET_BITS)) & OFFSET_MASK)`, 'vecInTile', c)} = value[${c}]; }`).join('')}
            }`).join('')}`;
  }
}

/** WGSL: an element of the tile in workgroup memory. */
type Place = (row: string, vec: string, column: number | string) => string;
