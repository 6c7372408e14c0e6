//! The part of a configuration that is everybody's, to be published and taken.
//!
//! Purpose: tenants with their issuers, authorities, policies and signers, and the certificates that they name, from the file of a
//! writer into the configuration of a replica. What is of one machine stays in its own file: addresses, directories, `[feed]`,
//! secrets and the clock; and so do sources, which only writers read, and renewals, which only who has the key carries out.
//!
//! Where a private key is: a signer's `key` travels as it is written, a path or a PKCS#11 URI, and never what is in it. A replica
//! that says `signer_keys = true` opens it there: a path is relative to the directory of the replica's own file. Any other replica
//! has no keys: its signers get none, and time-stamping authorities are left out.
//!
//! Invariants: no private key travels, and no file that seems to have one; what was published needs no file beside it. It does not
//! know versions, or how they travel.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};
use toml::{Table, Value};

use crate::{
    config::{Config, Document, differences},
    feed::sha256,
    limits,
    ocsp::Unlisted,
    pki::{hex, pem, read_bounded},
};

/// The sections and keys at the root of a file that are of one machine.
const OF_MACHINE: [&str; 13] = [
    "version",
    "state_dir",
    "admin",
    "cache",
    "feed",
    "journal",
    "relay",
    "edge",
    "purge",
    "http",
    "tls",
    "log",
    "time_stamping",
];
/// The keys of an issuer that say what is read and how.
const OF_SOURCES: [&str; 10] = [
    "index",
    "issued",
    "issued_serials",
    "crl",
    "delta_crl",
    "fetch_deltas",
    "crl_every",
    "crls_are_complete",
    "pushes",
    "sql",
];
/// By what a client of an authority is known, which travels and is not shown.
const KEY_OF_CLIENT: &str = "token_sha256";
/// What a file's name begins with in what is published: its SHA-256 follows.
const FILE: &str = "published:";

/// See the module.
#[derive(Clone, PartialEq, Debug)]
pub struct Published {
    /// With the key `tenant`.
    tables: Table,
    /// By the SHA-256 of their content, in hexadecimal.
    files: BTreeMap<String, Vec<u8>>,
}

#[derive(Serialize, Deserialize)]
struct Written {
    /// TOML.
    tenants: String,
    /// In base64.
    files: BTreeMap<String, String>,
}

impl Published {
    /// That of a writer's file. `config`: the same, read. The error is for the user.
    pub fn of(document: &Document, config: &Config) -> Result<Self, String> {
        let mut root = document.tables();
        OF_MACHINE.iter().for_each(|key| drop(root.remove(*key)));
        let mut tenants = match root.remove("tenant") {
            Some(tenants) => array(tenants),
            None => {
                root.insert("name".into(), "default".into());
                vec![Value::Table(root)]
            }
        };
        let dir = document.path().parent().unwrap_or(Path::new("/"));
        let mut files = Files { dir, read: BTreeMap::new() };
        for (tenant, config) in tenants.iter_mut().filter_map(Value::as_table_mut).zip(&config.tenants) {
            // Where records were kept before is of interest to books alone, and whose certificates count where sources are, too.
            tenant.remove("formerly");
            let tls_ca = tenant.remove("tls_ca");
            files.take(tenant, "request_anchors")?;
            let is_forwarded = |issuer: &&mut Table| issuer.contains_key("upstream");
            for issuer in tables(tenant, "issuer").filter(is_forwarded) {
                if let Some(above) = &tls_ca {
                    issuer.entry("tls_ca").or_insert_with(|| above.clone());
                }
                files.take(issuer, "certificate")?;
                files.take(issuer, "tls_ca")?;
            }
            let own = tables(tenant, "issuer").filter(|issuer| !is_forwarded(issuer));
            for (issuer, read) in own.zip(&config.issuers) {
                OF_SOURCES.iter().for_each(|key| drop(issuer.remove(*key)));
                issuer.remove("tls_ca");
                files.take(issuer, "certificate")?;
                // What it means depends on sources, which replicas have not.
                let unlisted = config.policy_of(read).unlisted;
                issuer.insert("unlisted".into(), word(unlisted).into());
                if unlisted == Unlisted::Good {
                    issuer.insert("accept_unlisted_as_good".into(), true.into());
                }
            }
            tables(tenant, "issuer").try_for_each(|issuer| files.of_signers(issuer))?;
            tables(tenant, "tsa").try_for_each(|tsa| {
                files.take(tsa, "client_ca")?;
                files.of_signers(tsa)
            })?;
        }
        let mut all = Table::new();
        all.insert("tenant".into(), Value::Array(tenants));
        let published = Self { tables: all, files: files.read };
        let (octets, most) = (published.written().len(), limits::configuration::VERSION_OCTETS_MAX - 1024);
        if octets > most {
            return Err(format!(
                "it has {octets} bytes with the files that it names, and at most {most} are published"
            ));
        }
        Ok(published)
    }

