//! One tenant's part of a journal.
//!
//! Invariant: of a line of nobody or of another tenant nothing is written but its hash. A journal that is not in order is not
//! exported: what is wrong with it has to be known first.

use std::{
    fs::{self, OpenOptions},
    io::{self, BufWriter},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use aws_lc_rs::digest::{SHA256, digest};
use serde::Deserialize;

use super::{
    Key, Report,
    files::each_line,
    line::{Kind, Line},
    verify,
};
use crate::pki::hex::Hex;

/// Writes the part of `tenant` into a new file. Returns what was verified before, and how many of the tenant's lines there are;
/// where something was changed nothing is written.
pub fn export(files: &[PathBuf], key: Option<Key>, tenant: &str, out: &Path) -> io::Result<(Report, u64)> {
    let report = verify(files, key)?;
    if !report.is_in_order() {
        return Ok((report, 0));
    }
    let named = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", out.display()));
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(out).map_err(named)?;
    let mut into = BufWriter::new(file);
    let written = write(files, tenant, &mut into).and_then(|count| {
        into.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
        Ok(count)
    });
    match written {
        Ok(count) => Ok((report, count)),
        Err(error) => {
            // It was just made.
            let _ = fs::remove_file(out);
            Err(named(error))
        }
    }
}

fn write(files: &[PathBuf], tenant: &str, into: &mut impl io::Write) -> io::Result<u64> {
    writeln!(into, "{{\"export\":1,\"tenant\":{}}}", serde_json::Value::from(tenant))?;
    let mut count = 0;
    each_line(files, |_, text, is_whole| {
        if !is_whole {
            return Ok(());
        }
        match part(text, tenant) {
            Part::Others => return writeln!(into, "{{\"hidden\":\"{}\"}}", Hex(digest(&SHA256, text).as_ref())),
            Part::Tenants => count += 1,
            Part::Everybodys => {}
        }
        into.write_all(text)?;
        into.write_all(b"\n")
    })?;
    Ok(count)
}

enum Part {
    Tenants,
    Everybodys,
    Others,
}

#[derive(Deserialize)]
struct Members {
    tenant: Option<String>,
}

fn part(text: &[u8], tenant: &str) -> Part {
    let kind = match Line::read(text) {
        Some(Line::Shown(shown)) => shown.kind(text),
        _ => None,
    };
    match kind {
        Some(Kind::File { .. } | Kind::Head { .. } | Kind::Lost) => Part::Everybodys,
        Some(Kind::Entry) => match serde_json::from_slice(text) {
            Ok(Members { tenant: Some(of) }) if of == tenant => Part::Tenants,
            _ => Part::Others,
        },
        _ => Part::Others,
    }
}
