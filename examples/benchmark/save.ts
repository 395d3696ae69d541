/** Saves a report, in Node. */
import {renameSync, writeFileSync} from 'node:fs';

/** Writes a report as JSON. Who reads the file meanwhile finds the old report or the new one, complete. */
export function save(file: string, report: object): void {
  writeFileSync(`${file}.new`, JSON.stringify(report, null, 1));
  renameSync(`${file}.new`, file);
}
