import { availableParallelism } from 'node:os';
import { Command, CommanderError, Option } from 'commander';
import { errorText, HoldfastError } from '../errors.js';
import { parseBatch } from '../model/batch.js';
import { parseDuration } from '../model/duration.js';
import { STOP_SIGNALS } from '../model/signals.js';
import { requireLinux } from '../platform.js';
import { version } from '../version.js';
import { reportFailure, TROUBLE } from './failure.js';

/** Reads the command line, runs one command and sets the exit code. */
export async function runProgram(argv: readonly string[]): Promise<void> {
  const program = describeProgram();
  try {
    await program.parseAsync(argv, { from: 'user' });
  } catch (error) {
    // commander has printed its own message, or the help that was asked for.
    if (!(error instanceof CommanderError)) reportFailure(error);
    else process.exitCode = error.exitCode === 0 ? 0 : TROUBLE;
  }
}

/** Every command with its options, as help and shell completion know them. */
export function describeProgram(): Command {
  const program = command('holdfast')
    .description("A server's port is never lost.")
    .version(version, '-V, --version', 'print the version')
    .helpCommand(false)
    .showHelpAfterError('holdfast --help lists the commands; to keep a server: holdfast run -- COMMAND')
    .enablePositionalOptions();
  program.addCommand(describeRun());
  program.addCommand(describeAdopt());
  program.addCommand(describeUp());
  program.addCommand(describeDown());
  program.addCommand(describeInit());
  program.addCommand(describeStatus());
  program.addCommand(describeEvents());
  program.addCommand(describeLogs());
  program.addCommand(describeReload());
  program.addCommand(
    describeWord('restart', 'stop the server and start it again; clients wait meanwhile', async (name) =>
      (await import('./reload.js')).restart(name),
    ),
  );
  program.addCommand(
    describeWord('rollback', 'go back to the generation before the last reload', async (name) =>
      (await import('./reload.js')).rollback(name),
    ),
  );
  program.addCommand(describeScale());
  program.addCommand(
    describeWord('unpark', 'let a standby go on from its listen, e.g. to debug it', async (name) =>
      (await import('./unpark.js')).unpark(name),
    ),
  );
  program.addCommand(
    describeWord('pause', 'stop the processes of the server where they are; clients wait', async (name) =>
      (await import('./pause.js')).pause(name),
    ),
  );
  program.addCommand(
    describeWord('resume', 'let a paused server go on', async (name) =>
      (await import('./pause.js')).resume(name),
    ),
  );
  program.addCommand(
    describeWord('release', 'stop the server and free its ports for another program', async (name) =>
      (await import('./pause.js')).release(name),
    ),
  );
  program.addCommand(
    describeWord('take', 'start the server again after a release', async (name) =>
      (await import('./pause.js')).take(name),
    ),
  );
  program.addCommand(describeStop());
  program.addCommand(describeWhy());
  program.addCommand(describeFree());
  program.addCommand(describeWait());
  program.addCommand(describeWatch());
  program.addCommand(describePort());
  program.addCommand(describeFan());
  program.addCommand(describeDoctor());
  program.addCommand(describeSystemd());
  program.addCommand(describePredict());
  program.addCommand(describeLab());
  program.addCommand(describeCompletion());
  program.addCommand(describeHelp(program));
  program.addHelpText('after', examples('holdfast run -- node server.js', 'holdfast status'));
  return program;
}

function describeRun(): Command {
  return describeKept(command('run'))
    .description('run any server and keep its port through crashes')
    .option('--replace', 'take over from the keeper of that name that runs; its server serves on')
    .addHelpText(
      'after',
      examples(
        'holdfast run -- node server.js',
        'sudo holdfast run --listen 80 --user www-data -- gunicorn app',
      ),
    )
    .action(async (words: string[], options) => {
      requireCommand(words, 'run');
      requireLinux('holdfast run');
      const { run } = await import('./run.js');
      await run(words, { listen: [], ...options });
    });
}

function requireCommand(words: readonly string[], verb: string): void {
  if (words.length > 0) return;
  const text = `there is no command to run; it stands after --, as in: holdfast ${verb} -- node server.js`;
  throw new HoldfastError('ERR_HOLDFAST_OPTION', text);
}

