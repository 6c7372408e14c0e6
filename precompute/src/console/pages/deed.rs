//! Doing something to a certificate: a page that asks, and one that shows what will happen and asks again.

use maud::{Markup, html};

use super::{
    super::{
        page::{Page, Place, Reader, form_field},
        view::{IssuerName, Record},
    },
    certificate::Known,
    look_up::path_of,
};
use crate::{api::Verb, pki::Reason, principals::Action};

/// What can be done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in super::super) enum Deed {
    /// It was issued.
    Add,
    /// It is revoked, for good.
    Revoke,
    /// It is put on hold.
    Hold,
    /// Its hold ends.
    Release,
}

impl Deed {
    pub(in super::super) const ALL: [Self; 4] = [Self::Add, Self::Revoke, Self::Hold, Self::Release];

    /// The last segment of its path.
    pub(in super::super) const fn name(self) -> &'static str {
        match self {
            Self::Add => "add",
            Self::Revoke => "revoke",
            Self::Hold => "hold",
            Self::Release => "release",
        }
    }

    pub(in super::super) fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|deed| deed.name() == name)
    }

    /// On buttons.
    pub(in super::super) const fn title(self) -> &'static str {
        match self {
            Self::Add => "Add",
            Self::Revoke => "Revoke",
            Self::Hold => "Put on hold",
            Self::Release => "Release from hold",
        }
    }

    /// What it is for the API.
    pub(in super::super) const fn verb(self) -> Verb {
        match self {
            Self::Add => Verb::Add,
            Self::Revoke | Self::Hold => Verb::Revoke,
            Self::Release => Verb::Release,
        }
    }

    /// The right that it needs.
    pub(in super::super) const fn action(self) -> Action {
        match self {
            Self::Add => Action::Add,
            Self::Revoke | Self::Hold => Action::Revoke,
            Self::Release => Action::Release,
        }
    }

    /// Whether it is worth offering. What is done all the same is decided by who does it.
    pub(in super::super) fn is_offered(self, record: Option<&Record>) -> bool {
        match (self, record) {
            (Self::Add, record) => record.is_none(),
            (Self::Revoke, record) => record.is_none_or(|record| !record.is_final()),
            (Self::Hold, record) => record.is_some_and(|record| !record.is_final() && !record.is_held()),
            (Self::Release, record) => record.is_some_and(Record::is_held),
        }
    }
}

/// What somebody has filled in.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(in super::super) struct Asked {
    /// Of a revocation.
    pub(in super::super) reason: String,
    /// Of a revocation: since when; empty for now.
    pub(in super::super) time: String,
    /// Of what was issued: when it ends; empty if that is not known.
    pub(in super::super) not_after: String,
    /// Although nobody lists it.
    pub(in super::super) even_unlisted: bool,
}

/// What is to be done to which certificate.
#[derive(Clone, Copy)]
pub(in super::super) struct DeedPage<'d> {
    pub(in super::super) deed: Deed,
    pub(in super::super) issuer: &'d IssuerName,
    pub(in super::super) serial: &'d str,
    pub(in super::super) known: &'d Known,
    pub(in super::super) asked: &'d Asked,
}

/// The reasons, with what they mean; the one that is right where no other is comes first.
const REASONS: [(Reason, &str); 8] = [
    (Reason::Unspecified, "no reason is given"),
    (Reason::KeyCompromise, "somebody else has, or may have, its private key"),
    (Reason::CaCompromise, "somebody else has, or may have, the CA's private key"),
    (Reason::AffiliationChanged, "a name or another statement in it is no longer right"),
    (Reason::Superseded, "another one has taken its place"),
    (Reason::CessationOfOperation, "it is no longer needed"),
    (Reason::PrivilegeWithdrawn, "its holder has lost the right to it"),
    (Reason::AaCompromise, "the attribute authority is compromised"),
];

