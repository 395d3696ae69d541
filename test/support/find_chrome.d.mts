export function findChrome(): Promise<string | undefined>;
