/** Has the variables of a server that are not its keeper's: NODE_OPTIONS, for one, would act upon both. */
const VARIABLE = 'HOLDFAST_APP_ENV';

/** By these a service manager or a shell speaks to `up` itself; each keeper would answer for all. */
const OWN = [
  'NOTIFY_SOCKET',
  'WATCHDOG_PID',
  'WATCHDOG_USEC',
  'LISTEN_FDS',
  'LISTEN_PID',
  'LISTEN_FDNAMES',
  '_',
];

/** The environment of a keeper whose server has these variables beside ours. */
export function keeperEnvironment(
  server: Readonly<Record<string, string>>,
  directory: string,
  stateDirectory: string,
): NodeJS.ProcessEnv {
  const env: NodeJS.ProcessEnv = { ...process.env, PWD: directory, [VARIABLE]: JSON.stringify(server) };
  for (const name of OWN) delete env[name];
  // The keeper starts in another folder, where a relative path would lead elsewhere.
  if (env.HOLDFAST_STATE_DIR) env.HOLDFAST_STATE_DIR = stateDirectory;
  return env;
}

/** In the keeper: the environment of its server; undefined where that is the keeper's own. */
export function serverEnvironment(): Readonly<Record<string, string | undefined>> | undefined {
  const given = process.env[VARIABLE];
  if (given === undefined) return undefined;
  return { ...process.env, [VARIABLE]: undefined, ...(JSON.parse(given) as Record<string, string>) };
}
