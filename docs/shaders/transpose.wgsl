// transpose: x [128, 1024]
var<workgroup> corner: array<array<f32, 65>, 32>;
fn main() {
  let tile = workgroupId.x + workgroupId.y * numWorkgroups.x;
  let rows = u32(uniforms.rows);
  let depth = u32(uniforms.depth);
  let strideVecs = u32(uniforms.stride) / 4u;
  let rowStart = (tile / u32(uniforms.depthTiles)) * 64u;
  let depthStart = (tile % u32(uniforms.depthTiles)) * 32u;
  // Read a tile along k.
  {
    let lane = localIndex % 8u;
    let source = depthStart / 4u + lane;
    for (var i = localIndex / 8u; i < 64u; i += 32u) {
      var value = vec4<f32>(0.0);
      if (rowStart + i < rows && source < depth / 4u) {
        value = vec4<f32>(x[(rowStart + i) * (depth / 4u) + source]);
      }
      corner[lane * 4u + 0u][i] = value[0]; corner[lane * 4u + 1u][i] = value[1]; corner[lane * 4u + 2u][i] = value[2]; corner[lane * 4u + 3u][i] = value[3];
    }
  }
  workgroupBarrier();
  // Write it along rows.
  let lane = localIndex % 16u;
  for (var i = localIndex / 16u; i < 32u; i += 16u) {
    if (depthStart + i < depth && rowStart / 4u + lane < strideVecs) {
      let at = lane * 4u;
      result[(depthStart + i) * strideVecs + rowStart / 4u + lane] =
      vec4<f32>(corner[i][at], corner[i][at + 1u], corner[i][at + 2u], corner[i][at + 3u]);
    }
  }
}
