/**
 * The tiled GEMM: y [rows, n] = x · W with W compressed, for more rows than the GEMV handles (nm_gemv_webgpu.ts).
 *
 * Each workgroup computes one tile of y and walks along k one K-tile (`step`) at a time. It stages the K-tile's rows
 * of x and values of W in workgroup memory, from which every thread accumulates its register tile:
 *
 *     prefetch K-tile 0 into registers
 *     for each K-tile:  barrier · registers → workgroup memory · barrier · prefetch the next K-tile · multiply this one
 *
 * The global loads of the next K-tile thus overlap with the arithmetic of this one (the paper's pipeline, with
 * registers as the second buffer). The dense and zero-filled (`spread`) strategies can double-buffer in workgroup
 * memory as well, which saves one barrier per K-tile. With several `slices`, groups of threads take alternate K-tiles
 * of the same tile of y and add up their accumulators at the end: split-K within a workgroup.
 *
 * A k-major x arrives transposed, [k][rows padded to whole tiles] (transpose_webgpu.ts). Whichever row of k an index
 * selects is then contiguous, and every load is a vec4 along rows. A row-major x needs no dispatch before this one.
 * With few rows that saves more than the scalar loads cost (loads.ts).
 *
 * If the tile is tall enough, the 32 lanes of a subgroup form a patch 4 threads wide and 8 tall. It spans so few
 * columns that at L = 32 they belong to one group: all lanes use the same index.
 *
 * Edges cost interior tiles nothing. Columns past n are computed but not stored. Rows past `rows` are zero padding of a
 * k-major x; of a row-major x they repeat the last row. Kept rows past w read as zeros, as do rows of x past k in
 * zero-filled windows; only the guarded loop over the last K-tiles checks for them. Every split runs the same number
 * of K-tiles, even empty ones: a barrier may depend on uniform values only, and WGSL does not count tfjs's copy of the
 * workgroup ID as uniform.
 */
import type {WebGPUProgram} from '@tensorflow/tfjs-backend-webgpu';
import {foldDispatch, guardedStore, int32Uniforms, range, type ProductSize} from '../program_util.js';
import {indicesSnippet, valuesComponents, valuesSnippet} from '../wgsl/compressed.js';
import {epilogueComponents, epilogueInputs, epilogueSnippet, epilogueUniforms} from '../wgsl/epilogue.js';
import type {GemmConfig, GemmGeometry} from './config.js';
import {gemmGeometry, paddedRows, stepsPerSlice} from './geometry.js';
import {multiply} from './inner_loop.js';
import {loadsOf, X_COLUMN, type Loads} from './loads.js';
import {STRATEGIES} from './strategies.js';

export class NMGemmProgram implements WebGPUProgram {
  readonly outputShape: number[];
  readonly dispatchLayout: {x: number[]; y: number[]; z?: number[]};
  readonly dispatch: [number, number, number];
  readonly workgroupSize: [number, number, number];
  readonly variableNames: string[];
  readonly variableComponents: number[];
  readonly outputComponent: 1 | 4;
  readonly uniforms: string;
  readonly shaderKey: string;
  private readonly geometry: GemmGeometry;
  private readonly uniformValues: number[];

  constructor(private readonly config: GemmConfig, size: ProductSize, splits: number, maxDispatch: number) {
    const {rows, cols, depth, keptRows, wordsPerGroup} = size;
    const {tileRows, tileCols, partial, epilogue, alignedCols, xLayout} = config;
    const {readsIndices, wholeKTiles} = STRATEGIES[config.strategy];
    this.geometry = gemmGeometry(config);
    this.outputShape = partial ? [splits, rows, cols] : [rows, cols];
    this.dispatchLayout = partial ? {x: [2], y: [1], z: [0]} : {x: [1], y: [0]};
    const colTiles = Math.ceil(cols / tileCols);
    const tiles = Math.ceil(rows / tileRows) * colTiles;
    this.dispatch = foldDispatch(tiles, maxDispatch, splits);
    this.workgroupSize = [this.geometry.threads, 1, 1];
    this.outputComponent = alignedCols ? 4 : 1;
    const indexInput = readsIndices ? ['indices'] : [];
    this.variableNames = ['x', 'values', ...indexInput, ...epilogueInputs(epilogue)];
    this.variableComponents = [
      xLayout === 'k-major' ? 4 : 1, valuesComponents(config), ...indexInput.map(() => 1),
      ...epilogueComponents(epilogue, this.outputComponent),
    ];
    this.uniforms = 'rows : i32, cols : i32, depth : i32, keptRows : i32, wordsPerGroup : i32, xStride : i32, ' +
        'colTiles : i32, steps : i32, fullSteps : i32' + epilogueUniforms(epilogue);
    const steps = stepsPerSlice(config, keptRows, splits);
    // One value for all splits: WGSL rejects a barrier in a loop whose trip count depends on the workgroup ID.
    const before = (splits - 1) * steps * config.slices;
    const whole = Math.floor(wholeKTiles(size, config.block, this.geometry.keptPerBlock));
    const fullSteps = Math.floor((whole - before) / config.slices);
    this.uniformValues = [
      rows, cols, depth, keptRows, wordsPerGroup, paddedRows(config, rows) / 4, colTiles, steps,
      Math.max(0, Math.min(steps, fullSteps)),
    ];
    this.shaderKey = `nmGemm_${JSON.stringify(config)}`;
  }

