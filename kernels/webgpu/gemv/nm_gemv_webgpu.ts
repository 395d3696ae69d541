/**
 * The GEMV: y = x · W for few rows, where reading W once is all the work there is.
 *
 * A workgroup computes some columns for up to 16 rows. Its threads are vec4 columns × slices of the kept rows: a
 * slice takes some consecutive kept rows a turn, so that one word brings the offsets of four or more. Neighbouring
 * slices read neighbouring rows of W. More columns are longer runs of memory, more slices more rows at once. The sums
 * of the slices meet in a tree in workgroup memory. Where the columns alone leave the device idle, kept rows are split
 * over workgroups too, and a second pass adds the parts (reduce_webgpu.ts).
 *
 * No turn waits for what it asked for itself (the paper's pipelining, section III-C): values are read a turn ahead, and
 * so is x, from offsets read two turns ahead. Only where a vec4 of columns meets several groups, and so several x,
 * there are no registers for them: then x is read in its turn, and offsets one turn ahead. The loop has no branch: a
 * slice's last turn, which has nothing to read ahead and may be short, comes after it.
 *
 * Up to two rows, x is read in place, row-major: it lies in the cache. With more, a load for each row would be one for
 * every four multiply-adds; so x comes transposed (transpose_webgpu.ts), and a load brings four rows. Even so, narrow
 * groups would gather an x for each weight, from as many places as a subgroup has columns. Where windows are short,
 * their weights are spread to the window's rows instead, zeros between them: then x is read in order, the same for all
 * columns, and an infinite x makes NaN of what was dropped, as in a dense product.
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
    const {rows, vecCols, turn, threads, pattern, alignedCols, partial, epilogue} = this.config;
    const {vectorLength} = pattern;
    const {levels, lastSlices, turnRows, kMajor, spread, rowsAtOnce} = gemvGeometry(this.config);
    const rowIds = range(rows);
    // A vec4 of columns meets 4, 2 or 1 groups, so each kept row stands for as many rows of x.
    const groups = range(isDense(this.config) ? 1 : Math.max(1, 4 / vectorLength));
    const groupOf = (d: number) => `(col * 4u + ${(d * 4) / groups.length}u) / ${vectorLength}u`;
    // One word brings the offsets of several kept rows.
    const together = Math.min(turn, 32 / indexBits(pattern));
    const wordsAt = (prefix: string, j: string, keyword: string) => isDense(this.config) ? '' :
      range(turn / together).map(q => groups.map(d => `
          ${keyword} ${prefix}${q}_${d} = offsetWord(${groupOf(d)}, ${j} + ${q * together}u);`).join('')).join('');
    const shiftWords = (to: string, from: string) => isDense(this.config) ? '' :
      range(turn / together).map(q => groups.map(d => `
          ${to}${q}_${d} = ${from}${q}_${d};`).join('')).join('');
    // What a kept row of the turn meets of x: for each group the rows of y, or vec4s of them.
    const xs = groups.flatMap(d => range(kMajor ? rows / 4 : rows).map(i => ({d, i})));
    const xLoad = (prefix: string, j: string, u: number, {d, i}: {d: number; i: number}) => {
      const word = `${prefix}${Math.floor(u / together)}_${d}`;
      const row = isDense(this.config) ? `${j} + ${u}u` :
        `min(rowOf(${j} + ${u}u, (${word} >> (${u % together}u * OFFSET_BITS)) & OFFSET_MASK), lastRow)`;
      return kMajor ? `x[(${row}) * xStride + xStart + ${i}u]` : `f32(x[x${i} + ${row}])`;
    };
    const xAhead = groups.length === 1;
    const turnsAhead = xAhead ? 2 : 1;
    const ahead = range(turn).flatMap(u => [
      {name: `value${u}`, load: (_: string, j: string) => `stored4(${j} + ${u}u, col)`},
      ...(xAhead ? xs : []).map(each => ({
        name: `x${u}_${each.d}_${each.i}`, load: (prefix: string, j: string) => xLoad(prefix, j, u, each),
      })),
    ]);
    const gathered = range(turn).map(u => ({u, code: `
            let value = unpack4(value${u});${xAhead ? '' : xs.map(each => `
            let x${u}_${each.d}_${each.i} = ${xLoad('word', 'j', u, each)};`).join('')}${rowIds.map(r => `
            sum${r} += ${this.xVector(r, groups, `x${u}`)} * value;`).join('')}`}));
    const turnCode = (isLast: boolean) => spread ? this.spreadTurn(groups, isLast) : gathered.map(({u, code}) => `
          ${isLast ? `if (j + ${u}u < end) ` : ''}{${code}
          }`).join('');
    const batches = range(rows / rowsAtOnce).map(b => rowIds.slice(b * rowsAtOnce, (b + 1) * rowsAtOnce));
    const store = guardedStore({
      aligned: alignedCols,
      row: partial ? 'workgroupId.z * u32(uniforms.rows) + row' : 'row',
      vec: 'col',
      value: (column, component) => {
        const one = component ? `sum[${component}]` : 'sum';
        return partial ? one : `epilogue(${one}, ${column})`;
      },
    });
    return `
      ${isDense(this.config) ? '' : indicesSnippet(this.config)}
      ${valuesSnippet(this.config)}
      ${epilogueSnippet(epilogue, this.outputComponent)}
      var<workgroup> sums: array<vec4<f32>, ${rowsAtOnce * threads}>;

      fn main() {
        let tile = workgroupId.x + workgroupId.y * numWorkgroups.x;
        let col = (tile % u32(uniforms.colTiles)) * ${vecCols}u + localIndex % ${vecCols}u;
        let rowStart = (tile / u32(uniforms.colTiles)) * ${rows}u;
        let slice = localIndex / ${vecCols}u;
        ${isDense(this.config) ? '' : 'let lastRow = u32(uniforms.depth) - 1u;'}
        let start = workgroupId.z * u32(uniforms.keptPerSplit);
        let end = min(start + u32(uniforms.keptPerSplit), u32(uniforms.keptRows));
        ${kMajor ? `
        let xStride = u32(uniforms.xStride);
        let xStart = rowStart / 4u;` : rowIds.map(r => `
        let x${r} = min(rowStart + ${r}u, u32(uniforms.rows) - 1u) * u32(uniforms.depth);`).join('')}${rowIds.map(r => `
        var sum${r} = vec4<f32>(0.0);`).join('')}
        var j = start + slice * ${turn}u;${wordsAt('word', 'j', 'var')}${
  xAhead ? wordsAt('soon', `j + ${turnRows}u`, 'var') : ''}${ahead.map(({name, load}) => `
        var ${name} = ${load('word', 'j')};`).join('')}
        for (; j + ${turnRows}u < end; j += ${turnRows}u) {${
  wordsAt('later', `j + ${turnsAhead * turnRows}u`, 'let')}${ahead.map(({name, load}) => `
          let next_${name} = ${load('soon', `j + ${turnRows}u`)};`).join('')}${turnCode(false)}${
  xAhead ? shiftWords('word', 'soon') + shiftWords('soon', 'later') : shiftWords('word', 'later')}${
  ahead.map(({name}) => `
          ${name} = next_${name};`).join('')}
        }
        // The last turn of a slice, which may be short, or nothing; so may its last window be.
        ${spread ? '' : `if (j + ${turn}u <= end) {${turnCode(false)}
        } else `}if (j < end) {${turnCode(true)}
        }${batches.map(batch => `
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
        workgroupBarrier();` : ''}`).join('')}
      }
    `;
  }

  /** A turn whose weights are spread to whole windows, of which the last of all may be short. */
  private spreadTurn(groups: number[], isLast: boolean): string {
    const {rows, turn, pattern} = this.config;
    const {n, m} = pattern;
    const unpacked = (u: number) => isLast ?
      `select(vec4<f32>(0.0), unpack4(value${u}), j + ${u}u < end)` : `unpack4(value${u})`;
    const xAt = (i: number) => isLast ? `select(vec4<f32>(0.0), x[at + ${i}u], row <= lastRow)` : `x[at + ${i}u]`;
    return `
            let words = vec4<u32>(${range(4).map(c => `word0_${(c * groups.length) >> 2}`).join(', ')});${
  range(turn).map(u => `
            let offset${u} = (words >> vec4<u32>(${u}u * OFFSET_BITS)) & vec4<u32>(OFFSET_MASK);
            let weight${u} = ${unpacked(u)};`).join('')}${range((turn / n) * m).map(row => `
            {
              let row = (j / ${n}u) * ${m}u + ${row}u;
              let at = ${isLast ? 'min(row, lastRow)' : 'row'} * xStride + xStart;${range(rows / 4).map(i => `
              let x${i} = ${xAt(i)};`).join('')}
              let weight = ${spreadWeight(row, pattern)};${range(rows).map(r => `
              sum${r} += x${r >> 2}[${r & 3}] * weight;`).join('')}
            }`).join('')}`;
  }

  /** The x of a row that the four columns of a vec4 meet: one number, two or four. */
  private xVector(row: number, groups: number[], name: string): string {
    const {kMajor} = gemvGeometry(this.config);
    const at = (d: number) => kMajor ? `${name}_${d}_${row >> 2}[${row & 3}]` : `${name}_${d}_${row}`;
    return groups.length === 1 ? at(0) : groups.length === 2 ?
      `vec4<f32>(vec2<f32>(${at(0)}), vec2<f32>(${at(1)}))` : `vec4<f32>(${groups.map(at).join(', ')})`;
  }
}
