//! A line of a list of what was issued: text or CSV, as people, databases and `certutil -view … csv` write it.
//!
//! Purpose: says which certificate a line is about. A bare list has a serial number on each line; a heading names columns
//! ([`Column`]), in any order and among others. Invariant: a line that does not say of whom it speaks lists nobody, and one
//! that says anything of a revocation lists nobody as *good*. It does not know whether a serial comes twice.
//!
//! Such lists are written by hand and by scripts, so one bad line does not refuse the others: its certificate is not
//! listed, which is the stricter thing to say. A file that is something else altogether is refused at its first line.
//!
//! | column | content |
//! |---|---|
//! | serial | hexadecimal (`0A1B`, `0x0a1b`, `0a:1b`) or decimal |
//! | not_after | the end of validity, RFC 3339, as in the certificate, or seconds since 1970 |
//! | status | `good`, `valid`, `issued`, `active`, `expired`; `revoked`; `hold`, `suspended`; or as AD CS has it, `21 -- Revoked` |
//! | revoked_at | when; what stands there revokes |
//! | reason | by name or code |
//! | certificate_sha256 | the hash of the certificate, in hexadecimal: read by [`Lines::detail`] alone |

use super::{
    REVOCATION_TIME_MAX,
    index::Field,
    listing::{Detail, Line, Listed, Odd},
};
use crate::pki::{
    Reason, Record, Serial, Status, UnixTime, hex,
    written::{self, Radix},
};

/// What a column has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Column {
    Serial(Option<Radix>),
    NotAfter,
    Status,
    RevokedAt,
    Reason,
    Sha256,
    /// Nothing that matters here.
    Other,
}

/// The names of the columns, without what is no letter or digit. Those of AD CS are in the languages of its administrators.
const COLUMNS: &[(Column, &[&str])] = &[
    (
        Column::Serial(None),
        &[
            "serial",
            "serialnumber",
            "seriennummer",
            "numérodesérie",
            "númerodeserie",
            "numerodiserie",
            "certserialnumber",
            // The heading of `vault list`.
            "keys",
        ],
    ),
    (Column::Serial(Some(Radix::Decimal)), &["serialdecimal", "serialnumberdecimal", "serialdec"]),
    (Column::Serial(Some(Radix::Hexadecimal)), &["serialhex", "serialnumberhex", "serialhexadecimal"]),
    (
        Column::NotAfter,
        &[
            "notafter",
            "expiredate",
            "expirydate",
            "expires",
            "expiry",
            "validto",
            "certificateexpirationdate",
            "expirationdate",
            "ablaufdatumdeszertifikats",
        ],
    ),
    (Column::Status, &["status", "disposition", "requestdisposition", "anforderungsdisposition"]),
    (
        Column::RevokedAt,
        &[
            "revokedat",
            "revocationdate",
            "revocationtime",
            "revokedwhen",
            "requestrevokedwhen",
            "effectiverevocationdate",
            "requestrevokedeffectivewhen",
            "revokedeffectivewhen",
            "time",
        ],
    ),
    (Column::Reason, &["reason", "revocationreason", "requestrevokedreason", "revokedreason"]),
    (
        Column::Sha256,
        &[
            "certificatesha256",
            "sha256",
            "sha256fingerprint",
            "fingerprintsha256",
            "sha256thumbprint",
            "thumbprintsha256",
        ],
    ),
];

impl Column {
    fn of_name(name: &str) -> Option<Self> {
        let plain: String =
            name.chars().filter(|letter| letter.is_alphanumeric()).flat_map(char::to_lowercase).collect();
        COLUMNS.iter().find(|(_, names)| names.contains(&plain.as_str())).map(|(column, _)| *column)
    }

    /// By a field behind a serial number, where no heading says what it is.
    fn of_value(field: &str) -> Option<Self> {
        // A shorter number may be a part of the serial number, written with spaces.
        const TIME_MIN: usize = 9;
        const SHA256_DIGITS: usize = 64;
        if field.is_empty() {
            Some(Self::Other)
        } else if field.len() == SHA256_DIGITS && field.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            Some(Self::Sha256)
        } else if field.len() >= TIME_MIN && written::time(field).is_ok() {
            Some(Self::NotAfter)
        } else if !matches!(standing(field), Standing::Unknown) {
            Some(Self::Status)
        } else {
            None
        }
    }
}

