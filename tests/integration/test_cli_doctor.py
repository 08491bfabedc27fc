"""`dumbwaiter doctor`: each thing that newcomers get wrong is provoked once, and found."""

import os
import resource
import shutil
import signal
import sqlite3
import subprocess

import pytest

from clients import fcgi, handshake
from harness import CLI, SLOW, wait_until

TOPICS = {"settings", "user", "csrf", "uid", "sqlite", "inotify", "nofile", "space", "folder", "disk", "served", "queue",
          "state", "journal", "schema", "lock", "session", "workers"}


class Found:
    def __init__(self, result):
        self.status, self.text, self.said = result.returncode, result.stdout, result.stderr
        self.lines = [line.split(None, 2) for line in self.text.split("\n\n")[0].splitlines()]
        assert all(level in ("ok", "warn", "FAIL") and len(sentence) > 3 for level, _, sentence in self.lines), self.text

    def levels(self, topic):
        return [level for level, name, _ in self.lines if name == topic]

    def expect(self, level, topic, *words):
        """A finding with these words; a FAIL ends with 1."""
        sentences = [sentence for found, name, sentence in self.lines if (found, name) == (level, topic)]
        assert any(all(word in sentence for word in words) for sentence in sentences), self.text
        assert self.status == (1 if any(found == "FAIL" for found, _, _ in self.lines) else 0), self.said
        if level == "FAIL":
            assert "to mend" in self.text.splitlines()[-1]
        return self

    def expect_no_fail(self):
        assert self.status == 0 and not [line for line in self.lines if line[0] == "FAIL"], self.text + self.said
        return self


class Site:
    """A folder of the test's own with a queue."""

    def __init__(self, world):
        self.world = world
        self.folder = world.path("site")
        os.mkdir(self.folder, 0o755)
        self.db = os.path.join(self.folder, "q.db")
        self.state = self.db + "-dw"

    def init(self):
        result = self.world.cli("init", "--db", self.db)
        assert result.returncode == 0, result.stderr

    def doctor(self, *arguments, **settings):
        more = {"AUTH_UID": None, "AUTH_CSRF": None, "AUTH_ALLOWED_ORIGINS": None}
        more.update(settings)
        return Found(self.world.cli("doctor", "--db", self.db, *arguments, **more))

    def sql(self, statement, path=None):
        db = sqlite3.connect(path or self.db)
        try:
            with db:
                return db.execute(statement).fetchall()
        finally:
            db.close()


@pytest.fixture
def empty(world):
    return Site(world)


@pytest.fixture
def site(empty):
    empty.init()
    return empty


# ---- what is right ----

def test_a_new_queue_has_nothing_to_mend(site):
    found = site.doctor().expect_no_fail()
    assert {topic for _, topic, _ in found.lines} == TOPICS
    found.expect("ok", "journal", "WAL").expect("ok", "schema", "schema 4").expect("warn", "workers", "no responder runs")
    assert found.text.splitlines()[-1].startswith("Nothing to mend")


def test_the_look_changes_nothing(site):
    def everything():
        return {os.path.join(root, name): (os.lstat(os.path.join(root, name)).st_mode,
                                           os.lstat(os.path.join(root, name)).st_uid)
                for root, dirs, files in os.walk(site.folder) for name in dirs + files if not name.endswith(("-wal", "-shm"))}
    shutil.rmtree(site.state)
    before, content = everything(), open(site.db, "rb").read()
    site.doctor().expect("warn", "state", "there is no %s" % site.state)
    assert set(before) <= set(everything())
    site.sql("DROP TABLE dw_push")
    shutil.rmtree(site.state, ignore_errors=True)
    site.sql("UPDATE dw_meta SET value = 99 WHERE key = 'schema_version'")
    before = everything()
    site.doctor().expect("FAIL", "schema", "newer")
    assert everything() == before and len(content) > 0


def test_an_apps_own_database_is_told_apart(empty):
    empty.sql("CREATE TABLE orders (item)")
    empty.init()
    empty.doctor().expect_no_fail().expect("ok", "schema", "with tables of your own")


def test_responders_are_counted_and_the_dead_are_told(site):
    world = site.world
    world.db_path = site.db
    first, second = world.responder(), world.responder()
    for responder in (first, second):  # a responder takes its worker number with its first request
        fcgi(responder.address, "GET", handshake("c1"))
    site.doctor().expect_no_fail().expect("ok", "workers", "2 processes serve this queue")
    os.kill(first.pid, signal.SIGSTOP)
    try:
        second.kill()
        found = site.doctor()
    finally:
        os.kill(first.pid, signal.SIGCONT)
    found.expect("warn", "workers", "1 process died without a farewell")
    found.expect("ok", "workers", "1 process serves this queue")


# ---- settings ----

