import { askTool, type ToolAnswer } from './ask-tool.js';
import type { CgroupContainer, ContainerRuntime } from './cgroup.js';

/** What compose has written on a container. */
export interface ComposeReport {
  readonly project: string;
  readonly service: string | null;
  readonly files: readonly string[];
}

export interface ContainerReport {
  readonly runtime: ContainerRuntime;
  readonly id: string;
  readonly podUid: string | null;
  readonly name: string | null;
  readonly image: string | null;
  readonly compose: ComposeReport | null;
  /** Why name and image are not known. */
  readonly why: string | null;
}

/** A port that docker's proxy forwards, by its command line. */
export interface PublishedPort {
  readonly protocol: string;
  readonly hostIp: string;
  readonly hostPort: number;
  readonly containerIp: string;
  readonly containerPort: number;
}

/** The engines whose clients can be asked for a container. */
const CLIENTS: readonly ContainerRuntime[] = ['docker', 'podman'];

/** Names that a container's path does not have and its engine's client tells. Asked once for each container. */
export function describeContainer(found: CgroupContainer, userUid?: number): ContainerReport {
  const known = answers.get(found.id);
  if (known !== undefined) return known;
  const report = { ...bare(found), ...namesOf(found, userUid) };
  if (answers.size >= ANSWERS_MAX) answers.clear();
  answers.set(found.id, report);
  return report;
}

/** Containers do not change their names often, and the workers of a server are all in the same. */
const answers = new Map<string, ContainerReport>();
const ANSWERS_MAX = 256;

function bare({ runtime, id, podUid }: CgroupContainer): ContainerReport {
  return { runtime, id, podUid: podUid ?? null, name: null, image: null, compose: null, why: null };
}

const INSPECT = '[{{json .Name}},{{json .Config.Image}},{{json .Config.Labels}}]';

function namesOf({ runtime, id, podUid }: CgroupContainer, userUid?: number): Partial<ContainerReport> {
  // These are known by their names; only engines have numbers.
  if (['lxc', 'nspawn', 'libvirt', 'machine'].includes(runtime)) return { name: id };
  if (podUid !== undefined || !CLIENTS.includes(runtime)) return { why: `nobody is asked about ${runtime}` };
  const args = ['inspect', '--type', 'container', '--format', INSPECT, id];
  return read(askTool(runtime, args, localDaemon(runtime, userUid)), ([name, image, labels]) => ({
    name: text(name)?.replace(/^\//, '') ?? null,
    image: text(image) ?? null,
    compose: composeOf(isRecord(labels) ? labels : {}),
  }));
}

/** The daemon of this machine: a user's context may name another one, which knows nothing of our processes. */
function localDaemon(runtime: ContainerRuntime, userUid?: number): Record<string, string> {
  if (runtime !== 'docker') return {};
  const folder = userUid === undefined ? '/var/run' : `/run/user/${userUid}`;
  return { DOCKER_HOST: `unix://${folder}/docker.sock` };
}

const PS =
  '[{{json .ID}},{{json .Names}},{{json .Image}},{{json (.Label "com.docker.compose.project")}},' +
  '{{json (.Label "com.docker.compose.service")}},{{json (.Label "com.docker.compose.project.config_files")}}]';

/** The docker container that publishes the port of this machine; undefined when docker names none. */
export function publisherOf(protocol: string, port: number): ContainerReport | undefined {
  const filter = `publish=${port}/${protocol}`;
  const answer = askTool(
    'docker',
    ['ps', '--no-trunc', '--filter', filter, '--format', PS],
    localDaemon('docker'),
  );
  const lines = answer.ok ? answer.text.trim().split('\n') : [];
  // Two may publish the same port of different addresses.
  const [line = ''] = lines.length === 1 ? lines : [];
  const [id, name, image, project, service, files] = parse(line);
  if (!text(id)) return undefined;
  const labels = { [`${COMPOSE}`]: project, [`${COMPOSE}.config_files`]: files, [SERVICE]: service };
  return {
    ...bare({ runtime: 'docker', id: String(id) }),
    name: text(name) ?? null,
    image: text(image) ?? null,
    compose: composeOf(labels),
  };
}

/** What docker's proxy was told to forward; undefined for any other program. */
export function publishedPort(cmdline: readonly string[]): PublishedPort | undefined {
  if (!/(?:^|\/)(?:rootlesskit-)?docker-proxy$/.test(cmdline[0] ?? '')) return undefined;
  const value = (name: string): string =>
    (cmdline.includes(name) && cmdline[cmdline.indexOf(name) + 1]) || '';
  return {
    protocol: value('-proto'),
    hostIp: value('-host-ip'),
    hostPort: Number(value('-host-port')),
    containerIp: value('-container-ip'),
    containerPort: Number(value('-container-port')),
  };
}

const COMPOSE = 'com.docker.compose.project';
const SERVICE = 'com.docker.compose.service';

/** @see the labels that `docker compose` sets; podman-compose has the same and its own */
function composeOf(labels: Readonly<Record<string, unknown>>): ComposeReport | null {
  const project = text(labels[COMPOSE]) ?? text(labels['io.podman.compose.project']);
  if (project === undefined) return null;
  const files = text(labels[`${COMPOSE}.config_files`])?.split(',') ?? [];
  return { project, service: text(labels[SERVICE]) ?? null, files };
}

function read(
  answer: ToolAnswer,
  take: (fields: readonly unknown[]) => Partial<ContainerReport>,
): Partial<ContainerReport> {
  if (!answer.ok) return { why: answer.why };
  const fields = parse(answer.text);
  return fields.length === 0 ? { why: 'the answer was not understood' } : take(fields);
}

/** A list of JSON; empty when it is none. */
function parse(line: string): readonly unknown[] {
  try {
    const value: unknown = JSON.parse(line);
    return Array.isArray(value) ? value : [];
  } catch {
    return []; // SyntaxError: a client of another kind
  }
}

function text(value: unknown): string | undefined {
  return typeof value === 'string' && value !== '' ? value : undefined;
}

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null;
}
