//! How a database is named: `postgres://user@host:port/name`, `mysql://…`, `mariadb://…`, `sqlite:FILE`.
//!
//! Invariant: it has no password, and nothing that may be one is shown. It does not know how anything is asked.

use std::{fmt, path::PathBuf, str::FromStr};

use super::super::url::UrlError;
use crate::limits::fetch as limits;

/// A database.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SqlUrl {
    /// PostgreSQL.
    Postgres(Server),
    /// MariaDB or MySQL.
    MySql(Server),
    /// A file of SQLite; a relative path is relative to the configuration's directory.
    Sqlite(PathBuf),
}

/// A server and a database of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Server {
    /// Its name or address; for a socket, the directory (PostgreSQL) or the file (MariaDB) of that.
    pub host: String,
    /// `None` for the usual one.
    pub port: Option<u16>,
    /// Who asks.
    pub user: String,
    /// The name of the database.
    pub database: String,
}

impl FromStr for SqlUrl {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<Self, UrlError> {
        let text = text.trim();
        if let Some(path) = text.strip_prefix("sqlite:") {
            let path = path.strip_prefix("//").unwrap_or(path);
            return if path.is_empty() {
                Err(UrlError("names no file; write `sqlite:FILE`".to_owned()))
            } else {
                Ok(Self::Sqlite(PathBuf::from(path)))
            };
        }
        let (scheme, rest) = text.split_once("://").unwrap_or_default();
        let make = match scheme {
            "postgres" | "postgresql" => Self::Postgres,
            "mysql" | "mariadb" => Self::MySql,
            _ => {
                return Err(UrlError(
                    "names no database that can be asked; expected `postgres://user@host/name`, `mysql://user@host/name`, `mariadb://user@host/name` or `sqlite:FILE`"
                        .to_owned(),
                ));
            }
        };
        let server =
            server(rest).map_err(|problem| UrlError(format!("{problem}; write `{scheme}://user@host/name`")))?;
        Ok(make(server))
    }
}

fn server(rest: &str) -> Result<Server, String> {
    let (authority, database) = rest.rsplit_once('/').ok_or("names no database")?;
    let (user, place) = authority.rsplit_once('@').ok_or("names no user")?;
    if user.contains(':') {
        return Err("has a password, which is not shown; write it into a file that only the service may read, and name that as `password_file`".to_owned());
    }
    if database.is_empty() || database.contains(['?', '#']) {
        return Err("names no database, or more than that behind its server (nothing after a question mark is taken)"
            .to_owned());
    }
    // A socket is named by its path, with `%2F` for each slash.
    let place = place.replace("%2F", "/").replace("%2f", "/");
    let (host, port) = match place.rsplit_once(':').filter(|(_, port)| !port.ends_with(']')) {
        Some((host, port)) => (
            host.to_owned(),
            Some(port.parse().map_err(|_| "has something else than a port behind its colon".to_owned())?),
        ),
        None => (place, None),
    };
    if user.is_empty() || host.is_empty() || rest.len() > limits::URL_OCTETS_MAX {
        return Err("names no user or no host".to_owned());
    }
    Ok(Server { host, port, user: user.to_owned(), database: database.to_owned() })
}

impl SqlUrl {
    /// Of whom too much must not be asked at once.
    pub(in crate::feeder) fn host(&self) -> String {
        match self {
            Self::Postgres(server) | Self::MySql(server) => format!("{}:{}", server.host, server.port.unwrap_or(0)),
            Self::Sqlite(path) => path.display().to_string(),
        }
    }

    /// Whether a server is asked, over a network or a socket.
    pub fn is_server(&self) -> bool {
        !matches!(self, Self::Sqlite(_))
    }
}

impl fmt::Display for SqlUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scheme, Server { host, port, user, database }) = match self {
            Self::Postgres(server) => ("postgres", server),
            Self::MySql(server) => ("mysql", server),
            Self::Sqlite(path) => return write!(f, "sqlite:{}", path.display()),
        };
        let port = port.map(|port| format!(":{port}")).unwrap_or_default();
        write!(f, "{scheme}://{user}@{}{port}/{database}", host.replace('/', "%2F"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_is_named_by_its_url_and_a_password_in_it_is_refused_and_not_shown() {
        for (text, shown) in [
            ("postgres://ostia@db.example/ejbca", "postgres://ostia@db.example/ejbca"),
            ("postgresql://ostia@db:5433/ejbca", "postgres://ostia@db:5433/ejbca"),
            ("postgres://ostia@[::1]:5433/ejbca", "postgres://ostia@[::1]:5433/ejbca"),
            ("postgres://ostia@%2Frun%2Fpostgresql/ejbca", "postgres://ostia@%2Frun%2Fpostgresql/ejbca"),
            ("mariadb://ostia@db/ejbca", "mysql://ostia@db/ejbca"),
            ("sqlite:ca.db", "sqlite:ca.db"),
            ("sqlite:///var/ca.db", "sqlite:/var/ca.db"),
        ] {
            assert_eq!(text.parse::<SqlUrl>().unwrap().to_string(), shown, "{text}");
        }
        for (text, why) in [
            ("postgres://ostia:7391@db/ejbca", "name that as `password_file`"),
            ("postgres://db/ejbca", "names no user"),
            ("postgres://ostia@db", "names no database"),
            ("postgres://ostia@db/", "names no database"),
            ("mysql://ostia@db/ejbca?password=7391", "question mark"),
            ("mysql://ostia@db:x/ejbca", "a port"),
            ("oracle://ostia@db/ejbca", "expected `postgres://"),
            ("sqlite:", "names no file"),
        ] {
            let problem = text.parse::<SqlUrl>().unwrap_err().to_string();
            assert!(problem.contains(why) && !problem.contains("7391"), "{text}: {problem}");
        }
    }
}
