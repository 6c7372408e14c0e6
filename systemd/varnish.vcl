# Varnish (tried with 7.1) before Ostia. Answers to GET are kept for as long as their max-age says; POST is passed on.
vcl 4.1;

import std;

backend ostia {
    .host = "127.0.0.1";
    .port = "8080";
    # The page for people; where tenants have paths, that of one of them, such as /acme: / is 404 there. /readyz is at the
    # admin address, which caches should not reach.
    .probe = { .url = "/"; .interval = 2s; .timeout = 1s; .window = 3; .threshold = 2; }
}

# Who may tell of revocations: a BAN with keys that answers carry in Surrogate-Key (KEY or KEY-SERIAL), separated by spaces.
# Ostia does so by itself (driver "varnish-ban"); its writers have to be named here. By hand:
#   curl -X BAN -H 'Surrogate-Key: 0123456789abcdef-0a1b' http://127.0.0.1/
acl purgers { "localhost"; }

sub vcl_recv {
    if (req.method == "BAN") {
        if (client.ip !~ purgers) {
            return (synth(403));
        }
        if (req.http.Surrogate-Key !~ "^[0-9A-Za-z-]+( [0-9A-Za-z-]+)*$") {
            return (synth(400));
        }
        ban("obj.http.Surrogate-Key ~ (^|\s)(" + regsuball(req.http.Surrogate-Key, " ", "|") + ")(\s|$)");
        return (synth(200, "Banned"));
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
    # While no backend is healthy, an answer is given out for longer, which is well before its nextUpdate with the default
    # `validity`. Otherwise a revocation would wait for it.
    set beresp.grace = 1h;
}
