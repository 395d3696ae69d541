/** What is needed to predict once before a trace: inputs on the GPU, and a look at what predict leaves behind. */
import {engine, type BackendValues, type DataType, type Tensor} from '@tensorflow/tfjs-core';
import type {WebGPUBackend} from '@tensorflow/tfjs-backend-webgpu';
import {dataOf, override} from './internals.js';

/** @returns a new tensor with the same data, which lies on the GPU, so that tfjs runs no op on it on the CPU. */
export function onGPU(webgpu: WebGPUBackend, tensor: Tensor): Tensor {
  const {resource, values, dtype} = dataOf(webgpu, tensor.dataId);
  if (resource != null || !values) {
    return tensor.clone();
  }
  const {dataId} = webgpu.makeTensorInfo(tensor.shape, dtype, values as Float32Array);
  webgpu.uploadToGPU(dataId);
  return engine().makeTensorFromTensorInfo({dataId, shape: tensor.shape, dtype: tensor.dtype}, webgpu);
}

/**
 * Counts the tensors that a function leaves behind.
 * @returns how many tensors' data made by the function outlives it.
 * @throws what the function throws; what a kernel had made by then is disposed.
 */
export function countSurvivors(webgpu: WebGPUBackend, run: () => void): number {
  const created: object[] = [];
  const write = webgpu.write.bind(webgpu);
  const restore = override(webgpu, 'write', (values: BackendValues, shape: number[], dtype: DataType) => {
    const dataId = write(values, shape, dtype);
    created.push(dataId);
    return dataId;
  });
  const isTensor = (dataId: object) => engine().state.tensorInfo.has(dataId);
  const alive = () => created.filter(dataId => webgpu.tensorMap.has(dataId) && dataOf(webgpu, dataId).refCount > 0);
  try {
    run();
  } catch (error) {
    alive().filter(dataId => !isTensor(dataId)).forEach(dataId => webgpu.disposeData(dataId, true));
    throw error;
  } finally {
    restore();
  }
  return alive().filter(isTensor).length;
}
