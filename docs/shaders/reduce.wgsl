// reduce: with bias and relu
fn epilogue(sum: vec4<f32>, col: u32) -> vec4<f32> {
  let z = sum + vec4<f32>(bias[col]);
  return select(z, vec4<f32>(0.0), z < vec4<f32>(0.0));
}
fn main(index : i32) {
  if (index < uniforms.size) {
    var sum = partial[index];
    for (var split = 1; split < uniforms.splits; split++) {
      sum += partial[split * uniforms.size + index];
    }
    result[index] = epilogue(sum, u32(index % (uniforms.cols / 4)));
  }
}
