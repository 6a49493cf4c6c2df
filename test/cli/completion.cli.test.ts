import { writeFileSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { expect, test } from 'vitest';
import { startKeeper } from '../support/keeper.js';
import { testNeeding } from '../support/needing.js';
import { freePort } from '../support/ports.js';
import { binaryOf } from '../support/requirement.js';
import { nodeHttp } from '../support/servers.js';
import { temporaryFolder } from '../support/temporary.js';
import { commandFolder, run, runHoldfast } from './holdfast.js';

type Shell = 'bash' | 'zsh' | 'fish';

/** Loads the script from SCRIPT and prints what completes LINE, one word per line. */
const ASK_BASH = `
source "$SCRIPT"
COMP_LINE=$LINE COMP_POINT=\${#LINE}
read -ra COMP_WORDS <<<"$LINE"
[[ $LINE == *' ' ]] && COMP_WORDS+=('')
COMP_CWORD=$((\${#COMP_WORDS[@]} - 1))
# What <Tab> would call.
function=$(complete -p holdfast) && function=\${function#*-F } && "\${function%% *}"
printf '%s\\n' "\${COMPREPLY[@]}"`;

const ASK_FISH = 'source $SCRIPT; complete -C "$LINE"; true';

/** zsh completes on a terminal only: one is made, <Tab> is pressed, and what is added is written down. */
const ASK_ZSH = `
zmodload zsh/zpty
zpty session zsh -f -i
zpty -w session "source $INSIDE; print ready"
zpty -r session seen '*ready?*ready*'
zpty -n -w session "$LINE"$'\\t'
while zpty -r session seen; do :; done 2>/dev/null
cat $ANSWER`;
const INSIDE_ZSH = `
autoload -Uz compinit && compinit -u -d $DUMP
source $SCRIPT
bindkey '^I' complete-word
compadd() {
  if (( ! \${argv[(I)-[OAD]*]} )); then
    local -a hits
    builtin compadd -O hits "$@"
    print -rl -- $hits >> $ANSWER
  fi
  builtin compadd "$@"
}
comppostfuncs=(exit)`;

/** What the shell offers after the line, sorted. */
async function complete(shell: Shell, line: string, env: NodeJS.ProcessEnv = {}): Promise<readonly string[]> {
  const folder = temporaryFolder();
  const file = (name: string, content: string): string => {
    writeFileSync(join(folder, name), content);
    return join(folder, name);
  };
  const { code, stdout, stderr } = await run([binaryOf(shell), ...ASK[shell]], {
    cwd: folder,
    env: {
      ...env,
      PATH: `${commandFolder()}${delimiter}/usr/bin${delimiter}/bin`,
      HOME: folder,
      ZDOTDIR: folder,
      XDG_CONFIG_HOME: folder,
      XDG_DATA_HOME: folder,
      TERM: 'dumb',
      LINE: line,
      SCRIPT: file('script', await scriptOf(shell)),
      DUMP: dump,
      INSIDE: file('inside', INSIDE_ZSH),
      ANSWER: file('answer', ''),
    },
  });
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
  // fish prints the description after a tab.
  const words = stdout.split('\n').map((line) => line.replace(/\t.*/, ''));
  return [...new Set(words)].filter((word) => word !== '').sort();
}

const scripts = new Map<Shell, string>();
/** What zsh knows of its own completions: found out once. */
const dump = join(temporaryFolder(), 'zcompdump');

async function scriptOf(shell: Shell): Promise<string> {
  const known = scripts.get(shell);
  if (known !== undefined) return known;
  const { code, stdout, stderr } = await runHoldfast(['completion', shell]);
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
  scripts.set(shell, stdout);
  return stdout;
}

const ASK: Readonly<Record<Shell, readonly string[]>> = {
  bash: ['--norc', '--noprofile', '-c', ASK_BASH],
  zsh: ['-f', '-c', ASK_ZSH],
  fish: ['-c', ASK_FISH],
};

for (const shell of ['bash', 'zsh', 'fish'] as const) {
  const shellTest = testNeeding(shell);

  shellTest(`${shell} completes the commands`, async () => {
    const commands = await complete(shell, 'holdfast ');
    expect(commands).toEqual(
      expect.arrayContaining(['completion', 'doctor', 'help', 'run', 'status', 'stop']),
    );
    expect(await complete(shell, 'holdfast st')).toEqual(['status', 'stop']);
  });

  shellTest(`${shell} completes the options of each command`, async () => {
    expect(await complete(shell, 'holdfast run --sto')).toEqual(['--stop-signal', '--stop-timeout']);
    expect(await complete(shell, 'holdfast run --name shop --lis')).toEqual(['--listen']);
    expect(await complete(shell, 'holdfast stop --t')).toEqual(['--timeout']);
    expect(await complete(shell, 'holdfast status --j')).toEqual(['--json']);
    expect(await complete(shell, 'holdfast status --t')).toEqual([]);
    expect(await complete(shell, 'holdfast logs --li')).toEqual(['--lines']);
    expect(await complete(shell, 'holdfast events -f --js')).toEqual(['--json']);
  });

  shellTest(`${shell} completes the commands of a command, and their options`, async () => {
    expect(await complete(shell, 'holdfast lab ')).toEqual(['ablate', 'fuzz', 'list', 'run', 'show']);
    expect(await complete(shell, 'holdfast predict b')).toEqual(['bind']);
    expect(await complete(shell, 'holdfast lab fuzz --mi')).toEqual(['--mix']);
    expect(await complete(shell, 'holdfast lab fuzz --mix u')).toEqual(['udp']);
  });

  shellTest(`${shell} completes the values of options and arguments`, async () => {
    expect(await complete(shell, 'holdfast run --restart ')).toEqual(['always', 'never', 'on-failure']);
    expect(await complete(shell, 'holdfast run --stop-signal SIGU')).toEqual(['SIGUSR1', 'SIGUSR2']);
    expect(await complete(shell, 'holdfast run --user nob')).toEqual(['nobody']);
    expect(await complete(shell, 'holdfast completion ')).toEqual(['bash', 'fish', 'zsh']);
    expect(await complete(shell, 'holdfast help st')).toEqual(['status', 'stop']);
  });

  shellTest(`${shell} completes files where an option names one`, async () => {
    for (const line of ['up -f', 'down --file', 'init --from']) {
      const files = await complete(shell, `holdfast ${line} /etc/hostnam`);
      expect(files.map((file) => file.replace('/etc/', ''))).toEqual(['hostname']);
    }
    expect(await complete(shell, 'holdfast up --remove-o')).toEqual(['--remove-orphans']);
  });

  shellTest(`${shell} completes the server's command line as if it stood alone`, async () => {
    expect(await complete(shell, 'holdfast run -- gzi')).toContain('gzip');
    expect(await complete(shell, 'holdfast run gzi')).toContain('gzip');
    expect(await complete(shell, 'holdfast run --listen 127.0.0.1:80 -- gzi')).toContain('gzip');
    const files = await complete(shell, 'holdfast run --name x -- cat /etc/hostnam');
    expect(files.map((file) => file.replace('/etc/', ''))).toEqual(['hostname']);
    expect(await complete(shell, 'holdfast run -- gzip --rest')).not.toContain('--restart');
  });

  shellTest(`${shell} completes the names of the keepers that run`, async () => {
    const none = { HOLDFAST_STATE_DIR: temporaryFolder() };
    expect(await complete(shell, 'holdfast stop ', none)).toEqual([]);
    const keeper = startKeeper(nodeHttp.command(await freePort()), { name: 'shop' });
    await keeper.holding();
    const { env } = keeper;
    expect(await complete(shell, 'holdfast stop ', env)).toEqual(['shop']);
    expect(await complete(shell, 'holdfast status s', env)).toEqual(['shop']);
    expect(await complete(shell, 'holdfast status x', env)).toEqual([]);
    expect(await complete(shell, 'holdfast logs -f -n 5 ', env)).toEqual(['shop']);
    expect(await complete(shell, 'holdfast watch --keeper ', env)).toEqual(['shop']);
  });
}

testNeeding('bash')('bash completes a value after an equals sign', async () => {
  expect(await complete('bash', 'holdfast run --restart=al')).toEqual(['always']);
});

testNeeding(['bash', 'zsh', 'fish'])('the scripts have no faults of syntax', async () => {
  const file = join(temporaryFolder(), 'script');
  for (const shell of ['bash', 'zsh', 'fish'] as const) {
    writeFileSync(file, await scriptOf(shell));
    expect(await run([binaryOf(shell), '-n', file])).toEqual({ code: 0, stdout: '', stderr: '' });
  }
});

test('another shell is refused with those that there are', async () => {
  expect(await runHoldfast(['completion', 'tcsh'])).toEqual({
    code: 2,
    stdout: '',
    stderr: 'holdfast: there is no completion for "tcsh"; there are bash, zsh, fish [ERR_HOLDFAST_OPTION]\n',
  });
});
