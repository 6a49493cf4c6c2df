import { tcpListeners } from '../kernel/sock-diag.js';
import { isEphemeral, outcomeOf } from './binds.js';
import type { PortView } from './port-view.js';
import type { ProcessReport } from './process.js';
import type { Fix, SocketReport, WhyReport } from './report.js';
import { COMMON_LANGUAGES, reuseLines } from './reuse-line.js';

type Facts = Pick<
  WhyReport,
  'port' | 'protocol' | 'host' | 'verdict' | 'sockets' | 'groups' | 'processes' | 'bind'
>;

/** What frees the port or does without it, safest first. */
export function fixesFor(view: PortView, facts: Facts): readonly Fix[] {
  switch (facts.verdict) {
    case 'free':
    case 'unknown':
      return [];
    case 'blocked':
      return blockedFixes(view, facts);
    case 'leftovers':
      return [...reuseAddress(facts), waitFor(facts), freeLeftovers(facts)];
    case 'held':
      return heldFixes(view, facts);
  }
}

function heldFixes(view: PortView, facts: Facts): readonly Fix[] {
  const { sockets, processes, protocol, port } = facts;
  if (process.geteuid?.() !== 0 && sockets.some(({ ownerKind }) => ownerKind === 'hidden')) {
    const command = ['sudo', 'holdfast', 'why', asked(facts), ...(protocol === 'udp' ? ['--udp'] : [])];
    return [
      fix('look-as-root', 'none', true, 'shows the process and what it has set', command),
      ...anotherPort(facts),
    ];
  }
  const connections = facts.bind.some(({ cause }) => cause === 'outgoing-connection');
  if (connections && !sockets.some(({ state }) => state === 'LISTEN' || state === 'BOUND'))
    return outgoingFixes(view, facts);
  const stops = processes.filter(({ pid }) => isInTheWay(sockets, pid)).flatMap(ownStop);
  const free = fix('free', 'ends-process', needsRoot(processes), describeFree(processes), [
    'holdfast',
    'free',
    asked(facts),
  ]);
  return [...anotherPort(facts), ...distinct(stops), ...(processes.length > 0 ? [free] : notOurs(port))];
}

/** Somebody has it and no process that one could end does. */
function notOurs(port: number): readonly Fix[] {
  return [
    fix('another-namespace', 'none', true, 'look into every network namespace and process', [
      'sudo',
      'holdfast',
      'why',
      `${port}`,
      '--netns',
      'all',
    ]),
  ];
}

function isInTheWay(sockets: readonly SocketReport[], pid: number): boolean {
  return sockets.some(({ holders }) => holders.some((holder) => holder.pid === pid));
}

/** By the tool that would otherwise start it again. */
function ownStop({ supervisor, comm, pid }: ProcessReport): readonly Fix[] {
  if (supervisor?.stop == null) return [];
  const text = `${supervisor.kind} "${supervisor.name}" runs ${comm} (pid ${pid})${supervisor.restarts === 'yes' ? ' and would start it again' : ''}`;
  return [fix('stop-supervisor', 'ends-process', supervisor.stop[0] === 'systemctl', text, supervisor.stop)];
}

function describeFree(processes: readonly ProcessReport[]): string {
  const [first, ...others] = processes;
  if (first === undefined) return '';
  const who = others.length === 0 ? `pid ${first.pid}` : `${processes.length} processes`;
  return `asks, then stops ${who}: SIGTERM, and SIGKILL after 5 s`;
}

function needsRoot(processes: readonly ProcessReport[]): boolean {
  const own = process.geteuid?.() ?? 0;
  return own !== 0 && processes.some(({ uid }) => uid !== own);
}

/** Only where a bind with it is known to succeed. */
function reuseAddress({ bind }: Facts): readonly Fix[] {
  if (!bind.some(({ cause }) => cause === 'leftover-needs-reuseaddr')) return [];
  const lines = COMMON_LANGUAGES.map((language) => `${language}: ${reuseLines[language].line}`);
  return [
    fix('reuseaddr', 'none', false, `set SO_REUSEADDR before bind; ${lines.slice(0, 2).join('; ')}`, null),
  ];
}

function waitFor(facts: Facts): Fix {
  const last = Math.max(
    0,
    ...facts.groups.map((group) => ('maxExpiresMs' in group ? group.maxExpiresMs : 0)),
  );
  return fix('wait', 'none', false, `they end by themselves, the last in about ${Math.ceil(last / 1000)} s`, [
    'holdfast',
    'wait',
    asked(facts),
    '--free',
  ]);
}

