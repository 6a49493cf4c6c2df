/** What a look at the group has told. */
export interface GroupChange {
  /** Members that are gone. */
  readonly left: readonly number[];
  /** Sockets that we did not know of. */
  readonly joined: readonly number[];
  /** Members whose index is not known now, by this change or an earlier one. */
  readonly uncertain: readonly number[];
}

/**
 * The order of a SO_REUSEPORT group's members, by which a program names them. Nobody can ask the kernel for it, so it
 * is followed from the first member on: who begins to listen is the last, and the last takes the place of a listener
 * that leaves. Members are known by their inode. One leaves when its last fd, in whatever process, is closed.
 *
 * What several joined or left between two looks leaves open is who of them was the first. Then the index of some
 * members is uncertain, until enough others have left.
 *
 * @see reuseport_add_sock(), reuseport_detach_sock() in net/core/sock_reuseport.c
 */
export class GroupOrder {
  /** By index; undefined where an uncertain member is. */
  #places: (number | undefined)[];
  /** The members that are at the undefined places, as many as there are. */
  #uncertain = new Set<number>();

  constructor(members: Iterable<number> = []) {
    this.#places = [...members];
  }

  /** The socket begins to listen. */
  join(inode: number): void {
    if (!this.has(inode)) this.#places.push(inode);
  }

  /** The socket has stopped to listen, or its last fd is closed. */
  leave(inode: number): void {
    if (!this.has(inode)) return;
    const last = this.#places.pop();
    if (!this.#uncertain.delete(inode)) {
      const index = this.#places.indexOf(inode);
      if (index !== -1) this.#places[index] = last;
    } else if (last !== undefined) {
      // It was at one of the uncertain places, and the last is now.
      this.#uncertain.add(last);
    }
    this.#settle();
  }

  /** Brings the order up to what the kernel shows now: the inodes of all sockets that listen at this address. */
  sync(inodes: Iterable<number>): GroupChange {
    const seen = new Set(inodes);
    const left = this.members().filter((inode) => !seen.has(inode));
    const joined = [...seen].filter((inode) => !this.has(inode));
    if (left.length + joined.length > 1) this.#changeAtOnce(new Set(left), joined);
    else {
      for (const inode of left) this.leave(inode);
      for (const inode of joined) this.join(inode);
    }
    return { left, joined, uncertain: this.uncertain() };
  }

  /** Undefined when it is uncertain, or no member. */
  indexOf(inode: number): number | undefined {
    const index = this.#places.indexOf(inode);
    return index === -1 ? undefined : index;
  }

  /** Every index that the member may have: one, unless it is uncertain. */
  indexesOf(inode: number): readonly number[] {
    if (this.#uncertain.has(inode)) return this.#open();
    const index = this.indexOf(inode);
    return index === undefined ? [] : [index];
  }

  /** Members that may have another index once this one has left: the last, and whoever is uncertain. */
  movedBy(inode: number): readonly number[] {
    const last = this.#places.at(-1);
    return [...this.#uncertain, ...(last === undefined ? [] : [last])].filter((one) => one !== inode);
  }

  /**
   * The indexes that these have between them, whoever has which; undefined when one of them may be another member's, or
   * one is no member.
   */
  indexesOfAll(inodes: Iterable<number>): readonly number[] | undefined {
    const wanted = new Set(inodes);
    const uncertain = this.uncertain().filter((inode) => wanted.has(inode)).length;
    if (uncertain !== 0 && uncertain !== this.#uncertain.size) return undefined;
    const indexes = [...this.#places.keys()].filter((index) => {
      const inode = this.#places[index];
      return inode === undefined ? uncertain > 0 : wanted.has(inode);
    });
    return indexes.length === wanted.size ? indexes : undefined;
  }

  /** The members whose index is not known. */
  uncertain(): readonly number[] {
    return [...this.#uncertain];
  }

  has(inode: number): boolean {
    return this.#uncertain.has(inode) || this.#places.includes(inode);
  }

  /** In their order, those of uncertain index last. */
  members(): readonly number[] {
    return [...this.#places.filter((inode) => inode !== undefined), ...this.#uncertain];
  }

  /** Members leave and strangers join, in any order. */
  #changeAtOnce(left: ReadonlySet<number>, joined: readonly number[]): void {
    // However they follow on each other, only members from this place on can be the last when one leaves.
    const firm = this.#places.length - left.size;
    const [head, tail] = [this.#places.slice(0, firm), this.#places.slice(firm)];
    const moved = [...tail.filter((inode) => inode !== undefined), ...this.#uncertain];
    this.#uncertain = new Set([...moved.filter((inode) => !left.has(inode)), ...joined]);
    this.#places = [
      ...head.map((inode) => (inode === undefined || left.has(inode) ? undefined : inode)),
      ...joined.map(() => undefined),
    ];
    this.#settle();
  }

  /** One member and one place are certain again. */
  #settle(): void {
    const [only, ...others] = this.#uncertain;
    if (only === undefined || others.length > 0) return;
    this.#places[this.#places.indexOf(undefined)] = only;
    this.#uncertain.clear();
  }

  #open(): readonly number[] {
    return [...this.#places.keys()].filter((index) => this.#places[index] === undefined);
  }
}
