# A signed token for Dumbwaiter.  %more: data (handshake data), csrf (for a token in a cookie)
use Digest::SHA 'hmac_sha256'; use JSON::PP 'encode_json'; use MIME::Base64 'encode_base64url';
sub dw_token {
    my ($key_file, $uid, $ttl, %more) = @_;
    open my $keys, '<', $key_file or die "$key_file: $!";
    my ($key) = <$keys> =~ /(\S+)/;
    my $claims = encode_json({ sub => "$uid", exp => time() + $ttl, %more });
    my $text = encode_base64url('{"alg":"HS256","typ":"JWT"}') . '.' . encode_base64url($claims);
    return $text . '.' . encode_base64url(hmac_sha256($text, $key));
}
