//! A connection to a database, and the rows of a query as they come.
//!
//! Invariant: it only reads, which the database itself sees to; every query has a time limit there, too; no prepared
//! statement and no state of a session is needed, so a pooler may stand between. Rows are never all in memory. It does not
//! know what they mean.

use std::{borrow::Cow, path::Path, time::Duration};

use futures_util::TryStreamExt as _;
use sqlx::{
    Column as _, ConnectOptions as _, Decode, Row as _, TypeInfo as _, ValueRef as _,
    mysql::{MySqlConnectOptions, MySqlConnection, MySqlSslMode},
    postgres::{PgConnectOptions, PgConnection, PgSslMode},
    sqlite::{SqliteConnectOptions, SqliteConnection},
};

use super::{
    row::{Kind, Row},
    url::{Server, SqlUrl},
};
use crate::limits::fetch as limits;

/// Why a query gave nothing that counts.
#[derive(Debug)]
pub(super) enum Fault {
    /// The database, or the way to it.
    Database(sqlx::Error),
    /// What came. It completes the name of the database.
    Content(String),
}

impl From<sqlx::Error> for Fault {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(error)
    }
}

/// A connection.
#[derive(Debug)]
pub(super) enum Link {
    Postgres(Box<PgConnection>),
    MySql(Box<MySqlConnection>),
    Sqlite(Box<SqliteConnection>),
}

/// What it takes to connect besides the name.
#[derive(Clone, Copy, Debug)]
pub(super) struct Access<'a> {
    pub(super) password: Option<&'a str>,
    /// The file with the CAs whose certificates count over TLS. Without it TLS is used where the server offers it, and
    /// the server is not verified.
    pub(super) tls_ca: Option<&'a Path>,
}

impl Link {
    /// Connects. A name is resolved anew each time.
    pub(super) async fn open(url: &SqlUrl, access: Access<'_>) -> Result<Self, Fault> {
        Ok(match url {
            SqlUrl::Postgres(server) => {
                let options = postgres(server, access);
                Self::Postgres(Box::new(options.connect().await?))
            }
            SqlUrl::MySql(server) => {
                let mut connection = mysql(server, access).connect().await?;
                sqlx::raw_sql("SET SESSION TRANSACTION READ ONLY").execute(&mut connection).await?;
                Self::MySql(Box::new(connection))
            }
            SqlUrl::Sqlite(path) => {
                let options = SqliteConnectOptions::new().filename(path).read_only(true);
                let options = options.busy_timeout(limits::CONNECT_WITHIN).disable_statement_logging();
                Self::Sqlite(Box::new(options.connect().await?))
            }
        })
    }

    /// Gives each row of a query to `each`, within a bound of time.
    pub(super) async fn rows(
        &mut self,
        query: &str,
        within: Duration,
        mut each: impl FnMut(&Row<'_>),
    ) -> Result<(), Fault> {
        let milliseconds = within.as_millis();
        match self {
            Self::Postgres(connection) => {
                // One message: a pooler gives all of it to one server.
                let query = format!("BEGIN READ ONLY; SET LOCAL statement_timeout = {milliseconds}; {query}; COMMIT");
                let mut rows = sqlx::raw_sql(&query).fetch(&mut **connection);
                let mut columns = None;
                while let Some(row) = rows.try_next().await? {
                    each(&columns_of(&mut columns, &row)?.read(|place| postgres_value(&row, place))?);
                }
            }
            Self::MySql(connection) => {
                // MariaDB has the first, in seconds; MySQL the second.
                let seconds = within.as_secs_f64();
                for limit in [
                    format!("SET SESSION max_statement_time = {seconds}"),
                    format!("SET SESSION max_execution_time = {milliseconds}"),
                ] {
                    match sqlx::raw_sql(&limit).execute(&mut **connection).await {
                        Ok(_) | Err(sqlx::Error::Database(_)) => {}
                        Err(error) => return Err(error.into()),
                    }
                }
                let mut rows = sqlx::raw_sql(query).fetch(&mut **connection);
                let mut columns = None;
                while let Some(row) = rows.try_next().await? {
                    each(&columns_of(&mut columns, &row)?.read(|place| mysql_value(&row, place))?);
                }
            }
            Self::Sqlite(connection) => {
                let mut rows = sqlx::raw_sql(query).fetch(&mut **connection);
                let mut columns = None;
                while let Some(row) = rows.try_next().await? {
                    each(&columns_of(&mut columns, &row)?.read(|place| sqlite_value(&row, place))?);
                }
            }
        }
        Ok(())
    }
}

fn postgres(server: &Server, access: Access<'_>) -> PgConnectOptions {
    let Server { host, port, user, database } = server;
    let mut options = PgConnectOptions::new_without_pgpass().username(user).database(database);
    options = if host.starts_with('/') { options.socket(host) } else { options.host(host.trim_matches(['[', ']'])) };
    // A pooler takes no such parameter.
    options = options.port(port.unwrap_or(5432)).application_name("ostia").extra_float_digits(None);
    options = match access.tls_ca {
        Some(file) => options.ssl_mode(PgSslMode::VerifyFull).ssl_root_cert(file),
        None => options.ssl_mode(PgSslMode::Prefer),
    };
    // Its own log would have the queries.
    let options = options.statement_cache_capacity(0).disable_statement_logging();
    access.password.into_iter().fold(options, |options, password| options.password(password))
}

fn mysql(server: &Server, access: Access<'_>) -> MySqlConnectOptions {
    let Server { host, port, user, database } = server;
    let mut options = MySqlConnectOptions::new().username(user).database(database).statement_cache_capacity(0);
    options = if host.starts_with('/') { options.socket(host) } else { options.host(host.trim_matches(['[', ']'])) };
    options = options.port(port.unwrap_or(3306));
    options = match access.tls_ca {
        Some(file) => options.ssl_mode(MySqlSslMode::VerifyIdentity).ssl_ca(file),
        None => options.ssl_mode(MySqlSslMode::Preferred),
    };
    let options = options.disable_statement_logging();
    access.password.into_iter().fold(options, |options, password| options.password(password))
}

/// Where the columns are that matter.
#[derive(Clone, Copy, Debug)]
struct Columns {
    serial: usize,
    status: Option<usize>,
    revoked_at: Option<usize>,
    reason: Option<usize>,
    not_after: Option<usize>,
    certificate_sha256: Option<usize>,
    changed_at: Option<usize>,
}

fn columns_of<R: sqlx::Row>(known: &mut Option<Columns>, row: &R) -> Result<Columns, Fault> {
    if let Some(known) = known {
        return Ok(*known);
    }
    let names: Vec<_> = row.columns().iter().map(|column| column.name().to_ascii_lowercase()).collect();
    let place = |name: &str| names.iter().position(|other| other == name);
    let Some(serial) = place("serial") else {
        return Err(Fault::Content(format!(
            "its query gives the columns {}, and none of them is `serial`; name them by `AS`",
            names.join(", ")
        )));
    };
    Ok(*known.insert(Columns {
        serial,
        status: place("status"),
        revoked_at: place("revoked_at"),
        reason: place("reason"),
        not_after: place("not_after"),
        certificate_sha256: place("certificate_sha256"),
        changed_at: place("changed_at"),
    }))
}

type Value<'r> = Option<(Cow<'r, str>, Kind)>;

