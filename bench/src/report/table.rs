//! The rows as a table, which is also Markdown.

use std::fmt::Write as _;

use super::{Report, Row};

/// The whole report for people.
pub fn table(report: &Report) -> String {
    let mut text = String::new();
    let mut put = |line: String| {
        // Writing to a string can't fail.
        let _infallible = writeln!(text, "{line}");
    };
    let machine = &report.machine;
    put(format!("{}, {} cores; {}; seed {}", machine.processor, machine.cores, machine.pinning, report.seed));
    put(format!("{}\n", machine.engines.join("; ")));
    put("| row | work | against | goal | median | min | max | rounds | tier | peer | met |".to_owned());
    put("|---|---|---|---|---|---|---|---|---|---|---|".to_owned());
    for row in &report.rows {
        put(line(row));
    }
    for row in report.rows.iter().filter(|row| !row.notes.is_empty()) {
        put(format!("\n{}: {}", row.name, row.notes.join("; ")));
    }
    for checked in &report.checks {
        put(format!(
            "\ntao check after {}: {} entries and {} edges compared, {} differences",
            checked.after, checked.cached_entries, checked.cached_edges, checked.difference_count
        ));
    }
    for failure in &report.failures {
        put(format!("\nFAILED {failure}"));
    }
    put(format!("\n{:.0} s in all", report.seconds));
    text
}

fn line(row: &Row) -> String {
    let (ours, theirs) = row.figures();
    let measured = !row.rounds.is_empty();
    let value = |value: f64| if measured { short(value) } else { "–".to_owned() };
    let met = match row.met {
        Some(true) => "yes",
        Some(false) => "no",
        None if measured => "–",
        None => "not measured",
    };
    let figure = |figure: Option<f64>| {
        figure
            .filter(|_| measured)
            .map_or("–".to_owned(), |figure| format!("{}{}", short(figure), row.figure_unit))
    };
    format!(
        "| {} | {} | {} | {} | {} {} | {} | {} | {} | {} | {} | {met} |",
        row.name,
        row.work,
        row.against,
        row.goal.text(row.unit),
        value(row.median),
        row.unit,
        value(row.min),
        value(row.max),
        row.rounds.len(),
        figure(Some(ours)),
        figure(theirs),
    )
}

/// Three or four significant digits.
fn short(value: f64) -> String {
    let size = value.abs();
    match size {
        _ if size >= 10_000.0 => format!("{:.0}k", value / 1_000.0),
        _ if size >= 100.0 => format!("{value:.0}"),
        _ if size >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Goal, Round};
    use super::*;

    #[test]
    fn a_line_has_goal_spread_and_figures() {
        let row = Row::new("point16", "reads", "Redis", Goal::AtLeast(2.0))
            .measured(vec![Round::ratio(900_000.0, 300_000.0), Round::ratio(800_000.0, 400_000.0)]);
        assert_eq!(
            line(&row),
            "| point16 | reads | Redis | ≥ 2 x | 2.50 x | 2.00 | 3.00 | 2 | 850k/s | 350k/s | yes |"
        );
        let row = Row::new("a", "b", "c", Goal::AtMost(1.0)).note("no server");
        assert!(line(&row).ends_with("| – x | – | – | 0 | – | – | not measured |"), "{}", line(&row));
    }
}