/** A command that takes a server's command line, and the options by which it is kept. */
function describeKept(command: Command): Command {
  const kept = command
    .usage('[options] -- command...')
    .argument('[command...]', 'the server and its arguments')
    .passThroughOptions();
  return keeperOptions(kept);
}

function describeAdopt(): Command {
  const adopt = command('adopt')
    .description('take over a server that was started without holdfast; it serves on')
    .usage('[options] <port-or-pid> [-- command...]')
    .argument('<port-or-pid>', 'a port that it listens on, or pid:1234')
    .argument('[command...]', 'how it is started again (default: as it was)');
  return keeperOptions(adopt)
    .addHelpText('after', examples('holdfast adopt 8080', 'holdfast adopt pid:1234 -- node server.js'))
    .action(async (target: string, words: string[], options) => {
      requireLinux('holdfast adopt');
      const { parseServerTarget } = await import('./server-target.js');
      const { run } = await import('./run.js');
      await run(words, { listen: [], ...options }, parseServerTarget(target));
    });
}

/** The options by which a server is kept. */
function keeperOptions(keeping: Command): Command {
  return keeping
    .option('--name <name>', "name of this keeper (default: the folder's)")
    .option(
      '--listen <address>',
      'bind first and hand over; repeatable: 8080, 127.0.0.1:80, [::]:80, unix:/path; then ,name=N ,backlog=N ,v6only',
      collect,
    )
    .option('--no-trap', 'do not learn addresses from the server; only those of --listen are kept')
    .option('--user <user>', 'run the server as this user (as root)')
    .option('--group <group>', 'run the server as this group (as root)')
    .addOption(
      new Option('--restart <when>', 'when to start the server again')
        .choices(['always', 'on-failure', 'never'])
        .default('on-failure'),
    )
    .addOption(time('--max-backoff <time>', 'longest wait before the server is started again', 10))
    .addOption(time('--hold-for <time>', 'how long clients may wait while no server comes up', 30))
    .addOption(
      new Option('--stop-signal <signal>', 'asks the server to end')
        .choices(STOP_SIGNALS)
        .argParser(parseSignal)
        .default('SIGTERM'),
    )
    .addOption(time('--stop-timeout <time>', 'from the stop signal to SIGKILL', 10))
    .addOption(
      new Option('--workers <n>', 'how many copies of the server share its sockets; auto: one for each CPU')
        .argParser(parseWorkers)
        .default(1),
    )
    .addOption(
      count('--standby [n]', 'how many more copies wait, started, until one dies; without a number 1'),
    )
    .addOption(time('--standby-max-age <time>', 'how long one waits before it is started anew', 600))
    .addOption(new Option('--no-overlap').hideHelp())
    .addOption(
      new Option(
        '--overlap <how>',
        'at a reload stop the old generation before the new one starts; also --no-overlap',
      ).choices(['none']),
    )
    .option(
      '--ready <how>',
      'what makes a new generation ready: listen, notify, ipc, http:/path, delay:3s',
      'listen',
    )
    .addOption(time('--ready-timeout <time>', 'at a reload, how long the new generation may take', 60))
    .addOption(
      new Option('--drain-wait <what>', "at a reload, what the old generation's connections are waited for")
        .choices(['idle', 'open', 'queue'])
        .default('idle'),
    )
    .addOption(time('--drain-quiet <time>', 'how long a connection is still until it is idle', 1))
    .addOption(time('--drain-timeout <time>', 'how long connections are waited for at most', 30))
    .addOption(time('--park <time>', 'how long the old generation is kept after that, for a way back', 0))
    .option(
      '--log-file [path]',
      "append the server's output to a file (default: NAME.log in the folder of the keeper's state)",
    )
    .option('--log-max-size <size>', 'from where on the content of that file becomes PATH.1 (default: 10M)')
    .option('--metrics <address>', 'serve /metrics for Prometheus and /ready at 127.0.0.1:9469 or the like')
    .addOption(
      new Option(
        '--graceful <runtime>',
        'at the stop signal have it answer all, and tell kept connections to close',
      )
        .choices(['node'])
        // It drains by itself, and connections that are kept are never all idle.
        .implies({ drainWait: 'queue' }),
    )
    .option('--watch [glob...]', 'for development: reload when files change, or those that match')
    .addOption(
      new Option('--log <format>', "the keeper's own lines").choices(['text', 'json']).default('text'),
    );
}