/// What the lines so far have said of the next.
#[derive(Clone, Debug)]
pub(super) struct Lines {
    radix: Radix,
    /// What the fields are, once a line was read that is no comment.
    columns: Option<Vec<Column>>,
    /// Of the serial numbers so far: how many, their digits together, and whether one of them has a letter.
    serials: u64,
    digits: u64,
    has_letter: bool,
}

/// Fewer serial numbers without a letter, or shorter ones, may well be hexadecimal.
const SERIALS_MIN: u64 = 4;
const DIGITS_MIN: u64 = 12;

/// What a line says, by column.
#[derive(Default)]
struct Said<'l> {
    serial: &'l str,
    radix: Option<Radix>,
    not_after: &'l str,
    status: &'l str,
    revoked_at: &'l str,
    reason: &'l str,
}

impl Lines {
    pub(super) fn new(radix: Radix) -> Self {
        Self { radix, columns: None, serials: 0, digits: 0, has_letter: false }
    }

    /// What looks unintended about the lines so far.
    pub(super) fn doubt(&self) -> Option<&'static str> {
        let is_long = self.serials >= SERIALS_MIN && self.digits / self.serials >= DIGITS_MIN;
        (self.radix == Radix::Hexadecimal && is_long && !self.has_letter).then_some(
            "none of its serial numbers has a letter, so they look decimal, and are read as hexadecimal: if they are decimal, write `issued_serials = \"decimal\"`",
        )
    }

    pub(super) fn read(&mut self, line: &[u8], odd: &mut Odd) -> Result<Line, String> {
        if self.columns.is_none() {
            is_list(line)?;
        }
        let Ok(text) = str::from_utf8(line) else {
            odd.get_or_insert_with(|| "is not UTF-8: its certificate is not listed".to_owned());
            return Ok(Line::PassedOver);
        };
        let text = text.trim();
        if text.is_empty() || text.starts_with('#') || is_frame(text) {
            return Ok(Line::Comment);
        }
        let fields = fields(text);
        let Some(columns) = &self.columns else {
            let named: Vec<_> = fields.iter().map(|field| Column::of_name(field)).collect();
            if named.iter().any(|column| matches!(column, Some(Column::Serial(_)))) {
                self.columns = Some(named.into_iter().map(|column| column.unwrap_or(Column::Other)).collect());
                return Ok(Line::Comment);
            }
            return self.first(text, &fields, odd);
        };
        if let Some(problem) = misfit(columns, &fields) {
            odd.get_or_insert_with(|| format!("{problem}: its certificate is not listed"));
            return Ok(Line::PassedOver);
        }
        let said = Said::of(columns, &fields);
        let (serial, line) = (said.serial, line_of(&said, self.radix, odd));
        if matches!(line, Line::Listed(_)) {
            self.serials += 1;
            self.digits += serial.len() as u64;
            self.has_letter |= serial.bytes().any(|digit| !digit.is_ascii_digit());
        }
        Ok(line)
    }

    /// Whether a column speaks of revocations.
    pub(super) fn has_statuses(&self) -> bool {
        self.columns.iter().flatten().any(speaks_of_revocation)
    }

    /// What a line that was read says beside its record.
    pub(super) fn detail(&self, line: &[u8]) -> Detail {
        let (Some(columns), Ok(text)) = (&self.columns, str::from_utf8(line)) else { return Detail::default() };
        let Some(place) = columns.iter().position(|column| *column == Column::Sha256) else { return Detail::default() };
        Detail { sha256: fields(text.trim()).get(place).and_then(|field| sha256(field)), invalid_since: None }
    }

    /// The first line, if it is no heading. It shows whether this is a list at all.
    fn first(&mut self, text: &str, fields: &[String], odd: &mut Odd) -> Result<Line, String> {
        let mut columns = vec![Column::Serial(None)];
        if !is_number(&fields[0]) {
            return Err(format!(
                "begins with `{}`: expected a serial number on each line, or a heading with a column `serial`",
                Field(text.as_bytes())
            ));
        }
        for field in &fields[1..] {
            columns.push(Column::of_value(field).ok_or_else(|| {
                format!(
                    "has the field `{}`, and nothing says what it means: expected a serial number on each line, with the \
                     end of validity behind it at most, or a heading with a column `serial`",
                    Field(field.as_bytes())
                )
            })?);
        }
        let line = line_of(&Said::of(&columns, fields), self.radix, odd);
        self.columns = Some(columns);
        Ok(line)
    }
}

/// A hash in hexadecimal, with or without colons.
fn sha256(text: &str) -> Option<[u8; 32]> {
    hex::array(&text.trim().replace(':', ""))
}

