//! `bop stats`: the state of the store, and its metrics; with `--prometheus` these alone, as Prometheus reads them. Of a store that was just opened most counters
//! are those of the opening. An unhealthy one is shown too, with exit status 3.

use super::Call;
use crate::failure::Failure;
use crate::output::render_table;
use bop_storage::error::ErrorCode;
use bop_storage::{Health, MetricFamily, MetricValue, MetricsReport, StoreStatus, SummaryValue};
use serde_json::{Map, Value, json};
use std::fmt::Write;

/// Runs the command.
pub(super) fn run(call: &mut Call<'_>) -> Result<u8, Failure> {
    let (status, metrics) = (call.manager.status(), call.manager.metrics());
    call.answer(to_text(&status, &metrics), to_json(&status, &metrics))?;
    Ok(match status.health {
        Health::Ok => 0,
        _ => ErrorCode::Unhealthy.exit_status(),
    })
}

/// Runs `bop stats --prometheus`.
pub(super) fn metrics(call: &mut Call<'_>) -> Result<u8, Failure> {
    let text = call.manager.metrics_text();
    let text = text.trim_end();
    call.answer(text, text.into())?;
    Ok(0)
}

fn health(status: &StoreStatus) -> String {
    match &status.health {
        Health::Ok => "ok".to_owned(),
        Health::Damaged { databases } => format!("{databases} databases closed for damage"),
        Health::Poisoned(cause) => format!("takes no commits: {cause}"),
        // What a later engine may say.
        other => format!("{other:?}"),
    }
}

fn to_json(status: &StoreStatus, report: &MetricsReport) -> Value {
    let metrics = report
        .families
        .iter()
        .map(|family| (family.metric.name.to_owned(), family_to_json(family)));
    json!({
        "path": status.path.display().to_string(),
        "store": status.store.to_string(),
        "epoch": status.epoch.get(),
        "backend": status.backend,
        "health": health(status),
        "healthy": matches!(status.health, Health::Ok),
        "published": status.published.get(),
        "checkpointed": status.checkpointed.get(),
        "truncated": status.truncated.get(),
        "slowest_cursor": status.slowest_cursor,
        "metrics": metrics.collect::<Map<String, Value>>(),
    })
}

/// A number; an object of numbers by label; or an object of a summary's parts.
fn family_to_json(family: &MetricFamily) -> Value {
    let value = |value: &MetricValue| match value {
        MetricValue::Number(number) => json!(number),
        MetricValue::Summary(summary) => {
            let SummaryValue {
                p50,
                p95,
                p99,
                sum,
                count,
                ..
            } = summary;
            json!({ "p50": p50, "p95": p95, "p99": p99, "sum": sum, "count": count })
        }
        _ => Value::Null,
    };
    if let [sample] = &family.samples[..]
        && sample.label.is_none()
    {
        return value(&sample.value);
    }
    let labelled = family.samples.iter().filter_map(|sample| {
        let (_, of) = sample.label?;
        Some((of.to_owned(), value(&sample.value)))
    });
    Value::Object(labelled.collect())
}

fn to_text(status: &StoreStatus, report: &MetricsReport) -> String {
    let kept = |name: &String| format!("{} bytes of it for {name:?}", status.cursor_log_bytes);
    let kept = status.slowest_cursor.as_ref().map(kept);
    let lines = [
        ("store", status.store.to_string()),
        ("path", status.path.display().to_string()),
        ("epoch", status.epoch.to_string()),
        ("backend", status.backend.clone()),
        ("health", health(status)),
        ("published", format!("lsn {}", status.published)),
        ("checkpointed", format!("lsn {}", status.checkpointed)),
        ("truncated", format!("lsn {}", status.truncated)),
        (
            "log kept",
            kept.unwrap_or_else(|| "for no cursor".to_owned()),
        ),
    ];
    let mut text = String::new();
    for (name, value) in lines {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{name:<14}{value}");
    }
    let rows = report.families.iter().flat_map(rows_of).collect();
    let columns = ["metric", "value", "unit", "p50", "p95", "p99"];
    text.push_str(&render_table(&columns, rows));
    text
}

/// A row for each value. Of those that have a label people want to see what happened: the others are
/// left out.
fn rows_of(family: &MetricFamily) -> Vec<Vec<(String, bool)>> {
    let metric = &family.metric;
    let row = |name: String, value: String, unit: &str, quantiles: [Option<f64>; 3]| {
        let mut row = vec![(name, false), (value, true), (unit.to_owned(), false)];
        let quantile = |quantile: Option<f64>| (quantile.map_or(String::new(), shown), true);
        row.extend(quantiles.map(quantile));
        row
    };
    let rows = family.samples.iter().filter_map(|sample| {
        Some(match (sample.label, sample.value) {
            (Some(_), MetricValue::Number(0)) => return None,
            (Some((label, of)), MetricValue::Number(number)) => {
                let name = format!("{}{{{label}={of}}}", metric.name);
                row(name, number.to_string(), metric.unit, [None; 3])
            }
            (None, MetricValue::Number(number)) => {
                let (name, value) = (metric.name.to_owned(), number.to_string());
                row(name, value, metric.unit, [None; 3])
            }
            (_, MetricValue::Summary(summary)) => {
                let (name, sum) = (metric.name.to_owned(), shown(summary.sum));
                let unit = format!("{} in {}", metric.unit, summary.count);
                let quantiles = [summary.p50, summary.p95, summary.p99];
                row(name, sum, &unit, quantiles)
            }
            _ => return None,
        })
    });
    rows.collect()
}

/// Three digits behind the point are a millisecond; below that, microseconds.
fn shown(value: f64) -> String {
    if value.fract() == 0.0 {
        format!("{value:.0}")
    } else {
        format!("{value:.6}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_numbers_have_no_point_and_parts_of_a_second_have_microseconds() {
        assert_eq!(shown(4096.0), "4096");
        assert_eq!(shown(0.000_25), "0.000250");
    }
}
