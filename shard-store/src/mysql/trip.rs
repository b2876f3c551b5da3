//! Several statements in one round trip: one text, with the values written out.
//!
//! The driver sends no statement before the last one was answered, so a small transaction of seven statements waits
//! seven times. As one text the server runs them one after the other, each as if it had come alone: with the locks that
//! those before it took, and with a view of its own (READ COMMITTED). At the first that fails it stops, so a COMMIT at the
//! end is reached only if everything before it was done. Each statement is still answered by itself, and each answer wakes
//! who waits for it: what answers no rows goes as one statement to servers that know such ([`Trip::in_block`]).
//!
//! Values are written as numbers, NULL and hexadecimal digits by [`write_literal`], and in no other way: no value can
//! end a literal. A text costs the server about 2 µs more for each row than a prepared statement does, against some 50 µs
//! and more for a round trip: so it is for few rows. A block whose text is always the same is prepared ([`Trip::prepared`]): to parse
//! one of six statements takes MariaDB 60 µs.

use mysql_async::prelude::{Protocol, Queryable};
use mysql_async::{Conn, Params, QueryResult, Row, Statement, Value};

use super::columns::Unexpected;
use super::connection::Connections;
use super::error::Failure;
use super::statements::Sql;

/// Statements that go together.
#[derive(Debug, Default)]
pub(super) struct Trip {
    text: String,
    /// Of the statements, in order.
    names: Vec<&'static str>,
    /// Which of them answer rows that are wanted behind COMMIT, see [`Trip::push_asking`].
    asking: Vec<usize>,
    /// Of the places that the text still has, if they are not filled.
    values: Option<Vec<Value>>,
    /// The text, as the server knows it, see [`Trip::prepare`].
    statement: Option<Statement>,
}

/// A trip that failed.
#[derive(Debug)]
pub(super) struct TripFailure {
    /// Index of the statement that failed, or whose answer did not come. With an error of the server: those before it were
    /// done, those behind it were not.
    pub(super) at: usize,
    pub(super) failure: Failure,
}

impl Trip {
    /// One whose values go beside its text, which the server then knows the next time. It can only be sent as a block, after [`Trip::prepare`].
    pub(super) fn prepared() -> Self {
        Self { values: Some(Vec::new()), ..Self::default() }
    }

    /// Appends a statement. A part in braces is repeated for as many rows as there are values.
    ///
    /// # Errors
    /// If the values do not fit the places, or are not numbers, NULL or bytes: the trip is then not to be sent.
    pub(super) fn push(&mut self, sql: &Sql, values: &[Value]) -> Result<(), Unexpected> {
        self.push_text(sql.name, sql.body(), values)
    }

    /// As [`Trip::push`], for a statement whose rows are wanted from a trip that goes out with COMMIT.
    pub(super) fn push_asking(&mut self, sql: &Sql, values: &[Value]) -> Result<(), Unexpected> {
        self.asking.push(self.names.len());
        self.push(sql, values)
    }

    /// As [`Trip::push`], for a text that is not a file as it stands.
    pub(super) fn push_text(
        &mut self,
        name: &'static str,
        body: &str,
        values: &[Value],
    ) -> Result<(), Unexpected> {
        if !self.names.is_empty() {
            self.text.push_str(";\n");
        }
        self.names.push(name);
        let mut values = values.iter();
        let repeated = body.split_once('{').and_then(|(before, rest)| Some((before, rest.split_once('}')?)));
        match repeated {
            None => self.fill(body, &mut values)?,
            Some((before, (part, after))) => {
                self.fill(before, &mut values)?;
                self.fill(part, &mut values)?;
                while values.len() > 0 {
                    self.text.push_str(", ");
                    self.fill(part, &mut values)?;
                }
                self.fill(after, &mut values)?;
            }
        }
        if values.len() > 0 { Err(Unexpected("more values than places for them")) } else { Ok(()) }
    }

