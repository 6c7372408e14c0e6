//! `ostia-precompute source try`: what one source says.
//!
//! Invariant: nothing is kept and no key is opened, so it may run beside a service. It does not know what follows from
//! what a source says.

use std::{
    collections::BTreeMap,
    error::Error,
    io::Read as _,
    path::{Path, PathBuf},
};

use clap::{Args, Subcommand};

use super::{asked::read_serial, config_file::ConfigOption};
use crate::{
    config::Sources,
    feeder::{self, DirectorySource, FilesOfIssuer, Query, RowsOfIssuer, SourceUrl, Spec, SqlSource, SqlUrl, Trial},
    ledger::FetchKind,
    output::say,
    pki::{Certificate, Serial, Status, UnixTime, certificates, open_regular, written::Radix},
    source::{Change, Crl, CrlFile, CrlHeader, CrlIssuers, Entry, Form, Listed, Listing, SourceError},
};

#[derive(Subcommand, Debug)]
pub(super) enum Source {
    /// Read a source once and show what it says: which kind it is, how many it lists, its times, what is odd in it.
    Try(Try),
}

#[derive(Args, Debug)]
pub(super) struct Try {
    /// A CRL, an index, a list of what was issued, a directory of certificates: its path; the http:// or https:// URL of a
    /// CRL; or a database (postgres://, mysql://, mariadb://, sqlite:).
    #[arg(value_name = "PATH|URL")]
    sources: Vec<String>,
    /// The certificate of the CA, which CRLs are verified with, and whose certificates count in a directory.
    #[arg(long, value_name = "FILE")]
    issuer: Option<PathBuf>,
    /// A file with certificates of others who sign CRLs for this CA. May be repeated.
    #[arg(long = "crl-issuer", value_name = "FILE", requires = "issuer")]
    crl_issuers: Vec<PathBuf>,
    /// A file with the CAs whose certificates count for https:// URLs, where those of the system count without it, and for
    /// databases.
    #[arg(long, value_name = "FILE")]
    tls_ca: Option<PathBuf>,
    /// Whose tables a database has: ejbca or xipki.
    #[arg(long, value_name = "SCHEMA", value_enum, conflicts_with = "query")]
    schema: Option<Schema>,
    /// A query for a database, in place of a schema.
    #[arg(long, value_name = "SQL")]
    query: Option<String>,
    /// The file with the password for a database.
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
    /// Try the sources of all issuers of this configuration. Without it and without a source: that of the one that
    /// OSTIA_CONFIG names, else of /etc/ostia/ostia.toml.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["sources", "issuer", "crl_issuers", "tls_ca"])]
    config: Option<PathBuf>,
    /// Look this serial number up, in hexadecimal as `openssl x509 -serial` prints it. May be repeated.
    #[arg(long = "serial", value_name = "SERIAL")]
    serials: Vec<String>,
    /// Serial numbers are in decimal, here and in lists of what was issued.
    #[arg(long)]
    decimal: bool,
}

/// The tables that are known.
#[derive(Clone, Copy, clap::ValueEnum, Debug)]
enum Schema {
    Ejbca,
    Xipki,
}

pub(super) fn run(command: Source) -> Result<(), Box<dyn Error>> {
    let Source::Try(wanted) = command;
    let now = UnixTime::now();
    let serials = wanted.serials.iter().map(|text| read_serial(text, wanted.decimal)).collect::<Result<Vec<_>, _>>()?;
    let mut tried = if wanted.sources.is_empty() {
        of_config(&ConfigOption::of(wanted.config.clone()).path(), now)?
    } else {
        wanted.named(now)?
    };
    let mut failed = 0;
    let count = tried.len();
    for one in &mut tried {
        match one.told(&serials, now) {
            Ok(lines) => say(lines.join("\n"))?,
            Err(problem) => {
                failed += 1;
                say(format_args!("{problem}"))?;
            }
        }
    }
    if failed > 0 { Err(format!("{failed} of {count} sources cannot be used").into()) } else { Ok(()) }
}