impl Columns {
    fn read<'r>(&self, value: impl Fn(usize) -> Result<Value<'r>, Fault>) -> Result<Row<'r>, Fault> {
        let text = |place: Option<usize>| {
            let value = place.map(&value).transpose()?.flatten();
            Ok::<_, Fault>(value.map(|(text, _)| text))
        };
        Ok(Row {
            serial: value(self.serial)?,
            status: text(self.status)?,
            revoked_at: text(self.revoked_at)?,
            reason: text(self.reason)?,
            not_after: text(self.not_after)?,
            certificate_sha256: text(self.certificate_sha256)?,
            changed_at: text(self.changed_at)?,
        })
    }
}

fn undecodable(error: impl std::fmt::Display) -> Fault {
    Fault::Content(format!("gives a value that cannot be read: {error}"))
}

/// A value as PostgreSQL writes it: its answers to simple queries are text, whatever the type.
fn postgres_value(row: &sqlx::postgres::PgRow, place: usize) -> Result<Value<'_>, Fault> {
    let value = row.try_get_raw(place)?;
    if value.is_null() {
        return Ok(None);
    }
    let kind = kind_of(value.type_info().name());
    let text = value.as_str().map_err(undecodable)?;
    Ok(Some((Cow::Borrowed(text), kind)))
}

/// The same of MariaDB and MySQL. There text with a binary collation, as EJBCA has it, looks as bytes do, so all is text.
fn mysql_value(row: &sqlx::mysql::MySqlRow, place: usize) -> Result<Value<'_>, Fault> {
    let value = row.try_get_raw(place)?;
    if value.is_null() {
        return Ok(None);
    }
    let kind = match kind_of(value.type_info().name()) {
        Kind::Bytes => Kind::Text,
        kind => kind,
    };
    let text = <&str as Decode<'_, sqlx::MySql>>::decode(value);
    let text = text.map_err(|error| undecodable(format_args!("{error}; write `HEX(…)` around a column of bytes")))?;
    Ok(Some((Cow::Borrowed(text), kind)))
}

/// The same of SQLite, which makes text of everything but bytes.
fn sqlite_value(row: &sqlx::sqlite::SqliteRow, place: usize) -> Result<Value<'_>, Fault> {
    let value = row.try_get_raw(place)?;
    if value.is_null() {
        return Ok(None);
    }
    let kind = kind_of(value.type_info().name());
    if kind == Kind::Bytes {
        let bytes = <&[u8] as Decode<'_, sqlx::Sqlite>>::decode(value).map_err(undecodable)?;
        return Ok(Some((Cow::Owned(crate::pki::hex::text(bytes)), kind)));
    }
    let text = <&str as Decode<'_, sqlx::Sqlite>>::decode(value).map_err(undecodable)?;
    Ok(Some((Cow::Borrowed(text), kind)))
}

/// By the name of a type.
fn kind_of(name: &str) -> Kind {
    if name.contains("INT") || ["NUMERIC", "DECIMAL"].contains(&name) {
        Kind::Number
    } else if name.contains("BLOB") || name.contains("BINARY") || name == "BYTEA" {
        Kind::Bytes
    } else {
        Kind::Text
    }
}
