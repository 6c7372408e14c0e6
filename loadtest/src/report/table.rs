//! The report as text.
//!
//! Invariant: pure; shows the figures of the report and computes none.

use crate::expect::Micros;
use crate::report::{Percentiles, Report};
use crate::time::readable;
use std::fmt::Write as _;

/// Above this share of a thread's time the generator itself is close to its limit.
const BUSY: f64 = 0.9;

pub(super) fn render(report: &Report) -> String {
    let mut out = String::new();
    // Writing into a String cannot fail.
    let _ = write(report, &mut out);
    out
}

fn write(r: &Report, out: &mut String) -> std::fmt::Result {
    writeln!(out, "{} {} {}", r.program, r.command, r.targets.join(" "))?;
    let settings: Vec<_> = r.settings.iter().map(|(name, value)| format!("{name} {value}")).collect();
    writeln!(out, "  {}", settings.join(", "))?;
    writeln!(out, "  {}, {:.2} s\n", readable(r.started_unix_s), r.elapsed_s)?;

    if r.command != "lag" {
        writeln!(out, "  requests      {:>12}", r.asked)?;
        writeln!(out, "  answered      {:>12}   {:.0}/s", r.answered, r.requests_per_s)?;
        writeln!(out, "  right         {:>12}   {}", r.right, counts(r.said.iter()))?;
    }
    writeln!(out, "  errors        {:>12}", r.errors)?;
    writeln!(out, "  WRONG         {:>12}", r.wrong)?;
    for (kind, n) in &r.kinds {
        writeln!(out, "    {kind:<26} {n:>10}")?;
    }
    if r.unsent > 0 {
        writeln!(out, "  never sent    {:>12}   the server was too slow for --rate", r.unsent)?;
    }
    if r.http_statuses.keys().any(|s| *s != 200) {
        writeln!(out, "  HTTP          {}", counts(r.http_statuses.iter()))?;
    }
    if r.command != "lag" {
        writeln!(
            out,
            "  verified      {:>12}   signatures ({}), and {} answers the same as one of those{}",
            r.verification.checked,
            r.verification.mode,
            r.verification.repeats_of_checked,
            if r.verification.skipped > 0 {
                format!("; {} samples skipped", r.verification.skipped)
            } else {
                String::new()
            }
        )?;
    }
    if let Some(s) = &r.serials {
        writeln!(out, "  serials       {:>12}   collected, {} repeated", s.collected, s.repeated)?;
        if s.beyond_limit > 0 {
            writeln!(out, "                {:>12}   more were not compared: memory is bounded", s.beyond_limit)?;
        }
        for (serial, targets) in &s.examples {
            writeln!(out, "    {serial} given by {}", targets.join(" and "))?;
        }
    }
    for e in &r.examples {
        writeln!(out, "    for example: {} from {} for {}", e.kind.name(), e.target, e.subject)?;
    }

    for u in r.pushes.iter().flat_map(|p| &p.uploads) {
        let (what, records, seconds, rate) = (u.what, u.records, u.elapsed_s, u.records_per_s);
        writeln!(out, "  uploaded      {records:>12}   records to {what} in {seconds:.2} s: {rate:.0}/s")?;
    }

    writeln!(out, "\n  latency            min       mean        p50        p90        p99      p99.9        max")?;
    let open = r.service_us.is_some();
    match &r.latency_us {
        Some(p) if r.command == "lag" => percentiles(out, "all replicas", p)?,
        Some(p) => percentiles(out, if open { "from due time" } else { "" }, p)?,
        None => writeln!(out, "  none: nothing was answered")?,
    }
    if let Some(p) = &r.service_us {
        percentiles(out, "from sending", p)?;
    }
    if let Some(p) = r.last_us.as_ref().filter(|_| r.replicas.len() > 1) {
        percentiles(out, "the last", p)?;
    }
    let (end, start) = match &r.pushes {
        Some(pushes) => {
            if let Some(p) = &pushes.acknowledged_us {
                percentiles(out, "acknowledged", p)?;
            }
            ("  since ack.", "  since request")
        }
        None => ("  since exit", "  since start"),
    };
    for replica in &r.replicas {
        let (target, revocations, missed) = (&replica.target, replica.revocations, replica.missed);
        let back = match (replica.went_back, replica.asked_again) {
            (0, again) => format!("none went back in {again} more answers"),
            (back, again) => format!("WENT BACK in {back} of {again} more answers"),
        };
        writeln!(out, "  {target} ({revocations} revocations, {missed} missed; {back})")?;
        if let Some(p) = &replica.lag_us {
            percentiles(out, end, p)?;
        }
        if let Some(p) = &replica.since_start_us {
            percentiles(out, start, p)?;
        }
    }

    if r.command != "lag" {
        let g = &r.generator;
        writeln!(
            out,
            "\n  generator: {:.2} s of CPU, {:.2} µs an answer; busiest thread {:.0} % busy{}",
            g.cpu_s,
            g.cpu_us_per_answer,
            g.busiest_thread * 100.0,
            if g.busiest_thread > BUSY {
                "\n  The generator was near its limit: these figures may be its own. Add --threads."
            } else {
                ""
            }
        )?;
    }
    if !r.expectations.is_empty() {
        writeln!(out)?;
    }
    for e in &r.expectations {
        writeln!(out, "  {} {} (was {})", if e.met { "met   " } else { "MISSED" }, e.condition, e.figure)?;
    }
    Ok(())
}

fn percentiles(out: &mut String, name: &str, p: &Percentiles) -> std::fmt::Result {
    write!(out, "  {name:<14}")?;
    for us in [p.min, p.mean, p.p50, p.p90, p.p99, p.p999, p.max] {
        write!(out, "{:>11}", Micros(us))?;
    }
    writeln!(out)
}

fn counts<K: std::fmt::Display>(counts: impl Iterator<Item = (K, impl std::fmt::Display)>) -> String {
    counts.map(|(name, n)| format!("{name} {n}")).collect::<Vec<_>>().join(", ")
}
