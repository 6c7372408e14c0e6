//! What clients would object to in a certificate and its CA certificate, other than names, signature and time.
//!
//! These are the rules of RFC 5280 that openssl applies when it verifies a signature by the certificate's key
//! (X509_verify_cert). It does not know what is signed.

use der::Decode;
use der::oid::AssociatedOid;
use x509_cert::{
    Certificate as Parsed,
    ext::pkix::{
        AuthorityKeyIdentifier, BasicConstraints, ExtendedKeyUsage, KeyUsage, NameConstraints, SubjectAltName,
        SubjectKeyIdentifier, constraints::name::GeneralSubtrees, name::GeneralName,
    },
    name::{Name, RelativeDistinguishedName},
};

use super::Certificate;

const UNREADABLE: &str = "cannot be read by others; have it issued anew";

/// Critical extensions that clients understand: RFC 5280 section 4.2, except those that must not be critical.
const UNDERSTOOD: [&str; 10] = [
    "2.5.29.15", // keyUsage
    "2.5.29.17", // subjectAltName
    "2.5.29.19", // basicConstraints
    "2.5.29.30", // nameConstraints
    "2.5.29.31", // cRLDistributionPoints
    "2.5.29.32", // certificatePolicies
    "2.5.29.33", // policyMappings
    "2.5.29.36", // policyConstraints
    "2.5.29.37", // extKeyUsage
    "2.5.29.54", // inhibitAnyPolicy
];

/// Why clients refuse signatures by this certificate's key, whatever its issuer; the texts complete "the certificate
/// …".
pub fn objections_alone(certificate: &Certificate) -> Vec<String> {
    Parsed::from_der(certificate.der()).map_or_else(|_| vec![UNREADABLE.into()], |parsed| shape(&parsed))
}

/// The same for the path from `issuer` to `certificate`.
pub fn objections(certificate: &Certificate, issuer: &Certificate) -> Vec<String> {
    let (Ok(own), Ok(above)) = (Parsed::from_der(certificate.der()), Parsed::from_der(issuer.der())) else {
        return vec![UNREADABLE.into()];
    };
    let of_ca = |text| format!("is issued by a CA whose certificate {text}");
    let mut found = shape(&own);
    found.extend(shape(&above).into_iter().map(of_ca));
    if let Ok(Some((_, usage))) = above.tbs_certificate.get::<KeyUsage>()
        && !usage.key_cert_sign()
    {
        found.push("is issued by a CA whose certificate has a keyUsage without keyCertSign, so that it may issue none; have the CA's certificate issued with `keyUsage = critical, keyCertSign, cRLSign`".into());
    }
    found.extend(other_key(&own, &above));
    found.extend(other_names(&own, &above));
    if certificate.subject_der() == issuer.subject_der() && !has_key_identifier(&own) {
        found.push("has the name of its CA and no authorityKeyIdentifier, so that it counts as self-signed; give it a subject of its own".into());
    }
    found
}

/// What is wrong with one certificate, whatever its issuer.
fn shape(parsed: &Parsed) -> Vec<String> {
    let tbs = &parsed.tbs_certificate;
    let mut found = Vec::new();
    if tbs.signature != parsed.signature_algorithm {
        found.push("names two algorithms for one signature; have it issued anew".into());
    }
    for extension in tbs.extensions.iter().flatten() {
        let oid = extension.extn_id.to_string();
        if extension.critical && !UNDERSTOOD.contains(&&*oid) {
            found.push(format!("has the critical extension {oid}, which clients do not understand; have it issued without, or not critical"));
        }
    }
    let unreadable = [
        unreadable::<BasicConstraints>(parsed, "basicConstraints"),
        unreadable::<KeyUsage>(parsed, "keyUsage"),
        unreadable::<ExtendedKeyUsage>(parsed, "extKeyUsage"),
        unreadable::<SubjectAltName>(parsed, "subjectAltName"),
        unreadable::<AuthorityKeyIdentifier>(parsed, "authorityKeyIdentifier"),
        unreadable::<SubjectKeyIdentifier>(parsed, "subjectKeyIdentifier"),
        unreadable::<NameConstraints>(parsed, "nameConstraints"),
    ];
    found.extend(unreadable.into_iter().flatten());
    if let Ok(Some((_, constraints))) = tbs.get::<BasicConstraints>()
        && !constraints.ca
        && constraints.path_len_constraint.is_some()
    {
        found.push("has a path length in its basicConstraints and is no CA's; have it issued without".into());
    }
    found
}

fn unreadable<'p, T: Decode<'p> + AssociatedOid>(parsed: &'p Parsed, name: &str) -> Option<String> {
    let read = parsed.tbs_certificate.get::<T>();
    read.err().map(|error| format!("has a {name} that cannot be read, or two ({error}); have it issued anew"))
}

fn has_key_identifier(parsed: &Parsed) -> bool {
    matches!(parsed.tbs_certificate.get::<AuthorityKeyIdentifier>(), Ok(Some((_, named))) if named.key_identifier.is_some())
}

/// The CA may not issue for this subject (RFC 5280 section 4.2.1.10).
fn other_names(own: &Parsed, above: &Parsed) -> Option<String> {
    let (_, constraints) = above.tbs_certificate.get::<NameConstraints>().ok()??;
    let subject = &own.tbs_certificate.subject;
    let within = |base: &Name| {
        let told = |part: &RelativeDistinguishedName| part.to_string().to_lowercase();
        base.0.len() <= subject.0.len() && base.0.iter().zip(&subject.0).all(|(a, b)| told(a) == told(b))
    };
    let names = |subtrees: Option<&GeneralSubtrees>| -> Vec<Name> {
        let bases = subtrees.into_iter().flatten().map(|subtree| subtree.base.clone());
        bases.filter_map(|base| if let GeneralName::DirectoryName(name) = base { Some(name) } else { None }).collect()
    };
    let permitted = names(constraints.permitted_subtrees.as_ref());
    let excluded = names(constraints.excluded_subtrees.as_ref());
    let is_outside = !permitted.is_empty() && !permitted.iter().any(within) || excluded.iter().any(within);
    let text = "has a subject for which the CA's nameConstraints do not let it issue; have it issued with one that they permit";
    (is_outside && !subject.0.is_empty()).then(|| text.to_owned())
}

/// The authorityKeyIdentifier names another key or certificate than the issuer's.
fn other_key(own: &Parsed, above: &Parsed) -> Option<String> {
    let (_, named) = own.tbs_certificate.get::<AuthorityKeyIdentifier>().ok()??;
    let of_issuer = above.tbs_certificate.get::<SubjectKeyIdentifier>().ok().flatten();
    let other_key = match (&named.key_identifier, &of_issuer) {
        (Some(named), Some((_, is))) => named.as_bytes() != is.0.as_bytes(),
        _ => false,
    };
    let other_serial =
        named.authority_cert_serial_number.is_some_and(|serial| serial != above.tbs_certificate.serial_number);
    let names = named.authority_cert_issuer.unwrap_or_default();
    let name =
        names.iter().find_map(|name| if let GeneralName::DirectoryName(name) = name { Some(name) } else { None });
    let other_name = name.is_some_and(|name| *name != above.tbs_certificate.issuer);
    let what = match (other_key, other_serial || other_name) {
        (true, _) => "another key than the subjectKeyIdentifier of this CA's certificate",
        (_, true) => "another certificate of the CA than this one",
        _ => return None,
    };
    Some(format!(
        "has an authorityKeyIdentifier with {what}: clients look for that one; have it issued anew by the certificate named here, or name the other"
    ))
}
