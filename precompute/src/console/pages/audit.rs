//! The journal: what happened, and whether it is as it was written.

use maud::{Markup, html};

use super::super::page::{Page, Place, Reader, badge, cell, heads};

/// A line of the journal.
#[derive(Clone, PartialEq, Debug)]
pub(in super::super) struct JournalLine {
    pub(in super::super) number: String,
    pub(in super::super) time: String,
    /// What kind of event it is.
    pub(in super::super) what: String,
    /// The rest, a name and a value each.
    pub(in super::super) members: Vec<(String, String)>,
}

/// Which lines are wanted; what is empty wants all.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(in super::super) struct Filter {
    /// The kind of event.
    pub(in super::super) what: String,
    pub(in super::super) tenant: String,
    pub(in super::super) serial: String,
}

/// The page.
pub(in super::super) struct AuditPage<'a> {
    pub(in super::super) filter: &'a Filter,
    /// Whether what was verified is in order, and what was found, for people.
    pub(in super::super) verified: Option<(bool, &'a str)>,
    pub(in super::super) lines: &'a [JournalLine],
    /// Where older lines are: a query.
    pub(in super::super) older: Option<&'a str>,
    /// What stood in the way.
    pub(in super::super) trouble: Option<&'a str>,
}

impl AuditPage<'_> {
    /// The page.
    pub(in super::super) fn page(&self, reader: &Reader) -> Markup {
        let content = html! {
            h1 { "Audit" }
            @if let Some(trouble) = self.trouble { p.trouble role="alert" { (trouble) } }
            @if let Some((in_order, words)) = self.verified {
                section {
                    h2 { "Verification " @if in_order { (badge("good", "in order")) } @else { (badge("bad", "not in order")) } }
                    p { (words) }
                }
            }
            section { (self.form()) }
            @if !self.lines.is_empty() { section { (self.table()) } }
            @else if self.trouble.is_none() {
                section { p { @if self.older.is_some() { "No line fits among those that were looked at." } @else { "No line fits." } } }
            }
            @if let Some(older) = self.older {
                p { a.button.quiet href={ "/console/audit?" (older) } { "Older lines" } }
            }
        };
        Page { title: "Audit", reader: Some(reader), here: Some(Place::Audit), refresh: None }.with(content)
    }

    fn form(&self) -> Markup {
        let Filter { what, tenant, serial } = self.filter;
        html! {
            form.fields method="get" action="/console/audit" {
                div.filter {
                    @for (name, title, value) in [("type", "Event", what), ("tenant", "Tenant", tenant), ("serial", "Serial number", serial)] {
                        div {
                            label for=(name) { (title) }
                            input id=(name) type="text" name=(name) value=(value) autocomplete="off" spellcheck="false";
                        }
                    }
                }
                p.buttons {
                    button type="submit" { "Show" }
                    a.button.quiet href="/console/audit" { "Show all" }
                    button.quiet type="submit" name="verify" value="1" { "Verify the whole journal" }
                }
            }
        }
    }

    fn table(&self) -> Markup {
        html! {
            table.cards.lines role="table" {
                (heads(&["Number", "Time", "Event", "What"]))
                tbody role="rowgroup" {
                    @for line in self.lines {
                        tr role="row" {
                            (cell("Number", &line.number))
                            (cell("Time", &line.time))
                            (cell("Event", &line.what))
                            (cell("What", html! {
                                div.members { @for (name, value) in &line.members {
                                    span { span.soft { (name) ": " } (value) }
                                } }
                            }))
                        }
                    }
                }
            }
        }
    }
}
