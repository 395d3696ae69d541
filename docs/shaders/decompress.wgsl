// decompress: 8:32v32
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
var<workgroup> tile: array<f32, 4096>;
fn main() {
  let id = workgroupId.x + workgroupId.y * numWorkgroups.x;
  let vecStart = (id % u32(uniforms.colTiles)) * 16u;
  let rowTile = id / u32(uniforms.colTiles);
  let rowStart = rowTile * 64u;
  // Clear the tile.
  for (var at = localIndex; at < 4096u; at += 128u) {
    tile[at] = 0.0;
  }
  workgroupBarrier();
  let vecInTile = localIndex % 16u;
  let col = (vecStart + vecInTile) * 4u;
  let first = rowTile * 16u;
  let end = min(first + 16u, u32(uniforms.keptRows));
  // Scatter the kept values to their rows. Columns past the last have no offsets.
  if (col < u32(uniforms.cols)) {
    for (var start = (first / 4u + localIndex / 16u) * 4u; start < end;
      start += 32u) {
      let word0 = offsetWord((col + 0u) / 32u, start);
      let value0 = stored4(start + 0u, col / 4u);
      let value1 = stored4(start + 1u, col / 4u);
      let value2 = stored4(start + 2u, col / 4u);
      let value3 = stored4(start + 3u, col / 4u);
      if (start + 0u >= first && start + 0u < end) {
        let value = unpack4(value0);
        let window = (start + 0u - first) / 8u * 32u;
        { tile[(window + ((word0 >> (0u * OFFSET_BITS)) & OFFSET_MASK)) * 64u + 0u + vecInTile] = value[0]; }
        { tile[(window + ((word0 >> (0u * OFFSET_BITS)) & OFFSET_MASK)) * 64u + 16u + vecInTile] = value[1]; }
        { tile[(window + ((word0 >> (0u * OFFSET_BITS)) & OFFSET_MASK)) * 64u + 32u + vecInTile] = value[2]; }
        { tile[(window + ((word0 >> (0u * OFFSET_BITS)) & OFFSET_MASK)) * 64u + 48u + vecInTile] = value[3]; }
      }
      if (start + 1u >= first && start + 1u < end) {
        let value = unpack4(value1);
        let window = (start + 1u - first) / 8u * 32u;
        { tile[(window + ((word0 >> (1u * OFFSET_BITS)) & OFFSET_MASK)) * 64u + 0u + vecInTile] = value[0]; }
        { tile[(window + ((word0 >> (1u * OFFSET_BITS)) & OFFSET_MASK)) * 64u + 16u + vecInTile] = value[1]; }
        { tile[(window + ((word0 >> (1u * OFFSET_BITS)) & OFFSET_MASK)) * 64u + 32u + vecInTile] = value[2]; }
        { tile[(window + ((word0 >> (1u * OFFSET_BITS)) & OFFSET_MASK)) * 64u + 48u + vecInTile] = value[3]; }
      }
      if (start + 2u >= first && start + 2u < end) {
        let value = unpack4(value2);
        let window = (start + 2u - first) / 8u * 32u;
        { tile[(window + ((word0 >> (2u * OFFSET_BITS)) & OFFSET_MASK)) * 64u + 0u + vecInTile] = value[0]; }
        { tile[(window + ((word0 >> (2u * OFFSET_BITS)) & OFFSET_MASK)) * 64u + 16u + vecInTile] = value[1]; }
        { tile[(window + ((word0 >> (2u * OFFSET_BITS)) & OFFSET_MASK)) * 64u + 32u + vecInTile] = value[2]; }
        { tile[(window + ((word0 >> (2u * OFFSET_BITS)) & OFFSET_MASK)) * 64u + 48u + vecInTile] = value[3]; }
      }
      if (start + 3u >= first && start + 3u < end) {
        let value = unpack4(value3);
        let window = (start + 3u - first) / 8u * 32u;
        { tile[(window + ((word0 >> (3u * OFFSET_BITS)) & OFFSET_MASK)) * 64u + 0u + vecInTile] = value[0]; }
        { tile[(window + ((word0 >> (3u * OFFSET_BITS)) & OFFSET_MASK)) * 64u + 16u + vecInTile] = value[1]; }
        { tile[(window + ((word0 >> (3u * OFFSET_BITS)) & OFFSET_MASK)) * 64u + 32u + vecInTile] = value[2]; }
        { tile[(window + ((word0 >> (3u * OFFSET_BITS)) & OFFSET_MASK)) * 64u + 48u + vecInTile] = value[3]; }
      }
    }
  }
  workgroupBarrier();
  // Write the tile.
  for (var at = localIndex; at < 1024u; at += 128u) {
    let row = at / 16u;
    let vec = at % 16u;
    if (rowStart + row < u32(uniforms.depth)) {
      if ((vecStart + vec) < u32(uniforms.cols) / 4u) {
        result[(rowStart + row) * (u32(uniforms.cols) / 4u) + (vecStart + vec)] = vec4<f32>(tile[(row) * 64u + 0u + vec], tile[(row) * 64u + 16u + vec], tile[(row) * 64u + 32u + vec], tile[(row) * 64u + 48u + vec]);
      }
    }
  }
}
