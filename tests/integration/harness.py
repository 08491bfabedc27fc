"""What every integration test stands on: a fresh queue file, real processes, and their end.

A `World` is one temporary folder with one queue.  It starts responders and web servers, remembers their
process ids, ends every one of them, and fails the test when a sanitizer wrote a report or a process
died of a signal that the test did not send.  Nothing here knows about the protocol: see clients.py.
"""

import glob
import os
import pwd
import shutil
import signal
import socket
import sqlite3
import subprocess
import tempfile
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
SOURCE = os.path.dirname(os.path.dirname(HERE))
BUILD = os.path.abspath(os.environ.get("DW_BUILD", SOURCE))
RESPONDER = os.path.join(BUILD, "fcgi", "dumbwaiter.fcgi")
SIDECAR = os.path.join(BUILD, "ws", "dumbwaiter-ws")
# The one that ./runtests names, an installed one, or one that ./runtests has unpacked; None: there is none.
NGINX = os.environ.get("DW_NGINX") or shutil.which("nginx", path=os.pathsep.join(
    (os.environ["PATH"], "/usr/sbin", os.path.join(SOURCE, "build", "nginx", "usr", "sbin"))))
CLI = os.path.join(BUILD, "cli", "dumbwaiter")
SHARED = os.path.abspath(os.environ.get("DW_SHARED") or os.path.join(SOURCE, "..", "shared"))


def is_sanitized():
    """True when the responder under test was built with AddressSanitizer."""
    with open(RESPONDER, "rb") as program:
        return b"__asan_init" in program.read()


SANITIZED = os.path.exists(RESPONDER) and is_sanitized()
# Sanitized programs are slower; deadlines that are no requirement are stretched by this.
SLOW = 4 if SANITIZED else 1


def unprivileged(argv, user="nobody"):
    """The command as an ordinary user runs it, also where the tests run as root."""
    if os.geteuid() != 0:
        return argv
    return ["setpriv", "--reuid", user, "--regid", str(pwd.getpwnam(user).pw_gid), "--clear-groups", *argv]


def now_ms():
    return int(time.time() * 1000)


def _ports():
    """Free ports, none of them twice within some thousand: a client that still looks for a process that was killed must
    not find another test's.  So none is from the range in which the kernel chooses, and runners side by side
    (pytest-xdist) each have a range of their own."""
    first, size = 10000, 2000
    first += size * (int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:]) % 10)
    at = os.getpid()
    while True:
        port, at = first + at % size, at + 1
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        yield port


_free_ports, _ports_lock = _ports(), threading.Lock()


def free_port():
    with _ports_lock:
        return next(_free_ports)


def wait_until(condition, timeout, what):
    """Polls `condition` until it is true; its value is returned."""
    end = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError("waited %.1f s in vain: %s" % (timeout, what))
        time.sleep(0.01)


class Process:
    """A child that is ended by its process id, never by name."""

    def __init__(self, world, name, argv, env, stdin=subprocess.DEVNULL):
        self.name = name
        self.log = os.path.join(world.folder, "%s.log" % name)
        self.expected = {0, -signal.SIGTERM, -signal.SIGKILL}
        with open(self.log, "ab") as log:
            self.popen = subprocess.Popen(argv, env=env, stdin=stdin, stdout=log, stderr=log)

    @property
    def pid(self):
        return self.popen.pid

    def alive(self):
        return self.popen.poll() is None

    def kill(self):
        self.popen.kill()
        self.popen.wait()

    def terminate(self, timeout=10 * SLOW):
        """SIGTERM; returns (exit status, seconds it took)."""
        begin = time.monotonic()
        self.popen.terminate()
        status = self.popen.wait(timeout)
        return status, time.monotonic() - begin

    def end(self):
        if self.alive():
            try:
                self.terminate(6 * SLOW)
            except subprocess.TimeoutExpired:
                self.kill()
                return "%s (pid %d) did not end on SIGTERM" % (self.name, self.pid)
        if self.popen.returncode not in self.expected:
            return "%s (pid %d) ended with %s" % (self.name, self.pid, self.popen.returncode)
        return None

    def status(self, field):
        """A number of /proc/PID/status, such as VmRSS (kB)."""
        with open("/proc/%d/status" % self.pid) as lines:
            for line in lines:
                if line.startswith(field + ":"):
                    return int(line.split()[1])
        raise KeyError(field)

    def context_switches(self):
        """Of all threads together."""
        total = 0
        for name in glob.glob("/proc/%d/task/*/status" % self.pid):
            with open(name) as lines:
                for line in lines:
                    if "ctxt_switches" in line:
                        total += int(line.split()[1])
        return total


