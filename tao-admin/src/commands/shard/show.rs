//! Moves as people read them.

use std::collections::BTreeMap;

use serde_json::json;
use tao_admin::shard::{MoveStatus, Plan};

use crate::output::Table;

/// A line for each move.
pub fn list_table(moves: &[MoveStatus]) -> String {
    let mut table =
        Table::new(&["shard", "move", "state", "from", "to", "serving", "copied", "worker", "waits_for"]);
    for one in moves {
        table.row(vec![
            json!(one.shard),
            json!(one.id),
            json!(one.state),
            json!(one.source),
            json!(one.target),
            json!(one.serving),
            json!(one.copied.map(percent)),
            json!(one.worker),
            json!(one.throttled.as_ref().map(|throttled| &throttled.reason)),
        ]);
    }
    table.to_text()
}

/// Everything about one.
pub fn status_text(status: &MoveStatus) -> String {
    let notes = &status.notes;
    let mut lines = vec![format!(
        "shard {}: {}, from host group {} to {}, served by {} (move {})",
        status.shard, status.state, status.source, status.target, status.serving, status.id
    )];
    let mut line = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            lines.push(format!("  {name:<12} {value}"));
        }
    };
    line("worker", Some(status.worker.clone().unwrap_or_else(|| "nobody".to_owned())));
    let throttled = status.throttled.as_ref();
    line("waits for", throttled.map(|why| format!("{}, for {:.0} s", why.reason, why.for_s)));
    line(
        "copied",
        status
            .copied
            .map(|share| format!("{} of {} rows, {}", notes.rows_copied, notes.rows_total, percent(share))),
    );
    line("bytes", (notes.bytes_copied > 0).then(|| notes.bytes_copied.to_string()));
    line("speed", status.rows_per_second.map(|rate| format!("{rate:.0} rows/s")));
    line("left", status.eta_s.map(|eta| format!("{eta:.0} s")));
    line("lag", status.lag_ms.map(|lag| format!("{lag} ms")));
    line("history", status.history_length.map(|length| length.to_string()));
    line("leader p99", status.leader_p99_ms.map(|ms| format!("{ms:.0} ms")));
    line("waited", waited(&notes.throttled_ms));
    line("last event", status.last_event_age_ms.map(|age| format!("{age} ms ago")));
    line(
        "compared",
        status.verified_age_s.map(|age| format!("{} rows equal, {age:.0} s ago", notes.rows_compared)),
    );
    line(
        "different",
        (notes.rows_different > 0)
            .then(|| format!("{}: {}", notes.rows_different, notes.differences.join(", "))),
    );
    line("predicted", notes.predicted_ms.map(|ms| format!("writes would wait {ms:.0} ms")));
    line("pause", notes.pause_ms.map(|ms| format!("writes waited {ms:.0} ms")));
    line(
        "taken back",
        (notes.rollbacks > 0).then(|| format!("{} of {} cutovers", notes.rollbacks, notes.cutovers)),
    );
    line("way back", notes.reverse_broken.as_ref().map(|why| format!("broken: {why}")));
    line("error", notes.error.clone());
    line("next", (!status.next_steps.is_empty()).then(|| status.next_steps.join(" | ")));
    lines.join("\n") + "\n"
}

/// What would be done, and what forbids it.
pub fn plan_text(plan: &Plan) -> String {
    let mut text = format!(
        "shard {}: {} rows, about {} bytes, from host group {} to {}; the copy takes about {} s\n",
        plan.shard, plan.rows, plan.bytes, plan.source, plan.target, plan.eta_s
    );
    for room in &plan.room {
        let by = room.known_by.as_deref().unwrap_or("unknown");
        let free = room.free_bytes.map_or_else(|| "?".to_owned(), |free| free.to_string());
        let (server, needed) = (&room.server, plan.needed_bytes);
        text.push_str(&format!("  disk of {server}: {free} bytes free ({by}), about {needed} needed\n"));
    }
    for (number, step) in plan.steps.iter().enumerate() {
        text.push_str(&format!("  {}. {step}\n", number + 1));
    }
    for finding in &plan.findings {
        let sort = if finding.fatal { "refused" } else { "note" };
        text.push_str(&format!("  {sort}: {}: {}\n", finding.subject, finding.message));
    }
    text
}

fn waited(by_limit: &BTreeMap<String, u64>) -> Option<String> {
    let each = by_limit.iter().map(|(input, ms)| format!("{:.1} s for {input}", *ms as f64 / 1_000.0));
    let each: Vec<String> = each.collect();
    (!each.is_empty()).then(|| each.join(", "))
}

fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}
