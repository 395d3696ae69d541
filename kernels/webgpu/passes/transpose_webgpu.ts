/**
 * Transposes x: [rows, k] → [k, stride], where stride is rows rounded up to whole tiles; the padding is zeros. The
 * 2·rows·k·4 bytes of traffic save the GEMM more: it loads vec4s along rows, whichever row of k an index selects, and
 * needs no check for the last row.
 *
 * A tile of 64 rows × 32 passes through workgroup memory. Reads (along k, in vec4s if k is a multiple of 4) and writes
 * (vec4s along rows) are thus contiguous segments of at least 128 bytes, and only memory bandwidth limits the speed.
 */
import type {WebGPUProgram} from '@tensorflow/tfjs-backend-webgpu';
import {foldDispatch, int32Uniforms} from '../program_util.js';

const TILE_ROWS = 64;
const TILE_DEPTH = 32;
const THREADS = 256;

export class NMTransposeProgram implements WebGPUProgram {
  readonly outputShape: number[];
  readonly dispatchLayout = {x: [1], y: [0]};
  readonly dispatch: [number, number, number];
  readonly workgroupSize: [number, number, number] = [THREADS, 1, 1];
  readonly variableNames = ['x'];
  readonly variableComponents: [1 | 4];
  readonly outputComponent = 4;
  readonly uniforms = 'rows : i32, depth : i32, stride : i32, depthTiles : i32';
  readonly shaderKey: string;
  private readonly uniformValues: number[];

  /** @param stride rows rounded up to a multiple of the GEMM's tile, so of 4. */
  constructor(rows: number, depth: number, stride: number, maxDispatch: number) {
    this.outputShape = [depth, stride];
    const depthTiles = Math.ceil(depth / TILE_DEPTH);
    const tiles = depthTiles * Math.ceil(stride / TILE_ROWS);
    this.dispatch = foldDispatch(tiles, maxDispatch);
    this.variableComponents = [depth % 4 === 0 ? 4 : 1];
    this.uniformValues = [rows, depth, stride, depthTiles];
    this.shaderKey = `nmTranspose_${this.variableComponents[0]}`;
  }

  uniformData() {
    return int32Uniforms(this.uniformValues);
  }

  getUserCode(): string {
    const [component] = this.variableComponents;
    const perRow = TILE_DEPTH / component;
    const rowsATurn = THREADS / perRow;
    const T = component === 4 ? 'vec4<f32>' : 'f32';
    const store = component === 4 ?
      [0, 1, 2, 3].map(i => `corner[lane * 4u + ${i}u][i] = value[${i}];`).join(' ') : 'corner[lane][i] = value;';
    // Workgroups past the last tile, of a folded dispatch, find no row of the output to write.
    return `
      var<workgroup> corner: array<array<f32, ${TILE_ROWS + 1}>, ${TILE_DEPTH}>;

      fn main() {
        let tile = workgroupId.x + workgroupId.y * numWorkgroups.x;
        let rows = u32(uniforms.rows);
        let depth = u32(uniforms.depth);
        let strideVecs = u32(uniforms.stride) / 4u;
        let rowStart = (tile / u32(uniforms.depthTiles)) * ${TILE_ROWS}u;
        let depthStart = (tile % u32(uniforms.depthTiles)) * ${TILE_DEPTH}u;
        // Read a tile along k.
        {
          let lane = localIndex % ${perRow}u;
          let source = depthStart / ${component}u + lane;
          for (var i = localIndex / ${perRow}u; i < ${TILE_ROWS}u; i += ${rowsATurn}u) {
            var value = ${T}(0.0);
            if (rowStart + i < rows && source < depth / ${component}u) {
              value = ${T}(x[(rowStart + i) * (depth / ${component}u) + source]);
            }
            ${store}
          }
        }
        workgroupBarrier();
        // Write it along rows.
        let lane = localIndex % ${TILE_ROWS / 4}u;
        for (var i = localIndex / ${TILE_ROWS / 4}u; i < ${TILE_DEPTH}u; i += ${(THREADS * 4) / TILE_ROWS}u) {
          if (depthStart + i < depth && rowStart / 4u + lane < strideVecs) {
            let at = lane * 4u;
            result[(depthStart + i) * strideVecs + rowStart / 4u + lane] =
                vec4<f32>(corner[i][at], corner[i][at + 1u], corner[i][at + 2u], corner[i][at + 3u]);
          }
        }
      }
    `;
  }
}
