//! `sql` of an issuer: which rows of which database. No file is opened here.

use std::path::{Path, PathBuf};

use super::super::{Section, TlsTrust, secret_file::SecretFile};
use crate::{
    feeder::{self, Query, SourceUrl, SqlSource, SqlUrl},
    limits::fetch as limits,
    pki::written::Radix,
};

/// Reads the section, if there is one. `of`: what tells the issuer's mirror from those of others.
pub(super) fn read(section: &mut Section<'_>, state_dir: &Path, of: &[u8]) -> Option<SqlSource> {
    if !section.has("sql") {
        return None;
    }
    section.section("sql", |section| {
        let url = url(section);
        let source = SqlSource {
            password_file: password_file(section),
            tls_ca: tls_ca(section),
            query: query(section),
            every: section
                .duration("every", limits::ROWS_EVERY_MIN..=limits::ROWS_EVERY_MAX)
                .unwrap_or(limits::ROWS_EVERY),
            whole_every: section
                .duration("whole_every", limits::ROWS_WHOLE_EVERY_MIN..=limits::ROWS_WHOLE_EVERY_MAX)
                .unwrap_or(limits::ROWS_WHOLE_EVERY),
            overlap: section
                .duration("overlap", limits::ROWS_EVERY_MIN..=limits::ROWS_OVERLAP_MAX)
                .unwrap_or(limits::ROWS_OVERLAP),
            mirror: state_dir.join(feeder::DIRECTORY).join(mirror_name(of)),
            url,
        };
        if source.password_file.is_some() && !source.url.is_server() {
            section.problem("password_file", "has no effect: a file of SQLite has no password; remove it");
        }
        Some(source)
    })
}

fn url(section: &mut Section<'_>) -> SqlUrl {
    let none = SqlUrl::Sqlite(PathBuf::new());
    if !section.has("url") {
        section.problem("url", "is missing; name the database, such as `postgres://ostia@db.example/ejbca`");
    }
    let Some(written) = section.string("url") else { return none };
    match written.parse() {
        Ok(SqlUrl::Sqlite(path)) => SqlUrl::Sqlite(section.resolve(path)),
        Ok(url) => url,
        Err(problem) => {
            section.problem("url", problem);
            none
        }
    }
}

fn password_file(section: &mut Section<'_>) -> Option<PathBuf> {
    let made_by = "write the database's password into a file, and name that";
    Some(SecretFile::read(section, "password_file", "password", made_by)?.path_now())
}

fn tls_ca(section: &mut Section<'_>) -> Option<PathBuf> {
    match TlsTrust::read(section, "tls_ca")? {
        TlsTrust::File(path) => Some(path),
        TlsTrust::System => {
            section.problem("tls_ca", "is `system`; name the file with the CA of the database's certificate");
            None
        }
    }
}

/// Whose tables are known.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Schema {
    Ejbca,
    Xipki,
}

fn query(section: &mut Section<'_>) -> Query {
    let schema = section.choice("schema", &[("ejbca", Schema::Ejbca), ("xipki", Schema::Xipki)]);
    let radix = section.choice("serials", &[("hexadecimal", Radix::Hexadecimal), ("decimal", Radix::Decimal)]);
    let own = section.string("query");
    if radix.is_some() && !section.has("query") {
        section.problem("serials", "says how the serial numbers of `query` are written, which is missing");
    }
    match (schema.is_some() || section.has("schema"), own) {
        (true, None) if schema == Some(Schema::Xipki) => Query::Xipki,
        (true, None) => Query::Ejbca,
        (false, Some(text)) if !text.trim().is_empty() && text.len() <= limits::QUERY_OCTETS_MAX => {
            Query::Own { text, serials: radix.unwrap_or_default() }
        }
        (false, Some(_)) => {
            section.problem("query", "is empty, or longer than 16 KiB; write a `SELECT`");
            Query::Ejbca
        }
        (true, Some(_)) => {
            section.problem("query", "stands beside `schema`; remove one of the two");
            Query::Ejbca
        }
        (false, None) => {
            if !section.has("query") {
                section.problem(
                    "schema",
                    "is missing; write `schema = \"ejbca\"` or `schema = \"xipki\"`, or a `query` of your own",
                );
            }
            Query::Ejbca
        }
    }
}

/// Another database or password is no other source: the next reading of all rows says what it has.
fn mirror_name(of: &[u8]) -> String {
    // As of any URL.
    let url: Result<SourceUrl, _> = "http://rows".parse();
    url.map(|url| url.mirror_name(of)).unwrap_or_else(|_| "rows".to_owned())
}
