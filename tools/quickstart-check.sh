# ./quickstart --check: plays the demo page with curl and, as Debian 12's curl knows no WebSocket, with a
# socket of bash.  Sourced by ./quickstart, which has started the server and stops it; uses its url, port,
# run, db, user, sidecar_pid and push_command.

check_request() { # PARAMETERS CURL-OPTION...: the body on standard output, fails unless HTTP 200
    local parameters=$1
    shift
    curl -sf --max-time 30 -b "$run/cookies" -H "X-CSRF-Token: $page_token" "$@" \
        "${url}chsk?packer=json&client-id=$client_id&udt=$(date +%s%3N)$parameters"
}

check_ms() { # FROM TO: EPOCHREALTIME values as milliseconds
    awk -v from="$1" -v to="$2" 'BEGIN { printf "%.1f", (to - from) * 1000 }'
}

# Pushes with sqlite3 and waits for process poll_pid, which writes the time of receipt to that file; sets taken.
check_insert() { # FILE SENTENCE WHEN IT FAILED
    local started inserted received when=after
    started=$EPOCHREALTIME
    bash -c "$push_command" 2>"$run/push.log" || fail "the INSERT failed" "$run/push.log"
    inserted=$EPOCHREALTIME
    wait "$poll_pid" || fail "$2" "$run/responder.log"
    poll_pid=
    received=$(cat "$1")
    taken=$(check_ms "$inserted" "$received")
    [ "${taken#-}" = "$taken" ] || when=before # the commit wakes the server while sqlite3 still closes its file
    taken="${taken#-} ms $when sqlite3 had ended ($(check_ms "$started" "$received") ms after it was started)"
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
    local expected='[[["demo/hello",{"text":"Hello from SQL"}]],null]'
    (
        check_request '' -o "$run/received" && printf '%s' "$EPOCHREALTIME" >"$run/received_at"
    ) &
    poll_pid=$!
    sleep 0.5 # the poll is held by now
    alive "$poll_pid" || fail "the poll was answered before anything was pushed: $(cat "$run/received" 2>/dev/null)"
    check_insert "$run/received_at" "the poll failed"
    [ "$(cat "$run/received")" = "$expected" ] || fail "received $(cat "$run/received"), expected $expected"
    say push "sqlite3 INSERT to curl's answer: $taken"
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

check_message() { # EXPECTED: the next message on descriptor 4; those of the demo are short, in one frame each
    local head size message
    IFS= read -r -N 2 -t 30 -u 4 head || fail "the WebSocket was closed" "$run/sidecar.log"
    printf -v size %d "'${head:1}"
    [ "${head:0:1}" = $'\x81' ] && [ "$size" -gt 0 ] && [ "$size" -lt 126 ] || fail "no short text frame came over the WebSocket"
    IFS= read -r -N "$size" -t 30 -u 4 message || fail "the WebSocket was closed" "$run/sidecar.log"
    [ "$message" = "$1" ] || fail "received $message over the WebSocket, expected $1"
}

check_socket() {
    local line status
    [ -n "$sidecar_pid" ] || return 0
    exec 4<>"/dev/tcp/127.0.0.1/$port" || fail "no connection for the WebSocket"
    printf '%s\r\n' "GET /chsk?packer=json&client-id=$client_id-ws&csrf-token=$page_token HTTP/1.1" \
        "Host: 127.0.0.1:$port" "Cookie: dw_sid=$sid" "Connection: Upgrade" "Upgrade: websocket" \
        "Sec-WebSocket-Version: 13" "Sec-WebSocket-Key: $(head -c 16 /dev/urandom | base64)" "" >&4
    IFS= read -r -t 30 -u 4 status
    [[ $status = "HTTP/1.1 101 "* ]] || fail "the WebSocket was not opened: ${status%$'\r'}" "$run/sidecar.log"
    while IFS= read -r -t 30 -u 4 line && [ "$line" != $'\r' ]; do :; done
    check_message "[[\"chsk/handshake\",[\"$user\",null,null]],null]"
    (
        check_message '[[["demo/hello",{"text":"Hello from SQL"}]],null]'
        printf '%s' "$EPOCHREALTIME" >"$run/message_at"
    ) &
    poll_pid=$!
    check_insert "$run/message_at" "no message came over the WebSocket"
    exec 4>&-
    say websocket "sqlite3 INSERT to the message: $taken"
}

quickstart_check() {
    check_login
    check_push
    check_socket
    check_callback
    stop
    rm -rf "$run"
    say ok "an INSERT reached a waiting request and a WebSocket through lighttpd"
}
