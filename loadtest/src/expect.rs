//! `--expect`: what a run must reach.
//!
//! Invariant: pure; every condition is either refused when read or decided at the end, with the figure beside it. It
//! does not know where the figures come from.

use std::fmt;

/// A figure that can be put a condition on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Metric {
    P50,
    P90,
    P99,
    P999,
    Max,
    Rps,
    Errors,
    Wrong,
}

const METRICS: [(&str, Metric); 8] = [
    ("p50", Metric::P50),
    ("p90", Metric::P90),
    ("p99", Metric::P99),
    ("p999", Metric::P999),
    ("max", Metric::Max),
    ("rps", Metric::Rps),
    ("errors", Metric::Errors),
    ("wrong", Metric::Wrong),
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Comparison {
    Less,
    LessOrEqual,
    Equal,
    GreaterOrEqual,
    Greater,
}

// The longer ones first, so that <= is not read as <.
const COMPARISONS: [(&str, Comparison); 5] = [
    ("<=", Comparison::LessOrEqual),
    (">=", Comparison::GreaterOrEqual),
    ("<", Comparison::Less),
    (">", Comparison::Greater),
    ("=", Comparison::Equal),
];

/// One condition, as written and as understood: times in microseconds.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Condition {
    pub(crate) text: String,
    metric: Metric,
    comparison: Comparison,
    bound: f64,
}

/// The figures of a finished run.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Figures {
    pub(crate) p50_us: f64,
    pub(crate) p90_us: f64,
    pub(crate) p99_us: f64,
    pub(crate) p999_us: f64,
    pub(crate) max_us: f64,
    pub(crate) rps: f64,
    pub(crate) errors: u64,
    pub(crate) wrong: u64,
}

/// A list of conditions, as the flag takes it.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Expectations(pub(crate) Vec<Condition>);

impl std::str::FromStr for Expectations {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        text.split(',').map(|part| Condition::read(part.trim())).collect::<Result<_, _>>().map(Self)
    }
}

impl Condition {
    fn read(text: &str) -> Result<Self, String> {
        let remedy = "write METRIC COMPARISON VALUE, as in p99<5ms, errors=0 or rps>=50000";
        let at = text.find(['<', '>', '=']).ok_or_else(|| format!("{text:?} has no comparison; {remedy}"))?;
        let (name, rest) = text.split_at(at);
        let (_, metric) = METRICS
            .into_iter()
            .find(|(n, _)| *n == name.trim())
            .ok_or_else(|| format!("{name:?} is no metric; there are p50 p90 p99 p999 max rps errors wrong"))?;
        let (sign, comparison) = COMPARISONS
            .into_iter()
            .find(|(sign, _)| rest.starts_with(sign))
            .ok_or_else(|| format!("{text:?} has no comparison; {remedy}"))?;
        let value = rest[sign.len()..].trim();
        let bound = if metric.is_time() { microseconds(value) } else { plain(value) }.ok_or_else(|| {
            let form = if metric.is_time() { "a time with its unit: us, ms or s" } else { "a number" };
            format!("{value:?} in {text:?} is not {form}; {remedy}")
        })?;
        Ok(Self { text: text.to_owned(), metric, comparison, bound })
    }

    /// Whether the run reached it. A figure that does not exist (no answer at all) reaches nothing.
    pub(crate) fn is_met(&self, figures: &Figures) -> bool {
        let figure = self.metric.of(figures);
        match self.comparison {
            Comparison::Less => figure < self.bound,
            Comparison::LessOrEqual => figure <= self.bound,
            Comparison::Equal => figure == self.bound,
            Comparison::GreaterOrEqual => figure >= self.bound,
            Comparison::Greater => figure > self.bound,
        }
    }

    /// The figure it was decided on, readable.
    pub(crate) fn figure(&self, figures: &Figures) -> String {
        let value = self.metric.of(figures);
        if value.is_nan() {
            "none: nothing was answered".to_owned()
        } else if self.metric.is_time() {
            Micros(value).to_string()
        } else {
            format!("{value:.0}")
        }
    }
}

impl Metric {
    fn is_time(self) -> bool {
        matches!(self, Metric::P50 | Metric::P90 | Metric::P99 | Metric::P999 | Metric::Max)
    }

    fn of(self, figures: &Figures) -> f64 {
        match self {
            Metric::P50 => figures.p50_us,
            Metric::P90 => figures.p90_us,
            Metric::P99 => figures.p99_us,
            Metric::P999 => figures.p999_us,
            Metric::Max => figures.max_us,
            Metric::Rps => figures.rps,
            Metric::Errors => figures.errors as f64,
            Metric::Wrong => figures.wrong as f64,
        }
    }
}

/// A time in microseconds, written in the unit that suits it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Micros(pub(crate) f64);

impl fmt::Display for Micros {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self.0 {
            us if us >= 1_000_000.0 => format!("{:.2} s", us / 1_000_000.0),
            us if us >= 1_000.0 => format!("{:.2} ms", us / 1_000.0),
            us => format!("{us:.1} µs"),
        };
        f.pad(&text)
    }
}

fn plain(text: &str) -> Option<f64> {
    let signed = text.starts_with(['+', '-']);
    text.parse::<f64>().ok().filter(|v| v.is_finite() && !signed)
}

fn microseconds(text: &str) -> Option<f64> {
    let unit = text.find(|c: char| c.is_ascii_alphabetic() || c == 'µ')?;
    let (number, unit) = text.split_at(unit);
    let factor = match unit {
        "us" | "µs" => 1.0,
        "ms" => 1_000.0,
        "s" => 1_000_000.0,
        _ => return None,
    };
    plain(number.trim()).map(|n| n * factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures() -> Figures {
        Figures {
            p50_us: 100.0,
            p99_us: 4_999.0,
            max_us: 2e6,
            rps: 50_000.4,
            errors: 0,
            wrong: 3,
            ..Figures::default()
        }
    }

    fn met(text: &str) -> Vec<bool> {
        text.parse::<Expectations>().unwrap().0.iter().map(|c| c.is_met(&figures())).collect()
    }

    #[test]
    fn decides_each_condition_by_its_figure() {
        assert_eq!(met("p99<5ms,errors=0,rps>50000"), [true, true, true]);
        assert_eq!(met("p99<4.9ms, p50<=100us, p50 < 100us, max>=2s, wrong=0"), [false, true, false, true, false]);
        assert_eq!(met("rps>=50001"), [false]);
    }

    #[test]
    fn says_the_figure_that_missed() {
        let expectations: Expectations = "p99<1ms,wrong=0".parse().unwrap();
        let said: Vec<_> = expectations.0.iter().map(|c| c.figure(&figures())).collect();
        assert_eq!(said, ["5.00 ms", "3"]);
    }

    #[test]
    fn is_never_met_by_figures_that_do_not_exist() {
        let none = Figures { p99_us: f64::NAN, ..Figures::default() };
        for text in ["p99<5ms", "p99>=0s"] {
            assert!(!text.parse::<Expectations>().unwrap().0[0].is_met(&none));
        }
    }

    #[test]
    fn refuses_what_it_does_not_understand() {
        for text in [
            "",
            "p99",
            "p98<1ms",
            "p99<5",
            "p99<5m",
            "rps>5ms",
            "rps>x",
            "p99<-1ms",
            "errors==0",
            "p99<1ms,",
            "rps>nan",
            "rps<>3",
        ] {
            assert!(text.parse::<Expectations>().is_err(), "{text}");
        }
    }
}
