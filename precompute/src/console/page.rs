//! What is around every page: head, navigation, who is signed in.
//!
//! Invariant: what is not this program's own text gets into a page through `maud`, which escapes it; nothing is inline that a
//! browser could run. It does not know what stands on a page.

use maud::{DOCTYPE, Markup, html};

use super::assets::{SCRIPT, STYLE};

/// The places of the navigation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Place {
    /// How everything fares.
    Overview,
    /// What is known of a certificate.
    LookUp,
    /// Curves.
    Charts,
    /// Of time-stamps.
    Clocks,
    /// The journal.
    Audit,
}

impl Place {
    pub(super) const ALL: [Self; 5] = [Self::Overview, Self::LookUp, Self::Charts, Self::Clocks, Self::Audit];

    pub(super) const fn path(self) -> &'static str {
        match self {
            Self::Overview => "/console/",
            Self::LookUp => "/console/look-up",
            Self::Charts => "/console/charts",
            Self::Clocks => "/console/clocks",
            Self::Audit => "/console/audit",
        }
    }

    pub(super) const fn title(self) -> &'static str {
        match self {
            Self::Overview => "Overview",
            Self::LookUp => "Look up",
            Self::Charts => "Charts",
            Self::Clocks => "Clocks",
            Self::Audit => "Audit",
        }
    }
}

/// Who reads a page, and where it may go.
#[derive(Clone, Debug)]
pub(super) struct Reader {
    /// The principal's name.
    pub(super) name: String,
    /// What its forms carry.
    pub(super) form: String,
    /// What it has a right to look at.
    pub(super) places: Vec<Place>,
}

/// A page as a whole.
pub(super) struct Page<'p> {
    pub(super) title: &'p str,
    /// `None` for who has not signed in.
    pub(super) reader: Option<&'p Reader>,
    /// The place that it belongs to.
    pub(super) here: Option<Place>,
    /// How often its live parts are asked for again, in seconds.
    pub(super) refresh: Option<u64>,
}

/// The hidden field by which a form is known as one of this reader's pages.
pub(super) const FORM_FIELD: &str = "form";

/// That field.
pub(super) fn form_field(reader: &Reader) -> Markup {
    html! { input type="hidden" name=(FORM_FIELD) value=(reader.form); }
}

impl Page<'_> {
    /// The page with this content.
    pub(super) fn with(&self, content: Markup) -> Markup {
        html! {
            (DOCTYPE)
            html lang="en" {
                head {
                    meta charset="utf-8";
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    meta name="color-scheme" content="light dark";
                    meta name="robots" content="noindex, nofollow";
                    title { (self.title) " · Ostia" }
                    link rel="stylesheet" href=(STYLE.path());
                    link rel="icon" href="/console/assets/icon.svg" type="image/svg+xml";
                    script defer src=(SCRIPT.path()) {}
                }
                body {
                    a.skip href="#content" { "Skip to the content" }
                    header {
                        a.name href="/console/" { "Ostia" }
                        @if let Some(reader) = self.reader { (self.navigation(reader)) }
                    }
                    main #content tabindex="-1" data-refresh=[self.refresh] { (content) }
                }
            }
        }
    }

    fn navigation(&self, reader: &Reader) -> Markup {
        html! {
            nav aria-label="Main" {
                @for place in &reader.places {
                    a href=(place.path()) aria-current=[(self.here == Some(*place)).then_some("page")] { (place.title()) }
                }
            }
            form.who method="post" action="/console/sign-out" {
                (form_field(reader))
                span { "Signed in as " strong { (reader.name) } }
                button.quiet type="submit" { "Sign out" }
            }
        }
    }
}

/// A page that says what went wrong and what would be right.
pub(super) struct Trouble<'t> {
    pub(super) title: &'t str,
    pub(super) detail: &'t str,
    /// Where to go on: a path of the console, and its name.
    pub(super) way_on: Option<(&'t str, &'t str)>,
}

impl Trouble<'_> {
    pub(super) fn page(&self, reader: Option<&Reader>) -> Markup {
        let Self { title, detail, way_on } = *self;
        let content = html! {
            h1 { (title) }
            p.trouble role="alert" { (detail) }
            @if let Some((path, name)) = way_on {
                p { a.button href=(path) { (name) } }
            }
        };
        Page { title, reader, here: None, refresh: None }.with(content)
    }
}

/// The head of a table that becomes cards where there is little room.
pub(super) fn heads(heads: &[&str]) -> Markup {
    html! {
        thead { tr role="row" {
            @for head in heads { th role="columnheader" scope="col" { (head) } }
        } }
    }
}

/// A cell under this head.
pub(super) fn cell(head: &str, content: impl maud::Render) -> Markup {
    html! { td role="cell" data-label=(head) { div { (content) } } }
}

/// A word with a colour, which says the same as the word.
pub(super) fn badge(class: &str, word: &str) -> Markup {
    html! { span class={ "badge " (class) } { (word) } }
}
