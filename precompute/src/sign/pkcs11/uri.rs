//! `pkcs11:` URIs, RFC 7512: which key, on which token, reached by which module, with whose PIN.
//!
//! Invariant: reading and writing are inverse. An attribute that names the key and is not understood is refused by
//! name, never ignored, because another key could match without it. A value that may be a PIN never gets into a
//! message. Pure: it does not look for files.

use std::fmt;

use crate::pki::hex;

/// A private key on a token.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Uri {
    /// Which token.
    pub token: TokenWanted,
    /// Which key on it.
    pub key: KeyWanted,
    /// `module-path` or `module-name`.
    pub module: Option<ModuleWanted>,
    /// `pin-source`: a path, a `file:` URI, or the name of a credential.
    pub pin_source: Option<String>,
}

/// Without `pin-source`: somebody may have written the PIN itself there.
impl fmt::Debug for Uri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { token, key, module, pin_source } = self;
        let pin_source = pin_source.as_ref().map(|_| "…");
        let mut shown = f.debug_struct("Uri");
        shown.field("token", token).field("key", key).field("module", module).field("pin_source", &pin_source).finish()
    }
}

/// What a token has to be; an absent value matches any token.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct TokenWanted {
    /// `token`: its label.
    pub label: Option<String>,
    /// `manufacturer`
    pub manufacturer: Option<String>,
    /// `serial`
    pub serial: Option<String>,
    /// `model`
    pub model: Option<String>,
    /// The slot it is in.
    pub slot: SlotWanted,
    /// The library that reaches it.
    pub library: LibraryWanted,
}

/// What a slot has to be; an absent value matches any slot.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct SlotWanted {
    /// `slot-id`
    pub id: Option<u64>,
    /// `slot-description`
    pub description: Option<String>,
    /// `slot-manufacturer`
    pub manufacturer: Option<String>,
}

/// What a PKCS#11 library has to say about itself; an absent value matches any library.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct LibraryWanted {
    /// `library-manufacturer`
    pub manufacturer: Option<String>,
    /// `library-description`
    pub description: Option<String>,
    /// `library-version`: major and minor.
    pub version: Option<(u8, u8)>,
}

/// What a key has to be; an absent value matches any key.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct KeyWanted {
    /// `object`: CKA_LABEL.
    pub label: Option<String>,
    /// `id`: CKA_ID.
    pub id: Option<Vec<u8>>,
}

/// The PKCS#11 library.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ModuleWanted {
    /// The file.
    Path(String),
    /// A name to be looked for in the usual directories.
    Name(String),
}

/// Why a URI is refused. The text completes "the key …".
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UriError(String);

impl fmt::Display for UriError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for UriError {}

const SCHEME: &str = "pkcs11:";

impl Uri {
    /// Whether `text` is meant to be such a URI. RFC 3986 section 3.1: schemes are case-insensitive.
    pub fn is_meant(text: &str) -> bool {
        text.get(..SCHEME.len()).is_some_and(|scheme| scheme.eq_ignore_ascii_case(SCHEME))
    }

