//! The command line as written.
//!
//! Invariant: every flag says what it takes, its default and its unit; values that have a form are parsed here, and
//! what depends on files or on other flags is decided in `config`. It does not open anything.

use crate::expect::Expectations;
use crate::hash::Hash;
use crate::http::url::Url;
use crate::ocsp::judge::Unlisted;
use crate::proof::Verify;
use crate::{draw::Draw, limits};
use clap::{Args, CommandFactory as _, Parser, Subcommand};
use program::{Exit, Manual, statuses_in_words};
use std::path::PathBuf;
use std::time::Duration;

const STATUSES: [Exit; 6] = [Exit::Done, Exit::Failed, Exit::Usage, Exit::NotInOrder, Exit::Missed, Exit::NoAnswer];

const WORDS: &str = "\
Words:
  wrong   answers that should never have been given, whatever the load: for a wrong certificate,
          status or nonce, stale, badly signed, malformed, with a repeated serial number and so on
  errors  requests that got no answer or a refusal: refused connections, time-outs, resets, HTTP
          statuses other than 200, OCSP tryLater and the like";

/// What `--help` ends with.
fn help(examples: &str) -> String {
    format!("{examples}\n\n{}\n\n{WORDS}", statuses_in_words(&STATUSES))
}

/// Manual pages and completions.
pub(crate) fn manual() -> Manual {
    Manual {
        command: Cli::command(),
        statuses: &STATUSES,
        environment: &[("NO_COLOR", "No colours on a terminal.")],
        files: &[],
        see_also: &["ostia-responder(1)", "ostia-precompute(1)", "openssl-ocsp(1)", "openssl-ts(1)"],
    }
}

const EXAMPLES: &str = "\
Examples:
  Ask about every certificate of an OpenSSL CA for ten seconds:
    ostia-loadtest ocsp --url http://127.0.0.1:8080/ --issuer ca.pem --index index.txt

  Get time-stamps for ten seconds, every token verified:
    ostia-loadtest tsa --url http://127.0.0.1:8080/tsa --ca chain.pem --verify all";

const OCSP_EXAMPLES: &str = "\
Examples:
  Ask about every certificate of an OpenSSL CA for ten seconds, half by GET and half by POST:
    ostia-loadtest ocsp --url http://127.0.0.1:8080/ --issuer ca.pem --index index.txt

  Some certificates more often than others, at 20,000 requests a second whatever the server does,
  as a check in a script:
    ostia-loadtest ocsp --url http://ocsp.example/ --issuer ca.pem --index index.txt \\
        --draw zipf:1.1 --rate 20000 --duration 60s --expect 'p99<5ms,errors=0' --html run.html

  Certificates that were never issued (each should cost the server next to nothing):
    ostia-loadtest ocsp --url http://127.0.0.1:8080/ --issuer ca.pem --random 100000 --get-share 0";

const TSA_EXAMPLES: &str = "\
Examples:
  Time-stamps for ten seconds, every token verified:
    ostia-loadtest tsa --url http://127.0.0.1:8080/tsa --ca chain.pem --verify all

  Two replicas of one TSA, which must never give the same serial number:
    ostia-loadtest tsa --url http://a:8080/tsa --url http://b:8080/tsa --ca chain.pem -n 1000000";

const LAG_EXAMPLES: &str = "\
Examples:
  Revoke the certificates of a list one after another; how long do two replicas take to say so?
    ostia-loadtest lag --issuer ca.pem --serials victims.txt \\
        --urls http://a:8080/,http://b:8080/ --expect 'p99<10ms,errors=0' \\
        --revoke-with 'openssl ca -config ca.cnf -revoke newcerts/{serial}.pem && ./publish'

  Push 1,000 revocations over the API of an Ostia instance; is each answered at once?
    ostia-loadtest lag --issuer ca.pem --urls http://127.0.0.1:8080/ --push http://127.0.0.1:9090/ \\
        --token api.token --push-issuer default:ca --expect 'p99<10ms,errors=0'

  Push them to whichever of two writers leads, measure how long three replicas take to say so, and
  ask the replicas for another minute whether they still say so:
    ostia-loadtest lag --issuer ca.pem --urls http://a:8080/,http://b:8080/,http://c:8080/ --replicas \\
        --push http://w1:9090/,http://w2:9090/ --token api.token --push-issuer default:ca \\
        --timeout 20s --keep-asking 1m --expect 'p99<10ms'

  Upload 1,000,000 records, and their revocations, as lists:
    ostia-loadtest lag --issuer ca.pem --urls http://127.0.0.1:8080/ --push http://127.0.0.1:9090/ \\
        --token api.token --push-issuer default:ca --bulk 1000000 --expect 'rps>=20000'

