//! CRLs.
//!
//! - What is taken says what `x509-cert` reads in the same bytes: numbers, times, entries, reasons.
//! - It can be walked again and again, and counts right. What is odd in an entry never makes it milder.
//! - PEM and DER are the same CRL; with one byte more or less it is none.

use std::sync::LazyLock;

use aws_lc_rs::signature::Ed25519KeyPair;
use der::{
    Decode, Encode as _, Header, Reader as _, SliceReader, Tag,
    asn1::{AnyRef, BitStringRef},
    pem::LineEnding,
};
use precompute::{
    pki::{Certificate, Reason, Serial, UnixTime},
    source::{Change, Crl, CrlNumber},
};
use x509_cert::{
    crl::CertificateList,
    ext::pkix::{BaseCrlNumber, CrlNumber as TheirNumber, CrlReason, IssuingDistributionPoint},
    ext::{Extension, Extensions},
};

/// The CA that the inputs are signed by. Its key is known to everyone.
static ISSUER: LazyLock<Certificate> =
    LazyLock::new(|| Certificate::from_der(include_bytes!("crl/issuer.der")).expect("a certificate"));
static KEY: LazyLock<Ed25519KeyPair> =
    LazyLock::new(|| Ed25519KeyPair::from_seed_unchecked(&[7; 32]).expect("every seed is a key"));

const ED25519: &[u8] = &[0x30, 5, 6, 3, 0x2b, 0x65, 0x70];
const VERSION_2: &[u8] = &[2, 1, 1];
const TIMES: &[u8] = b"\x17\x0d250102030405Z\x17\x0d250103030405Z";
/// cRLNumber 9.
const NUMBER: &[u8] = &[0x30, 0x0a, 6, 3, 0x55, 0x1d, 0x14, 4, 3, 2, 1, 9];
/// deltaCRLIndicator 5.
const DELTA: &[u8] = &[0x30, 0x0d, 6, 3, 0x55, 0x1d, 0x1b, 1, 1, 0xff, 4, 3, 2, 1, 5];

/// Reads the input as what its first byte says: `f` a file, and behind a signature that holds (random bytes would
/// hardly ever come past it) `t` a TBSCertList, `e` the entries of a complete CRL, `d` those of a delta CRL, `x` extensions.
pub fn crl(octets: &[u8]) -> bool {
    let Some((kind, content)) = octets.split_first() else { return false };
    let complete = |entries: &[u8], extensions: &[u8]| {
        let extensions = element(0xa0, &element(0x30, extensions));
        let fields = [VERSION_2, ED25519, ISSUER.subject_der(), TIMES, &element(0x30, entries), &extensions];
        signed(&element(0x30, &fields.concat()))
    };
    let file = match kind {
        b't' => signed(content),
        b'e' => complete(content, NUMBER),
        b'd' => complete(content, &[NUMBER, DELTA].concat()),
        b'x' => complete(&[], content),
        _ => content.to_vec(),
    };
    match Crl::from_octets(file.clone(), &ISSUER) {
        Ok(crl) => {
            taken(&crl, &file);
            true
        }
        Err(problem) => {
            assert!(!problem.contains(char::is_control), "{problem:?}");
            // Names of a few hundred characters are quoted whole nowhere.
            assert!(problem.len() < 600, "{problem}");
            false
        }
    }
}

fn element(tag: u8, content: &[u8]) -> Vec<u8> {
    let element = Tag::try_from(tag).and_then(|tag| AnyRef::new(tag, content)?.to_der());
    element.expect("a tag of one byte, and far below der's bound of 256 MiB")
}

fn signed(to_be_signed: &[u8]) -> Vec<u8> {
    let signature = KEY.sign(to_be_signed);
    let signature = BitStringRef::from_bytes(signature.as_ref()).and_then(|bits| bits.to_der()).expect("64 bytes");
    element(0x30, &[to_be_signed, ED25519, &signature].concat())
}

