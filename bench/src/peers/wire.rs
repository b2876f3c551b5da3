//! A connection to a cache server: a batch of requests is written at once, replies are parsed where they lie.
//!
//! Why not a crate: the usual clients (`redis`, `memcache`) make a value with an allocation of each reply, and those that share a
//! connection pass each request through a channel to a task. This one does neither, so it takes less of the clients' core; a
//! comparison with it is the harder one for the tier.

use anyhow::{Context, Result, ensure};
use bytes::{Buf, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Room for one read from the socket.
const READ: usize = 64 << 10;

/// One connection.
pub(super) struct Wire {
    stream: TcpStream,
    /// Requests to be sent.
    pub(super) out: Vec<u8>,
    input: BytesMut,
}

impl Wire {
    pub(super) async fn connect(address: &str) -> Result<Self> {
        let stream = TcpStream::connect(address).await.with_context(|| address.to_owned())?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, out: Vec::with_capacity(READ), input: BytesMut::with_capacity(READ) })
    }

    /// Sends what is in `out`.
    pub(super) async fn send(&mut self) -> Result<()> {
        self.stream.write_all(&self.out).await?;
        self.out.clear();
        Ok(())
    }

    /// Takes one thing off the input: `parse` gets what has come, and says how many bytes the thing has, or that more must come.
    pub(super) async fn take<T>(
        &mut self,
        mut parse: impl FnMut(&[u8]) -> Result<Option<(T, usize)>> + Send,
    ) -> Result<T>
    where
        T: Send,
    {
        loop {
            if let Some((thing, length)) = parse(&self.input)? {
                self.input.advance(length);
                return Ok(thing);
            }
            self.input.reserve(READ);
            let read = self.stream.read_buf(&mut self.input).await?;
            ensure!(read > 0, "the cache server closed the connection");
        }
    }
}

/// The line at the start of `input`, without its end, and the bytes with it.
pub(super) fn line(input: &[u8]) -> Option<(&[u8], usize)> {
    // Lines are short; a search by words would begin slower than this ends.
    let end = input.windows(2).position(|pair| pair == b"\r\n")?;
    Some((&input[..end], end + 2))
}

/// A number in ASCII.
pub(super) fn number(text: &[u8]) -> Result<i64> {
    let (digits, sign) = match text.split_first() {
        Some((b'-', digits)) => (digits, -1),
        _ => (text, 1),
    };
    ensure!(!digits.is_empty() && digits.len() < 19, "no number: {:?}", String::from_utf8_lossy(text));
    let mut value = 0i64;
    for digit in digits {
        ensure!(digit.is_ascii_digit(), "no number: {:?}", String::from_utf8_lossy(text));
        value = value * 10 + i64::from(digit - b'0');
    }
    Ok(sign * value)
}

/// Appends a number in ASCII.
pub(super) fn push_number(out: &mut Vec<u8>, mut value: u64) {
    let mut digits = [0u8; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (value % 10) as u8;
        value /= 10;
        if value == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_back() {
        for value in [0, 7, 10, 1_234_567, u32::MAX.into()] {
            let mut text = Vec::new();
            push_number(&mut text, value);
            assert_eq!(number(&text).unwrap(), value as i64);
        }
        assert_eq!(number(b"-1").unwrap(), -1);
        for wrong in [&b""[..], b"-", b"1x", b"99999999999999999999"] {
            assert!(number(wrong).is_err());
        }
    }

    #[test]
    fn a_line_is_there_when_its_end_is() {
        assert_eq!(line(b"END\r\nx"), Some((&b"END"[..], 5)));
        assert_eq!(line(b"END\r"), None);
    }
}
