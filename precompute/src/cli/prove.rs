//! `ostia-precompute prove`: makes a proof of what a replica said of a certificate at a time.
//!
//! Invariant: it reads files alone, whether the replica runs or not. It does not know how a proof is verified.

use std::{error::Error, fs, path::PathBuf};

use clap::Args;

use super::{asked::read_serial, config_file::ConfigOption, end::Usage, read};
use crate::{
    config::{Config, Transparency},
    issuer_id::IssuerId,
    output::say,
    pki::{Serial, certificates, hex, written},
    transparency::{
        Proof,
        prove::{Millis, Refused, prove},
    },
};

/// Of what, and where it is kept.
#[derive(Args, Debug)]
pub(super) struct Prove {
    /// The serial number in hexadecimal, as `openssl x509 -serial` prints it, also with 0x or colons.
    #[arg(value_name = "SERIAL")]
    serial: String,
    /// The time: RFC 3339 such as 2026-11-29T08:30:00Z, or seconds since 1970, also with a fraction.
    #[arg(value_name = "TIME", value_parser = instant)]
    time: u64,
    /// Of the replica.
    #[command(flatten)]
    config: ConfigOption,
    /// The directory that the replica's `transparency.directory` names, or a copy of it, instead of a configuration.
    #[arg(long, value_name = "DIR", requires = "issuer", conflicts_with = "config")]
    directory: Option<PathBuf>,
    /// The issuer: `tenant:name`, its name where no other has it, or its id (64 or the first 8 digits). With --directory,
    /// and where the tenants come from the writer, its id with 64 digits.
    #[arg(long, value_name = "ISSUER")]
    issuer: Option<String>,
    /// The serial number is in decimal.
    #[arg(long)]
    decimal: bool,
    /// Write the proof into this file.
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// An issuer of the configuration: its tenant, its name if it has one, and its id.
struct Known {
    name: Option<String>,
    id: IssuerId,
}

impl Prove {
    pub(super) fn run(self) -> Result<(), Box<dyn Error>> {
        let serial = read_serial(&self.serial, self.decimal)?;
        let (kept, issuers) = match &self.directory {
            Some(directory) => (Kept { directory: directory.clone(), config: None }, Vec::new()),
            None => of_config(&self.config)?,
        };
        let wanted = chosen(&issuers, self.issuer.as_deref())?;
        let fingerprints: Vec<[u8; 32]> = wanted.iter().map(|(fingerprint, _)| *fingerprint).collect();
        let proofs = prove(&kept.directory, &fingerprints, &serial, self.time);
        let proofs = proofs.map_err(|refused| kept.in_words(&refused))?;
        let with_tenants = proofs.into_iter().zip(&wanted);
        let proofs = with_tenants.map(|(proof, (_, tenant))| Proof { tenant: tenant.clone(), ..proof }).collect();
        let json = serde_json::to_string_pretty(&only(proofs, &serial)?)?;
        match &self.output {
            None => say(json)?,
            Some(path) => fs::write(path, json + "\n").map_err(|error| format!("{}: {error}", path.display()))?,
        }
        Ok(())
    }
}

/// Where it is kept.
struct Kept {
    directory: PathBuf,
    config: Option<Transparency>,
}

impl Kept {
    fn in_words(&self, refused: &Refused) -> String {
        let next = match (refused, &self.config) {
            (Refused::TooLate(last), Some(config)) => {
                format!("; the next one is due at {}", Millis(last + config.head_every.as_millis() as u64))
            }
            (Refused::TooLate(_), None) => {
                "; the next one comes within a minute, or what `transparency.head_every` says".into()
            }
            _ => String::new(),
        };
        format!("{}: {refused}{next}", self.directory.display())
    }
}

fn of_config(config: &ConfigOption) -> Result<(Kept, Vec<Known>), Box<dyn Error>> {
    let path = config.path();
    let config = read(&path)?.finish()?;
    let Some(kept) = config.transparency.clone() else {
        return Err(format!(
            "{}: there is no `[transparency]`, so nothing is kept here of what was said",
            path.display()
        )
        .into());
    };
    let issuers = issuers(&config)?;
    Ok((Kept { directory: kept.directory.clone(), config: Some(kept) }, issuers))
}

fn issuers(config: &Config) -> Result<Vec<Known>, Box<dyn Error>> {
    let mut known = Vec::new();
    for tenant in &config.tenants {
        for issuer in &tenant.issuers {
            let read = certificates(&issuer.certificate)?;
            let Some(certificate) = read.first() else { continue };
            known.push(Known { name: issuer.name.clone(), id: IssuerId::of(&tenant.name, certificate) });
        }
    }
    Ok(known)
}

/// An issuer's fingerprint, with its tenant if that is known.
type Meant = ([u8; 32], Option<String>);

/// Those that are meant.
fn chosen(known: &[Known], named: Option<&str>) -> Result<Vec<Meant>, Usage> {
    let of = |known: &Known| (*known.id.fingerprint(), Some(known.id.tenant().to_owned()));
    let Some(named) = named else {
        if known.is_empty() {
            return Err(Usage::new(
                "no issuer is in the configuration: name one by --issuer and its id, 64 digits (`/v1/issuers` of the writer has it)",
            ));
        }
        return Ok(known.iter().map(of).collect());
    };
    let is_meant = |known: &&Known| {
        let id = hex::text(known.id.fingerprint());
        let name = known.name.as_deref();
        let with_tenant = name.map(|name| format!("{}:{name}", known.id.tenant()));
        named.eq_ignore_ascii_case(&id)
            || named.eq_ignore_ascii_case(&id[..8])
            || name == Some(named)
            || with_tenant.as_deref() == Some(named)
    };
    let meant: Vec<_> = known.iter().filter(is_meant).map(of).collect();
    match (meant.len(), hex::array(named)) {
        // One that has left the configuration.
        (0, Some(fingerprint)) => Ok(vec![(fingerprint, None)]),
        (0, None) => Err(Usage::new(format!(
            "no issuer is called `{named}`; name it as the configuration does, or by its id, 64 digits"
        ))),
        (1, _) => Ok(meant),
        _ => Err(Usage::new(format!("several issuers are called `{named}`: write `tenant:name`, or the id"))),
    }
}

/// The only one of which something stands there, or of the only issuer.
fn only(mut proofs: Vec<Proof>, serial: &Serial) -> Result<Proof, Box<dyn Error>> {
    if proofs.len() > 1 {
        proofs.retain(Proof::is_of_something);
    }
    match proofs.len() {
        1 => Ok(proofs.remove(0)),
        0 => Err(format!(
            "no issuer has said anything of {serial} then; name the issuer with --issuer for a proof of that"
        )
        .into()),
        _ => {
            let ids: Vec<String> = proofs.iter().map(|proof| hex::text(&proof.issuer)).collect();
            Err(format!("several issuers have {serial}; name one with --issuer: {}", ids.join(", ")).into())
        }
    }
}

/// Milliseconds since 1970.
fn instant(text: &str) -> Result<u64, String> {
    let (whole, fraction, zone) = match text.split_once('.') {
        None => (text, "", ""),
        Some((whole, rest)) => {
            let end = rest.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(rest.len());
            (whole, &rest[..end], &rest[end..])
        }
    };
    let time = written::time(&format!("{whole}{zone}"))?;
    let digits: String = fraction.chars().chain("000".chars()).take(3).collect();
    Ok(time.0 * 1000 + digits.parse::<u64>().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_may_have_a_fraction_and_is_in_milliseconds() {
        for (text, wanted) in [
            ("2026-11-29T08:30:00Z", 1_795_941_000_000),
            ("2026-11-29T08:30:00.5Z", 1_795_941_000_500),
            ("2026-11-29T08:30:00.123456Z", 1_795_941_000_123),
            ("1795941000", 1_795_941_000_000),
            ("1795941000.007", 1_795_941_000_007),
        ] {
            assert_eq!(instant(text), Ok(wanted), "{text}");
        }
        for text in ["", "yesterday", "2026-11-29T08:30:00.5", "1795941000.5x"] {
            instant(text).unwrap_err();
        }
    }

    #[test]
    fn an_issuer_is_meant_by_its_name_or_its_id_and_two_are_told_apart() {
        let known = |tenant: &str, ca: u8| Known { name: Some("ca".into()), id: IssuerId::new(tenant, [ca; 32]) };
        let all = [known("acme", 1), known("other", 1)];
        let id = hex::text(all[1].id.fingerprint());
        let meant = |named: &str| chosen(&all, Some(named)).map(|meant| meant[0].0).map_err(|error| error.to_string());
        for named in ["other:ca", &id, &id[..8], &id.to_uppercase()] {
            assert_eq!(meant(named), Ok(*all[1].id.fingerprint()), "{named}");
        }
        assert!(meant("ca").unwrap_err().contains("several"));
        assert!(meant("cb").unwrap_err().contains("no issuer is called"));
        assert_eq!(meant(&"ab".repeat(32)), Ok([0xab; 32]), "one that is configured no more");
        assert_eq!(chosen(&all, None).unwrap().len(), 2);
        assert!(chosen(&[], None).unwrap_err().to_string().contains("--issuer"));
    }
}
