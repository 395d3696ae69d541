/** The modules that plugin.mjs compiles from assembly/. */
declare module '*.wasm' {
  const bytes: Uint8Array;
  export default bytes;
}
