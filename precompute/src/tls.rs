//! TLS of servers: a certificate with its key, replaced by newer ones while connections go on.
//!
//! Invariant: a pair is taken as a whole, or the old one stays; connections keep the pair they began with. Who shows a
//! certificate of a client has shown one that a CA among those that count has issued, and that is valid now. It does not
//! know sockets, or what is served.

mod handshake;

use std::{
    cell::Cell,
    fmt,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use arc_swap::ArcSwap;
use rustls::{
    DistinguishedName, RootCertStore, ServerConfig,
    crypto::{CryptoProvider, aws_lc_rs},
    server::{
        ClientHello, NoServerSessionStorage, ResolvesServerCert, WebPkiClientVerifier,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
    sign::CertifiedKey,
};
use rustls_pki_types::CertificateDer;
use tracing::{error, info};

pub(crate) use self::handshake::verifies_signatures_by;
use crate::{
    journal::trail,
    limits,
    pki::{Certificate, FileError, UnixTime, pem, read_bounded},
    sign::read_private_key,
};

/// Why a pair cannot be used.
#[derive(Debug)]
pub struct PairError {
    /// Whether the fault is in the key, not in the certificate.
    pub of_key: bool,
    error: FileError,
}

impl fmt::Display for PairError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl std::error::Error for PairError {}

/// A certificate chain and its key, as last read.
#[derive(Debug)]
pub struct Certificates {
    files: Mutex<Files>,
    current: ArcSwap<CertifiedKey>,
}

/// The paths of the two files.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Files {
    certificate: PathBuf,
    key: PathBuf,
    /// The files at the last look, whether good or bad.
    seen: Stamps,
}

impl Files {
    fn stamps(&self) -> Stamps {
        [&self.certificate, &self.key].map(|path| stamp(path))
    }
}

/// Distinguishes a file from its successor: device, inode, size, and time of change.
type Stamps = [Option<(u64, u64, u64, i64, i64)>; 2];

impl Certificates {
    /// Reads both files.
    pub fn open(certificate: &Path, key: &Path) -> Result<Arc<Self>, PairError> {
        let seen = [certificate, key].map(stamp);
        let current = ArcSwap::from_pointee(read(certificate, key)?);
        let files = Files { certificate: certificate.to_owned(), key: key.to_owned(), seen };
        Ok(Arc::new(Self { files: Mutex::new(files), current }))
    }

    /// The server's certificate, DER.
    pub fn certificate(&self) -> Option<CertificateDer<'static>> {
        self.current.load().cert.first().cloned()
    }

    /// Reads both files again if one of them has changed. New connections get the new pair; if something is wrong with
    /// it, they get the old pair, and the log says why. The two files are seldom written at the same moment, so a pair
    /// that does not match may match soon: it is checked again when a file changes. Blocks while it reads.
    pub fn follow(&self) {
        let before = self.files().clone();
        let seen = before.stamps();
        if before.seen == seen {
            return;
        }
        let pair = read(&before.certificate, &before.key);
        let mut files = self.files();
        if *files != before {
            // A reload has named other files in the meantime.
            return;
        }
        files.seen = seen;
        match pair {
            Ok(pair) => {
                self.current.store(Arc::new(pair));
                info!(certificate = %files.certificate.display(), "the TLS certificate was read again");
                drop(files);
                self.tell(None);
            }
            Err(error) => {
                error!("{error}; TLS keeps the former certificate");
                drop(files);
                self.tell(Some(&error.to_string()));
            }
        }
    }

    /// Takes the files of `other`, and what it has read of them.
    pub fn go_over_to(&self, other: &Self) {
        let before = self.certificate();
        let files = other.files().clone();
        *self.files() = files;
        self.current.store(other.current.load_full());
        self.tell_unless(before.as_ref());
    }

    /// Tells the journal, unless this is what was shown before.
    pub fn tell_unless(&self, before: Option<&CertificateDer<'_>>) {
        if self.certificate().as_ref() != before {
            self.tell(None);
        }
    }

    /// Tells the journal which certificate is shown from now on, or why another one is not.
    fn tell(&self, refused: Option<&str>) {
        trail::tell("certificate", |event| {
            let event = event.text("tls", self.files().certificate.display());
            if let Some(problem) = refused {
                return event.text("what", "refused").text("problem", problem);
            }
            let shown = self.certificate().and_then(|der| Certificate::from_der(&der).ok());
            let event = event.optional("serial", shown.as_ref().and_then(Certificate::serial));
            event.optional("not_after", shown.as_ref().map(Certificate::not_after)).text("what", "renewed")
        });
    }

    fn files(&self) -> MutexGuard<'_, Files> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The configuration for accepting connections of relying parties.
    pub fn server_config(self: &Arc<Self>) -> Result<Arc<ServerConfig>, rustls::Error> {
        self.public_config(false)
    }

    /// The same where a client may show a certificate. Whether it counts is for others to find out ([`ClientCas`]): that of
    /// one tenant is nothing to another.
    pub fn asking_config(self: &Arc<Self>) -> Result<Arc<ServerConfig>, rustls::Error> {
        self.public_config(true)
    }

    fn public_config(self: &Arc<Self>, asks: bool) -> Result<Arc<ServerConfig>, rustls::Error> {
        let builder = ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions()?;
        let builder = match asks {
            true => builder.with_client_cert_verifier(Arc::new(AnyClient(provider()))),
            false => builder.with_no_client_auth(),
        };
        let resolver: Arc<dyn ResolvesServerCert> = Arc::clone(self) as _;
        let mut config = builder.with_cert_resolver(resolver);
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        // Clients resume with what they store themselves; the server stores nothing for them.
        config.ticketer = aws_lc_rs::Ticketer::new()?;
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 1;
        Ok(Arc::new(config))
    }

    /// The same for programs and people who administer. A client may show a certificate of one of `client_cas`, and any other
    /// is refused. Nothing is resumed, so that each connection shows it anew.
    pub fn admin_config(self: &Arc<Self>, client_cas: &[Certificate]) -> Result<Arc<ServerConfig>, String> {
        let of_rustls = |error: rustls::Error| error.to_string();
        let builder = ServerConfig::builder_with_provider(provider());
        let builder = builder.with_safe_default_protocol_versions().map_err(of_rustls)?;
        let builder = if client_cas.is_empty() {
            builder.with_no_client_auth()
        } else {
            builder.with_client_cert_verifier(verifier(client_cas)?)
        };
        let resolver: Arc<dyn ResolvesServerCert> = Arc::clone(self) as _;
        let mut config = builder.with_cert_resolver(resolver);
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(Arc::new(config))
    }
}

