//! A pipelining Redis client (RESP 2) over [`Wire`].

use anyhow::{Result, bail};

use super::wire::{Wire, line, number, push_number};

/// One connection.
pub struct Redis {
    wire: Wire,
}

/// A reply that is not a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply<T> {
    /// Nothing is there.
    Nil,
    /// A number.
    Number(i64),
    /// Bytes, or a status; what the reader made of them.
    Bytes(T),
}

impl Redis {
    /// Connects.
    ///
    /// # Errors
    /// Nobody answers.
    pub async fn connect(address: &str) -> Result<Self> {
        Ok(Self { wire: Wire::connect(address).await? })
    }

    /// Puts a command into the pipeline.
    pub fn command(&mut self, parts: &[&[u8]]) {
        let out = &mut self.wire.out;
        out.push(b'*');
        push_number(out, parts.len() as u64);
        out.extend_from_slice(b"\r\n");
        for part in parts {
            out.push(b'$');
            push_number(out, part.len() as u64);
            out.extend_from_slice(b"\r\n");
            out.extend_from_slice(part);
            out.extend_from_slice(b"\r\n");
        }
    }

    /// Sends the pipeline.
    ///
    /// # Errors
    /// The connection broke.
    pub async fn send(&mut self) -> Result<()> {
        self.wire.send().await
    }

    /// The next reply, which must not be a list; `read` sees its bytes where they lie.
    ///
    /// # Errors
    /// The connection broke, or the server refused the command.
    pub async fn reply<T: Send>(&mut self, read: impl Fn(&[u8]) -> T + Send + Sync) -> Result<Reply<T>> {
        self.wire.take(|input| scalar(input, &read)).await
    }

    /// The next reply, which must be a list of bytes: `each` sees its items; how many there are.
    ///
    /// # Errors
    /// As [`Redis::reply`].
    pub async fn list(&mut self, mut each: impl FnMut(usize, &[u8]) + Send) -> Result<usize> {
        let items = self
            .wire
            .take(|input| {
                let Some((text, length)) = line(input) else { return Ok(None) };
                match text.split_first() {
                    Some((b'*', count)) => Ok(Some((number(count)?.max(0) as usize, length))),
                    _ => refused(text),
                }
            })
            .await?;
        // As many items as have come are taken off at once.
        let mut taken = 0;
        while taken < items {
            taken += self
                .wire
                .take(|input| {
                    let (mut at, mut count) = (0, 0);
                    while taken + count < items {
                        let Some((item, length)) = bulk(&input[at..])? else { break };
                        each(taken + count, item);
                        at += length;
                        count += 1;
                    }
                    Ok((count > 0).then_some((count, at)))
                })
                .await?;
        }
        Ok(items)
    }

    /// Sends one command and gives its reply as text.
    ///
    /// # Errors
    /// As [`Redis::reply`].
    pub async fn ask(&mut self, parts: &[&[u8]]) -> Result<String> {
        self.command(parts);
        self.send().await?;
        match self.reply(|bytes| String::from_utf8_lossy(bytes).into_owned()).await? {
            Reply::Nil => Ok(String::new()),
            Reply::Number(number) => Ok(number.to_string()),
            Reply::Bytes(text) => Ok(text),
        }
    }
}

fn refused<T>(text: &[u8]) -> Result<T> {
    bail!("Redis says {:?}", String::from_utf8_lossy(text))
}

/// `$LEN bytes`.
fn bulk(input: &[u8]) -> Result<Option<(&[u8], usize)>> {
    let Some((text, head)) = line(input) else { return Ok(None) };
    let Some((b'$', length)) = text.split_first() else { return refused(text) };
    let length = number(length)?.max(0) as usize;
    Ok(input.get(head..head + length + 2).map(|_| (&input[head..head + length], head + length + 2)))
}

fn scalar<T>(input: &[u8], read: impl Fn(&[u8]) -> T) -> Result<Option<(Reply<T>, usize)>> {
    let Some((text, length)) = line(input) else { return Ok(None) };
    match text.split_first() {
        Some((b'$', b"-1")) => Ok(Some((Reply::Nil, length))),
        Some((b'$', _)) => Ok(bulk(input)?.map(|(bytes, length)| (Reply::Bytes(read(bytes)), length))),
        Some((b':', value)) => Ok(Some((Reply::Number(number(value)?), length))),
        Some((b'+', status)) => Ok(Some((Reply::Bytes(read(status)), length))),
        _ => refused(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_are_parsed_when_all_of_them_is_there() {
        let owned = |bytes: &[u8]| bytes.to_vec();
        assert_eq!(scalar(b"$3\r\nabc\r\n+", owned).unwrap(), Some((Reply::Bytes(b"abc".to_vec()), 9)));
        assert_eq!(scalar(b"$3\r\nabc\r", owned).unwrap(), None);
        assert_eq!(scalar(b"$-1\r\n", owned).unwrap(), Some((Reply::Nil, 5)));
        assert_eq!(scalar(b":42\r\n", owned).unwrap(), Some((Reply::Number(42), 5)));
        assert_eq!(scalar(b"+OK\r\n", owned).unwrap(), Some((Reply::Bytes(b"OK".to_vec()), 5)));
        assert!(scalar(b"-ERR no\r\n", owned).unwrap_err().to_string().contains("ERR no"));
        assert_eq!(scalar(b"$0\r\n\r\n", owned).unwrap(), Some((Reply::Bytes(Vec::new()), 6)));
    }
}
