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
 * as the second buffer; dense and spread may have one in workgroup memory, too, which saves a barrier). With several
 * slices the threads of a workgroup take turns at the steps of one tile, and add their sums at the end.
 *
 * x comes transposed, [k][rows rounded up to tiles] (transpose_webgpu.ts): then a kept row is one contiguous run,
 * every load is a vec4 along rows. Threads of a subgroup sit 4 × 8 where the tile is so tall, so that it covers few
 * columns, with vectorLength 32 all of one group, and the index is the same in all its lanes.
 *
 * Edges: columns past n compute garbage that is never stored; rows past `rows` are zeros of the transposed x; kept
 * rows past w get zero values, and spread windows past k zero rows of x, in the last steps alone, so interior ones pay
 * nothing. No control flow around a barrier depends on anything but uniforms (WGSL counts tfjs's `workgroupId` copy as
 * non-uniform), hence the fixed steps per split.
 */
import type {WebGPUProgram} from '@tensorflow/tfjs-backend-webgpu';
import {indexBits} from '../../../src/format/pack.js';
import {indicesSnippet, spreadWeight, storedType, valuesComponents, valuesSnippet} from '../wgsl/compressed.js';
import {epilogueComponents, epilogueInputs, epilogueSnippet, epilogueUniforms} from '../wgsl/epilogue.js';
import {gemmGeometry, paddedRows, stepsPerSlice, type GemmConfig, type GemmGeometry} from './config.js';
import {foldDispatch, guardedStore, int32Uniforms, range, type ProductSize} from '../program_util.js';

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
    const {strategy, tileRows, tileCols, partial, epilogue, alignedCols} = config;
    this.geometry = gemmGeometry(config);
    this.outputShape = partial ? [splits, rows, cols] : [rows, cols];
    this.dispatchLayout = partial ? {x: [2], y: [1], z: [0]} : {x: [1], y: [0]};
    const colTiles = Math.ceil(cols / tileCols);
    const tiles = Math.ceil(rows / tileRows) * colTiles;
    this.dispatch = foldDispatch(tiles, maxDispatch, splits);
    this.workgroupSize = [this.geometry.threads, 1, 1];
    this.outputComponent = alignedCols ? 4 : 1;
    const indexInput = strategy === 'dense' ? [] : ['indices'];
    this.variableNames = ['x', 'values', ...indexInput, ...epilogueInputs(epilogue)];
    this.variableComponents = [
      4, valuesComponents(config), ...indexInput.map(() => 1), ...epilogueComponents(epilogue, this.outputComponent),
    ];
    this.uniforms = 'rows : i32, cols : i32, depth : i32, keptRows : i32, wordsPerGroup : i32, xStride : i32, ' +
        'colTiles : i32, steps : i32, fullSteps : i32' + epilogueUniforms(epilogue);
    const steps = stepsPerSlice(config, keptRows, splits);
    // Of every split: WGSL lets no barrier depend on which of them a workgroup has.
    const before = (splits - 1) * steps * config.slices;
    // Spread reads x to the end of a window.
    const wholeSteps = strategy === 'spread' ? depth / config.block : keptRows / this.geometry.keptPerBlock;
    const fullSteps = Math.floor((Math.floor(wholeSteps) - before) / config.slices);
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
    const {strategy, tileRows, tileCols, threadRows, threadCols, xPad, buffers, slices} = config;
    const {sliceThreads, threadsY, span, groupsInTile, wRows, xRows, indexWords} = geometry;
    // Arrays within arrays, not one flat one: an index that a thread keeps is clamped to its bound once (WGSL demands
    // the clamp), and those written as constants never.
    return `
      ${strategy === 'dense' ? '' : indicesSnippet(config)}
      ${valuesSnippet(config)}
      ${epilogueSnippet(config.epilogue, this.outputComponent)}
      struct XRow {
        at: array<array<vec4<f32>, ${threadsY}>, ${threadRows / 4}>,${xPad ? `
        pad: vec4<f32>,` : ''}
      }
      ${strategy === 'spread' ? `alias KeptWindow = array<${storedType(config)}, ${config.pattern.n}>;` : ''}
      alias XGroup = array<XRow, ${xRows / (strategy === 'packed' ? groupsInTile : 1)}>;
      alias WRow = array<array<array<vec4<f32>, ${span / threadCols}>, ${threadCols / 4}>, ${tileCols / span}>;
      alias XTile = array<array<XGroup, ${strategy === 'packed' ? groupsInTile : 1}>, ${buffers}>;
      var<workgroup> xTile: array<XTile, ${slices}>;
      var<workgroup> wTile: array<array<array<WRow, ${wRows}>, ${buffers}>, ${slices}>;
      ${indexWords ? `var<workgroup> rowInTile: array<array<array<u32, ${indexWords}>, ${buffers}>, ${slices}>;` : ''}
      ${slices > 1 ? `var<workgroup> sumsOfSlice: array<vec4<f32>, ${(tileRows * tileCols) / 4}>;` : ''}

      fn main() {
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
        ${slices > 1 ? `let slice = localIndex / ${sliceThreads}u;` : 'const slice = 0u;'}
        let thread = ${slices > 1 ? `localIndex % ${sliceThreads}u` : 'localIndex'};
        var step = workgroupId.z * steps * ${slices}u + slice;
        ${threadPlace(config, geometry)}
        ${declareSums(config)}
        ${walk(config, geometry)}
        ${slices > 1 ? addSlices(config, geometry) : ''}
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
 * The walk along k. Most steps run in a loop without a branch: the compiler can then spread the loads of the next step
 * among the arithmetic of this one. Steps that may end past the last kept row, and those with nothing left to load,
 * follow in a second loop that checks.
 *
 * With one buffer a step is stored between two barriers; with two, while the step before may still be read.
 */
function walk(config: GemmConfig, geometry: GemmGeometry): string {
  const {buffers, unroll, slices} = config;
  const loads = loadsOf(config, geometry);
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
  const rolled = [4, 2].find(count => unroll % count === 0) ?? 1;
  return `
        ${loads.declare}
        ${loads.fetchGuarded}${buffers === 1 ? `
        const buffer = 0u;` : loads.commit('0u')}
        var s = 0u;
        for (; s + 1u < u32(uniforms.fullSteps); s++) {
          ${turn(loads.fetch, unroll, loads.commit('1u - buffer'))}
        }
        for (; s < steps; s++) {
          ${turn(`if (s + 1u < steps) {${loads.fetchGuarded}
          }`, rolled, `if (s + 1u < steps) {${loads.commit('1u - buffer')}
          }`)}
        }`;
}

/** One load of every thread. */
interface LoadItem {
  /** Global memory → the register `to`; past the last kept row only where `guarded`. */
  fetch: (to: string, guarded: boolean) => string;
  /** The register `from` → workgroup memory. */
  commit: (from: string, buffer: string) => string;
  type: 'vec4<f32>' | 'vec4<u32>' | 'u32' | 'KeptWindow';
}

interface Loads {
  declare: string;
  /** Global memory → registers, for a `step` that ends before the last kept row, and for any. */
  fetch: string;
  fetchGuarded: string;
  /** Registers → workgroup memory. */
  commit: (buffer: string) => string;
}

/**
 * A thread loads one vec4 of a row, of several rows: `xRow` and `wRow` are the first, the others follow at a fixed
 * distance. All that does not change from step to step is computed before the first.
 */
function loadsOf(config: GemmConfig, geometry: GemmGeometry): Loads {
  const {strategy, tileRows, tileCols, threadCols, pattern: {n, m}, block, slices} = config;
  const {sliceThreads: threads, threadsY, xRows, keptPerBlock, indexWords, span} = geometry;
  const xVecs = tileRows / 4;
  const wVecs = tileCols / 4;
  const xRowsATurn = threads / xVecs;
  const wRowsATurn = threads / wVecs;
  const lanesPerSpan = span / threadCols;
  // Only the last turn may be short.
  const within = (row: string, turn: number, perTurn: number, count: number, code: string) =>
    (turn + 1) * perTurn <= count ? code : `if (${row} + ${turn * perTurn}u < ${count}u) {${code}}`;
  const declare = [
    `let xLane = thread % ${xVecs}u;`,
    // Written as the constant that it is, it makes others constant.
    xRowsATurn === 1 ? 'const xRow = 0u;' : `let xRow = thread / ${xVecs}u;`,
    `let wLane = thread % ${wVecs}u;`,
    `let wRow = thread / ${wVecs}u;`,
    `let xFrom = xStart + xLane;`,
  ];

  // Packed: the words that hold a step's offsets are read a step ahead, so that no load of x waits for one.
  const words = new Map<string, (firstKept: string) => string>();
  const rowsPerWord = Math.min(block, 32 / indexBits(config.pattern));

  const x = range(Math.ceil(xRows / xRowsATurn)).map((turn): LoadItem => {
    const first = turn * xRowsATurn;
    let row = `step * ${xRows}u + xRow + ${first}u`;
    let inside = `(${row}) < depth`;
    let at = `[0][xRow + ${first}u]`;
    if (strategy === 'packed') {
      // Which group of the tile, and which kept row of the step: one of the two is the same for all threads.
      const wide = xRowsATurn >= block;
      declare.push(
        `let group${turn} = ${wide ? `xRow / ${block}u + ${first / block}u` : `${Math.floor(first / block)}u`};`,
        `let kept${turn} = ${wide ? `xRow % ${block}u` : `xRow + ${first % block}u`};`);
      // One word brings the offsets of several turns, where it is the same for all threads.
      const inWord = (first % block) % rowsPerWord;
      const firstInWord = (first % block) - inWord;
      const isShared = !wide && rowsPerWord % xRowsATurn === 0 && block % rowsPerWord === 0;
      const word = isShared ? `word${Math.floor(first / block)}_${firstInWord}` : `word${turn}`;
      words.set(word, firstKept =>
        `offsetWord(firstGroup + group${turn}, ${firstKept} + ${isShared ? `${firstInWord}u` : `kept${turn}`})`);
      const offset = isShared ? `(${word} >> ((xRow + ${inWord}u) * OFFSET_BITS))` : word;
      row = `${windowStart(`kept${turn}`, block, n, m)} + (${offset} & OFFSET_MASK)`;
      inside = `firstKept + kept${turn} < keptRows`;
      at = `[group${turn}][kept${turn}]`;
    }
    const load = `x[(${row}) * xStride + xFrom]`;
    return {
      type: 'vec4<f32>',
      fetch: (to, guarded) => within('xRow', turn, xRowsATurn, xRows, `
                ${to} = ${guarded ? `select(vec4<f32>(0.0), ${load}, ${inside})` : load};`),
      commit: (from, buffer) => within('xRow', turn, xRowsATurn, xRows, `
            xTile[slice][${buffer}]${at}.at[xLane / ${threadsY}u][xLane % ${threadsY}u] = ${from};`),
    };
  });

  const wAt = (buffer: string, row: string) =>
    `wTile[slice][${buffer}][${row}][wLane / ${span / 4}u][(wLane % ${span / 4}u) / ${lanesPerSpan}u]` +
      `[wLane % ${lanesPerSpan}u]`;
  const w = strategy === 'spread' ? spreadLoads(config, wRowsATurn, `next${x.length}`, wAt, within) :
    range(Math.ceil(keptPerBlock / wRowsATurn)).map((turn): LoadItem => {
    const row = `wRow + ${turn * wRowsATurn}u`;
    const load = `value4(firstKept + ${row}, wStart + wLane)`;
    return {
      type: 'vec4<f32>',
      fetch: (to, guarded) => within('wRow', turn, wRowsATurn, keptPerBlock, `
                ${to} = ${guarded ? `select(vec4<f32>(0.0), ${load}, firstKept + ${row} < keptRows)` : load};`),
      commit: (from, buffer) => within('wRow', turn, wRowsATurn, keptPerBlock, `
            ${wAt(buffer, row)} = ${from};`),
    };
  });

  const indices = range(indexWords / threads).map((turn): LoadItem => {
    const item = `(thread + ${turn * threads}u)`;
    const kept = `${item} % ${keptPerBlock}u`;
    return {
      type: 'u32',
      // Kept rows of a step start at its first window, so rowOf counts from there.
      fetch: to => `
                ${to} = rowOf(${kept}, windowOffset(firstGroup + ${item} / ${keptPerBlock}u, firstKept + ${kept}));`,
      commit: (from, buffer) => `
            rowInTile[slice][${buffer}][${item}] = ${from};`,
    };
  });

  const items = [...x, ...w, ...indices];
  declare.push(
    ...[...words].map(([word, read]) => `var ${word} = ${read(`step * ${block}u`)};`),
    ...items.map(({type}, i) => `var next${i}: ${type};`));
  const fetch = (guarded: boolean) => `
            {
              let firstKept = step * ${keptPerBlock}u;${
    items.map((item, i) => item.fetch(`next${i}`, guarded)).join('')}${
    [...words].map(([word, read]) => `
              ${word} = ${read(`firstKept + ${slices * block}u`)};`).join('')}
            }`;
  return {
    declare: declare.join('\n        '),
    fetch: fetch(false),
    fetchGuarded: fetch(true),
    commit: buffer => items.map((item, i) => item.commit(`next${i}`, buffer)).join(''),
  };
}

/**
 * The loads of W for spread: the offsets of a step for four columns, one word for each group of them, then the kept
 * values of windows. Each row of a window is stored: the weights whose offset it is, zeros elsewhere.
 * @param offsets the register of the first load.
 */
function spreadLoads(
    {pattern, block, dtype}: GemmConfig, windowsATurn: number, offsets: string,
    at: (buffer: string, row: string) => string,
    within: (row: string, turn: number, perTurn: number, count: number, code: string) => string): LoadItem[] {
  const {n, m, vectorLength} = pattern;
  const windows = block / m;
  const zero = dtype === 'float16' ? 'vec2<u32>(0u)' : 'vec4<f32>(0.0)';
  const words: LoadItem = {
    type: 'vec4<u32>',
    fetch: to => `
                {
                  let group = (wStart + wLane) * 4u / ${vectorLength}u;${range(4 / vectorLength).map(d => `
                  let word${d} = offsetWord(group + ${d}u, firstKept);`).join('')}
                  ${to} = vec4<u32>(${range(4).map(c => `word${Math.floor(c / vectorLength)}`).join(', ')});
                }`,
    commit: () => '',
  };
  const values = range(Math.ceil(windows / windowsATurn)).map((turn): LoadItem => {
    const window = `(wRow + ${turn * windowsATurn}u)`;
    return {
      type: 'KeptWindow',
      fetch: (to, guarded) => within('wRow', turn, windowsATurn, windows, range(n).map(u => {
        const kept = `firstKept + ${window} * ${n}u + ${u}u`;
        const load = `stored4(${kept}, wStart + wLane)`;
        return `
                ${to}[${u}] = ${guarded ? `select(${zero}, ${load}, ${kept} < keptRows)` : load};`;
      }).join('')),
      commit: (from, buffer) => within('wRow', turn, windowsATurn, windows, `
            {${range(n).map(u => `
              let weight${u} = unpack4(${from}[${u}]);
              let offset${u} = (${offsets} >> vec4<u32>((${window} * ${n}u + ${u}u) * OFFSET_BITS)) &
                vec4<u32>(OFFSET_MASK);`).join('')}${range(m).map(row => `
              ${at(buffer, `${window} * ${m}u + ${row}u`)} = ${spreadWeight(row, pattern)};`).join('')}
            }`),
    };
  });
  return [words, ...values];
}

/** The row of W where a kept row's window starts: mostly the same for all threads, and cheap if it is written so. */
function windowStart(kept: string, block: number, n: number, m: number): string {
  if (block % n === 0) {
    return `step * ${(block / n) * m}u + (${kept} / ${n}u) * ${m}u`;
  }
  return n % block === 0 ? `(firstKept / ${n}u) * ${m}u` : `((firstKept + ${kept}) / ${n}u) * ${m}u`;
}

/**
 * The inner product over a step, `unroll` kept rows a turn: for each, threadRows of x times threadCols of W from
 * workgroup memory.
 */
function multiply(config: GemmConfig, geometry: GemmGeometry, unroll: number): string {
  const {strategy, threadRows, threadCols, pattern} = config;
  const {wRows, groupsInTile, span} = geometry;
  const chunks = range(threadCols / 4);
  const turns = range(unroll);
  // A thread's vec4 columns lie in one group unless groups are narrower than the thread tile.
  const picks = groupsInTile > 1;
  const oneGroup = !picks || pattern.vectorLength >= threadCols;
  const reads = oneGroup ? [0] : chunks;
  const group = (c: number) => !picks ? '0u' : oneGroup ? `spanId * ${span}u / ${pattern.vectorLength}u` :
      `spanId * ${span / pattern.vectorLength}u + ${Math.floor((c * 4) / pattern.vectorLength)}u`;
  const xRow = (c: number, u: number) => {
    switch (strategy) {
      case 'packed': return `xTile[slice][buffer][${group(c)}][kk + ${u}u]`;
      case 'window': return `xTile[slice][buffer][0][row${c}_${u}]`;
      default: return `xTile[slice][buffer][0][kk + ${u}u]`;
    }
  };
  // Indices of the whole turn first: the reads of x that follow then wait for them once.
  const rowAt = (c: number, u: number) =>
    `rowInTile[slice][buffer][(${group(c)}) * ${wRows}u + kk + ${u}u]`;
  const rows = strategy !== 'window' ? '' : turns.map(u => reads.map(c => `
            let row${c}_${u} = ${rowAt(c, u)};`).join('')).join('');
  const body = (u: number) => `
            {${reads.map(c => range(threadRows / 4).map(r => `
            let x${c}_${r} = ${xRow(c, u)}.at[${r}][threadY];`).join('')).join('')}${chunks.map(c => `
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

/** Brings the sums of all slices to the first. */
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

/** Writes a thread's sums: through the epilogue, or raw to its split's plane. */
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
