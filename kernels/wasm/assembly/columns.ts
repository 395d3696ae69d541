// y = x · W with W by columns (L < 4): each column has its own kept rows, or shares them with one other. Addresses in
// bytes; all data float32.
//
// x is transposed first, in tiles of 32 rows, [k][32] each, then of 16 and of 4. The inner loop broadcasts one value of
// W and multiplies it with the rows of a tile at the offset of its kept row. XNNPACK's sparse kernels work this way. One
// tile after the other, because neighbours in k a power of two apart would share cache sets.

import {madd} from './simd';

/**
 * xT = x [rows, k] transposed, tile after tile; a tile of rows r … begins at float r · k.
 * @param xT room for rows · k floats, rows rounded up to a multiple of 4; what is past `rows` repeats the last row
 */
export function transpose(x: usize, xT: usize, rows: i32, k: i32): void {
  let row = 0;
  for (; row + 32 <= rows; row += 32) transposeTile(x, xT + <usize>(row * k) * 4, row, 32, rows, k);
  for (; row + 16 <= rows; row += 16) transposeTile(x, xT + <usize>(row * k) * 4, row, 16, rows, k);
  for (; row < rows; row += 4) transposeTile(x, xT + <usize>(row * k) * 4, row, 4, rows, k);
}

/** One tile [k][width], 4 × 4 elements at a time. */
function transposeTile(x: usize, tile: usize, first: i32, width: i32, rows: i32, k: i32): void {
  const step = <usize>width * 4;
  const last = x + <usize>((rows - 1) * k) * 4;
  for (let row = first; row < first + width; row += 4) {
    const x0 = min(last, x + <usize>(row * k) * 4), x1 = min(last, x + <usize>((row + 1) * k) * 4);
    const x2 = min(last, x + <usize>((row + 2) * k) * 4), x3 = min(last, x + <usize>((row + 3) * k) * 4);
    let to = tile + <usize>(row - first) * 4;
    let at: usize = 0;
    for (const end = <usize>(k & ~3) * 4; at < end; at += 16, to += 4 * step) {
      const a = v128.load(x0 + at), b = v128.load(x1 + at), c = v128.load(x2 + at), d = v128.load(x3 + at);
      const ab = v128.shuffle<f32>(a, b, 0, 4, 1, 5), cd = v128.shuffle<f32>(c, d, 0, 4, 1, 5);
      const ef = v128.shuffle<f32>(a, b, 2, 6, 3, 7), gh = v128.shuffle<f32>(c, d, 2, 6, 3, 7);
      v128.store(to, v128.shuffle<f32>(ab, cd, 0, 1, 4, 5));
      v128.store(to + step, v128.shuffle<f32>(ab, cd, 2, 3, 6, 7));
      v128.store(to + 2 * step, v128.shuffle<f32>(ef, gh, 0, 1, 4, 5));
      v128.store(to + 3 * step, v128.shuffle<f32>(ef, gh, 2, 3, 6, 7));
    }
    for (const end = <usize>k * 4; at < end; at += 4, to += step) {
      let v = v128.load32_zero(x0 + at);
      v = v128.load32_lane(x1 + at, v, 1);
      v = v128.load32_lane(x2 + at, v, 2);
      v = v128.load32_lane(x3 + at, v, 3);
      v128.store(to, v);
    }
  }
}

/**
 * @param xT as transpose() writes it
 * @param y [rows, n]
 * @param w [n, kept]
 * @param ids [groups, kept]: byte offsets of a row in a tile of 4
 * @param columnsPerGroup columns that share ids
 */
export function multiplyColumns(
    xT: usize, y: usize, w: usize, ids: usize, rows: i32, n: i32, k: i32, kept: i32, columnsPerGroup: i32): void {
  let row = 0;
  for (; row + 32 <= rows; row += 32) {
    for (let col = 0; col < n; ++col) {
      rows32(xT + <usize>(row * k) * 4, y + <usize>(row * n + col) * 4, w + <usize>(col * kept) * 4,
        ids + <usize>((col / columnsPerGroup) * kept) * 4, n, kept);
    }
  }
  for (; row + 16 <= rows; row += 16) {
    for (let col = 0; col < n; ++col) {
      rows16(xT + <usize>(row * k) * 4, y + <usize>(row * n + col) * 4, w + <usize>(col * kept) * 4,
        ids + <usize>((col / columnsPerGroup) * kept) * 4, n, kept);
    }
  }
  for (; row < rows; row += 4) {
    for (let col = 0; col < n; ++col) {
      rows4(xT + <usize>(row * k) * 4, y + <usize>(row * n + col) * 4, w + <usize>(col * kept) * 4,
        ids + <usize>((col / columnsPerGroup) * kept) * 4, n, kept, min(4, rows - row));
    }
  }
}

