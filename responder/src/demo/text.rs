//! The demo's texts: its configuration, and commands to copy.

use std::{borrow::Cow, net::SocketAddr};

use super::{Demo, ca};

/// `ostia.toml`, as short as a single-tenant file is.
pub(super) fn configuration(http: SocketAddr, admin: SocketAddr) -> String {
    format!(
        r#"# Ostia's configuration. Paths are relative to this file.
version = 1
state_dir = "state" # the book: what the CA said, kept durably

# Relying parties ask here.
[http]
listen = ["{http}"]

# Health and metrics; never on the same port.
[admin]
listen = "{admin}"

[[tenant]]
name = "demo"

# A CA to answer for, and where its certificates' status comes from.
[[tenant.issuer]]
name = "demo-ca"
certificate = "ca.pem"
index = "index.txt" # kept by `openssl ca`, watched for changes

# A delegate signs the answers, so that the CA's own key can stay offline.
[tenant.issuer.signer]
certificate = "ocsp.pem"
key = "ocsp.key"

# A time-stamping authority (RFC 3161), asked at /tsa.
[[tenant.tsa]]
name = "demo-tsa"
policy = "1.3.6.1.4.1.99999.1" # your own; clients that name none get the first

[tenant.tsa.signer]
certificate = "tsa.pem"
key = "tsa.key"

# A demo's machine may have no NTP. Elsewhere leave this out: time-stamps are then issued only while the kernel knows that the clock is right.
[time_stamping]
clock = "unchecked"
"#
    )
}

/// Commands to copy, for a responder at `http` with its admin listener at `admin`. Lines indented by four are commands.
#[must_use]
pub fn instructions(demo: &Demo, http: SocketAddr, admin: SocketAddr) -> String {
    let path = |name: &str| quoted(&demo.dir.join(name).to_string_lossy()).into_owned();
    let (ca, config, revoked) = (path("ca.pem"), path("openssl.cnf"), path("revoked.pem"));
    let (query, reply) = (path("query.tsq"), path("reply.tsr"));
    let asked = quoted(&demo.asked.to_string_lossy()).into_owned();
    let (url, admin) = (ca::url(http), ca::url(admin));
    let named = |certificate: &str| format!("openssl ocsp -issuer {ca} -cert {certificate} -no_nonce");
    let ask = |certificate: &str| format!("{} -url {url} -CAfile {ca}", named(certificate));
    let (ask_asked, ask_revoked, named_asked) = (ask(&asked), ask(&revoked), named(&asked));

    let mut notes = String::new();
    if !demo.asked.ends_with("good.pem") {
        notes += &format!("{} is no longer good, so the commands ask for another certificate.\n", path("good.pem"));
    }
    if demo.aia_url != url {
        notes += &format!("{} still names {} as its responder (AIA).\n", path("good.pem"), demo.aia_url);
    }
    if !notes.is_empty() {
        notes.push('\n');
    }
    format!(
        r#"
The demo CA in {dir} has {good} good, {revoked_count} revoked and {expired} expired certificates. The responder
answers for them at {url} until Ctrl-C. The commands below are for another terminal in the same directory.

{notes}Ask about a certificate that is good, then about one that is revoked:

    {ask_asked}
    {ask_revoked}

The answers are signed by a delegate (ocsp.pem), whose certificate the CA issued for this: trusting ca.pem is enough.

Ask by GET, as caches and CDNs do:

    curl -sS "{url}$({named_asked} -reqout - | base64 -w0 | sed 's:+:%2B:g; s:/:%2F:g; s:=:%3D:g')" | {named_asked} -respin - -CAfile {ca}

Revoke it as the CA would, and ask again: the answer changes within a second.

    openssl ca -config {config} -revoke {asked} -crl_reason superseded && sleep 1
    {ask_asked}

Get a time-stamp (RFC 3161), and verify it:

    openssl ts -query -data {ca} -sha256 -cert -out {query}
    curl -sS -H 'Content-Type: application/timestamp-query' --data-binary @{query} {url}tsa -o {reply}
    openssl ts -verify -queryfile {query} -in {reply} -CAfile {ca}

Health and metrics:

    curl -sS {admin}readyz/ocsp
    curl -sS {admin}readyz/tsa
    curl -sS {admin}metrics
"#,
        dir = demo.dir.display(),
        good = demo.good_count,
        revoked_count = demo.revoked_count,
        expired = demo.expired_count,
    )
}

/// A word for a shell: unchanged if that is safe, else in single quotes.
pub(super) fn quoted(word: &str) -> Cow<'_, str> {
    let plain = |character: char| character.is_ascii_alphanumeric() || "/._-+:=,@%".contains(character);
    if !word.is_empty() && word.chars().all(plain) {
        return Cow::Borrowed(word);
    }
    Cow::Owned(format!("'{}'", word.replace('\'', r"'\''")))
}
