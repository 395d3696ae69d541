/**
 * The loads of one K-tile: global memory → registers (`fetch`), registers → workgroup memory (`commit`). A thread loads
 * one vec4 of a row in every pass; `xRow` and `wRow` are its rows in the first pass, later passes follow at a fixed
 * distance. What does not change from K-tile to K-tile is computed before the first.
 *
 * The strategies differ in what they load, see strategies.ts. A register of x holds four rows of y at one k. If x is
 * row-major, four scalar loads make it: that transposes x on its way to workgroup memory.
 */
import {indexBits} from '../../../src/format/pack.js';
import {STORAGE} from '../../../src/format/storage.js';
import {range} from '../program_util.js';
import {spreadWeight} from '../wgsl/compressed.js';
import type {GemmConfig, GemmGeometry} from './config.js';

/** One load of every thread. */
export interface LoadItem {
  /** WGSL type of the register. */
  type: string;
  /** WGSL: global memory → the register `to`. If `guarded`, rows past the last read as zeros. */
  fetch: (to: string, guarded: boolean) => string;
  /** WGSL: the register `from` → workgroup memory. */
  commit: (from: string, buffer: string) => string;
}

/** What the loads of a K-tile are made from. */
export interface LoadContext {
  config: GemmConfig;
  geometry: GemmGeometry;
  /** WGSL statements before the first K-tile. The loads of a strategy add their own. */
  declare: string[];
  /** Registers of packed offsets, read one K-tile ahead: name → WGSL of the word, given the first kept row. */
  words: Map<string, (firstKept: string) => string>;
  /** Rows that all threads of a slice load in one pass. */
  xRowsPerPass: number;
  wRowsPerPass: number;
}

/** The loads of a strategy, in the order of their registers. */
export type MakeLoads = (context: LoadContext, firstRegister: number) => LoadItem[];

/** WGSL: four rows of a row-major x at one k, as a vec4. `starts`: where each row begins. */
export const X_COLUMN = `
      fn xColumn(starts: vec4<u32>, k: u32) -> vec4<f32> {
        return vec4<f32>(f32(x[starts.x + k]), f32(x[starts.y + k]), f32(x[starts.z + k]), f32(x[starts.w + k]));
      }`;

/** Only the last pass may be partial: there, threads without a row skip it. */
function within(row: string, pass: number, perPass: number, count: number, code: string): string {
  return (pass + 1) * perPass <= count ? code : `if (${row} + ${pass * perPass}u < ${count}u) {${code}}`;
}

function xItems(
    {config: {xLayout}, geometry: {xRows, threadsY}, xRowsPerPass}: LoadContext,
    place: (pass: number) => {row: string; inside: string; at: string}): LoadItem[] {
  return range(Math.ceil(xRows / xRowsPerPass)).map((pass): LoadItem => {
    const {row, inside, at} = place(pass);
    const load = xLayout === 'k-major' ? `x[(${row}) * xStride + xFrom]` : `xColumn(xFrom, ${row})`;
    return {
      type: 'vec4<f32>',
      fetch: (to, guarded) => within('xRow', pass, xRowsPerPass, xRows, `
                ${to} = ${guarded ? `select(vec4<f32>(0.0), ${load}, ${inside})` : load};`),
      commit: (from, buffer) => within('xRow', pass, xRowsPerPass, xRows, `
            xTile[slice][${buffer}]${at}.at[xLane / ${threadsY}u][xLane % ${threadsY}u] = ${from};`),
    };
  });
}

/** Rows of x as they follow one another: whole windows, or the rows of a dense W. */
export const contiguousX: MakeLoads = context => xItems(context, pass => {
  const first = pass * context.xRowsPerPass;
  const row = `step * ${context.geometry.xRows}u + xRow + ${first}u`;
  return {row, inside: `(${row}) < depth`, at: `[0][xRow + ${first}u]`};
});

/**
 * The kept rows of x of each column group. The words that hold a K-tile's offsets are read one K-tile ahead, so that no
 * load of x waits for one.
 */
