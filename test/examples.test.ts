import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { parseAllDocuments } from 'yaml';
import { describeProgram } from '../src/cli/program.js';
import { project } from './cli/holdfast.js';

interface Container {
  readonly command: readonly string[];
  readonly args: readonly string[];
  readonly ports: readonly { readonly name: string; readonly containerPort: number }[];
  readonly readinessProbe: { readonly httpGet: { readonly port: string } };
  readonly lifecycle: { readonly preStop: { readonly exec: { readonly command: readonly string[] } } };
  readonly env: readonly { readonly name: string; readonly value: string }[];
  readonly volumeMounts: readonly { readonly name: string; readonly mountPath: string }[];
}

interface Manifest {
  readonly kind: string;
  readonly spec: {
    readonly selector: { readonly matchLabels: object } & object;
    readonly ports: readonly { readonly targetPort: string }[];
    readonly template: {
      readonly metadata: { readonly labels: object };
      readonly spec: {
        readonly terminationGracePeriodSeconds: number;
        readonly containers: readonly Container[];
        readonly volumes: readonly { readonly name: string }[];
      };
    };
  };
}

const read = (file: string): string => readFileSync(join(project, file), 'utf8');

test('the manifest is YAML without a fault, and its parts find each other', () => {
  const [deployment, service] = manifests();
  expect([deployment.kind, service.kind]).toEqual(['Deployment', 'Service']);
  const { metadata, spec } = deployment.spec.template;
  expect(deployment.spec.selector.matchLabels).toEqual(metadata.labels);
  expect(service.spec.selector).toEqual(metadata.labels);
  const [container] = spec.containers;
  expect(container?.ports.map(({ name }) => name)).toEqual([service.spec.ports[0]?.targetPort]);
  expect(container?.readinessProbe.httpGet.port).toBe(service.spec.ports[0]?.targetPort);
  expect(container?.volumeMounts.map(({ name }) => name)).toEqual(spec.volumes.map(({ name }) => name));
  const state = container?.env.find(({ name }) => name === 'HOLDFAST_STATE_DIR')?.value;
  expect(state?.startsWith(`${container?.volumeMounts[0]?.mountPath}/`)).toBe(true);
});

test('a pod is given time for all that its end takes', async () => {
  const [deployment] = manifests();
  const { terminationGracePeriodSeconds, containers } = deployment.spec.template.spec;
  const preStopSeconds = Number(containers[0]?.lifecycle.preStop.exec.command[1]);
  const options = await optionsOf([...(containers[0]?.command ?? []), ...(containers[0]?.args ?? [])]);
  const seconds = (Number(options.drainTimeout) + Number(options.stopTimeout)) / 1_000;
  expect(preStopSeconds).toBeGreaterThan(0);
  expect(terminationGracePeriodSeconds).toBeGreaterThan(preStopSeconds + seconds);
  // What the manifest and the page say of it.
  expect(read('examples/kubernetes/shop.yaml')).toContain(
    `preStop ${preStopSeconds} s, --drain-timeout ${Number(options.drainTimeout) / 1_000} s, --stop-timeout ${Number(options.stopTimeout) / 1_000} s`,
  );
  expect(read('docs/containers.md')).toContain(`The manifest has ${terminationGracePeriodSeconds}.`);
});

test('the image runs the command of the manifest', () => {
  const dockerfile = read('examples/kubernetes/Dockerfile');
  const [, entrypoint = '[]'] = /^ENTRYPOINT (.*)$/m.exec(dockerfile) ?? [];
  const [, command = '[]'] = /^CMD (.*)$/m.exec(dockerfile) ?? [];
  const [container] = manifests()[0].spec.template.spec.containers;
  expect([JSON.parse(entrypoint), JSON.parse(command)]).toEqual([container?.command, container?.args]);
});

function manifests(): readonly [Manifest, Manifest] {
  const documents = parseAllDocuments(read('examples/kubernetes/shop.yaml'));
  expect(documents.flatMap(({ errors, warnings }) => [...errors, ...warnings])).toEqual([]);
  return documents.map((document) => document.toJS()) as [Manifest, Manifest];
}

/** What `holdfast run` would run with: what the line says, and its defaults. */
async function optionsOf(line: readonly string[]): Promise<Readonly<Record<string, unknown>>> {
  const run = describeProgram().commands.find((command) => command.name() === line[1]);
  if (line[0] !== 'holdfast' || run === undefined)
    throw new Error(`no command of holdfast: ${line.join(' ')}`);
  run.action(() => undefined);
  await run.parseAsync(line.slice(2), { from: 'user' });
  return run.opts();
}