/** Stores four rows of one column; y has a stride of `step` bytes. */
// @ts-ignore: decorator
@inline
function store4(y: usize, v: v128, step: usize): void {
  v128.store32_lane(y, v, 0);
  v128.store32_lane(y + step, v, 1);
  v128.store32_lane(y + 2 * step, v, 2);
  v128.store32_lane(y + 3 * step, v, 3);
}

function rows32(xT: usize, y: usize, w: usize, ids: usize, n: i32, kept: i32): void {
  let a0 = f32x4.splat(0), a1 = a0, a2 = a0, a3 = a0, a4 = a0, a5 = a0, a6 = a0, a7 = a0;
  for (const end = w + <usize>kept * 4; w < end; w += 4, ids += 4) {
    const v = v128.load32_splat(w);
    const x = xT + (<usize>load<u32>(ids) << 3);
    a0 = madd(v, v128.load(x), a0);
    a1 = madd(v, v128.load(x, 16), a1);
    a2 = madd(v, v128.load(x, 32), a2);
    a3 = madd(v, v128.load(x, 48), a3);
    a4 = madd(v, v128.load(x, 64), a4);
    a5 = madd(v, v128.load(x, 80), a5);
    a6 = madd(v, v128.load(x, 96), a6);
    a7 = madd(v, v128.load(x, 112), a7);
  }
  const step = <usize>n * 4;
  store4(y, a0, step);
  store4(y + 4 * step, a1, step);
  store4(y + 8 * step, a2, step);
  store4(y + 12 * step, a3, step);
  store4(y + 16 * step, a4, step);
  store4(y + 20 * step, a5, step);
  store4(y + 24 * step, a6, step);
  store4(y + 28 * step, a7, step);
}

/** 16 rows. Even and odd kept rows have accumulators of their own, so that no addition waits for the one before. */
function rows16(xT: usize, y: usize, w: usize, ids: usize, n: i32, kept: i32): void {
  let a0 = f32x4.splat(0), a1 = a0, a2 = a0, a3 = a0, b0 = a0, b1 = a0, b2 = a0, b3 = a0;
  const end = w + <usize>kept * 4;
  for (; w + 8 <= end; w += 8, ids += 8) {
    let v = v128.load32_splat(w);
    let x = xT + (<usize>load<u32>(ids) << 2);
    a0 = madd(v, v128.load(x), a0);
    a1 = madd(v, v128.load(x, 16), a1);
    a2 = madd(v, v128.load(x, 32), a2);
    a3 = madd(v, v128.load(x, 48), a3);
    v = v128.load32_splat(w, 4);
    x = xT + (<usize>load<u32>(ids, 4) << 2);
    b0 = madd(v, v128.load(x), b0);
    b1 = madd(v, v128.load(x, 16), b1);
    b2 = madd(v, v128.load(x, 32), b2);
    b3 = madd(v, v128.load(x, 48), b3);
  }
  if (w < end) {
    const v = v128.load32_splat(w);
    const x = xT + (<usize>load<u32>(ids) << 2);
    a0 = madd(v, v128.load(x), a0);
    a1 = madd(v, v128.load(x, 16), a1);
    a2 = madd(v, v128.load(x, 32), a2);
    a3 = madd(v, v128.load(x, 48), a3);
  }
  const step = <usize>n * 4;
  store4(y, f32x4.add(a0, b0), step);
  store4(y + 4 * step, f32x4.add(a1, b1), step);
  store4(y + 8 * step, f32x4.add(a2, b2), step);
  store4(y + 12 * step, f32x4.add(a3, b3), step);
}

/** Up to four rows, four kept rows at a time. */
function rows4(xT: usize, y: usize, w: usize, ids: usize, n: i32, kept: i32, count: i32): void {
  let a0 = f32x4.splat(0), a1 = a0, a2 = a0, a3 = a0;
  const end = w + <usize>kept * 4;
  for (; w + 16 <= end; w += 16, ids += 16) {
    a0 = madd(v128.load32_splat(w), v128.load(xT + <usize>load<u32>(ids)), a0);
    a1 = madd(v128.load32_splat(w, 4), v128.load(xT + <usize>load<u32>(ids, 4)), a1);
    a2 = madd(v128.load32_splat(w, 8), v128.load(xT + <usize>load<u32>(ids, 8)), a2);
    a3 = madd(v128.load32_splat(w, 12), v128.load(xT + <usize>load<u32>(ids, 12)), a3);
  }
  for (; w < end; w += 4, ids += 4) {
    a0 = madd(v128.load32_splat(w), v128.load(xT + <usize>load<u32>(ids)), a0);
  }
  const v = f32x4.add(f32x4.add(a0, a1), f32x4.add(a2, a3));
  const step = <usize>n * 4;
  v128.store32_lane(y, v, 0);
  if (count > 1) v128.store32_lane(y + step, v, 1);
  if (count > 2) v128.store32_lane(y + 2 * step, v, 2);
  if (count > 3) v128.store32_lane(y + 3 * step, v, 3);
}
