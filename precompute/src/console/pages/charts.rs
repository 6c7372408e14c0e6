//! Curves of what is measured here.

use std::time::Duration;

use maud::{Markup, html};

use super::super::{
    chart::chart,
    page::{Page, Place, Reader},
    ring::Curve,
};
use crate::limits::console::REFRESH_INTERVAL;

/// The spans that may be shown, with their names in links. The first is shown unless another one is asked for.
pub(in super::super) const RANGES: [(&str, Duration); 3] =
    [("10m", Duration::from_secs(600)), ("30m", Duration::from_secs(1800)), ("1h", Duration::from_secs(3600))];

/// The page.
pub(in super::super) struct ChartsPage<'c> {
    /// Which of [`RANGES`].
    pub(in super::super) range: &'c str,
    pub(in super::super) time: &'c str,
    /// Each with its title and unit.
    pub(in super::super) curves: &'c [(String, String, Curve)],
}

impl ChartsPage<'_> {
    /// The page.
    pub(in super::super) fn page(&self, reader: &Reader) -> Markup {
        let here = format!("/console/charts?range={}", self.range);
        let content = html! {
            div.top {
                h1 { "Charts" }
                p.soft { span #refreshed { "As of " (self.time) } " · " a href=(here) { "Refresh" } }
            }
            p {
                "The last "
                @for (name, _) in RANGES {
                    @if name == self.range { strong aria-current="true" { (name) } }
                    @else { a href={ "/console/charts?range=" (name) } { (name) } }
                    " "
                }
                span.soft { "Values of this server since its start; they are kept in memory." }
            }
            div.grid #charts data-live {
                @for (title, unit, curve) in self.curves { div.card { (chart(title, unit, curve)) } }
            }
        };
        let page = Page {
            title: "Charts",
            reader: Some(reader),
            here: Some(Place::Charts),
            refresh: Some(REFRESH_INTERVAL.as_secs()),
        };
        page.with(content)
    }
}
