export interface Slab {
  readonly objectBytes: number;
  /** Of the pages that it has, with objects in them or without. */
  readonly bytes: number;
}

const PAGE_BYTES = 4096;

/** One of the kernel's slabs in the text of /proc/slabinfo; undefined when it has none of that name. @see slabinfo(5) */
export function slabIn(text: string, name: string): Slab | undefined {
  const line = text.split('\n').find((one) => one.startsWith(`${name} `));
  const [, head = '', , data = ''] =
    /^\S+ +([\d ]+): tunables([\d ]+): slabdata([\d ]+)$/.exec(line ?? '') ?? [];
  const [, , objectBytes, , pagesPerSlab] = head.trim().split(/ +/).map(Number);
  const [, slabs] = data.trim().split(/ +/).map(Number);
  if (objectBytes === undefined || pagesPerSlab === undefined || slabs === undefined) return undefined;
  return { objectBytes, bytes: slabs * pagesPerSlab * PAGE_BYTES };
}