function describeUp(): Command {
  return command('up')
    .description('start the apps of a file, replace those that have changed')
    .argument('[name...]', 'apps of the file (default: all)')
    .addOption(appsFile())
    .addOption(time('--wait <time>', 'how long an app may take until it serves', 60))
    .option('--remove-orphans', 'stop apps that run and are no longer in the file')
    .option('--foreground', 'stay, print what the apps print, and stop them at the end; for containers')
    .addHelpText('after', examples('holdfast up', 'holdfast up -f shop.yaml web api'))
    .action(async (names: string[], options) => {
      requireLinux('holdfast up');
      const { up } = await import('./up.js');
      await up(names, options);
    });
}

function describeDown(): Command {
  return command('down')
    .description('stop the apps of a file')
    .argument('[name...]', 'apps of the file (default: all)')
    .addOption(appsFile())
    .addOption(time('--timeout <time>', 'how long to wait for the end of each', 60))
    .option('--remove-orphans', 'stop apps too that are no longer in the file')
    .addHelpText('after', examples('holdfast down', 'holdfast down -f shop.yaml web'))
    .action(async (names: string[], options) => {
      requireLinux('holdfast down');
      const { down } = await import('./down.js');
      await down(names, options);
    });
}

function describeInit(): Command {
  return command('init')
    .description('write a file for holdfast up, from the servers that run or from a file of pm2')
    .option('--from <file>', "pm2's ecosystem.config.js, .cjs, .mjs, .json or .yaml")
    .option('-o, --output <file>', 'where to write it; -: to stdout', 'holdfast.yaml')
    .option('--force', 'overwrite the file if it is there')
    .addHelpText('after', examples('holdfast init', 'holdfast init --from ecosystem.config.js'))
    .action(async (options) => {
      requireLinux('holdfast init');
      const { init } = await import('./init.js');
      await init(options);
    });
}

function appsFile(): Option {
  return new Option('-f, --file <file>', 'the file that names the apps').default('holdfast.yaml');
}

function describeStatus(): Command {
  return command('status')
    .description('show the keepers of this user, or one of them')
    .argument('[name]', 'name of the keeper')
    .option('--json', 'print JSON')
    .addHelpText('after', examples('holdfast status', 'holdfast status shop --json'))
    .action(async (name: string | undefined, options) => {
      requireLinux('holdfast status');
      const { status } = await import('./status.js');
      await status(name, options);
    });
}

function describeEvents(): Command {
  return command('events')
    .description('show what a keeper has told last')
    .argument('[name]', "name of the keeper (default: the folder's)")
    .option('-f, --follow', 'go on with what comes, until the keeper ends')
    .option('--json', 'print JSON, one event a line')
    .addHelpText('after', examples('holdfast events', 'holdfast events shop -f --json'))
    .action(async (name: string | undefined, options) => {
      requireLinux('holdfast events');
      const { events } = await import('./events.js');
      await events(name, options);
    });
}

function describeLogs(): Command {
  return command('logs')
    .description('show the end of what the server has written, when a file has it (run --log-file)')
    .argument('[name]', "name of the keeper (default: the folder's)")
    .option('-f, --follow', 'go on with what comes')
    .addOption(new Option('-n, --lines <lines>', 'how many lines').argParser(parseLines).default(10))
    .addHelpText('after', examples('holdfast logs', 'holdfast logs shop -f -n 100'))
    .action(async (name: string | undefined, options) => {
      requireLinux('holdfast logs');
      const { logs } = await import('./logs.js');
      await logs(name, options);
    });
}

