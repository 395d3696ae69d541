/**
 * Records which WebGPU devices were lost. A lost device throws nothing: programs do not run, and errors arrive late
 * and, in Dawn, with an empty message. So every entry point calls checkDevice or unlessLost, which throw a clear error.
 */

const losses = new WeakMap<GPUDevice, GPUDeviceLostInfo | undefined>();

/** Notes the loss of the device when it happens. */
export function watchLoss(device: GPUDevice): void {
  if (!losses.has(device)) {
    losses.set(device, undefined);
    void device.lost.then(info => losses.set(device, info));
  }
}

/**
 * @param caller the function, as the message names it.
 * @throws Error if the device is known to be lost; it says why, and what to do.
 */
export function checkDevice(caller: string, device: GPUDevice): void {
  const loss = losses.get(device);
  if (loss) {
    throw lossError(caller, loss);
  }
}

/**
 * Waits for work on the device. Without this, work interrupted by the loss would seem to succeed, or never settle.
 * @throws what the work throws, or Error once the device is lost.
 */
export async function unlessLost<T>(caller: string, device: GPUDevice, work: () => Promise<T>): Promise<T> {
  watchLoss(device);
  await Promise.resolve(); // a loss before this call is noted by then
  checkDevice(caller, device);
  const loss = device.lost.then(info => {
    throw lossError(caller, info);
  });
  const result = await Promise.race([loss, work()]);
  checkDevice(caller, device);
  return result;
}

function lossError(caller: string, {reason, message}: GPUDeviceLostInfo): Error {
  const why = `${reason || 'unknown'}: ${message || 'no message'}`;
  return new Error(`${caller}: the WebGPU device was lost (${why}), and all tensors on it; ` +
    'create the backend again (tf.removeBackend, tf.registerBackend, tf.setBackend) and load the model again.');
}
