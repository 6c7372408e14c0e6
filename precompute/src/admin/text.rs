//! The two forms of metrics, and which one a client gets. Pure.
//!
//! Invariant: both have the same series, and help for each family. OpenMetrics is what the encoder writes; the older text
//! format of Prometheus (0.0.4), which everything reads, is made from it.

/// A form of metrics.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Form {
    OpenMetrics,
    Text,
}

impl Form {
    /// The form for a client that accepts these media types: the older one where it does not ask for the other.
    pub(super) fn accepted(accept: &str) -> Self {
        if accept.contains("application/openmetrics-text") { Self::OpenMetrics } else { Self::Text }
    }

    /// The media type.
    pub(super) const fn media_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
        }
    }

    /// The text in this form, from OpenMetrics.
    pub(super) fn of(self, openmetrics: String) -> String {
        match self {
            Self::OpenMetrics => openmetrics,
            Self::Text => text(&openmetrics),
        }
    }
}

/// In OpenMetrics a family has its name without the suffix of its series, a kind for information, and an end of the file.
fn text(openmetrics: &str) -> String {
    let mut out = String::with_capacity(openmetrics.len());
    // The help comes before the kind, on which the name depends.
    let mut help = "";
    for line in openmetrics.lines() {
        if let Some(family) = line.strip_prefix("# HELP ") {
            help = family.split_once(' ').map_or("", |(_, help)| help);
        } else if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|family| family.split_once(' ')) {
            let (suffix, kind) = match kind {
                "counter" => ("_total", "counter"),
                "info" => ("_info", "gauge"),
                "unknown" => ("", "untyped"),
                _ => ("", kind),
            };
            out += &format!("# HELP {name}{suffix} {help}\n# TYPE {name}{suffix} {kind}\n");
        } else if !line.starts_with('#') {
            out += line;
            out.push('\n');
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_asks_for_openmetrics_gets_it_and_everybody_else_the_older_text() {
        let of_prometheus = "application/openmetrics-text;version=1.0.0;q=0.6,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
        assert_eq!(Form::accepted(of_prometheus), Form::OpenMetrics);
        for accept in ["", "*/*", "text/plain", "text/html"] {
            assert_eq!(Form::accepted(accept), Form::Text, "{accept}");
        }
    }

    #[test]
    fn the_older_text_has_the_names_of_series_and_no_end() {
        let openmetrics = "# HELP a_requests Requests.\n# TYPE a_requests counter\na_requests_total{b=\"# HELP\"} 1\n\
            # HELP a_server Which.\n# TYPE a_server info\na_server_info{id=\"1\"} 1\n\
            # HELP a_wait_seconds Wait.\n# TYPE a_wait_seconds gauge\n# UNIT a_wait_seconds seconds\na_wait_seconds 0.5\n# EOF\n";
        let wanted = "# HELP a_requests_total Requests.\n# TYPE a_requests_total counter\na_requests_total{b=\"# HELP\"} 1\n\
            # HELP a_server_info Which.\n# TYPE a_server_info gauge\na_server_info{id=\"1\"} 1\n\
            # HELP a_wait_seconds Wait.\n# TYPE a_wait_seconds gauge\na_wait_seconds 0.5\n";
        assert_eq!(Form::Text.of(openmetrics.to_owned()), wanted);
        assert_eq!(Form::OpenMetrics.of(openmetrics.to_owned()), openmetrics);
    }
}
