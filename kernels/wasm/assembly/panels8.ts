// y = x · W with W in panels of 8 columns that share kept rows (L ≥ 8). Addresses in bytes; all data float32.
//
// A panel holds [w][8] values. Its column group's list `ids` holds, for each kept row, the byte offset of that
// row's element in a row of x. The inner loop loads the panel's values once for several rows of x, and for each row one
// element of x, broadcast. Rows go in blocks, so that x stays in the second-level cache while the panels stream by.

import {madd, storePart} from './simd';

/** Rows of x in a block. */
const BLOCK: i32 = 48;

/**
 * @param x [rows, k]
 * @param y [rows, n]
 * @param w [panels, kept, 8]
 * @param ids [groups, kept] byte offsets
 */
export function multiplyPanels8(
    x: usize, y: usize, w: usize, ids: usize, rows: i32, n: i32, k: i32, kept: i32, panelsPerGroup: i32): void {
  const panels = (n + 7) / 8;
  for (let first = 0; first < rows; first += BLOCK) {
    const end = min(rows, first + BLOCK);
    for (let panel = 0; panel < panels; ++panel) {
      const wAt = w + <usize>(panel * kept) * 32;
      const idsAt = ids + <usize>((panel / panelsPerGroup) * kept) * 4;
      const cols = n - 8 * panel;
      let row = first;
      for (; row + 6 <= end; row += 6) {
        six8(x + <usize>(row * k) * 4, y + <usize>(row * n + 8 * panel) * 4, wAt, idsAt, n, k, kept, cols);
      }
      if (row + 4 <= end) {
        four8(x + <usize>(row * k) * 4, y + <usize>(row * n + 8 * panel) * 4, wAt, idsAt, n, k, kept, cols);
        row += 4;
      }
      if (row + 2 <= end) {
        two8(x + <usize>(row * k) * 4, y + <usize>(row * n + 8 * panel) * 4, wAt, idsAt, n, k, kept, cols);
        row += 2;
      }
      if (row < end) {
        one8(x + <usize>(row * k) * 4, y + <usize>(row * n + 8 * panel) * 4, wAt, idsAt, kept, cols);
      }
    }
  }
}

// @ts-ignore: decorator
@inline
function store8(y: usize, low: v128, high: v128, cols: i32): void {
  if (cols >= 8) {
    v128.store(y, low);
    v128.store(y, high, 16);
    return;
  }
  storePart(y, low, cols);
  storePart(y + 16, high, cols - 4);
}

/**
 * Six rows: 12 accumulators, 2 vectors of W and 1 of x fill the 16 SIMD registers of x86. Two kept rows at a time: V8
 * checks for interrupts in every iteration.
 */
