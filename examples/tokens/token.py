# A signed token for Dumbwaiter.  more: data (handshake data), csrf (for a token in a cookie)
import base64, hashlib, hmac, json, time

def dw_token(key_file, uid, ttl, **more):
    encode = lambda raw: base64.urlsafe_b64encode(raw).rstrip(b"=")
    with open(key_file, "rb") as keys:
        key = keys.readline().strip()
    claims = json.dumps({"sub": str(uid), "exp": int(time.time()) + ttl, **more})
    text = encode(b'{"alg":"HS256","typ":"JWT"}') + b"." + encode(claims.encode())
    return (text + b"." + encode(hmac.new(key, text, hashlib.sha256).digest())).decode()
