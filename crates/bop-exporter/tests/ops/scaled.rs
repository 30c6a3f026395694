//! The alerts with shorter durations. Every threshold is as it stands in `ops/alerts.yml`.

/// A minute of the rules is a second of the tests.
pub(crate) const FASTER: u64 = 60;

/// The rules with every duration divided by [`FASTER`]: those in brackets behind a metric, and those of `for:`.
pub(crate) fn scaled(rules: &str) -> String {
    let lines = rules
        .lines()
        .map(|line| match line.trim_start().strip_prefix("for: ") {
            Some(time) => line.replace(time, &shorter(time).unwrap()),
            None => with_short_windows(line),
        });
    let lines: Vec<String> = lines.collect();
    lines.join("\n") + "\n"
}

fn with_short_windows(line: &str) -> String {
    let mut parts = line.split('[');
    let mut made = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let window = part
            .split_once(']')
            .and_then(|(time, rest)| Some((shorter(time)?, rest)));
        match window {
            Some((time, rest)) => made.push_str(&format!("[{time}]{rest}")),
            None => made.push_str(&format!("[{part}")),
        }
    }
    made
}

/// `None` of what is no duration.
fn shorter(time: &str) -> Option<String> {
    let (count, unit) = time.split_at_checked(time.len().checked_sub(1)?)?;
    let unit_ms = match unit {
        "s" => 1000,
        "m" => 60 * 1000,
        "h" => 60 * 60 * 1000,
        _ => return None,
    };
    let ms = count.parse::<u64>().ok()? * unit_ms / FASTER;
    Some(format!("{ms}ms"))
}

#[test]
fn durations_are_shorter_and_everything_else_stays() {
    let rules = "\
groups: [a]
        expr: rate(bop_x{code=\"[a-z]\"}[5m]) * 60 > 100
        for: 1m
        description: after 5m
";
    let expected = "\
groups: [a]
        expr: rate(bop_x{code=\"[a-z]\"}[5000ms]) * 60 > 100
        for: 1000ms
        description: after 5m
";
    assert_eq!(scaled(rules), expected);
}