The command is run by `sh -c`, once for each serial, with {serial} replaced by its hexadecimal
digits. It counts as acknowledged when it exits with 0; the time until a replica answers `revoked`
is counted from that moment, and the report also shows it from the command's start. Each replica
goes on being asked about what it has called revoked: any other signed answer is wrong (went_back).
Of several replicas, --expect judges the time until the last of them.

With --push, serial numbers are made up, added and then revoked. --expect judges the time from the
request until `revoked` is answered, and each server of --urls must say so in its first answer after
the acknowledgement: any other answer is wrong (wrong_status). With --replicas the time counts from
the acknowledgement, and a replica is wrong only if it still says something else after --timeout; a
push that is not taken is tried again for --timeout, in turn at each address. With --bulk, `rps` is the records a
second of the slower upload. The added certificates stay: use an instance made for such tests.";

/// Load generator and verifier for OCSP and RFC 3161 time-stamping servers.
#[derive(Debug, Parser)]
#[command(
    name = "ostia-loadtest",
    version = program::VERSION,
    long_version = program::LONG_VERSION,
    after_help = help(EXAMPLES),
    max_term_width = 120
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
#[allow(clippy::large_enum_variant, reason = "there is one of it")]
pub(crate) enum Command {
    /// Ask an OCSP responder about certificates, and check its answers
    #[command(after_help = help(OCSP_EXAMPLES))]
    Ocsp(OcspArgs),
    /// Ask a time-stamping authority for tokens, and check them
    #[command(after_help = help(TSA_EXAMPLES))]
    Tsa(TsaArgs),
    /// Revoke certificates and measure the time until every replica says so
    #[command(after_help = help(LAG_EXAMPLES))]
    Lag(LagArgs),
    /// Write manual pages and shell completions: DIR/man and DIR/completions
    #[command(hide = true)]
    GenerateDocs {
        /// The directory, which is made
        #[arg(value_name = "DIR")]
        dir: PathBuf,
    },
}

#[derive(Debug, Args)]
pub(crate) struct OcspArgs {
    /// Where the responder is; several share the connections evenly. Only http
    #[arg(long, required = true, value_name = "URL", value_parser = url)]
    pub(crate) url: Vec<Url>,
    /// Certificate of the CA that issued the certificates, PEM or DER; it also anchors the verification
    #[arg(long, value_name = "FILE")]
    pub(crate) issuer: PathBuf,
    #[command(flatten)]
    pub(crate) population: PopulationArgs,
    /// Add N serial numbers that were never issued
    #[arg(long, value_name = "N")]
    pub(crate) random: Option<usize>,
    /// What is right for a serial of --random
    #[arg(long, value_enum, default_value = "not-good")]
    pub(crate) unlisted: Unlisted,
    /// Accept what the index did not know when the run began: good may turn revoked, a hold may be changed or released
    #[arg(long)]
    pub(crate) status_may_change: bool,
    /// Share of requests sent by GET, from 0 to 1; the others are POSTs
    #[arg(long, value_name = "SHARE", default_value_t = 0.5)]
    pub(crate) get_share: f64,
    /// Hash algorithm of the CertIDs
    #[arg(long, value_enum, default_value = "sha1")]
    pub(crate) hash: Hash,
    /// How certificates are drawn: `uniform`, or `zipf:S`, where the k-th in the list comes in proportion to k^-S
    #[arg(long, default_value = "uniform", value_parser = draw)]
    pub(crate) draw: Draw,
    /// Send a nonce of N bytes (RFC 9654: 16 to 32) and require it back
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) nonce: usize,
    /// With --nonce: accept answers that leave it out
    #[arg(long, requires = "nonce")]
    pub(crate) nonce_optional: bool,
    /// Count an answer as expired when its thisUpdate is older than this (default: nextUpdate alone decides)
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub(crate) max_age: Option<Duration>,
    #[command(flatten)]
    pub(crate) load: LoadArgs,
    #[command(flatten)]
    pub(crate) verify: VerifyArgs,
    #[command(flatten)]
    pub(crate) report: ReportArgs,
}

