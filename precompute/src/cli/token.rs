//! `ostia-precompute token`: makes the token of a principal, and lists who there is.
//!
//! Invariant: a token is shown once, to whoever makes it, or is written into a file of its owner's; what is printed for the
//! configuration has its hash alone. It does not change the configuration.

use std::{
    error::Error,
    fs::OpenOptions,
    io::{ErrorKind, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use aws_lc_rs::rand;
use clap::{Args, Subcommand};
use zeroize::Zeroizing;

use super::{config_file::ConfigFile, end::Usage};
use crate::{
    config::{Admin, Config, Document, OF_TOKEN_FILE, quoted},
    limits,
    output::{nearest, say},
    pki::hex,
    principals::{Denial, Grant, Proof, TokenHash},
};

#[derive(Subcommand, Debug)]
pub(super) enum Token {
    /// Make a token for a principal, show it once, and print the lines for the configuration, which have its hash alone.
    New(New),
    /// List the principals of a configuration: what proves who they are, and what they may do.
    List {
        #[command(flatten)]
        config: ConfigFile,
    },
}

/// For whom.
#[derive(Args, Debug)]
pub(super) struct New {
    /// The principal's name in the journal and in the log.
    #[arg(long, value_name = "NAME")]
    name: String,
    /// A role in a tenant, such as operator:acme, or in every one, such as viewer:*. May be repeated.
    #[arg(long, value_name = "ROLE:TENANT", required = true)]
    allow: Vec<String>,
    /// What it may not do whatever is allowed, such as revoke:acme. May be repeated.
    #[arg(long, value_name = "ACTION:TENANT")]
    deny: Vec<String>,
    /// Write the token into this file, for its owner alone, instead of showing it.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// The configuration that it is for: a name that is there already is refused, and a tenant that is not.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Also for tenants that the configuration does not have yet.
    #[arg(long)]
    even_unknown: bool,
}

pub(super) fn run(command: Token) -> Result<(), Box<dyn Error>> {
    match command {
        Token::New(new) => new.run(),
        Token::List { config } => list(&config.path()),
    }
}

impl New {
    fn run(self) -> Result<(), Box<dyn Error>> {
        self.check()?;
        let mut octets = Zeroizing::new([0; 32]);
        rand::fill(&mut *octets).map_err(|_| "the operating system gives no random numbers")?;
        let token = Zeroizing::new(hex::text(&*octets));
        match &self.out {
            Some(path) => {
                write(path, &token)?;
                say(format_args!("the token is in {}", path.display()))?;
            }
            None => {
                say("The token, which is shown this once:")?;
                say(&*token)?;
            }
        }
        say("\nFor the configuration; it counts after a reload (`ostia-precompute reload`):\n")?;
        Ok(say(self.lines(&TokenHash::of(token.as_bytes())))?)
    }

    /// What the reader of the configuration would refuse is refused before there is a token.
    fn check(&self) -> Result<(), Box<dyn Error>> {
        let is_name = (1..=limits::PRINCIPAL_NAME_OCTETS_MAX).contains(&self.name.len())
            && self.name.bytes().all(|octet| octet.is_ascii_alphanumeric() || b"-_.@".contains(&octet));
        if !is_name || self.name == OF_TOKEN_FILE {
            let what = "is no name for a principal; expected 1 to 64 letters, digits and -_.@ such as deploy";
            return Err(Usage::new(format!("--name {} {what}", self.name)).into());
        }
        let mut named = Vec::new();
        for text in &self.allow {
            let grant: Grant = text.parse().map_err(|malformed| Usage::new(format!("--allow {malformed}")))?;
            named.extend(grant.tenant.map(|tenant| ("--allow", text, tenant)));
        }
        for text in &self.deny {
            let denial: Denial = text.parse().map_err(|malformed| Usage::new(format!("--deny {malformed}")))?;
            named.extend(denial.tenant().map(|tenant| ("--deny", text, tenant.to_owned())));
        }
        let Some(path) = &self.config else { return Ok(()) };
        let known = Config::tenant_names_in(&Document::open(path)?);
        for (option, text, tenant) in named.iter().filter(|_| !self.even_unknown) {
            if let Some(unknown) = unknown(tenant, &known) {
                return Err(Usage::new(format!("{option} {text}: {} {unknown}", path.display())).into());
            }
        }
        if Admin::of(path)?.principals.iter().any(|principal| principal.name == self.name) {
            return Err(format!(
                "{}: has a principal `{}` already; name another, or replace its `token_sha256` with that of a token of another name",
                path.display(),
                self.name
            )
            .into());
        }
        Ok(())
    }

    fn lines(&self, hash: &TokenHash) -> String {
        let list = |texts: &[String]| texts.iter().map(|text| quoted(text)).collect::<Vec<_>>().join(", ");
        let mut lines = format!(
            "[[admin.principal]]\nname = {}\ntoken_sha256 = \"{}\"\nallow = [{}]",
            quoted(&self.name),
            hash.to_hex(),
            list(&self.allow)
        );
        if !self.deny.is_empty() {
            lines += &format!("\ndeny = [{}]", list(&self.deny));
        }
        lines
    }
}

/// What is to be said of a tenant that is none of these; `known` is empty where tenants come from the feed.
fn unknown(tenant: &str, known: &[String]) -> Option<String> {
    if known.is_empty() || known.iter().any(|known| known == tenant) {
        return None;
    }
    let meant = nearest(tenant, known.iter().map(String::as_str));
    let meant = meant.map(|meant| format!("; did you mean `{meant}`?")).unwrap_or_else(|| {
        let names: Vec<_> = known.iter().take(limits::TENANTS_SHOWN_MAX).map(|name| format!("`{name}`")).collect();
        let more = if known.len() > names.len() { " and more" } else { "" };
        format!("; it has {}{more}.", names.join(", "))
    });
    Some(format!("has no tenant `{tenant}`{meant} If that tenant is to come, say `--even-unknown`"))
}

fn write(path: &Path, token: &str) -> Result<(), String> {
    let cannot = |error: std::io::Error| match error.kind() {
        ErrorKind::AlreadyExists => {
            format!("{}: already exists and is not overwritten; name another file", path.display())
        }
        _ => format!("{}: cannot be written: {error}", path.display()),
    };
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(cannot)?;
    writeln!(file, "{token}").and_then(|()| file.sync_all()).map_err(|error| {
        // It was just created.
        let _ = std::fs::remove_file(path);
        cannot(error)
    })
}

fn list(config: &Path) -> Result<(), Box<dyn Error>> {
    let admin = Admin::of(config)?;
    if !admin.has_principals() {
        return Ok(say("nobody: there is no API")?);
    }
    if let Some(file) = &admin.token_file {
        say(format_args!("{OF_TOKEN_FILE}: by the token in {}; may administrator:*", file.path_now().display()))?;
    }
    for principal in &admin.principals {
        let by = match &principal.proof {
            Proof::Token(_) => "a token".to_owned(),
            Proof::Certificate(mark) => format!("a certificate with {mark}"),
        };
        let texts = |grants: Vec<String>| grants.join(", ");
        let allow = texts(principal.allow.iter().map(ToString::to_string).collect());
        let deny = texts(principal.deny.iter().map(ToString::to_string).collect());
        let but = if deny.is_empty() { String::new() } else { format!(", and not {deny}") };
        say(format_args!("{}: by {by}; may {allow}{but}", principal.name))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn new(config: &Path, allow: &str, deny: &[&str], even_unknown: bool) -> New {
        New {
            name: "registration".into(),
            allow: vec![allow.into()],
            deny: deny.iter().map(|text| (*text).into()).collect(),
            out: None,
            config: Some(config.to_owned()),
            even_unknown,
        }
    }

    #[test]
    fn a_tenant_that_the_configuration_does_not_have_is_told_unless_it_is_meant() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ostia.toml");
        let several = "version = 1\n[[tenant]]\nname = \"acme\"\n[[tenant]]\nname = \"rival\"\n";
        let of_feed = "version = 1\n[feed]\nconfiguration = \"published\"\n";
        for (text, allow, deny, words) in [
            (several, "operator:acme", &["revoke:rival"][..], None),
            (several, "viewer:*", &[], None),
            (
                several,
                "operator:acne",
                &[],
                Some("has no tenant `acne`; did you mean `acme`? If that tenant is to come"),
            ),
            (several, "operator:acme", &["*:rivals"], Some("--deny *:rivals: ")),
            (several, "operator:nobody", &[], Some("; it has `acme`, `rival`. If")),
            ("version = 1\n[[issuer]]\n", "operator:acme", &[], Some("; it has `default`.")),
            ("version = 1\n[[issuer]]\n", "operator:default", &[], None),
            (of_feed, "operator:acme", &[], None),
        ] {
            std::fs::write(&path, text).unwrap();
            let told = new(&path, allow, deny, false).check().err().map(|refused| refused.to_string());
            match words {
                Some(words) => assert!(told.as_ref().is_some_and(|told| told.contains(words)), "{allow}: {told:?}"),
                None => assert_eq!(told, None, "{allow}"),
            }
            assert!(new(&path, allow, deny, true).check().is_ok(), "{allow}");
        }
    }
}
