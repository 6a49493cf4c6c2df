/** What runs containers, as their cgroups name it. `kubernetes`: the path names the pod only, not its runtime. */
export type ContainerRuntime =
  | 'docker'
  | 'podman'
  | 'containerd'
  | 'cri-o'
  | 'kubernetes'
  | 'lxc'
  | 'nspawn'
  | 'libvirt'
  | 'machine';

export interface CgroupContainer {
  readonly runtime: ContainerRuntime;
  /** 64 hexadecimal digits, or the name for lxc and machines. */
  readonly id: string;
  /** Of the Kubernetes pod, with dashes. */
  readonly podUid?: string;
}

/** What the path of a cgroup tells of the processes in it. */
export interface CgroupFacts {
  /** The service or scope of the system's systemd, `nginx.service`, escapes as systemctl(1) wants them. */
  readonly unit?: string;
  /** The service of a user's systemd. */
  readonly userUnit?: string;
  /** Whose systemd that is. */
  readonly userUid?: number;
  /** The innermost slice, `system.slice`. */
  readonly slice?: string;
  /** A scope: processes that systemd did not start itself, of a login or of a desktop's program. */
  readonly scope?: string;
  /** The desktop's name of the program in `scope` or `userUnit`, escapes undone. */
  readonly application?: string;
  /** The outermost one: it is what this machine's own tools know. */
  readonly container?: CgroupContainer;
}

/**
 * Reads the path of a cgroup. Pure. Units within a container are its own and not told.
 *
 * @see systemd.unit(5), systemd.slice(5); https://systemd.io/CGROUP_DELEGATION,
 *   https://systemd.io/DESKTOP_ENVIRONMENTS
 */
export function readCgroup(path: string): CgroupFacts {
  const parts = path.split('/').filter((part) => part !== '' && part !== '..');
  const found = findContainer(parts);
  const outside = parts.slice(0, found?.at ?? parts.length).map(unprefixed);
  const managerAt = outside.findIndex((part) => USER_MANAGER.test(part));
  const own = outside.slice(managerAt + 1);
  const service = own.find((part) => part.endsWith('.service') && !(found && ENGINE.test(part)));
  // The container's own scope is no unit that somebody would stop.
  const scope = service === undefined ? own.find((part) => part.endsWith('.scope')) : undefined;
  const uid = USER_MANAGER.exec(outside[managerAt] ?? '')?.[1];
  const application = applicationOf(service ?? scope ?? '');
  return {
    ...optional('unit', managerAt < 0 ? service : undefined),
    ...optional('userUnit', managerAt < 0 ? undefined : service),
    ...optional('userUid', uid === undefined ? undefined : Number(uid)),
    ...optional(
      'slice',
      outside.findLast((part) => part.endsWith('.slice')),
    ),
    ...optional('scope', scope),
    ...optional('application', application),
    ...optional('container', found?.container),
  };
}

/** What starts containers; with some settings their cgroups are below its own, and yet it is not their service. */
const ENGINE = /^(?:docker|containerd|crio|kubelet|k3s|k3s-agent|snap\.docker\.dockerd)\.service$/;

/** A user's systemd is itself a service of the system. */
const USER_MANAGER = /^user@(\d+)\.service$/;

function optional<K extends string, T>(name: K, value: T | undefined): { readonly [name in K]?: T } {
  return value === undefined ? {} : ({ [name]: value } as { readonly [name in K]: T });
}

/** systemd puts `_` before names that would look like files of cgroupfs. @see cg_escape() in src/basic/cgroup-util.c */
function unprefixed(part: string): string {
  return part.startsWith('_') ? part.slice(1) : part;
}

/** `\x2d` and the like, as systemd-escape(1) makes them; a name that is escaped wrongly is left as it is. */
export function unescapeUnit(name: string): string {
  if (!name.includes('\\x')) return name;
  try {
    return decodeURIComponent(name.replaceAll('%', '%25').replace(/\\x([0-9a-f]{2})/g, '%$1'));
  } catch {
    return name; // URIError: no UTF-8
  }
}

/** `app[-LAUNCHER]-APPLICATION-RANDOM.scope` and `app[-LAUNCHER]-APPLICATION[@RANDOM].service`. */
function applicationOf(unit: string): string | undefined {
  const name = /^app-(?:[^-@]+-)?([^-@]+)(?:-[^-@]+\.scope|(?:@[^@]*)?\.service)$/.exec(unit)?.[1];
  return name === undefined ? undefined : unescapeUnit(name);
}

/** `at`: from which part on the path is the container's. */
interface FoundContainer {
  readonly at: number;
  readonly container: CgroupContainer;
}

