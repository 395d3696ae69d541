export const CHROMIUM_FLAGS: string[];
export function findChrome(): Promise<string | undefined>;
