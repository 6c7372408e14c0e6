//! Looking a certificate up.

use maud::{Markup, html};

use super::{
    super::{
        page::{Page, Place, Reader, badge, cell, form_field, heads},
        view::{AnsweredOtherwise, IssuerName, Record},
    },
    certificate::status,
};

/// The form. `trouble`: what was wrong with what was asked before.
pub(in super::super) fn look_up(reader: &Reader, trouble: Option<&str>) -> Markup {
    let content = html! {
        h1 { "Look up a certificate" }
        @if let Some(trouble) = trouble { p.trouble role="alert" { (trouble) } }
        section { (form(reader)) }
    };
    page(reader, content)
}

fn page(reader: &Reader, content: Markup) -> Markup {
    Page { title: "Look up", reader: Some(reader), here: Some(Place::LookUp), refresh: None }.with(content)
}

fn form(reader: &Reader) -> Markup {
    html! {
        form.fields method="post" action="/console/look-up" enctype="multipart/form-data" {
            (form_field(reader))
            div {
                label for="what" { "Serial number, or certificate in PEM" }
                textarea #what name="what" spellcheck="false" autocomplete="off" aria-describedby="what-hint" {}
                p.hint #what-hint {
                    "Such as " code { "0A1B" } ", " code { "0x0a1b" } " or " code { "0A:1B" } "; or the text from "
                    code { "-----BEGIN CERTIFICATE-----" } " on."
                }
            }
            label.choice { input type="checkbox" name="decimal" value="1"; "The serial number is in decimal" }
            div {
                label for="file" { "Or a file with the certificate, PEM or DER" }
                input #file type="file" name="file" accept=".pem,.crt,.cer,.der";
            }
            p.buttons { button type="submit" { "Look up" } }
        }
    }
}

/// What was found for a serial number.
pub(in super::super) struct Found<'f> {
    pub(in super::super) serial: &'f str,
    pub(in super::super) records: &'f [Record],
    /// What is answered where it is not listed, if that is not `unauthorized`.
    pub(in super::super) otherwise: &'f [AnsweredOtherwise],
    /// Issuers for which something can be done with it, where it is not listed.
    pub(in super::super) issuers: &'f [IssuerName],
    /// Whether digits that could be decimal were read as hexadecimal.
    pub(in super::super) hint: bool,
}

/// The path of the page of a certificate.
pub(in super::super) fn path_of(issuer: &IssuerName, serial: &str) -> String {
    format!("/console/certificates/{}/{serial}", issuer.id)
}

/// The page with what was found.
pub(in super::super) fn results(reader: &Reader, found: &Found<'_>) -> Markup {
    let content = html! {
        h1 { "Certificate " code { (found.serial) } }
        section {
            @if found.records.is_empty() {
                p { (badge("warn", "not listed")) " No source and no push has listed it, of any issuer that you may see." }
                @if found.hint { p { "It was read as hexadecimal. If it is in decimal, say so below." } }
                @for one in found.otherwise {
                    p {
                        (one.issuer.tenant) " / " (one.issuer.name) " answers " strong { (one.answered) }
                        @if let Some(why) = &one.answered_why { " (" (why) ")" }
                    }
                }
                @if !found.issuers.is_empty() {
                    h2 { "Add or revoke it all the same" }
                    ul { @for issuer in found.issuers {
                        li { a href=(path_of(issuer, found.serial)) { (issuer.tenant) " / " (issuer.name) } }
                    } }
                }
            } @else {
                table.cards role="table" {
                    (heads(&["Tenant", "Issuer", "Status", "Valid until", "Said by", ""]))
                    tbody role="rowgroup" {
                        @for record in found.records {
                            tr role="row" {
                                (cell("Tenant", &record.issuer.tenant))
                                (cell("Issuer", &record.issuer.name))
                                (cell("Status", status(record)))
                                (cell("Valid until", record.not_after.as_deref().unwrap_or("an unknown time")))
                                (cell("Said by", &record.origin))
                                (cell("", html! {
                                    a href=(path_of(&record.issuer, found.serial)) {
                                        "Open" span.soft { " " (record.issuer.name) }
                                    }
                                }))
                            }
                        }
                    }
                }
            }
        }
        section { h2 { "Look up another one" } (form(reader)) }
    };
    page(reader, content)
}
