/**
 * The GEMV: y = x · W for few rows, where reading W once is nearly all the work.
 *
 * A workgroup computes some columns of y for up to 16 rows. Its threads are divided into vec4 columns × K-slices: in
 * each iteration (`turn` kept rows) neighbouring slices read neighbouring rows of W. More columns mean longer
 * contiguous segments of memory, more slices more rows in flight. The accumulators of the slices are added up by a
 * tree reduction in workgroup memory. If the columns alone leave the device idle, k is split over workgroups as well
 * (split-K), and a second dispatch adds the partial sums (passes/reduce_webgpu.ts).
 *
 * The loop is software-pipelined (the paper's section III-C): an iteration only uses data loaded by earlier ones.
 * Values and x are prefetched one iteration ahead; the offsets that address x, two. The exception is L < 4, where a
 * vec4 of columns spans several groups and needs a row of x for each. Prefetching them all would exhaust the registers,
 * so x is loaded when it is used and offsets are prefetched one iteration ahead. The loop has no branch: a slice's last
 * iteration, which prefetches nothing and may be partial, comes after it.
 *
 * Up to two rows, x is read row-major, as tfjs has it: it stays in the cache. With more rows, that is one load for
 * every four multiply-adds, unless x arrives transposed (k-major, passes/transpose_webgpu.ts): a load then brings four
 * rows, at the price of another dispatch.
 *
 * Narrow groups still need one load of x for each weight, and each column of a subgroup loads from another address. If
 * windows are short, the weights are scattered into windows of zeros instead (`spread`): x is then read in order and
 * shared by all columns. An infinite x times a dropped weight is then NaN, as in a dense product.
 */
import type {WebGPUProgram} from '@tensorflow/tfjs-backend-webgpu';
import {indexBits} from '../../../src/format/pack.js';
import {indicesSnippet, isDense, spreadWeight, valuesComponents, valuesSnippet} from '../wgsl/compressed.js';
import {epilogueComponents, epilogueInputs, epilogueSnippet, epilogueUniforms} from '../wgsl/epilogue.js';
import {foldDispatch, guardedStore, int32Uniforms, range, type ProductSize} from '../program_util.js';
import {gemvGeometry, keptPerSplit, type GemvConfig} from './config.js';

export class NMGemvProgram implements WebGPUProgram {
  readonly outputShape: number[];
  readonly dispatchLayout: {x: number[]; y: number[]; z?: number[]};
  readonly dispatch: [number, number, number];
  readonly workgroupSize: [number, number, number];
  readonly variableNames: string[];
  readonly variableComponents: number[];
  readonly outputComponent: 1 | 4;
  readonly uniforms: string;
  readonly shaderKey: string;
  private readonly uniformValues: number[];

  constructor(private readonly config: GemvConfig, size: ProductSize, splits: number, maxDispatch: number) {
    const {partial, epilogue, alignedCols} = config;
    const {rows, cols, depth, keptRows, wordsPerGroup} = size;
    const {tileCols, kMajor} = gemvGeometry(config);
    this.outputShape = partial ? [splits, rows, cols] : [rows, cols];
    this.dispatchLayout = partial ? {x: [2], y: [1], z: [0]} : {x: [1], y: [0]};
    this.workgroupSize = [config.threads, 1, 1];
    const colTiles = Math.ceil(cols / tileCols);
    const rowTiles = Math.ceil(rows / config.rows);
    this.dispatch = foldDispatch(rowTiles * colTiles, maxDispatch, splits);
    this.outputComponent = alignedCols ? 4 : 1;
    const indexInput = isDense(config) ? [] : ['indices'];
    this.variableNames = ['x', 'values', ...indexInput, ...epilogueInputs(epilogue)];
    this.variableComponents = [
      kMajor ? 4 : 1, valuesComponents(config), ...indexInput.map(() => 1),
      ...epilogueComponents(epilogue, this.outputComponent),
    ];
    this.uniforms = 'rows : i32, cols : i32, depth : i32, keptRows : i32, wordsPerGroup : i32, keptPerSplit : i32, ' +
        'colTiles : i32, xStride : i32' + epilogueUniforms(epilogue);
    this.uniformValues = [
      rows, cols, depth, keptRows, wordsPerGroup, keptPerSplit(keptRows, splits), colTiles, rowTiles * config.rows / 4,
    ];
    this.shaderKey = `nmGemv_${JSON.stringify(config)}`;
  }

