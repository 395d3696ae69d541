/**
 * Brings x to k-major: [rows, k] → [k, stride] with rows rounded up to whole tiles, the rest zeros. 2·rows·k·4 bytes of
 * traffic that the GEMM gets back many times over: it then loads vec4s along rows, whatever row of k the index names,
 * and needs no guard for rows. Through a 32 × 33 tile, so that reads and writes are both coalesced.
 */
import type {WebGPUProgram} from '@tensorflow/tfjs-backend-webgpu';

const TILE = 32;
const THREAD_ROWS = 8;

export class NMTransposeProgram implements WebGPUProgram {
  readonly outputShape: number[];
  readonly dispatchLayout = {x: [1], y: [0]};
  readonly dispatch: [number, number, number];
  readonly workgroupSize: [number, number, number] = [TILE, THREAD_ROWS, 1];
  readonly variableNames = ['x'];
  readonly variableComponents = [1];
  readonly uniforms = 'rows : i32, depth : i32, stride : i32, depthTiles : i32, tiles : i32';
  readonly shaderKey = 'nmTranspose';
  private readonly uniformValues: number[];

  /** @param stride rows rounded up to a multiple of the GEMM's tile. */
  constructor(rows: number, depth: number, stride: number, maxDispatch: number) {
    this.outputShape = [depth, stride];
    const depthTiles = Math.ceil(depth / TILE);
    const tiles = depthTiles * Math.ceil(stride / TILE);
    const across = Math.min(tiles, maxDispatch);
    this.dispatch = [across, Math.ceil(tiles / across), 1];
    this.uniformValues = [rows, depth, stride, depthTiles, tiles];
  }

  uniformData() {
    return this.uniformValues.map(value => ({type: 'int32', data: [value]}));
  }

  getUserCode(): string {
    return `
      var<workgroup> corner: array<array<f32, ${TILE + 1}>, ${TILE}>;

      fn main() {
        let tile = i32(workgroupId.x + workgroupId.y * numWorkgroups.x);
        let rowStart = (tile / uniforms.depthTiles) * ${TILE};
        let depthStart = (tile % uniforms.depthTiles) * ${TILE};
        let lane = i32(localId.x);
        for (var i = i32(localId.y); i < ${TILE}; i += ${THREAD_ROWS}) {
          var value = 0.0;
          if (rowStart + i < uniforms.rows && depthStart + lane < uniforms.depth) {
            value = f32(x[(rowStart + i) * uniforms.depth + depthStart + lane]);
          }
          corner[i][lane] = value;
        }
        workgroupBarrier();
        for (var i = i32(localId.y); i < ${TILE}; i += ${THREAD_ROWS}) {
          if (tile < uniforms.tiles && depthStart + i < uniforms.depth && rowStart + lane < uniforms.stride) {
            result[(depthStart + i) * uniforms.stride + rowStart + lane] = corner[lane][i];
          }
        }
      }
    `;
  }
}
