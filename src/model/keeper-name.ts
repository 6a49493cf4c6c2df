/** What a keeper may be called. */
export const KEEPER_NAME: RegExp = /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/;

/** The name of a keeper that was given none: its folder's, with other characters made `-`. */
export function defaultName(directory: string): string {
  const name = directory
    .replace(/\/+$/, '')
    .replace(/^.*\//s, '')
    .replace(/[^A-Za-z0-9._-]+/g, '-')
    .replace(/^[^A-Za-z0-9]+/, '')
    .slice(0, 64);
  return name === '' ? 'app' : name;
}
