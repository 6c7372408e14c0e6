//! `[[purge]]`: the caches that are told of changes. Nothing is asked or read here.
//!
//! Invariant: each kind of cache has the keys that it knows what to do with, and no others. A secret in a URL is refused.

use super::{Place, SecretFile, Section, TlsTrust};
use crate::{feeder::SourceUrl, limits::purge as bounds, purge::Pace};

/// Bytes of a name: a host's is no longer.
const NAME_MAX: usize = 255;

/// A cache.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PurgeConfig {
    /// Its place in the file.
    pub place: Place,
    /// For logs and metrics; no other one has it.
    pub name: String,
    /// In which words it is told.
    pub driver: DriverConfig,
    /// Where.
    pub url: SourceUrl,
    /// The file with what lets this server in.
    pub credentials_file: Option<SecretFile>,
    /// Whose certificates count for it; `None` for those that the system trusts.
    pub tls: Option<TlsTrust>,
    /// Whose answers it keeps; `None` for all tenants'.
    pub tenants: Option<Vec<String>>,
    /// How fast.
    pub pace: Pace,
}

/// A kind of cache.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum DriverConfig {
    /// Varnish, by BAN.
    VarnishBan,
    /// Varnish, by vmod_xkey.
    VarnishXkey {
        /// Objects become stale, and do not go.
        is_soft: bool,
    },
    /// Fastly.
    Fastly {
        /// Objects become stale, and do not go.
        is_soft: bool,
    },
    /// Cloudflare.
    Cloudflare,
    /// Akamai.
    Akamai,
    /// Any other.
    Template {
        /// Such as `POST`.
        method: String,
        /// Each as `Name: value`.
        headers: Vec<String>,
        /// Empty for none.
        body: String,
    },
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Word {
    VarnishBan,
    VarnishXkey,
    Fastly,
    Cloudflare,
    Akamai,
    Template,
}

const WORDS: [(&str, Word); 6] = [
    ("varnish-ban", Word::VarnishBan),
    ("varnish-xkey", Word::VarnishXkey),
    ("fastly", Word::Fastly),
    ("cloudflare", Word::Cloudflare),
    ("akamai", Word::Akamai),
    ("template", Word::Template),
];

impl Word {
    /// The usual pace, and the most keys that one request may have.
    fn pace(self) -> (Pace, usize) {
        let of = |batch, most, per_minute, burst| {
            (Pace { batch, per_minute, burst, again_after: bounds::AGAIN_AFTER }, most)
        };
        match self {
            Self::VarnishBan | Self::VarnishXkey => of(
                bounds::VARNISH_KEYS_MAX,
                bounds::VARNISH_KEYS_MAX,
                bounds::VARNISH_PER_MINUTE,
                bounds::VARNISH_BURST,
            ),
            Self::Fastly => {
                of(bounds::FASTLY_KEYS_MAX, bounds::FASTLY_KEYS_MAX, bounds::FASTLY_PER_MINUTE, bounds::FASTLY_BURST)
            }
            Self::Cloudflare => of(
                bounds::CLOUDFLARE_KEYS_MAX,
                bounds::CLOUDFLARE_KEYS_MAX,
                bounds::CLOUDFLARE_PER_MINUTE,
                bounds::CLOUDFLARE_BURST,
            ),
            Self::Akamai => {
                of(bounds::AKAMAI_KEYS_MAX, bounds::AKAMAI_KEYS_MAX, bounds::AKAMAI_PER_MINUTE, bounds::AKAMAI_BURST)
            }
            Self::Template => of(
                bounds::TEMPLATE_KEYS,
                bounds::TEMPLATE_KEYS_MAX,
                bounds::TEMPLATE_PER_MINUTE,
                bounds::TEMPLATE_BURST,
            ),
        }
    }

    /// What the path of its URL has to be like, in words; `None` if anything will do.
    fn wanted_path(self, path: &str) -> Option<&'static str> {
        let path = path.split('?').next().unwrap_or_default();
        let (is_right, words) = match self {
            Self::Fastly => (
                path.starts_with("/service/") && path.ends_with("/purge"),
                "https://api.fastly.com/service/SERVICE/purge",
            ),
            Self::Cloudflare => (
                path.contains("/zones/") && path.ends_with("/purge_cache"),
                "https://api.cloudflare.com/client/v4/zones/ZONE/purge_cache",
            ),
            Self::Akamai => (
                ["invalidate", "delete"].iter().any(|verb| path.starts_with(&format!("/ccu/v3/{verb}/tag/"))),
                "https://HOST/ccu/v3/invalidate/tag/production, with the `host` of the `.edgerc`",
            ),
            Self::VarnishBan | Self::VarnishXkey | Self::Template => (true, ""),
        };
        (!is_right).then_some(words)
    }
}

