/**
 * The option `masks` of a conversion: which layer each mask is for. Checked whole before any work.
 */
import type {Tensor2D} from '@tensorflow/tfjs-core';
import {isMask} from '../format/weights.js';
import type {LayerPlan} from '../pruning/plan.js';
import {describeValue, isPlainObject} from '../util/options.js';
import {kernelShape, type Found, type Layer} from './layers/find.js';

/** Layer name or path → mask [k, n]. */
export type Masks = Record<string, Tensor2D>;

/** A mask and the key that the caller gave it under. */
export interface NamedMask {
  key: string;
  mask: Tensor2D;
}

/**
 * Finds the layer of every mask.
 * @throws Error if a key names no layer or several, or a layer that is not converted; if a mask is not [k, n].
 */
export function assignMasks(
    caller: string, masks: Masks, planned: {at: Found; plan: LayerPlan}[]): Map<Layer, NamedMask> {
  if (!isPlainObject(masks)) {
    throw new Error(`${caller}: masks is ${describeValue(masks)}; give an object {layer name or path: mask [k, n]}.`);
  }
  const byLayer = new Map<Layer, NamedMask>();
  for (const [key, mask] of Object.entries(masks)) {
    const fail = (why: string): never => {
      throw new Error(`${caller}: masks[${describeValue(key)}] ${why}.`);
    };
    const byPath = planned.filter(({at: {path}}) => path === key);
    const matching = byPath.length > 0 ? byPath : planned.filter(({at: {layer: {name}}}) => name === key);
    const paths = (of: {at: Found}[]) => of.map(({at: {path}}) => path).join(', ');
    const [first] = matching;
    if (first === undefined) {
      return fail(`names no layer; the layers are ${paths(planned)}`);
    }
    const {at: {layer, dense}, plan} = first;
    if (matching.some(({at}) => at.layer !== layer)) {
      fail(`names several layers; give one of the paths ${paths(matching)}`);
    }
    if ('reason' in plan || !dense) {
      return fail(`is for a layer that stays as it is: ${(plan as {reason: string}).reason}`);
    }
    if (byLayer.has(layer)) {
      fail(`is for the layer of masks[${describeValue(byLayer.get(layer)?.key)}]; give one mask`);
    }
    const [k, n] = kernelShape(dense);
    if (!isMask(mask, [k, n])) {
      fail(`is ${describeValue(mask)}; give a bool, int32 or float32 tensor of the kernel's shape, [${k},${n}]`);
    }
    byLayer.set(layer, {key, mask});
  }
  return byLayer;
}
