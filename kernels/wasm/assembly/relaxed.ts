// The loops of index.ts that multiply and add, for a second module with relaxed SIMD. It replaces them where the engine
// has the feature: a fused multiply-add doubles what x86 can do per cycle.

export {multiplyPanels8, multiplyPanels4} from './panels';
export {multiplyColumns} from './columns';
