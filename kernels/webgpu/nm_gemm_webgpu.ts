/**
 * The blocked GEMM: y [rows, n] = x · W with W compressed, for more rows than a GEMV serves.
 *
 * A workgroup computes a tile of y. It walks along k in steps; each step brings some rows of x and the values of W that
 * meet them to workgroup memory, then every thread multiplies its patch from there:
 *
 *     load step 0 into registers
 *     for each step:  barrier · registers → workgroup memory · barrier · load the next step · multiply this one
 *
 * so the memory latency of the next step hides behind the arithmetic of this one (the paper's pipeline, with registers
 * as the second buffer: WebGPU's default 16 KB of workgroup memory is too small for two).
 *
 * x comes transposed, [k][rows rounded up to tiles] (transpose_webgpu.ts): then a kept row is one contiguous run,
 * every load is a vec4 along rows, and no load needs a guard. Threads of a subgroup sit 4 × 8, so that it covers few
 * columns, with vectorLength 32 all of one group, and the index is the same in all its lanes.
 *
 * Edges: columns past n compute garbage that is never stored; rows past `rows` are zeros of the transposed x; kept
 * rows past w get zero values, in the last step alone, so interior steps pay nothing. No control flow around a barrier
 * depends on anything but uniforms (WGSL counts tfjs's `workgroupId` copy as non-uniform), hence the fixed steps per
 * split.
 */
import type {WebGPUProgram} from '@tensorflow/tfjs-backend-webgpu';
import {indicesSnippet, valuesComponents, valuesSnippet} from './compressed_wgsl.js';
import {epilogueComponents, epilogueInputs, epilogueSnippet, epilogueUniforms} from './epilogue.js';
import {gemmGeometry, MAX_DENSE_ROWS, type GemmConfig, type GemmGeometry} from './gemm_config.js';
import {range} from './range.js';

/** The uniforms every step of a GEMM needs, in the order {@link NMGemmProgram} declares them. */
export interface GemmUniforms {
  rows: number;
  cols: number;
  depth: number;
  keptRows: number;
  wordsPerGroup: number;
  /** vec4s in a row of the transposed x. */
  xStride: number;
  colTiles: number;
  stepsPerSplit: number;
}

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

  constructor(private readonly config: GemmConfig, rows: number, cols: number, splits: number, maxDispatch: number) {
    const {strategy, tileRows, tileCols, partial, epilogue, alignedCols} = config;
    this.geometry = gemmGeometry(config);
    this.outputShape = partial ? [splits, rows, cols] : [rows, cols];
    this.dispatchLayout = partial ? {x: [2], y: [1], z: [0]} : {x: [1], y: [0]};
    const tiles = Math.ceil(rows / tileRows) * Math.ceil(cols / tileCols);
    const across = Math.min(tiles, maxDispatch);
    this.dispatch = [across, Math.ceil(tiles / across), splits];
    this.workgroupSize = [this.geometry.threads, 1, 1];
    this.outputComponent = alignedCols ? 4 : 1;
    const indexInput = strategy === 'dense' ? [] : ['indices'];
    this.variableNames = ['x', 'values', ...indexInput, ...epilogueInputs(epilogue)];
    this.variableComponents = [
      4, valuesComponents(config), ...indexInput.map(() => 1), ...epilogueComponents(epilogue, this.outputComponent),
    ];
    this.uniforms = 'rows : i32, cols : i32, depth : i32, keptRows : i32, wordsPerGroup : i32, xStride : i32, ' +
        'colTiles : i32, stepsPerSplit : i32' + epilogueUniforms(epilogue);
    this.shaderKey = `nmGemm_${JSON.stringify(config)}`;
  }

  static uniformData(u: GemmUniforms) {
    return [u.rows, u.cols, u.depth, u.keptRows, u.wordsPerGroup, u.xStride, u.colTiles, u.stepsPerSplit]
        .map(value => ({type: 'int32', data: [value]}));
  }

  getUserCode(): string {
    const {config, geometry} = this;
    const {tileRows, tileCols} = config;
    const rowsInTile = config.strategy !== 'window' ? '' :
      `var<workgroup> rowInTile: array<u32, ${geometry.groupsInTile * geometry.keptPerBlock}>;`;
    const loads = config.strategy === 'decompress' ? decompressLoads(config, geometry) : gatherLoads(config, geometry);
    return `
      ${config.strategy === 'dense' ? '' : indicesSnippet(config)}
      ${valuesSnippet(config)}
      ${epilogueSnippet(config.epilogue, this.outputComponent)}
      var<workgroup> xTile: array<vec4<f32>, ${geometry.xRows * (tileRows / 4 + config.xPad)}>;
      var<workgroup> wTile: array<vec4<f32>, ${(geometry.wRows * tileCols) / 4}>;
      ${rowsInTile}

      fn main() {
        let tile = workgroupId.x + workgroupId.y * numWorkgroups.x;
        let colTile = tile % u32(uniforms.colTiles);
        let rowTile = tile / u32(uniforms.colTiles);
        let keptRows = u32(uniforms.keptRows);
        let lastRow = u32(uniforms.depth) - 1u;
        let xStride = u32(uniforms.xStride);
        let xStart = rowTile * ${tileRows / 4}u;
        let wStart = colTile * ${tileCols / 4}u;
        let firstGroup = colTile * ${tileCols}u / ${config.pattern.vectorLength}u;
        let firstStep = workgroupId.z * u32(uniforms.stepsPerSplit);
        ${threadPlace(config, geometry)}
        ${declareSums(config)}
        ${loads.declare}
        var step = firstStep;
        ${loads.fetch}
        for (var s = 0i; s < uniforms.stepsPerSplit; s++) {
          workgroupBarrier();
          ${loads.commit}
          workgroupBarrier();
          step++;
          if (s + 1i < uniforms.stepsPerSplit) {
            ${loads.fetch}
          }
          ${multiply(config, geometry)}
        }
        ${store(config, geometry)}
      }
    `;
  }
}

