/**
 * What a conversion reports: every layer, what became of it, and what that saves. The same for every kind of model.
 */

export interface LayerReport {
  /** The layer's path: its name, behind those of the models it is nested in ('encoder/dense_1'). */
  name: string;
  className: string;
  converted: boolean;
  /** [k, n] of the kernel, where there is one. */
  shape?: [number, number];
  /** The pattern it got, e.g. '8:32v32'. */
  pattern?: string;
  /** Bytes of the layer's weights, before and after. */
  bytesBefore: number;
  bytesAfter: number;
  /** Multiply-adds of the dense layer for one sample; sizes that the model leaves open count as 1. */
  multiplyAdds: number;
  /** Share of the squared weights that was kept, 0 … 1; 1 is a conversion without loss. */
  keptEnergy?: number;
  /** Why the layer stayed as it was, or what else there is to know of it. */
  reason?: string;
}

export interface PruneReport {
  layers: LayerReport[];
  /** Bytes of all weights, before and after. */
  bytesBefore: number;
  bytesAfter: number;
}

/** The report of these layers. */
export function summarize(layers: LayerReport[]): PruneReport {
  const total = (bytes: (layer: LayerReport) => number) => layers.reduce((sum, layer) => sum + bytes(layer), 0);
  return {layers, bytesBefore: total(layer => layer.bytesBefore), bytesAfter: total(layer => layer.bytesAfter)};
}
