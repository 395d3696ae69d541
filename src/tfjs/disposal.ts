/**
 * Tells when the data of a tensor is disposed. tfjs has no event for it, so disposeData() of the backend is wrapped,
 * once per backend. What is kept beside a tensor (weights in another layout, or dense) is freed with it.
 *
 * A tensor's data is named by its dataId. Tensors are immutable, and a variable gets another dataId with each
 * assignment, so what is kept for a dataId never becomes stale.
 */
import type {KernelBackend} from '@tensorflow/tfjs-core';

type Actions = Map<object, Array<() => void>>;

const actionsOf = new WeakMap<KernelBackend, Actions>();

/** Runs `action` once, after the data is disposed on this backend or moved to another one. */
export function onDisposal(backend: KernelBackend, dataId: object, action: () => void): void {
  let actions = actionsOf.get(backend);
  if (!actions) {
    actions = new Map();
    actionsOf.set(backend, actions);
    wrapDisposeData(backend, actions);
  }
  actions.set(dataId, [...actions.get(dataId) ?? [], action]);
}

function wrapDisposeData(backend: KernelBackend, actions: Actions): void {
  const disposeData = backend.disposeData.bind(backend);
  backend.disposeData = (dataId, force) => {
    // False while other tensors refer to the same data.
    const disposed = disposeData(dataId, force);
    if (disposed) {
      const due = actions.get(dataId);
      actions.delete(dataId);
      due?.forEach(action => action());
    }
    return disposed;
  };
}
