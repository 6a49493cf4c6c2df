import { stringify } from 'yaml';
import type { Call, Program, Slot } from './call.js';

/** A program as a scenario file, with what the kernel did as what is expected. */
export function writeScenario(
  id: string,
  title: string,
  { sysctls, calls }: Program,
  outcomes: readonly string[],
): string {
  const offset = (port: number): string => (port === 0 ? 'P' : `P+${port}`);
  const bit = (on: boolean): number => (on ? 1 : 0);
  return stringify({
    id,
    title,
    source: 'holdfast lab fuzz',
    sysctls: {
      ip_local_port_range: `${offset(sysctls.portRange.low)} ${offset(sysctls.portRange.high)}`,
      ...(sysctls.reservedPorts.length === 0
        ? {}
        : { ip_local_reserved_ports: sysctls.reservedPorts.map(offset).join(',') }),
      ip_unprivileged_port_start: offset(sysctls.unprivilegedPortStart),
      ip_autobind_reuse: bit(sysctls.autobindReuse),
      tcp_tw_reuse: sysctls.twReuse,
      tcp_tw_reuse_delay: sysctls.twReuseDelayMs,
      tcp_timestamps: bit(sysctls.timestamps),
      bindv6only: bit(sysctls.v6only),
      ip_nonlocal_bind: bit(sysctls.nonlocalBind4),
      ipv6_ip_nonlocal_bind: bit(sysctls.nonlocalBind6),
    },
    steps: calls.map((call, index) => {
      const outcome = outcomes[index] ?? 'ok';
      return `${lineOf(call)}${outcome === 'ok' ? '' : ` -> ${outcome}`}`;
    }),
  });
}

function lineOf(call: Call): string {
  switch (call.call) {
    case 'socket': {
      const uid = call.uid === 0 ? '' : ` uid=${call.uid}`;
      return `${nameOf(call.slot)} = socket ${call.protocol}${call.family === 'ipv4' ? 4 : 6}${uid}`;
    }
    case 'set':
      return `${nameOf(call.slot)}.set ${settingOf(call)}`;
    case 'bind':
      return `${nameOf(call.slot)}.bind ${endpoint(call.host, call.port)}${call.mayBindLow ? '' : ' unprivileged'}`;
    case 'listen':
      return `${nameOf(call.slot)}.listen ${call.backlog}`;
    case 'connect':
      return `${nameOf(call.slot)}.connect ${endpoint(call.host, call.port)}`;
    case 'accept':
      return `${nameOf(call.as)} = ${nameOf(call.slot)}.accept${call.uid === 0 ? '' : ` uid=${call.uid}`}`;
    case 'shutdown':
      return `${nameOf(call.slot)}.shutdown ${call.how}`;
    case 'send':
    case 'receive':
      return `${nameOf(call.slot)}.${call.call} ${call.bytes}`;
    case 'disconnect':
    case 'close':
      return `${nameOf(call.slot)}.${call.call}`;
    case 'share':
      return `${nameOf(call.slot)}.share with ${call.process}`;
    case 'exit':
      return `kill ${call.process}`;
    case 'wait':
      return `wait ${call.ms}ms`;
  }
}

function nameOf(slot: Slot): string {
  return typeof slot === 'number' ? `s${slot}` : slot;
}

function endpoint(host: string, port: number | null): string {
  const word = port === null ? '0' : port === 0 ? 'P' : `P+${port}`;
  return host.includes(':') ? `[${host}]:${word}` : `${host}:${word}`;
}

function settingOf(setting: Extract<Call, { call: 'set' }>): string {
  switch (setting.option) {
    case 'SO_LINGER':
      return `SO_LINGER=${setting.value ? '0' : 'off'}`;
    case 'SO_BINDTODEVICE':
      return `SO_BINDTODEVICE=${setting.value === '' ? 'none' : setting.value}`;
    case 'IP_LOCAL_PORT_RANGE':
      return `IP_LOCAL_PORT_RANGE=${setting.value === null ? 'none' : `${setting.value.low}-${setting.value.high}`}`;
    default:
      return `${setting.option}=${setting.value ? 1 : 0}`;
  }
}
