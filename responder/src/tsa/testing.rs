//! What the tests of this room share.

use precompute::{
    config::{TsaCertificates, TsaName, TsaPolicy},
    tsp::{Accuracy, ImprintHash, Oid, Precision},
};

/// As of a configuration that says no more than it must.
pub(super) fn policy() -> TsaPolicy {
    TsaPolicy {
        policies: vec![Oid::parse("1.3.6.1.4.1.99999.1").unwrap()],
        hashes: ImprintHash::DEFAULT.to_vec(),
        accuracy: Accuracy::DEFAULT,
        precision: Precision::Milliseconds,
        ordering: false,
        certificates: TsaCertificates::Signer,
        tsa_name: TsaName::Subject,
        signing_time: false,
        algorithm_protection: false,
        ess_cert_id_v1: false,
        qc_statements: false,
        verify_one_in: 1,
    }
}
