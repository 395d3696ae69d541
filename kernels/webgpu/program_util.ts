/**
 * What the programs of this folder share.
 */

/** The size of one product: x [rows, depth] · W [depth, cols], of which `keptRows` rows are stored. */
export interface ProductSize {
  rows: number;
  cols: number;
  depth: number;
  keptRows: number;
  /** int32 words of packed offsets per column group. */
  wordsPerGroup: number;
}

/** 0 … count-1: what shader generators loop over to write unrolled code. */
export function range(count: number): number[] {
  return Array.from({length: count}, (_, i) => i);
}

/**
 * A dispatch of any number of workgroups: a device limits each dimension (65535 by default), so they are folded into a
 * 2-D grid. The shader takes `workgroupId.x + workgroupId.y * numWorkgroups.x` and ignores what is past the last.
 */
export function foldDispatch(workgroups: number, maxDispatch: number, splits = 1): [number, number, number] {
  const across = Math.min(workgroups, maxDispatch);
  return [across, Math.ceil(workgroups / across), splits];
}

/** Uniforms as runWebGPUProgram takes them. */
export function int32Uniforms(values: readonly number[]): Array<{type: string; data: number[]}> {
  return values.map(value => ({type: 'int32', data: [value]}));
}

/**
 * WGSL that stores four neighbouring columns of a row of the result, and none past the last column.
 * @param aligned whether the number of columns is a multiple of 4, so that rows are whole vec4s.
 * @param row WGSL: the row.
 * @param vec WGSL: the index of the vec4 of columns, as an operand.
 * @param value writes the WGSL of what is stored: the vec4 (component undefined) or one component. `column` counts in
 *     the same unit.
 */
export function guardedStore(
    {aligned, row, vec, value}:
    {aligned: boolean; row: string; vec: string; value: (column: string, component?: string) => string}): string {
  return aligned ? `
            if (${vec} < u32(uniforms.cols) / 4u) {
              result[(${row}) * (u32(uniforms.cols) / 4u) + ${vec}] = ${value(vec)};
            }` : `
            for (var i = 0u; i < 4u; i++) {
              let col = ${vec} * 4u + i;
              if (col < u32(uniforms.cols)) {
                result[(${row}) * u32(uniforms.cols) + col] = ${value('col', 'i')};
              }
            }`;
}