fn speaks_of_revocation(column: &Column) -> bool {
    matches!(column, Column::Status | Column::RevokedAt)
}

/// Why a line with these fields cannot be read by these columns. A field too many may have moved the others, and one that
/// is missing may have said that the certificate is revoked.
fn misfit(columns: &[Column], fields: &[String]) -> Option<&'static str> {
    let given = fields.iter().rposition(|field| !field.is_empty()).map_or(0, |last| last + 1);
    if given > columns.len() {
        Some("has more fields than the first line")
    } else if columns.get(fields.len()..).is_some_and(|missing| missing.iter().any(speaks_of_revocation)) {
        Some("has fewer fields than the first line")
    } else {
        None
    }
}

/// Whether it is no more than what programs put around a list: JSON, as `vault list -format=json` writes it, and a line
/// under a heading.
fn is_frame(text: &str) -> bool {
    matches!(text, "[" | "]") || text.bytes().all(|octet| octet == b'-')
}

/// Whether it is a number, though none that a certificate can have.
fn is_number(text: &str) -> bool {
    let text = text.strip_prefix("serial=").unwrap_or(text);
    let digits = text.trim_start_matches(['-', '0', 'x', 'X']);
    !text.is_empty() && digits.bytes().all(|digit| digit.is_ascii_hexdigit() || digit == b':')
}

/// Refuses what is no list by how it begins.
fn is_list(line: &[u8]) -> Result<(), String> {
    const INDEX_FIELDS: usize = 6;
    let what = if line.starts_with(b"-----BEGIN ") {
        "is PEM, which is no list: expected a serial number on each line; certificates may be given as a directory of files"
    } else if line.contains(&0) {
        "is no text: expected a list of serial numbers, UTF-8 or UTF-16 with its byte order mark"
    } else if line.trim_ascii_start().starts_with(b"<") {
        "begins like HTML or XML: expected a list of serial numbers"
    } else if line.split(|octet| *octet == b'\t').count() == INDEX_FIELDS
        && matches!(line, [b'V' | b'R' | b'E' | b'S', b'\t', ..])
    {
        "is the database of an `openssl ca`: name the file as `index`"
    } else {
        return Ok(());
    };
    Err(what.to_owned())
}

impl<'l> Said<'l> {
    fn of(columns: &[Column], fields: &'l [String]) -> Self {
        let mut said = Self::default();
        for (column, field) in columns.iter().zip(fields) {
            match column {
                Column::Serial(radix) => (said.serial, said.radix) = (field, *radix),
                Column::NotAfter => said.not_after = field,
                Column::Status => said.status = field,
                // The first that says something.
                Column::RevokedAt if said.revoked_at.is_empty() => said.revoked_at = field,
                Column::Reason => said.reason = field,
                Column::RevokedAt | Column::Sha256 | Column::Other => {}
            }
        }
        for field in [&mut said.revoked_at, &mut said.not_after] {
            // As AD CS and databases write that there is none.
            if field.eq_ignore_ascii_case("empty") || field.eq_ignore_ascii_case("null") || *field == "-1" {
                *field = "";
            }
        }
        said
    }
}

/// What a row of a database with these columns lists: serial number, status, revoked_at, reason, not_after, each empty where
/// there is none. `odd`: what was taken differently from how it stands there.
pub fn listed_by(columns: [&str; 5], radix: Radix, odd: &mut Option<String>) -> Option<Listed> {
    let [serial, status, revoked_at, reason, not_after] = columns;
    match line_of(&Said { serial, radix: None, not_after, status, revoked_at, reason }, radix, odd) {
        Line::Listed(listed) => Some(listed),
        Line::Comment | Line::PassedOver => None,
    }
}

/// How a certificate stands by its status column.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Standing {
    Good,
    Revoked,
    Held,
    /// There is no certificate: a request that waits, was denied or has failed.
    None,
    Unknown,
}

fn standing(text: &str) -> Standing {
    // `20 -- Issued`, in whatever language: the dispositions of AD CS ([MS-WCCE] section 3.2.1.1.1).
    if let Some((number, _)) = text.split_once("--") {
        return match number.trim() {
            "12" | "20" => Standing::Good,
            "21" => Standing::Revoked,
            "8" | "9" | "15" | "16" | "17" | "30" | "31" => Standing::None,
            _ => Standing::Unknown,
        };
    }
    match text.to_ascii_lowercase().replace([' ', '_', '-'], "").as_str() {
        "" | "good" | "valid" | "issued" | "active" | "v" | "expired" | "e" | "ok" => Standing::Good,
        "revoked" | "r" => Standing::Revoked,
        "hold" | "held" | "onhold" | "suspended" | "certificatehold" | "s" => Standing::Held,
        "pending" | "denied" | "failed" | "error" => Standing::None,
        _ => Standing::Unknown,
    }
}

