import { expect, test } from 'vitest';
import { type CgroupFacts, readCgroup, unescapeUnit } from '../../src/diagnosis/cgroup.js';

const ID = '9ec39b91f3d70e1beff50a308f77067065ea6be0d91a3378375056cd4422cf3d';
const INNER = '4f797c539e6c745de61a93ca3ff892358ecbcaccd8414d5db545c38428142970';
const POD = '5a8d3c0e-1f2b-4c6d-8e9f-0a1b2c3d4e5f';
const POD_ = POD.replaceAll('-', '_');
const BURSTABLE = `/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod${POD_}.slice`;
const USER = '/user.slice/user-1000.slice/user@1000.service';

const PATHS: readonly (readonly [fact: string, path: string, facts: CgroupFacts])[] = [
  ['the root tells nothing', '/', {}],
  [
    'a service of the system',
    '/system.slice/nginx.service',
    { unit: 'nginx.service', slice: 'system.slice' },
  ],
  [
    'a folder that a service made in its own cgroup',
    '/system.slice/web.service/workers/3',
    { unit: 'web.service', slice: 'system.slice' },
  ],
  [
    'an instance of a template, escapes kept as systemctl wants them',
    '/system.slice/system-app.slice/app@eu\\x2dwest.service',
    { unit: 'app@eu\\x2dwest.service', slice: 'system-app.slice' },
  ],
  [
    'a path seen from a cgroup namespace beside it',
    '/../../system.slice/nginx.service',
    { unit: 'nginx.service', slice: 'system.slice' },
  ],
  ['a name that systemd put _ before', '/_cgroup.x.service', { unit: 'cgroup.x.service' }],
  ["the system's first process", '/init.scope', { scope: 'init.scope' }],
  [
    'a login',
    '/user.slice/user-1000.slice/session-3.scope',
    { slice: 'user-1000.slice', scope: 'session-3.scope' },
  ],
  [
    "a user's systemd",
    `${USER}/init.scope`,
    { userUid: 1000, slice: 'user-1000.slice', scope: 'init.scope' },
  ],
  [
    "a user's service",
    `${USER}/app.slice/shop.service`,
    { userUid: 1000, userUnit: 'shop.service', slice: 'app.slice' },
  ],
  [
    "a desktop's program",
    `${USER}/app.slice/app-gnome-org.gnome.Terminal-4711.scope`,
    {
      userUid: 1000,
      slice: 'app.slice',
      scope: 'app-gnome-org.gnome.Terminal-4711.scope',
      application: 'org.gnome.Terminal',
    },
  ],
  [
    "a desktop's program without a launcher, and with a dash in its name",
    `${USER}/app.slice/app-visual\\x2dstudio-4711.scope`,
    {
      userUid: 1000,
      slice: 'app.slice',
      scope: 'app-visual\\x2dstudio-4711.scope',
      application: 'visual-studio',
    },
  ],
  [
    "a desktop's program as a service",
    `${USER}/app.slice/app-org.kde.konsole@autostart.service`,
    {
      userUid: 1000,
      userUnit: 'app-org.kde.konsole@autostart.service',
      slice: 'app.slice',
      application: 'org.kde.konsole',
    },
  ],
  [
    'a tab of a terminal',
    `${USER}/app.slice/app-org.gnome.Terminal.slice/vte-spawn-0f4b.scope`,
    { userUid: 1000, slice: 'app-org.gnome.Terminal.slice', scope: 'vte-spawn-0f4b.scope' },
  ],
  ['docker by cgroupfs', `/docker/${ID}`, { container: { runtime: 'docker', id: ID } }],
  [
    'docker by systemd',
    `/system.slice/docker-${ID}.scope`,
    { slice: 'system.slice', container: { runtime: 'docker', id: ID } },
  ],
  [
    "docker without root, whose path has the user's systemd",
    `${USER}/user.slice/docker-${ID}.scope`,
    { userUid: 1000, slice: 'user.slice', container: { runtime: 'docker', id: ID } },
  ],
  [
    'a service in a container is not one of this machine',
    `/system.slice/docker-${ID}.scope/system.slice/nginx.service`,
    { slice: 'system.slice', container: { runtime: 'docker', id: ID } },
  ],
  [
    'of a container in a container the outer one is told',
    `/docker/${ID}/docker/${INNER}`,
    { container: { runtime: 'docker', id: ID } },
  ],
  [
    'a node of kind is a docker container',
    `/docker/${ID}/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-pod${POD_}.slice/cri-containerd-${INNER}.scope`,
    { container: { runtime: 'docker', id: ID } },
  ],
  ['a task of ECS', `/ecs/0a1b2c3d/${ID}`, { container: { runtime: 'docker', id: ID } }],
  [
    'podman as root',
    `/machine.slice/libpod-${ID}.scope/container`,
    { slice: 'machine.slice', container: { runtime: 'podman', id: ID } },
  ],
  [
    'podman without root',
    `${USER}/user.slice/libpod-${ID}.scope`,
    { userUid: 1000, slice: 'user.slice', container: { runtime: 'podman', id: ID } },
  ],
  [
    "podman's monitor",
    `/machine.slice/libpod-conmon-${ID}.scope`,
    { slice: 'machine.slice', container: { runtime: 'podman', id: ID } },
  ],
  ['podman by cgroupfs', `/libpod_parent/libpod-${ID}`, { container: { runtime: 'podman', id: ID } }],
  [
    'podman in a service of its own (quadlet)',
    `/system.slice/web.service/libpod-payload-${ID}`,
    { unit: 'web.service', slice: 'system.slice', container: { runtime: 'podman', id: ID } },
  ],
  [
    'nerdctl',
    `/system.slice/nerdctl-${ID}.scope`,
    { slice: 'system.slice', container: { runtime: 'containerd', id: ID } },
  ],
  [
    "containerd by cgroupfs, in its default namespace's folder",
    `/default/${ID}`,
    { container: { runtime: 'containerd', id: ID } },
  ],
  [
    'containerd in Kubernetes',
    `${BURSTABLE}/cri-containerd-${ID}.scope`,
    { container: { runtime: 'containerd', id: ID, podUid: POD } },
  ],
  [
    'cri-o in Kubernetes',
    `${BURSTABLE}/crio-${ID}.scope/container`,
    { container: { runtime: 'cri-o', id: ID, podUid: POD } },
  ],
  [
    'docker in Kubernetes',
    `${BURSTABLE}/docker-${ID}.scope`,
    { container: { runtime: 'docker', id: ID, podUid: POD } },
  ],
  [
    'Kubernetes by cgroupfs, which does not name the runtime',
    `/kubepods/besteffort/pod${POD}/${ID}`,
    { container: { runtime: 'kubernetes', id: ID, podUid: POD } },
  ],
  [
    'a static pod, whose uid has no dashes',
    `/kubepods/burstable/pod${POD.replaceAll('-', '')}/${ID}`,
    { container: { runtime: 'kubernetes', id: ID, podUid: POD.replaceAll('-', '') } },
  ],
  [
    'Kubernetes in kubelet.slice',
    `/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-burstable.slice/kubelet-kubepods-burstable-pod${POD_}.slice/cri-containerd-${ID}.scope`,
    { container: { runtime: 'containerd', id: ID, podUid: POD } },
  ],
  [
    "a pod below its runtime's service, which is not the pod's",
    `/system.slice/containerd.service/kubepods-burstable-pod${POD_}.slice:cri-containerd:${ID}`,
    { slice: 'system.slice', container: { runtime: 'containerd', id: ID, podUid: POD } },
  ],
  ['a pod without a container', BURSTABLE, { container: { runtime: 'kubernetes', id: POD, podUid: POD } }],
  [
    'the runtime itself is a service',
    '/system.slice/docker.service',
    { unit: 'docker.service', slice: 'system.slice' },
  ],
  [
    'lxc with cgroup v2',
    '/lxc.payload.web/system.slice/nginx.service',
    { container: { runtime: 'lxc', id: 'web' } },
  ],
  ['lxc with cgroup v1', '/lxc/web', { container: { runtime: 'lxc', id: 'web' } }],
  [
    'systemd-nspawn',
    '/machine.slice/systemd-nspawn@web.service/payload/system.slice/nginx.service',
    { slice: 'machine.slice', container: { runtime: 'nspawn', id: 'web' } },
  ],
  [
    'a machine of systemd-machined',
    '/machine.slice/machine-my\\x2dweb.scope/payload',
    { slice: 'machine.slice', container: { runtime: 'machine', id: 'my-web' } },
  ],
  [
    'a virtual machine of libvirt',
    '/machine.slice/machine-qemu\\x2d1\\x2dmy\\x2dvm.scope/libvirt/emulator',
    { slice: 'machine.slice', container: { runtime: 'libvirt', id: 'my-vm' } },
  ],
  ['a cgroup of somebody else', '/process_api/51fee494012eeb6ea2ff3285faa2bf4f', {}],
];

for (const [fact, path, facts] of PATHS) {
  test(`cgroup: ${fact}`, () => {
    expect(readCgroup(path)).toEqual(facts);
  });
}

test('escapes of unit names are undone, wrong ones are left', () => {
  expect(unescapeUnit('dev-disk\\x2dby')).toBe('dev-disk-by');
  expect(unescapeUnit('caf\\xc3\\xa9')).toBe('café');
  expect(unescapeUnit('100%\\x2d')).toBe('100%-');
  expect(unescapeUnit('a\\xff')).toBe('a\\xff');
  expect(unescapeUnit('a\\xzz')).toBe('a\\xzz');
});