    /// Reads a URI.
    pub fn parse(text: &str) -> Result<Self, UriError> {
        if !Self::is_meant(text) {
            return Err(UriError(format!("does not begin with `{SCHEME}`")));
        }
        let (path, query) = match text[SCHEME.len()..].split_once('?') {
            Some((path, query)) => (path, query),
            None => (&text[SCHEME.len()..], ""),
        };
        let mut uri = Self::default();
        let mut seen: Vec<&str> = Vec::new();
        let attributes = |part: &'_ str, delimiter| -> Vec<String> {
            part.split(delimiter).filter(|attribute| !attribute.is_empty()).map(str::to_owned).collect()
        };
        let path = attributes(path, ';');
        let query = attributes(query, '&');
        let parts = path.iter().map(|attribute| (attribute, PATH_EXTRA)).chain(query.iter().map(|a| (a, QUERY_EXTRA)));
        for (number, (attribute, extra)) in parts.enumerate() {
            // It may be the rest of a PIN.
            let (name, value) = attribute.split_once('=').ok_or_else(|| {
                UriError(format!("has no `=` in attribute {}, where a name and a value are expected", number + 1))
            })?;
            // Before anything about it gets into a message.
            if name.to_ascii_lowercase().starts_with(PIN_VALUE) {
                return Err(UriError(if number < path.len() {
                    format!(
                        "has `{PIN_VALUE}` among the attributes of the key, and a PIN must not be in the configuration; {PIN_REMEDY}"
                    )
                } else {
                    format!("has a {PIN_VALUE}, and a PIN must not be in the configuration; {PIN_REMEDY}")
                }));
            }
            // RFC 7512 section 2.3: an attribute occurs at most once.
            if seen.contains(&name) {
                return Err(UriError(format!("names `{name}` twice")));
            }
            seen.push(name);
            let octets = decode(name, value, extra)?;
            if number < path.len() { uri.take_path(name, octets)? } else { uri.take_query(name, octets)? }
        }
        Ok(uri)
    }

    fn take_path(&mut self, name: &str, octets: Vec<u8>) -> Result<(), UriError> {
        match name {
            "token" => self.token.label = Some(text(name, octets)?),
            "manufacturer" => self.token.manufacturer = Some(text(name, octets)?),
            "serial" => self.token.serial = Some(text(name, octets)?),
            "model" => self.token.model = Some(text(name, octets)?),
            "slot-id" => {
                let text = text(name, octets)?;
                let number = number(&text)
                    .ok_or_else(|| UriError(format!("has slot-id `{text}`, which is no number of a slot")));
                self.token.slot.id = Some(number?);
            }
            "slot-description" => self.token.slot.description = Some(text(name, octets)?),
            "slot-manufacturer" => self.token.slot.manufacturer = Some(text(name, octets)?),
            "library-manufacturer" => self.token.library.manufacturer = Some(text(name, octets)?),
            "library-description" => self.token.library.description = Some(text(name, octets)?),
            "library-version" => {
                let text = text(name, octets)?;
                // RFC 7512 section 2.3: without a minor version it is 0.
                let (major, minor) = text.split_once('.').unwrap_or((&text, "0"));
                self.token.library.version = Some(number(major).zip(number(minor)).ok_or_else(|| {
                    UriError(format!("has library-version `{text}`; it is a number, or two with a dot, such as 2.6"))
                })?);
            }
            "object" => self.key.label = Some(text(name, octets)?),
            "id" => self.key.id = Some(octets),
            "type" if octets == b"private" => {}
            "type" => {
                return Err(UriError(format!(
                    "has type `{}`; signing takes a private key: write type=private, or leave it out",
                    String::from_utf8_lossy(&octets)
                )));
            }
            _ if QUERY.contains(&name) => {
                return Err(UriError(format!("has `{name}` before the `?`; write it after a `?`")));
            }
            _ => return Err(unknown(name, &PATH)),
        }
        Ok(())
    }

    fn take_query(&mut self, name: &str, octets: Vec<u8>) -> Result<(), UriError> {
        let module = match name {
            "module-path" => ModuleWanted::Path(text(name, octets)?),
            "module-name" => ModuleWanted::Name(text(name, octets)?),
            "pin-source" => {
                self.pin_source = Some(text(name, octets)?);
                return Ok(());
            }
            _ if PATH.contains(&name) => {
                return Err(UriError(format!(
                    "has `{name}` after the `?`; write it before, with `;` between attributes"
                )));
            }
            // RFC 7512 section 2.3: a vendor's attribute after the `?` does not say which key it is, so it can be
            // ignored. A name close to a known one is a typing error.
            _ if is_vendors(name) => return Ok(()),
            _ => return Err(unknown(name, &QUERY)),
        };
        match module {
            ModuleWanted::Path(path) if path.is_empty() => Err(UriError("has an empty module-path".into())),
            ModuleWanted::Name(name) if name.is_empty() || name.contains('/') => {
                Err(UriError(format!("has module-name `{name}`; it is a name alone, a file is named by module-path")))
            }
            _ if self.module.is_some() => Err(UriError("has both module-path and module-name; one is enough".into())),
            module => {
                self.module = Some(module);
                Ok(())
            }
        }
    }
}

/// All of RFC 7512 section 2.3.
const PATH: [&str; 13] = [
    "token",
    "manufacturer",
    "serial",
    "model",
    "slot-id",
    "slot-description",
    "slot-manufacturer",
    "library-manufacturer",
    "library-description",
    "library-version",
    "object",
    "id",
    "type",
];
const QUERY: [&str; 3] = ["module-path", "module-name", "pin-source"];
const PIN_VALUE: &str = "pin-value";
const PIN_REMEDY: &str =
    "write it into a file that only the service may read, and name that file after a `?`: pin-source=/path/to/pin";

/// Whether it is written as a vendor's attribute: with a prefix and a hyphen that no standard name has.
fn is_vendors(name: &str) -> bool {
    let standard = ["pin", "module", "slot", "library"];
    let is_name = |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
    let begins = name.split_once('-').map(|(begin, _)| begin.to_ascii_lowercase());
    is_name(name) && begins.is_some_and(|begin| !begin.is_empty() && !standard.contains(&&*begin))
}