fn taken(crl: &Crl, file: &[u8]) {
    let entries: Vec<_> = crl.entries().collect();
    assert_eq!(crl.entries().len(), entries.len());
    assert!(crl.entries().eq(entries.iter().copied()), "a second walk");
    let header = *crl.header();
    assert_eq!(crl.is_delta(), header.base.is_some());
    assert!(header.base.is_none() || header.base <= header.number);
    assert!(header.next_update.is_none_or(|next| next >= header.this_update));
    assert!(crl.applies_to(crl, header.number).is_err(), "no CRL is the base of itself");
    assert!(crl.is_delta() || !entries.iter().any(|entry| entry.change == Change::Remove));

    if file.first() != Some(&0x30) {
        // Found in text; what was found is not told, so that its other form cannot be made here.
        return;
    }
    let text = der::pem::encode_string("X509 CRL", LineEnding::CRLF, file).expect("any bytes have a PEM form");
    let other = Crl::from_octets(format!("around\r\n{text}it").into_bytes(), &ISSUER).expect("the same as PEM");
    assert!(*other.header() == header && other.entries().eq(entries.iter().copied()));
    assert!(Crl::from_octets([file, &[0]].concat(), &ISSUER).is_err(), "something behind it");
    assert!(Crl::from_octets(file[..file.len() - 1].to_vec(), &ISSUER).is_err(), "cut short");

    assert!(is_der(file), "every length is in its shortest form");
    let told = crl.oddities().map(ToString::to_string);
    assert!(told.as_ref().is_none_or(|told| told.len() < 200 && !told.contains(char::is_control)), "{told:?}");
    // It knows no dates before 1970.
    let Ok(oracle) = CertificateList::from_der(file) else { return };
    let list = &oracle.tbs_cert_list;
    assert_eq!(UnixTime::from(list.this_update), header.this_update);
    let next_update = list.next_update.map(|next| UnixTime::from(next).max(header.this_update));
    assert_eq!(next_update, header.next_update);
    let extensions = list.crl_extensions.as_ref();
    let number = only::<TheirNumber>(extensions).map(|number| number.map(|number| value(number.0.as_bytes())));
    assert!(number.is_none_or(|number| number == header.number));
    let base = only::<BaseCrlNumber>(extensions).map(|number| number.map(|number| value(number.0.as_bytes())));
    assert!(base.is_none_or(|base| base == header.base));
    if let Some(Some(point)) = only::<IssuingDistributionPoint>(extensions) {
        assert_eq!(point.indirect_crl, header.coverage.indirect_crl);
        assert_eq!(point.only_some_reasons.is_some(), header.coverage.only_some_reasons);
        assert_eq!(point.only_contains_attribute_certs, header.coverage.only_contains_attribute_certs);
        assert_eq!(point.only_contains_user_certs, header.coverage.only_contains_user_certs);
        assert_eq!(point.only_contains_ca_certs, header.coverage.only_contains_ca_certs);
        assert_eq!(point.distribution_point.is_some(), header.coverage.distribution_point);
    }
    let theirs = list.revoked_certificates.as_deref().unwrap_or_default();
    if header.coverage.only_contains_attribute_certs {
        assert!(entries.is_empty());
        return;
    }
    assert_eq!(theirs.len(), entries.len() + crl.passed_over() + crl.of_others());
    if crl.of_others() > 0 {
        // Which they are is told by the extensions of those before them.
        return;
    }
    let serial = |content: &[u8]| Serial::from_der_content(content);
    let theirs = theirs.iter().filter_map(|theirs| Some((serial(theirs.serial_number.as_bytes())?, theirs)));
    let theirs: Vec<_> = theirs.collect();
    assert_eq!(theirs.len(), entries.len());
    for (entry, (serial, theirs)) in entries.iter().zip(theirs) {
        assert_eq!(entry.serial, serial);
        // A reason that there is not, or two.
        let Some(code) = only::<CrlReason>(theirs.crl_entry_extensions.as_ref()) else {
            assert!(matches!(entry.change, Change::Revoked { .. }) || crl.is_delta());
            continue;
        };
        let code = code.map(|reason| reason as u8);
        if code == Some(8) && !crl.is_delta() {
            assert!(matches!(entry.change, Change::Revoked { reason: Reason::CertificateHold, .. }));
            continue;
        }
        match entry.change {
            Change::Revoked { time, reason } => {
                let last = UnixTime(u32::MAX.into());
                assert_eq!(time, UnixTime::from(theirs.revocation_date).min(last));
                assert!(time < last || crl.oddities().is_some() || UnixTime::from(theirs.revocation_date) == last);
                assert_eq!(reason, Reason::from_code(code.unwrap_or(0)).expect("RFC 5280's"));
            }
            Change::Remove => assert_eq!(code, Some(8)),
        }
    }
}

/// Whether `octets` are elements that the `der` crate can frame, and so on inside of those that hold others.
fn is_der(octets: &[u8]) -> bool {
    let elements = || {
        let mut reader = SliceReader::new(octets)?;
        while !reader.is_finished() {
            let header = Header::decode(&mut reader)?;
            let content = reader.read_slice(header.length)?;
            if header.tag.is_constructed() && !is_der(content) {
                return Err(header.tag.value_error());
            }
        }
        Ok::<_, der::Error>(())
    };
    elements().is_ok()
}

/// The extension of this type, where there is one; `None` where x509-cert cannot read it, which is stricter about
/// integers with further zeros in front, and where there are two.
fn only<'a, T: Decode<'a> + der::oid::AssociatedOid>(extensions: Option<&'a Extensions>) -> Option<Option<T>> {
    let mut found = extensions.into_iter().flatten().filter(|extension: &&Extension| extension.extn_id == T::OID);
    let Some(extension) = found.next() else { return Some(None) };
    if found.next().is_some() {
        return None;
    }
    T::from_der(extension.extn_value.as_bytes()).ok().map(Some)
}

fn value(magnitude: &[u8]) -> CrlNumber {
    CrlNumber::from_der_content(&[&[0], magnitude].concat()).expect("was taken")
}
