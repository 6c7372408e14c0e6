//! One time-stamping authority: a signer under a policy.
//!
//! Purpose: from a decoded request to the bytes to sign, and from their signature to the response. Invariant: a token
//! is issued only with a time that the clock's lease covers, within the validity of the signer's certificate and the use of its key, and it
//! states what was requested. It does not know connections; the caller decides where the signature is made.

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
    signers::{TsaSigner, UseOfKey},
    tsp::{ImprintHash, Oid, Precision, TsaPolicy},
    usage::Usage,
};
use tracing::error;

use super::{
    clients::Clients,
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

/// An authority, from one configuration until another one changes it.
#[derive(Debug)]
pub struct Authority {
    /// For logs and metrics.
    pub name: String,
    /// Its path below its tenant's path.
    pub path: String,
    /// The policies and contents of its tokens.
    pub policy: TsaPolicy,
    /// The signer of its tokens.
    pub signer: Arc<TsaSigner>,
    /// The source of their time.
    pub clock: Arc<Clock>,
    /// Who may ask it.
    pub clients: Clients,
    /// The outcomes of requests.
    pub outcomes: Arc<Outcomes>,
    /// Tokens since this signer began, by worker.
    signed: Tally<1>,
    template: Template,
    /// Verifies with the signer's public key.
    verifier: Verifier,
    /// For the record, in the order of the policies.
    origins: Vec<Arc<Origin>>,
    order: Arc<Order>,
}

/// Shared by all tokens in order of genTime, including those under this name before a reload.
#[derive(Debug)]
struct Order {
    /// The last genTime, in nanoseconds since 1970.
    last: AtomicU64,
    since: Instant,
    /// How far earlier tokens may be ahead of UTC.
    former: Duration,
}

/// A request that passed all checks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Checked {
    hash: ImprintHash,
    /// The index of its policy.
    place: usize,
}

/// The parts of an unsigned token, other than TSTInfo and attributes.
#[derive(Clone, Copy, Debug)]
pub struct Prepared<'a> {
    /// The request's.
    pub hash: ImprintHash,
    /// The request's.
    pub digest: &'a [u8],
    /// The authority and policy.
    pub origin: &'a Arc<Origin>,
    /// The token's serial number.
    pub serial: SerialNumber,
    /// The token's time.
    pub gen_time: GenTime,
    /// The reading of the clock behind genTime.
    pub reading: Reading,
    /// Whether the token carries certificates.
    pub cert_req: bool,
}

/// The record names a key by this many bytes of the SHA-256 of its SubjectPublicKeyInfo; the output of `openssl x509
/// -in tsa.pem -noout -pubkey | openssl pkey -pubin -outform DER | sha256sum` begins with them.
const KEY_NAME_OCTETS: usize = 16;

impl Prepared<'_> {
    /// The token in the record; `client`: who has it.
    pub fn recorded(&self, client: Option<&Arc<str>>) -> Token {
        let Reading { offset_nanos, uncertainty_nanos, checked, .. } = self.reading;
        Token {
            serial: self.serial,
            unix_nanos: self.gen_time.unix_nanos(),
            imprint: Imprint::new(self.hash.name(), self.digest),
            origin: Arc::clone(self.origin),
            client: client.map(Arc::clone),
            clock: checked.then_some((offset_nanos, uncertainty_nanos)),
        }
    }
}

