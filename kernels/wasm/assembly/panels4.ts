// y = x · W with W in panels of 4 columns (L = 4), each with kept rows of its own; see panels8.ts.

import {madd, storePart} from './simd';

/** Rows of x in a block. */
const BLOCK: i32 = 48;

/**
 * @param x [rows, k]
 * @param y [rows, n]
 * @param w [panels, kept, 4]
 * @param ids [panels, kept] byte offsets
 */
export function multiplyPanels4(
    x: usize, y: usize, w: usize, ids: usize, rows: i32, n: i32, k: i32, kept: i32): void {
  const panels = (n + 3) / 4;
  for (let first = 0; first < rows; first += BLOCK) {
    const end = min(rows, first + BLOCK);
    for (let panel = 0; panel < panels; ++panel) {
      const wAt = w + <usize>(panel * kept) * 16;
      const idsAt = ids + <usize>(panel * kept) * 4;
      const cols = n - 4 * panel;
      let row = first;
      for (; row + 8 <= end; row += 8) {
        eight4(x + <usize>(row * k) * 4, y + <usize>(row * n + 4 * panel) * 4, wAt, idsAt, n, k, kept, cols);
      }
      for (; row < end; ++row) {
        one4(x + <usize>(row * k) * 4, y + <usize>(row * n + 4 * panel) * 4, wAt, idsAt, kept, cols);
      }
    }
  }
}

function eight4(x: usize, y: usize, w: usize, ids: usize, n: i32, k: i32, kept: i32, cols: i32): void {
  const xStep = <usize>k * 4;
  const x1 = x + xStep, x2 = x1 + xStep, x3 = x2 + xStep, x4 = x3 + xStep, x5 = x4 + xStep, x6 = x5 + xStep;
  const x7 = x6 + xStep;
  let a0 = f32x4.splat(0), a1 = a0, a2 = a0, a3 = a0, a4 = a0, a5 = a0, a6 = a0, a7 = a0;
  for (const end = ids + <usize>kept * 4; ids < end; ids += 4, w += 16) {
    const at = <usize>load<u32>(ids);
    const v = v128.load(w);
    a0 = madd(v128.load32_splat(x + at), v, a0);
    a1 = madd(v128.load32_splat(x1 + at), v, a1);
    a2 = madd(v128.load32_splat(x2 + at), v, a2);
    a3 = madd(v128.load32_splat(x3 + at), v, a3);
    a4 = madd(v128.load32_splat(x4 + at), v, a4);
    a5 = madd(v128.load32_splat(x5 + at), v, a5);
    a6 = madd(v128.load32_splat(x6 + at), v, a6);
    a7 = madd(v128.load32_splat(x7 + at), v, a7);
  }
  const yStep = <usize>n * 4;
  storePart(y, a0, cols);
  storePart(y + yStep, a1, cols);
  storePart(y + 2 * yStep, a2, cols);
  storePart(y + 3 * yStep, a3, cols);
  storePart(y + 4 * yStep, a4, cols);
  storePart(y + 5 * yStep, a5, cols);
  storePart(y + 6 * yStep, a6, cols);
  storePart(y + 7 * yStep, a7, cols);
}

function one4(x: usize, y: usize, w: usize, ids: usize, kept: i32, cols: i32): void {
  let a0 = f32x4.splat(0), a1 = a0, a2 = a0, a3 = a0;
  const end = ids + <usize>kept * 4;
  for (; ids + 16 <= end; ids += 16, w += 64) {
    a0 = madd(v128.load32_splat(x + <usize>load<u32>(ids)), v128.load(w), a0);
    a1 = madd(v128.load32_splat(x + <usize>load<u32>(ids, 4)), v128.load(w, 16), a1);
    a2 = madd(v128.load32_splat(x + <usize>load<u32>(ids, 8)), v128.load(w, 32), a2);
    a3 = madd(v128.load32_splat(x + <usize>load<u32>(ids, 12)), v128.load(w, 48), a3);
  }
  for (; ids < end; ids += 4, w += 16) {
    a0 = madd(v128.load32_splat(x + <usize>load<u32>(ids)), v128.load(w), a0);
  }
  storePart(y, f32x4.add(f32x4.add(a0, a1), f32x4.add(a2, a3)), cols);
}