export const keptX: MakeLoads = context => {
  const {config: {block, pattern: {n, m}, pattern}, xRowsPerPass, declare, words} = context;
  const rowsPerWord = Math.min(block, 32 / indexBits(pattern));
  return xItems(context, pass => {
    const first = pass * xRowsPerPass;
    // Which group of the tile, and which kept row of the K-tile: one of the two is the same for all threads.
    const wide = xRowsPerPass >= block;
    declare.push(
      `let group${pass} = ${wide ? `xRow / ${block}u + ${first / block}u` : `${Math.floor(first / block)}u`};`,
      `let kept${pass} = ${wide ? `xRow % ${block}u` : `xRow + ${first % block}u`};`);
    // One word holds the offsets of several passes, if it is the same for all threads.
    const inWord = (first % block) % rowsPerWord;
    const firstInWord = (first % block) - inWord;
    const isShared = !wide && rowsPerWord % xRowsPerPass === 0 && block % rowsPerWord === 0;
    const word = isShared ? `word${Math.floor(first / block)}_${firstInWord}` : `word${pass}`;
    words.set(word, firstKept =>
      `offsetWord(firstGroup + group${pass}, ${firstKept} + ${isShared ? `${firstInWord}u` : `kept${pass}`})`);
    const offset = isShared ? `(${word} >> ((xRow + ${inWord}u) * OFFSET_BITS))` : word;
    return {
      row: `${windowStart(`kept${pass}`, block, n, m)} + (${offset} & OFFSET_MASK)`,
      inside: `firstKept + kept${pass} < keptRows`,
      at: `[group${pass}][kept${pass}]`,
    };
  });
};

/**
 * WGSL: first row of the window that contains a kept row. It is usually uniform across threads; the expression makes
 * that visible to the compiler.
 */
function windowStart(kept: string, block: number, n: number, m: number): string {
  if (block % n === 0) {
    return `step * ${(block / n) * m}u + (${kept} / ${n}u) * ${m}u`;
  }
  return n % block === 0 ? `(firstKept / ${n}u) * ${m}u` : `((firstKept + ${kept}) / ${n}u) * ${m}u`;
}

/** WGSL: a thread's vec4 in a row of W in workgroup memory. */
function wAt({config: {threadCols}, geometry: {span}}: LoadContext, buffer: string, row: string): string {
  const lanesPerSpan = span / threadCols;
  return `wTile[slice][${buffer}][${row}][wLane / ${span / 4}u][(wLane % ${span / 4}u) / ${lanesPerSpan}u]` +
      `[wLane % ${lanesPerSpan}u]`;
}

/** The kept rows of W, as they are stored. */
export const keptW: MakeLoads = context => {
  const {geometry: {keptPerBlock}, wRowsPerPass} = context;
  return range(Math.ceil(keptPerBlock / wRowsPerPass)).map((pass): LoadItem => {
    const row = `wRow + ${pass * wRowsPerPass}u`;
    const load = `value4(firstKept + ${row}, wStart + wLane)`;
    return {
      type: 'vec4<f32>',
      fetch: (to, guarded) => within('wRow', pass, wRowsPerPass, keptPerBlock, `
                ${to} = ${guarded ? `select(vec4<f32>(0.0), ${load}, firstKept + ${row} < keptRows)` : load};`),
      commit: (from, buffer) => within('wRow', pass, wRowsPerPass, keptPerBlock, `
            ${wAt(context, buffer, row)} = ${from};`),
    };
  });
};

/**
 * Zero-filled windows of W. The offsets of a K-tile for four columns are loaded first, one word for each column group,
 * then the kept values of windows. Every row of a window is stored: the weights whose offset it is, zeros elsewhere.
 */
