/**
 * The two ways a run can fail, told apart because the exit code does: a UsageError means that the command line is wrong
 * whatever lies on the disk (exit 2); every other Error means that this run could not be done (exit 1).
 */

/** The command line asks for something that no run could do. */
export class UsageError extends Error {
  override readonly name = 'UsageError';
}

const PLAIN_WORDS: Record<string, string> = {
  EACCES: 'permission denied',
  EBUSY: 'it is in use',
  EDQUOT: 'the disk quota is used up',
  EEXIST: 'something of that name exists already',
  EISDIR: 'it is a folder',
  ELOOP: 'its links lead in a circle',
  ENAMETOOLONG: 'the name is too long',
  ENOENT: 'there is no such file or folder',
  ENOSPC: 'no space is left on the device',
  ENOTDIR: 'part of the path is not a folder',
  EPERM: 'not permitted',
  EROFS: 'the file system is read-only',
};

/** Why an operation failed, on one line; system errors in words, with their code. */
export function reasonOf(error: unknown): string {
  const {code, message} = (error ?? {}) as Partial<NodeJS.ErrnoException>;
  const words = code === undefined ? undefined : PLAIN_WORDS[code];
  return words ? `${words} (${code})` : String(message ?? error).split('\n')[0].trim();
}
