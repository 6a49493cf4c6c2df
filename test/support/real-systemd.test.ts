import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { expect } from 'vitest';
import { unifiedMount } from '../../src/kernel/cgroup.js';
import { testNeeding } from './needing.js';
import { startRealSystemd } from './real-systemd.js';

testNeeding('systemd')('systemd in its namespaces cannot change what is the machine’s', async () => {
  const before = readFileSync('/proc/self/mountinfo', 'utf8');
  const { run, systemctl, pid } = await startRealSystemd();
  expect(await systemctl('show', '--property=SystemState')).toMatch(/=(running|degraded)$/m);
  expect((await run('cat', '/proc/1/comm')).stdout).toBe('systemd\n');
  for (const file of ['/proc/sys/fs/file-max', '/sys/kernel/profiling', '/etc/hostname']) {
    const { exit, stderr } = await run('/bin/sh', '-c', `: >> ${file}`);
    expect(exit.code).not.toBe(0);
    expect(stderr).toContain('Read-only file system');
  }
  for (const name of ['net', 'uts', 'ipc', 'pid', 'mnt', 'cgroup']) {
    expect(readlinkSync(`/proc/${pid}/ns/${name}`)).not.toBe(readlinkSync(`/proc/self/ns/${name}`));
  }
  expect(readFileSync('/proc/self/mountinfo', 'utf8')).toBe(before);
});

testNeeding('systemd')('nothing is left of it after the test that started it', () => {
  const own = readdirSync(unifiedMount() ?? '').filter((name) =>
    name.startsWith(`holdfast-systemd-${process.pid}-`),
  );
  expect(own).toEqual([]);
});
