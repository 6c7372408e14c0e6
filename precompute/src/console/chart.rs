//! A chart as SVG, drawn here: it needs no script, and its colours are those of the page.
//!
//! Invariant: it says in words what it shows, for those who do not see it. Pure; it does not know what is measured.

use maud::{Markup, html};

use super::{format, ring::Curve};

const WIDTH: f64 = 400.0;
const HEIGHT: f64 = 140.0;
/// Room for the numbers at the left, and for the times below.
const LEFT: f64 = 44.0;
const BELOW: f64 = 20.0;
const ABOVE: f64 = 8.0;

/// A curve with its title; `unit` stands behind its values.
pub(super) fn chart(title: &str, unit: &str, curve: &Curve) -> Markup {
    let known: Vec<f64> = curve.points.iter().flatten().copied().collect();
    let top = top_of(known.iter().copied().fold(0.0, f64::max));
    let (last, words) = in_words(unit, curve, &known);
    html! {
        figure.chart {
            figcaption { span.title { (title) } " " span.now { (last) } }
            svg viewBox={ "0 0 " (WIDTH) " " (HEIGHT) } role="img" aria-label={ (title) ": " (words) } {
                @for part in [0.0, 0.5, 1.0] {
                    @let y = y_of(part * top, top);
                    line.rule x1=(LEFT) x2=(WIDTH) y1=(y) y2=(y) {}
                    text.tick x=(LEFT - 6.0) y=(y + 4.0) text-anchor="end" { (format::short(part * top)) }
                }
                text.tick x=(LEFT) y=(HEIGHT - 4.0) { (format::span(curve.span)) " ago" }
                text.tick x=(WIDTH) y=(HEIGHT - 4.0) text-anchor="end" { "now" }
                @for stretch in stretches(curve, top) {
                    @if let [(x, y)] = stretch[..] {
                        circle.dot cx=(round(x)) cy=(round(y)) r="2" {}
                    } @else {
                        polygon.area points=(area(&stretch)) {}
                        polyline.curve points=(line(&stretch)) {}
                    }
                }
            }
        }
    }
}

/// The last value, and all of it in a sentence.
fn in_words(unit: &str, curve: &Curve, known: &[f64]) -> (String, String) {
    let with_unit = |value: f64| format!("{}{unit}", format::short(value));
    let (Some(last), false) = (curve.points.iter().rev().find_map(|point| *point), known.is_empty()) else {
        return ("no values yet".into(), "no values yet".into());
    };
    let least = known.iter().copied().fold(f64::INFINITY, f64::min);
    let most = known.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let words = format!(
        "{} now, between {} and {} in the last {}",
        with_unit(last),
        format::short(least),
        with_unit(most),
        format::span(curve.span)
    );
    (with_unit(last), words)
}

/// The value at the top: the next one of 1, 2 and 5 with zeros behind.
fn top_of(most: f64) -> f64 {
    if most <= 1.0 {
        return 1.0;
    }
    let ten = 10_f64.powf(most.log10().floor());
    [1.0, 2.0, 5.0, 10.0].into_iter().map(|step| step * ten).find(|top| *top >= most).unwrap_or(most)
}

fn y_of(value: f64, top: f64) -> f64 {
    ABOVE + (HEIGHT - ABOVE - BELOW) * (1.0 - value / top)
}

/// The parts of a curve between its gaps.
fn stretches(curve: &Curve, top: f64) -> Vec<Vec<(f64, f64)>> {
    let step = (WIDTH - LEFT) / (curve.points.len().max(2) - 1) as f64;
    let mut stretches = vec![Vec::new()];
    for (place, point) in curve.points.iter().enumerate() {
        match (point, stretches.last_mut()) {
            (Some(value), Some(stretch)) => stretch.push((LEFT + step * place as f64, y_of(*value, top))),
            (None, Some(stretch)) if !stretch.is_empty() => stretches.push(Vec::new()),
            _ => {}
        }
    }
    stretches.retain(|stretch| !stretch.is_empty());
    stretches
}

fn round(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

fn line(stretch: &[(f64, f64)]) -> String {
    stretch.iter().map(|(x, y)| format!("{},{}", round(*x), round(*y))).collect::<Vec<_>>().join(" ")
}

/// The same with the ground under it.
fn area(stretch: &[(f64, f64)]) -> String {
    let ground = HEIGHT - BELOW;
    let ends = [stretch.last(), stretch.first()].into_iter().flatten().map(|(x, _)| format!("{},{ground}", round(*x)));
    [line(stretch)].into_iter().chain(ends).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn drawn(points: &[Option<f64>]) -> String {
        chart("<Requests>", "/s", &Curve { span: Duration::from_secs(300), points: points.to_vec() }).into_string()
    }

    #[test]
    fn a_chart_says_in_words_what_it_shows_and_has_gaps() {
        let svg = drawn(&[Some(1.0), Some(40.0), None, Some(2.5), None, Some(7.0), Some(8.0)]);
        assert!(
            svg.contains("aria-label=\"&lt;Requests&gt;: 8/s now, between 1 and 40/s in the last 5 min\""),
            "{svg}"
        );
        assert_eq!(svg.matches("<polyline").count(), 2, "{svg}");
        assert_eq!(svg.matches("<circle").count(), 1, "{svg}");
        // The axis ends at 50.
        assert!(svg.contains(">50</text>") && svg.contains(">25</text>"), "{svg}");
        assert!(!svg.contains("style=") && !svg.contains("NaN") && !svg.contains("inf"), "{svg}");
    }

    #[test]
    fn without_values_it_says_so() {
        for points in [&[][..], &[None, None]] {
            let svg = drawn(points);
            assert!(svg.contains("no values yet") && !svg.contains("<polyline") && !svg.contains("NaN"), "{svg}");
        }
    }

    #[test]
    fn the_axis_ends_at_a_round_value() {
        for (most, top) in [(0.0, 1.0), (1.0, 1.0), (1.5, 2.0), (3.0, 5.0), (5.1, 10.0), (100.0, 100.0), (101.0, 200.0)]
        {
            assert_eq!(top_of(most), top, "{most}");
        }
    }
}