function describeReload(): Command {
  const reload = command('reload')
    .description('replace the server by a new copy of it, without a failed request')
    .argument(
      '[name]',
      "name of the keeper (default: apps of holdfast.yaml here that run, else the folder's)",
    )
    .option('--new-addresses', 'the new copy may listen on other addresses')
    .option('--json', 'print JSON; with --on an object for each host, when it is done');
  return onOptions(reload)
    .addOption(
      new Option('--batch <hosts>', 'how many hosts at a time: 5, or 10% of all')
        .argParser(parseBatch)
        .default(1),
    )
    .option('--stop-on-failure', 'begin no other host when one has failed')
    .option('--dry-run', 'only tell which hosts are meant, in which batches')
    .addHelpText(
      'after',
      `\nExit code: 0 the new copy serves, with --on everywhere; 1 not, and the former one goes on; 2 wrong usage, or the file of an app is wrong\nApps of holdfast up: their file is read again, and what has changed in it is replaced\n${examples('holdfast reload shop', 'holdfast reload shop --on web[01-20] --batch 10% --stop-on-failure')}`,
    )
    .action(async (name: string | undefined, options, own: Command) => {
      requireLinux('holdfast reload');
      if (options.on !== undefined) {
        const { reloadOnCommand } = await import('./reload-on.js');
        return reloadOnCommand(name, options);
      }
      refuseWithoutOn(own);
      const { reload } = await import('./reload.js');
      await reload(name, options);
    });
}

/** A command that says one thing to one keeper. */
function describeWord(
  word: string,
  description: string,
  say: (name: string | undefined) => Promise<void>,
): Command {
  return command(word)
    .description(description)
    .argument('[name]', "name of the keeper (default: the folder's)")
    .addHelpText('after', examples(`holdfast ${word}`, `holdfast ${word} shop`))
    .action(async (name: string | undefined) => {
      requireLinux(`holdfast ${word}`);
      await say(name);
    });
}

function describeScale(): Command {
  return command('scale')
    .description('change how many copies of the server share its sockets')
    .argument('<name-or-count>', 'how many, or the name of the keeper before it')
    .argument('[count]', 'how many')
    .addHelpText('after', examples('holdfast scale 4', 'holdfast scale shop 2'))
    .action(async (first: string, second: string | undefined) => {
      requireLinux('holdfast scale');
      const { scale } = await import('./scale.js');
      await (second === undefined ? scale(undefined, first) : scale(first, second));
    });
}

function describeStop(): Command {
  return command('stop')
    .description('end a keeper and its server')
    .argument('[name]', "name of the keeper (default: the folder's)")
    .addOption(time('--timeout <time>', 'how long to wait for the end', 60))
    .addHelpText('after', examples('holdfast stop', 'holdfast stop shop --timeout 5s'))
    .action(async (name: string | undefined, options) => {
      requireLinux('holdfast stop');
      const { stop } = await import('./stop.js');
      await stop(name, options);
    });
}

function describeWhy(): Command {
  const why = command('why')
    .description('tell who and what holds a port, why a bind fails, and what frees it')
    .argument('[port...]', '8080, 127.0.0.1:8080, [::1]:8080, 8000-8010')
    .option('--all', 'every port that is held, a line each')
    .option('--udp', 'UDP ports; otherwise TCP')
    .option('-v, --verbose', 'every socket, process and bind, with the rules of the kernel')
    .addOption(
      new Option('--netns <which>', 'also look into other network namespaces (as root)').choices(['all']),
    )
    .option('--no-probe', 'try no bind; tell only what is expected')
    .option('--json', 'print JSON; with --on an object for each host, when it is there');
  return onOptions(why)
    .addHelpText(
      'after',
      `\nExit code: 0 free, 1 held, 2 wrong usage or a host that does not answer, 3 cannot be told, 4 free but a bind fails for another reason\n${examples('holdfast why [::1]:3000 8000-8010 --json', 'holdfast why 8080 --on web[01-20]')}`,
    )
    .action(async (words: string[], options, own: Command) => {
      requireLinux('holdfast why');
      if (options.on !== undefined) {
        const { whyOnCommand } = await import('./why-on.js');
        return whyOnCommand(words, options);
      }
      refuseWithoutOn(own);
      const { whyCommand } = await import('./why.js');
      whyCommand(words, options);
    });
}

function describeFree(): Command {
  return command('free')
    .description('free a port: end who holds it, remove what is left of connections')
    .argument('<port>', '8080, 127.0.0.1:8080, [::1]:8080')
    .option('-y, --yes', 'do it without asking')
    .option('--dry-run', 'only tell what would be done')
    .option('--host <address>', 'only what is in the way of this address')
    .option('--time-wait', 'also remove what is left in TIME_WAIT afterwards (root)')
    .option('--connection', "reset a client's connection that has the port as its own end (root)")
    .option('--udp', 'a UDP port; otherwise TCP')
    .addOption(time('--timeout <time>', 'from SIGTERM to SIGKILL', 5))
    .option('--json', 'print JSON')
    .addHelpText('after', examples('holdfast free 8080', 'holdfast free 8080 -y --time-wait'))
    .action(async (word: string, options) => {
      requireLinux('holdfast free');
      const { freeCommand } = await import('./free.js');
      await freeCommand(word, options);
    });
}