/// Follows the files of a certificate, as long as it is polled.
pub async fn follow(certificates: Arc<Certificates>) {
    loop {
        tokio::time::sleep(limits::TLS_LOOK).await;
        look(&certificates).await;
    }
}

/// Looks at its files once.
pub async fn look(certificates: &Arc<Certificates>) {
    let certificates = Arc::clone(certificates);
    // Disks may be slow.
    let _ = tokio::task::spawn_blocking(move || certificates.follow()).await;
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current.load_full())
    }
}

/// CAs of certificates of clients.
#[derive(Debug)]
pub struct ClientCas {
    certificates: Vec<Certificate>,
    verifier: Arc<dyn ClientCertVerifier>,
}

impl ClientCas {
    /// The error is for the user.
    pub fn new(certificates: Vec<Certificate>) -> Result<Self, String> {
        let verifier = verifier(&certificates)?;
        Ok(Self { certificates, verifier })
    }

    /// Whether both are the same CAs.
    pub fn are_as(&self, other: &Self) -> bool {
        self.certificates.iter().map(Certificate::der).eq(other.certificates.iter().map(Certificate::der))
    }

    /// Whether one of them has issued the first of these certificates, perhaps by way of the others, for a client of TLS, and it
    /// is valid at `now`.
    pub fn have_issued(&self, chain: &[CertificateDer<'_>], now: UnixTime) -> bool {
        let now = rustls_pki_types::UnixTime::since_unix_epoch(Duration::from_secs(now.0));
        let parted = chain.split_first();
        parted.is_some_and(|(own, above)| self.verifier.verify_client_cert(own, above, now).is_ok())
    }
}

/// The certificate that the client of a connection has shown. That it has the key is proven, and nothing else.
#[derive(Debug)]
pub struct Shown {
    /// Its own first, as the client has sent them.
    chain: Vec<CertificateDer<'static>>,
    /// Its own.
    pub certificate: Certificate,
    /// The CAs that were asked last whether they have issued it, when, and what came of it.
    issued: Cell<Option<(usize, UnixTime, bool)>>,
}

impl Shown {
    /// `None` if there is none, or none that can be read.
    pub fn of(chain: Option<&[CertificateDer<'static>]>) -> Option<Self> {
        let chain = chain?;
        let certificate = Certificate::from_der(chain.first()?).ok()?;
        Some(Self { chain: chain.to_vec(), certificate, issued: Cell::new(None) })
    }

    /// Whether these CAs have issued it, and it is valid at `now`. What was found out in the same second is not looked at again.
    pub fn is_of(&self, cas: &Arc<ClientCas>, now: UnixTime) -> bool {
        let which = Arc::as_ptr(cas).addr();
        match self.issued.get() {
            Some((asked, at, is)) if asked == which && at == now => is,
            _ => {
                let is = cas.have_issued(&self.chain, now);
                self.issued.set(Some((which, now, is)));
                is
            }
        }
    }
}

fn verifier(cas: &[Certificate]) -> Result<Arc<dyn ClientCertVerifier>, String> {
    let mut roots = RootCertStore::empty();
    for ca in cas {
        let ca = roots.add(CertificateDer::from(ca.der().to_vec()));
        ca.map_err(|error| format!("has a certificate that TLS cannot use as a CA: {error}"))?;
    }
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider());
    verifier.allow_unauthenticated().build().map_err(|error| error.to_string())
}

/// Takes any certificate of a client, or none; that the client has its key is proven.
#[derive(Debug)]
struct AnyClient(Arc<CryptoProvider>);

impl ClientCertVerifier for AnyClient {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: rustls_pki_types::UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        Ok(ClientCertVerified::assertion())
    }

