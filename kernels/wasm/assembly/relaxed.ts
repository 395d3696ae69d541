// The loops of index.ts that multiply and add, for a second module with relaxed SIMD. It replaces them where the engine
// has the feature: a fused multiply-add is one instruction instead of two.

export {multiplyPanels8} from './panels8';
export {multiplyPanels4} from './panels4';
export {multiplyColumns} from './columns';