/// Who may have signed a CRL: a CA, and others for it.
#[derive(Clone, Default)]
struct Signers {
    ca: Option<Certificate>,
    others: Vec<Certificate>,
}

/// A source that was asked for.
struct Tried {
    /// What it is called, without secrets.
    name: String,
    signers: Signers,
    content: Result<Content, String>,
    /// How it lists certificates, if it is no CRL and no database of `openssl ca`.
    issued: Form,
    /// What it is, if it is fetched.
    kind: FetchKind,
}

enum Content {
    File(PathBuf),
    Fetched(Box<Trial>),
}

impl Content {
    fn path(&self) -> &Path {
        match self {
            Self::File(path) => path,
            Self::Fetched(trial) => trial.path(),
        }
    }
}

impl Try {
    fn named(&self, now: UnixTime) -> Result<Vec<Tried>, Box<dyn Error>> {
        let ca = self.issuer.as_deref().map(certificates).transpose()?.and_then(|chain| chain.into_iter().next());
        let chains = self.crl_issuers.iter().map(|path| certificates(path)).collect::<Result<Vec<_>, _>>()?;
        let signers = Signers { ca, others: chains.concat() };
        let issued = Form::Issued(if self.decimal { Radix::Decimal } else { Radix::Hexadecimal });
        let one = |text: &String| -> Result<Tried, Box<dyn Error>> {
            if let Some(path) = SourceUrl::file_path(text) {
                let path = PathBuf::from(path.map_err(|problem| format!("the source {problem}"))?);
                return Ok(Tried::file(path, signers.clone(), issued));
            }
            if DATABASES.iter().any(|scheme| text.starts_with(scheme)) {
                return self.database(text, &signers, now);
            }
            if !SourceUrl::is_meant(text) && Path::new(text).is_dir() {
                return self.directory(text, &signers, now);
            }
            if !SourceUrl::is_meant(text) {
                return Ok(Tried::file(PathBuf::from(text), signers.clone(), issued));
            }
            let url: SourceUrl = text.parse().map_err(|problem| format!("the source {problem}"))?;
            let Some(ca) = signers.ca.clone() else {
                return Err(format!(
                    "{url}: a CRL is verified with the certificate of its CA; name its file by --issuer"
                )
                .into());
            };
            let name = url.to_string();
            let trial = feeder::fetch_once(url, (ca, signers.others.clone()), self.tls_ca.clone(), now);
            let content = trial.map(|trial| Content::Fetched(Box::new(trial))).map_err(|problem| problem.to_string());
            Ok(Tried { name, signers: signers.clone(), content, issued, kind: FetchKind::Crl })
        };
        self.sources.iter().map(one).collect()
    }
}

/// How the names of databases begin.
const DATABASES: [&str; 5] = ["postgres://", "postgresql://", "mysql://", "mariadb://", "sqlite:"];

impl Try {
    fn database(&self, text: &str, signers: &Signers, now: UnixTime) -> Result<Tried, Box<dyn Error>> {
        let url: SqlUrl = text.parse().map_err(|problem| format!("the source {problem}"))?;
        let Some(issuer) = signers.ca.clone() else {
            return Err(format!(
                "{url}: of a database the rows of one CA count; name the file of its certificate by --issuer"
            )
            .into());
        };
        let query = match (self.schema, &self.query) {
            (Some(Schema::Ejbca), _) => Query::Ejbca,
            (Some(Schema::Xipki), _) => Query::Xipki,
            (None, Some(text)) => Query::Own {
                text: text.clone(),
                serials: if self.decimal { Radix::Decimal } else { Radix::Hexadecimal },
            },
            (None, None) => {
                return Err(format!("{url}: name its tables by --schema ejbca or --schema xipki, or a --query").into());
            }
        };
        let mut source = SqlSource::new(url, query, feeder::mirror_name("database", &[]).into());
        (source.password_file, source.tls_ca) = (self.password_file.clone(), self.tls_ca.clone());
        Ok(Tried::asked(&Spec::Rows(RowsOfIssuer { source, issuer }), signers.clone(), Form::Mirrored, now))
    }

