//! Looking certificates up.

use axum::{
    extract::{Path, Request, State},
    http::StatusCode,
    response::Response,
};

use super::{
    Console,
    forms::Form,
    handlers::{It, not_found},
    pages::{CertificatePage, Deed, Found, Known, look_up as look_up_page, path_of, results},
    view::{IssuerName, ListedIssuer, ListedIssuers, Records, Refused},
    visit::{Visit, go_to, html, trouble},
};
use crate::{
    api::{certificate_of_text, problem::Kind},
    limits::console::ROWS_MAX,
    pki::{
        Certificate, Serial, pem,
        written::{self, Radix},
    },
    principals::Object,
};

/// Back to where one looks up.
pub(super) const BACK: (&str, &str) = ("/console/look-up", "Look up another one");

/// The form; with a serial number in the query, what is found.
pub(super) async fn show(State(console): It, request: Request) -> Result<Response, Response> {
    let visit = console.visit(&request)?;
    let form = Form::of_query(request.uri().query());
    let text = form.text("serial");
    if text.is_empty() {
        return Ok(html(StatusCode::OK, look_up_page(&visit.reader, None)));
    }
    match written::serial(&text, radix(&form)) {
        Ok(serial) => find(&console, &visit, &serial, form.is_set("hint")).await,
        Err(what) => Ok(again(&visit, &format!("The serial number is {what}."))),
    }
}

fn radix(form: &Form) -> Radix {
    if form.is_set("decimal") { Radix::Decimal } else { Radix::Hexadecimal }
}

fn again(visit: &Visit, trouble: &str) -> Response {
    html(StatusCode::BAD_REQUEST, look_up_page(&visit.reader, Some(trouble)))
}

/// What somebody has typed in, pasted or chosen: leads to what is found.
pub(super) async fn look_up(State(console): It, request: Request) -> Result<Response, Response> {
    let (visit, form) = console.form(request).await?;
    let (text, file) = (form.text("what"), form.octets("file"));
    let certificate = if !file.is_empty() {
        if pem::is_der(file) {
            Certificate::from_der(file).map_err(|fault| format!("The file holds no certificate: {fault}."))
        } else {
            certificate_of_text(&String::from_utf8_lossy(file)).map_err(|fault| format!("The file {fault}."))
        }
    } else if text.contains("-----BEGIN") {
        certificate_of_text(&text).map_err(|fault| format!("What was pasted {fault}."))
    } else if text.is_empty() {
        Err("Give a serial number, or a certificate.".to_owned())
    } else {
        return Ok(match written::serial(&text, radix(&form)) {
            Ok(serial) => {
                let could_be_decimal = !form.is_set("decimal") && text.bytes().all(|digit| digit.is_ascii_digit());
                let hint = if could_be_decimal { "&hint=1" } else { "" };
                go_to(&format!("/console/look-up?serial={serial}{hint}"))
            }
            Err(what) => again(&visit, &format!("The serial number is {what}.")),
        });
    };
    match certificate {
        Ok(certificate) => of_certificate(&console, &visit, &certificate).await,
        Err(fault) => Ok(again(&visit, &fault)),
    }
}

/// A certificate is looked up for those issuers alone that have signed it.
async fn of_certificate(console: &Console, visit: &Visit, certificate: &Certificate) -> Result<Response, Response> {
    let Some(serial) = certificate.serial() else {
        let what = "Its serial number is 0, negative or longer than 20 bytes: no client can ask for it.";
        return Ok(again(visit, what));
    };
    let issuers = issuers(console, visit).await?;
    let mut signers = issuers.iter().filter(|issuer| has_signed(issuer, certificate));
    Ok(match (signers.next(), signers.next()) {
        (Some(one), None) => go_to(&path_of(&one.name, &serial.to_string())),
        (Some(_), Some(_)) => go_to(&format!("/console/look-up?serial={serial}")),
        (None, _) => {
            let by = certificate.issuer();
            again(visit, &format!("No issuer that you may see has signed it. It names {by} as its issuer."))
        }
    })
}

fn has_signed(issuer: &ListedIssuer, certificate: &Certificate) -> bool {
    let ca = issuer.certificate.as_deref().and_then(|text| certificate_of_text(text).ok());
    ca.is_some_and(|ca| certificate.verify_issued_by(&ca).is_ok())
}