function freeLeftovers(facts: Facts): Fix {
  const count = facts.groups.reduce((sum, group) => sum + ('count' in group ? group.count : 0), 0);
  const text = `removes ${count === 1 ? 'it' : `all ${count}`} now; no process is touched`;
  const command = ['holdfast', 'free', asked(facts)];
  const isRoot = process.geteuid?.() === 0;
  return fix('free-leftovers', 'resets-connections', true, text, isRoot ? command : ['sudo', ...command]);
}

function outgoingFixes(view: PortView, facts: Facts): readonly Fix[] {
  const { port, processes } = facts;
  const { sysctls } = view.machine;
  const free = facts.bind.find(
    ({ options, expected, probed }) => options.length === 0 && outcomeOf({ expected, probed }) === 'ok',
  );
  const who = processes[0]?.comm ?? 'its process';
  const reserved = [...sysctls.reservedPorts, port].join(',');
  return [
    ...(free === undefined
      ? []
      : [fix('another-address', 'none', false, `bind ${free.address} if that is enough`, null)]),
    fix(
      'free-connection',
      'resets-connections',
      true,
      `resets this connection; ${who} goes on and may connect again`,
      ['sudo', 'holdfast', 'free', `${port}`, '--connection'],
    ),
    ...(isEphemeral(sysctls, port)
      ? [
          fix(
            'reserve-port',
            'none',
            true,
            `${port} lies in net.ipv4.ip_local_port_range ${sysctls.portRange.low}-${sysctls.portRange.high}, so this can happen again; keep it from clients`,
            ['sudo', 'sysctl', '-w', `net.ipv4.ip_local_reserved_ports=${reserved}`],
          ),
        ]
      : []),
  ];
}

function blockedFixes(view: PortView, facts: Facts): readonly Fix[] {
  const causes = facts.bind.map(({ cause }) => cause);
  const { unprivilegedPortStart } = view.machine.sysctls;
  if (causes.includes('privileged-port')) {
    return [
      fix('unprivileged-port', 'none', false, `take a port from ${unprivilegedPortStart} on`, null),
      fix('keeper', 'none', true, 'let a keeper bind it and run the server as an ordinary user', [
        'sudo',
        'holdfast',
        'run',
        '--listen',
        asked(facts),
        '--user',
        'nobody',
        '--',
        'COMMAND',
      ]),
      fix('unprivileged-port-start', 'none', true, 'let everybody bind it', [
        'sudo',
        'sysctl',
        '-w',
        `net.ipv4.ip_unprivileged_port_start=${facts.port}`,
      ]),
    ];
  }
  if (causes.includes('address-not-local')) {
    const own = ['127.0.0.1', ...view.machine.addresses.ipv4, ...view.machine.addresses.ipv6];
    return [
      fix(
        'local-address',
        'none',
        false,
        `bind an address of this machine: ${own.slice(0, 6).join(', ')}`,
        null,
      ),
    ];
  }
  return [
    fix('another-namespace', 'none', true, 'nothing that can be seen has it; look as root', [
      'sudo',
      'holdfast',
      'why',
      asked(facts),
      '--netns',
      'all',
    ]),
  ];
}

/** The next port at which nobody listens. */
function anotherPort({ port, protocol }: Facts): readonly Fix[] {
  if (protocol === 'udp') return [];
  const taken = new Set(tcpListeners().map(({ local }) => local.port));
  const next = Array.from({ length: 50 }, (_, index) => port + 1 + index).find(
    (one) => one < 65_536 && !taken.has(one),
  );
  return next === undefined
    ? []
    : [fix('another-port', 'none', false, `use another port: nobody listens on ${next}`, null)];
}

function asked({ host, port }: Pick<Facts, 'host' | 'port'>): string {
  if (host === null) return `${port}`;
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;
}

function fix(
  id: string,
  risk: Fix['risk'],
  needsRoot: boolean,
  text: string,
  command: readonly string[] | null,
): Fix {
  return { id, risk, needsRoot, text, command };
}

/** Workers of one server have one supervisor. */
function distinct(fixes: readonly Fix[]): readonly Fix[] {
  return fixes.filter(
    ({ command }, index) =>
      fixes.findIndex((other) => other.command?.join(' ') === command?.join(' ')) === index,
  );
}