    fn directory(&self, text: &str, signers: &Signers, now: UnixTime) -> Result<Tried, Box<dyn Error>> {
        let Some(issuer) = signers.ca.clone() else {
            return Err(format!(
                "{text}: of a directory the certificates of one CA count; name the file of its certificate by --issuer"
            )
            .into());
        };
        let names = if self.decimal { Radix::Decimal } else { Radix::Hexadecimal };
        // There is no mirror.
        let source = DirectorySource { path: text.into(), names, mirror: feeder::mirror_name(text, &[]).into() };
        Ok(Tried::asked(
            &Spec::Files(FilesOfIssuer { source, issuer, hashes: true }),
            signers.clone(),
            Form::Mirrored,
            now,
        ))
    }
}

impl Tried {
    /// Of what a feeder asks.
    fn asked(spec: &Spec, signers: Signers, issued: Form, now: UnixTime) -> Self {
        let content = feeder::look(spec, now)
            .map(|trial| Content::Fetched(Box::new(trial)))
            .map_err(|problem| problem.to_string());
        Self { name: spec.to_string(), signers, content, issued, kind: spec.kind() }
    }

    fn file(path: PathBuf, signers: Signers, issued: Form) -> Self {
        let name = path.display().to_string();
        Self { name, signers, content: Ok(Content::File(path)), issued, kind: FetchKind::default() }
    }

    /// What it says, in lines.
    fn told(&self, serials: &[Serial], now: UnixTime) -> Result<Vec<String>, String> {
        let name = &self.name;
        let content = self.content.as_ref().map_err(Clone::clone)?;
        let mut lines = match content {
            Content::Fetched(trial) => trial
                .missed
                .iter()
                .map(|(problem, confirmed)| {
                    let confirmed = confirmed.map_or("an unknown time".to_owned(), |confirmed| confirmed.to_string());
                    format!("{problem}; this is what it said at {confirmed}:")
                })
                .collect(),
            Content::File(_) => Vec::new(),
        };
        let path = content.path();
        let of_it = |error: SourceError| match error.line {
            Some(line) => format!("{name}:{line}: {}", error.problem),
            None => format!("{name}: {}", error.problem),
        };
        let kind = Kind::of(path).map_err(of_it)?;
        if kind == Kind::Crl {
            let Some(ca) = &self.signers.ca else {
                return Err(format!(
                    "{name}: is a CRL, which is verified with the certificate of its CA; name its file by --issuer"
                ));
            };
            let CrlFile { crls, foreign } =
                CrlFile::read(path, &CrlIssuers::with(ca, &self.signers.others, now)).map_err(of_it)?;
            lines.extend(crls.iter().flat_map(|crl| of_crl(name, crl, ca, serials, now)));
            lines.extend(foreign.iter().map(|foreign| format!("{name}: says nothing of this CA: {foreign}")));
        } else {
            let is_index = kind == Kind::Database && self.issued != Form::Mirrored;
            let form = if is_index { Form::Database } else { self.issued };
            let listing = Listing::open(path, form).map_err(of_it)?;
            lines.extend(of_listing(name, listing, (form, self.kind), serials).map_err(of_it)?);
        }
        if let Content::Fetched(trial) = content {
            lines.extend(self.of_delta(trial, serials, now)?);
            lines.extend(trial.remarks.iter().map(|remark| format!("  {remark}")));
        }
        Ok(lines)
    }
}

impl Tried {
    /// What the delta says that a CRL names.
    fn of_delta(&self, trial: &Trial, serials: &[Serial], now: UnixTime) -> Result<Vec<String>, String> {
        let (Some((_, delta)), Some(ca)) = (&trial.delta, &self.signers.ca) else { return Ok(Vec::new()) };
        let name = format!("the delta CRL that {} names", self.name);
        let read = |trial: &Trial| CrlFile::read(trial.path(), &CrlIssuers::with(ca, &self.signers.others, now));
        match delta {
            Err(problem) => Ok(vec![problem.to_string()]),
            Ok(trial) => {
                let file = read(trial).map_err(|error| format!("{name}: {}", error.problem))?;
                Ok(file.crls.iter().flat_map(|crl| of_crl(&name, crl, ca, serials, now)).collect())
            }
        }
    }
}

