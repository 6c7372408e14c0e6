//! `ostia-precompute purge`: has caches forget answers, by hand.
//!
//! It asks the caches itself, whether the service runs or not, and needs neither its keys nor its state directory. It does not
//! know what has changed.

use std::error::Error;

use super::{asked::read_serial, config_file::ConfigOption, end::Usage};
use crate::{
    assemble::open_caches,
    config::Config,
    ocsp::{About, CacheKey, IssuerHashes, IssuerKey},
    output::say,
    pki::{Serial, certificates},
    purge::{Target, purge_now},
};

/// What is purged, and where.
#[derive(clap::Args, Debug)]
#[command(group(clap::ArgGroup::new("what").required(true).args(["all", "issuer"])))]
pub(super) struct Purge {
    #[command(flatten)]
    config: ConfigOption,
    /// All answers of all issuers that a cache keeps.
    #[arg(long)]
    all: bool,
    /// Those of an issuer: `tenant:name`, or its name where no other has it.
    #[arg(long, value_name = "ISSUER")]
    issuer: Option<String>,
    /// This cache alone, by its name.
    #[arg(long, value_name = "NAME")]
    cache: Option<String>,
    /// Serial numbers are in decimal.
    #[arg(long)]
    decimal: bool,
    /// The answers about these certificates alone: serial numbers in hexadecimal, as `openssl x509 -serial` prints them.
    #[arg(value_name = "SERIAL", requires = "issuer")]
    serials: Vec<String>,
}

/// An issuer of the configuration.
struct Known {
    tenant: String,
    name: String,
    key: IssuerKey,
}

impl Purge {
    pub(super) fn run(self) -> Result<(), Box<dyn Error>> {
        if self.all && !self.serials.is_empty() {
            return Err(Usage::new(
                "a serial number is one of an issuer: name that by --issuer, without --all".to_owned(),
            )
            .into());
        }
        let serials: Vec<Serial> =
            self.serials.iter().map(|text| read_serial(text, self.decimal)).collect::<Result<_, _>>()?;
        let path = self.config.path();
        let (config, mut targets) = super::read(&path)?.with(open_caches).finish()?;
        if let Some(name) = &self.cache {
            let names: Vec<_> = targets.iter().map(|target| format!("`{}`", target.name)).collect();
            targets.retain(|target| target.name == *name);
            if targets.is_empty() {
                return Err(
                    format!("{}: no cache is called `{name}`; there are {}", path.display(), names.join(", ")).into()
                );
            }
        }
        if targets.is_empty() {
            return Err(format!("{}: has no [[purge]], so no cache is known", path.display()).into());
        }
        let known = known(&config)?;
        let wanted: Vec<&Known> = match &self.issuer {
            Some(issuer) => vec![find(&known, issuer)?],
            None => known.iter().collect(),
        };
        let failed = targets.iter().filter(|target| !tell(target, &wanted, &serials)).count();
        if failed > 0 { Err(format!("{failed} of {} caches were not told", targets.len()).into()) } else { Ok(()) }
    }
}

/// The issuers with their keys.
fn known(config: &Config) -> Result<Vec<Known>, Box<dyn Error>> {
    let mut known = Vec::new();
    for (tenant, issuer) in
        config.tenants.iter().flat_map(|tenant| tenant.issuers.iter().map(move |issuer| (tenant, issuer)))
    {
        let read = certificates(&issuer.certificate)?;
        let Some(certificate) = read.first() else { continue };
        let name = issuer.name.clone().unwrap_or_else(|| certificate.subject());
        known.push(Known { tenant: tenant.name.clone(), name, key: IssuerKey::of(&IssuerHashes::of(certificate)) });
    }
    Ok(known)
}

fn find<'k>(known: &'k [Known], wanted: &str) -> Result<&'k Known, Usage> {
    let is_it = |known: &&Known| known.name == wanted || format!("{}:{}", known.tenant, known.name) == wanted;
    let found: Vec<_> = known.iter().filter(is_it).collect();
    match found[..] {
        [one] => Ok(one),
        _ => {
            let names: Vec<_> = known.iter().map(|known| format!("{}:{}", known.tenant, known.name)).collect();
            let what = if found.is_empty() { "no issuer" } else { "more than one issuer" };
            Err(Usage::new(format!("{what} is called `{wanted}`; there are {}", names.join(", "))))
        }
    }
}

/// Whether it was told; says so or why not.
fn tell(target: &Target, wanted: &[&Known], serials: &[Serial]) -> bool {
    let kept = wanted.iter().filter(|known| target.keeps(&known.tenant));
    let keys: Vec<CacheKey> = kept
        .flat_map(|known| {
            let single =
                serials.iter().map(|serial| CacheKey { issuer: known.key, about: About::Certificate(*serial) });
            let whole = serials.is_empty().then_some(CacheKey::whole(known.key));
            single.chain(whole)
        })
        .collect();
    if keys.is_empty() {
        let _ = say(format_args!("{}: keeps nothing of that", target.name));
        return true;
    }
    match purge_now(target, &keys) {
        Ok(took) => {
            let shown: Vec<_> = keys.iter().map(ToString::to_string).collect();
            let _ = say(format_args!("{}: purged {} in {} ms", target.name, shown.join(" "), took.as_millis()));
            true
        }
        Err(why) => {
            let _ = say(format_args!("{}: the cache {why}", target.name));
            false
        }
    }
}
