//! An issuer whose answers are signed ahead: records that look drawn at random, and a CA's own key in a file.

use std::{path::Path, process::Command, sync::Arc};

use precompute::{
    engine::IssuerState,
    issuer::ActiveIssuer,
    issuer_id::IssuerId,
    ocsp::{Policy, ResponseForm},
    pki::{Certificate, Record, Serial, Status, UnixTime, certificates},
    records::Change,
    sign::{KeyPurpose, Pool, PoolSettings, SoftwareKey, Verify},
    signers::{OcspSigner, Signers},
};

/// The keys, as `openssl req` makes them.
pub(crate) const P256: [&str; 4] = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"];

pub(crate) fn serial(place: u64) -> Serial {
    // splitmix64: 16 bytes that look random.
    let mix = |number: u64| {
        let mixed = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    };
    let octets = [mix(2 * place + 1) | 1, mix(2 * place + 2)].map(u64::to_be_bytes).concat();
    Serial::from_magnitude(&octets).unwrap()
}

/// An issuer with so many records, which signs with so many threads where its key is slow.
pub(crate) fn issuer(
    dir: &Path,
    key: &[&str],
    threads: usize,
    policy: Policy,
    count: u64,
) -> (Arc<ActiveIssuer>, SoftwareKey) {
    let mut command = Command::new("openssl");
    command.args(["req", "-x509", "-nodes", "-subj", "/CN=CA", "-keyout", "ca.key", "-out", "ca.pem"]).args(key);
    let output = command.current_dir(dir).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let certificate: Certificate = certificates(&dir.join("ca.pem")).unwrap().remove(0);
    let key = SoftwareKey::from_file(&dir.join("ca.key")).unwrap();
    let settings = PoolSettings {
        name: "bench".into(),
        purpose: KeyPurpose::OcspSigning { others: false },
        key: String::new(),
        threads,
        queue_length_max: 4096,
        primary_first: false,
        verify: Verify::All,
    };
    let pool = Arc::new(Pool::software(&key, certificate.spki_der(), settings).unwrap());
    let (form, public) = (ResponseForm::default(), key.public_key_octets());
    let signer = OcspSigner::new(&certificate, &certificate, public, pool, form, UnixTime::now()).unwrap();
    let id = IssuerId::of("bench", &certificate);
    let (state, mut writer) = IssuerState::in_order(id.clone(), UnixTime::now());
    writer.reserve(count as usize);
    let record = Some(Record { status: Status::Good, not_after: None });
    writer.apply((0..count).map(|place| Change::new(serial(place), record)));
    let signers = Signers::new(vec![Arc::new(signer)]).unwrap();
    (Arc::new(ActiveIssuer::new(&id, "CA", policy, &certificate, state, signers).unwrap()), key)
}