    verifies_signatures_by!(0);
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

fn stamp(path: &Path) -> Option<(u64, u64, u64, i64, i64)> {
    let metadata = std::fs::metadata(path).ok()?;
    Some((metadata.dev(), metadata.ino(), metadata.size(), metadata.mtime(), metadata.mtime_nsec()))
}

fn read(certificate: &Path, key: &Path) -> Result<CertifiedKey, PairError> {
    let of_certificate = |error| PairError { of_key: false, error };
    let of_key = |error| PairError { of_key: true, error };
    let chain = read_chain(certificate).map_err(of_certificate)?;
    let signing = read_private_key(key, limits::TLS_FILE_OCTETS_MAX).map_err(of_key)?;
    let load = aws_lc_rs::sign::any_supported_type(&signing);
    let load =
        load.map_err(|error| of_key(FileError::new(key, format_args!("holds no key that TLS can use: {error}"))))?;
    let pair = CertifiedKey::new(chain, load);
    pair.keys_match().map_err(|error| {
        let problem =
            format_args!("does not fit the key in {} ({error}); the server's certificate comes first", key.display());
        of_certificate(FileError::new(certificate, problem))
    })?;
    Ok(pair)
}

fn read_chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, FileError> {
    let fail = |problem: String| FileError::new(path, problem);
    let file = read_bounded(path, limits::TLS_FILE_OCTETS_MAX)?;
    let sections = pem::sections(&file).map_err(|damage| fail(damage.to_string()))?;
    let certificates = sections.iter().filter(|section| section.label == "CERTIFICATE");
    let chain: Result<Vec<_>, _> =
        certificates.map(|section| Ok(CertificateDer::from(section.content()?.to_vec()))).collect();
    let chain = chain.map_err(|damage: pem::PemDamage| fail(damage.to_string()))?;
    if chain.is_empty() && pem::seems_private(&file) {
        return Err(fail(
            "holds no certificate, but a private key; the two may have been named in each other's place".into(),
        ));
    }
    if chain.is_empty() { Err(fail("holds no certificate in PEM".into())) } else { Ok(chain) }
}