impl Authority {
    /// An authority from its configuration. `former`: its counters so far, if it existed before. `former_accuracy`: the
    /// accuracy of earlier tokens under this name.
    pub fn new(
        tenant: &str,
        config: &AssembledTsa,
        (clock, usage): (Arc<Clock>, &Usage),
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
            clients: Clients::new(tenant, name, (&config.clients, config.client_cas.as_ref()), usage, Instant::now()),
            outcomes,
            signed: Tally::new(workers),
            template: Template::new(signer, policy),
            verifier,
            origins: policy.policies.iter().map(|policy| Arc::new(origin(tenant, policy, signer))).collect(),
            order,
        })
    }

    /// Whether it matches this configuration.
    pub fn is_as(&self, config: &AssembledTsa) -> bool {
        self.name == config.name
            && self.path == config.path
            && self.policy == config.policy
            && self.clients.are_as((&config.clients, config.client_cas.as_ref()))
            && self.signer.signing().setting() == config.signer.signing().setting()
            && self.signer.algorithm() == config.signer.algorithm()
            && self.signer.certificates().map(Certificate::der).eq(config.signer.certificates().map(Certificate::der))
            && self.signer.use_of_key() == config.signer.use_of_key()
            // After somebody has fixed a locked token, it may be asked again, by a new pool.
            && self.signer.signing().status().locked() <= config.signer.signing().status().locked()
    }

    /// Whether it serves a policy, given as the content bytes of its OBJECT IDENTIFIER.
    pub fn serves(&self, policy: &[u8]) -> bool {
        self.place_of(policy).is_some()
    }

    /// Checks a request against the policy.
    pub fn check(&self, request: &Request<'_>) -> Result<Checked, Failure> {
        // If the request names no policy, the first one.
        let place = request.policy.map_or(Some(0), |asked| self.place_of(asked));
        let hash = request.check(&self.policy, place.is_some())?;
        Ok(Checked { hash, place: place.unwrap_or(0) })
    }

    fn place_of(&self, policy: &[u8]) -> Option<usize> {
        self.policy.policies.iter().position(|own| own.content() == policy)
    }

    /// Writes the token's content, and the attributes to be signed.
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
        // genTime may be in the previous second. Verifiers check that time; readers of the attributes check both.
        let [now, told] = [reading.unix_nanos, gen_time.unix_nanos()].map(|nanos| UnixTime(nanos / 1_000_000_000));
        if !(self.signer.is_valid(now) && self.signer.is_valid(told)) {
            let is_over = self.signer.use_of_key().is_over(now);
            return Err(if is_over { Rejection::KEY_OUT_OF_USE } else { Rejection::CERTIFICATE_NOT_VALID });
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

    /// The time for a token.
    fn time(&self) -> Result<Reading, Rejection> {
        let mut reading = self.clock.now().map_err(|_| Failure::TimeNotAvailable)?;
        if self.policy.ordering {
            if let Some(left) = self.left_to_wait() {
                return Err(Rejection::withheld(left));
            }
            // Later than the last one. The clock's slack is far more than simultaneous tokens need.
            let now = reading.unix_nanos;
            let later = |last: u64| Some(told_after(last, now));
            let last = self.order.last.fetch_update(Relaxed, Relaxed, later).unwrap_or_default();
            reading.unix_nanos = told_after(last, now);
        }
        Ok(reading)
    }

    /// How long no time is given yet. The last process under this name may have been ahead of UTC by its accuracy, and
    /// this clock may be behind by its own.
    fn left_to_wait(&self) -> Option<Duration> {
        let wait = self.order.former + self.policy.accuracy.duration();
        let wait = if self.policy.ordering { wait } else { Duration::ZERO };
        wait.checked_sub(self.order.since.elapsed()).filter(|left| !left.is_zero())
    }

    /// Verifies a signature for `worker` as a client would, if it is the first or in the sample. A wrong signature is
    /// never sent.
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
        // Counted only now: after a wrong signature, the next is verified, too.
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

    /// Why it cannot issue tokens now, for operators.
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
        self.fault_of_signer(now)
            .or_else(|| self.signer.signing().status().is_down().then(|| "no holder of its key works".to_owned()))
    }

    /// Why its certificate allows no token now, for operators.
    pub fn fault_of_signer(&self, now: UnixTime) -> Option<String> {
        let UseOfKey { ends, by, .. } = self.signer.use_of_key();
        if self.signer.use_of_key().is_over(now) {
            return Some(format!(
                "the use of its key ended at {ends} by {by}; have a certificate issued for a new key"
            ));
        }
        let not_after = self.signer.not_after();
        (!self.signer.is_valid(now))
            .then(|| format!("the certificate is not valid now (it ends at {not_after}); renew it"))
    }
}

/// The time given at the instant `now` after `last` was given, in microseconds; `ordering` requires a later one.
fn told_after(last: u64, now: u64) -> u64 {
    let precision = Precision::Microseconds;
    let unit = precision.nanoseconds();
    let told = precision.told(now.max(last + unit));
    // The next microsecond may be given as the last time again; the one after it is always later.
    if told > last { told } else { precision.told(last + 2 * unit) }
}

/// Its name in [`super::promised`].
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
