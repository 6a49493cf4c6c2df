import { basename } from 'node:path';
import { programOf } from '../model/program.js';

export type Language = 'C' | 'Python' | 'Go' | 'Java' | 'Rust' | 'Node' | 'Ruby' | 'PHP' | 'Perl';

/** How a program sets SO_REUSEADDR, which it has to do before bind(2). */
export interface ReuseLine {
  /** Null when it is not known. */
  readonly language: Language | null;
  readonly line: string;
  /** What the language does by itself, and the other ways to say it. */
  readonly note: string;
  /** Whether its usual way to listen sets it without being asked. */
  readonly byDefault: boolean;
}

/** The line for each language. What they do by themselves was read in their sources, and is tested where they are. */
export const reuseLines: Readonly<Record<Language, ReuseLine>> = {
  C: {
    language: 'C',
    line: 'setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int));',
    note: 'between socket() and bind(); a plain socket has it not',
    byDefault: false,
  },
  Python: {
    language: 'Python',
    line: 'sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)',
    note:
      'before sock.bind(); in a class of socketserver.TCPServer: allow_reuse_address = True (it is False there, and ' +
      'True in http.server). socket.create_server() and asyncio set it by themselves',
    byDefault: false,
  },
  Go: {
    language: 'Go',
    line:
      'net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error { return c.Control(func(fd uintptr) { ' +
      'syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_REUSEADDR, 1) }) }}',
    note: 'net.Listen and http.ListenAndServe set it by themselves; only a socket made with package syscall lacks it',
    byDefault: true,
  },
  Java: {
    language: 'Java',
    line: 'ServerSocket server = new ServerSocket(); server.setReuseAddress(true); server.bind(address);',
    note: 'on Linux ServerSocket and ServerSocketChannel set it by themselves; Netty: option(ChannelOption.SO_REUSEADDR, true)',
    byDefault: true,
  },
  Rust: {
    language: 'Rust',
    line: 'socket.set_reuse_address(true)?;',
    note:
      'of socket2::Socket, before bind; tokio::net::TcpSocket: set_reuseaddr(true). TcpListener::bind of std and of ' +
      'tokio set it by themselves',
    byDefault: true,
  },
  Node: {
    language: 'Node',
    line: 'server.listen(port)',
    note: 'libuv sets it for every TCP server; nothing has to be written',
    byDefault: true,
  },
  Ruby: {
    language: 'Ruby',
    line: 'socket.setsockopt(:SOCKET, :REUSEADDR, true)',
    note: 'before bind; TCPServer.new sets it by itself',
    byDefault: true,
  },
  PHP: {
    language: 'PHP',
    line: 'socket_set_option($socket, SOL_SOCKET, SO_REUSEADDR, 1);',
    note: 'before socket_bind(); stream_socket_server() sets it by itself',
    byDefault: false,
  },
  Perl: {
    language: 'Perl',
    line: 'IO::Socket::INET->new(LocalPort => $port, Listen => 128, ReuseAddr => 1)',
    note: 'without ReuseAddr it is not set',
    byDefault: false,
  },
};

/** The languages that one shows to somebody whose language is not known. */
export const COMMON_LANGUAGES: readonly Language[] = ['C', 'Python', 'Go', 'Java', 'Rust', 'Node'];

const ANY: ReuseLine = {
  language: null,
  line: reuseLines.C.line,
  note: 'the call of C, which every language has by some name: SO_REUSEADDR, reuse_address, allow_reuse_address',
  byDefault: false,
};

/** The line that makes this program's next start succeed while old connections are in TIME_WAIT. Pure. */
export function reuseAddressLine(report: {
  readonly exe: string | null;
  readonly cmdline: readonly string[];
}): ReuseLine {
  const language = languageOf(report.exe ?? '', report.cmdline);
  return language === undefined ? ANY : reuseLines[language];
}

/** Interpreters and virtual machines by the name of their program; some programs by what they are written in. */
const PROGRAMS: readonly (readonly [RegExp, Language])[] = [
  [/^(?:python|pypy)[\d.]*$/, 'Python'],
  [/^(?:gunicorn|uvicorn|hypercorn|celery|uwsgi)$/, 'Python'],
  [/^(?:node|nodejs)\d*$/, 'Node'],
  [/^java$/, 'Java'],
  [/^(?:ruby[\d.]*|puma|unicorn)$/, 'Ruby'],
  [/^php(?:-fpm)?[\d.]*$/, 'PHP'],
  [/^perl[\d.]*$/, 'Perl'],
];

function languageOf(exe: string, cmdline: readonly string[]): Language | undefined {
  const path = exe.replace(/ \(deleted\)$/, '');
  // `go run` builds below the temporary folder, cargo below target.
  if (/\/go-build\d+\//.test(path)) return 'Go';
  if (/\/target\/(?:[\w-]+\/)?(?:debug|release)\//.test(path)) return 'Rust';
  const names = [basename(path), basename(cmdline[0] ?? ''), programOf(cmdline).name];
  return PROGRAMS.find(([pattern]) => names.some((name) => pattern.test(name)))?.[1];
}