impl DriverConfig {
    fn word(&self) -> Word {
        match self {
            Self::VarnishBan => Word::VarnishBan,
            Self::VarnishXkey { .. } => Word::VarnishXkey,
            Self::Fastly { .. } => Word::Fastly,
            Self::Cloudflare => Word::Cloudflare,
            Self::Akamai => Word::Akamai,
            Self::Template { .. } => Word::Template,
        }
    }

    /// As the file writes it.
    pub fn written(&self) -> &'static str {
        let word = self.word();
        WORDS.iter().find(|(_, known)| *known == word).map_or("", |(text, _)| text)
    }
}

/// Reads all of them.
pub(super) fn read(root: &mut Section<'_>) -> Vec<PurgeConfig> {
    // Known, whether the file has it or not.
    root.leave_to_others(&["purge"]);
    if !root.has("purge") {
        return Vec::new();
    }
    let mut caches: Vec<PurgeConfig> = root.sections("purge", read_one);
    if caches.len() > bounds::TARGETS_MAX {
        root.problem("purge", format_args!("has {} caches; at most {} are told", caches.len(), bounds::TARGETS_MAX));
        caches.truncate(bounds::TARGETS_MAX);
    }
    for (number, cache) in caches.iter().enumerate() {
        if caches[..number].iter().any(|other| other.name == cache.name) {
            root.problem(
                "purge",
                format_args!("has two caches called `{}`; give each a `name` of its own", cache.name),
            );
        }
    }
    caches
}

fn read_one(section: &mut Section<'_>) -> Option<PurgeConfig> {
    let word = section.choice("driver", &WORDS);
    if word.is_none() && !section.has("driver") {
        let words = WORDS.map(|(text, _)| format!("`{text}`")).join(", ");
        section.problem("driver", format_args!("is missing; it is one of {words}"));
    }
    let url = read_url(section, word);
    let name = section.string("name");
    if name.as_ref().is_some_and(|name| name.is_empty() || name.len() > NAME_MAX || name.chars().any(char::is_control))
    {
        section.problem(
            "name",
            format_args!("has to have 1 to {NAME_MAX} characters, none of which is a control character"),
        );
    }
    let name = name.or_else(|| url.as_ref().map(SourceUrl::host)).unwrap_or_default();
    let tls = TlsTrust::read(section, "tls_ca");
    let tenants = section.strings("tenants");
    // Before what only some have, so that each key is asked for whatever the driver is.
    let credentials_file = read_credentials(section, word);
    let driver = read_driver(section, word);
    let pace = read_pace(section, word);
    Some(PurgeConfig { place: section.place(), name, driver: driver?, url: url?, credentials_file, tls, tenants, pace })
}

fn read_url(section: &mut Section<'_>, word: Option<Word>) -> Option<SourceUrl> {
    let Some(text) = section.string("url") else {
        if !section.has("url") {
            section.problem("url", "is missing; it is where the cache is told, such as `http://127.0.0.1:6081/`");
        }
        return None;
    };
    let url: SourceUrl = match text.parse() {
        Ok(url) => url,
        Err(problem) => {
            section.problem("url", problem);
            return None;
        }
    };
    if url.without_secrets().is_none() {
        section.problem(
            "url",
            "has a password or another secret in it; write it into a file, and name that as `credentials_file`",
        );
        return None;
    }
    if let Some(wanted) = word.and_then(|word| word.wanted_path(&url.parts().2)) {
        section.problem("url", format_args!("is `{url}`; expected {wanted}"));
    }
    Some(url)
}

