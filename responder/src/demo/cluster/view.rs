//! How the parts of a demo's cluster fare, as a table.
//!
//! Purpose: who leads, how far each is, how far behind. It is drawn from the metrics that each part tells; a part that does
//! not answer is shown as silent. It does not know processes.

use std::{fmt::Write as _, net::SocketAddr, time::Duration};

use ureq::Agent;

use super::files::{Layout, Part};

/// How long a part may take to answer.
const WITHIN: Duration = Duration::from_millis(500);
/// Bytes of an answer that are taken.
const OCTETS_MAX: u64 = 1 << 20;

/// What was seen of a part.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Seen {
    name: String,
    id: Option<u32>,
    http: Option<SocketAddr>,
    metrics: Option<Metrics>,
}

/// What its metrics say.
#[derive(Clone, PartialEq, Default, Debug)]
struct Metrics {
    state: String,
    epoch: u64,
    sequence: u64,
    /// Seconds since the writer's last sign of life.
    lag: Option<f64>,
    good: u64,
    revoked: u64,
    answers: u64,
}

/// What parts are asked with.
pub(super) fn agent() -> Agent {
    // What the environment names as a proxy is not asked, and a part that was started again gets another connection.
    Agent::config_builder().proxy(None).max_idle_connections(0).timeout_global(Some(WITHIN)).build().new_agent()
}

/// Asks a part.
pub(super) fn see(agent: &Agent, part: &Part, id: Option<u32>) -> Seen {
    let metrics = id.and_then(|_| ask(agent, part.admin)).map(|text| read(&text));
    Seen { name: part.name.clone(), id, http: part.http, metrics }
}

fn ask(agent: &Agent, admin: SocketAddr) -> Option<String> {
    let mut answer = agent.get(format!("http://{admin}/metrics")).call().ok()?;
    answer.body_mut().with_config().limit(OCTETS_MAX).read_to_string().ok()
}

fn read(text: &str) -> Metrics {
    let mut metrics = Metrics::default();
    for line in text.lines() {
        let Some((name, value)) = line.rsplit_once(' ') else { continue };
        let number = || value.parse::<f64>().unwrap_or(0.0);
        let labelled = |label: &str| {
            let (_, rest) = name.split_once(&format!("{label}=\""))?;
            rest.split_once('"').map(|(value, _)| value.to_owned())
        };
        match name.split('{').next().unwrap_or_default() {
            "ostia_feed_role" if value == "1" => metrics.state = labelled("role").unwrap_or_default().replace('_', " "),
            "ostia_feed_freshness" if value == "1" => metrics.state = labelled("state").unwrap_or_default(),
            "ostia_feed_epoch" => metrics.epoch = value.parse().unwrap_or(0),
            "ostia_feed_sequence" => metrics.sequence = value.parse().unwrap_or(0),
            "ostia_feed_lag_seconds" | "ostia_feed_silence_seconds" => metrics.lag = Some(number()),
            "ostia_records" => match labelled("status").as_deref() {
                Some("good") => metrics.good += number() as u64,
                _ => metrics.revoked += number() as u64,
            },
            "ostia_answers" => metrics.answers = number() as u64,
            _ => {}
        }
    }
    metrics
}

/// The table, for people.
pub(super) fn table(seen: &[Seen], redis: Option<u32>, layout: &Layout) -> String {
    let id = |id: Option<u32>| id.map_or("-".to_owned(), |id| id.to_string());
    let mut text = format!(
        "{:<11}{:>9}  {:<13}{:>24}{:>7}{:>7}{:>9}{:>9}  {}\n",
        "", "process", "state", "at", "lag", "good", "revoked", "answers", "address"
    );
    let state = if redis.is_some() { "runs" } else { "gone" };
    let _ = writeln!(text, "{:<11}{:>9}  {state:<13}{:>65}{}", "redis", id(redis), "", layout.redis);
    for Seen { name, id: number, http, metrics } in seen {
        let address = http.map_or(String::new(), |http| format!("http://{http}/"));
        let _ = match (metrics, number) {
            (Some(Metrics { state, epoch, sequence, lag, good, revoked, answers }), _) => {
                let (place, lag) = (format!("{epoch}-{sequence}"), lag.map_or("".into(), |lag| format!("{lag:.1} s")));
                writeln!(
                    text,
                    "{name:<11}{:>9}  {state:<13}{place:>24}{lag:>7}{good:>7}{revoked:>9}{answers:>9}  {address}",
                    id(*number)
                )
            }
            (None, Some(_)) => writeln!(text, "{name:<11}{:>9}  {:<13}{:>56}  {address}", id(*number), "silent", ""),
            (None, None) => writeln!(text, "{name:<11}{:>9}  {:<13}{:>56}  {address}", "-", "gone", ""),
        };
    }
    text
}

/// Whether two tables say the same but for positions and lags, which always change.
pub(super) fn same(table: &str, other: &str) -> bool {
    let told = |table: &str| -> Vec<String> {
        let word = |line: &str| {
            let words = line.split_whitespace().filter(|word| !word.contains('-') || word.starts_with(['w', 'r']));
            words.filter(|word| word.parse::<f64>().is_err() || !word.contains('.')).collect::<Vec<_>>().join(" ")
        };
        table.lines().map(word).collect()
    };
    told(table) == told(other)
}

#[cfg(test)]
mod tests {
    use super::*;

    const WRITER: &str = "# HELP ostia_feed_role 1 for what\nostia_feed_role{role=\"standing_by\"} 0\nostia_feed_role{role=\"leading\"} 1\nostia_feed_epoch 17\nostia_feed_sequence 4\nostia_feed_silence_seconds 0.25\nostia_records{tenant=\"a\",issuer=\"b\",status=\"good\"} 3\nostia_records{tenant=\"a\",issuer=\"b\",status=\"revoked\"} 2\nostia_answers 5\n";

    #[test]
    fn what_a_part_tells_is_read_and_shown() {
        let metrics = read(WRITER);
        let expected = Metrics {
            state: "leading".into(),
            epoch: 17,
            sequence: 4,
            lag: Some(0.25),
            good: 3,
            revoked: 2,
            answers: 5,
        };
        assert_eq!(metrics, expected);
        let layout =
            Layout::new("demo".as_ref(), "127.0.0.1:8080".parse().unwrap(), "127.0.0.1:9090".parse().unwrap()).unwrap();
        let seen = |id, metrics| Seen { name: "writer-1".into(), id, http: None, metrics };
        let of = |id, metrics| table(&[seen(id, metrics)], Some(1), &layout);
        let shown = of(Some(7), Some(expected.clone()));
        assert!(shown.contains("leading") && shown.contains("17-4") && shown.contains("0.2 s"), "{shown}");
        assert!(of(Some(7), None).contains("silent") && of(None, None).contains("gone"));
        // Only what changes goes into a pipe.
        assert!(same(&shown, &of(Some(7), Some(Metrics { sequence: 5, lag: Some(0.9), ..expected.clone() }))));
        assert!(!same(&shown, &of(Some(7), Some(Metrics { revoked: 3, ..expected.clone() }))));
        assert!(!same(&shown, &of(Some(8), Some(expected))));
    }
}
