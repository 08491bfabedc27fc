<?php // A signed token for Dumbwaiter.  $more: 'data' (handshake data), 'csrf' (for a token in a cookie)
function dw_token(string $key_file, string $uid, int $ttl, array $more = []): string
{
    $encode = fn (string $raw) => rtrim(strtr(base64_encode($raw), '+/', '-_'), '=');
    $key = trim(file($key_file)[0]);
    $claims = json_encode(['sub' => $uid, 'exp' => time() + $ttl] + $more, JSON_THROW_ON_ERROR);
    $text = $encode('{"alg":"HS256","typ":"JWT"}') . '.' . $encode($claims);
    return $text . '.' . $encode(hash_hmac('sha256', $text, $key, true));
}