  uniformData() {
    return int32Uniforms(this.uniformValues);
  }

  getUserCode(): string {
    const {config} = this;
    const {rows, vecCols, turn, threads, compact, epilogue} = config;
    const {turnRows, kMajor, spread, rowsAtOnce} = gemvGeometry(config);
    const dense = isDense(config);
    const reads = readsOf(config);
    return `
      ${dense ? '' : indicesSnippet(config)}
      ${valuesSnippet(config)}
      ${epilogueSnippet(epilogue, this.outputComponent)}
      var<workgroup> sums: array<vec4<f32>, ${rowsAtOnce * threads}>;

      fn main() {
        // The columns and rows of y of this workgroup; the kept rows of its split.
        let tile = workgroupId.x + workgroupId.y * numWorkgroups.x;
        let col = (tile % u32(uniforms.colTiles)) * ${vecCols}u + localIndex % ${vecCols}u;
        let rowStart = (tile / u32(uniforms.colTiles)) * ${rows}u;
        let slice = localIndex / ${vecCols}u;
        ${dense ? '' : 'let lastRow = u32(uniforms.depth) - 1u;'}
        let start = workgroupId.z * u32(uniforms.keptPerSplit);
        let end = min(start + u32(uniforms.keptPerSplit), u32(uniforms.keptRows));
        ${kMajor ? `
        let xStride = u32(uniforms.xStride);
        let xStart = rowStart / 4u;` : range(rows).map(r => `
        let x${r} = min(rowStart + ${r}u, u32(uniforms.rows) - 1u) * u32(uniforms.depth);`).join('')}${
  range(rows).map(r => `
        var sum${r} = vec4<f32>(0.0);`).join('')}
        var j = start + slice * ${turn}u;
        // Prefetch the first iteration.${reads.prologue}
        ${compact ? `// Every iteration: prefetch the next, multiply this one. The last one may be partial.
        for (; j < end; j += ${turnRows}u) {${reads.prefetch}${iteration(config, reads, true)}${reads.advance}
        }` : `// Every iteration but a slice's last: prefetch the next, multiply this one.
        for (; j + ${turnRows}u < end; j += ${turnRows}u) {${reads.prefetch}${iteration(config, reads, false)}${
  reads.advance}
        }
        // The last iteration of a slice prefetches nothing. It may be partial or empty; so may its last window be.
        ${spread ? '' : `if (j + ${turn}u <= end) {${iteration(config, reads, false)}
        } else `}if (j < end) {${iteration(config, reads, true)}
        }`}
        // Add up the slices and store.${reduction(config)}
      }
    `;
  }
}

/** One row of x, or a vec4 of four, that a kept row meets: of column group `group` of the vec4, rows 4·i … or row i. */
interface XRead {
  group: number;
  i: number;
}

/** The WGSL of what iterations read, and when. */
interface Reads {
  /** Column groups that a vec4 of columns spans: 4, 2 or 1. */
  groups: number[];
  /** Before the loop: everything that the first iteration uses. */
  prologue: string;
  /** In an iteration: what the next one uses. At its end: the next becomes the current. */
  prefetch: string;
  advance: string;
  /** Reads of x that the iteration itself does, for kept row u: those that were not prefetched. */
  late: (u: number) => string;
}

/**
 * Values and x are prefetched one iteration ahead, the offsets that address x two. If a vec4 of columns spans several
 * groups, x is read late, in the iteration that uses it, and offsets one iteration ahead.
 */