    /// For the feed and the disk.
    pub fn written(&self) -> Vec<u8> {
        let files = self.files.iter().map(|(name, content)| (name.clone(), STANDARD.encode(content)));
        let written = Written { tenants: self.tables.to_string(), files: files.collect() };
        // Plain values, in memory.
        serde_json::to_vec(&written).unwrap_or_default()
    }

    /// What was written. The error says what is wrong with it.
    pub fn read(written: &[u8]) -> Result<Self, String> {
        let Written { tenants, files } =
            serde_json::from_slice(written).map_err(|_| "it is none that this program writes".to_owned())?;
        let tables = tenants.parse::<Table>().map_err(|_| "its tenants are not TOML".to_owned())?;
        if tables.keys().any(|key| key != "tenant") {
            return Err("it has more than tenants".to_owned());
        }
        let files = files.into_iter().map(|(name, content)| {
            let content = STANDARD.decode(content).ok()?;
            (hex::text(&sha256(&content)) == name).then_some((name, content))
        });
        let files = files.collect::<Option<_>>().ok_or_else(|| "a file in it is not what its name says".to_owned())?;
        Ok(Self { tables, files })
    }

    /// As people read it: TOML, with the SHA-256 of each file in place of its name, and without the hashes of clients' keys.
    pub fn text(&self) -> String {
        let mut shown = self.tables.clone();
        for tenant in tables(&mut shown, "tenant") {
            for tsa in tables(tenant, "tsa") {
                for client in tables(tsa, "client").filter(|client| client.contains_key(KEY_OF_CLIENT)) {
                    client.insert(KEY_OF_CLIENT.into(), "not shown".into());
                }
            }
        }
        shown.to_string()
    }

    /// How many files travel with it.
    pub fn files(&self) -> usize {
        self.files.len()
    }

    /// What differs between two of them: keys without values, of tenants by their names.
    pub fn differences(&self, other: &Self) -> Vec<String> {
        differences(&by_name(&self.tables), &by_name(&other.tables), limits::configuration::DIFFERENCES_MAX)
    }

    /// The tenants for a configuration whose public files are in `dir`; without keys only what needs none. `is_edge`: who has keys
    /// is asked for time-stamps.
    pub fn tenants(&self, dir: &Path, with_keys: bool, is_edge: bool) -> String {
        let mut root = self.tables.clone();
        for tenant in tables(&mut root, "tenant") {
            if !with_keys {
                tables(tenant, "issuer")
                    .for_each(|issuer| signers(issuer).for_each(|signer| drop(signer.remove("key"))));
                if is_edge {
                    tables(tenant, "tsa").for_each(|tsa| signers(tsa).for_each(|signer| drop(signer.remove("key"))));
                } else {
                    tenant.remove("tsa");
                }
            }
        }
        let kept: Vec<Value> = array(root.remove("tenant").unwrap_or(Value::Array(Vec::new())));
        let has_any = |tenant: &Value| tenant.get("issuer").is_some() || tenant.get("tsa").is_some();
        let kept: Vec<Value> = kept.into_iter().filter(has_any).map(|tenant| located(tenant, dir)).collect();
        root.insert("tenant".into(), Value::Array(kept));
        root.to_string()
    }

    /// Writes the files that it names into `dir`, which is made.
    pub fn unpack(&self, dir: &Path) -> io::Result<()> {
        fs::create_dir_all(dir)?;
        for (name, content) in &self.files {
            let path = path_of(dir, name);
            if fs::read(&path).is_ok_and(|there| there == *content) {
                continue;
            }
            let unfinished = dir.join("unfinished");
            fs::write(&unfinished, content)?;
            fs::rename(&unfinished, path)?;
        }
        Ok(())
    }
}

fn path_of(dir: &Path, name: &str) -> PathBuf {
    dir.join(format!("{name}.pem"))
}

