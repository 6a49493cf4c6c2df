import {
  type CompletionCommand,
  type CompletionModel,
  type CompletionOption,
  KEEPER_NAMES,
  type Values,
  valueFlags,
} from './completion-model.js';

/** The script for fish 3 and later. */
export function fishScript(model: CompletionModel): string {
  return `# fish completion for holdfast. In ~/.config/fish/config.fish: holdfast completion fish | source

# Prints the command that the words before the cursor have, or "server" and the number of its first word.
function __holdfast_place
    set -l words (commandline -opc)
    set -l command top
    set -l at 2
    while test $at -le (count $words)
        switch "$command $words[$at]"
            case '* --'
                if test $command = run
                    echo server
                    math $at + 1
                    return
                end
            case ${valueFlags(model)
              .map(({ command, flag }) => quote(`${command || 'top'} ${flag}`))
              .join(' ')}
                set at (math $at + 1)
            case '* -*'
            case '*'
                if test $command = run
                    echo server
                    echo $at
                    return
                end
                test $command = top; and set command $words[$at]
        end
        set at (math $at + 1)
    end
    echo $command
end

function __holdfast_in
    set -l place (__holdfast_place)
    test "$place[1]" = $argv[1]
end

# The server's own command line, completed as if it stood alone. A run without words is such a line too.
function __holdfast_server
    set -l words (commandline -opc)
    set -l place (__holdfast_place)
    set -l server
    # An option of run.
    test "$place[1]" = run; and string match -q -- '-*' (commandline -ct); and return
    if set -q place[2]; and test $place[2] -le (count $words)
        set server (string escape -- $words[$place[2]..-1])
    end
    set -l line (string join ' ' -- $server (commandline -ct))
    complete --do-complete="$line"
end

function __holdfast_keepers
    ${KEEPER_NAMES}
end

complete -c holdfast -f
${model.options.map((option) => optionLine('top', option)).join('\n')}
${model.commands.map(commandLine).join('\n')}
${model.commands.flatMap(argumentLines).join('\n')}
${model.commands.flatMap(({ name, options }) => options.map((option) => optionLine(name, option))).join('\n')}
`;
}

function commandLine({ name, description }: CompletionCommand): string {
  return `complete -c holdfast -n '__holdfast_in top' -a ${name} -d ${quote(description)}`;
}

function argumentLines({ name, argument }: CompletionCommand): readonly string[] {
  if (argument === 'server') {
    return [name, 'server'].map((place) => {
      const options = `-n '__holdfast_in ${place}' -a '(__holdfast_server)'`;
      return `complete -c holdfast ${options}`;
    });
  }
  if (argument.length === 0) return [];
  return [`complete -c holdfast -n '__holdfast_in ${name}' -a ${quote(source(argument))}`];
}

function optionLine(place: string, { flags, description, valueName, values }: CompletionOption): string {
  const names = flags.map((flag) => (flag.startsWith('--') ? `-l ${flag.slice(2)}` : `-s ${flag.slice(1)}`));
  const value = valueName === undefined ? '' : valueOption(values);
  return `complete -c holdfast -n '__holdfast_in ${place}' ${names.join(' ')}${value} -d ${quote(description)}`;
}

function valueOption(values: Values): string {
  if (values === 'files') return ' -r -F';
  return values === 'unknown' ? ' -x' : ` -x -a ${quote(source(values))}`;
}

function source(values: Values): string {
  switch (values) {
    case 'users':
      return '(__fish_complete_users)';
    case 'groups':
      return '(__fish_complete_groups)';
    case 'keepers':
      return '(__holdfast_keepers)';
    case 'files':
    case 'server':
    case 'unknown':
      return '';
    default:
      return values.join(' ');
  }
}

/** fish knows \\' and \\\\ between single quotes. */
function quote(text: string): string {
  return `'${text.replace(/['\\]/g, '\\$&')}'`;
}
