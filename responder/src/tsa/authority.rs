//! One time-stamping authority: a signer under a policy.
//!
//! Purpose: from a decoded request to the bytes to sign, and from their signature to the response. Invariant: a token
//! is issued only with a time that the clock's lease covers, within the validity of the signer's certificate, and it
//! says what was asked. This module does not know connections; the caller decides where the signature is made.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use aws_lc_rs::digest;
use precompute::{
    assemble::AssembledTsa,
    pki::{Certificate, UnixTime, Verifier, VerifyError, hex, is_same_general_name},
    signers::TsaSigner,
    tsp::{ImprintHash, Oid, Precision, TsaPolicy},
};
use tracing::error;

use super::{
    clock::{Clock, Reading},
    counters::Outcomes,
    failure::{Failure, Rejection},
    promised::Name,
    record::{Imprint, Origin, Token},
    request::Request,
    serial::SerialNumber,
    token::{GenTime, Info, Layout, Template},
};
use crate::metrics::Tally;

/// An authority, from the configuration that made it until one that changes it.
#[derive(Debug)]
pub struct Authority {
    /// For logs and metrics.
    pub name: String,
    /// Where it is asked, behind its tenant's path.
    pub path: String,
    /// What its tokens are.
    pub policy: TsaPolicy,
    /// Who signs them.
    pub signer: Arc<TsaSigner>,
    /// Where their time comes from.
    pub clock: Arc<Clock>,
    /// What became of requests.
    pub outcomes: Arc<Outcomes>,
    /// Tokens since this signer signs, by worker.
    signed: Tally<1>,
    template: Template,
    /// Of the signer's key.
    verifier: Verifier,
    /// For the record, in the order of the policies.
    origins: Vec<Arc<Origin>>,
    order: Arc<Order>,
}

/// What tokens in order of genTime share, also with those of this name before a reload.
#[derive(Debug)]
struct Order {
    /// The last genTime, in nanoseconds since 1970.
    last: AtomicU64,
    since: Instant,
    /// How far those that were given before may be ahead of UTC.
    former: Duration,
}

/// A request that is in order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Checked {
    hash: ImprintHash,
    /// Of its policy.
    place: usize,
}

/// What a token is made of before its signature, besides TSTInfo and attributes.
#[derive(Clone, Copy, Debug)]
pub struct Prepared<'a> {
    /// The request's.
    pub hash: ImprintHash,
    /// The request's.
    pub digest: &'a [u8],
    /// Who makes it.
    pub origin: &'a Arc<Origin>,
    /// Of the token.
    pub serial: SerialNumber,
    /// Of the token.
    pub gen_time: GenTime,
    /// What the clock said, and what genTime tells.
    pub reading: Reading,
    /// Whether certificates go along.
    pub cert_req: bool,
}

/// Bytes of the SHA-256 of the SubjectPublicKeyInfo by which the record names a key: `openssl x509 -in tsa.pem -noout
/// -pubkey | openssl pkey -pubin -outform DER | sha256sum` begins with them.
const KEY_NAME_OCTETS: usize = 16;

impl Prepared<'_> {
    /// What the record says of the token.
    pub fn recorded(&self) -> Token {
        let Reading { offset_nanos, uncertainty_nanos, checked, .. } = self.reading;
        Token {
            serial: self.serial,
            unix_nanos: self.gen_time.unix_nanos(),
            imprint: Imprint::new(self.hash.name(), self.digest),
            origin: Arc::clone(self.origin),
            clock: checked.then_some((offset_nanos, uncertainty_nanos)),
        }
    }
}

