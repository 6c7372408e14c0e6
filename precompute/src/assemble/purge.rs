//! The caches that are told, with what lets this server in. No cache is asked.

use std::ffi::OsStr;

use zeroize::Zeroizing;

use crate::{
    config::{At, DriverConfig, Problems, PurgeConfig, SecretFile, TenantConfig, TlsTrust},
    feed::{
        https::{Https, cas},
        redis::Trust,
    },
    limits::purge as limits,
    pki::{FileError, read_secret},
    purge::{Driver, EdgeGrid, Target, Template, Token},
};

/// Opens all of them. `credentials`: the directory of the service's systemd credentials. `None` in place of one whose
/// problem was noted.
pub(super) fn open(
    caches: &[PurgeConfig],
    tenants: &[TenantConfig],
    problems: &Problems,
    credentials: Option<&OsStr>,
) -> Vec<Target> {
    let open = |cache: &PurgeConfig| {
        let at = problems.at(&cache.place);
        doubts(&at, cache, tenants);
        let https = match &cache.tls {
            None | Some(TlsTrust::System) => Https::default(),
            Some(TlsTrust::File(path)) => Https::trusting(&Trust::These(at.noted("tls_ca", cas(path))?)),
        };
        if cache.credentials_file.is_some() && !cache.url.is_over_tls() {
            at.warning("url", "has no TLS: whoever is on the way reads the credentials; write `https://`");
        }
        Some(Target {
            name: cache.name.clone(),
            url: cache.url.clone(),
            driver: driver(&at, cache, credentials)?,
            pace: cache.pace,
            tenants: cache.tenants.clone(),
            https,
        })
    };
    caches.iter().filter_map(open).collect()
}

/// What would never be purged.
fn doubts(at: &At<'_>, cache: &PurgeConfig, tenants: &[TenantConfig]) {
    for name in cache.tenants.iter().flatten() {
        if !tenants.iter().any(|tenant| tenant.name == *name) {
            at.problem("tenants", format_args!("has `{name}`, and there is no tenant of that name"));
        }
    }
    let is_kept = |tenant: &&TenantConfig| {
        cache.tenants.as_ref().is_none_or(|names| names.contains(&tenant.name)) && !tenant.issuers.is_empty()
    };
    for tenant in tenants.iter().filter(is_kept).filter(|tenant| !tenant.own_policy().surrogate_keys) {
        at.warning(
            "tenants",
            format_args!("include `{}`, which has `surrogate_keys = false`: its answers carry no keys, and no cache can be told of them", tenant.name),
        );
    }
}

fn driver(at: &At<'_>, cache: &PurgeConfig, credentials: Option<&OsStr>) -> Option<Driver> {
    let secret = || at.noted("credentials_file", text_of(cache.credentials_file.as_ref()?, credentials));
    let token = || at.noted("credentials_file", token_of(cache, &secret()?));
    Some(match &cache.driver {
        DriverConfig::VarnishBan => Driver::VarnishBan,
        DriverConfig::VarnishXkey { is_soft } => Driver::VarnishXkey { is_soft: *is_soft },
        DriverConfig::Fastly { is_soft } => Driver::Fastly { token: token()?, is_soft: *is_soft },
        DriverConfig::Cloudflare => Driver::Cloudflare { token: token()? },
        DriverConfig::Akamai => {
            let read = EdgeGrid::read(&secret()?).map_err(|problem| of_file(cache, &problem));
            Driver::Akamai(at.noted("credentials_file", read)?)
        }
        DriverConfig::Template { method, headers, body } => {
            let credentials = match &cache.credentials_file {
                Some(_) => Some(token()?),
                None => None,
            };
            let header = |line: &String| {
                let (name, value) = line.split_once(':').unwrap_or((line, ""));
                (name.to_owned(), value.trim().to_owned())
            };
            if credentials.is_none() && headers.iter().any(|header| header.contains("{credentials}")) {
                at.problem("headers", "have `{credentials}`, and there is no `credentials_file`");
            }
            let headers = headers.iter().map(header).collect();
            Driver::Template(Template { method: method.clone(), headers, body: body.clone(), credentials })
        }
    })
}

fn of_file(cache: &PurgeConfig, problem: &str) -> FileError {
    let path = cache.credentials_file.as_ref().map(SecretFile::path_now).unwrap_or_default();
    FileError::new(&path, problem)
}

fn text_of(file: &SecretFile, credentials: Option<&OsStr>) -> Result<Zeroizing<String>, FileError> {
    let path = file.find(credentials)?;
    let content = read_secret(&path, "the credentials of a cache", limits::CREDENTIALS_OCTETS_MAX)?;
    let text = std::str::from_utf8(&content).map_err(|_| FileError::new(&path, "is no text"))?;
    Ok(Zeroizing::new(text.to_owned()))
}

fn token_of(cache: &PurgeConfig, text: &str) -> Result<Token, FileError> {
    let token = text.trim_ascii_end();
    let is_line = token.len() >= limits::TOKEN_OCTETS_MIN && token.bytes().all(|byte| byte.is_ascii_graphic());
    if !is_line {
        return Err(of_file(
            cache,
            "holds something else than one token: expected one line of letters, digits and signs, as the vendor shows it",
        ));
    }
    Ok(Token(Zeroizing::new(token.to_owned())))
}