function six8(x: usize, y: usize, w: usize, ids: usize, n: i32, k: i32, kept: i32, cols: i32): void {
  const xStep = <usize>k * 4;
  const x1 = x + xStep, x2 = x1 + xStep, x3 = x2 + xStep, x4 = x3 + xStep, x5 = x4 + xStep;
  let a0 = f32x4.splat(0), a1 = a0, a2 = a0, a3 = a0, a4 = a0, a5 = a0;
  let b0 = a0, b1 = a0, b2 = a0, b3 = a0, b4 = a0, b5 = a0;
  const end = ids + <usize>kept * 4;
  for (; ids + 8 <= end; ids += 8, w += 64) {
    let at = <usize>load<u32>(ids);
    let low = v128.load(w);
    let high = v128.load(w, 16);
    let v = v128.load32_splat(x + at);
    a0 = madd(v, low, a0);
    b0 = madd(v, high, b0);
    v = v128.load32_splat(x1 + at);
    a1 = madd(v, low, a1);
    b1 = madd(v, high, b1);
    v = v128.load32_splat(x2 + at);
    a2 = madd(v, low, a2);
    b2 = madd(v, high, b2);
    v = v128.load32_splat(x3 + at);
    a3 = madd(v, low, a3);
    b3 = madd(v, high, b3);
    v = v128.load32_splat(x4 + at);
    a4 = madd(v, low, a4);
    b4 = madd(v, high, b4);
    v = v128.load32_splat(x5 + at);
    a5 = madd(v, low, a5);
    b5 = madd(v, high, b5);
    at = <usize>load<u32>(ids, 4);
    low = v128.load(w, 32);
    high = v128.load(w, 48);
    v = v128.load32_splat(x + at);
    a0 = madd(v, low, a0);
    b0 = madd(v, high, b0);
    v = v128.load32_splat(x1 + at);
    a1 = madd(v, low, a1);
    b1 = madd(v, high, b1);
    v = v128.load32_splat(x2 + at);
    a2 = madd(v, low, a2);
    b2 = madd(v, high, b2);
    v = v128.load32_splat(x3 + at);
    a3 = madd(v, low, a3);
    b3 = madd(v, high, b3);
    v = v128.load32_splat(x4 + at);
    a4 = madd(v, low, a4);
    b4 = madd(v, high, b4);
    v = v128.load32_splat(x5 + at);
    a5 = madd(v, low, a5);
    b5 = madd(v, high, b5);
  }
  if (ids < end) {
    let at = <usize>load<u32>(ids);
    let low = v128.load(w);
    let high = v128.load(w, 16);
    let v = v128.load32_splat(x + at);
    a0 = madd(v, low, a0);
    b0 = madd(v, high, b0);
    v = v128.load32_splat(x1 + at);
    a1 = madd(v, low, a1);
    b1 = madd(v, high, b1);
    v = v128.load32_splat(x2 + at);
    a2 = madd(v, low, a2);
    b2 = madd(v, high, b2);
    v = v128.load32_splat(x3 + at);
    a3 = madd(v, low, a3);
    b3 = madd(v, high, b3);
    v = v128.load32_splat(x4 + at);
    a4 = madd(v, low, a4);
    b4 = madd(v, high, b4);
    v = v128.load32_splat(x5 + at);
    a5 = madd(v, low, a5);
    b5 = madd(v, high, b5);
  }
  const yStep = <usize>n * 4;
  store8(y, a0, b0, cols);
  store8(y + yStep, a1, b1, cols);
  store8(y + 2 * yStep, a2, b2, cols);
  store8(y + 3 * yStep, a3, b3, cols);
  store8(y + 4 * yStep, a4, b4, cols);
  store8(y + 5 * yStep, a5, b5, cols);
}

/** Four rows, two kept rows at a time. */
function four8(x: usize, y: usize, w: usize, ids: usize, n: i32, k: i32, kept: i32, cols: i32): void {
  const xStep = <usize>k * 4;
  const x1 = x + xStep, x2 = x1 + xStep, x3 = x2 + xStep;
  let a0 = f32x4.splat(0), a1 = a0, a2 = a0, a3 = a0, b0 = a0, b1 = a0, b2 = a0, b3 = a0;
  const end = ids + <usize>kept * 4;
  for (; ids + 8 <= end; ids += 8, w += 64) {
    let at = <usize>load<u32>(ids);
    let low = v128.load(w);
    let high = v128.load(w, 16);
    let v = v128.load32_splat(x + at);
    a0 = madd(v, low, a0);
    b0 = madd(v, high, b0);
    v = v128.load32_splat(x1 + at);
    a1 = madd(v, low, a1);
    b1 = madd(v, high, b1);
    v = v128.load32_splat(x2 + at);
    a2 = madd(v, low, a2);
    b2 = madd(v, high, b2);
    v = v128.load32_splat(x3 + at);
    a3 = madd(v, low, a3);
    b3 = madd(v, high, b3);
    at = <usize>load<u32>(ids, 4);
    low = v128.load(w, 32);
    high = v128.load(w, 48);
    v = v128.load32_splat(x + at);
    a0 = madd(v, low, a0);
    b0 = madd(v, high, b0);
    v = v128.load32_splat(x1 + at);
    a1 = madd(v, low, a1);
    b1 = madd(v, high, b1);
    v = v128.load32_splat(x2 + at);
    a2 = madd(v, low, a2);
    b2 = madd(v, high, b2);
    v = v128.load32_splat(x3 + at);
    a3 = madd(v, low, a3);
    b3 = madd(v, high, b3);
  }
  if (ids < end) {
    let at = <usize>load<u32>(ids);
    let low = v128.load(w);
    let high = v128.load(w, 16);
    let v = v128.load32_splat(x + at);
    a0 = madd(v, low, a0);
    b0 = madd(v, high, b0);
    v = v128.load32_splat(x1 + at);
    a1 = madd(v, low, a1);
    b1 = madd(v, high, b1);
    v = v128.load32_splat(x2 + at);
    a2 = madd(v, low, a2);
    b2 = madd(v, high, b2);
    v = v128.load32_splat(x3 + at);
    a3 = madd(v, low, a3);
    b3 = madd(v, high, b3);
  }
  const yStep = <usize>n * 4;
  store8(y, a0, b0, cols);
  store8(y + yStep, a1, b1, cols);
  store8(y + 2 * yStep, a2, b2, cols);
  store8(y + 3 * yStep, a3, b3, cols);
}

