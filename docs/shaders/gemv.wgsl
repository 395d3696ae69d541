// gemv: 1 × 1024 × 1024, 8:32v32: gemv, rows 1, turn 4, row-major, vecCols 32, threads 256, splits 2
const OFFSET_BITS = 8u;
const OFFSET_MASK = 255u;
fn offsetWord(group: u32, j: u32) -> u32 {
  let word = bitcast<u32>(indices[group * u32(uniforms.wordsPerGroup) + j / 4u]);
  return word >> ((j % 4u) * OFFSET_BITS);
}
fn windowOffset(group: u32, j: u32) -> u32 {
  return offsetWord(group, j) & OFFSET_MASK;
}
fn rowOf(j: u32, offset: u32) -> u32 {
  return (j / 8u) * 32u + offset;
}
fn stored4(j: u32, c4: u32) -> vec4<f32> {
  return vec4<f32>(values[j * (u32(uniforms.cols) / 4u) + c4]);
}
fn unpack4(stored: vec4<f32>) -> vec4<f32> {
  return stored;
}
fn value4(j: u32, c4: u32) -> vec4<f32> {
  return unpack4(stored4(j, c4));
}
fn epilogue(sum: vec4<f32>, col: u32) -> vec4<f32> {
  let z = sum;
  return z;
}
var<workgroup> sums: array<vec4<f32>, 256>;
fn main() {
  // The columns and rows of y of this workgroup; the kept rows of its split.
  let tile = workgroupId.x + workgroupId.y * numWorkgroups.x;
  let col = (tile % u32(uniforms.colTiles)) * 32u + localIndex % 32u;
  let rowStart = (tile / u32(uniforms.colTiles)) * 1u;
  let slice = localIndex / 32u;
  let lastRow = u32(uniforms.depth) - 1u;
  let start = workgroupId.z * u32(uniforms.keptPerSplit);
  let end = min(start + u32(uniforms.keptPerSplit), u32(uniforms.keptRows));
  let x0 = min(rowStart + 0u, u32(uniforms.rows) - 1u) * u32(uniforms.depth);
  var sum0 = vec4<f32>(0.0);
  var j = start + slice * 4u;
  // Prefetch the first iteration.
  var word0_0 = offsetWord((col * 4u + 0u) / 32u, j + 0u);
  var soon0_0 = offsetWord((col * 4u + 0u) / 32u, j + 32u + 0u);
  var value0 = stored4(j + 0u, col);
  var x0_0_0 = f32(x[x0 + min(rowOf(j + 0u, (word0_0 >> (0u * OFFSET_BITS)) & OFFSET_MASK), lastRow)]);
  var value1 = stored4(j + 1u, col);
  var x1_0_0 = f32(x[x0 + min(rowOf(j + 1u, (word0_0 >> (1u * OFFSET_BITS)) & OFFSET_MASK), lastRow)]);
  var value2 = stored4(j + 2u, col);
  var x2_0_0 = f32(x[x0 + min(rowOf(j + 2u, (word0_0 >> (2u * OFFSET_BITS)) & OFFSET_MASK), lastRow)]);
  var value3 = stored4(j + 3u, col);
  var x3_0_0 = f32(x[x0 + min(rowOf(j + 3u, (word0_0 >> (3u * OFFSET_BITS)) & OFFSET_MASK), lastRow)]);
  // Every iteration but a slice's last: prefetch the next, multiply this one.
  for (; j + 32u < end; j += 32u) {
    let later0_0 = offsetWord((col * 4u + 0u) / 32u, j + 64u + 0u);
    let next_value0 = stored4(j + 32u + 0u, col);
    let next_x0_0_0 = f32(x[x0 + min(rowOf(j + 32u + 0u, (soon0_0 >> (0u * OFFSET_BITS)) & OFFSET_MASK), lastRow)]);
    let next_value1 = stored4(j + 32u + 1u, col);
    let next_x1_0_0 = f32(x[x0 + min(rowOf(j + 32u + 1u, (soon0_0 >> (1u * OFFSET_BITS)) & OFFSET_MASK), lastRow)]);
    let next_value2 = stored4(j + 32u + 2u, col);
    let next_x2_0_0 = f32(x[x0 + min(rowOf(j + 32u + 2u, (soon0_0 >> (2u * OFFSET_BITS)) & OFFSET_MASK), lastRow)]);
    let next_value3 = stored4(j + 32u + 3u, col);
    let next_x3_0_0 = f32(x[x0 + min(rowOf(j + 32u + 3u, (soon0_0 >> (3u * OFFSET_BITS)) & OFFSET_MASK), lastRow)]);
    {
      let value = unpack4(value0);
      sum0 += x0_0_0 * value;
    }
    {
      let value = unpack4(value1);
      sum0 += x1_0_0 * value;
    }
    {
      let value = unpack4(value2);
      sum0 += x2_0_0 * value;
    }
    {
      let value = unpack4(value3);
      sum0 += x3_0_0 * value;
    }
    word0_0 = soon0_0;
    soon0_0 = later0_0;
    value0 = next_value0;
    x0_0_0 = next_x0_0_0;
    value1 = next_value1;
    x1_0_0 = next_x1_0_0;
    value2 = next_value2;
    x2_0_0 = next_x2_0_0;
    value3 = next_value3;
    x3_0_0 = next_x3_0_0;
  }
  // The last iteration of a slice prefetches nothing. It may be partial or empty; so may its last window be.
  if (j + 4u <= end) {
    {
      let value = unpack4(value0);
      sum0 += x0_0_0 * value;
    }
    {
      let value = unpack4(value1);
      sum0 += x1_0_0 * value;
    }
    {
      let value = unpack4(value2);
      sum0 += x2_0_0 * value;
    }
    {
      let value = unpack4(value3);
      sum0 += x3_0_0 * value;
    }
  } else if (j < end) {
    if (j + 0u < end) {
      let value = unpack4(value0);
      sum0 += x0_0_0 * value;
    }
    if (j + 1u < end) {
      let value = unpack4(value1);
      sum0 += x1_0_0 * value;
    }
    if (j + 2u < end) {
      let value = unpack4(value2);
      sum0 += x2_0_0 * value;
    }
    if (j + 3u < end) {
      let value = unpack4(value3);
      sum0 += x3_0_0 * value;
    }
  }
  // Add up the slices and store.
  sums[0u + localIndex] = sum0;
  workgroupBarrier();
  if (slice < 1u) {
    let row = rowStart + 0u + slice;
    if (row < u32(uniforms.rows)) {
      let at = slice * 256u + localIndex % 32u;
      let sum = sums[at + 0u] + sums[at + 32u] + sums[at + 64u] + sums[at + 96u] + sums[at + 128u] + sums[at + 160u] + sums[at + 192u] + sums[at + 224u];
      if (col < u32(uniforms.cols) / 4u) {
        result[(workgroupId.z * u32(uniforms.rows) + row) * (u32(uniforms.cols) / 4u) + col] = sum;
      }
    }
  }
}
