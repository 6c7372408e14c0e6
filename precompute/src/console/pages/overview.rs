//! How everything fares.

use maud::{Markup, html};

use super::super::{
    format,
    page::{Page, Place, Reader, badge, cell, heads},
    view::{Overview, Rows, SOON_DAYS, Server, Servers, SignerRow, SourceRow},
};
use crate::{
    limits::console::{REFRESH_INTERVAL, ROWS_MAX},
    pki::UnixTime,
};

/// The page.
pub(in super::super) fn overview(reader: &Reader, view: &Overview, all: Option<&Servers>) -> Markup {
    let content = html! {
        div.top {
            h1 { "Overview" }
            p.soft { span #refreshed { "As of " (view.now) } " · " a href="/console/" { "Refresh" } }
        }
        p.soft { (view.program) ", server " code { (view.server) } }
        section #alarms data-live aria-labelledby="alarms-title" {
            h2 #alarms-title {
                "Condition "
                @match view.ready {
                    Some(true) => { (badge("good", "ready")) }
                    Some(false) => { (badge("bad", "not ready")) }
                    None => {}
                }
            }
            (alarms(view))
        }
        @if !view.figures.is_empty() {
            section.plain #figures data-live aria-label="Traffic" {
                dl.figures {
                    @for figure in &view.figures {
                        div { dt { (figure.title) } dd { (figure.value) " " small { (figure.unit) } } }
                    }
                }
            }
        }
        @if let Some(all) = all {
            section #servers data-live aria-labelledby="servers-title" {
                h2 #servers-title { "Servers" }
                (servers(all))
            }
        }
        section #sources data-live aria-labelledby="sources-title" {
            h2 #sources-title { "Sources" }
            (sources(&view.sources))
        }
        section #signers data-live aria-labelledby="signers-title" {
            h2 #signers-title { "Signers" }
            (signers(&view.signers, view.now))
        }
    };
    let here = Some(Place::Overview);
    Page { title: "Overview", reader: Some(reader), here, refresh: Some(REFRESH_INTERVAL.as_secs()) }.with(content)
}

fn alarms(view: &Overview) -> Markup {
    html! {
        @if view.alarms.shown.is_empty() { p { "Nothing to report." } }
        ul.alarms {
            @for alarm in &view.alarms.shown {
                @let (class, word) = alarm.level.told();
                li class=(class) { strong { (word) ": " } (alarm.text) }
            }
        }
        (left_out(view.alarms.left_out))
    }
}

fn left_out(count: usize) -> Markup {
    html! { @if count > 0 { p.hint { "and " (count) " more" } } }
}

fn servers(all: &Servers) -> Markup {
    let rows = Rows::of(all.servers.clone(), ROWS_MAX, Server::is_wrong);
    html! {
        @if let Some(problem) = &all.problem { p.trouble { (problem) } }
        p { (all.replicas_live) " replicas live, " (all.replicas_wanted) " wanted" }
        @if !rows.shown.is_empty() {
            table.cards role="table" {
                (heads(&["Name", "Server", "Role", "Version", "Place in the feed", "Freshness", "Heard", "Condition"]))
                tbody role="rowgroup" {
                    @for row in &rows.shown {
                        tr role="row" {
                            (cell("Name", &row.name))
                            (cell("Server", html! { code { (row.id.get(..8).unwrap_or(&row.id)) } }))
                            (cell("Role", row.role.replace('_', " ")))
                            (cell("Version", &row.version))
                            (cell("Place in the feed", row.position.as_deref().unwrap_or("–")))
                            (cell("Freshness", row.freshness.as_deref().unwrap_or("–")))
                            (cell("Heard", format!("{} s ago", row.silent_seconds)))
                            (cell("Condition", state(row)))
                        }
                    }
                }
            }
            (left_out(rows.left_out))
        }
    }
}

fn state(row: &Server) -> Markup {
    let class = match (row.state.as_str(), row.is_wrong()) {
        (_, false) if row.state == "live" => "good",
        ("live", true) => "warn",
        ("silent", _) => "bad",
        _ => "note",
    };
    html! { (badge(class, &row.state)) @for complaint in &row.complaints { div { (complaint) } } }
}

fn sources(rows: &Rows<SourceRow>) -> Markup {
    html! {
        @if rows.shown.is_empty() { p { "There is no issuer that you may see." } }
        @else {
            table.cards role="table" {
                (heads(&["Tenant", "Issuer", "Good", "Revoked", "In order", "Condition"]))
                tbody role="rowgroup" {
                    @for row in &rows.shown {
                        tr role="row" {
                            (cell("Tenant", &row.tenant))
                            (cell("Issuer", &row.issuer))
                            (cell("Good", format::whole(row.good)))
                            (cell("Revoked", format::whole(row.revoked)))
                            (cell("In order", &row.verified))
                            (cell("Condition", condition(&row.complaints)))
                        }
                    }
                }
            }
            (left_out(rows.left_out))
        }
    }
}

fn condition(complaints: &[String]) -> Markup {
    html! {
        @if complaints.is_empty() { (badge("good", "in order")) }
        @for complaint in complaints { div { (badge("warn", "degraded")) (complaint) } }
    }
}

fn signers(rows: &Rows<SignerRow>, now: UnixTime) -> Markup {
    html! {
        @if rows.shown.is_empty() { p { "There is no signer that you may see." } }
        @else {
            table.cards role="table" {
                (heads(&["Tenant", "Signs for", "Certificate", "Ends", "Days left", "Condition"]))
                tbody role="rowgroup" {
                    @for row in &rows.shown {
                        tr role="row" {
                            (cell("Tenant", &row.tenant))
                            (cell("Signs for", &row.signs_for))
                            (cell("Certificate", html! { code { (row.certificate) } }))
                            (cell("Ends", row.ends.to_string()))
                            (cell("Days left", days(format::days_left(row.ends, now))))
                            (cell("Condition", works(row)))
                        }
                    }
                }
            }
            (left_out(rows.left_out))
        }
    }
}

fn days(left: i64) -> Markup {
    match left {
        left if left < 0 => badge("bad", "ended"),
        left if left < SOON_DAYS => badge("warn", &left.to_string()),
        left => html! { (left) },
    }
}

fn works(row: &SignerRow) -> Markup {
    match (&row.fault, row.has_key) {
        (Some(fault), _) => html! { (badge("bad", "fault")) (fault) },
        (None, false) => badge("note", "key elsewhere"),
        (None, true) => badge("good", "works"),
    }
}
