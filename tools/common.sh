# What ./quickstart and ./runtests (bash, which source this) have in common: which Debian packages are
# needed for what, installing those that are missing, and making ./configure.

# the programs
dw_packages_build=(autoconf automake gcc libc6-dev make pkg-config libfcgi-dev libsqlite3-dev libinih-dev zlib1g-dev libsodium-dev
    libwebsockets-dev libwebsockets-evlib-uv libuv1-dev)
# ./quickstart: the web server, and what its check uses
dw_packages_demo=(lighttpd sqlite3 curl)
# ./runtests: unit tests, and integration tests that play the apps and the web servers.  apache2-bin is the
# server without the service that package apache2 would start on port 80.
dw_packages_test=(libcmocka-dev binutils git xz-utils python3 python3-pytest python3-pytest-xdist php-cli php-sqlite3 perl
    libdbi-perl libdbd-sqlite3-perl lighttpd apache2-bin libapache2-mod-fcgid sqlite3 curl procps strace)
# ./runtests: the demo page in a real browser
dw_packages_browser=(chromium chromium-driver python3-selenium)
# make lint
dw_packages_lint=(clang-tidy clang-format cppcheck)

# the fuzzers (fuzz/run); what bench/packers compares with
dw_packages_fuzz=(clang libclang-rt-14-dev)
dw_packages_bench=(libjansson-dev libmsgpack-dev)
# bench/run ws compares with nchan.  Never installed by a script: nginx-light starts a service on port 80.
# (It compares with socket.io too, for which it needs any node with npm.)
# shellcheck disable=SC2034
dw_packages_peers=(nginx-light libnginx-mod-nchan)

# dw_packages_install LOG PACKAGE...: asks for nothing when all are there.
dw_packages_install() {
    local log=$1 package missing=() sudo=
    shift
    if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
        echo "This system has no apt-get: install the counterparts of these Debian packages yourself: $*" >&2
        return 0
    fi
    for package in "$@"; do
        [ "$(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || missing+=("$package")
    done
    if [ ${#missing[@]} -eq 0 ]; then
        printf '%-10s %s\n' packages "all there"
        return 0
    fi
    printf '%-10s %s\n' packages "installing ${missing[*]}"
    if [ "$(id -u)" -ne 0 ]; then
        if ! command -v sudo >/dev/null; then
            echo "Not root and no sudo here.  As root: apt-get install ${missing[*]}" >&2
            return 1
        fi
        sudo=sudo
    fi
    # An up-to-date list is needed only where there is none, or the one that is there fails.
    if $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "${missing[@]}" \
        >"$log" 2>&1 </dev/null; then
        return 0
    fi
    if $sudo apt-get update >"$log" 2>&1 </dev/null &&
        $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "${missing[@]}" \
            >>"$log" 2>&1 </dev/null; then
        return 0
    fi
    echo "apt-get could not install ${missing[*]}; the end of $log:" >&2
    tail -n 15 "$log" >&2
    return 1
}

# dw_autogen: makes ./configure where it is missing or older than what it is made from.
dw_autogen() {
    [ -x configure ] && ! [ configure.ac -nt configure ] && ! [ Makefile.am -nt Makefile.in ] && return 0
    ./autogen.sh
}