impl DeedPage<'_> {
    fn path(&self) -> String {
        format!("{}/{}", path_of(self.issuer, self.serial), self.deed.name())
    }

    fn title(&self) -> String {
        format!("{} {}", self.deed.title(), self.serial)
    }

    fn page(&self, reader: &Reader, content: Markup) -> Markup {
        Page { title: &self.title(), reader: Some(reader), here: Some(Place::LookUp), refresh: None }.with(content)
    }

    fn cancel(&self) -> Markup {
        html! { a.button.quiet href=(path_of(self.issuer, self.serial)) { "Cancel" } }
    }

    /// The page that asks. `trouble`: what was wrong with what was filled in.
    pub(in super::super) fn ask(&self, reader: &Reader, trouble: Option<&str>) -> Markup {
        let content = html! {
            h1 { (self.deed.title()) " " code { (self.serial) } }
            p.soft { (self.issuer.tenant) " / " (self.issuer.name) }
            @if let Some(trouble) = trouble { p.trouble role="alert" { (trouble) } }
            section {
                form.fields method="post" action={ (self.path()) "/confirm" } {
                    (form_field(reader))
                    @match self.deed {
                        Deed::Add => { (time_field("not_after", "Valid until", &self.asked.not_after, "Leave it empty if it is not known: then it never counts as expired.")) }
                        Deed::Revoke => {
                            (self.reasons())
                            (time_field("time", "Revoked since", &self.asked.time, "Leave it empty for now."))
                            @if self.known.record().is_none() { (self.even_unlisted()) }
                        }
                        Deed::Hold => { (time_field("time", "On hold since", &self.asked.time, "Leave it empty for now.")) }
                        Deed::Release => { p { "Its hold ends. There is nothing to fill in." } }
                    }
                    p.buttons { button type="submit" { "Continue" } (self.cancel()) }
                }
            }
        };
        self.page(reader, content)
    }

    fn reasons(&self) -> Markup {
        let chosen = if self.asked.reason.is_empty() { Reason::Unspecified.name() } else { &self.asked.reason };
        html! {
            fieldset {
                legend { "Reason" }
                @for (reason, meaning) in REASONS {
                    label.choice {
                        input type="radio" name="reason" value=(reason.name()) checked[reason.name() == chosen];
                        span { (reason.name()) span.soft { ": " (meaning) } }
                    }
                }
            }
        }
    }

    fn even_unlisted(&self) -> Markup {
        html! {
            div {
                label.choice {
                    input type="checkbox" name="even_unlisted" value="1" checked[self.asked.even_unlisted];
                    span { "Revoke it although no source and no push lists it" }
                }
                p.hint { "Without this a mistyped serial number is refused." }
            }
        }
    }
}

fn time_field(name: &str, title: &str, value: &str, hint: &str) -> Markup {
    let hint_id = format!("{name}-hint");
    html! {
        div {
            label for=(name) { (title) }
            input id=(name) type="text" name=(name) value=(value) placeholder="2026-11-29T08:30:00Z" autocomplete="off" aria-describedby=(hint_id);
            p.hint id=(hint_id) { "A time in UTC such as " code { "2026-11-29T08:30:00Z" } ". " (hint) }
        }
    }
}

/// The page that shows what will happen.
pub(in super::super) struct Confirmation<'c> {
    pub(in super::super) page: DeedPage<'c>,
    /// By which the second click of an impatient hand is known to be the first again.
    pub(in super::super) key: &'c str,
}