#[derive(Debug, Args)]
pub(crate) struct TsaArgs {
    /// Where the authority is; several share the connections evenly, and their serial numbers are compared. Only http
    #[arg(long, required = true, value_name = "URL", value_parser = url)]
    pub(crate) url: Vec<Url>,
    /// Certificates that are trusted, PEM: tokens must chain to one of them
    #[arg(long, value_name = "FILE")]
    pub(crate) ca: PathBuf,
    /// Hash algorithm of the message imprints
    #[arg(long, value_enum, default_value = "sha256")]
    pub(crate) hash: Hash,
    /// Policy to ask for and to require, as a dotted OID
    #[arg(long, value_name = "OID")]
    pub(crate) policy: Option<String>,
    /// Do not ask for the signer's certificate; it must then be in --ca
    #[arg(long)]
    pub(crate) no_cert_req: bool,
    #[command(flatten)]
    pub(crate) load: LoadArgs,
    #[command(flatten)]
    pub(crate) verify: VerifyArgs,
    #[command(flatten)]
    pub(crate) report: ReportArgs,
}

#[derive(Debug, Args)]
pub(crate) struct LagArgs {
    /// The replicas, separated by commas. Only http
    #[arg(long, required = true, value_name = "URLS", value_delimiter = ',', value_parser = url)]
    pub(crate) urls: Vec<Url>,
    /// Certificate of the CA that issued the certificates, PEM or DER
    #[arg(long, value_name = "FILE")]
    pub(crate) issuer: PathBuf,
    /// File with one serial number in hex on each line
    #[arg(long, value_name = "FILE")]
    pub(crate) serials: Option<PathBuf>,
    /// A certificate to revoke, PEM or DER; repeatable
    #[arg(long, value_name = "FILE")]
    pub(crate) cert: Vec<PathBuf>,
    /// Shell command that revokes one certificate; {serial} stands for its serial number in hex
    #[arg(long, value_name = "CMD", required_unless_present = "push", conflicts_with = "push")]
    pub(crate) revoke_with: Option<String>,
    #[command(flatten)]
    pub(crate) push: PushArgs,
    /// How long a replica may take, and the command as well
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = duration)]
    pub(crate) timeout: Duration,
    /// Pause between two questions to one replica: the resolution of the figures
    #[arg(long, value_name = "TIME", default_value = "200us", value_parser = duration)]
    pub(crate) poll_interval: Duration,
    /// Pause between two questions to one replica about certificates that it has called revoked: it must never say
    /// anything else again
    #[arg(long, value_name = "TIME", default_value = "10ms", value_parser = duration)]
    pub(crate) recheck: Duration,
    /// Go on asking that for so long after the last revocation
    #[arg(long, value_name = "TIME", default_value = "0", value_parser = duration)]
    pub(crate) keep_asking: Duration,
    /// Hash algorithm of the CertIDs
    #[arg(long, value_enum, default_value = "sha1")]
    pub(crate) hash: Hash,
    /// Tolerated difference between this machine's clock and the responders'
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = duration)]
    pub(crate) skew: Duration,
    #[command(flatten)]
    pub(crate) report: ReportArgs,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Pushes")]
