//! Plots as inline SVG.
//!
//! Invariant: pure; every coordinate is finite and within the frame. It does not know what is plotted.

use crate::expect::Micros;
use std::fmt::Write as _;

const WIDTH: f64 = 900.0;
const HEIGHT: f64 = 300.0;
const LEFT: f64 = 80.0;
const RIGHT: f64 = 20.0;
const TOP: f64 = 24.0;
const BOTTOM: f64 = 34.0;

/// One curve.
pub(super) struct Line<'a> {
    /// The style's class: a, b or bad.
    pub(super) class: &'a str,
    pub(super) name: &'a str,
    pub(super) points: Vec<(f64, f64)>,
}

/// Latency by percentile: both axes logarithmic, so that the tail is as visible as the middle. `points` are (fraction,
/// µs).
pub(super) fn percentiles(points: &[(f64, f64)]) -> String {
    let usable: Vec<(f64, f64)> = points.iter().filter(|(_, us)| *us > 0.0).copied().collect();
    let (Some(first), Some(last)) = (usable.first(), usable.last()) else { return String::new() };
    // The last point is 100 %; it stands where the one before it would double its distance.
    let nines = |fraction: f64| -(1.0 - fraction).max(1e-9).log10();
    let deepest = usable.iter().rev().find(|(f, _)| *f < 1.0).map_or(1.0, |(f, _)| nines(*f) + 0.3).max(1.0);
    let low = first.1.log10().floor();
    let high = last.1.log10().ceil().max(low + 1.0);
    let x = |fraction: f64| LEFT + nines(fraction).min(deepest) / deepest * (WIDTH - LEFT - RIGHT);
    let y = |us: f64| TOP + (high - us.log10().clamp(low, high)) / (high - low) * (HEIGHT - TOP - BOTTOM);
    let mut svg = open("latency by percentile");
    for decade in low as i32..=high as i32 {
        let us = 10f64.powi(decade);
        horizontal(&mut svg, y(us), &Micros(us).to_string());
    }
    for (fraction, name) in [
        (0.0, "0 %"),
        (0.5, "50 %"),
        (0.9, "90 %"),
        (0.99, "99 %"),
        (0.999, "99.9 %"),
        (0.9999, "99.99 %"),
        (0.99999, "99.999 %"),
    ] {
        if nines(fraction) <= deepest {
            vertical(&mut svg, x(fraction), name);
        }
    }
    path(&mut svg, "a", usable.iter().map(|(f, us)| (x(*f), y(*us))));
    svg.push_str("</svg>\n");
    svg
}

/// Curves over seconds, from zero up.
pub(super) fn over_time(lines: &[Line<'_>], name: &dyn Fn(f64) -> String) -> String {
    let all = || lines.iter().flat_map(|l| &l.points);
    let longest = all().map(|p| p.0).fold(1.0, f64::max);
    let highest = nice(all().map(|p| p.1).fold(0.0, f64::max));
    let x = |t: f64| LEFT + t / longest * (WIDTH - LEFT - RIGHT);
    let y = |v: f64| TOP + (1.0 - v / highest) * (HEIGHT - TOP - BOTTOM);
    let mut svg = open(lines.first().map_or("", |l| l.name));
    for step in 0..=4 {
        let value = highest * f64::from(step) / 4.0;
        horizontal(&mut svg, y(value), &name(value));
    }
    let step = nice(longest / 8.0).max(1.0);
    let mut t = 0.0;
    while t <= longest {
        vertical(&mut svg, x(t), &format!("{t:.0} s"));
        t += step;
    }
    for (i, line) in lines.iter().enumerate() {
        path(&mut svg, line.class, line.points.iter().map(|p| (x(p.0), y(p.1))));
        let at = LEFT + 10.0 + 240.0 * i as f64;
        let _ = write!(svg, "<path class=\"line {}\" d=\"M{at} 12h24\"/>", line.class);
        let _ = write!(svg, "<text x=\"{}\" y=\"16\">{}</text>", at + 30.0, line.name);
    }
    svg.push_str("</svg>\n");
    svg
}

/// 1, 2 or 5 times a power of ten, not below the value.
fn nice(value: f64) -> f64 {
    if value <= 0.0 || !value.is_finite() {
        return 1.0;
    }
    let power = 10f64.powf(value.log10().floor());
    [1.0, 2.0, 5.0, 10.0].into_iter().map(|m| m * power).find(|n| *n >= value).unwrap_or(10.0 * power)
}

fn open(name: &str) -> String {
    format!("<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{name}\">")
}

fn horizontal(svg: &mut String, y: f64, name: &str) {
    let _ = write!(svg, "<path class=\"rule\" d=\"M{LEFT} {y:.1}H{}\"/>", WIDTH - RIGHT);
    let _ = write!(svg, "<text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{name}</text>", LEFT - 8.0, y + 4.0);
}

fn vertical(svg: &mut String, x: f64, name: &str) {
    let _ = write!(svg, "<path class=\"rule\" d=\"M{x:.1} {TOP}V{}\"/>", HEIGHT - BOTTOM);
    let _ = write!(svg, "<text x=\"{x:.1}\" y=\"{}\" text-anchor=\"middle\">{name}</text>", HEIGHT - BOTTOM + 18.0);
}

fn path(svg: &mut String, class: &str, points: impl Iterator<Item = (f64, f64)>) {
    let _ = write!(svg, "<path class=\"line {class}\" d=\"");
    for (i, (x, y)) in points.enumerate() {
        let _ = write!(svg, "{}{x:.1} {y:.1}", if i == 0 { 'M' } else { 'L' });
    }
    svg.push_str("\"/>");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_every_point_within_the_frame() {
        let points: Vec<_> =
            (0..=20).map(|i| (1.0 - 0.5f64.powi(i), 3.0 * 1.7f64.powi(i))).chain([(1.0, 1e6)]).collect();
        let svg = percentiles(&points);
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
        let curve = svg.split("class=\"line a\" d=\"M").nth(1).unwrap().split('"').next().unwrap();
        for pair in curve.split('L') {
            let (x, y) = pair.split_once(' ').unwrap();
            let (x, y): (f64, f64) = (x.parse().unwrap(), y.parse().unwrap());
            assert!((LEFT..=WIDTH - RIGHT).contains(&x) && (TOP..=HEIGHT - BOTTOM).contains(&y), "{pair}");
        }
    }

    #[test]
    fn rounds_scales_up_to_what_people_read() {
        for (value, scale) in [(0.0, 1.0), (1.0, 1.0), (3.0, 5.0), (51_234.0, 100_000.0), (0.07, 0.1), (1200.0, 2000.0)]
        {
            assert!((nice(value) - scale).abs() < 1e-9 * scale, "{value}");
        }
    }

    #[test]
    fn draws_nothing_of_nothing() {
        assert_eq!(percentiles(&[]), "");
        assert!(!over_time(&[], &|v| v.to_string()).contains("NaN"));
    }
}