function describeWait(): Command {
  return command('wait')
    .description('wait until a port is free, or until somebody listens on it')
    .argument('<port>', '8080, 127.0.0.1:8080, [::1]:8080')
    .option('--free', 'until a bind is expected to succeed')
    .option('--listening', 'until somebody listens')
    .option('--udp', 'a UDP port; otherwise TCP')
    .addOption(time('--timeout <time>', 'give up after this time, with exit code 1 (default: never)'))
    .option('--json', 'print JSON')
    .addHelpText(
      'after',
      examples('holdfast wait 8080 --free', 'holdfast wait 8080 --listening --timeout 10s'),
    )
    .action(async (word: string, options) => {
      requireLinux('holdfast wait');
      const { waitCommand } = await import('./wait.js');
      await waitCommand(word, options);
    });
}

function describeWatch(): Command {
  return command('watch')
    .description('show the TCP sockets of this machine by state, as they change')
    .addOption(count('--port <port>', 'only those with this local port'))
    .addOption(count('--pid <pid>', 'only those of this process and its descendants'))
    .option('--keeper <name>', 'only those of this keeper')
    .addOption(time('--interval <time>', 'from one look to the next', 1))
    .addOption(count('--count <n>', 'end after so many looks, printed as lines'))
    .option('--json', 'print JSON: a snapshot, then what has changed, an object each')
    .option('--web', 'serve it as a page, and print the address to open')
    .option('--listen <address>', 'with --web: [HOST:]PORT (default: a free port of 127.0.0.1)')
    .option('--allow-remote', 'with --web: let browsers of other machines come; nothing is encrypted')
    .addHelpText(
      'after',
      `\nOn a terminal it draws, and its last line tells the keys; otherwise it prints a line for each look.\n${examples('holdfast watch --web', 'holdfast watch --port 8080 --json --count 10')}`,
    )
    .action(async (options) => {
      requireLinux('holdfast watch');
      const { watchCommand } = await import('./watch.js');
      await watchCommand(options);
    });
}

function describePort(): Command {
  return command('port')
    .description('reserve a port that nobody else gets')
    .usage('[options] [-- command...]')
    .argument('[command...]', 'holds the port while it runs; {port} and {port2} stand for the numbers')
    .passThroughOptions()
    .addOption(count('-n, --number <n>', 'how many ports, all or none', 1))
    .option('--range <from-to>', 'one of these (default: of net.ipv4.ip_local_port_range)')
    .option('--host <address>', 'for this address of the machine (default: all of them)')
    .option('--listen', 'hand the command a listening socket on 127.0.0.1, as systemd does: LISTEN_FDS, {fd}')
    .option('--env <name>', "the command's variable with the port", 'PORT')
    .option('--json', 'print JSON')
    .addHelpText(
      'after',
      `\nWithout a command the ports are printed, and stay reserved for 60 s.\n${examples('PORT=$(holdfast port)', "holdfast port -n 2 -- sh -c 'node server.js $PORT1 $PORT2'")}`,
    )
    .action(async (words: string[], options) => {
      requireLinux('holdfast port');
      const { parseRange, port } = await import('./port.js');
      const range = options.range === undefined ? {} : { range: parseRange(options.range) };
      await port(words, { ...options, ...range });
    });
}