impl Confirmation<'_> {
    /// The page.
    pub(in super::super) fn page(&self, reader: &Reader) -> Markup {
        let Self { page, key } = self;
        let DeedPage { deed, issuer, serial, asked, known } = *page;
        let class = if deed == Deed::Revoke { "danger" } else { "" };
        let content = html! {
            h1 { (deed.title()) " " code { (serial) } "?" }
            section {
                dl.facts {
                    dt { "Issuer" } dd { (issuer.tenant) " / " (issuer.name) }
                    dt { "Serial number" } dd { code { (serial) } }
                    dt { "Now" } dd { (now(known)) }
                    @if deed == Deed::Revoke { dt { "Reason" } dd { (asked.reason) } }
                    @if matches!(deed, Deed::Revoke | Deed::Hold) {
                        dt { "Since" } dd { @if asked.time.is_empty() { "now" } @else { (asked.time) } }
                    }
                    @if deed == Deed::Add {
                        dt { "Valid until" }
                        dd { @if asked.not_after.is_empty() { "an unknown time" } @else { (asked.not_after) } }
                    }
                }
            }
            section {
                h2 { "What will happen" }
                ul { @for line in consequences(deed, known, asked) { li { (line) } } }
            }
            form method="post" action=(page.path()) {
                (form_field(reader))
                input type="hidden" name="key" value=(key);
                @for (name, value) in fields(asked) { input type="hidden" name=(name) value=(value); }
                p.buttons {
                    button class=(class) type="submit" { (deed.title()) }
                    (page.cancel())
                }
            }
        };
        page.page(reader, content)
    }
}

/// What was filled in, as a form has it.
fn fields(asked: &Asked) -> impl Iterator<Item = (&'static str, &str)> {
    let even_unlisted = if asked.even_unlisted { "1" } else { "" };
    let all: [(&str, &str); 4] = [
        ("reason", &asked.reason),
        ("time", &asked.time),
        ("not_after", &asked.not_after),
        ("even_unlisted", even_unlisted),
    ];
    all.into_iter().filter(|(_, value)| !value.is_empty())
}

/// Its present status in words.
fn now(known: &Known) -> String {
    let Some(record) = known.record() else { return "not listed".into() };
    match record.own() {
        ("revoked", reason, since) => {
            format!("revoked ({}) since {}, said by {}", reason.unwrap_or("?"), since.unwrap_or("?"), record.origin)
        }
        (status, ..) => format!("{status}, said by {}", record.origin),
    }
}

/// What will happen, a sentence or two each.
fn consequences(deed: Deed, known: &Known, asked: &Asked) -> Vec<String> {
    const AT_ONCE: &str = "It counts as soon as this server has it on its disk. Answers that clients and caches already have are used by them until those end.";
    let reason = if deed == Deed::Hold { Reason::CertificateHold.name() } else { &asked.reason };
    let mut lines = match deed {
        Deed::Revoke => vec![
            format!("Whoever asks about the certificate is told that it is revoked ({reason})."),
            "It is for good. No source, no push and no configuration takes it back.".into(),
        ],
        Deed::Hold => vec![
            format!("Whoever asks about the certificate is told that it is revoked ({reason})."),
            "It can be released again, or revoked for good.".into(),
        ],
        Deed::Release => vec![
            "The hold ends, and whoever asks about the certificate is told that it is good, unless a source has it on hold as well.".into(),
        ],
        Deed::Add => vec![
            "Whoever asks about the certificate is told that it is good, until it ends.".into(),
            "Nobody checks whether the CA has issued it: that is up to you.".into(),
        ],
    };
    lines.push(AT_ONCE.into());
    match (deed, known.record()) {
        (Deed::Revoke | Deed::Hold, None) if asked.even_unlisted => {
            lines
                .push("No source and no push lists it: see whether the serial number and the issuer are right.".into());
        }
        (Deed::Revoke | Deed::Hold, None) => {
            lines.push(
                "No source and no push lists it, so it will be refused: go back, and say that it is meant.".into(),
            );
        }
        (Deed::Revoke, Some(record)) if record.is_held() => {
            lines.push("It is on hold now, and the hold becomes a revocation.".into());
        }
        _ => {}
    }
    if known.record().is_some_and(Record::is_final) {
        lines.push("It is revoked already, and stays so as it is: this will be refused.".into());
    }
    lines
}