/** Which rows and columns of the tile a thread owns: whole vec4s, interleaved so that neighbours read neighbours. */
function threadPlace(config: GemmConfig, {threadsX, patchX, patchY}: GemmGeometry): string {
  const {threadCols, tileCols, pattern} = config;
  const patchesX = threadsX / patchX;
  // Columns that share an index, as far as they reach inside the tile: a thread's vec4s stay within them if they can.
  const span = Math.min(Math.max(pattern.vectorLength, threadCols), tileCols);
  const lanesPerSpan = span / threadCols;
  const columns = range(threadCols / 4).map(c => `
        let col${c} = spanStart + ${c * lanesPerSpan}u + spanLane;`).join('');
  return `
        let lane = localIndex % ${patchX * patchY}u;
        let patchId = localIndex / ${patchX * patchY}u;
        let threadX = (patchId % ${patchesX}u) * ${patchX}u + lane % ${patchX}u;
        let threadY = (patchId / ${patchesX}u) * ${patchY}u + lane / ${patchX}u;
        let spanStart = (threadX / ${lanesPerSpan}u) * ${span / 4}u;
        let spanLane = threadX % ${lanesPerSpan}u;${columns}`;
}

function declareSums({threadRows, threadCols}: GemmConfig): string {
  return range(threadRows).map(r => range(threadCols / 4).map(c => `
        var sum${r}_${c} = vec4<f32>(0.0);`).join('')).join('');
}

interface Loads {
  declare: string;
  /** Global memory → registers, for `step`. */
  fetch: string;
  /** Registers → workgroup memory. */
  commit: string;
}

/** Loads `count` items, one a thread and turn; the last turn is guarded only where it is not full. */
function turns(count: number, threads: number, body: (turn: number, item: string) => string): string {
  return range(Math.ceil(count / threads)).map(turn => {
    const item = `(localIndex + ${turn * threads}u)`;
    const code = body(turn, item);
    return (turn + 1) * threads <= count ? code : `if (${item} < ${count}u) {${code}}`;
  }).join('');
}

/** Where the item-th vec4 of the x tile lies, with the padding of its row. */
function xPlace(item: string, {tileRows, xPad}: GemmConfig): string {
  return xPad ? `${item} + ${item} / ${tileRows / 4}u` : item;
}