function readsOf(config: GemvConfig): Reads {
  const {rows, turn, pattern, pattern: {vectorLength}} = config;
  const {turnRows, kMajor} = gemvGeometry(config);
  const dense = isDense(config);
  const groups = range(dense ? 1 : Math.max(1, 4 / vectorLength));
  const groupOf = (d: number) => `(col * 4u + ${(d * 4) / groups.length}u) / ${vectorLength}u`;
  // One word holds the offsets of several kept rows.
  const perWord = Math.min(turn, 32 / indexBits(pattern));
  const words = (each: (q: number, d: number) => string) => dense ? '' :
    range(turn / perWord).map(q => groups.map(d => each(q, d)).join('')).join('');
  const readWords = (prefix: string, j: string, keyword: string) => words((q, d) => `
          ${keyword} ${prefix}${q}_${d} = offsetWord(${groupOf(d)}, ${j} + ${q * perWord}u);`);
  const moveWords = (to: string, from: string) => words((q, d) => `
          ${to}${q}_${d} = ${from}${q}_${d};`);
  const xs = groups.flatMap(group => range(kMajor ? rows / 4 : rows).map((i): XRead => ({group, i})));
  const readX = (prefix: string, j: string, u: number, {group, i}: XRead) => {
    const word = `${prefix}${Math.floor(u / perWord)}_${group}`;
    const row = dense ? `${j} + ${u}u` :
      `min(rowOf(${j} + ${u}u, (${word} >> (${u % perWord}u * OFFSET_BITS)) & OFFSET_MASK), lastRow)`;
    return kMajor ? `x[(${row}) * xStride + xStart + ${i}u]` : `f32(x[x${i} + ${row}])`;
  };
  const xAhead = groups.length === 1;
  const ahead = range(turn).flatMap(u => [
    {name: `value${u}`, read: (_: string, j: string) => `stored4(${j} + ${u}u, col)`},
    ...(xAhead ? xs : []).map(each => ({
      name: `x${u}_${each.group}_${each.i}`, read: (prefix: string, j: string) => readX(prefix, j, u, each),
    })),
  ]);
  return {
    groups,
    prologue: readWords('word', 'j', 'var') + (xAhead ? readWords('soon', `j + ${turnRows}u`, 'var') : '') +
      ahead.map(({name, read}) => `
        var ${name} = ${read('word', 'j')};`).join(''),
    prefetch: readWords('later', `j + ${(xAhead ? 2 : 1) * turnRows}u`, 'let') + ahead.map(({name, read}) => `
          let next_${name} = ${read('soon', `j + ${turnRows}u`)};`).join(''),
    advance: (xAhead ? moveWords('word', 'soon') + moveWords('soon', 'later') : moveWords('word', 'later')) +
      ahead.map(({name}) => `
          ${name} = next_${name};`).join(''),
    late: u => xAhead ? '' : xs.map(each => `
            let x${u}_${each.group}_${each.i} = ${readX('word', 'j', u, each)};`).join(''),
  };
}

/** WGSL that multiplies the kept rows of one iteration. Only the last iteration checks each row. */
function iteration(config: GemvConfig, reads: Reads, isLast: boolean): string {
  if (gemvGeometry(config).spread) {
    return zeroFilledIteration(config, reads, isLast);
  }
  return range(config.turn).map(u => `
          ${isLast ? `if (j + ${u}u < end) ` : ''}{
            let value = unpack4(value${u});${reads.late(u)}${range(config.rows).map(r => `
            sum${r} += ${xVector(config, r, reads.groups, `x${u}`)} * value;`).join('')}
          }`).join('');
}