pub(crate) struct PushArgs {
    /// Revoke over `/v1` of the admin listener at this address, certificates of serial numbers made up here. With
    /// --replicas several are possible, separated by commas: the next is tried when one does not take a push
    #[arg(long, value_name = "URLS", value_delimiter = ',', value_parser = url, requires_all = ["token", "push_issuer"], conflicts_with_all = ["serials", "cert"])]
    pub(crate) push: Vec<Url>,
    /// The servers of --urls are not the instance of --push, but follow it: they may be late. The time counts from the
    /// acknowledgement
    #[arg(long, requires = "push")]
    pub(crate) replicas: bool,
    /// File with the bearer token of the API
    #[arg(long, value_name = "FILE", requires = "push")]
    pub(crate) token: Option<PathBuf>,
    /// The issuer as the API names it, as in default:ca
    #[arg(long, value_name = "ID", requires = "push")]
    pub(crate) push_issuer: Option<String>,
    /// How many revocations, one after the other
    #[arg(long, value_name = "N", default_value_t = 1000, requires = "push")]
    pub(crate) pushes: usize,
    /// Pause between two of them
    #[arg(long, value_name = "TIME", default_value = "0", value_parser = duration, requires = "push")]
    pub(crate) pause: Duration,
    /// Instead: upload N new records and then their revocations, each as one list
    #[arg(long, value_name = "N", requires = "push", conflicts_with_all = ["pushes", "pause", "samples"])]
    pub(crate) bulk: Option<usize>,
    /// Append a line for each revocation: when it was asked for (Unix time, s), and the µs until it was acknowledged and
    /// until it was answered by the slowest of --urls
    #[arg(long, value_name = "FILE", requires = "push")]
    pub(crate) samples: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct PopulationArgs {
    /// Database of `openssl ca`: its certificates, with the status each must be answered with. Read once, at the start
    #[arg(long, value_name = "FILE")]
    pub(crate) index: Option<PathBuf>,
    /// File with one serial number in hex on each line; any signed status is right
    #[arg(long, value_name = "FILE")]
    pub(crate) serials: Option<PathBuf>,
    /// A certificate to ask about, PEM or DER; repeatable. Any signed status is right
    #[arg(long, value_name = "FILE")]
    pub(crate) cert: Vec<PathBuf>,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Load")]
pub(crate) struct LoadArgs {
    /// Connections over all threads and targets
    #[arg(long, short = 'c', value_name = "N", default_value_t = 64)]
    pub(crate) connections: usize,
    /// Threads; each has its own share of the connections (default: half the cores)
    #[arg(long, short = 't', value_name = "N")]
    pub(crate) threads: Option<usize>,
    /// How long to send: 500ms, 10s, 5m, 1h (default 10s; with --requests alone, 10m at most)
    #[arg(long, short = 'd', value_name = "TIME", value_parser = duration)]
    pub(crate) duration: Option<Duration>,
    /// How many requests to send; whichever of this and --duration comes first ends the run
    #[arg(long, short = 'n', value_name = "N")]
    pub(crate) requests: Option<u64>,
    /// Requests in flight on each connection
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) pipeline: usize,
    /// Open loop: send so many requests a second, evenly, however slowly the server answers, and count each latency
    /// from the time at which the request should have gone out. Without it (closed loop) each connection asks again
    /// when answered
    #[arg(long, short = 'r', value_name = "PER-SECOND")]
    pub(crate) rate: Option<f64>,
    /// Open a new connection for every request; its latency includes the handshake
    #[arg(long)]
    pub(crate) one_request_per_connection: bool,
    /// How long a request or a handshake may take
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = duration)]
    pub(crate) timeout: Duration,
    /// Additional header field, 'Name: value'; repeatable. A Host field replaces the one from the URL
    #[arg(long, value_name = "FIELD")]
    pub(crate) header: Vec<String>,
    /// Seed of all random choices; the same seed draws the same certificates
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) seed: u64,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Verification")]
pub(crate) struct VerifyArgs {
    /// Which signatures and signers to check: `all`, one answer in N (`sample:N`), or `none`. Everything else about an
    /// answer is checked on all of them, always
    #[arg(long, value_name = "WHICH", default_value = "sample:100", value_parser = verify)]
    pub(crate) verify: Verify,
    /// Tolerated difference between this machine's clock and the server's
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = duration)]
    pub(crate) skew: Duration,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Report")]