export const zeroFilledW: MakeLoads = (context, firstRegister) => {
  const {config: {pattern: {n, m, vectorLength}, pattern, block, dtype}, wRowsPerPass} = context;
  const windows = block / m;
  const offsets = `next${firstRegister}`;
  const {stored, zero} = STORAGE[dtype].wgsl;
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
  const values = range(Math.ceil(windows / wRowsPerPass)).map((pass): LoadItem => {
    const window = `(wRow + ${pass * wRowsPerPass}u)`;
    return {
      type: `array<${stored}, ${n}>`,
      fetch: (to, guarded) => within('wRow', pass, wRowsPerPass, windows, range(n).map(u => {
        const kept = `firstKept + ${window} * ${n}u + ${u}u`;
        const load = `stored4(${kept}, wStart + wLane)`;
        return `
                ${to}[${u}] = ${guarded ? `select(${zero}, ${load}, ${kept} < keptRows)` : load};`;
      }).join('')),
      commit: (from, buffer) => within('wRow', pass, wRowsPerPass, windows, `
            {${range(n).map(u => `
              let weight${u} = unpack4(${from}[${u}]);
              let offset${u} = (${offsets} >> vec4<u32>((${window} * ${n}u + ${u}u) * OFFSET_BITS)) &
                vec4<u32>(OFFSET_MASK);`).join('')}${range(m).map(row => `
              ${wAt(context, buffer, `${window} * ${m}u + ${row}u`)} = ${spreadWeight(row, pattern)};`).join('')}
            }`),
    };
  });
  return [words, ...values];
};

/** For each column group and kept row, the row of x in workgroup memory that it is multiplied by. */
export const rowNumbers: MakeLoads = ({geometry: {indexWords, sliceThreads, keptPerBlock}}) =>
  range(indexWords / sliceThreads).map((pass): LoadItem => {
    const item = `(thread + ${pass * sliceThreads}u)`;
    const kept = `${item} % ${keptPerBlock}u`;
    return {
      type: 'u32',
      // Kept rows of a K-tile start at its first window, so rowOf counts from there.
      fetch: to => `
                ${to} = rowOf(${kept}, windowOffset(firstGroup + ${item} / ${keptPerBlock}u, firstKept + ${kept}));`,
      commit: (from, buffer) => `
            rowInTile[slice][${buffer}][${item}] = ${from};`,
    };
  });

/** The WGSL of all loads of a K-tile. */
export interface Loads {
  declare: string;
  /** Global memory → registers, for a K-tile (`step`) that ends before the last kept row, and for any. */
  fetch: string;
  fetchGuarded: string;
  /** Registers → workgroup memory. */
  commit: (buffer: string) => string;
}

/** @param makers what a strategy loads, in the order of its registers. */
export function loadsOf(config: GemmConfig, geometry: GemmGeometry, makers: readonly MakeLoads[]): Loads {
  const {tileRows, tileCols, block, slices, xLayout} = config;
  const {sliceThreads, keptPerBlock} = geometry;
  const [xVecs, wVecs] = [tileRows / 4, tileCols / 4];
  const xRowsPerPass = sliceThreads / xVecs;
  const declare = [
    ...xLayout === 'k-major' ? [
      `let xLane = thread % ${xVecs}u;`,
      // `const` lets the compiler fold every index computed from it.
      xRowsPerPass === 1 ? 'const xRow = 0u;' : `let xRow = thread / ${xVecs}u;`,
      `let xFrom = xStart + xLane;`,
    ] : [
      // Neighbouring threads read neighbours along k, of four rows each.
      `let xLane = thread / ${xRowsPerPass}u;`,
      xRowsPerPass === 1 ? 'const xRow = 0u;' : `let xRow = thread % ${xRowsPerPass}u;`,
      `let xFrom = min((xStart + xLane) * 4u + vec4<u32>(0u, 1u, 2u, 3u), vec4<u32>(u32(uniforms.rows) - 1u)) * depth;`,
    ],
    `let wLane = thread % ${wVecs}u;`,
    `let wRow = thread / ${wVecs}u;`,
  ];
  const words: LoadContext['words'] = new Map();
  const context = {config, geometry, declare, words, xRowsPerPass, wRowsPerPass: sliceThreads / wVecs};
  const items: LoadItem[] = [];
  makers.forEach(make => items.push(...make(context, items.length)));
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
