//! What commands print: data to stdout, as a table for people or JSON for programs; talk to stderr.

use std::io::{IsTerminal, Write};

use serde_json::Value;

/// Form of the data on stdout.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub enum Output {
    /// Aligned columns.
    Table,
    /// One JSON value.
    Json,
}

impl Output {
    /// What was asked for; else a table on a terminal and JSON in a pipe.
    pub fn or_default(asked: Option<Self>) -> Self {
        asked.unwrap_or(if std::io::stdout().is_terminal() { Self::Table } else { Self::Json })
    }
}

/// A table that is also JSON: an object for a single record, an array for many.
pub struct Table {
    columns: Vec<&'static str>,
    rows: Vec<Vec<Value>>,
}

impl Table {
    /// An empty table.
    pub fn new(columns: &[&'static str]) -> Self {
        Self { columns: columns.to_vec(), rows: Vec::new() }
    }

    /// Appends a row, a value for each column.
    pub fn row(&mut self, values: Vec<Value>) {
        debug_assert_eq!(values.len(), self.columns.len(), "a value for each column");
        self.rows.push(values);
    }

    /// The rows as JSON objects.
    pub fn to_json(&self) -> Value {
        let record = |row: &Vec<Value>| {
            Value::Object(
                self.columns.iter().map(|name| (*name).to_owned()).zip(row.iter().cloned()).collect(),
            )
        };
        Value::Array(self.rows.iter().map(record).collect())
    }

    /// The rows as aligned text with a header.
    pub fn to_text(&self) -> String {
        let texts: Vec<Vec<String>> = self.rows.iter().map(|row| row.iter().map(text).collect()).collect();
        let widths: Vec<usize> = self
            .columns
            .iter()
            .enumerate()
            .map(|(column, name)| {
                let cells = texts.iter().map(|row| row[column].chars().count());
                cells.chain([name.len()]).max().unwrap_or(0)
            })
            .collect();
        let line = |cells: &mut dyn Iterator<Item = String>| {
            let padded: Vec<String> =
                cells.zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
            format!("{}\n", padded.join("  ").trim_end())
        };
        let mut whole = line(&mut self.columns.iter().map(|name| name.to_uppercase()));
        for row in texts {
            whole.push_str(&line(&mut row.into_iter()));
        }
        whole
    }
}

/// A JSON value as a person reads it in a cell.
pub fn text(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        Value::Object(map) if map.is_empty() => "-".to_owned(),
        Value::Object(map) => {
            map.iter().map(|(key, value)| format!("{key}={}", text(value))).collect::<Vec<_>>().join(" ")
        }
        other => other.to_string(),
    }
}

/// Writes data. A reader that has gone (`| head`) is no error.
///
/// # Errors
/// stdout can't be written.
pub fn print(data: &str) -> anyhow::Result<()> {
    match std::io::stdout().write_all(data.as_bytes()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        other => Ok(other?),
    }
}

/// Writes a JSON value and a newline.
///
/// # Errors
/// stdout can't be written.
pub fn print_json(value: &impl serde::Serialize) -> anyhow::Result<()> {
    print(&format!("{}\n", serde_json::to_string_pretty(value)?))
}

/// Tells a person something.
pub fn say(message: &str) {
    // Nobody left to tell is no reason to fail.
    let _nobody_listens = writeln!(std::io::stderr(), "{message}");
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_table_aligns_and_is_the_same_data_as_json() {
        let mut table = Table::new(&["id2", "time", "fields"]);
        table.row(vec![json!(7), json!(1_000), json!({"note": "hi"})]);
        table.row(vec![json!(12_345), json!(2), json!({})]);
        assert_eq!(table.to_text(), "ID2    TIME  FIELDS\n7      1000  note=hi\n12345  2     -\n");
        assert_eq!(table.to_json()[1], json!({"id2": 12_345, "time": 2, "fields": {}}));
    }
}
