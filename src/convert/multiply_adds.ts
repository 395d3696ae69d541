/**
 * How many multiply-adds a layer does for one sample, from shapes alone. Every element of a kernel is used once for
 * each position of the output (a pixel, a time step), or of the input where a convolution is transposed.
 */
import type {layers} from '@tensorflow/tfjs-layers';

type Layer = layers.Layer;
type Shape = (number | null)[];
interface Node {
  inputShapes: Shape[];
  outputShapes: Shape[];
}

/**
 * Multiply-adds for one sample. Sizes that the model leaves open count as 1.
 * @param kernelShape of the dense matrix, for a layer whose own weights are compressed.
 * @returns 0 for a layer without a kernel: an embedding, a normalization.
 */
export function multiplyAdds(layer: Layer, kernelShape?: readonly number[]): number {
  const inner = (layer as {layer?: Layer}).layer ?? layer;
  const ownKernels = layer.weights.filter(({originalName}) => originalName.endsWith('kernel')).map(({shape}) => shape);
  const kernels = kernelShape ? [kernelShape] : ownKernels as number[][];
  const elements = kernels.reduce((sum, shape) => sum + shape.reduce((a, b) => a * b, 1), 0);
  const nodes = layer.inboundNodes as unknown as Node[];
  return elements * nodes.reduce((sum, node) => sum + positions(inner, node), 0);
}

/** How often a kernel is applied to one sample. */
function positions(layer: Layer, {inputShapes: [input], outputShapes: [output]}: Node): number {
  const {dataFormat, cell} = layer as {dataFormat?: string; cell?: unknown};
  const counted = cell || layer.getClassName().endsWith('Transpose') ? input : output;
  const axes = dataFormat === 'channelsFirst' ? counted.slice(2) : counted.slice(1, -1);
  return axes.reduce((product: number, size) => product * (size ?? 1), 1);
}
