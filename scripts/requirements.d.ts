/** A program outside npm that tests run. */
export type Requirement =
  | 'nginx'
  | 'gunicorn'
  | 'haproxy'
  | 'go'
  | 'java'
  | 'cc'
  | 'python3'
  | 'ip'
  | 'ss'
  | 'lsof'
  | 'fuser'
  | 'unshare'
  | 'nsenter'
  | 'setpriv'
  | 'script'
  | 'setcap'
  | 'curl'
  | 'ps'
  | 'tmux'
  | 'wrk'
  | 'start_server'
  | 'bwrap'
  | 'systemctl'
  | 'sudo'
  | 'ssh'
  | 'sshd'
  | 'rshd'
  | 'netkitRshd'
  | 'inetd'
  | 'chromium'
  | 'ansible'
  | 'pdsh'
  | 'clush'
  | 'parallel-ssh'
  | 'bash'
  | 'zsh'
  | 'fish';

export type NodeVersion = 'node22' | 'node24';

export const requirements: Readonly<
  Record<
    Requirement,
    {
      readonly packages: readonly string[];
      readonly binary: string;
      readonly files?: readonly string[];
      readonly service?: string;
      readonly unpacked?: string;
    }
  >
>;
export const nodeVersions: Readonly<Record<NodeVersion, string>>;
export const nodesFolder: string;

export function pathOf(name: Requirement): string | undefined;
export function missing(names?: readonly Requirement[]): Requirement[];
export function packagesOf(names: readonly Requirement[]): string[];
export function installLine(names: readonly Requirement[]): string;
export function unpackLine(names: readonly Requirement[], folder?: string): string | undefined;
export function nodePathOf(name: NodeVersion): string | undefined;
export function missingNodes(): NodeVersion[];
export function npmArguments(folder?: string): string[];
export function nodesLine(): string;