function findContainer(parts: readonly string[]): FoundContainer | undefined {
  for (const [at, part] of parts.entries()) {
    const container = containerIn(part, parts.slice(0, at));
    // Of a pod, which is a container to no tool, the container within tells more.
    if (container?.runtime === 'kubernetes' && !HEX_ID.test(container.id)) {
      const within = containerIn(parts[at + 1] ?? '', parts.slice(0, at + 1));
      return { at: podBegin(parts, at), container: within ?? container };
    }
    if (container !== undefined) return { at, container };
  }
  return undefined;
}

function podBegin(parts: readonly string[], at: number): number {
  const first = parts.findIndex((part) => /^(kubelet|kubepods)(\.slice)?$/.test(part));
  return first < 0 ? at : first;
}

const HEX_ID = /^[0-9a-f]{64}$/;
const ID = '([0-9a-f]{64})';

/** Names that tell runtime and id by themselves. The groups of a pattern: the id. */
const NAMES: readonly (readonly [RegExp, ContainerRuntime])[] = [
  [new RegExp(`^docker-${ID}\\.scope$`), 'docker'],
  [new RegExp(`^libpod-(?:conmon-|payload-)?${ID}(?:\\.scope)?$`), 'podman'],
  [new RegExp(`^(?:cri-containerd|nerdctl|containerd)-${ID}\\.scope$`), 'containerd'],
  [new RegExp(`^crio-(?:conmon-)?${ID}(?:\\.scope)?$`), 'cri-o'],
  [/^lxc\.(?:payload|monitor)\.(.+)$/, 'lxc'],
  [/^systemd-nspawn@(.+)\.service$/, 'nspawn'],
];

/** Folders, and what the names in them are, when a runtime has no systemd (the cgroupfs driver). */
const FOLDERS: Readonly<Record<string, ContainerRuntime>> = {
  docker: 'docker',
  libpod_parent: 'podman',
  // Amazon's: /ecs/TASK/ID
  ecs: 'docker',
  lxc: 'lxc',
  'lxc.payload': 'lxc',
  'lxc.monitor': 'lxc',
};

function containerIn(part: string, above: readonly string[]): CgroupContainer | undefined {
  const podUid = podUidIn(part) ?? podUidIn(above.at(-1) ?? '');
  const pod = podUid === undefined ? {} : { podUid };
  for (const [pattern, runtime] of NAMES) {
    const id = pattern.exec(part)?.[1];
    if (id !== undefined) return { runtime, id: HEX_ID.test(id) ? id : unescapeUnit(id), ...pod };
  }
  const machine = /^machine-(.+)\.scope$/.exec(part)?.[1];
  if (machine !== undefined) return machineOf(unescapeUnit(machine));
  const [, prefix, id] = JOINED.exec(part) ?? [];
  if (id !== undefined) return { runtime: PREFIXES[prefix ?? ''] ?? 'containerd', id, ...pod };
  return inFolder(part, above, podUid);
}

/** The name that is meant for the systemd driver, where a runtime does not use that: SLICE:PREFIX:ID. */
const JOINED = /^[^:]*:([^:]*):([0-9a-f]{64})$/;
const PREFIXES: Readonly<Record<string, ContainerRuntime>> = { docker: 'docker', crio: 'cri-o' };

function inFolder(
  part: string,
  above: readonly string[],
  podUid: string | undefined,
): CgroupContainer | undefined {
  const runtime = FOLDERS[above.at(-1) ?? ''] ?? FOLDERS[above.at(-2) ?? ''];
  if (runtime === 'lxc' && above.length > 0) return { runtime, id: part };
  const id = /^(?:libpod-)?([0-9a-f]{64})$/.exec(part)?.[1];
  if (id !== undefined && runtime !== undefined) return { runtime, id };
  if (podUid !== undefined) return { runtime: 'kubernetes', id: id ?? podUid, podUid };
  // `/default/ID` is containerd's, by the name of its namespace; others put an id alone.
  return id === undefined ? undefined : { runtime: 'containerd', id };
}

/** systemd-machined also has virtual machines of libvirt (`qemu-1-name`) and systems of lxc. */
function machineOf(name: string): CgroupContainer {
  const guest = /^(?:qemu|lxc)-\d+-(.+)$/.exec(name)?.[1];
  if (guest !== undefined) return { runtime: 'libvirt', id: guest };
  return { runtime: 'machine', id: name };
}

const POD_UID =
  /(?:^|-)pod([0-9a-f]{8}[-_]?[0-9a-f]{4}[-_]?[0-9a-f]{4}[-_]?[0-9a-f]{4}[-_]?[0-9a-f]{12})(?:\.slice)?(?::|$)/;

/** `kubepods-burstable-podUID.slice`, dashes as underscores, or `podUID`; static pods have no dashes at all. */
function podUidIn(part: string): string | undefined {
  return POD_UID.exec(part)?.[1]?.replaceAll('_', '-');
}