function describeFan(): Command {
  const fan = command('fan')
    .description('run a command on many hosts at once, over ssh or rsh')
    .usage('-w <hosts> [options] -- command...')
    .argument('[command...]', 'one word is a line for the remote shell; several arrive as they are')
    .passThroughOptions()
    .addOption(
      new Option('-w, --hosts <hosts>', 'web[01-20],db1, @group, ^file; repeatable')
        .argParser(collect)
        .makeOptionMandatory(),
    );
  return hostOptions(fan)
    .option('--rsh-stderr', 'stderr apart from stdout, for 500 commands a minute and server at most')
    .addOption(count('--retries <n>', 'tries again a host that could not be reached'))
    .option('--script <file>', 'run this program there; the words are its arguments')
    .option('--stdin', 'every command reads what this one gets; otherwise they have no input')
    .option('--group', 'print the same output of several hosts once, at the end')
    .addOption(
      new Option('--diff', 'print how outputs differ from that of most hosts, at the end').conflicts([
        'group',
        'json',
      ]),
    )
    .option('-S, --worst', 'exit with the highest status of any host')
    .option('--dry-run', 'only tell which hosts are meant')
    .option('--json', 'print a JSON object for each host, when it is done')
    .addHelpText(
      'after',
      `\nExit code: 0 all gave 0, 1 some did not, 2 wrong usage\n${examples('holdfast fan -w web[01-20],db1 -- uptime', 'holdfast fan -w @web --groups hosts.txt --group -- uname -r')}`,
    )
    .action(async (words: string[], options) => {
      if (options.rsh) requireLinux('holdfast fan --rsh');
      const { fan } = await import('./fan.js');
      await fan(words, options);
    });
}

/** Under which the help has the options that go with --on. */
const ELSEWHERE = 'At other hosts:';

/** What a command does at this machine, done at others by their holdfast. */
function onOptions(command: Command): Command {
  const on = command
    .optionsGroup(ELSEWHERE)
    .addOption(new Option('--on <hosts>', 'web[01-20],db1, @group, ^file; repeatable').argParser(collect))
    .option('--remote-holdfast <command>', 'how holdfast is called there (default: from the PATH there)');
  return hostOptions(on);
}

/** @throws {HoldfastError} ERR_HOLDFAST_OPTION: an option for other hosts, and there are none. */
function refuseWithoutOn(command: Command): void {
  const given = command.options.find(
    (option) =>
      option.helpGroupHeading === ELSEWHERE && command.getOptionValueSource(option.attributeName()) === 'cli',
  );
  if (given === undefined) return;
  throw new HoldfastError('ERR_HOLDFAST_OPTION', `${given.long} goes with --on, which names hosts`);
}

/** Which hosts, and how they are reached. */
function hostOptions(command: Command): Command {
  return command
    .option('-x, --exclude <hosts>', 'but not these; repeatable', collect)
    .option('--groups <file>', 'where @group is looked up: a line each, web: web[01-20]')
    .option('-l, --user <user>', 'the remote user; user@host says it for one host')
    .addOption(count('-p, --port <port>', 'of the remote sshd or rshd'))
    .option('--rsh', 'by classic rsh, from reserved ports (as root)')
    .option('--ssh-arg <argument>', 'a further argument for ssh; repeatable', collect)
    .addOption(count('-f, --fanout <n>', 'how many hosts at a time', 32))
    .addOption(time('--connect-timeout <time>', 'how long a host may take to answer', 10))
    .addOption(time('--close-timeout <time>', 'how long a host may keep a connection after its command', 10))
    .addOption(time('--timeout <time>', "ends a host's command after this time, there too (default: never)"));
}

function describePredict(): Command {
  const predict = command('predict')
    .description('what a call would do on this machine now, and by which rule of the kernel')
    .helpCommand(false)
    .addHelpText(
      'after',
      examples('holdfast predict bind 8080', 'holdfast predict bind 127.0.0.1:8080 --reuse-addr'),
    );
  predict.addCommand(
    command('bind')
      .description('whether a socket could be bound there; changes nothing')
      .argument('<address>', '8080, 127.0.0.1:8080, [::1]:8080; port 0 lets the kernel choose')
      .option('--udp', 'a UDP socket; otherwise TCP')
      .option('--reuse-addr', 'with SO_REUSEADDR')
      .option('--reuse-port', 'with SO_REUSEPORT')
      .option('--v6only', 'with IPV6_V6ONLY')
      .option('--freebind', 'with IP_FREEBIND')
      .option('--device <name>', 'with SO_BINDTODEVICE')
      .addOption(count('--uid <n>', "the socket's owner (default: this user)"))
      .option('--json', 'print JSON')
      .addHelpText(
        'after',
        examples(
          'holdfast predict bind 0.0.0.0:8080 --reuse-addr',
          'holdfast predict bind [::1]:53 --udp --json',
        ),
      )
      .action(async (address: string, options) => {
        requireLinux('holdfast predict');
        const { predictBindCommand } = await import('./predict.js');
        predictBindCommand(address, options);
      }),
  );
  return predict;
}

