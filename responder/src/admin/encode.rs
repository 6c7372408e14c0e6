//! Metrics with their labels in the form of OpenMetrics. It does not know what is measured.

use prometheus_client::{
    encoding::{DescriptorEncoder, EncodeLabelSet},
    metrics::MetricType,
};

use crate::site::Issuer;

pub(super) type Labels = Vec<(&'static str, String)>;

pub(super) fn labels((tenant, issuer): (&str, &Issuer)) -> Labels {
    vec![("tenant", tenant.to_owned()), ("issuer", issuer.name.clone())]
}

pub(super) fn gauge(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    value: u64,
) -> Result<(), std::fmt::Error> {
    gauges(encoder, name, help, vec![(Labels::new(), value)])
}

pub(super) fn gauges<L: EncodeLabelSet>(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    values: Vec<(L, u64)>,
) -> Result<(), std::fmt::Error> {
    let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
    values.iter().try_for_each(|(labels, value)| metric.encode_family(labels)?.encode_gauge(value))
}

pub(super) fn counters<L: EncodeLabelSet>(
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
