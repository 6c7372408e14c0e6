//! The report as one page that needs nothing else.
//!
//! Invariant: pure; whatever came from outside (targets, settings, examples) is escaped; no script and no external
//! resource, so the page can be mailed, archived and opened anywhere. Plots are inline SVG ([`plot`]).

use crate::engine::stats::Second;
use crate::expect::Micros;
use crate::report::plot::{self, Line};
use crate::report::{Percentiles, Report, table};
use crate::time::readable;
use std::fmt::Write as _;

const STYLE: &str = "\
:root{color-scheme:light dark;--ink:#1c2733;--soft:#667584;--rule:#d8dee4;--paper:#fff;--a:#1f6feb;--b:#d1570b;--bad:#c62828}\
@media(prefers-color-scheme:dark){:root{--ink:#e3e9ef;--soft:#93a1af;--rule:#36414c;--paper:#14191f;--a:#6cb0ff;--b:#ffa257;--bad:#ff7b72}}\
body{font:15px/1.45 system-ui,sans-serif;color:var(--ink);background:var(--paper);max-width:62rem;margin:2rem auto;padding:0 1rem}\
h1{font-size:1.4rem;margin-bottom:.2rem}h2{font-size:1.05rem;margin-top:2rem}p.soft,.soft{color:var(--soft)}\
table{border-collapse:collapse;margin:.6rem 0}td,th{padding:.2rem .9rem .2rem 0;text-align:right;font-variant-numeric:tabular-nums}\
td:first-child,th:first-child{text-align:left}th{color:var(--soft);font-weight:500;border-bottom:1px solid var(--rule)}\
.bad{color:var(--bad);font-weight:600}svg{width:100%;height:auto}svg text{fill:var(--soft);font-size:12px}\
svg .rule{stroke:var(--rule);stroke-width:1}svg .a{stroke:var(--a)}svg .b{stroke:var(--b)}svg .bad{stroke:var(--bad)}\
svg .line{fill:none;stroke-width:1.8;stroke-linejoin:round}pre{overflow-x:auto;font-size:12.5px;color:var(--soft)}";

pub(super) fn render(report: &Report) -> String {
    let mut out = String::new();
    // Writing into a String cannot fail.
    let _ = write(report, &mut out);
    out
}

