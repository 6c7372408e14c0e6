//! Metrics with their labels in the form of OpenMetrics. It does not know what is measured.

use prometheus_client::{
    encoding::{DescriptorEncoder, EncodeLabelSet},
    metrics::MetricType,
};

use crate::issuer::ActiveIssuer;

/// A family of metrics without a label of its own: its name, its help, and how it is read.
pub type Family<T> = (&'static str, &'static str, fn(&T) -> u64);

/// The same of a gauge that is absent where there is nothing to tell: a 0 would be taken for a time long ago.
pub type Sparse<T> = (&'static str, &'static str, fn(&T) -> Option<u64>);

/// Names and values.
pub type Labels = Vec<(&'static str, String)>;

/// The labels of an issuer with its tenant's name.
pub fn labels((tenant, issuer): (&str, &std::sync::Arc<ActiveIssuer>)) -> Labels {
    vec![("tenant", tenant.to_owned()), ("issuer", issuer.name.clone())]
}

/// A number without labels.
pub fn gauge(encoder: &mut DescriptorEncoder<'_>, name: &str, help: &str, value: u64) -> Result<(), std::fmt::Error> {
    gauges(encoder, name, help, vec![(Labels::new(), value)])
}

/// Numbers that go up and down.
pub fn gauges<L: EncodeLabelSet>(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    values: Vec<(L, u64)>,
) -> Result<(), std::fmt::Error> {
    let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
    values.iter().try_for_each(|(labels, value)| metric.encode_family(labels)?.encode_gauge(value))
}

/// Numbers that go up and down, of those that have one.
pub fn sparse<L: EncodeLabelSet>(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    values: impl IntoIterator<Item = (L, Option<u64>)>,
) -> Result<(), std::fmt::Error> {
    let there = values.into_iter().filter_map(|(labels, value)| Some((labels, value?)));
    gauges(encoder, name, help, there.collect())
}

/// Numbers that only increase.
pub fn counters<L: EncodeLabelSet>(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    values: Vec<(L, u64)>,
) -> Result<(), std::fmt::Error> {
    let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
    values
        .iter()
        .try_for_each(|(labels, value)| metric.encode_family(labels)?.encode_counter::<Labels, _, u64>(value, None))
}