function describeLab(): Command {
  const lab = command('lab')
    .description("try the kernel's rules, and what people say of them, on this machine")
    .helpCommand(false)
    .addHelpText('after', examples('holdfast lab list', 'holdfast lab run all --quick'));
  lab.addCommand(
    command('list')
      .description('the scenarios that there are')
      .option('--json', 'print JSON')
      .addHelpText('after', examples('holdfast lab list', 'holdfast lab list --json'))
      .action(async (options) => {
        const { labList } = await import('./lab.js');
        labList(options);
      }),
  );
  lab.addCommand(
    command('show')
      .description('what a scenario does and who claims what')
      .argument('<name...>', 'ids, or files of your own')
      .option('--json', 'print JSON')
      .addHelpText('after', examples('holdfast lab show S1', 'holdfast lab show ./mine.yaml'))
      .action(async (names: string[], options) => {
        const { labShow } = await import('./lab.js');
        labShow(names, options);
      }),
  );
  lab.addCommand(
    command('run')
      .description('play scenarios on the model and on the kernel, in namespaces of their own')
      .argument('<name...>', 'ids, "all", or files of your own')
      .option('--quick', 'leave out what takes minutes')
      .option('--verbose', 'every step, and the sockets before and after')
      .option('--json', 'print JSON')
      .addHelpText('after', examples('holdfast lab run S1 Q-f', 'holdfast lab run ./mine.yaml --verbose'))
      .action(async (names: string[], options) => {
        requireLinux('holdfast lab run');
        const { labRun } = await import('./lab.js');
        await labRun(names, options);
      }),
  );
  lab.addCommand(
    command('fuzz')
      .description(
        'run random programs of socket calls on the model and on the kernel, and compare after each call',
      )
      .addOption(count('--programs <n>', 'how many', 10_000))
      .addOption(count('--seed <n>', 'the same seed gives the same programs', 1))
      .addOption(new Option('--mix <kind>', 'which sockets').choices(['tcp', 'udp', 'mixed']).default('tcp'))
      .addOption(count('--jobs <n>', 'processes at a time (default: one for each CPU)'))
      .option('--shard <i/n>', 'only the i-th of n parts of the run, for several machines')
      .option('--out <file>', 'write disagreements there, as scenarios')
      .option('--json', 'print JSON')
      .addHelpText(
        'after',
        examples('holdfast lab fuzz --programs 100000 --seed 7', 'holdfast lab fuzz --mix udp --shard 2/8'),
      )
      .action(async (options) => {
        requireLinux('holdfast lab fuzz');
        const { labFuzz } = await import('./lab-fuzz.js');
        await labFuzz(options);
      }),
  );
  lab.addCommand(
    command('ablate')
      .description(
        'leave out one rule at a time: in how many programs and in which scenarios would the kernel contradict?',
      )
      .addOption(count('--programs <n>', 'for each rule', 5_000))
      .option('--no-scenarios', 'random programs alone')
      .addOption(count('--seed <n>', 'the same seed gives the same programs', 1))
      .option('--json', 'print JSON')
      .addHelpText('after', examples('holdfast lab ablate', 'holdfast lab ablate --programs 100000 --json'))
      .action(async (options) => {
        requireLinux('holdfast lab ablate');
        const { labAblate } = await import('./lab-fuzz.js');
        await labAblate(options);
      }),
  );
  return lab;
}

function describeDoctor(): Command {
  return command('doctor')
    .description('tell what works on this machine, and what each missing part needs')
    .option('--json', 'print JSON')
    .addHelpText('after', examples('holdfast doctor', 'holdfast doctor --json'))
    .action(async (options) => {
      const { doctor } = await import('./doctor.js');
      await doctor(options);
    });
}

/** What the unit has in its own way. */
const OF_UNIT = ['name', 'user', 'group'];