fn number<T: std::str::FromStr>(text: &str) -> Option<T> {
    let digits = !text.is_empty() && text.bytes().all(|octet| octet.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten()
}

fn unknown(name: &str, known: &[&str]) -> UriError {
    UriError(format!("has the attribute `{name}`, which is not known here; known are: {}", known.join(", ")))
}

/// pk11-path-res-avail and pk11-query-res-avail of RFC 7512 section 2.3, beyond the unreserved characters. The second
/// lacks `|`: it would begin a command in a pin-source, which is not run.
const PATH_EXTRA: &[u8] = b":[]@!$'()*+,=&";
const QUERY_EXTRA: &[u8] = b":[]@!$'()*+,=/?|";

fn is_plain(octet: u8, extra: &[u8]) -> bool {
    octet.is_ascii_alphanumeric() || b"-._~".contains(&octet) || extra.contains(&octet)
}

fn decode(name: &str, value: &str, extra: &[u8]) -> Result<Vec<u8>, UriError> {
    let mut octets = Vec::with_capacity(value.len());
    let mut rest = value.bytes();
    while let Some(octet) = rest.next() {
        if octet == b'%' {
            let Some(byte) = rest.next().zip(rest.next()).and_then(|(high, low)| hex::byte(high, low)) else {
                return Err(UriError(format!("has a `%` in {name} without two hexadecimal digits behind it")));
            };
            octets.push(byte);
        } else if is_plain(octet, extra) {
            octets.push(octet);
        } else {
            return Err(UriError(format!(
                "has in {name} a byte that has to be written as %{octet:02X} (RFC 7512 section 2.3)"
            )));
        }
    }
    Ok(octets)
}

fn text(name: &str, octets: Vec<u8>) -> Result<String, UriError> {
    String::from_utf8(octets).map_err(|_| UriError(format!("has a {name} that is not UTF-8")))
}

/// Bytes as `id` writes them: every one percent-encoded, so that they read as hexadecimal.
struct AllEncoded<'a>(&'a [u8]);

impl fmt::Display for AllEncoded<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|octet| write!(f, "%{octet:02X}"))
    }
}

struct Encoded<'a>(&'a str, &'static [u8]);

impl fmt::Display for Encoded<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.bytes().try_for_each(|octet| match octet {
            octet if is_plain(octet, self.1) => write!(f, "{}", char::from(octet)),
            octet => write!(f, "%{octet:02X}"),
        })
    }
}

/// The path attributes alone: `token=…;serial=…`.
impl fmt::Display for TokenWanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { label, manufacturer, serial, model, slot, library } = self;
        let slot_id = slot.id.map(|number| number.to_string());
        let version = library.version.map(|(major, minor)| format!("{major}.{minor}"));
        let mut between = "";
        for (name, value) in [
            ("token", label),
            ("manufacturer", manufacturer),
            ("serial", serial),
            ("model", model),
            ("slot-id", &slot_id),
            ("slot-description", &slot.description),
            ("slot-manufacturer", &slot.manufacturer),
            ("library-manufacturer", &library.manufacturer),
            ("library-description", &library.description),
            ("library-version", &version),
        ] {
            if let Some(value) = value {
                write!(f, "{between}{name}={}", Encoded(value, PATH_EXTRA))?;
                between = ";";
            }
        }
        Ok(())
    }
}

/// The path attributes alone: `object=…;id=…`.
impl fmt::Display for KeyWanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut between = "";
        if let Some(label) = &self.label {
            write!(f, "object={}", Encoded(label, PATH_EXTRA))?;
            between = ";";
        }
        if let Some(id) = &self.id {
            write!(f, "{between}id={}", AllEncoded(id))?;
        }
        Ok(())
    }
}

impl fmt::Display for Uri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (token, key) = (self.token.to_string(), self.key.to_string());
        let between = if token.is_empty() || key.is_empty() { "" } else { ";" };
        write!(f, "{SCHEME}{token}{between}{key}")?;
        let module = self.module.as_ref().map(|module| match module {
            ModuleWanted::Path(path) => ("module-path", path),
            ModuleWanted::Name(name) => ("module-name", name),
        });
        let pin = self.pin_source.as_ref().map(|source| ("pin-source", source));
        for (number, (name, value)) in module.into_iter().chain(pin).enumerate() {
            write!(f, "{}{name}={}", if number == 0 { "?" } else { "&" }, Encoded(value, QUERY_EXTRA))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