def conf(site, text, mode=0o644):
    path = site.world.path("dumbwaiter.conf")
    with open(path, "w") as out:
        out.write(text)
    os.chmod(path, mode)
    return path


@pytest.mark.parametrize("text, words", [
    ("[limits]\nparkd = 5\n", ["line 2", "there is no setting limits.parkd"]),
    ("[chsk]\nlp_timeout_ms = soon\n", ["line 2", "chsk.lp_timeout_ms must be a whole number"]),
    ("[auth]\ncsrf = maybe\n", ["auth.csrf must be one of on|off"]),
    ("lp_timeout_ms = 5\n", ["line 1"]),
])
def test_settings_that_no_program_starts_with_fail(site, text, words):
    found = site.doctor("--config", conf(site, text)).expect("FAIL", "settings", "no program starts with this", *words)
    found.expect("ok", "queue")  # and the rest is still looked at


def test_a_settings_file_that_is_missing_fails(site):
    site.doctor("--config", "/nowhere/dumbwaiter.conf").expect("FAIL", "settings", "cannot open the settings file")


def test_a_variable_that_is_no_setting_fails(site):
    site.doctor(CHSK_LP_TIMEOUT="5").expect("FAIL", "settings", "DUMBWAITER_CHSK_LP_TIMEOUT names no setting")


def test_a_settings_file_that_anyone_may_change_fails(site):
    path = conf(site, "[log]\nlevel = warn\n", 0o666)
    site.doctor("--config", path).expect("FAIL", "settings", "every user of this machine may change %s" % path)
    os.chmod(path, 0o644)
    site.doctor("--config", path).expect_no_fail().expect("ok", "settings", path)


def test_a_settings_file_that_the_user_can_not_read_fails(site):
    path = conf(site, "[log]\nlevel = warn\n", 0o600)
    site.doctor("--config", path, "--user", "nobody").expect("FAIL", "settings", "nobody may not read " + path)


def test_csrf_that_is_off(site):
    site.doctor(AUTH_CSRF="off").expect_no_fail().expect("warn", "csrf", "auth.csrf is off")
    site.doctor(AUTH_ALLOWED_ORIGINS="*").expect_no_fail().expect("warn", "csrf", "only the token")
    site.doctor(AUTH_CSRF="off", AUTH_ALLOWED_ORIGINS="*").expect("FAIL", "csrf", "any web page that a user visits")
    site.doctor(AUTH_UID="client_id").expect_no_fail().expect("warn", "uid", "auth.uid is client_id")


def test_an_unknown_packer_fails(site):
    site.doctor(CHSK_PACKER="xml").expect("FAIL", "packer", 'no packer: "xml"')


def test_a_session_query_that_does_not_work_fails(site):
    site.doctor(AUTH_SESSION_SQL="SELECT uid FROM users WHERE sid = :sid").expect(
        "FAIL", "session", "auth.session_sql does not work", "no such table: users")


# ---- folders and files ----

def test_a_folder_that_is_missing_fails(empty):
    os.rmdir(empty.folder)
    empty.doctor().expect("FAIL", "folder", "there is no folder " + empty.folder)


def test_a_folder_on_the_way_that_the_user_can_not_enter_fails(site):
    home = site.world.path("home")
    os.mkdir(home)
    shutil.move(site.folder, home)
    site.db = home + "/site/q.db"
    os.chmod(home + "/site", 0o777)
    os.chmod(home, 0o700)
    site.doctor("--user", "nobody").expect("FAIL", "folder", "nobody may not enter %s," % home)


def test_a_folder_that_the_user_can_not_write_fails(site):
    os.chmod(site.db, 0o666)
    site.doctor("--user", "nobody").expect("FAIL", "folder", "nobody may not write " + site.folder, "-wal and -shm")


def test_a_folder_that_everyone_can_write_is_warned_about(site):
    os.chmod(site.folder, 0o777)
    site.doctor().expect_no_fail().expect("warn", "folder", "may replace files")
    os.chmod(site.folder, 0o1777)
    site.doctor().expect_no_fail().expect("ok", "folder")


def test_a_queue_that_is_missing_fails(empty):
    empty.doctor().expect("FAIL", "queue", "there is no " + empty.db, "dumbwaiter init --db " + empty.db)


def test_a_queue_that_is_no_file_fails(empty):
    os.mkdir(empty.db)
    empty.doctor().expect("FAIL", "queue", "is no ordinary file")


def test_a_queue_of_another_user_fails(site):
    os.chmod(site.folder, 0o777)
    owner = subprocess.run(["id", "-un"], capture_output=True, text=True).stdout.strip()
    site.doctor("--user", "nobody").expect("FAIL", "queue", "nobody may not read and write " + site.db, "mode 0660",
                                           "belongs to " + owner)