function describeSystemd(): Command {
  const systemd = describeKept(command('systemd'));
  // Word for word: as they were read, `auto` would be a number.
  const given: string[] = [];
  for (const option of systemd.options.filter((one) => !OF_UNIT.includes(one.name()))) {
    systemd.on(`option:${option.name()}`, (value: string | null | undefined) =>
      given.push(value == null ? `${option.long}` : `${option.long}=${value}`),
    );
  }
  return systemd
    .description('print the systemd unit of a keeper')
    .option('--user-unit', "a unit of the user's own service manager (systemctl --user)")
    .option(
      '--socket <address>',
      'have systemd bind it, in a unit of its own; repeatable; the forms of --listen',
      collect,
    )
    .option('--write <folder>', 'write the files there instead')
    .addHelpText(
      'after',
      examples(
        'holdfast systemd --name shop -- node server.js',
        'holdfast systemd --user www-data --socket 80 --write /etc/systemd/system -- gunicorn app',
      ),
    )
    .action(async (words: string[], options) => {
      requireCommand(words, 'systemd');
      const { systemd } = await import('./systemd.js');
      systemd(words, given, { listen: [], ...options });
    });
}

function describeCompletion(): Command {
  return command('completion')
    .description('print the completion script of a shell')
    .argument('<shell>', 'bash, zsh or fish')
    .addHelpText('after', examples('source <(holdfast completion bash)', 'holdfast completion fish | source'))
    .action(async (shell: string) => {
      const { completion } = await import('./completion.js');
      completion(shell, describeProgram());
    });
}

function describeHelp(program: Command): Command {
  return command('help')
    .description('show the help of a command')
    .argument('[command]', 'name of the command')
    .addHelpText('after', examples('holdfast help run', 'holdfast help stop'))
    .action((name: string | undefined) => {
      const wanted = name === undefined ? program : program.commands.find((one) => one.name() === name);
      if (wanted === undefined) program.error(`error: unknown command '${name}'`);
      else wanted.outputHelp();
    });
}

function command(name: string): Command {
  return new Command(name)
    .exitOverride()
    .configureOutput({ outputError: (text, write) => write(text.replace(/^error: /, 'holdfast: ')) })
    .configureHelp({ subcommandTerm: (one) => `${one.name()} ${one.usage()}` })
    .showHelpAfterError(`holdfast ${name} --help tells more`);
}

function parseWorkers(text: string): number {
  if (text === 'auto') return availableParallelism();
  if (/^[1-9]\d{0,2}$/.test(text)) return Number(text);
  throw new HoldfastError(
    'ERR_HOLDFAST_OPTION',
    `--workers: "${text}" is no whole number from 1 to 999, nor auto`,
  );
}

function parseLines(text: string): number {
  if (/^\d{1,9}$/.test(text)) return Number(text);
  throw new HoldfastError('ERR_HOLDFAST_OPTION', `--lines: "${text}" is no whole number`);
}

/** An option that is given as `500ms` or `10s` and read in milliseconds. */
function time(flags: string, description: string, defaultSeconds?: number): Option {
  const option = new Option(flags, description).argParser((text) => {
    try {
      return parseDuration(text);
    } catch (error) {
      throw new HoldfastError('ERR_HOLDFAST_OPTION', `${option.long}: ${errorText(error)}`, error);
    }
  });
  return defaultSeconds === undefined ? option : option.default(defaultSeconds * 1_000, `${defaultSeconds}s`);
}

/** An option that is a whole number from 1. */
function count(flags: string, description: string, defaultCount?: number): Option {
  const option = new Option(flags, description).argParser((text) => {
    if (/^[1-9]\d{0,9}$/.test(text)) return Number(text);
    throw new HoldfastError('ERR_HOLDFAST_OPTION', `${flags}: "${text}" is no whole number from 1`);
  });
  return defaultCount === undefined ? option : option.default(defaultCount);
}

function examples(first: string, second: string): string {
  return `\nExamples:\n  ${first}\n  ${second}`;
}

function collect(value: string, before: readonly string[] = []): readonly string[] {
  return [...before, value];
}

function parseSignal(value: string): string {
  const name = value.toUpperCase().startsWith('SIG') ? value.toUpperCase() : `SIG${value.toUpperCase()}`;
  if (STOP_SIGNALS.includes(name)) return name;
  throw new HoldfastError(
    'ERR_HOLDFAST_OPTION',
    `--stop-signal: "${value}" is no signal to stop a server with; those are ${STOP_SIGNALS.join(', ')}`,
  );
}
