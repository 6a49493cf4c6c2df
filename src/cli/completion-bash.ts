import {
  type CompletionCommand,
  type CompletionModel,
  KEEPER_NAMES,
  quote,
  type Values,
  valueFlags,
} from './completion-model.js';

/** The script for bash 4 and later. It needs no bash-completion, but uses it for the server's own words. */
export function bashScript(model: CompletionModel): string {
  const flags = model.options.flatMap((option) => option.flags);
  const names = model.commands.map((command) => command.name);
  return `# bash completion for holdfast. In ~/.bashrc: source <(holdfast completion bash)

_holdfast() {
  local line=\${COMP_LINE:0:COMP_POINT} IFS=$' \\t\\n' words at last word command= option= server=
  # COMP_WORDS is split at : and =, which addresses have.
  read -ra words <<<"$line"
  [[ $line == *[[:space:]] ]] && words+=('')
  last=$((\${#words[@]} - 1))
  word=\${words[last]}
  COMPREPLY=()
  for ((at = 1; at < last; at++)); do
    case "$command \${words[at]}" in
      *' --') [[ $command == run ]] && { server=$((at + 1)); break; } ;;
      ${valueFlags(model)
        .map(({ command, flag }) => quote(`${command} ${flag}`))
        .join(' | ')}) option=\${words[at]}; ((at++)) ;;
      *' -'*) ;;
      *)
        if [[ -z $command ]]; then command=\${words[at]}
        elif [[ $command == run ]]; then server=$at; break
        fi ;;
    esac
  done
  if [[ -n $server ]]; then
    _holdfast_server "$server" "$last" "$word"
  elif ((at > last)); then
    _holdfast_values "$command $option" "$word"
  elif [[ $word == --*=* ]]; then
    _holdfast_values "$command \${word%%=*}" "\${word#*=}"
  else
    case $command in
      '') mapfile -t COMPREPLY < <(compgen -W ${quote([...names, ...flags].join(' '))} -- "$word") ;;
${model.commands.map(commandCase).join('\n')}
    esac
  fi
}

_holdfast_values() {
  case $1 in
${model.commands.flatMap(valueCases).join('\n')}
  esac
}

# The server's own command line, which begins at word $1.
_holdfast_server() {
  local IFS=$'\\n' at
  if declare -F _command_offset >/dev/null; then
    for ((at = 1; at < COMP_CWORD; at++)); do
      [[ \${COMP_WORDS[at]} == -- ]] && { _command_offset $((at + 1)); return; }
    done
  fi
  compopt -o filenames 2>/dev/null
  if [[ $1 == "$2" && $3 != */* ]]; then mapfile -t COMPREPLY < <(compgen -c -- "$3" | sort -u)
  else mapfile -t COMPREPLY < <(compgen -f -- "$3")
  fi
}

complete -F _holdfast holdfast
`;
}

function commandCase({ name, options, argument }: CompletionCommand): string {
  const flags = options.flatMap((option) => option.flags).join(' ');
  const server = '_holdfast_server "$last" "$last" "$word"';
  return `      ${name})
        if [[ $word == -* ]]; then mapfile -t COMPREPLY < <(compgen -W ${quote(flags)} -- "$word")
        else ${argument === 'server' ? server : fill(argument, '"$word"')}
        fi ;;`;
}

function valueCases({ name, options }: CompletionCommand): readonly string[] {
  return options
    .filter((option) => option.valueName !== undefined && option.values !== 'unknown')
    .map(({ flags, values }) => {
      const patterns = flags.map((flag) => quote(`${name} ${flag}`)).join(' | ');
      return `    ${patterns}) ${fill(values, '"$2"')} ;;`;
    });
}

/** The command that puts what begins with `word` into COMPREPLY. */
function fill(values: Values, word: string): string {
  switch (values) {
    case 'users':
      return `mapfile -t COMPREPLY < <(compgen -u -- ${word})`;
    case 'groups':
      return `mapfile -t COMPREPLY < <(compgen -g -- ${word})`;
    case 'keepers':
      return `mapfile -t COMPREPLY < <(compgen -W "$(${KEEPER_NAMES})" -- ${word})`;
    case 'files':
      return `compopt -o filenames 2>/dev/null; mapfile -t COMPREPLY < <(compgen -f -- ${word})`;
    case 'server':
    case 'unknown':
      return ':';
    default:
      return `mapfile -t COMPREPLY < <(compgen -W ${quote(values.join(' '))} -- ${word})`;
  }
}