@pytest.mark.parametrize("suffix", ["-wal", "-shm", "-journal"])
def test_files_beside_the_queue_that_the_user_can_not_write_fail(site, suffix):
    os.chmod(site.folder, 0o777)
    os.chmod(site.db, 0o666)
    open(site.db + suffix, "w").close()
    os.chmod(site.db + suffix, 0o600)
    site.doctor("--user", "nobody").expect("FAIL", "queue", "nobody may not write " + site.db + suffix)


def test_a_queue_that_everyone_can_read_is_warned_about(site):
    os.chmod(site.db, 0o664)
    site.doctor().expect_no_fail().expect("warn", "queue", "every user of this machine may read", "0664")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_root_asks_for_the_owner_of_the_queue(site):
    os.chown(site.folder, 65534, 65534)
    os.chown(site.db, 65534, 65534)
    found = site.doctor().expect("ok", "user", "nobody").expect("ok", "queue")
    found.expect("FAIL", "state", "nobody may not use the folder %s" % site.state, "belongs to root")
    os.chown(site.state, 65534, 65534)
    site.doctor().expect("FAIL", "state", "nobody may not read and write %s/" % site.state, "belongs to root")
    for name in os.listdir(site.state):
        os.chown(os.path.join(site.state, name), 65534, 65534)
    site.doctor().expect_no_fail().expect("ok", "state")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
def test_who_asks_is_looked_at_by_what_the_kernel_allows(site):
    os.chmod(site.world.folder, 0o755)
    env = site.world.environment(AUTH_UID=None, AUTH_CSRF=None, AUTH_ALLOWED_ORIGINS=None)

    def ask():
        return Found(subprocess.run([CLI, "doctor", "--db", site.db], env=env, capture_output=True, text=True, user=65534,
                                    group=65534, extra_groups=[]))
    if not os.access(os.path.dirname(CLI), os.X_OK) or subprocess.run(["true"], user=65534).returncode != 0:
        pytest.skip("another user can't be asked for")
    try:
        found = ask()
    except PermissionError:
        pytest.skip("the build folder is closed to other users")
    found.expect("FAIL", "queue", "nobody may not read and write").expect("FAIL", "state").expect("FAIL", "folder")
    for root, dirs, files in os.walk(site.folder):
        for name in [root] + [os.path.join(root, name) for name in files]:
            os.chown(name, 65534, 65534)
    ask().expect_no_fail().expect("ok", "session")


def test_a_state_folder_that_is_none_or_closed_fails(site):
    os.chmod(site.folder, 0o777)
    os.chmod(site.db, 0o666)
    site.doctor("--user", "nobody").expect("FAIL", "state", "nobody may not use the folder " + site.state, "mode 0770")
    shutil.rmtree(site.state)
    open(site.state, "w").close()
    site.doctor().expect("FAIL", "state", "is no folder")


@pytest.mark.parametrize("make", [
    lambda site: open(os.path.join(site.folder, "index.html"), "w").close(),
    lambda site: open(os.path.join(site.world.folder, ".htaccess"), "w").close(),
    lambda site: open(os.path.join(site.folder, "index.php"), "w").close(),
])
def test_a_queue_beside_or_below_web_pages_fails(site, make):
    make(site)
    site.doctor().expect("FAIL", "served", "anyone could download it", "outside of the document root")


@pytest.mark.parametrize("name", ["public_html", "htdocs", "wwwroot"])
def test_a_queue_in_a_folder_with_a_document_roots_name_fails(empty, name):
    empty.folder = os.path.join(empty.world.path(name), "data")
    os.makedirs(empty.folder)
    empty.db = os.path.join(empty.folder, "q.db")
    empty.init()
    empty.doctor().expect("FAIL", "served", "below " + empty.world.path(name))


def test_a_queue_below_the_named_document_root_fails(site):
    site.doctor("--document-root", site.world.folder).expect("FAIL", "served", "below " + site.world.folder)
    site.doctor("--document-root", site.world.path("elsewhere")).expect_no_fail()
    env = site.world.environment(AUTH_UID=None, AUTH_CSRF=None, AUTH_ALLOWED_ORIGINS=None)
    env["DOCUMENT_ROOT"] = site.folder
    Found(subprocess.run([CLI, "doctor", "--db", site.db], env=env, capture_output=True, text=True)).expect(
        "FAIL", "served", "below " + site.folder)


# ---- what is in the files ----

def test_a_file_that_is_no_database_fails(empty):
    with open(empty.db, "w") as out:
        out.write("this is a letter, not a database\n" * 100)
    os.chmod(empty.db, 0o660)
    empty.doctor().expect("FAIL", "schema", "can't be read", "not a database")


