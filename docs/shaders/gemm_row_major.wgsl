// gemm_row_major: 32 × 1024 × 1024, 8:32v32: gemm, packed, tileRows 32, tileCols 32, threadRows 4, threadCols 4, block 8, buffers 1, slices 1, row-major, unroll 1, xPad 0, splits 1
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
  let z = sum + vec4<f32>(bias[col]);
  return select(z, vec4<f32>(0.0), z < vec4<f32>(0.0));
}
fn xColumn(starts: vec4<u32>, k: u32) -> vec4<f32> {
  return vec4<f32>(f32(x[starts.x + k]), f32(x[starts.y + k]), f32(x[starts.z + k]), f32(x[starts.w + k]));
}
struct XRow {
  at: array<array<vec4<f32>, 8>, 1>,
}
alias XGroup = array<XRow, 8>;
alias WRow = array<array<array<vec4<f32>, 8>, 1>, 1>;
alias XTile = array<array<XGroup, 1>, 1>;
var<workgroup> xTile: array<XTile, 1>;
var<workgroup> wTile: array<array<array<WRow, 8>, 1>, 1>;
fn main() {
  // The tile of y of this workgroup.
  let tile = workgroupId.x + workgroupId.y * numWorkgroups.x;
  let colTile = tile % u32(uniforms.colTiles);
  let rowTile = tile / u32(uniforms.colTiles);
  let keptRows = u32(uniforms.keptRows);
  let depth = u32(uniforms.depth);
  let xStride = u32(uniforms.xStride);
  let xStart = rowTile * 8u;
  let wStart = colTile * 8u;
  let firstGroup = colTile * 32u / 32u;
  let steps = u32(uniforms.steps);
  // The slice and the K-tile that this thread begins with.
  const slice = 0u;
  let thread = localIndex;
  var step = workgroupId.z * steps * 1u + slice;
  // The register tile of this thread, and its accumulators.
  let lane = thread % 32u;
  let patchId = thread / 32u;
  let laneX = (lane & 1u) | ((lane / 16u) << 1u);
  let laneY = (lane / 2u) % 8u;
  let threadX = (patchId % 2u) * 4u + laneX;
  let threadY = (patchId / 2u) * 8u + laneY;
  let spanId = threadX / 8u;
  let spanLane = threadX % 8u;
  var sum0_0 = vec4<f32>(0.0);
  var sum1_0 = vec4<f32>(0.0);
  var sum2_0 = vec4<f32>(0.0);
  var sum3_0 = vec4<f32>(0.0);
  // Prefetch the first K-tile into registers.
  let xLane = thread / 8u;
  let xRow = thread % 8u;
  let xFrom = min((xStart + xLane) * 4u + vec4<u32>(0u, 1u, 2u, 3u), vec4<u32>(u32(uniforms.rows) - 1u)) * depth;
  let wLane = thread % 8u;
  let wRow = thread / 8u;
  let group0 = xRow / 8u + 0u;
  let kept0 = xRow % 8u;
  var word0 = offsetWord(firstGroup + group0, step * 8u + kept0);
  var next0: vec4<f32>;
  var next1: vec4<f32>;
  {
    let firstKept = step * 8u;
    next0 = select(vec4<f32>(0.0), xColumn(xFrom, step * 32u + (kept0 / 8u) * 32u + (word0 & OFFSET_MASK)), firstKept + kept0 < keptRows);
    next1 = select(vec4<f32>(0.0), value4(firstKept + wRow + 0u, wStart + wLane), firstKept + wRow + 0u < keptRows);
    word0 = offsetWord(firstGroup + group0, firstKept + 8u + kept0);
  }
  const buffer = 0u;
  var s = 0u;
  // K-tiles without a branch: registers to workgroup memory, prefetch the next K-tile, multiply this one.
  for (; s + 1u < u32(uniforms.fullSteps); s++) {
    workgroupBarrier();
    xTile[slice][buffer][group0][kept0].at[xLane / 8u][xLane % 8u] = next0;
    wTile[slice][buffer][wRow + 0u][wLane / 8u][(wLane % 8u) / 8u][wLane % 8u] = next1;
    workgroupBarrier();
    step += 1u;
    {
      let firstKept = step * 8u;
      next0 = xColumn(xFrom, step * 32u + (kept0 / 8u) * 32u + (word0 & OFFSET_MASK));
      next1 = value4(firstKept + wRow + 0u, wStart + wLane);
      word0 = offsetWord(firstGroup + group0, firstKept + 8u + kept0);
    }
    for (var kk = 0u; kk < 8u; kk += 1u) {
      {
        let x0_0 = xTile[slice][buffer][0u][kk + 0u].at[0][threadY];
        let w0 = wTile[slice][buffer][kk + 0u][spanId][0][spanLane];
        sum0_0 += x0_0[0] * w0;
        sum1_0 += x0_0[1] * w0;
        sum2_0 += x0_0[2] * w0;
        sum3_0 += x0_0[3] * w0;
      }
    }
  }
  // The last K-tiles, or all of a compact program, with checks for the last row and for the last K-tile.
  for (; s < steps; s++) {
    workgroupBarrier();
    xTile[slice][buffer][group0][kept0].at[xLane / 8u][xLane % 8u] = next0;
    wTile[slice][buffer][wRow + 0u][wLane / 8u][(wLane % 8u) / 8u][wLane % 8u] = next1;
    workgroupBarrier();
    step += 1u;
    if (s + 1u < steps) {
      {
        let firstKept = step * 8u;
        next0 = select(vec4<f32>(0.0), xColumn(xFrom, step * 32u + (kept0 / 8u) * 32u + (word0 & OFFSET_MASK)), firstKept + kept0 < keptRows);
        next1 = select(vec4<f32>(0.0), value4(firstKept + wRow + 0u, wStart + wLane), firstKept + wRow + 0u < keptRows);
        word0 = offsetWord(firstGroup + group0, firstKept + 8u + kept0);
      }
    }
    for (var kk = 0u; kk < 8u; kk += 1u) {
      {
        let x0_0 = xTile[slice][buffer][0u][kk + 0u].at[0][threadY];
        let w0 = wTile[slice][buffer][kk + 0u][spanId][0][spanLane];
        sum0_0 += x0_0[0] * w0;
        sum1_0 += x0_0[1] * w0;
        sum2_0 += x0_0[2] * w0;
        sum3_0 += x0_0[3] * w0;
      }
    }
  }
  // Store the register tile.
  {
    let col0 = wStart + spanId * 8u + 0u + spanLane;
    {
      let row = rowTile * 32u + (0u + threadY) * 4u + 0u;
      if (row < u32(uniforms.rows)) {
        if (col0 < u32(uniforms.cols) / 4u) {
          result[(row) * (u32(uniforms.cols) / 4u) + col0] = epilogue(sum0_0, col0);
        }
      }
    }
    {
      let row = rowTile * 32u + (0u + threadY) * 4u + 1u;
      if (row < u32(uniforms.rows)) {
        if (col0 < u32(uniforms.cols) / 4u) {
          result[(row) * (u32(uniforms.cols) / 4u) + col0] = epilogue(sum1_0, col0);
        }
      }
    }
    {
      let row = rowTile * 32u + (0u + threadY) * 4u + 2u;
      if (row < u32(uniforms.rows)) {
        if (col0 < u32(uniforms.cols) / 4u) {
          result[(row) * (u32(uniforms.cols) / 4u) + col0] = epilogue(sum2_0, col0);
        }
      }
    }
    {
      let row = rowTile * 32u + (0u + threadY) * 4u + 3u;
      if (row < u32(uniforms.rows)) {
        if (col0 < u32(uniforms.cols) / 4u) {
          result[(row) * (u32(uniforms.cols) / 4u) + col0] = epilogue(sum3_0, col0);
        }
      }
    }
  }
}