async fn issuers(console: &Console, visit: &Visit) -> Result<Vec<ListedIssuer>, Response> {
    let listed: Result<ListedIssuers, _> = console.client.get(&visit.whose, "/v1/issuers").await;
    listed.map(|listed| listed.issuers).map_err(|refused| trouble(Some(&visit.reader), &refused, BACK))
}

/// What is known of a serial number, of every issuer.
async fn find(console: &Console, visit: &Visit, serial: &Serial, hint: bool) -> Result<Response, Response> {
    let asked: Result<Records, Refused> = console.client.get(&visit.whose, &format!("/v1/certificates/{serial}")).await;
    let (records, otherwise) = match asked {
        Ok(found) => (found.certificates, Vec::new()),
        Err(refused) if refused.is(Kind::NotListed) => (Vec::new(), refused.answered),
        Err(refused) => return Err(trouble(Some(&visit.reader), &refused, BACK)),
    };
    let mut able = Vec::new();
    if records.is_empty() {
        let may = |issuer: &IssuerName| deeds_of(visit, issuer, &Known::Unlisted(None)).next().is_some();
        able =
            issuers(console, visit).await?.into_iter().map(|issuer| issuer.name).filter(may).take(ROWS_MAX).collect();
    }
    let serial = serial.to_string();
    let found = Found { serial: &serial, records: &records, otherwise: &otherwise, issuers: &able, hint };
    Ok(html(StatusCode::OK, results(&visit.reader, &found)))
}

/// What may be done to a certificate now by this reader.
pub(super) fn deeds_of<'v>(
    visit: &'v Visit,
    issuer: &'v IssuerName,
    known: &'v Known,
) -> impl Iterator<Item = Deed> + 'v {
    let may = |deed: &Deed| visit.principal().may(deed.action(), Object::Tenant(&issuer.tenant));
    Deed::ALL.into_iter().filter(move |deed| deed.is_offered(known.record()) && may(deed))
}

/// A certificate of an issuer, as the path of a page names it.
pub(super) struct Named {
    pub(super) issuer: IssuerName,
    pub(super) serial: String,
    pub(super) known: Known,
}

/// What is known of the certificate that a path names.
pub(super) async fn named(console: &Console, visit: &Visit, issuer: &str, serial: &str) -> Result<Named, Response> {
    let is_id = issuer.len() == 64 && issuer.bytes().all(|digit| digit.is_ascii_hexdigit());
    let (true, Ok(serial)) = (is_id, written::serial(serial, Radix::Hexadecimal)) else { return Err(not_found(visit)) };
    let path = format!("/v1/issuers/{issuer}/certificates/{serial}");
    let asked: Result<super::view::Record, Refused> = console.client.get(&visit.whose, &path).await;
    let serial = serial.to_string();
    match asked {
        Ok(record) => Ok(Named { issuer: record.issuer.clone(), serial, known: Known::Listed(Box::new(record)) }),
        Err(Refused { issuer: Some(issuer), answered, kind, .. }) if is(&kind, Kind::NotListed) => {
            Ok(Named { issuer, serial, known: Known::Unlisted(answered.into_iter().next()) })
        }
        Err(refused) => Err(trouble(Some(&visit.reader), &refused, BACK)),
    }
}

fn is(kind: &str, expected: Kind) -> bool {
    Kind::of_type(kind) == Some(expected)
}

impl Refused {
    fn is(&self, kind: Kind) -> bool {
        is(&self.kind, kind)
    }
}

/// The page of a certificate.
pub(super) async fn certificate(
    State(console): It,
    Path((issuer, serial)): Path<(String, String)>,
    request: Request,
) -> Result<Response, Response> {
    let visit = console.visit(&request)?;
    let Named { issuer, serial, known } = named(&console, &visit, &issuer, &serial).await?;
    let deeds: Vec<_> = deeds_of(&visit, &issuer, &known).collect();
    let done = super::deeds::done(&Form::of_query(request.uri().query()).text("done"));
    let page = CertificatePage { issuer: &issuer, serial: &serial, known: &known, deeds: &deeds, done };
    Ok(html(StatusCode::OK, page.page(&visit.reader)))
}