def test_a_database_without_our_tables_fails(empty):
    empty.sql("CREATE TABLE mine (x)")
    empty.doctor().expect("FAIL", "schema", "has no Dumbwaiter tables", "dumbwaiter init")


def test_newer_schemas_fail(site):
    site.sql("UPDATE dw_meta SET value = 99 WHERE key = 'schema_version'")
    site.sql("PRAGMA user_version = 88", site.state + "/state.db")
    found = site.doctor().expect("FAIL", "schema", "schema 99, this program knows 4")
    found.expect("FAIL", "state", "schema 88, this program knows 2")


def test_a_state_file_that_is_damaged_fails(site):
    with open(site.state + "/state.db", "w") as out:
        out.write("this is a letter, not a database\n" * 100)
    os.remove(site.state + "/state.db-wal")
    site.doctor().expect("FAIL", "state", "can't be read", "no event is lost")


def test_a_journal_mode_that_an_app_has_changed_is_warned_about(site):
    assert site.sql("PRAGMA journal_mode = DELETE") == [("delete",)]
    site.doctor().expect_no_fail().expect("warn", "journal", "the journal mode is delete")


def test_a_transaction_that_nobody_ends_fails(site):
    db = sqlite3.connect(site.db, isolation_level=None)
    db.execute("BEGIN IMMEDIATE")
    site.doctor().expect("FAIL", "lock", "another program has held the write lock for 2 s")
    db.execute("ROLLBACK")
    site.doctor().expect_no_fail().expect("ok", "lock")
    db.close()


# ---- the machine ----

def limited(site, soft, hard):
    env = site.world.environment(AUTH_UID=None, AUTH_CSRF=None, AUTH_ALLOWED_ORIGINS=None)
    return Found(subprocess.run([CLI, "doctor", "--db", site.db], env=env, capture_output=True, text=True,
                                preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))))


def test_too_few_open_files_fail(site):
    limited(site, 64, 64).expect("FAIL", "nofile", "may open only 64 files")
    limited(site, 1024, 1024).expect("warn", "nofile", "holds 768 polls, not limits.parked = 20000").expect_no_fail()
    site.doctor(LIMITS_PARKED=100).expect("ok", "nofile", "enough files for limits.parked = 100")


SHIM = r"""
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <sys/vfs.h>

/* A file system as the variables say, and a user who has used up the file events. */
int statfs64(const char *path, struct statfs64 *fs)
{
    (void)path;
    memset(fs, 0, sizeof *fs);
    fs->f_type = strtol(getenv("SHIM_TYPE"), NULL, 0);
    return 0;
}
int statvfs64(const char *path, struct statvfs64 *fs)
{
    (void)path;
    memset(fs, 0, sizeof *fs);
    fs->f_frsize = 1;
    fs->f_bavail = strtoul(getenv("SHIM_FREE"), NULL, 0);
    return 0;
}
int inotify_init1(int flags)
{
    (void)flags;
    errno = EMFILE;
    return -1;
}
"""


def shimmed(site, tmp_path, kind, free):
    library = tmp_path / "shim.so"
    if not library.exists():
        (tmp_path / "shim.c").write_text(SHIM)
        subprocess.run(["gcc", "-D_GNU_SOURCE", "-shared", "-fPIC", "-o", library, tmp_path / "shim.c"], check=True)
    env = site.world.environment(AUTH_UID=None, AUTH_CSRF=None, AUTH_ALLOWED_ORIGINS=None)
    env.update(LD_PRELOAD=str(library), SHIM_TYPE=kind, SHIM_FREE=free)
    env["ASAN_OPTIONS"] += ":verify_asan_link_order=0"
    return Found(subprocess.run([CLI, "doctor", "--db", site.db], env=env, capture_output=True, text=True))


@pytest.mark.parametrize("kind, name", [("0x6969", "nfs"), ("0xFE534D42", "smb2"), ("0x01021997", "9p")])
def test_a_network_file_system_fails(site, tmp_path, kind, name):
    shimmed(site, tmp_path, kind, "10000000000").expect("FAIL", "disk", "network file system (%s)" % name, "local disk")


def test_a_disk_that_is_full_fails(site, tmp_path):
    shimmed(site, tmp_path, "0xEF53", "1000").expect("FAIL", "space", "only 1000 bytes are free")
    shimmed(site, tmp_path, "0xEF53", "50000000").expect_no_fail().expect("warn", "space", "only 50000000 bytes")
    shimmed(site, tmp_path, "0xEF53", "10000000000").expect_no_fail().expect("ok", "space").expect("ok", "disk", "ext4")


def test_file_events_that_are_used_up_are_warned_about(site, tmp_path):
    found = shimmed(site, tmp_path, "0xEF53", "10000000000").expect_no_fail()
    found.expect("warn", "inotify", "Too many open files", "by a timer and a little later", "max_user_instances")
