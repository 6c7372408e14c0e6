# Varnish (tried with 7.1) before Ostia, with vmod_xkey (Debian's varnish-modules), which knows the objects of a key: a purge costs
# what they cost, where a BAN is compared with every object. Otherwise as varnish.vcl.
vcl 4.1;

import std;
import xkey;

backend ostia {
    .host = "127.0.0.1";
    .port = "8080";
    # The page for people; where tenants have paths, that of one of them, such as /acme: / is 404 there. /readyz is at the
    # admin address, which caches should not reach.
    .probe = { .url = "/"; .interval = 2s; .timeout = 1s; .window = 3; .threshold = 2; }
}

# Who may tell of revocations: a PURGE with keys that answers carry in Surrogate-Key (KEY or KEY-SERIAL), separated by spaces.
# Ostia does so by itself (driver "varnish-xkey"); its writers have to be named here. By hand:
#   curl -X PURGE -H 'xkey-purge: 0123456789abcdef-0a1b' http://127.0.0.1/
acl purgers { "localhost"; }

sub vcl_recv {
    if (req.method == "PURGE") {
        if (client.ip !~ purgers) {
            return (synth(403));
        }
        if (req.http.xkey-purge) {
            return (synth(200, "Purged " + xkey.purge(req.http.xkey-purge)));
        }
        # What is purged softly is still given out while no backend is healthy.
        if (req.http.xkey-softpurge) {
            return (synth(200, "Purged " + xkey.softpurge(req.http.xkey-softpurge)));
        }
        return (synth(400));
    }
    # The query and cookies of an OCSP request mean nothing; the path is the request, `//` in it included.
    unset req.http.Cookie;
    if (req.method == "POST") {
        return (pass);
    }
    if (!std.healthy(req.backend_hint)) {
        set req.grace = 1h;
    } else {
        set req.grace = 0s;
    }
}

sub vcl_backend_response {
    set beresp.http.xkey = beresp.http.Surrogate-Key;
    # While no backend is healthy, an answer is given out for longer, which is well before its nextUpdate with the default
    # `validity`. Otherwise a revocation would wait for it.
    set beresp.grace = 1h;
}

sub vcl_deliver {
    unset resp.http.xkey;
}
