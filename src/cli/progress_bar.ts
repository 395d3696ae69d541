/**
 * The progress bar: on stderr, so that the report on stdout can be piped; only where somebody looks.
 */
import cliProgress from 'cli-progress';
import type {PruneProgress} from '../index.js';
import {printable} from './printable.js';

/** Characters of a layer's name beside the bar. */
const MOST_SHOWN = 40;

export interface ProgressBar {
  update(progress: PruneProgress): void;
  stop(): void;
}

/** A bar on this stream; one that shows nothing if the stream is no terminal or `quiet` is set. */
export function progressBar(stream: NodeJS.WriteStream, quiet: boolean): ProgressBar {
  if (quiet || !stream.isTTY) {
    return {update: () => undefined, stop: () => undefined};
  }
  const bar = new cliProgress.SingleBar({
    stream,
    format: 'pruning {bar} {percentage}% | {layer}',
    hideCursor: true,
    clearOnComplete: true,
  }, cliProgress.Presets.shades_classic);
  bar.start(1, 0, {layer: ''});
  return {
    update: ({fraction, layer}) => bar.update(fraction, {layer: printable(layer, MOST_SHOWN)}),
    stop: () => bar.stop(),
  };
}