/// The sources of a configuration. No key is opened for it.
fn of_config(config: &Path, now: UnixTime) -> Result<Vec<Tried>, Box<dyn Error>> {
    let config = super::read(config)?.finish()?;
    let mut tried = Vec::new();
    for issuer in config.tenants.iter().flat_map(|tenant| &tenant.issuers) {
        let certificate = certificates(&issuer.certificate)?.into_iter().next();
        let Sources { listings, crls, .. } = &issuer.sources;
        let chains = issuer.crl_issuers.iter().map(|path| certificates(path)).collect::<Result<Vec<_>, _>>()?;
        let signers = Signers { ca: certificate, others: chains.concat() };
        let specs = signers.ca.as_ref().map(|ca| issuer.sources.specs(ca, &signers.others, false)).unwrap_or_default();
        for listing in listings {
            let Some(spec) = specs.iter().find(|spec| spec.mirror() == listing.path) else {
                tried.push(Tried::file(listing.path.clone(), Signers::default(), listing.form));
                continue;
            };
            tried.push(Tried::asked(spec, signers.clone(), listing.form, now));
        }
        for path in crls {
            let Some(spec) = specs.iter().find(|spec| spec.mirror() == path) else {
                tried.push(Tried::file(path.clone(), signers.clone(), Form::Database));
                continue;
            };
            tried.push(Tried::asked(spec, signers.clone(), Form::Database, now));
        }
    }
    Ok(tried)
}

/// What a file has, by how it begins.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// DER longer than 127 bytes, or PEM.
    Crl,
    /// A line of the database of `openssl ca`, or nothing.
    Database,
    /// Anything else: its first line says what is wrong if it is no list.
    Issued,
}

impl Kind {
    fn of(path: &Path) -> Result<Self, SourceError> {
        let unreadable = |error| SourceError::file(path, format_args!("cannot be read: {error}"));
        let mut begin = Vec::new();
        open_regular(path).and_then(|file| file.take(5).read_to_end(&mut begin)).map_err(unreadable)?;
        Ok(match *begin {
            [0x30, 0x80..=0xff, ..] | [b'-', b'-', b'-', b'-', b'-'] => Self::Crl,
            [] | [b'V' | b'R' | b'E' | b'S', b'\t', ..] => Self::Database,
            _ => Self::Issued,
        })
    }
}

fn of_crl(name: &str, crl: &Crl, issuer: &Certificate, serials: &[Serial], now: UnixTime) -> Vec<String> {
    let CrlHeader { number, base, this_update, next_update, coverage } = *crl.header();
    let kind = base.map_or("a complete CRL".to_owned(), |base| format!("a delta CRL to CRL {base}"));
    let mut lines = vec![format!("{name}: {kind} with {} entries", crl.entries().len())];
    lines.push(format!("  issuer: {}, whose key has signed it", issuer.subject()));
    lines.push(format!("  number: {}", number.map_or("none".to_owned(), |number| number.to_string())));
    lines.push(format!("  thisUpdate: {this_update} ({} ago)", length(now.since(this_update).as_secs())));
    lines.push(match next_update {
        None => "  nextUpdate: none, so nothing says when it is too old".to_owned(),
        Some(end) if end <= now => format!("  nextUpdate: {end}, OUT OF DATE for {}", length(now.since(end).as_secs())),
        Some(end) => format!("  nextUpdate: {end} (in {})", length(end.since(now).as_secs())),
    });
    let scope = if coverage.is_complete() {
        "all certificates of the issuer".to_owned()
    } else {
        format!("a part: {coverage}")
    };
    lines.push(format!("  scope: {scope}"));
    let mut kinds = BTreeMap::<&str, u64>::new();
    for Entry { change, .. } in crl.entries() {
        let kind = match change {
            Change::Revoked { reason, .. } => reason.name(),
            Change::Remove => "removeFromCRL",
        };
        *kinds.entry(kind).or_default() += 1;
    }
    lines.extend(counted("reasons", &kinds));
    let ends = (crl.entries().next(), crl.entries().last());
    lines.extend(ends_told(ends.0.map(|entry| entry.serial), ends.1.map(|entry| entry.serial)));
    lines.extend(odd(crl.passed_over() as u64, crl.oddities()));
    for serial in serials {
        let found: Vec<_> = crl.entries().filter(|entry| entry.serial == *serial).collect();
        lines.push(looked_up(
            serial,
            found
                .into_iter()
                .map(|entry| match entry.change {
                    Change::Revoked { time, reason } => Status::Revoked { time, reason }.to_string(),
                    Change::Remove => "removed from the complete CRL (a hold that has ended)".to_owned(),
                })
                .collect(),
        ));
    }
    lines
}

