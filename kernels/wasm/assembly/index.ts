// The wasm module of kernels/wasm: y = x · W for a compressed W, on the memory of tfjs's wasm backend. It has no memory,
// table or start function of its own.

export {multiplyPanels8} from './panels8';
export {multiplyPanels4} from './panels4';
export {transpose, multiplyColumns} from './columns';
export {epilogue} from './epilogue';