/// What a line with these fields lists.
fn line_of(said: &Said<'_>, radix: Radix, odd: &mut Odd) -> Line {
    let standing = standing(said.status);
    if standing == Standing::None {
        return Line::Comment;
    }
    // A row of a database without a certificate.
    if said.serial.is_empty() && said.revoked_at.is_empty() && standing != Standing::Revoked {
        return Line::Comment;
    }
    let Some(serial) = serial(said.serial, said.radix.unwrap_or(radix), odd) else { return Line::PassedOver };
    let status = status(said, standing, odd);
    Line::Listed(Listed { serial, record: Record { status, not_after: not_after(said.not_after, odd) } })
}

fn serial(text: &str, radix: Radix, odd: &mut Odd) -> Option<Serial> {
    let read = written::serial(text, radix);
    if let Err(what) = &read {
        odd.get_or_insert_with(|| format!("has as serial number {what}; its certificate is not listed"));
    }
    read.ok()
}

fn not_after(text: &str, odd: &mut Odd) -> Option<UnixTime> {
    if text.is_empty() {
        return None;
    }
    let read = written::time(text);
    if let Err(what) = &read {
        odd.get_or_insert_with(|| format!("has as end of validity {what}; taken as without an end"));
    }
    read.ok()
}

fn status(said: &Said<'_>, standing: Standing, odd: &mut Odd) -> Status {
    let is_revoked = !said.revoked_at.is_empty();
    if standing == Standing::Good && !is_revoked {
        return Status::Good;
    }
    if standing == Standing::Unknown {
        odd.get_or_insert_with(|| {
            format!(
                "has the status `{}`: expected good, revoked or hold; taken as on hold",
                Field(said.status.as_bytes())
            )
        });
    }
    let time = match said.revoked_at {
        "" => {
            odd.get_or_insert_with(|| "does not say when it was revoked: taken as revoked since 1970".to_owned());
            UnixTime(0)
        }
        text => written::time(text).unwrap_or_else(|what| {
            odd.get_or_insert_with(|| format!("was revoked at {what}; taken as revoked since 1970"));
            UnixTime(0)
        }),
    };
    let reason = match (standing, said.reason) {
        // A status that is not known holds until somebody says what it means.
        (Standing::Held | Standing::Unknown, _) => Reason::CertificateHold,
        // Both, which is no final word.
        (Standing::Good, "") if !said.status.is_empty() => {
            odd.get_or_insert_with(|| "is good, and says when it was revoked: taken as on hold".to_owned());
            Reason::CertificateHold
        }
        (_, "") => Reason::Unspecified,
        (_, text) => written::reason(text.split(" --").next().unwrap_or_default().trim()).unwrap_or_else(|what| {
            odd.get_or_insert_with(|| format!("is revoked with the reason {what}; taken as unspecified"));
            Reason::Unspecified
        }),
    };
    Status::Revoked { time: time.min(REVOCATION_TIME_MAX), reason }
}

/// The fields of a line: parted by the first of tabs, semicolons and commas that it has outside quotation marks, else by
/// spaces.
fn fields(text: &str) -> Vec<String> {
    let separator = ['\t', ';', ','].into_iter().find(|separator| has_outside_quotes(text, *separator)).unwrap_or(' ');
    let mut fields = vec![String::new()];
    let (mut quoted, mut letters) = (false, text.chars().peekable());
    while let Some(letter) = letters.next() {
        let field = fields.last_mut().expect("there is one");
        match letter {
            // Twice within quotation marks means one.
            '"' if quoted && letters.peek() == Some(&'"') => field.extend(letters.next()),
            '"' => quoted = !quoted,
            letter if letter == separator && !quoted => {
                if separator != ' ' || !field.is_empty() {
                    fields.push(String::new());
                }
            }
            letter => field.push(letter),
        }
    }
    fields.into_iter().map(|field| field.trim().to_owned()).collect()
}

fn has_outside_quotes(text: &str, separator: char) -> bool {
    let mut quoted = false;
    text.chars().any(|letter| {
        quoted ^= letter == '"';
        !quoted && letter == separator
    })
}

#[cfg(test)]
mod tests;