class World:
    """One queue and the processes around it.  `settings` are DUMBWAITER_* without the prefix."""

    def __init__(self, **settings):
        # Short: a Unix socket's path has 107 bytes.
        self.folder = tempfile.mkdtemp(prefix="dwi")
        os.chmod(self.folder, 0o777)
        self.db_path = os.path.join(self.folder, "q.db")
        self.settings = {"AUTH_UID": "client_id", "AUTH_CSRF": "off", "AUTH_ALLOWED_ORIGINS": "*"}
        self.settings.update(settings)
        self.processes = []
        self.sockets = []
        self.connections = []
        self.count = 0

    # ---- environment and settings ----

    def environment(self, **settings):
        env = {key: value for key, value in os.environ.items() if not key.startswith("DUMBWAITER_")}
        reports = os.path.join(self.folder, "sanitizer")
        env["ASAN_OPTIONS"] = "log_path=%s:abort_on_error=0:detect_leaks=1:exitcode=99" % reports
        env["UBSAN_OPTIONS"] = "log_path=%s:print_stacktrace=1:halt_on_error=1:exitcode=99" % reports
        env["TSAN_OPTIONS"] = "log_path=%s:exitcode=99" % reports
        env.update(self.responder_environment(**settings))
        return env

    def responder_environment(self, **settings):
        both = dict(self.settings)
        both.update(settings)
        env = {"DUMBWAITER_" + key: str(value) for key, value in both.items() if value is not None}
        env["DUMBWAITER_DB"] = self.db_path
        return env

    def path(self, name):
        return os.path.join(self.folder, name)

    # ---- the queue, as an app sees it ----

    def db(self):
        connection = sqlite3.connect(self.db_path, timeout=30, isolation_level=None, check_same_thread=False)
        self.connections.append(connection)
        return connection

    def sql(self, statement, *parameters):
        connection = sqlite3.connect(self.db_path, timeout=30, isolation_level=None)
        try:
            return connection.execute(statement, parameters).fetchall()
        finally:
            connection.close()

    def script(self, text):
        connection = sqlite3.connect(self.db_path, timeout=30, isolation_level=None)
        try:
            connection.executescript(text)
        finally:
            connection.close()

    def push(self, uid, event, data=None, format="json", column="uid"):
        connection = sqlite3.connect(self.db_path, timeout=30, isolation_level=None)
        try:
            cursor = connection.execute("INSERT INTO dw_push (%s, event, data, format) VALUES (?, ?, ?, ?)" % column,
                                        (uid, event, data, format))
            return cursor.lastrowid
        finally:
            connection.close()

    def session(self, sid, uid, csrf_token=None, handshake_data=None):
        self.sql("INSERT OR REPLACE INTO dw_session (sid, uid, csrf_token, handshake_data) VALUES (?, ?, ?, ?)",
                 sid, uid, csrf_token, handshake_data)

    def init(self):
        """Makes the queue file: any responder does when it is started with an address to listen on."""
        if os.path.exists(self.db_path):
            return
        responder = self.responder()
        assert responder.end() is None
        self.processes.remove(responder)

    # ---- the command-line program ----

    def cli(self, *arguments, stdin="", timeout=30, program=(CLI,), **settings):
        """Runs `dumbwaiter ARGUMENT...` on this world's queue and returns what subprocess.run does."""
        return subprocess.run([*program, *arguments], env=self.environment(**settings), input=stdin, timeout=timeout,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    # ---- processes ----

    def _start(self, kind, argv, env, stdin=subprocess.DEVNULL):
        self.count += 1
        process = Process(self, "%s%d" % (kind, self.count), argv, env, stdin)
        self.processes.append(process)
        return process

    def responder(self, listen="unix", address=None, **settings):
        """A responder on a socket of its own; `.address` is where."""
        if address is None and listen == "unix":
            address = "unix:" + self.path("r%d.sock" % self.count)
        elif address is None:
            address = "127.0.0.1:%d" % free_port()
        process = self._start("responder", [RESPONDER, "--listen", address], self.environment(**settings))
        process.address = address
        self.wait_listening(process, address)
        # It listens before it has made the queue file.
        wait_until(self.has_queue, 10 * SLOW, "the queue file is there")
        return process

    def sidecar(self, listen="tcp", address=None, **settings):
        """A WebSocket sidecar; `.address` is where."""
        if address is None:
            address = "127.0.0.1:%d" % free_port() if listen == "tcp" else "unix:" + self.path("w%d.sock" % self.count)
        settings.setdefault("WS_DRAIN_MS", 200)
        process = self._start("sidecar", [SIDECAR, "--listen", address], self.environment(**settings))
        process.address = address
        self.wait_listening(process, address)
        wait_until(self.has_queue, 10 * SLOW, "the queue file is there")
        return process

    def has_queue(self):
        if not os.path.exists(self.db_path):
            return False
        try:
            return bool(self.sql("SELECT cursor FROM dw_now"))
        except sqlite3.OperationalError:
            return False

    def listener(self):
        """A listening Unix socket that outlives the workers which inherit it."""
        listener = socket.socket(socket.AF_UNIX)
        path = self.path("l%d.sock" % self.count)
        self.count += 1
        listener.bind(path)
        os.chmod(path, 0o666)
        listener.listen(1024)
        self.sockets.append(listener)
        return listener, "unix:" + path

    def worker(self, listener, **settings):
        """A responder that inherits its listening socket on descriptor 0, as a web server starts it."""
        return self._start("worker", [RESPONDER], self.environment(**settings), stdin=listener)

    def wait_listening(self, process, address):
        def listening():
            if not process.alive():
                raise AssertionError("%s ended at start:\n%s" % (process.name, self.tail(process.log)))
            try:
                connect(address).close()
                return True
            except OSError:
                return False
        wait_until(listening, 10 * SLOW, "%s listens on %s" % (process.name, address))

    def lighttpd(self, *addresses, spawn=0, cgi=False, extra="", max_fds=4096, **settings):
        """A real lighttpd: in front of responders that listen on `addresses`, or starting `spawn` of
        them itself, or running the responder as a CGI program.  Returns the process; `.port` is where."""
        port = free_port()
        root = self.path("root")
        os.makedirs(root, exist_ok=True)
        lines = [
            'server.modules = ( "mod_fastcgi", "mod_cgi", "mod_setenv", "mod_alias" )' if cgi or "setenv" in extra else
            'server.modules = ( "mod_fastcgi" )',
            'server.bind = "127.0.0.1"', "server.port = %d" % port, 'server.document-root = "%s"' % root,
            'server.errorlog = "%s"' % self.path("lighttpd-error.log"), "server.max-fds = %d" % max_fds,
            "server.max-connections = %d" % (max_fds // 2 - 64), "server.listen-backlog = 4096",
            "server.max-request-size = 65536", 'server.upload-dirs = ( "%s" )' % self.folder,
        ]
        if cgi:
            lines.append('alias.url = ( "/chsk" => "%s" )' % RESPONDER)
            lines.append('$HTTP["url"] =~ "^/chsk" { cgi.assign = ( "" => "" ) }')
            environment = self.responder_environment(**settings)
            if "setenv" not in extra:
                lines.append("setenv.add-environment = ( %s )" %
                             ", ".join('"%s" => "%s"' % pair for pair in sorted(environment.items())))
        else:
            lines.append("fastcgi.server = ( \"/chsk\" => ( %s ) )" %
                         ", ".join(self._host(address) for address in addresses) if not spawn else
                         "fastcgi.server = ( \"/chsk\" => ( %s ) )" % self._spawned(spawn, settings))
        lines.append(extra)
        config = self.path("lighttpd%d.conf" % self.count)
        with open(config, "w") as out:
            out.write("\n".join(lines) + "\n")
        process = self._start("lighttpd", ["lighttpd", "-D", "-f", config], self.environment(**settings))
        process.port = port
        process.expected.add(1)  # lighttpd's, when it is stopped while it has open connections
        self.wait_listening(process, "127.0.0.1:%d" % port)
        return process

    @staticmethod
    def _host(address):
        if address.startswith("unix:"):
            where = '"socket" => "%s"' % address[5:]
        else:
            where = '"host" => "%s", "port" => %s' % tuple(address.split(":"))
        return '( %s, "check-local" => "disable", "tcp-fin-propagate" => "enable", "disable-time" => 0 )' % where

    def _spawned(self, processes, settings):
        environment = self.environment(**settings)
        names = [key for key in environment if key.startswith("DUMBWAITER_") or key.endswith("SAN_OPTIONS")]
        return ('( "bin-path" => "%s", "socket" => "%s", "max-procs" => %d, "check-local" => "disable", '
                '"tcp-fin-propagate" => "enable", "bin-environment" => ( %s ) )' %
                (RESPONDER, self.path("s.sock"), processes,
                 ", ".join('"%s" => "%s"' % (name, environment[name]) for name in names)))

    def children(self, process):
        """Process ids of the live children of `process`."""
        found = []
        for name in glob.glob("/proc/[0-9]*/stat"):
            try:
                with open(name) as stat:
                    fields = stat.read().rsplit(")", 1)[1].split()
            except OSError:
                continue
            if int(fields[1]) == process.pid and fields[0] != "Z":
                found.append(int(name.split("/")[2]))
        return found

    # ---- the end ----

    @staticmethod
    def tail(path, size=8000):
        try:
            with open(path, "rb") as log:
                return log.read()[-size:].decode("utf-8", "replace")
        except OSError:
            return ""

    def logs(self):
        names = sorted(glob.glob(self.path("*.log"))) + self.reports()
        return "\n".join("---- %s ----\n%s" % (os.path.basename(name), self.tail(name)) for name in names)

    def reports(self):
        return sorted(glob.glob(self.path("sanitizer*")))

    def close(self):
        """Ends everything; returns what went wrong, as text, or None."""
        wrong = []
        # Web servers first: they would start responders again.
        for process in sorted(self.processes, key=lambda p: not p.name.startswith(("lighttpd", "apache"))):
            children = self.children(process) if process.alive() else []
            wrong.append(process.end())
            for pid in children:
                self._end_child(pid)
        for connection in self.connections:
            connection.close()
        for listener in self.sockets:
            listener.close()
        for report in self.reports():
            wrong.append("sanitizer report:\n" + self.tail(report, 20000))
        wrong = [text for text in wrong if text is not None]
        return "\n".join(wrong) if wrong else None

    @staticmethod
    def _end_child(pid):
        """What a web server left behind: it had SIGTERM from its parent, so it only needs time."""
        for _ in range(100 * SLOW):
            try:
                os.kill(pid, 0)
            except ProcessLookupError:
                return
            time.sleep(0.05)
        os.kill(pid, signal.SIGKILL)

    def remove(self):
        shutil.rmtree(self.folder, ignore_errors=True)


def connect(address, timeout=30):
    """A socket connected to unix:PATH or HOST:PORT."""
    if address.startswith("unix:"):
        sock = socket.socket(socket.AF_UNIX)
        name = address[5:]
    else:
        sock = socket.socket(socket.AF_INET)
        host, port = address.rsplit(":", 1)
        name = (host, int(port))
    sock.settimeout(timeout)
    try:
        sock.connect(name)
    except OSError:
        sock.close()
        raise
    return sock


def counter(world, name):
    """A counter of the state file, 0 where it was never counted; resident processes write theirs every 10 s."""
    connection = sqlite3.connect(world.db_path + "-dw/state.db", timeout=30)
    try:
        row = connection.execute("SELECT value FROM counter WHERE name = ?", (name,)).fetchone()
        return row[0] if row else 0
    finally:
        connection.close()
