// What the kernels share: multiply-add, and the load and store of fewer than four floats.

/** a · b + c, fused where the module is built for relaxed SIMD. */
// @ts-ignore: decorator
@inline
export function madd(a: v128, b: v128, c: v128): v128 {
  if (ASC_FEATURE_RELAXED_SIMD) {
    return f32x4.relaxed_madd(a, b, c);
  }
  return f32x4.add(f32x4.mul(a, b), c);
}

/** Loads `count` < 4 floats; the other lanes are 0. */
// @ts-ignore: decorator
@inline
export function loadPart(at: usize, count: i32): v128 {
  let v = v128.load32_zero(at);
  if (count > 1) v = v128.load32_lane(at, v, 1, 4);
  if (count > 2) v = v128.load32_lane(at, v, 2, 8);
  return v;
}

/** Stores the first `count` floats, 4 or fewer. */
// @ts-ignore: decorator
@inline
export function storePart(at: usize, v: v128, count: i32): void {
  if (count >= 4) {
    v128.store(at, v);
    return;
  }
  if (count > 0) v128.store32_lane(at, v, 0);
  if (count > 1) v128.store32_lane(at, v, 1, 4);
  if (count > 2) v128.store32_lane(at, v, 2, 8);
}