fn write(r: &Report, out: &mut String) -> std::fmt::Result {
    let title = format!("{} {}", r.program, r.command);
    write!(out, "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">")?;
    write!(out, "<meta name=\"viewport\" content=\"width=device-width\"><title>{}</title>", escape(&title))?;
    writeln!(out, "<style>{STYLE}</style></head><body>")?;
    writeln!(out, "<h1>{}</h1><p>{}</p>", escape(&title), escape(&r.targets.join(" ")))?;
    let settings: Vec<_> = r.settings.iter().map(|(name, value)| format!("{name} {value}")).collect();
    let when = format!("{}, {:.2} s, version {}", readable(r.started_unix_s), r.elapsed_s, r.version);
    writeln!(out, "<p class=\"soft\">{}<br>{}</p>", escape(&settings.join(" · ")), escape(&when))?;

    writeln!(out, "<table><tr><th>requests</th><th>answered</th><th>a second</th><th>errors</th><th>wrong</th></tr>")?;
    let class = |n: u64| if n > 0 { " class=\"bad\"" } else { "" };
    writeln!(
        out,
        "<tr><td>{}</td><td>{}</td><td>{:.0}</td><td{}>{}</td><td{}>{}</td></tr></table>",
        r.asked,
        r.answered,
        r.requests_per_s,
        class(r.errors),
        r.errors,
        class(r.wrong),
        r.wrong
    )?;
    if !r.kinds.is_empty() {
        writeln!(out, "<table><tr><th>kind</th><th>answers</th></tr>")?;
        for (kind, n) in &r.kinds {
            writeln!(out, "<tr><td>{}</td><td>{n}</td></tr>", escape(kind))?;
        }
        writeln!(out, "</table>")?;
    }
    for e in &r.expectations {
        let (class, word) = if e.met { ("soft", "met") } else { ("bad", "missed") };
        writeln!(out, "<p class=\"{class}\">{word}: {} (was {})</p>", escape(&e.condition), escape(&e.figure))?;
    }

    writeln!(out, "<h2>Latency</h2>")?;
    writeln!(
        out,
        "<table><tr><th></th><th>min</th><th>mean</th><th>p50</th><th>p90</th><th>p99</th><th>p99.9</th><th>max</th></tr>"
    )?;
    let open = r.service_us.is_some();
    let first = if open { "from the due time" } else { "all" };
    row(out, first, &r.latency_us)?;
    row(out, "from the sending", &r.service_us)?;
    row(out, "until the last replica", &r.last_us)?;
    let (end, start) = match &r.pushes {
        Some(pushes) => {
            row(out, "from the request to its acknowledgement", &pushes.acknowledged_us)?;
            ("since the acknowledgement", "since the request")
        }
        None => ("since the command's exit", "since its start"),
    };
    for replica in &r.replicas {
        row(out, &format!("{} {end}", replica.target), &replica.lag_us)?;
        row(out, &format!("{} {start}", replica.target), &replica.since_start_us)?;
    }
    writeln!(out, "</table>")?;
    out.push_str(&plot::percentiles(&r.distribution));

    // The rest of a second at the end would look like a collapse.
    let whole = |s: &&Second| s.second == 0 || (s.second + 1) as f64 <= r.elapsed_s + 0.05;
    let seconds: Vec<&Second> = r.seconds.iter().filter(whole).collect();
    if !seconds.is_empty() {
        let points = |pick: fn(&Second) -> f64| -> Vec<(f64, f64)> {
            seconds.iter().map(|s| (s.second as f64 + 1.0, pick(s))).collect()
        };
        writeln!(out, "<h2>Throughput over time</h2>")?;
        let mut lines = vec![Line { class: "a", name: "answers a second", points: points(|s| s.answered as f64) }];
        if r.errors + r.wrong > 0 {
            let bad = points(|s| (s.errors + s.wrong) as f64);
            lines.push(Line { class: "bad", name: "errors and wrong answers a second", points: bad });
        }
        out.push_str(&plot::over_time(&lines, &|v| format!("{v:.0}")));
        writeln!(out, "<h2>Latency over time</h2>")?;
        let lines = [
            Line { class: "a", name: "p50", points: points(|s| s.p50_us) },
            Line { class: "b", name: "p99", points: points(|s| s.p99_us) },
        ];
        out.push_str(&plot::over_time(&lines, &|v| Micros(v).to_string()));
    }
    writeln!(out, "<h2>Report</h2><pre>{}</pre></body></html>", escape(&table::render(r)))
}

fn row(out: &mut String, name: &str, percentiles: &Option<Percentiles>) -> std::fmt::Result {
    let Some(p) = percentiles else { return Ok(()) };
    write!(out, "<tr><td>{}</td>", escape(name))?;
    for us in [p.min, p.mean, p.p50, p.p90, p.p99, p.p999, p.max] {
        write!(out, "<td>{}</td>", Micros(us))?;
    }
    writeln!(out, "</tr>")
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        let settings = vec![("revoke-with", "x </pre><script>alert(1)</script> & \"y\"".to_owned())];
        let mut report = Report::new("ocsp", vec!["http://a/<b>".to_owned()], settings);
        report.distribution = vec![(0.0, 50.0), (0.5, 80.0), (0.99, 900.0), (0.9999, 4_000.0), (1.0, 20_000.0)];
        report.seconds = (0..5)
            .map(|second| Second {
                second,
                answered: 100,
                errors: 1,
                wrong: 0,
                p50_us: 80.0,
                p99_us: 900.0,
                max_us: 2e4,
            })
            .collect();
        report.errors = 5;
        report.elapsed_s = 4.3;
        report
    }

    #[test]
    fn escapes_whatever_came_from_outside() {
        let page = render(&report());
        assert!(!page.contains("<script") && !page.contains("<b>"), "{page}");
        assert!(page.contains("&lt;script&gt;"));
    }

    #[test]
    fn needs_nothing_from_anywhere_else() {
        let page = render(&report());
        for word in ["src=", "href=", "@import", "url("] {
            assert!(!page.contains(word), "{word}");
        }
        assert_eq!(page.matches("<svg").count(), 3);
        assert_eq!(page.matches("<svg").count(), page.matches("</svg>").count());
    }

    #[test]
    fn leaves_the_rest_of_a_second_out_of_the_plots() {
        let page = render(&report());
        assert!(page.contains(">4 s</text>") && !page.contains(">5 s</text>"), "{page}");
    }

    #[test]
    fn shows_a_run_without_answers_too() {
        let page = render(&Report::new("tsa", Vec::new(), Vec::new()));
        assert!(page.contains("nothing was answered") && !page.contains("NaN"));
    }
}