impl Authority {
    /// By a configuration. `former` is what its outcomes are counted with since the start, if it was there before;
    /// `former_accuracy` what a name's tokens before that were made under.
    pub fn new(
        tenant: &str,
        config: &AssembledTsa,
        clock: Arc<Clock>,
        former: Option<&Self>,
        former_accuracy: impl FnOnce(&Name) -> Duration,
        workers: usize,
    ) -> Result<Self, VerifyError> {
        let AssembledTsa { name, path, policy, signer, .. } = config;
        let identifier = der::Decode::from_der(signer.algorithm().identifier()).map_err(VerifyError::Key)?;
        let verifier = Verifier::new(signer.certificate().spki_der(), &identifier)?;
        let outcomes = former.map_or_else(|| Arc::new(Outcomes::new(workers)), |former| Arc::clone(&former.outcomes));
        let in_order = former.filter(|former| {
            former.policy.ordering
                && is_same_general_name(
                    &former.policy.signed_name(former.signer.certificate()),
                    &policy.signed_name(signer.certificate()),
                )
        });
        let order = in_order.map_or_else(
            || {
                let former = former_accuracy(&promised_name(config));
                Arc::new(Order { last: AtomicU64::new(0), since: Instant::now(), former })
            },
            |former| Arc::clone(&former.order),
        );
        Ok(Self {
            name: name.clone(),
            path: path.clone(),
            policy: policy.clone(),
            signer: Arc::clone(signer),
            clock,
            outcomes,
            signed: Tally::new(workers),
            template: Template::new(signer, policy),
            verifier,
            origins: policy.policies.iter().map(|policy| Arc::new(origin(tenant, policy, signer))).collect(),
            order,
        })
    }

    /// Whether it is what this configuration asks for.
    pub fn is_as(&self, config: &AssembledTsa) -> bool {
        self.name == config.name
            && self.path == config.path
            && self.policy == config.policy
            && self.signer.signing().setting() == config.signer.signing().setting()
            && self.signer.algorithm() == config.signer.algorithm()
            && self.signer.certificates().map(Certificate::der).eq(config.signer.certificates().map(Certificate::der))
            // What was locked may be asked again once somebody has mended it, by those that begin anew.
            && self.signer.signing().status().locked() <= config.signer.signing().status().locked()
    }

    /// Whether it serves a policy, given by the content bytes of its OBJECT IDENTIFIER.
    pub fn serves(&self, policy: &[u8]) -> bool {
        self.place_of(policy).is_some()
    }

    /// Holds a request against the policy.
    pub fn check(&self, request: &Request<'_>) -> Result<Checked, Failure> {
        // The first policy where none is asked for.
        let place = request.policy.map_or(Some(0), |asked| self.place_of(asked));
        let hash = request.check(&self.policy, place.is_some())?;
        Ok(Checked { hash, place: place.unwrap_or(0) })
    }

    fn place_of(&self, policy: &[u8]) -> Option<usize> {
        self.policy.policies.iter().position(|own| own.content() == policy)
    }

