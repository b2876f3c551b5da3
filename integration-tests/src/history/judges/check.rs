//! What `tao check --deep` reports of a real cluster, as a judgement (I4, I5, I6).

use serde_json::Value;

use crate::history::operation::{Invariant, Judgement, Violation};

/// Judges the JSON report of `tao check`, deep or not.
pub fn judge_check(report: &Value) -> Judgement {
    let mut found = Judgement::default();
    let figure = |name: &str| report.get(name).and_then(Value::as_u64).unwrap_or(0);
    found.count(Invariant::I4, figure("cached_entries"));
    found.count(Invariant::I5, figure("inverses"));
    found.count(Invariant::I6, figure("counts"));
    let listed = report.get("differences").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    for difference in listed {
        let text = |name: &str| difference.get(name).and_then(Value::as_str).unwrap_or("?");
        let invariant = match text("kind") {
            "inverse" => Invariant::I5,
            "count" => Invariant::I6,
            _ => Invariant::I4,
        };
        let message =
            format!("tao check: {} at {:?}: {}: {}", text("kind"), text("node"), text("key"), text("detail"));
        found.blame(Violation { invariant, message, slice: Vec::new() });
    }
    let all = figure("difference_count");
    match report.get("difference_count").and_then(Value::as_u64) {
        Some(_) => found.unlisted += all.saturating_sub(listed.len() as u64),
        None => found.blame(Violation {
            invariant: Invariant::I4,
            message: format!("this is no report of tao check: {report}"),
            slice: Vec::new(),
        }),
    }
    found
}