pub(crate) struct ReportArgs {
    /// What the run must reach, e.g. 'p99<5ms,errors=0,rps>50000': any of p50 p90 p99 p999 max (us, ms, s), rps,
    /// errors, wrong, with < <= = >= >
    #[arg(long, value_name = "CONDITIONS")]
    pub(crate) expect: Option<Expectations>,
    /// Write the report as JSON
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// Write the report as one HTML page with plots, which needs nothing else
    #[arg(long, value_name = "FILE")]
    pub(crate) html: Option<PathBuf>,
    /// No progress on the terminal and no table at the end
    #[arg(long, short = 'q')]
    pub(crate) quiet: bool,
}

fn url(text: &str) -> Result<Url, String> {
    Url::parse(text).map_err(|p| p.to_string())
}

fn draw(text: &str) -> Result<Draw, String> {
    let remedy = "write uniform, or zipf:S with S from 0.1 to 5, as in zipf:1.1";
    match text.split_once(':') {
        None if text == "uniform" => Ok(Draw::Uniform),
        Some(("zipf", s)) => match s.parse::<f64>() {
            Ok(s) if (0.1..=5.0).contains(&s) => Ok(Draw::Zipf(s)),
            _ => Err(format!("{s:?} is no exponent; {remedy}")),
        },
        _ => Err(format!("{text:?} is no distribution; {remedy}")),
    }
}

fn verify(text: &str) -> Result<Verify, String> {
    match (text, text.strip_prefix("sample:").map(str::parse)) {
        ("all", _) => Ok(Verify::All),
        ("none", _) => Ok(Verify::None),
        (_, Some(Ok(n))) if n > 0 => Ok(Verify::Sample(n)),
        _ => Err("write all, none, or sample:N with N of 1 or more, as in sample:100".to_owned()),
    }
}

/// `500us`, `20ms`, `10s`, `5m`, `1h`; a bare number is seconds.
fn duration(text: &str) -> Result<Duration, String> {
    let refuse = || format!("{text:?} is no time; write a number and us, ms, s, m or h, as in 10s");
    let split = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let factor = match unit {
        "us" => 1e-6,
        "ms" => 1e-3,
        "s" | "" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return Err(refuse()),
    };
    let seconds = number.parse::<f64>().map_err(|_| refuse())? * factor;
    if !(0.0..=limits::DURATION_MAX.as_secs_f64()).contains(&seconds) {
        return Err(format!("{text:?} is not between 0 and 24h"));
    }
    Ok(Duration::from_secs_f64(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn has_a_command_line_without_contradictions() {
        Cli::command().debug_assert();
    }

    #[test]
    fn reads_times_in_every_unit_and_refuses_the_rest() {
        for (text, ms) in [("500us", 0.5), ("20ms", 20.0), ("10s", 1e4), ("1.5", 1500.0), ("2m", 12e4), ("1h", 36e5)] {
            assert_eq!(duration(text).unwrap().as_secs_f64() * 1e3, ms, "{text}");
        }
        for text in ["", "s", "-1s", "1d", "25h", "nan", "1 s", "inf"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn reads_which_answers_to_verify_and_how_to_draw() {
        assert_eq!(verify("all"), Ok(Verify::All));
        assert_eq!(verify("sample:7"), Ok(Verify::Sample(7)));
        assert!(["", "some", "sample:0", "sample:", "sample:-1"].iter().all(|t| verify(t).is_err()));
        assert_eq!(draw("zipf:1.1"), Ok(Draw::Zipf(1.1)));
        assert!(["", "zipf", "zipf:0", "zipf:x", "normal"].iter().all(|t| draw(t).is_err()));
    }
}