  uniformData() {
    return int32Uniforms(this.uniformValues);
  }

  getUserCode(): string {
    const {config, geometry} = this;
    const {tileRows, tileCols, threadRows, threadCols, xPad, buffers, slices} = config;
    const {readsIndices, copiesX} = STRATEGIES[config.strategy];
    const {sliceThreads, threadsY, span, groupsInTile, wRows, xRows, indexWords} = geometry;
    const loads = loadsOf(config, geometry, STRATEGIES[config.strategy].loads);
    // Nested arrays instead of a flat one. WGSL clamps every index; with nested arrays, an index that stays fixed for a
    // thread is clamped once, outside the loop, and a constant index not at all.
    return `
      ${readsIndices ? indicesSnippet(config) : ''}
      ${valuesSnippet(config)}
      ${epilogueSnippet(config.epilogue, this.outputComponent)}
      ${config.xLayout === 'row-major' ? X_COLUMN : ''}
      struct XRow {
        at: array<array<vec4<f32>, ${threadsY}>, ${threadRows / 4}>,${xPad ? `
        pad: vec4<f32>,` : ''}
      }
      alias XGroup = array<XRow, ${xRows / (copiesX ? groupsInTile : 1)}>;
      alias WRow = array<array<array<vec4<f32>, ${span / threadCols}>, ${threadCols / 4}>, ${tileCols / span}>;
      alias XTile = array<array<XGroup, ${copiesX ? groupsInTile : 1}>, ${buffers}>;
      var<workgroup> xTile: array<XTile, ${slices}>;
      var<workgroup> wTile: array<array<array<WRow, ${wRows}>, ${buffers}>, ${slices}>;
      ${indexWords ? `var<workgroup> rowInTile: array<array<array<u32, ${indexWords}>, ${buffers}>, ${slices}>;` : ''}
      ${slices > 1 ? `var<workgroup> sumsOfSlice: array<vec4<f32>, ${(tileRows * tileCols) / 4}>;` : ''}

      fn main() {
        // The tile of y of this workgroup.
        let tile = workgroupId.x + workgroupId.y * numWorkgroups.x;
        let colTile = tile % u32(uniforms.colTiles);
        let rowTile = tile / u32(uniforms.colTiles);
        let keptRows = u32(uniforms.keptRows);
        let depth = u32(uniforms.depth);
        let xStride = u32(uniforms.xStride);
        let xStart = rowTile * ${tileRows / 4}u;
        let wStart = colTile * ${tileCols / 4}u;
        let firstGroup = colTile * ${tileCols}u / ${config.pattern.vectorLength}u;
        let steps = u32(uniforms.steps);
        // The slice and the K-tile that this thread begins with.
        ${slices > 1 ? `let slice = localIndex / ${sliceThreads}u;` : 'const slice = 0u;'}
        let thread = ${slices > 1 ? `localIndex % ${sliceThreads}u` : 'localIndex'};
        var step = workgroupId.z * steps * ${slices}u + slice;
        // The register tile of this thread, and its accumulators.${threadPlace(config, geometry)}${declareSums(config)}
        ${walk(config, geometry, loads)}
        ${slices > 1 ? `// Add up the slices.${addSlices(config, geometry)}` : ''}
        // Store the register tile.
        ${slices > 1 ? 'if (slice == 0u) {' : '{'}${store(config, geometry)}
        }
      }
    `;
  }
}

/**
 * Which rows and columns of the tile a thread owns: whole vec4s, interleaved so that neighbours read neighbours. The
 * lanes of a subgroup zigzag (bit 0: column, then the rows, then the other columns): lanes that differ in bit 0 read
 * the same x, lanes that differ in bit 1 the same W, and hardware that reads 16 bytes a lane in parts can merge them.
 */
function threadPlace({threadCols}: GemmConfig, {threadsX, patchX, patchY, span}: GemmGeometry): string {
  const patchesX = threadsX / patchX;
  const lanesPerSpan = span / threadCols;
  return `
        let lane = thread % ${patchX * patchY}u;
        let patchId = thread / ${patchX * patchY}u;
        let laneX = (lane & 1u) | ((lane / ${2 * patchY}u) << 1u);
        let laneY = (lane / 2u) % ${patchY}u;
        let threadX = (patchId % ${patchesX}u) * ${patchX}u + laneX;
        let threadY = (patchId / ${patchesX}u) * ${patchY}u + laneY;
        let spanId = threadX / ${lanesPerSpan}u;
        let spanLane = threadX % ${lanesPerSpan}u;`;
}

function declareSums({threadRows, threadCols}: GemmConfig): string {
  return range(threadRows).map(r => range(threadCols / 4).map(c => `
        var sum${r}_${c} = vec4<f32>(0.0);`).join('')).join('');
}

/**
 * WGSL: the loops over K-tiles. Most K-tiles run in a loop without a branch, so the compiler can interleave the loads
 * of the next K-tile with the arithmetic of this one. A second loop, with checks, runs the K-tiles that may end past
 * the last kept row and those with nothing left to load. A compact program has the second loop only.
 *
 * With one buffer, a K-tile is stored between two barriers; with two, while the previous one may still be read.
 */
function walk(config: GemmConfig, geometry: GemmGeometry, loads: Loads): string {
  const {buffers, unroll, slices, compact} = config;
  const turn = (fetch: string, unroll: number, last: string) => buffers === 1 ? `
          workgroupBarrier();
          ${loads.commit('buffer')}
          workgroupBarrier();
          step += ${slices}u;
          ${fetch}
          ${multiply(config, geometry, unroll)}` : `
          workgroupBarrier();
          let buffer = s & 1u;
          step += ${slices}u;
          ${fetch}
          ${multiply(config, geometry, unroll)}
          ${last}`;
  const rolled = compact ? unroll : [4, 2].find(count => unroll % count === 0) ?? 1;
  return `
        // Prefetch the first K-tile into registers.
        ${loads.declare}
        ${loads.fetchGuarded}${buffers === 1 ? `
        const buffer = 0u;` : loads.commit('0u')}
        var s = 0u;${compact ? '' : `
        // K-tiles without a branch: registers to workgroup memory, prefetch the next K-tile, multiply this one.
        for (; s + 1u < u32(uniforms.fullSteps); s++) {
          ${turn(loads.fetch, unroll, loads.commit('1u - buffer'))}
        }`}
        // The last K-tiles, or all of a compact program, with checks for the last row and for the last K-tile.
        for (; s < steps; s++) {
          ${turn(`if (s + 1u < steps) {${loads.fetchGuarded}
          }`, rolled, `if (s + 1u < steps) {${loads.commit('1u - buffer')}
          }`)}
        }`;
}

/** WGSL: adds the accumulators of all slices to those of the first. */
function addSlices({threadRows, threadCols, slices}: GemmConfig, {sliceThreads}: GemmGeometry): string {
  const sums = range(threadRows).flatMap(r => range(threadCols / 4).map(c => `sum${r}_${c}`));
  const place = (i: number) => `sumsOfSlice[${i * sliceThreads}u + thread]`;
  return `
        for (var other = 1u; other < ${slices}u; other++) {
          workgroupBarrier();
          if (slice == other) {${sums.map((sum, i) => `
            ${place(i)} = ${sum};`).join('')}
          }
          workgroupBarrier();
          if (slice == 0u) {${sums.map((sum, i) => `
            ${sum} += ${place(i)};`).join('')}
          }
        }`;
}

/** WGSL: stores a thread's accumulators, through the epilogue or, if partial, unchanged to the plane of its split. */
function store(config: GemmConfig, {threadsY, span}: GemmGeometry): string {
  const {threadRows, threadCols, tileRows, partial, alignedCols} = config;
  const value = (sum: string) => (column: string, component?: string) => {
    const one = component ? `${sum}[${component}]` : sum;
    return partial ? one : `epilogue(${one}, ${column})`;
  };
  const base = partial ? 'workgroupId.z * u32(uniforms.rows) + row' : 'row';
  const columns = range(threadCols / 4).map(c => `
        let col${c} = wStart + spanId * ${span / 4}u + ${(c * span) / threadCols}u + spanLane;`).join('');
  const cells = range(threadRows).map(r => `
        {
          let row = rowTile * ${tileRows}u + (${(r >> 2) * threadsY}u + threadY) * 4u + ${r & 3}u;
          if (row < u32(uniforms.rows)) {${range(threadCols / 4).map(c => guardedStore(
    {aligned: alignedCols, row: base, vec: `col${c}`, value: value(`sum${r}_${c}`)})).join('')}
          }
        }`);
  return columns + cells.join('');
}