/** The loads of packed, window and dense: x by row, values as they lie. */
function gatherLoads(config: GemmConfig, geometry: GemmGeometry): Loads {
  const {strategy, tileRows, tileCols, pattern, block} = config;
  const {threads, xRows, keptPerBlock, groupsInTile} = geometry;
  const xVecs = tileRows / 4;
  const wVecs = tileCols / 4;
  const xCount = xRows * xVecs;
  const wCount = keptPerBlock * wVecs;
  const indexCount = strategy === 'window' ? groupsInTile * keptPerBlock : 0;
  const sourceRow = (row: string) => {
    const j = `(firstKept + ${row} % ${block}u)`;
    switch (strategy) {
      case 'packed': return `rowOf(${j}, windowOffset(firstGroup + ${row} / ${block}u, ${j}))`;
      case 'window': return `step * ${block * pattern.m}u + ${row}`;
      default: return `firstKept + ${row}`;
    }
  };
  const fetchX = turns(xCount, threads, (turn, item) => `
            xNext${turn} =
                x[min(${sourceRow(`(${item} / ${xVecs}u)`)}, lastRow) * xStride + xStart + ${item} % ${xVecs}u];`);
  const fetchW = (guarded: boolean) => turns(wCount, threads, (turn, item) => {
    const j = `firstKept + ${item} / ${wVecs}u`;
    const value = `value4(${j}, wStart + ${item} % ${wVecs}u)`;
    return `
              wNext${turn} = ${guarded ? `select(vec4<f32>(0.0), ${value}, ${j} < keptRows)` : value};`;
  });
  // In window, kept rows of a step start at its first window, so rowOf counts from there.
  const fetchIndices = turns(indexCount, threads, (turn, item) => `
            rowNext${turn} = rowOf(${item} % ${keptPerBlock}u,
                windowOffset(firstGroup + ${item} / ${keptPerBlock}u, firstKept + ${item} % ${keptPerBlock}u));`);
  return {
    declare: [
      ...range(Math.ceil(xCount / threads)).map(t => `var xNext${t}: vec4<f32>;`),
      ...range(Math.ceil(wCount / threads)).map(t => `var wNext${t}: vec4<f32>;`),
      ...range(Math.ceil(indexCount / threads)).map(t => `var rowNext${t}: u32;`),
    ].join('\n        '),
    fetch: `{
            let firstKept = step * ${keptPerBlock}u;
            ${fetchX}
            if (firstKept + ${keptPerBlock}u <= keptRows) {${fetchW(false)}
            } else {${fetchW(true)}
            }${fetchIndices}
          }`,
    commit: turns(xCount, threads, (turn, item) => `
          xTile[${xPlace(item, config)}] = xNext${turn};`) + turns(wCount, threads, (turn, item) => `
          wTile[${item}] = wNext${turn};`) + turns(indexCount, threads, (turn, item) => `
          rowInTile[${item}] = rowNext${turn};`),
  };
}

/**
 * The loads of decompress: x by row; of W each thread clears and fills whole vec4 columns of a window, so no two
 * threads touch one vec4 and no barrier is needed between clearing and filling.
 */
function decompressLoads(config: GemmConfig, geometry: GemmGeometry): Loads {
  const {tileRows, tileCols, pattern, block} = config;
  const {n, m, vectorLength} = pattern;
  const {threads, xRows, chunksPerWindow} = geometry;
  const xVecs = tileRows / 4;
  const wVecs = tileCols / 4;
  const xCount = xRows * xVecs;
  const chunked = chunksPerWindow > 1;
  const rowsPerItem = chunked ? MAX_DENSE_ROWS : m;
  const firstRow = chunked ?
      `(step / ${chunksPerWindow}u) * ${m}u + (step % ${chunksPerWindow}u) * ${MAX_DENSE_ROWS}u` :
      `step * ${block * m}u`;
  const item = {window: chunked ? '0u' : `(item / ${wVecs}u)`, col: `(item % ${wVecs}u)`};
  // Consecutive columns that share an index are filled by one row's write; vectorLength ≥ 4 fills a whole vec4.
  const distinct = Math.max(1, 4 / vectorLength);
  const perIndex = 4 / distinct;
  const scatter = range(distinct).map(d => {
    const writes = range(perIndex).map(i => d * perIndex + i).map(c => `wTile[at][${c}] = value[${c}];`).join(' ');
    const group = `((colTile * ${tileCols}u + ${item.col} * 4u + ${d * perIndex}u) / ${vectorLength}u)`;
    const row = `windowOffset(${group}, j)`;
    const place = (offset: string) =>
      `let at = (${item.window} * ${m}u + ${offset}) * ${wVecs}u + ${item.col}; ${writes}`;
    return chunked ? `
                { let offset = ${row} - chunkStart; if (offset < ${MAX_DENSE_ROWS}u) { ${place('offset')} } }` : `
                { ${place(row)} }`;
  }).join('');
  return {
    declare: range(Math.ceil(xCount / threads)).map(t => `var xNext${t}: vec4<f32>;`).join('\n        '),
    fetch: `{
            let firstRow = ${firstRow};${turns(xCount, threads, (turn, i) => `
            xNext${turn} = x[min(firstRow + ${i} / ${xVecs}u, lastRow) * xStride + xStart + ${i} % ${xVecs}u];`)}
          }`,
    commit: turns(xCount, threads, (turn, i) => `
          xTile[${xPlace(i, config)}] = xNext${turn};`) + `
          for (var item = localIndex; item < ${(chunked ? 1 : block) * wVecs}u; item += ${threads}u) {
            for (var r = 0u; r < ${rowsPerItem}u; r++) {
              wTile[(${item.window} * ${rowsPerItem}u + r) * ${wVecs}u + ${item.col}] = vec4<f32>(0.0);
            }
            ${chunked ? `let chunkStart = (step % ${chunksPerWindow}u) * ${MAX_DENSE_ROWS}u;
            let firstKept = (step / ${chunksPerWindow}u) * ${n}u;` : `
            let firstKept = (step * ${block}u + ${item.window}) * ${n}u;`}
            for (var j = firstKept; j < min(firstKept + ${n}u, keptRows); j++) {
              let value = value4(j, wStart + ${item.col});${scatter}
            }
          }`,
  };
}

