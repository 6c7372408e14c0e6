//! nameConstraints, RFC 5280 section 4.2.1.10: whether a CA may issue to these names.
//!
//! The names are those that openssl checks: the subject, an emailAddress in it, the subjectAltName, and, if that has no
//! DNS name, a common name that looks like one. It does not know chains.

use der::asn1::{ObjectIdentifier, OctetString};
use x509_cert::{
    TbsCertificate,
    ext::pkix::{NameConstraints, SubjectAltName, constraints::name::GeneralSubtree, name::GeneralName},
    name::{Name, RelativeDistinguishedName},
};

const COMMON_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.3");
const EMAIL_ADDRESS: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.1");

/// A name for the comparison with constraints.
#[derive(Debug)]
enum Subject {
    Directory(Name),
    Email(String),
    Dns(String),
    Uri(String),
    Address(OctetString),
    /// Of a kind that is not understood: its name.
    Other(&'static str),
}

/// Why a certificate's names are not allowed. The text completes "…: ".
pub(super) fn check(constraints: &NameConstraints, tbs: &TbsCertificate, is_leaf: bool) -> Result<(), String> {
    let permitted = constraints.permitted_subtrees.as_deref().unwrap_or_default();
    let excluded = constraints.excluded_subtrees.as_deref().unwrap_or_default();
    if permitted.iter().chain(excluded).any(|subtree| subtree.minimum != 0 || subtree.maximum.is_some()) {
        return Err("they have a minimum or maximum, which no client understands".into());
    }
    for name in subjects(tbs, is_leaf) {
        let mut all = permitted.iter().chain(excluded);
        if matches!(name, Subject::Other(_)) && all.any(|subtree| is_of_kind(&subtree.base, &name)) {
            return Err(format!("{} is of a kind that clients do not understand", shown(&name)));
        }
        let mut of_its_kind = permitted.iter().filter(|subtree| is_of_kind(&subtree.base, &name)).peekable();
        let is_constrained = of_its_kind.peek().is_some();
        let mut matches = |subtree: &GeneralSubtree| matches(&subtree.base, &name);
        if is_constrained && !of_its_kind.any(&mut matches) {
            return Err(format!("{} is not among what is permitted", shown(&name)));
        }
        if excluded.iter().filter(|subtree| is_of_kind(&subtree.base, &name)).any(matches) {
            return Err(format!("{} is excluded", shown(&name)));
        }
    }
    Ok(())
}

fn subjects(tbs: &TbsCertificate, is_leaf: bool) -> Vec<Subject> {
    let mut names = Vec::new();
    let texts = |oid: ObjectIdentifier| {
        let attributes =
            tbs.subject.0.iter().flat_map(|rdn| rdn.0.iter()).filter(move |attribute| attribute.oid == oid);
        attributes.map(|attribute| String::from_utf8_lossy(attribute.value.value()).into_owned())
    };
    if !tbs.subject.0.is_empty() {
        names.push(Subject::Directory(tbs.subject.clone()));
        names.extend(texts(EMAIL_ADDRESS).map(Subject::Email));
    }
    let alternative = tbs.get::<SubjectAltName>().ok().flatten().map(|(_, names)| names.0).unwrap_or_default();
    names.extend(alternative.into_iter().map(|name| match name {
        GeneralName::DirectoryName(name) => Subject::Directory(name),
        GeneralName::Rfc822Name(text) => Subject::Email(text.to_string()),
        GeneralName::DnsName(text) => Subject::Dns(text.to_string()),
        GeneralName::UniformResourceIdentifier(text) => Subject::Uri(text.to_string()),
        GeneralName::IpAddress(octets) => Subject::Address(octets),
        GeneralName::OtherName(_) => Subject::Other("an otherName"),
        GeneralName::EdiPartyName(_) => Subject::Other("an ediPartyName"),
        GeneralName::RegisteredId(_) => Subject::Other("a registeredID"),
    }));
    if is_leaf && !names.iter().any(|name| matches!(name, Subject::Dns(_))) {
        names.extend(texts(COMMON_NAME).filter(|name| looks_like_dns(name)).map(Subject::Dns));
    }
    names
}

/// Labels of letters, digits, hyphens and underscores, at least two.
fn looks_like_dns(text: &str) -> bool {
    let plain = |label: &str| {
        let inside = label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
        inside && !label.is_empty() && !label.starts_with('-') && !label.ends_with('-')
    };
    text.contains('.') && text.split('.').all(plain)
}

fn is_of_kind(base: &GeneralName, name: &Subject) -> bool {
    match base {
        GeneralName::DirectoryName(_) => matches!(name, Subject::Directory(_)),
        GeneralName::Rfc822Name(_) => matches!(name, Subject::Email(_)),
        GeneralName::DnsName(_) => matches!(name, Subject::Dns(_)),
        GeneralName::UniformResourceIdentifier(_) => matches!(name, Subject::Uri(_)),
        GeneralName::IpAddress(_) => matches!(name, Subject::Address(_)),
        GeneralName::OtherName(_) => matches!(name, Subject::Other("an otherName")),
        GeneralName::EdiPartyName(_) => matches!(name, Subject::Other("an ediPartyName")),
        GeneralName::RegisteredId(_) => matches!(name, Subject::Other("a registeredID")),
    }
}

/// Whether a name is within a subtree of its kind.
fn matches(base: &GeneralName, name: &Subject) -> bool {
    match (base, name) {
        (GeneralName::DirectoryName(base), Subject::Directory(name)) => {
            base.0.len() <= name.0.len() && base.0.iter().zip(&name.0).all(|(a, b)| folded(a) == folded(b))
        }
        (GeneralName::Rfc822Name(base), Subject::Email(name)) => in_mailbox(&lower(base.as_str()), &lower(name)),
        (GeneralName::DnsName(base), Subject::Dns(name)) => in_domain(&lower(base.as_str()), &lower(name)),
        (GeneralName::UniformResourceIdentifier(base), Subject::Uri(name)) => {
            host_of(name).is_some_and(|host| in_host(&lower(base.as_str()), &lower(host)))
        }
        (GeneralName::IpAddress(base), Subject::Address(address)) => {
            let (base, address) = (base.as_bytes(), address.as_bytes());
            let (net, mask) = base.split_at(base.len() / 2);
            base.len() == 2 * address.len()
                && address.iter().zip(mask).zip(net).all(|((a, mask), net)| a & mask == net & mask)
        }
        // A name that is not understood was refused before.
        _ => false,
    }
}

fn lower(text: &str) -> String {
    text.to_ascii_lowercase()
}

/// Matches a DNS name and those below it; with a leading dot, only those below it.
fn in_domain(base: &str, name: &str) -> bool {
    base.is_empty()
        || name.strip_suffix(base).is_some_and(|rest| rest.is_empty() || base.starts_with('.') || rest.ends_with('.'))
}

/// Matches a mailbox, all mailboxes of a host, or with a leading dot those of all hosts in a domain.
fn in_mailbox(base: &str, name: &str) -> bool {
    if base.contains('@') {
        return base == name;
    }
    name.rsplit_once('@').is_some_and(|(_, host)| in_host(base, host))
}

fn in_host(base: &str, host: &str) -> bool {
    if base.starts_with('.') { host.ends_with(base) } else { host == base }
}

fn host_of(uri: &str) -> Option<&str> {
    let authority = uri.split_once("://")?.1.split(['/', '?', '#']).next()?;
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let host = host.split(':').next()?;
    (!host.is_empty()).then_some(host)
}

/// Attributes for comparison: type and value, without regard to case, spaces and string type (RFC 5280 section 7.1).
fn folded(rdn: &RelativeDistinguishedName) -> Vec<(ObjectIdentifier, String)> {
    let mut folded: Vec<_> = rdn
        .0
        .iter()
        .map(|attribute| {
            let text = String::from_utf8_lossy(attribute.value.value()).to_lowercase();
            (attribute.oid, text.split_whitespace().collect::<Vec<_>>().join(" "))
        })
        .collect();
    folded.sort();
    folded
}

fn shown(name: &Subject) -> String {
    match name {
        Subject::Directory(name) => format!("the name `{name}`"),
        Subject::Email(text) => format!("the mailbox `{text}`"),
        Subject::Dns(text) => format!("the DNS name `{text}`"),
        Subject::Uri(text) => format!("`{text}`"),
        Subject::Address(octets) => format!("the address {:02x?}", octets.as_bytes()),
        Subject::Other(kind) => (*kind).to_owned(),
    }
}
