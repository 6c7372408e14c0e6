//! What is known of one certificate, and what can be done to it.

use maud::{Markup, html};

use super::{
    super::{
        page::{Page, Place, Reader, badge, cell, heads},
        view::{AnsweredOtherwise, IssuerName, KeptAnswer, Record},
    },
    deed::Deed,
};

/// What is known.
#[derive(Clone, Debug)]
pub(in super::super) enum Known {
    /// This.
    Listed(Box<Record>),
    /// Nothing; and what is answered, if that is not `unauthorized`.
    Unlisted(Option<AnsweredOtherwise>),
}

impl Known {
    /// The record, if there is one.
    pub(in super::super) fn record(&self) -> Option<&Record> {
        match self {
            Self::Listed(record) => Some(record),
            Self::Unlisted(_) => None,
        }
    }
}

/// The page of a certificate.
pub(in super::super) struct CertificatePage<'c> {
    pub(in super::super) issuer: &'c IssuerName,
    pub(in super::super) serial: &'c str,
    pub(in super::super) known: &'c Known,
    /// What this reader may do to it now.
    pub(in super::super) deeds: &'c [Deed],
    /// What has just been done.
    pub(in super::super) done: Option<&'c str>,
}

/// A status with its reason.
pub(in super::super) fn status(record: &Record) -> Markup {
    match (record.status.as_str(), record.is_held() && record.ca_revoked_since.is_none()) {
        (word, true) => html! { (badge("warn", word)) " on hold" },
        ("good", _) => badge("good", "good"),
        (word, _) => html! { (badge("bad", word)) " " (record.reason.as_deref().unwrap_or("")) },
    }
}

impl CertificatePage<'_> {
    /// The page.
    pub(in super::super) fn page(&self, reader: &Reader) -> Markup {
        let Self { issuer, serial, known, deeds, done } = self;
        let content = html! {
            h1 { "Certificate " code { (serial) } }
            @if let Some(done) = done { p.done role="status" { (done) } }
            section {
                dl.facts {
                    dt { "Issuer" } dd { (issuer.tenant) " / " (issuer.name) " " span.soft { code { (short(&issuer.id)) } } }
                    dt { "Serial number" } dd { code { (serial) } }
                    @match known {
                        Known::Listed(record) => { (facts(record)) }
                        Known::Unlisted(answered) => {
                            dt { "Status" } dd { (badge("warn", "not listed")) " No source and no push has listed it." }
                            dt { "A client is told" }
                            @match answered {
                                Some(one) => { dd { (told(&one.answered, one.answered_why.as_deref())) } }
                                None => { dd { (told("unauthorized", None)) } }
                            }
                        }
                    }
                }
            }
            @if let Some(answers) = known.record().and_then(|record| record.answers.as_deref()) { (kept(answers)) }
            @if !deeds.is_empty() {
                p.buttons {
                    @for deed in *deeds {
                        @let class = if *deed == Deed::Revoke { "button danger" } else { "button" };
                        a class=(class) href={ "/console/certificates/" (issuer.id) "/" (serial) "/" (deed.name()) } {
                            (deed.title())
                        }
                    }
                }
            } @else if known.record().is_some_and(Record::is_final) {
                p.soft { "It is revoked for good: nothing can take that back." }
            }
        };
        Page { title: serial, reader: Some(reader), here: Some(Place::LookUp), refresh: None }.with(content)
    }
}

fn facts(record: &Record) -> Markup {
    let (own, own_reason, own_since) = record.own();
    html! {
        dt { "Status" } dd { (status(record)) }
        @if let Some(since) = &record.revoked_since { dt { "Since" } dd { (since) } }
        @if let Some(since) = &record.ca_revoked_since {
            dt { "Its CA" }
            dd {
                "is revoked since " (since) "; by itself the certificate is " (own)
                @if let Some(reason) = own_reason { " (" (reason) ")" }
                @if let Some(since) = own_since { " since " (since) }
            }
        }
        dt { "Valid until" } dd { (record.not_after.as_deref().unwrap_or("an unknown time")) }
        dt { "Said by" } dd { (record.origin) }
        @if let Some(answered) = &record.answered {
            dt { "A client is told" } dd { (told(answered, record.answered_why.as_deref())) }
        }
    }
}

/// The answers that are kept for clients.
fn kept(answers: &[KeptAnswer]) -> Markup {
    html! {
        section {
            h2 { "Kept answers" }
            @if answers.is_empty() { p { "None: one is signed when a client asks." } } @else {
                table.cards role="table" {
                    (heads(&["Status", "Hashes", "Signed by", "From", "Until", "Given out"]))
                    tbody role="rowgroup" {
                        @for one in answers {
                            tr role="row" {
                                (cell("Status", one.status.as_deref().unwrap_or("unknown")))
                                (cell("Hashes", one.hashes.join(", ")))
                                (cell("Signed by", html! { code { (one.signer_serial.as_deref().unwrap_or("the CA")) } }))
                                (cell("From", &one.this_update))
                                (cell("Until", &one.next_update))
                                (cell("Given out", if one.is_served { badge("good", "yes") } else { badge("warn", "no") }))
                            }
                        }
                    }
                }
            }
        }
    }
}

fn told(answered: &str, why: Option<&str>) -> Markup {
    let class = match answered {
        "good" => "good",
        "revoked" => "bad",
        _ => "warn",
    };
    html! { (badge(class, answered)) @if let Some(why) = why { " " (why) } }
}

/// The first digits, as an id is shown.
fn short(id: &str) -> &str {
    id.get(..8).unwrap_or(id)
}