/** An iteration whose weights are scattered into windows of zeros, of which the last of all may be short. */
function zeroFilledIteration(config: GemvConfig, {groups}: Reads, isLast: boolean): string {
  const {rows, turn, pattern, pattern: {n, m}} = config;
  const {kMajor} = gemvGeometry(config);
  const unpacked = (u: number) => isLast ?
    `select(vec4<f32>(0.0), unpack4(value${u}), j + ${u}u < end)` : `unpack4(value${u})`;
  const zero = kMajor ? 'vec4<f32>(0.0)' : '0.0';
  const xAt = (i: number) => {
    const load = kMajor ? `x[at + ${i}u]` : `f32(x[x${i} + at])`;
    return isLast ? `select(${zero}, ${load}, row <= lastRow)` : load;
  };
  return `
            let words = vec4<u32>(${range(4).map(c => `word0_${(c * groups.length) >> 2}`).join(', ')});${
  range(turn).map(u => `
            let offset${u} = (words >> vec4<u32>(${u}u * OFFSET_BITS)) & vec4<u32>(OFFSET_MASK);
            let weight${u} = ${unpacked(u)};`).join('')}${range((turn / n) * m).map(row => `
            {
              let row = (j / ${n}u) * ${m}u + ${row}u;
              let at = ${isLast ? 'min(row, lastRow)' : 'row'}${kMajor ? ' * xStride + xStart' : ''};${
  range(kMajor ? rows / 4 : rows).map(i => `
              let in${i} = ${xAt(i)};`).join('')}
              let weight = ${spreadWeight(row, pattern)};${range(rows).map(r => `
              sum${r} += ${kMajor ? `in${r >> 2}[${r & 3}]` : `in${r}`} * weight;`).join('')}
            }`).join('')}`;
}

/** WGSL: the x that the four columns of a vec4 meet in one row of y: one number for all, or one per group. */
function xVector(config: GemvConfig, row: number, groups: number[], name: string): string {
  const {kMajor} = gemvGeometry(config);
  const at = (d: number) => kMajor ? `${name}_${d}_${row >> 2}[${row & 3}]` : `${name}_${d}_${row}`;
  return groups.length === 1 ? at(0) : groups.length === 2 ?
    `vec4<f32>(vec2<f32>(${at(0)}), vec2<f32>(${at(1)}))` : `vec4<f32>(${groups.map(at).join(', ')})`;
}

/** WGSL: the tree reduction over slices, some rows at a time, and the store of y or of partial sums. */
function reduction(config: GemvConfig): string {
  const {rows, vecCols, threads, alignedCols, partial} = config;
  const {levels, lastSlices, rowsAtOnce} = gemvGeometry(config);
  const batches = range(rows / rowsAtOnce).map(b => range(rows).slice(b * rowsAtOnce, (b + 1) * rowsAtOnce));
  const store = guardedStore({
    aligned: alignedCols,
    row: partial ? 'workgroupId.z * u32(uniforms.rows) + row' : 'row',
    vec: 'col',
    value: (column, component) => {
      const one = component ? `sum[${component}]` : 'sum';
      return partial ? one : `epilogue(${one}, ${column})`;
    },
  });
  return batches.map(batch => `
        ${batch.map((r, i) => `sums[${i * threads}u + localIndex] = sum${r};`).join('\n        ')}${
  levels.map(level => `
        workgroupBarrier();
        if (slice < ${level}u) {
          for (var at = localIndex; at < ${batch.length * threads}u; at += ${threads}u) {
            sums[at] += ${[1, 2, 3].map(i => `sums[at + ${i * level * vecCols}u]`).join(' + ')};
          }
        }`).join('')}
        workgroupBarrier();
        if (slice < ${batch.length}u) {
          let row = rowStart + ${batch[0]}u + slice;
          if (row < u32(uniforms.rows)) {
            let at = slice * ${threads}u + localIndex % ${vecCols}u;
            let sum = ${range(lastSlices).map(i => `sums[at + ${i * vecCols}u]`).join(' + ')};${store}
          }
        }${batch !== batches[batches.length - 1] ? `
        workgroupBarrier();` : ''}`).join('');
}
