/**
 * The layers of a model, each with its place in the model's configuration.
 */
import type {layers, LayersModel} from '@tensorflow/tfjs-layers';
import {NMDense} from '../../layers/nm_dense.js';

export type Layer = layers.Layer;
export type Container = Layer & {layers: Layer[]};

/** A layer as getConfig writes it into a container's. */
export interface LayerJson {
  className: string;
  config: Record<string, unknown> & {name?: string; layers?: LayerJson[]; layer?: LayerJson};
}

/** A layer, where it stands in the topology, and the Dense in it if it is one or wraps one. */
export interface Found {
  layer: Layer;
  json: LayerJson;
  /** The layer's name, behind those of the models it is nested in: 'encoder/dense_1'. */
  path: string;
  dense?: Layer;
}

/** A copy of a model's configuration, to be rewritten. */
export function topologyOf(model: LayersModel): LayerJson {
  return JSON.parse(JSON.stringify({className: model.getClassName(), config: model.getConfig()})) as LayerJson;
}

/** Every layer of a container that is not a container itself, with its JSON, in order. */
export function findLayers(container: Container, json: LayerJson, prefix = ''): Found[] {
  return container.layers.flatMap(layer => {
    const at = json.config.layers?.find(({config}) => config.name === layer.name) as LayerJson;
    const path = prefix + layer.name;
    if (isContainer(layer)) {
      return findLayers(layer, at, `${path}/`);
    }
    const inner = wrapped(layer);
    if (inner && isContainer(inner)) {
      return findLayers(inner, at.config.layer as LayerJson, `${path}/`);
    }
    const dense = isDense(layer) ? layer : layer.getClassName() === 'TimeDistributed' && inner && isDense(inner) ?
      inner : undefined;
    return [{layer, json: at, path, dense}];
  });
}

/** Whether it is a tfjs model. A custom layer with inner layers is not one: only its own getConfig describes them. */
export function isContainer(layer: Layer): layer is Container {
  const {layers, getLayer} = layer as {layers?: unknown; getLayer?: unknown};
  return Array.isArray(layers) && typeof getLayer === 'function';
}

/** The layer inside a wrapper (TimeDistributed, Bidirectional), whose configuration has it. */
export function wrapped(layer: Layer): Layer | undefined {
  const {layer: inner} = layer as {layer?: Layer};
  return inner && layer.getConfig().layer ? inner : undefined;
}

/** Dense or NMDense themselves; a subclass of the user's may multiply otherwise. */
export function isDense(layer: Layer): boolean {
  return ['Dense', NMDense.className].includes(layer.getClassName());
}

export function hasBias(dense: Layer): boolean {
  return (dense as unknown as {useBias: boolean}).useBias;
}

/** [k, n] */
export function kernelShape(dense: Layer): [number, number] {
  return dense instanceof NMDense ? dense.matrix().shape : dense.weights[0].shape as [number, number];
}

export function weightCount(layer: Layer): number {
  return layer.weights.reduce((sum, {shape}) => sum + shape.reduce((a, b) => (a as number) * (b as number), 1)!, 0);
}