fn of_listing(
    name: &str,
    mut index: Listing,
    form: (Form, FetchKind),
    serials: &[Serial],
) -> Result<Vec<String>, SourceError> {
    let (mut kinds, mut ends) = (BTreeMap::<&str, u64>::new(), (None, None));
    let mut found = vec![Vec::new(); serials.len()];
    let mut count = 0u64;
    for listed in &mut index {
        let Listed { serial, record, .. } = listed?;
        count += 1;
        let kind = match record.status {
            Status::Good => "good",
            Status::Revoked { reason, .. } => reason.name(),
        };
        *kinds.entry(kind).or_default() += 1;
        ends = (ends.0.or(Some(serial)), Some(serial));
        let wanted = serials.iter().zip(&mut found).filter(|(wanted, _)| **wanted == serial);
        wanted.for_each(|(_, found)| {
            let end = record.not_after.filter(|end| *end < UnixTime::MAX);
            let end = end.map_or("an unknown time".to_owned(), |end| end.to_string());
            found.push(format!("{}, valid until {end}", record.status));
        });
    }
    let kind = match form {
        (Form::Database, _) => "an index of `openssl ca`",
        (Form::Issued(Radix::Hexadecimal), _) => "a list of what was issued, in hexadecimal,",
        (Form::Issued(Radix::Decimal), _) => "a list of what was issued, in decimal,",
        (Form::Mirrored, FetchKind::Files) => "a directory of what was issued,",
        (Form::Mirrored, _) => "what a database has,",
    };
    let mut lines = vec![format!("{name}: {kind} with {count} certificates")];
    lines.extend(counted("status", &kinds));
    lines.extend(ends_told(ends.0, ends.1));
    lines.extend(odd(index.passed_over(), index.oddities()));
    lines.extend(index.doubt().map(|doubt| format!("  odd: {doubt}")));
    lines.extend(serials.iter().zip(found).map(|(serial, found)| looked_up(serial, found)));
    Ok(lines)
}

fn counted(what: &str, kinds: &BTreeMap<&str, u64>) -> Option<String> {
    let kinds: Vec<_> = kinds.iter().map(|(kind, count)| format!("{kind} {count}")).collect();
    Some(format!("  {what}: {}", kinds.join(", "))).filter(|_| !kinds.is_empty())
}

fn ends_told(first: Option<Serial>, last: Option<Serial>) -> Option<String> {
    first.zip(last).map(|(first, last)| format!("  first and last serial number: {first}, {last}"))
}

fn odd(passed_over: u64, oddities: Option<&crate::source::Oddities>) -> Vec<String> {
    let skipped = (passed_over > 0).then(|| {
        format!("  skipped: {passed_over} serial numbers that are 0, negative or over 20 bytes, which no certificate can have")
    });
    skipped.into_iter().chain(oddities.map(|oddities| format!("  odd: {oddities}"))).collect()
}

fn looked_up(serial: &Serial, found: Vec<String>) -> String {
    if found.is_empty() { format!("  {serial}: not listed") } else { format!("  {serial}: {}", found.join("; and ")) }
}

/// A length in the largest unit that fits.
fn length(seconds: u64) -> String {
    let units = [(86_400, "days"), (3600, "hours"), (60, "minutes")];
    let fitting = units.iter().find(|(length, _)| seconds >= 2 * length);
    fitting.map_or_else(|| format!("{seconds} seconds"), |(length, unit)| format!("{} {unit}", seconds / length))
}