/// With the names of files in place of what stands for them.
fn located(value: Value, dir: &Path) -> Value {
    match value {
        Value::String(text) => match text.strip_prefix(FILE) {
            // A name of anything else would lead out of the directory.
            Some(name) if name.bytes().all(|letter| letter.is_ascii_hexdigit()) => {
                path_of(dir, name).to_string_lossy().into_owned().into()
            }
            _ => text.into(),
        },
        Value::Array(values) => values.into_iter().map(|value| located(value, dir)).collect::<Vec<_>>().into(),
        Value::Table(table) => Value::Table(table.into_iter().map(|(key, value)| (key, located(value, dir))).collect()),
        other => other,
    }
}

struct Files<'d> {
    dir: &'d Path,
    read: BTreeMap<String, Vec<u8>>,
}

impl Files<'_> {
    fn of_signers(&mut self, section: &mut Table) -> Result<(), String> {
        signers(section).try_for_each(|signer| {
            signer.remove("renew");
            self.take(signer, "certificate")
        })
    }

    /// The file that a key names travels along.
    fn take(&mut self, table: &mut Table, key: &str) -> Result<(), String> {
        // Those that the system trusts are everywhere.
        let Some(Value::String(name)) = table.get(key).filter(|name| name.as_str() != Some("system")) else {
            return Ok(());
        };
        let path = self.dir.join(name);
        let content = read_bounded(&path, limits::CERTIFICATE_FILE_OCTETS_MAX).map_err(|error| error.to_string())?;
        if pem::seems_private(&content) {
            let path = path.display();
            return Err(format!(
                "{path}: holds a private key beside the certificate, which is not published; name a file with the certificate alone"
            ));
        }
        let name = hex::text(&sha256(&content));
        table.insert(key.into(), format!("{FILE}{name}").into());
        self.read.insert(name, content);
        Ok(())
    }
}

/// Tenants, issuers and authorities by their names, so that one more shows as one more.
fn by_name(table: &Table) -> Table {
    let named = |value: &Value| -> Option<Value> {
        let all = value.as_array()?;
        let names = all.iter().map(|each| Some(each.as_table()?.get("name")?.as_str()?.to_owned()));
        let names: Vec<String> = names.collect::<Option<_>>()?;
        let each = all.iter().filter_map(Value::as_table).map(by_name);
        Some(Value::Table(names.into_iter().zip(each.map(Value::Table)).collect()))
    };
    table.iter().map(|(key, value)| (key.clone(), named(value).unwrap_or_else(|| value.clone()))).collect()
}

fn array(value: Value) -> Vec<Value> {
    match value {
        Value::Array(values) => values,
        one => vec![one],
    }
}

/// The tables of a key: one, or those of an array.
fn tables<'t>(table: &'t mut Table, key: &str) -> impl Iterator<Item = &'t mut Table> {
    let (one, several) = match table.get_mut(key) {
        Some(Value::Table(one)) => (Some(one), None),
        Some(Value::Array(several)) => (None, Some(several)),
        _ => (None, None),
    };
    one.into_iter().chain(several.into_iter().flatten().filter_map(Value::as_table_mut))
}

fn signers(table: &mut Table) -> impl Iterator<Item = &mut Table> {
    tables(table, "signer")
}

