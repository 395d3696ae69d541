// gemv_spread: 4 × 1024 × 1024, 2:4: gemv, rows 4, turn 4, k-major, vecCols 32, threads 256, splits 2
const OFFSET_BITS = 2u;
const OFFSET_MASK = 3u;
fn offsetWord(group: u32, j: u32) -> u32 {
  let word = bitcast<u32>(indices[group * u32(uniforms.wordsPerGroup) + j / 16u]);
  return word >> ((j % 16u) * OFFSET_BITS);
}
fn windowOffset(group: u32, j: u32) -> u32 {
  return offsetWord(group, j) & OFFSET_MASK;
}
fn rowOf(j: u32, offset: u32) -> u32 {
  return (j / 2u) * 4u + offset;
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
var<workgroup> sums: array<vec4<f32>, 1024>;
fn main() {
  // The columns and rows of y of this workgroup; the kept rows of its split.
  let tile = workgroupId.x + workgroupId.y * numWorkgroups.x;
  let col = (tile % u32(uniforms.colTiles)) * 32u + localIndex % 32u;
  let rowStart = (tile / u32(uniforms.colTiles)) * 4u;
  let slice = localIndex / 32u;
  let lastRow = u32(uniforms.depth) - 1u;
  let start = workgroupId.z * u32(uniforms.keptPerSplit);
  let end = min(start + u32(uniforms.keptPerSplit), u32(uniforms.keptRows));
  let xStride = u32(uniforms.xStride);
  let xStart = rowStart / 4u;
  var sum0 = vec4<f32>(0.0);
  var sum1 = vec4<f32>(0.0);
  var sum2 = vec4<f32>(0.0);
  var sum3 = vec4<f32>(0.0);
  var j = start + slice * 4u;
  // Prefetch the first iteration.
  var word0_0 = offsetWord((col * 4u + 0u) / 1u, j + 0u);
  var word0_1 = offsetWord((col * 4u + 1u) / 1u, j + 0u);
  var word0_2 = offsetWord((col * 4u + 2u) / 1u, j + 0u);
  var word0_3 = offsetWord((col * 4u + 3u) / 1u, j + 0u);
  var value0 = stored4(j + 0u, col);
  var value1 = stored4(j + 1u, col);
  var value2 = stored4(j + 2u, col);
  var value3 = stored4(j + 3u, col);
  // Every iteration but a slice's last: prefetch the next, multiply this one.
  for (; j + 32u < end; j += 32u) {
    let later0_0 = offsetWord((col * 4u + 0u) / 1u, j + 32u + 0u);
    let later0_1 = offsetWord((col * 4u + 1u) / 1u, j + 32u + 0u);
    let later0_2 = offsetWord((col * 4u + 2u) / 1u, j + 32u + 0u);
    let later0_3 = offsetWord((col * 4u + 3u) / 1u, j + 32u + 0u);
    let next_value0 = stored4(j + 32u + 0u, col);
    let next_value1 = stored4(j + 32u + 1u, col);
    let next_value2 = stored4(j + 32u + 2u, col);
    let next_value3 = stored4(j + 32u + 3u, col);
    let words = vec4<u32>(word0_0, word0_1, word0_2, word0_3);
    let offset0 = (words >> vec4<u32>(0u * OFFSET_BITS)) & vec4<u32>(OFFSET_MASK);
    let weight0 = unpack4(value0);
    let offset1 = (words >> vec4<u32>(1u * OFFSET_BITS)) & vec4<u32>(OFFSET_MASK);
    let weight1 = unpack4(value1);
    let offset2 = (words >> vec4<u32>(2u * OFFSET_BITS)) & vec4<u32>(OFFSET_MASK);
    let weight2 = unpack4(value2);
    let offset3 = (words >> vec4<u32>(3u * OFFSET_BITS)) & vec4<u32>(OFFSET_MASK);
    let weight3 = unpack4(value3);
    {
      let row = (j / 2u) * 4u + 0u;
      let at = row * xStride + xStart;
      let in0 = x[at + 0u];
      let weight = select(vec4<f32>(0.0), weight0, offset0 == vec4<u32>(0u));
      sum0 += in0[0] * weight;
      sum1 += in0[1] * weight;
      sum2 += in0[2] * weight;
      sum3 += in0[3] * weight;
    }
    {
      let row = (j / 2u) * 4u + 1u;
      let at = row * xStride + xStart;
      let in0 = x[at + 0u];
      let weight = select(select(vec4<f32>(0.0), weight0, offset0 == vec4<u32>(1u)), weight1, offset1 == vec4<u32>(1u));
      sum0 += in0[0] * weight;
      sum1 += in0[1] * weight;
      sum2 += in0[2] * weight;
      sum3 += in0[3] * weight;
    }
    {
      let row = (j / 2u) * 4u + 2u;
      let at = row * xStride + xStart;
      let in0 = x[at + 0u];
      let weight = select(select(vec4<f32>(0.0), weight0, offset0 == vec4<u32>(2u)), weight1, offset1 == vec4<u32>(2u));
      sum0 += in0[0] * weight;
      sum1 += in0[1] * weight;
      sum2 += in0[2] * weight;
      sum3 += in0[3] * weight;
    }
    {
      let row = (j / 2u) * 4u + 3u;
      let at = row * xStride + xStart;
      let in0 = x[at + 0u];
      let weight = select(vec4<f32>(0.0), weight1, offset1 == vec4<u32>(3u));
      sum0 += in0[0] * weight;
      sum1 += in0[1] * weight;
      sum2 += in0[2] * weight;
      sum3 += in0[3] * weight;
    }
    {
      let row = (j / 2u) * 4u + 4u;
      let at = row * xStride + xStart;
      let in0 = x[at + 0u];
      let weight = select(vec4<f32>(0.0), weight2, offset2 == vec4<u32>(0u));
      sum0 += in0[0] * weight;
      sum1 += in0[1] * weight;
      sum2 += in0[2] * weight;
      sum3 += in0[3] * weight;
    }
    {
      let row = (j / 2u) * 4u + 5u;
      let at = row * xStride + xStart;
      let in0 = x[at + 0u];
      let weight = select(select(vec4<f32>(0.0), weight2, offset2 == vec4<u32>(1u)), weight3, offset3 == vec4<u32>(1u));
      sum0 += in0[0] * weight;
      sum1 += in0[1] * weight;
      sum2 += in0[2] * weight;
      sum3 += in0[3] * weight;
    }
    {
      let row = (j / 2u) * 4u + 6u;
      let at = row * xStride + xStart;
      let in0 = x[at + 0u];
      let weight = select(select(vec4<f32>(0.0), weight2, offset2 == vec4<u32>(2u)), weight3, offset3 == vec4<u32>(2u));
      sum0 += in0[0] * weight;
      sum1 += in0[1] * weight;
      sum2 += in0[2] * weight;
      sum3 += in0[3] * weight;
    }
    {
      let row = (j / 2u) * 4u + 7u;
      let at = row * xStride + xStart;
      let in0 = x[at + 0u];
      let weight = select(vec4<f32>(0.0), weight3, offset3 == vec4<u32>(3u));
      sum0 += in0[0] * weight;
      sum1 += in0[1] * weight;
      sum2 += in0[2] * weight;
      sum3 += in0[3] * weight;
    }
    word0_0 = later0_0;
    word0_1 = later0_1;
    word0_2 = later0_2;
    word0_3 = later0_3;
    value0 = next_value0;
    value1 = next_value1;
    value2 = next_value2;
    value3 = next_value3;
  }
  // The last iteration of a slice prefetches nothing. It may be partial or empty; so may its last window be.
  if (j < end) {
    let words = vec4<u32>(word0_0, word0_1, word0_2, word0_3);
    let offset0 = (words >> vec4<u32>(0u * OFFSET_BITS)) & vec4<u32>(OFFSET_MASK);
    let weight0 = select(vec4<f32>(0.0), unpack4(value0), j + 0u < end);
    let offset1 = (words >> vec4<u32>(1u * OFFSET_BITS)) & vec4<u32>(OFFSET_MASK);
    let weight1 = select(vec4<f32>(0.0), unpack4(value1), j + 1u < end);
    let offset2 = (words >> vec4<u32>(2u * OFFSET_BITS)) & vec4<u32>(OFFSET_MASK);
    let weight2 = select(vec4<f32>(0.0), unpack4(value2), j + 2u < end);
    let offset3 = (words >> vec4<u32>(3u * OFFSET_BITS)) & vec4<u32>(OFFSET_MASK);
    let weight3 = select(vec4<f32>(0.0), unpack4(value3), j + 3u < end);
    {
      let row = (j / 2u) * 4u + 0u;
      let at = min(row, lastRow) * xStride + xStart;
      let in0 = select(vec4<f32>(0.0), x[at + 0u], row <= lastRow);
      let weight = select(vec4<f32>(0.0), weight0, offset0 == vec4<u32>(0u));
      sum0 += in0[0] * weight;
      sum1 += in0[1] * weight;
      sum2 += in0[2] * weight;
      sum3 += in0[3] * weight;
    }
    {
      let row = (j / 2u) * 4u + 1u;
      let at = min(row, lastRow) * xStride + xStart;
      let in0 = select(vec4<f32>(0.0), x[at + 0u], row <= lastRow);
      let weight = select(select(vec4<f32>(0.0), weight0, offset0 == vec4<u32>(1u)), weight1, offset1 == vec4<u32>(1u));
      sum0 += in0[0] * weight;
      sum1 += in0[1] * weight;
      sum2 += in0[2] * weight;
      sum3 += in0[3] * weight;
    }
    {
      let row = (j / 2u) * 4u + 2u;
      let at = min(row, lastRow) * xStride + xStart;
      let in0 = select(vec4<f32>(0.0), x[at + 0u], row <= lastRow);
      let weight = select(select(vec4<f32>(0.0), weight0, offset0 == vec4<u32>(2u)), weight1, offset1 == vec4<u32>(2u));
      sum0 += in0[0] * weight;
      sum1 += in0[1] * weight;
      sum2 += in0[2] * weight;
      sum3 += in0[3] * weight;
    }
    {
      let row = (j / 2u) * 4u + 3u;
      let at = min(row, lastRow) * xStride + xStart;
      let in0 = select(vec4<f32>(0.0), x[at + 0u], row <= lastRow);
      let weight = select(vec4<f32>(0.0), weight1, offset1 == vec4<u32>(3u));
      sum0 += in0[0] * weight;
      sum1 += in0[1] * weight;
      sum2 += in0[2] * weight;
      sum3 += in0[3] * weight;
    }
    {
      let row = (j / 2u) * 4u + 4u;
      let at = min(row, lastRow) * xStride + xStart;
      let in0 = select(vec4<f32>(0.0), x[at + 0u], row <= lastRow);
      let weight = select(vec4<f32>(0.0), weight2, offset2 == vec4<u32>(0u));
      sum0 += in0[0] * weight;
      sum1 += in0[1] * weight;
      sum2 += in0[2] * weight;
      sum3 += in0[3] * weight;
    }
    {
      let row = (j / 2u) * 4u + 5u;
      let at = min(row, lastRow) * xStride + xStart;
      let in0 = select(vec4<f32>(0.0), x[at + 0u], row <= lastRow);
      let weight = select(select(vec4<f32>(0.0), weight2, offset2 == vec4<u32>(1u)), weight3, offset3 == vec4<u32>(1u));
      sum0 += in0[0] * weight;
      sum1 += in0[1] * weight;
      sum2 += in0[2] * weight;
      sum3 += in0[3] * weight;
    }
    {
      let row = (j / 2u) * 4u + 6u;
      let at = min(row, lastRow) * xStride + xStart;
      let in0 = select(vec4<f32>(0.0), x[at + 0u], row <= lastRow);
      let weight = select(select(vec4<f32>(0.0), weight2, offset2 == vec4<u32>(2u)), weight3, offset3 == vec4<u32>(2u));
      sum0 += in0[0] * weight;
      sum1 += in0[1] * weight;
      sum2 += in0[2] * weight;
      sum3 += in0[3] * weight;
    }
    {
      let row = (j / 2u) * 4u + 7u;
      let at = min(row, lastRow) * xStride + xStart;
      let in0 = select(vec4<f32>(0.0), x[at + 0u], row <= lastRow);
      let weight = select(vec4<f32>(0.0), weight3, offset3 == vec4<u32>(3u));
      sum0 += in0[0] * weight;
      sum1 += in0[1] * weight;
      sum2 += in0[2] * weight;
      sum3 += in0[3] * weight;
    }
  }
  // Add up the slices and store.
  sums[0u + localIndex] = sum0;
  sums[256u + localIndex] = sum1;
  sums[512u + localIndex] = sum2;
  sums[768u + localIndex] = sum3;
  workgroupBarrier();
  if (slice < 4u) {
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
