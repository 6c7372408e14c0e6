//! Says what is wrong with a database, and what to do. Pure.
//!
//! Invariant: no message has the password, since none is known here.

use super::link::Fault;
use crate::limits::fetch as limits;

const CERTIFICATE: &str = "; is `tls_ca` the CA of its certificate, and is that for this name?";

/// What completes the name of the database.
pub(super) fn told(fault: &Fault) -> String {
    let error = match fault {
        Fault::Content(problem) => return problem.clone(),
        Fault::Database(error) => error,
    };
    let Some(database) = error.as_database_error() else {
        let remedy = match error {
            // A handshake that fails is one of these.
            sqlx::Error::Io(_) if error.to_string().contains("peer certificate") => CERTIFICATE,
            sqlx::Error::Io(_) => "; is it there, and may this machine connect to it?",
            sqlx::Error::Tls(_) => CERTIFICATE,
            _ => "",
        };
        return format!("gives no answer: {}{remedy}", short(&error.to_string()));
    };
    let text = database.message();
    let code = database.code().unwrap_or_default();
    let number = database.try_downcast_ref::<sqlx::mysql::MySqlDatabaseError>().map(|error| error.number());
    let remedy = match (&*code, number) {
        ("28P01" | "28000", _) | (_, Some(1045 | 1698)) => {
            "; check the user in the URL and the file that `password_file` names, and that the server lets this machine in"
        }
        ("42501", _) | (_, Some(1044 | 1142 | 1143)) => {
            "; permit that user to read the table (`GRANT SELECT`); it needs nothing else"
        }
        ("42P01" | "42703", _) | (_, Some(1146 | 1054)) => {
            "; is this the CA's database, of a version that has this, or does `query` name it otherwise?"
        }
        ("3D000", _) | (_, Some(1049)) => "; is the name of the database in the URL right?",
        ("57014", _) | (_, Some(1969 | 3024)) => {
            "; an index on the column that says when a row has changed makes this quick"
        }
        ("40001", _) => {
            "; the replica needs to apply what conflicts with this query: raise `max_standby_streaming_delay` there, or set `hot_standby_feedback`"
        }
        ("53300", _) | (_, Some(1040 | 1203)) => "; it has no connection left: this program needs one for each issuer",
        _ if text.contains("no such table") || text.contains("no such column") => {
            "; is this the CA's database, of a version that has this, or does `query` name it otherwise?"
        }
        _ if text.contains("unable to open database file") => "; is the path right, and may this program read it?",
        _ => "",
    };
    format!("refuses: {}{remedy}", short(text))
}

fn short(text: &str) -> String {
    text.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).take(limits::URL_SHOWN_MAX).collect()
}