/** Two rows. Even and odd kept rows have accumulators of their own, so that no addition waits for the one before. */
function two8(x: usize, y: usize, w: usize, ids: usize, n: i32, k: i32, kept: i32, cols: i32): void {
  const x1 = x + <usize>k * 4;
  let a0 = f32x4.splat(0), a1 = a0, b0 = a0, b1 = a0, c0 = a0, c1 = a0, d0 = a0, d1 = a0;
  const end = ids + <usize>kept * 4;
  for (; ids + 8 <= end; ids += 8, w += 64) {
    let at = <usize>load<u32>(ids);
    let low = v128.load(w), high = v128.load(w, 16);
    let v = v128.load32_splat(x + at), u = v128.load32_splat(x1 + at);
    a0 = madd(v, low, a0);
    b0 = madd(v, high, b0);
    a1 = madd(u, low, a1);
    b1 = madd(u, high, b1);
    at = <usize>load<u32>(ids, 4);
    low = v128.load(w, 32);
    high = v128.load(w, 48);
    v = v128.load32_splat(x + at);
    u = v128.load32_splat(x1 + at);
    c0 = madd(v, low, c0);
    d0 = madd(v, high, d0);
    c1 = madd(u, low, c1);
    d1 = madd(u, high, d1);
  }
  if (ids < end) {
    const at = <usize>load<u32>(ids);
    const low = v128.load(w), high = v128.load(w, 16);
    const v = v128.load32_splat(x + at), u = v128.load32_splat(x1 + at);
    a0 = madd(v, low, a0);
    b0 = madd(v, high, b0);
    a1 = madd(u, low, a1);
    b1 = madd(u, high, b1);
  }
  store8(y, f32x4.add(a0, c0), f32x4.add(b0, d0), cols);
  store8(y + <usize>n * 4, f32x4.add(a1, c1), f32x4.add(b1, d1), cols);
}

/** One row, four kept rows at a time. */
function one8(x: usize, y: usize, w: usize, ids: usize, kept: i32, cols: i32): void {
  let a0 = f32x4.splat(0), a1 = a0, a2 = a0, a3 = a0, b0 = a0, b1 = a0, b2 = a0, b3 = a0;
  const end = ids + <usize>kept * 4;
  for (; ids + 16 <= end; ids += 16, w += 128) {
    let v = v128.load32_splat(x + <usize>load<u32>(ids));
    a0 = madd(v, v128.load(w), a0);
    b0 = madd(v, v128.load(w, 16), b0);
    v = v128.load32_splat(x + <usize>load<u32>(ids, 4));
    a1 = madd(v, v128.load(w, 32), a1);
    b1 = madd(v, v128.load(w, 48), b1);
    v = v128.load32_splat(x + <usize>load<u32>(ids, 8));
    a2 = madd(v, v128.load(w, 64), a2);
    b2 = madd(v, v128.load(w, 80), b2);
    v = v128.load32_splat(x + <usize>load<u32>(ids, 12));
    a3 = madd(v, v128.load(w, 96), a3);
    b3 = madd(v, v128.load(w, 112), b3);
  }
  for (; ids < end; ids += 4, w += 32) {
    const v = v128.load32_splat(x + <usize>load<u32>(ids));
    a0 = madd(v, v128.load(w), a0);
    b0 = madd(v, v128.load(w, 16), b0);
  }
  store8(y, f32x4.add(f32x4.add(a0, a1), f32x4.add(a2, a3)), f32x4.add(f32x4.add(b0, b1), f32x4.add(b2, b3)), cols);
}