    /// Writes what the token says, and what is to be signed of it.
    pub fn prepare<'r>(
        &'r self,
        request: &Request<'r>,
        Checked { hash, place }: Checked,
        serial: impl FnOnce() -> Option<SerialNumber>,
        tst_info: &mut Vec<u8>,
        attributes: &mut Vec<u8>,
    ) -> Result<Prepared<'r>, Rejection> {
        let reading = self.time()?;
        let gen_time = GenTime::new(reading.unix_nanos, self.policy.precision);
        // genTime may be in the second before; who verifies looks at that, and who reads the attributes at both.
        let [now, told] = [reading.unix_nanos, gen_time.unix_nanos()].map(|nanos| UnixTime(nanos / 1_000_000_000));
        if !(self.signer.is_valid(now) && self.signer.is_valid(told)) {
            return Err(Rejection::CERTIFICATE_NOT_VALID);
        }
        let serial = serial().ok_or(Failure::SystemFailure)?;
        let (policy, origin) = (self.policy.policies[place].content(), &self.origins[place]);
        let nonce = request.nonce;
        let info = Info { policy, imprint: request.imprint, serial: &serial, gen_time: &gen_time, nonce };
        self.template.tst_info(tst_info, &info);
        self.template.attributes(attributes, tst_info, told);
        let (digest, cert_req) = (request.digest, request.cert_req);
        Ok(Prepared { hash, digest, origin, serial, gen_time, reading, cert_req })
    }

    /// The time that a token may tell.
    fn time(&self) -> Result<Reading, Rejection> {
        let mut reading = self.clock.now().map_err(|_| Failure::TimeNotAvailable)?;
        if self.policy.ordering {
            if let Some(left) = self.left_to_wait() {
                return Err(Rejection::withheld(left));
            }
            // Told later than the last. The clock's slack is far more than those that come at once.
            let now = reading.unix_nanos;
            let later = |last: u64| Some(told_after(last, now));
            let last = self.order.last.fetch_update(Relaxed, Relaxed, later).unwrap_or_default();
            reading.unix_nanos = told_after(last, now);
        }
        Ok(reading)
    }

    /// How long no time is told yet: whoever signed in this name before the start may have been ahead of UTC by the
    /// accuracy of then, and this clock be behind by that of now.
    fn left_to_wait(&self) -> Option<Duration> {
        let wait = self.order.former + self.policy.accuracy.duration();
        let wait = if self.policy.ordering { wait } else { Duration::ZERO };
        wait.checked_sub(self.order.since.elapsed()).filter(|left| !left.is_zero())
    }

    /// Verifies a signature that `worker` has got, as a client would, if it is the first or one of those that are to be.
    /// A wrong one never leaves.
    pub fn verify_some(&self, worker: usize, attributes: &[u8], signature: &[u8]) -> Result<(), Failure> {
        let place = self.signed.of(worker, 0);
        if !place.is_multiple_of(u64::from(self.policy.verify_one_in)) {
            self.signed.count(worker, 0);
            return Ok(());
        }
        self.verifier.verify(attributes, signature).map_err(|problem| {
            error!(tsa = self.name, %problem, "a token was discarded: its signature does not verify; check the holder of the key");
            Failure::SystemFailure
        })?;
        // Not before: after a wrong one the next is looked at, too.
        self.signed.count(worker, 0);
        Ok(())
    }

    /// The response, laid out.
    pub fn lay_out<'a>(
        &'a self,
        tst_info: &'a [u8],
        attributes: &'a [u8],
        signature: &'a [u8],
        cert_req: bool,
    ) -> Layout<'a> {
        self.template.lay_out(tst_info, attributes, signature, cert_req)
    }

    /// Why it cannot give tokens now, for operators.
    pub fn problem(&self, now: UnixTime) -> Option<String> {
        if let Err(problem) = self.clock.now() {
            return Some(format!("the clock is not trusted: {}", self.clock.explain(problem)));
        }
        if let Some(left) = self.left_to_wait() {
            return Some(format!(
                "`ordering`: no token for {:.1} s more, so that none is earlier than those issued before the start",
                left.as_secs_f64()
            ));
        }
        if !self.signer.is_valid(now) {
            let not_after = self.signer.not_after();
            return Some(format!("the certificate is not valid now (it ends at {not_after}); renew it"));
        }
        self.signer.signing().status().is_down().then(|| "no holder of its key works".to_owned())
    }
}

/// What is told next of the instant `now` where `last` was told: in microseconds, which `ordering` asks for.
fn told_after(last: u64, now: u64) -> u64 {
    let precision = Precision::Microseconds;
    let unit = precision.nanoseconds();
    let told = precision.told(now.max(last + unit));
    // What is told of the next microsecond may be the last one again, and never is of the one behind it.
    if told > last { told } else { precision.told(last + 2 * unit) }
}

/// Whom [`super::promised`] knows it by.
pub fn promised_name(config: &AssembledTsa) -> Name {
    Name::of(&config.signed_name())
}

fn origin(tenant: &str, policy: &Oid, signer: &TsaSigner) -> Origin {
    let key = digest::digest(&digest::SHA256, signer.certificate().spki_der());
    let key = hex::text(&key.as_ref()[..KEY_NAME_OCTETS]);
    Origin { tenant: tenant.to_owned(), policy: policy.to_string(), key }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn in_order_each_time_is_told_after_the_last_and_as_it_is() {
        for now in [1_800_000_000_000_000_000, 1_800_000_000_000_009_999, 1_800_000_000_000_010_000] {
            let mut last = 0;
            for number in 0..100 {
                let next = told_after(last, now);
                assert!(
                    next > last && Precision::Microseconds.told(next) == next,
                    "{now} {number}: {next} after {last}"
                );
                last = next;
            }
            assert!(last - now < 120_000, "as little ahead of the clock as it goes");
            assert_eq!(told_after(last, now + 1_000_000_000), Precision::Microseconds.told(now + 1_000_000_000));
        }
    }
}