const fn word(unlisted: Unlisted) -> &'static str {
    match unlisted {
        Unlisted::Unauthorized => "unauthorized",
        Unlisted::Unknown => "unknown",
        Unlisted::Revoked => "revoked",
        Unlisted::Good => "good",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE_OF_WRITER: &str = r#"
version = 1
state_dir = "/var/lib/ostia"
[feed]
cluster = "a"
redis = "a:6379"
trusted = ["w.pub"]
key = "w.key"
[admin]
token_file = "secret.token"
[[tenant]]
name = "acme"
validity = "2d"
tls_ca = "ca-of-web.pem"
formerly = "acme-old"
[[tenant.issuer]]
name = "one"
certificate = "ca.pem"
index = "/srv/ca/index.txt"
sql = { url = "postgresql://user@host/db" }
ca_revoked_since = 2026-01-01T00:00:00Z
signer = { certificate = "ocsp.pem", key = "ocsp.key", renew = { command = ["x"] } }
[[tenant.tsa]]
policy = "1.2.3"
client = [{ name = "c", token_sha256 = "8d969eef" }]
signer = { certificate = "tsa.pem", key = "pkcs11:token=tsa" }
"#;

    fn published(dir: &Path, text: &str) -> Result<Published, String> {
        for name in ["ca.pem", "ocsp.pem", "tsa.pem"] {
            fs::write(dir.join(name), format!("the certificate {name}")).unwrap();
        }
        let document = Document::from_text(&dir.join("ostia.toml"), text);
        // Both sources at once are refused elsewhere; what is read of them here is nothing.
        let read = document.reading(|root| Some(Config::read(root)));
        Published::of(&document, read.value().unwrap())
    }

    #[test]
    fn what_is_published_has_tenants_with_their_certificates_and_nothing_of_one_machine() {
        let dir = tempfile::tempdir().unwrap();
        let published = published(dir.path(), FILE_OF_WRITER).unwrap();
        let text = published.text();
        for never in [
            "/var/lib",
            "w.key",
            "token_file",
            "index.txt",
            "postgresql",
            "ca-of-web",
            "command",
            "feed",
            "acme-old",
            "8d969eef",
        ] {
            assert!(!text.contains(never), "{never}: {text}");
        }
        assert!(text.contains("2026-01-01T00:00:00Z") && text.contains("unlisted = \"unauthorized\""), "{text}");
        assert_eq!(published.files(), 3);
        assert_eq!(Published::read(&published.written()).as_ref(), Ok(&published));
        let there = dir.path().join("7");
        published.unpack(&there).unwrap();
        let with = published.tenants(&there, true, false);
        assert!(with.contains("8d969eef"), "{with}");
        assert!(with.contains("key = \"ocsp.key\"") && with.contains("pkcs11:token=tsa"), "{with}");
        let table: Table = with.parse().unwrap();
        let ca = table["tenant"][0]["issuer"][0]["certificate"].as_str().unwrap();
        assert_eq!(fs::read_to_string(ca).unwrap(), "the certificate ca.pem");
        let without = published.tenants(&there, false, false);
        assert!(!without.contains("key =") && !without.contains("tsa"), "{without}");
    }

    #[test]
    fn a_bare_file_is_the_tenant_that_it_would_be_elsewhere() {
        let dir = tempfile::tempdir().unwrap();
        let bare = "version = 1\nvalidity = \"2d\"\n[[issuer]]\ncertificate = \"ca.pem\"\nindex = \"i\"\nsigner = { certificate = \"ocsp.pem\", key = \"ocsp.key\" }\n";
        let text = published(dir.path(), bare).unwrap().tenants(dir.path(), true, false);
        let table: Table = text.parse().unwrap();
        assert_eq!(table["tenant"][0]["name"].as_str(), Some("default"));
        assert_eq!(table["tenant"][0]["validity"].as_str(), Some("2d"));
    }

    #[test]
    fn a_private_key_in_a_file_of_certificates_is_not_published() {
        let dir = tempfile::tempdir().unwrap();
        published(dir.path(), FILE_OF_WRITER).unwrap();
        fs::write(dir.path().join("ca2.pem"), "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n")
            .unwrap();
        let refused = published(dir.path(), &FILE_OF_WRITER.replace("\"ca.pem\"", "\"ca2.pem\"")).unwrap_err();
        assert!(refused.contains("ca2.pem") && refused.contains("private key"), "{refused}");
    }

    #[test]
    fn what_differs_is_told_by_names_and_what_was_changed_on_the_way_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let one = published(dir.path(), FILE_OF_WRITER).unwrap();
        let other = FILE_OF_WRITER.replace("2d", "3d").replace("name = \"one\"", "name = \"two\"");
        let other = published(dir.path(), &other).unwrap();
        assert_eq!(
            one.differences(&other),
            ["tenant.acme.issuer.one", "tenant.acme.issuer.two", "tenant.acme.validity"]
        );
        assert_eq!(one.differences(&one), [""; 0]);
        let written = String::from_utf8(one.written()).unwrap();
        Published::read(written.replace("[[tenant]]", "[feed]\\n[[tenant]]").as_bytes()).unwrap_err();
        let name = one.files.keys().next().unwrap();
        Published::read(written.replace(&format!("\"{name}\""), &format!("\"{}\"", "0".repeat(64))).as_bytes())
            .unwrap_err();
        Published::read(b"{}").unwrap_err();
    }
}