/** The inner product over a step: for each kept row, threadRows of x times threadCols of W from workgroup memory. */
function multiply(config: GemmConfig, geometry: GemmGeometry): string {
  const {strategy, tileRows, tileCols, threadRows, threadCols, pattern, block, unroll, xPad} = config;
  const {threadsY, keptPerBlock, wRows, groupsInTile} = geometry;
  const xStride = tileRows / 4 + xPad;
  const wVecs = tileCols / 4;
  const chunks = range(threadCols / 4);
  const turnsOf = range(unroll);
  // A thread's vec4 columns lie in one group unless groups are narrower than the thread tile.
  const picks = (strategy === 'packed' || strategy === 'window') && groupsInTile > 1;
  const oneGroup = !picks || pattern.vectorLength >= threadCols;
  const reads = oneGroup ? [0] : chunks;
  const xRow = (c: number, u: number) => {
    const group = picks ? `(col${c} * 4u / ${pattern.vectorLength}u)` : '0u';
    switch (strategy) {
      case 'packed': return `${group} * ${block}u + kk + ${u}u`;
      case 'window': return `rowInTile[${group} * ${keptPerBlock}u + kk + ${u}u]`;
      default: return `kk + ${u}u`;
    }
  };
  // All indices of a turn first: then their latency is paid once.
  const rows = turnsOf.map(u => reads.map(c => `
            let xAt${c}_${u} = (${xRow(c, u)}) * ${xStride}u + threadY;`).join('')).join('');
  const body = (u: number) => `
            {${reads.map(c => range(threadRows / 4).map(r => `
            let x${c}_${r} = xTile[xAt${c}_${u} + ${r * threadsY}u];`).join('')).join('')}${chunks.map(c => `
            let w${c} = wTile[(kk + ${u}u) * ${wVecs}u + col${c}];`).join('')}${
    range(threadRows).map(r => chunks.map(c => `
            sum${r}_${c} += x${oneGroup ? 0 : c}_${r >> 2}[${r & 3}] * w${c};`).join('')).join('')}
            }`;
  return `
          for (var kk = 0u; kk < ${strategy === 'decompress' ? wRows : keptPerBlock}u; kk += ${unroll}u) {${
    rows}${turnsOf.map(body).join('')}
          }`;
}

/** Writes a thread's sums: through the epilogue, or raw to its split's plane. */
function store(config: GemmConfig, {threadsY}: GemmGeometry): string {
  const {threadRows, threadCols, tileRows, partial, alignedCols} = config;
  const finish = (sum: string, col: string) => partial ? sum : `epilogue(${sum}, ${col})`;
  const base = partial ? 'workgroupId.z * u32(uniforms.rows) + row' : 'row';
  const cells = range(threadRows).map(r => `
        {
          let row = rowTile * ${tileRows}u + (${(r >> 2) * threadsY}u + threadY) * 4u + ${r & 3}u;
          if (row < u32(uniforms.rows)) {${range(threadCols / 4).map(c => alignedCols ? `
            if (wStart + col${c} < u32(uniforms.cols) / 4u) {
              result[(${base}) * (u32(uniforms.cols) / 4u) + wStart + col${c}] =
                  ${finish(`sum${r}_${c}`, `wStart + col${c}`)};
            }` : `
            for (var i = 0u; i < 4u; i++) {
              let col = (wStart + col${c}) * 4u + i;
              if (col < u32(uniforms.cols)) {
                result[(${base}) * u32(uniforms.cols) + col] = ${finish(`sum${r}_${c}[i]`, 'col')};
              }
            }`).join('')}
          }
        }`);
  return cells.join('');
}