fn read_credentials(section: &mut Section<'_>, word: Option<Word>) -> Option<SecretFile> {
    let (secret, made_by) = match word {
        Some(Word::Akamai) => ("client secret", "name the `.edgerc` that Akamai's Control Center gives an API client"),
        _ => ("token", "name a file with the API token of the cache"),
    };
    let file = SecretFile::read(section, "credentials_file", secret, made_by);
    match word {
        Some(Word::VarnishBan | Word::VarnishXkey) if section.has("credentials_file") => {
            section.problem(
                "credentials_file",
                "is of no use for Varnish, which knows this server by its address (acl `purgers`); remove it",
            );
        }
        Some(Word::Fastly | Word::Cloudflare | Word::Akamai) if !section.has("credentials_file") => {
            section.problem("credentials_file", format_args!("is missing; {made_by}"));
        }
        _ => {}
    }
    file
}

fn read_driver(section: &mut Section<'_>, word: Option<Word>) -> Option<DriverConfig> {
    let soft = section.boolean("soft");
    let (method, headers, body) = (section.string("method"), section.strings("headers"), section.string("body"));
    let word = word?;
    if soft.is_some() && !matches!(word, Word::VarnishXkey | Word::Fastly) {
        section.problem("soft", "is known of `varnish-xkey` and `fastly` alone; remove it");
    }
    if word != Word::Template {
        for key in ["method", "headers", "body"] {
            if section.has(key) {
                section.problem(key, "belongs to the driver `template`; remove it");
            }
        }
    }
    let is_soft = soft.unwrap_or_default();
    Some(match word {
        Word::VarnishBan => DriverConfig::VarnishBan,
        Word::VarnishXkey => DriverConfig::VarnishXkey { is_soft },
        Word::Fastly => DriverConfig::Fastly { is_soft },
        Word::Cloudflare => DriverConfig::Cloudflare,
        Word::Akamai => DriverConfig::Akamai,
        Word::Template => {
            let method = method.unwrap_or_else(|| "POST".to_owned());
            let template = (method, headers.unwrap_or_default(), body.unwrap_or_default());
            check_template(section, &template);
            let (method, headers, body) = template;
            DriverConfig::Template { method, headers, body }
        }
    })
}

fn check_template(section: &Section<'_>, (method, headers, body): &(String, Vec<String>, String)) {
    if method.is_empty() || !method.bytes().all(|byte| byte.is_ascii_uppercase()) || method.len() > 16 {
        section.problem("method", "has to be a method of HTTP, such as `POST` or `PURGE`");
    }
    if headers.len() > bounds::TEMPLATE_HEADERS_MAX {
        section.problem(
            "headers",
            format_args!("are {}; at most {} are sent", headers.len(), bounds::TEMPLATE_HEADERS_MAX),
        );
    }
    for header in headers {
        let is_name = |name: &str| {
            !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
        };
        let is_value = |value: &str| value.chars().all(|c| c.is_ascii_graphic() || c == ' ');
        let is_header = header.split_once(':').is_some_and(|(name, value)| is_name(name) && is_value(value));
        // It may have a secret in it, so it is not shown.
        if !is_header || header.len() > bounds::TEMPLATE_OCTETS_MAX {
            section.problem("headers", "has to be a list of headers, each `Name: value` of ASCII");
        }
    }
    if body.len() > bounds::TEMPLATE_OCTETS_MAX {
        section.problem("body", format_args!("has more than {} bytes", bounds::TEMPLATE_OCTETS_MAX));
    }
    let has_keys = |text: &String| text.contains("{keys");
    if !has_keys(body) && !headers.iter().any(has_keys) {
        section.problem("body", "has none of `{keys}`, `{keys_by_comma}` and `{keys_as_json}`, and no header has: nothing would say what is purged");
    }
    if body.contains("{credentials}") {
        section.problem("body", "has `{credentials}`, which only a header may have");
    }
}

fn read_pace(section: &mut Section<'_>, word: Option<Word>) -> Pace {
    let (pace, most) = word.unwrap_or(Word::Template).pace();
    let batch = section.integer("batch", 1..=most as i64);
    let per_minute = section.integer("per_minute", bounds::PER_MINUTE_RANGE);
    let again_after = section.duration("again_after", bounds::AGAIN_AFTER_RANGE);
    let per_minute = per_minute.map_or(pace.per_minute, |count| count as u32);
    Pace {
        batch: batch.map_or(pace.batch, |count| count as usize),
        per_minute,
        // One that may come more often may also come more at once: for ten seconds.
        burst: pace.burst.max(per_minute / 6),
        again_after: again_after.unwrap_or(pace.again_after),
    }
}
