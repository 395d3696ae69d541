/** What a call fails with. */

/** The message of the Error that a call throws or rejects with; 'no error' if it does neither. */
export async function messageOf(call: () => unknown): Promise<string> {
  try {
    await call();
  } catch (error) {
    return (error as Error).message;
  }
  return 'no error';
}
