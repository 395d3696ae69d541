// gather_kept: 8:32v32
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
fn main(index : i32) {
  if (index < uniforms.size) {
    let j = u32(index / uniforms.cols);
    let col = u32(index % uniforms.cols);
    let row = rowOf(j, windowOffset(col / 32u, j));
    result[index] = f32(dense[min(row, u32(uniforms.depth) - 1u) * u32(uniforms.cols) + col]);
  }
}
