//! What the instruments of one store say, as values and as the text that Prometheus reads.
//!
//! Never: measures.

use super::list::Metric;
use std::fmt;

/// All metrics of one store, each with its values. Its `Display` is Prometheus' text format.
#[derive(Clone, PartialEq, Debug)]
#[non_exhaustive]
pub struct MetricsReport {
    /// One for each of [`METRICS`](super::METRICS), in its order.
    pub families: Vec<MetricFamily>,
}

/// A metric and its values.
#[derive(Clone, PartialEq, Debug)]
#[non_exhaustive]
pub struct MetricFamily {
    /// What is measured.
    pub metric: Metric,
    /// One value, or one for each label; none where nothing of a label was met.
    pub samples: Vec<MetricSample>,
}

/// One value.
#[derive(Clone, PartialEq, Debug)]
#[non_exhaustive]
pub struct MetricSample {
    /// The name of its label and the label, if it has one.
    pub label: Option<(&'static str, &'static str)>,
    /// The value.
    pub value: MetricValue,
}

/// What a metric says.
#[derive(Copy, Clone, PartialEq, Debug)]
#[non_exhaustive]
pub enum MetricValue {
    /// A count or a level.
    Number(u64),
    /// A distribution.
    Summary(SummaryValue),
}

/// A distribution, in the unit of its metric.
#[derive(Copy, Clone, PartialEq, Debug)]
#[non_exhaustive]
pub struct SummaryValue {
    /// Half of the values of the last one to two minutes are no larger; `None` without any.
    pub p50: Option<f64>,
    /// So are 95 in a hundred of them.
    pub p95: Option<f64>,
    /// So are 99 in a hundred of them.
    pub p99: Option<f64>,
    /// The sum of all values since the store was opened.
    pub sum: f64,
    /// How many these are.
    pub count: u64,
}

impl MetricsReport {
    /// The metric of that name.
    pub fn family(&self, name: &str) -> Option<&MetricFamily> {
        self.families
            .iter()
            .find(|family| family.metric.name == name)
    }
}

impl fmt::Display for MetricsReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for MetricFamily { metric, samples } in &self.families {
            let Metric { name, help, .. } = metric;
            writeln!(f, "# HELP {name} {help} ({}).", metric.unit)?;
            writeln!(f, "# TYPE {name} {}", metric.kind.as_str())?;
            for MetricSample { label, value } in samples {
                match (label, value) {
                    (None, MetricValue::Number(number)) => writeln!(f, "{name} {number}")?,
                    (Some((label, of)), MetricValue::Number(number)) => {
                        writeln!(f, "{name}{{{label}=\"{of}\"}} {number}")?;
                    }
                    (_, MetricValue::Summary(summary)) => summary.write(f, name)?,
                }
            }
        }
        Ok(())
    }
}

impl SummaryValue {
    /// The quantiles that are told, by name.
    pub fn quantiles(&self) -> [(&'static str, Option<f64>); 3] {
        [("0.5", self.p50), ("0.95", self.p95), ("0.99", self.p99)]
    }

    fn write(&self, f: &mut fmt::Formatter<'_>, name: &str) -> fmt::Result {
        for (quantile, value) in self.quantiles() {
            // Prometheus' word for a quantile of nothing.
            let value = value.unwrap_or(f64::NAN);
            writeln!(f, "{name}{{quantile=\"{quantile}\"}} {value}")?;
        }
        writeln!(f, "{name}_sum {}", self.sum)?;
        writeln!(f, "{name}_count {}", self.count)
    }
}
