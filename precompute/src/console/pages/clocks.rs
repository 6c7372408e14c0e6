//! The clocks of time-stamps.

use maud::{Markup, html};

use super::super::{
    format,
    page::{Page, Place, Reader, badge},
    view::ClockRow,
};
use crate::limits::console::REFRESH_INTERVAL;

/// The page.
pub(in super::super) fn clocks(reader: &Reader, time: &str, rows: &[ClockRow]) -> Markup {
    let content = html! {
        div.top {
            h1 { "Clocks of time-stamps" }
            p.soft { span #refreshed { "As of " (time) } " · " a href="/console/clocks" { "Refresh" } }
        }
        div #clocks data-live {
            @if rows.is_empty() { section { p { "There is no time-stamping authority that you may see." } } }
            @for row in rows { (clock(row)) }
        }
    };
    let page = Page {
        title: "Clocks",
        reader: Some(reader),
        here: Some(Place::Clocks),
        refresh: Some(REFRESH_INTERVAL.as_secs()),
    };
    page.with(content)
}

fn clock(row: &ClockRow) -> Markup {
    html! {
        section {
            h2 {
                (row.tenant) " / " (row.tsa) " "
                @match row.problem {
                    None => { (badge("good", "makes time-stamps")) }
                    Some(_) => { (badge("bad", "makes none")) }
                }
            }
            @if let Some(problem) = &row.problem { p.trouble { (problem) } }
            dl.facts {
                dt { "Clock checked by" } dd { (row.source) }
                @for (name, value) in &row.facts { dt { (name) } dd { (value) } }
                @if !row.outcomes.is_empty() {
                    dt { "Requests since the start" }
                    dd { @for (name, count) in &row.outcomes { (name) ": " (format::whole(*count)) " " } }
                }
            }
        }
    }
}
