# ./quickstart --check: plays the demo page with curl.  Sourced by ./quickstart, which has started the
# server and stops it; uses its url, run, db, user and push_command.

check_request() { # PARAMETERS CURL-OPTION...: the body on standard output, fails unless HTTP 200
    local parameters=$1
    shift
    curl -sf --max-time 30 -b "$run/cookies" -H "X-CSRF-Token: $page_token" "$@" \
        "${url}chsk?packer=json&client-id=$client_id&udt=$(date +%s%3N)$parameters"
}

check_ms() { # FROM TO: EPOCHREALTIME values as milliseconds
    awk -v from="$1" -v to="$2" 'BEGIN { printf "%.1f", (to - from) * 1000 }'
}

check_login() {
    curl -sf --max-time 10 -c "$run/cookies" -o "$run/page" "$url" || fail "the demo page can't be read"
    page_token=$(sed -n 's/.*name="csrf-token" content="\([^"]*\)".*/\1/p' "$run/page")
    client_id=check-$$
    [ -n "$page_token" ] || fail "the demo page has no CSRF token"
    if curl -sf --max-time 10 -o /dev/null "${url}chsk?packer=json&client-id=$client_id&handshake?=1"; then
        fail "a request without cookie and token was let in"
    fi
    say security "no cookie, no token: refused"
    local expected="[[\"chsk/handshake\",[\"$user\",null,null]],null]" handshake
    handshake=$(check_request '&handshake?=1') || fail "the handshake failed" "$run/responder.log"
    [ "$handshake" = "$expected" ] || fail "the handshake is $handshake, expected $expected"
    say handshake "signed in as $user"
}

check_push() {
    local inserted started expected='[[["demo/hello",{"text":"Hello from SQL"}]],null]'
    (
        check_request '' -o "$run/received" && printf '%s' "$EPOCHREALTIME" >"$run/received_at"
    ) &
    poll_pid=$!
    sleep 0.5 # the poll is held by now
    alive "$poll_pid" || fail "the poll was answered before anything was pushed: $(cat "$run/received" 2>/dev/null)"
    started=$EPOCHREALTIME
    bash -c "$push_command" 2>"$run/push.log" || fail "the INSERT failed" "$run/push.log"
    inserted=$EPOCHREALTIME
    wait "$poll_pid" || fail "the poll failed" "$run/responder.log"
    poll_pid=
    [ "$(cat "$run/received")" = "$expected" ] || fail "received $(cat "$run/received"), expected $expected"
    say push "sqlite3 INSERT to curl's answer: $(check_ms "$inserted" "$(cat "$run/received_at")") ms after sqlite3 had ended ($(check_ms "$started" "$(cat "$run/received_at")") ms after it was started)"
}

check_callback() {
    local reply
    reply=$(check_request '' --data-urlencode 'ppstr=[["demo/ask",{"text":"ping"}],"ajax"]') ||
        fail "the message with callback failed" "$run/responder.log"
    case $reply in
    '[{"text":"\"ping\" is message number '*) say callback "a trigger's reply came in the same request" ;;
    *) fail "the reply to a message with callback is $reply" ;;
    esac
}

quickstart_check() {
    check_login
    check_push
    check_callback
    stop
    rm -rf "$run"
    say ok "one INSERT reached a waiting request through lighttpd"
}