    /// Appends a piece of SQL with values in its places, or beside it.
    fn fill<'a>(
        &mut self,
        piece: &str,
        values: &mut impl Iterator<Item = &'a Value>,
    ) -> Result<(), Unexpected> {
        for (at, fixed) in piece.split('?').enumerate() {
            if at > 0 {
                let value = values.next().ok_or(Unexpected("fewer values than places for them"))?;
                match &mut self.values {
                    None => write_literal(&mut self.text, value)?,
                    Some(beside) => {
                        self.text.push('?');
                        beside.push(value.clone());
                    }
                }
            }
            self.text.push_str(fixed);
        }
        Ok(())
    }

    /// The same as one statement with COMMIT behind it: those that ask are answered one by one, all others together, which
    /// tells of the first that fails, but not which that was. `block` has the place for them.
    pub(super) fn in_block(self, block: &Sql) -> Result<Self, Unexpected> {
        let (before, after) =
            block.body().split_once('?').ok_or(Unexpected("a block without a place for statements"))?;
        let asking: Vec<usize> = (0..self.asking.len()).collect();
        let names = self.asking.iter().map(|at| self.names[*at]).chain([block.name]).collect();
        let text = [before, &self.text, after].concat();
        Ok(Self { text, names, asking, ..self })
    }

    /// Number of statements.
    pub(super) fn len(&self) -> usize {
        self.names.len()
    }

    /// Of all answers, those to statements that ask.
    pub(super) fn asked(&self, mut answers: Vec<Vec<Row>>) -> Vec<Vec<Row>> {
        self.asking.iter().filter_map(|at| answers.get_mut(*at).map(std::mem::take)).collect()
    }

    /// Makes the server know the text, if that is of use and it does not yet.
    pub(super) async fn prepare(&mut self, home: &Connections, conn: &mut Conn) -> Result<(), Failure> {
        if let (Some(_), Some(first)) = (&self.values, self.names.first()) {
            self.statement = Some(home.timed(first, conn.prep(self.text.as_str())).await?);
        }
        Ok(())
    }

    /// Sends the statements and reads the rows that each answers. Each answer has the time of a statement.
    pub(super) async fn send(
        &mut self,
        home: &Connections,
        conn: &mut Conn,
    ) -> Result<Vec<Vec<Row>>, TripFailure> {
        let Some(first) = self.names.first() else { return Ok(Vec::new()) };
        let failed = |failure| TripFailure { at: 0, failure };
        match self.statement.take() {
            None => {
                let sent = home.timed(first, conn.query_iter(self.text.as_str())).await;
                self.answers(home, sent.map_err(failed)?).await
            }
            Some(statement) => {
                let values = Params::Positional(self.values.take().unwrap_or_default());
                let sent = home.timed(first, conn.exec_iter(statement, values)).await;
                self.answers(home, sent.map_err(failed)?).await
            }
        }
    }

    async fn answers<P: Protocol>(
        &self,
        home: &Connections,
        mut result: QueryResult<'_, '_, P>,
    ) -> Result<Vec<Vec<Row>>, TripFailure> {
        let failed = |at: usize| move |failure| TripFailure { at, failure };
        let mut answers = Vec::with_capacity(self.names.len());
        for (at, name) in self.names.iter().enumerate() {
            // The driver keeps an error of the server for the statement that it belongs to.
            let has_come = result.columns().is_some();
            let rows = home.timed(name, result.collect()).await.map_err(failed(at))?;
            if !has_come {
                return Err(failed(at)(home.unexpected(name, "fewer statements than were sent")));
            }
            answers.push(rows);
        }
        if result.columns().is_some() {
            let last = self.names.len() - 1;
            return Err(failed(last)(home.unexpected(self.names[last], "more statements than were sent")));
        }
        Ok(answers)
    }
}

/// Writes a value as SQL: digits, NULL, or `x'..'`, which both servers take for a binary string.
fn write_literal(text: &mut String, value: &Value) -> Result<(), Unexpected> {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    match value {
        Value::NULL => text.push_str("NULL"),
        Value::Int(number) => text.push_str(&number.to_string()),
        Value::UInt(number) => text.push_str(&number.to_string()),
        Value::Bytes(bytes) => {
            text.reserve(3 + 2 * bytes.len());
            text.push_str("x'");
            for byte in bytes {
                text.push(char::from(HEX[usize::from(byte >> 4)]));
                text.push(char::from(HEX[usize::from(byte & 15)]));
            }
            text.push('\'');
        }
        Value::Float(_) | Value::Double(_) | Value::Date(..) | Value::Time(..) => {
            return Err(Unexpected("a value that is no number, NULL or bytes"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::statements::{COMMIT, PUT_COUNTS, READ_EDGE_AND_COUNT};
    use super::*;

    #[test]
    fn values_are_written_as_numbers_null_and_hexadecimal_digits() {
        let check = |value: Value, written: &str| {
            let mut text = String::new();
            write_literal(&mut text, &value).unwrap();
            assert_eq!(text, written);
        };
        check(Value::NULL, "NULL");
        check(u64::MAX.into(), "18446744073709551615");
        check(i64::MIN.into(), "-9223372036854775808");
        check(Value::Bytes(Vec::new()), "x''");
        check(Value::Bytes(b"\x00'\\\x1a;\xff".to_vec()), "x'00275c1a3bff'");
        assert!(write_literal(&mut String::new(), &Value::Double(1.0)).is_err());
    }

    #[test]
    fn values_go_into_their_places_and_nowhere_else() {
        let numbers = |count: u64| (1..=count).map(Value::from).collect::<Vec<_>>();
        let mut trip = Trip::default();
        trip.push(&PUT_COUNTS, &numbers(8)).unwrap();
        trip.push(&COMMIT, &[]).unwrap();
        assert!(trip.text.contains("VALUES (1, 2, 3, 4), (5, 6, 7, 8)\nON"), "{}", trip.text);
        assert!(trip.text.ends_with(&format!(";\n{}", COMMIT.body())) && trip.len() == 2);
        for (sql, count) in [(&PUT_COUNTS, 7), (&PUT_COUNTS, 0), (&READ_EDGE_AND_COUNT, 6), (&COMMIT, 1)] {
            assert!(Trip::default().push(sql, &numbers(count)).is_err(), "{} of {}", count, sql.name);
        }
    }
}
